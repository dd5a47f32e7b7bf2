"""The choice between stages and one engine: the better of both, with a bound that holds for both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flow import board, engines, estimate, mapping, tiled, timing
from flow.board import Board
from flow.design import Design
from flow.ir.graph import Graph
from flow.mapping import Goal, NoFit
from flow.tiled.engine import resources
from flow.tiled.steps import lower
from tests import networks


def interval(d: Design | tiled.TiledDesign) -> int:
    return timing.slowest(d.netlist) if isinstance(d, Design) else d.interval_cycles


def small(name: str, part: float) -> Board:
    """A board with a part of the block RAM and LUTs of another one."""
    whole = board.load(name)
    a = whole.available
    return replace(whole, available=a._replace(bram18=int(a.bram18 * part), lut=int(a.lut * part)))


CASES = [(n, p) for n in ("pynq-z2", "zcu102") for p in (0.25, 0.5, 1.0)]


@pytest.mark.parametrize(("name", "part"), CASES)
@pytest.mark.parametrize("make", [networks.sample, networks.resnet8])
def test_the_better_of_both_with_a_bound_over_both(name: str, part: float, make: object) -> None:
    graph: Graph = make()  # type: ignore[operator]
    place = small(name, part)
    stages, engine = mapping.solve(graph, place), tiled.solve(graph, place)
    found = engines.solve(graph, place)
    fitting = [d for d in (stages, engine) if not isinstance(d, NoFit)]
    if isinstance(found, NoFit):
        assert not fitting
        return
    assert interval(found) == min(interval(d) for d in fitting)
    assert found.bound.interval_cycles <= min(d.bound.interval_cycles for d in fitting)
    assert found.bound.gap == pytest.approx(interval(found) / found.bound.interval_cycles - 1) and found.bound.gap >= 0
    if isinstance(stages, NoFit):
        assert isinstance(found, tiled.TiledDesign)
        assert stages.open_cycles is None or found.bound.interval_cycles <= stages.open_cycles


@pytest.mark.parametrize("objective", ["latency", "area"])
def test_other_goals_compare_what_they_ask_for(objective: str) -> None:
    graph, place, goal = networks.resnet8(), board.load("zcu102"), Goal(objective)
    found = engines.solve(graph, place, goal)
    stages, engine = mapping.solve(graph, place, goal), tiled.solve(graph, place, goal)
    assert isinstance(stages, Design) and not isinstance(engine, NoFit) and not isinstance(found, NoFit)
    reports = estimate.estimate(stages), engine.report()
    mine = estimate.estimate(found) if isinstance(found, Design) else found.report()
    if objective == "latency":
        assert mine.latency_cycles == min(r.latency_cycles for r in reports)
    else:
        assert mine.kind in [r.kind for r in reports]
        shares = [[u / a for u, a in zip(r.resources, r.available, strict=True) if a] for r in (mine, *reports)]
        assert max(shares[0]) == min(max(s) for s in shares[1:])


@pytest.mark.parametrize("name", ["pynq-z2", "zc706", "zcu102", "u250"])
def test_no_tiled_engine_beats_the_quick_bound(name: str) -> None:
    """Two products a DSP: of every engine of the grid, and of what it finds for random networks."""
    place = board.load(name)
    features = lower(networks.resnet8()).features
    space = tiled.grid(place)
    for tm, tn in space.arrays:
        e = tiled.Engine(tm, tn, space.granule, space.granule, 256, 1024, 0)
        assert engines.PRODUCTS * resources(e, features, place.ultrascale).dsp >= e.macs
    rng = np.random.default_rng(5)
    for seed in range(4):
        graph, share = networks.random_draft(seed, 5).graph(), float(rng.uniform(0.3, 1.0))
        try:
            found = tiled.solve(graph, place, Goal(max_utilisation=share))
        except tiled.UnsupportedError:
            continue
        if not isinstance(found, NoFit):
            assert found.interval_cycles >= engines.least(graph, place, Goal(max_utilisation=share))


def test_nothing_fits() -> None:
    tiny = replace(board.load("pynq-z2"), available=board.Resources(1000, 1000, 2, 2, 0))
    found = engines.solve(networks.resnet8(), tiny)
    assert isinstance(found, NoFit) and found.open_cycles is None and found.violations
