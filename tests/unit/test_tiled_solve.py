"""The tiled engine's search: loop nests cover their layers, costs add up, the answer is the best of the grid."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from flow import board
from flow.cost.targets import Decision
from flow.design import excess
from flow.estimate import share
from flow.mapping import Goal, NoFit
from flow.tiled import Engine, EngineError, Grid, UnsupportedError, lower, nest, solve, tilings
from flow.tiled.design import TiledDesign, rates, rebuild
from flow.tiled.engine import resources
from flow.tiled.grids import GRIDS
from flow.tiled.layout import jobs
from flow.tiled.program import compile_program
from flow.tiled.render import describe
from flow.tiled.solve import PATIENCE
from tests.networks import Draft, random_draft, resnet8, sample

GRID = Grid(
    arrays=((8, 8), (16, 8)), granule=8, wp=(8,), acc_depth=(32, 128), in_depth=(64, 512), cache=(0, 256),
    copies=(1, 2), batch=(1, 2),
)  # fmt: skip
SMALL = Engine(tm=16, tn=8, granule=8, wp=8, acc_depth=64, in_depth=256, cache=128)


@pytest.mark.parametrize(
    "graph", [resnet8(), sample(), random_draft(3, 8).graph()], ids=["resnet8", "sample", "random"]
)
def test_iterations_compute_every_output_once(graph) -> None:
    for job in jobs(lower(graph), SMALL):
        tiling = tilings.best(job, 3, 16.0, 16.0).tiling
        done = np.zeros((3, job.m_tiles, job.shape.r, job.shape.c), int)
        for it in nest.iterations(job, tiling, 3):
            if it.last:
                rows = slice(it.rows.at, it.rows.at + it.rows.outputs)
                cols = slice(it.cols.at, it.cols.at + it.cols.outputs)
                done[it.image : it.image + it.images, it.m0 : it.m0 + it.mb, rows, cols] += 1
        assert (done == 1).all()


@pytest.mark.parametrize("graph", [resnet8(), sample()], ids=["resnet8", "sample"])
def test_search_counts_what_the_nest_does(graph) -> None:
    """The formulas over all tilings at once against a walk through the iterations of the chosen one."""
    for job, batch in itertools.product(jobs(lower(graph), SMALL), (1, 3)):
        choice = tilings.best(job, batch, 8.0, 16.0)
        parts = [nest.cost(job, it) for it in nest.iterations(job, choice.tiling, batch)]
        passes = parts[-1:] if len(parts) * choice.tiling.mb < nest.DISTANCE * job.m_tiles else []
        fresh = next(p for p, i in zip(parts, nest.iterations(job, choice.tiling, batch), strict=True) if i.fresh)
        assert choice.cycles == sum(int(p.slowest(8.0, 16.0)) for p in parts) + (nest.refill(fresh) if passes else 0)
        assert choice.moved == sum(int(p.read_bytes + p.write_bytes) for p in parts)
        assert choice.cycles >= tilings.floors(tilings.least([job]), batch).cycles(8.0, 16.0)[0]
        assert choice.moved >= sum(tilings.compulsory(job, batch))


@pytest.mark.parametrize("seed", range(6))
def test_every_tiling_is_counted_as_its_iterations_are(seed) -> None:
    """All tilings of random steps on random engines, and tilings in chunks: sums against a walk."""
    rng = np.random.default_rng(seed)
    side, batch = [(16, 8), (8, 16), (16, 16)][seed % 3], int(rng.integers(1, 5))
    engine = Engine(
        *side, granule=8, wp=8, acc_depth=64, in_depth=96, cache=int(rng.choice([0, 40, 400])),
        ports=int(rng.integers(1, 5)), double_buffer=bool(rng.integers(2)), taps=int(rng.integers(1, 4)),
    )  # fmt: skip
    pace, port, chunked = float(rng.uniform(2, 20)), float(rng.choice([8, 16])), 0
    wide = Draft((40, 9, 9), seed=seed)
    wide.dense(wide.conv(wide.conv("input", 56, stride=(2, 2)), 24), 20)
    each = [j for g in (random_draft(seed, 8).graph(), wide.graph()) for j in jobs(lower(g), engine)]
    for job in dict.fromkeys(each):
        found = tilings.surface(job, batch, pace, port)
        for k in rng.permutation(len(found.cycles))[:25]:
            choice = tilings.Choice(nest.Tiling(*found.sizes[k].tolist()), int(found.cycles[k]), int(found.moved[k]))
            assert choice == walked(job, choice.tiling, batch, pace, port)
            assert choice == tilings.measured(job, choice.tiling, batch, pace, port)
        if not job.windowed and not job.gathered and job.depth > 1:
            tiling = nest.Tiling(1, 1, job.shape.c, 1, int(rng.integers(1, job.depth)))
            assert tilings.measured(job, tiling, batch, pace, port) == walked(job, tiling, batch, pace, port)
            chunked += 1
    assert chunked


def walked(job, tiling, batch, pace, port) -> tilings.Choice:
    """What a tiling costs, iteration by iteration."""
    every = list(nest.iterations(job, tiling, batch))
    parts = [nest.cost(job, it) for it in every]
    cycles, m0 = sum(p.slowest(pace, port) for p in parts), job.blocks(tiling.mb)[-1][2]
    if sum(it.m0 == 0 and it.last for it in every) < nest.DISTANCE or tiling.chunk:
        cycles += nest.refill(next(p for p, it in zip(parts, every, strict=True) if it.fresh and it.m0 == m0))
    return tilings.Choice(tiling, cycles, sum(p.read_bytes + p.write_bytes for p in parts))


def test_halo_of_every_tile_is_what_its_windows_read() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        kernel, stride, dilation = (int(v) for v in rng.integers(1, 5, 3))
        pad = int(rng.integers(0, kernel))
        size = int(rng.integers(dilation * (kernel - 1) + 1, 30))
        outputs = (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
        for t in nest.tiles(outputs, size, int(rng.integers(1, outputs + 1)), kernel, stride, pad, dilation):
            at = (np.arange(t.at, t.at + t.outputs) * stride - pad)[:, None] + np.arange(kernel) * dilation
            read = at[(at >= 0) & (at < size)]
            if read.size:
                assert t.low <= read.min() and read.max() < t.low + t.span
                assert dilation > 1 or t.low + t.span == read.max() + 1


@pytest.mark.parametrize("objective", ["throughput", "latency"])
@pytest.mark.parametrize("name", ["pynq-z2", "zcu104"])
def test_the_answer_is_the_best_of_the_grid(name: str, objective: str) -> None:
    place, goal, graph = board.load(name), Goal(objective, 0.6), resnet8()
    found = solve(graph, place, goal, 100.0, GRID)
    steps, budget, best = lower(graph), share(place, 0.6), float("inf")
    for (tm, tn), acc, words, cache, copies, batch in itertools.product(
        GRID.arrays, GRID.acc_depth, GRID.in_depth, GRID.cache, GRID.copies, GRID.batch
    ):
        engine = Engine(tm, tn, 8, 8, acc, words, cache, ports=max(1, 4 // copies))
        each = jobs(steps, engine)
        if excess(resources(engine, each[0].features, place.ultrascale).times(copies), budget):
            continue
        pace = rates(place, 100.0, engine, copies)
        choices = [tilings.best(j, batch, pace.memory, pace.port) for j in each]
        if all(choices):
            cycles = sum(c.cycles for c in choices)
            best = min(best, cycles if objective == "latency" else cycles / batch / copies)
    got = found.batch_cycles if objective == "latency" else found.batch_cycles / found.batch / found.copies
    assert best <= got <= best * (1 + PATIENCE)
    if objective == "throughput":
        assert found.bound.interval_cycles == -(-best // 1)
    assert found.report().fits and found.bound.gap <= PATIENCE


def test_limits_and_refusals() -> None:
    place = board.load("pynq-z2")
    assert isinstance(solve(resnet8(), place, Goal(min_fps=1e6)), NoFit)
    assert isinstance(solve(resnet8(), place, Goal(max_utilisation=0.02)), NoFit)
    d = Draft((4, 6, 6))
    d.dense(d.conv(d.conv("input", 4, bits=12), 4), 3)
    with pytest.raises(UnsupportedError, match="12-bit"):
        solve(d.graph(), place)
    with pytest.raises(EngineError, match="multiples of the granule"):
        Engine(tm=20, tn=16, granule=16)


def test_the_engine_is_judged_by_target_and_confidence() -> None:
    """The budget is what the target leaves at the confidence, and the report says for how much of it that is enough."""
    place, allowed = board.load("pynq-z2"), share(board.load("pynq-z2"), 0.5)
    found = {}
    for target, confidence in (("csynth", 0.5), ("csynth", 0.9), ("impl", 0.5), ("impl", 0.9)):
        decision = Decision(target, confidence)
        design = solve(sample(), place, Goal("throughput", 0.5, decision=decision), space=GRID)
        assert isinstance(design, TiledDesign) and design.available == decision.budget(allowed)
        told = design.report()
        assert (told.decision["target"], told.decision["confidence"]) == (target, confidence)
        assert told.decision["probability"] >= confidence - 1e-4 and not told.violations
        assert told.decision["limits"]["lut"]["available"] == allowed.lut
        assert told.implementation["resources"]["lut"] < design.resources.lut
        again = rebuild(design.graph, place, json.loads(json.dumps(describe(compile_program(design)))))
        assert (again.decision, again.allowed, again.digest) == (design.decision, design.allowed, design.digest)
        found[target, confidence] = design.available.lut
    assert found["csynth", 0.9] < found["csynth", 0.5] < found["impl", 0.5]


def test_residual_goes_with_its_producer() -> None:
    graph = resnet8()
    steps = lower(graph).steps
    assert len(steps) == len(graph.nodes) - 3  # three additions
    assert sum(s.residual is not None for s in steps) == 3


def test_estimate_report_names_the_engine() -> None:
    found = solve(resnet8(), board.load("zcu104"), Goal(), 200.0, replace(GRID, batch=(2,)))
    report = found.report().json()
    assert report["engines"][0]["kind"] == "tiled" and report["engines"][0]["parameters"]["tm"] == found.engine.tm
    assert report["fps"] == pytest.approx(2e8 / found.interval_cycles)
    assert report["macs"] == sum(resnet8().macs(n) for n in resnet8().nodes)


@pytest.mark.parametrize("name", GRIDS)
def test_grids_of_the_field_are_spaces_of_the_search(name: str) -> None:
    place = board.load("zcu102")
    space = GRIDS[name](place)
    found = solve(resnet8(), place, Goal(), 200.0, space)
    assert (found.engine.tm, found.engine.tn) in space.arrays and found.engine.wp in space.wp
    assert space.points() > 1000
