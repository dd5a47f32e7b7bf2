"""What a search is told of a candidate is what the built design's estimate says, number for number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flow import blocks, board, elaborate, estimate, layout, mapping, simulate, space, timing
from flow.cost.targets import Decision
from flow.design import Bound, Design, Report
from flow.ir.graph import Graph
from flow.mapping import Goal, NoFit
from flow.space.network import random_graph
from tests import networks

BOARDS = ("zcu102", "zc706", "pynq-z2", "u250")


def a_graph(rng: np.random.Generator) -> Graph:
    kind, seed = int(rng.integers(4)), int(rng.integers(1000))
    if kind == 0:
        return networks.random_draft(seed).graph()
    if kind == 1:
        return networks.gallery_draft(seed).graph()
    place = space.load("default")
    return random_graph(place.network(place.sample(rng), (3, 32, 32), 10), seed)


def a_goal(rng: np.random.Generator) -> Goal:
    limits = {
        "min_fps": float(10 ** rng.uniform(2, 5)) if rng.random() < 0.3 else None,
        "max_latency_ms": float(10 ** rng.uniform(-1.5, 1)) if rng.random() < 0.3 else None,
        "max_energy_mj": float(10 ** rng.uniform(-2, 1)) if rng.random() < 0.2 else None,
    }
    decision = Decision(*((("csynth", 0.5), ("impl", 0.5), ("impl", 0.9))[int(rng.integers(3))]))
    objective = ("throughput", "throughput", "area", "latency")[int(rng.integers(4))]
    return Goal(
        objective,
        float(rng.choice([0.02, 0.1, 0.3, 0.8])),
        decision=decision,
        effort=float(rng.choice([1.0, 0.1])),
        **limits,
    )


def timeless(report: Report) -> Report:
    assert report.bound is not None
    return replace(report, bound=replace(report.bound, seconds=0.0))


@pytest.mark.parametrize("seed", range(12))
def test_evaluated_as_solved_and_estimated(seed: int) -> None:
    rng = np.random.default_rng([61, seed])
    for _ in range(3):
        graph, place, goal = a_graph(rng), board.load(str(rng.choice(BOARDS))), a_goal(rng)
        clock, judge = float(rng.choice([100, 200, 300])), Decision("impl", 0.8)
        told, found = mapping.evaluate(graph, place, goal, clock, judge), mapping.solve(graph, place, goal, clock)
        if isinstance(found, NoFit):
            assert told == found
            continue
        assert isinstance(told, Report)
        want = estimate.estimate(found, judge, estimate.share(place, goal.max_utilisation))
        assert timeless(told) == timeless(want)
        assert told.json() | {"bound": None} == want.json() | {"bound": None}


@pytest.mark.parametrize("seed", range(8))
def test_layout_is_the_netlist(seed: int) -> None:
    """Any foldings, slow and fast ends, with FIFOs of any depth: the same processes, streams and times."""
    rng = np.random.default_rng([62, seed])
    for _ in range(4):
        graph, place = a_graph(rng), board.load(str(rng.choice(BOARDS)))
        choices = {n.id: blocks.options(graph, n, place) for n in graph.nodes}
        foldings = {k: o[int(rng.integers(len(o)))].folding for k, o in choices.items()}
        interval = int(rng.integers(1, 5000))
        net = elaborate.netlist(graph, foldings, place, interval)
        want, found = layout.of(net), layout.compose(graph, list(foldings.values()), place, interval)
        assert (found.owners, found.fifos, found.sinks) == (want.owners, want.fifos, want.sinks)
        assert np.array_equal(found.bits, want.bits)
        assert np.array_equal(found.ports, want.ports) and np.array_equal(found.shape, want.shape)
        for p, q in zip(found.pieces, want.pieces, strict=True):
            assert (p.resources, p.inputs, p.outputs, p.counts) == (q.resources, q.inputs, q.outputs, q.counts)
            assert p.keep or np.array_equal(p.rows, q.rows)
        deep = timing.depths_of(found)
        some = [int(rng.integers(2, max(3, d + 1))) for d in deep]
        for depths in (deep, some):
            sized = layout.with_fifos(net, found.with_depths(depths).fifos)
            assert timing.finite_latency(found.with_depths(depths)) == simulate.latency(sized)


def test_one_stage_pipelines_and_deadlocks() -> None:
    """A process of depth 1 reads and writes in one cycle; FIFOs too shallow for branches stop the image."""
    graph, place = networks.resnet8(), board.load("zcu102")
    design = mapping.solve(graph, place, Goal(max_utilisation=0.3))
    assert isinstance(design, Design) and design.bound != Bound(0, "", 0.0, False, 0.0)
    net = design.netlist
    shallow = replace(net, streams=tuple(replace(s, depth=2) for s in net.streams))
    flat = replace(net, processes=tuple(replace(p, depth=1) if i % 3 else p for i, p in enumerate(net.processes)))
    for case in (shallow, flat):
        assert timing.finite_latency(layout.of(case)) == simulate.latency(case)
    assert timing.finite_latency(layout.of(shallow)) is None
