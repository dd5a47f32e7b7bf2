"""Points of a grid: what a co-search evaluates one by one, against the search over all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flow import board
from flow.mapping import Goal, NoFit
from flow.tiled import EngineError, Grid, points, solve
from flow.tiled.grids import GRIDS
from tests.networks import resnet8, sample

GRID = Grid(
    arrays=((8, 8), (16, 8)), granule=8, wp=(8, 16), acc_depth=(32, 128), in_depth=(64, 512), cache=(0, 256),
    copies=(1, 2), batch=(1, 2),
)  # fmt: skip


@pytest.mark.parametrize("graph", [resnet8(), sample()], ids=["resnet8", "sample"])
def test_best_point_is_the_answer_of_the_search(graph) -> None:
    place, goal = board.load("pynq-z2"), Goal(max_utilisation=0.9)
    every = [points.evaluate(graph, place, p, goal) for p in points.points(GRID, place)]
    intervals = [d.interval_cycles for d in every if not isinstance(d, NoFit) and not d.violations()]
    found = solve(graph, place, goal, space=GRID)
    assert min(intervals) == found.bound.interval_cycles
    assert len(every) == 3 * 2 * 2 * 2 * 2 * 2  # 8 x 8 takes no words of 16 bytes


def test_what_does_not_fit_is_a_value() -> None:
    place = board.load("pynq-z2")
    chosen = {
        "arrays": (16, 8),
        "wp": 8,
        "acc_depth": 32,
        "in_depth": 512,
        "cache": 0,
        "taps": 3,
        "copies": 1,
        "batch": 1,
    }
    found = points.evaluate(resnet8(), place, points.point(GRID, place, chosen), Goal(max_utilisation=0.01))
    assert not found.report().fits and found.report().interval_cycles > 0
    tiny = points.Point(replace(points.point(GRID, place, chosen).engine, in_depth=1), 1, 1)
    assert isinstance(points.evaluate(resnet8(), place, tiny), NoFit)
    with pytest.raises(EngineError, match=r"cache is 7: one of 0, 256"):
        points.point(GRID, place, chosen | {"cache": 7})


@pytest.mark.parametrize("name", GRIDS)
def test_genes_of_the_fields_grids(name: str) -> None:
    place = board.load("zcu102")
    space = GRIDS[name](place)
    product = 1
    for values in points.genes(space).values():
        product *= len(values)
    assert product == space.points()
    first = {gene: values[0] for gene, values in points.genes(space).items()}
    assert points.point(space, place, first).engine.tm == space.arrays[0][0]
