"""Networks on several boards against brute force: every cut, every route, every folding of tiny networks."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import cache

import networkx as nx
import numpy as np
import pytest

from flow import board, mapping, pipeline, platform, timing
from flow.blocks.pareto import undominated
from flow.board import Board, Resources
from flow.design import Folding, Option, excess
from flow.ir.graph import Graph
from flow.mapping import Goal, NoFit, cuts
from flow.mapping.reach import Stages
from flow.pipeline import System
from flow.platform import Link, Platform
from tests import networks
from tests.unit import test_mapping_brute as single

CASES = 8


def chain(boards: list[Board], bandwidth: float = 4.0, latency_us: float = 0.1, again_ms: float = 0.0) -> Platform:
    links = tuple(Link(i, i + 1, bandwidth, latency_us) for i in range(len(boards) - 1))
    return Platform("chain", tuple(boards), links, again_ms)


# ---------------------------------------------------------------------- cuts


@pytest.mark.parametrize("seed", range(12))
def test_cuts_are_where_one_tensor_is_live(seed: int) -> None:
    graph = networks.random_draft(seed, layers=8).graph()
    network = nx.DiGraph(graph.network())
    found = cuts.boundaries(graph)
    ids = ["input", *(n.id for n in graph.nodes)]
    for k in range(1, len(graph.nodes)):
        before, after = set(ids[: k + 1]), set(ids[k + 1 :])
        live = {a for a, b in network.edges if a in before and b in after}
        assert (k in found) == (len(live) == 1)
    assert found[0] == 0 and found[-1] == len(graph.nodes)


@pytest.mark.parametrize("seed", range(6))
def test_segments_in_turn_are_the_network(seed: int) -> None:
    d = networks.random_draft(seed, layers=6)
    graph, x = d.graph(), d.images(2)
    want = graph.evaluate(x)[graph.output]
    for first, end in itertools.pairwise(cuts.boundaries(graph)):
        part = cuts.segment(graph, first, end)
        assert [n.name for n in part.nodes] == [n.name for n in graph.nodes[first:end]]
        x = part.evaluate(x)[part.output]
    assert np.array_equal(x, want)


# ---------------------------------------------------------------------- against brute force


@dataclass(frozen=True)
class Case:
    graph: Graph
    place: Platform
    optimum: int | None  # over every cut and every folding
    mapped: int | None  # over every cut, foldings by the mapper for one board
    answer: System | NoFit


def partitions(graph: Graph, count: int) -> list[tuple[int, ...]]:
    inner = cuts.boundaries(graph)[1:-1]
    return [(0, *c, len(graph.nodes)) for k in range(count) for c in itertools.combinations(inner, k)]


def smallest(graph: Graph, place: Platform, interval) -> int | None:
    """The best of all partitions over neighbouring boards of the chain."""
    found = []
    for start, at in itertools.product(range(len(place.boards)), partitions(graph, len(place.boards))):
        if start + len(at) - 1 > len(place.boards):
            continue
        parts = itertools.pairwise(at)
        each = [interval(cuts.segment(graph, a, b), place.boards[start + i]) for i, (a, b) in enumerate(parts)]
        if all(e is not None for e in each):
            found.append(max(each))
    return min(found, default=None)


def mapped(graph: Graph, place: Board) -> int | None:
    d = mapping.solve(graph, place, Goal(max_utilisation=1.0))
    return None if isinstance(d, NoFit) else timing.slowest(d.netlist)


@cache
def cases() -> tuple[Case, ...]:
    found: list[Case] = []
    for seed in itertools.count():
        graph = single.draft(seed).graph()
        if len(cuts.boundaries(graph)) < 3:
            continue
        boards = [replace(single.tight_board(graph, seed + k), name=f"b{k}", family="zynq") for k in range(2)]
        clock = boards[0].clock_mhz
        place = chain([replace(b, clock_mhz=clock) for b in boards])
        size = np.prod([float(len(single.blocks.options(graph, n, place.boards[0]))) for n in graph.nodes])
        if size > 1500:
            continue
        answer = mapping.solve_platform(graph, place, Goal(max_utilisation=1.0))
        found.append(Case(graph, place, smallest(graph, place, single.best), smallest(graph, place, mapped), answer))
        if len(found) == CASES:
            return tuple(found)
    raise AssertionError


def test_bound_optimum_answer_over_two_boards() -> None:
    """bound <= optimum over everything <= answer <= the best of all cuts with the one-board mapper's designs."""
    solved = 0
    for c in cases():
        if isinstance(c.answer, NoFit):
            continue
        assert c.optimum is not None, "an answer although nothing fits"
        reached, bound = pipeline.interval_cycles(c.answer), c.answer.bound
        assert bound.proved and bound.interval_cycles <= c.optimum <= reached
        assert bound.gap == pytest.approx(reached / bound.interval_cycles - 1)
        if c.mapped is not None:
            assert reached <= c.mapped * 1.02 + 1
        for part in c.answer.parts:
            assert not excess(pipeline.cost.resources(part.netlist), part.available)
        solved += 1
    assert solved >= CASES // 2
    assert any(isinstance(c.answer, System) and len(c.answer.parts) == 2 for c in cases())


def test_nothing_that_the_mapper_fits_is_refused() -> None:
    assert all(c.mapped is None for c in cases() if isinstance(c.answer, NoFit))


def test_the_same_answer_every_time() -> None:
    c = next(c for c in cases() if isinstance(c.answer, System))
    again = mapping.solve_platform(c.graph, c.place, Goal(max_utilisation=1.0))
    assert isinstance(again, System) and again.digest == c.answer.digest


@pytest.mark.parametrize("seed", range(60))
def test_reach_never_stops_before_what_fits(seed: int) -> None:
    """The relaxation against every choice of random options; and it does prove something."""
    rng = np.random.default_rng(seed)
    budget = Resources(*(int(n) for n in rng.integers(20, 60, 5)))
    tables = [
        undominated(
            Option(Folding(pe=k + 1), int(rng.integers(1, 9)), Resources(*(int(n) for n in rng.integers(0, 25, 5))))
            for k in range(int(rng.integers(1, 5)))
        )
        for _ in range(6)
    ]
    stages, ends = Stages(tables, budget, 1.0), np.arange(1, 7)
    for cycles in range(1, 10):
        true = 0
        for end in range(1, 7):
            chosen = itertools.product(*([o for o in t if o.cycles <= cycles] for t in tables[:end]))
            if any(not excess(sum((o.resources for o in c), Resources()), budget) for c in chosen):
                true = end
        assert true <= stages.furthest(0, float(cycles), ends) <= 6
    assert stages.furthest(0, 0.5, ends) == 0
    assert stages.least_us(0, 6) >= stages.fastest_us(0, 6) if np.isfinite(stages.fastest_us(0, 6)) else True


# ---------------------------------------------------------------------- links, boards, goals


def three_layers() -> Graph:
    d = networks.Draft((4, 8, 8), seed=3)
    x = d.conv(d.conv("input", 16), 8, pads=(0, 0, 0, 0), stride=(2, 2))
    d.dense(x, 10)
    return d.graph()


def small(dsp: int = 20, lut: int = 9000) -> Board:
    base = board.load("pynq-z2")
    return replace(base, available=base.available._replace(dsp=dsp, lut=lut))


def solved(graph: Graph, place: Platform, goal: Goal | None = None) -> System:
    found = mapping.solve_platform(graph, place, goal)
    assert isinstance(found, System), str(found)
    return found


def test_more_boards_are_faster_and_a_slow_link_is_avoided() -> None:
    graph = three_layers()
    one, two = solved(graph, chain([small()])), solved(graph, chain([small(), small()]))
    assert pipeline.interval_cycles(two) < pipeline.interval_cycles(one) and len(two.parts) == 2
    # 1,024 bytes behind the first layer, 72 behind the second: a link of 2 MB/s takes the second or none.
    thin = solved(graph, chain([small(), small()], bandwidth=0.002))
    assert thin.boundaries in ((0, 2, 3), (0, 3))
    slow = solved(graph, chain([small(), small()], bandwidth=1e-6))
    assert slow.boundaries == (0, 3) and pipeline.interval_cycles(slow) == pipeline.interval_cycles(one)
    for s in (two, thin):
        assert max(s.link_cycles(), default=0) + 3 <= pipeline.interval_cycles(s)


def test_the_platform_says_where_a_pipeline_may_go() -> None:
    graph, (a, b) = three_layers(), (small(lut=4000), small(lut=12000))
    ring = Platform("ring", (a, b), (Link(1, 0, 4.0, 0.1),))
    assert set(solved(graph, ring).places) <= {0, 1}
    assert solved(graph, ring).places in ((1, 0), (1,))
    alone = Platform("apart", (a, b), ())
    assert solved(graph, alone).places == (1,)  # no link: one of them, the larger


def test_boards_of_different_clocks() -> None:
    graph = three_layers()
    place = chain([replace(small(), clock_mhz=50.0), replace(small(), clock_mhz=200.0)])
    s = solved(graph, place)
    us = [timing.slowest(p.netlist) / p.clock_mhz for p in s.parts]
    assert pipeline.interval_cycles(s) == math.ceil(max(us) * s.clock_mhz - 1e-9)
    if len(s.parts) == 2:
        with pytest.raises(ValueError, match="one clock"):
            pipeline.netlist(s)
    same = mapping.solve_platform(graph, place, clock_mhz=100.0)
    assert isinstance(same, System) and {p.clock_mhz for p in same.parts} == {100.0}


def test_joint_latency_is_less_than_parts_in_turn_and_more_than_each() -> None:
    s = solved(three_layers(), chain([small(), small()], latency_us=3.0))
    own = [timing.analyse(p.netlist).latency_cycles for p in s.parts]
    assert max(own) + 300 <= pipeline.latency_cycles(s) <= sum(own) + sum(s.link_cycles()) + 300 + 10


def test_goals() -> None:
    graph, place = three_layers(), chain([small(), small(), small()])
    fast = solved(graph, place)
    rate = pipeline.estimate(fast).fps
    slow = solved(graph, place, Goal("area", min_fps=rate / 40))
    assert len(slow.parts) == 1 and pipeline.estimate(slow).fps >= rate / 40
    assert pipeline.estimate(slow).resources.lut < pipeline.estimate(fast).resources.lut
    quick = solved(graph, place, Goal("latency"))
    assert pipeline.latency_cycles(quick) <= pipeline.latency_cycles(fast)
    assert isinstance(mapping.solve_platform(graph, place, Goal(min_fps=rate * 2)), NoFit)
    assert isinstance(mapping.solve_platform(graph, place, Goal("area", min_fps=rate * 1000)), NoFit)
    assert isinstance(mapping.solve_platform(graph, place, Goal(max_latency_ms=1e-6)), NoFit)
    none = mapping.solve_platform(graph, chain([small(lut=10), small(lut=10)]))
    assert isinstance(none, NoFit) and none.violations[0].resource == "lut"


def test_report_of_a_system() -> None:
    s = solved(three_layers(), chain([small(), small()]))
    r = pipeline.estimate(s)
    view = r.json()
    assert [e["interval_cycles"] for e in view["engines"]] == [timing.slowest(p.netlist) for p in s.parts]
    assert [layer["id"] for layer in view["layers"]] == [n.id for n in s.graph.nodes]
    shares = view["pipeline"]["utilisations"]
    assert max(shares) == 1.0 and view["pipeline"]["efficiency"] == pytest.approx(sum(shares) / 2)
    assert view["platform"]["links"][0]["cycles"] == s.link_cycles()[0]
    assert r.resources == r.parts[0].resources + r.parts[1].resources and r.fits


# ---------------------------------------------------------------------- one board, several configurations


@pytest.mark.parametrize(("batch", "lut"), [(2, 9000), (40, 9000), (100_000, 5000), (100_000, 3000)])
def test_sequence_against_every_cut(batch: int, lut: int) -> None:
    graph, place = three_layers(), chain([small(lut=lut)], again_ms=0.05)
    answer = mapping.solve_platform(graph, place, Goal(max_utilisation=1.0), batch=batch)

    def microseconds(at: tuple[int, ...]) -> float:
        total = 0.0
        for a, b in itertools.pairwise(at):
            d = mapping.solve(cuts.segment(graph, a, b), place.boards[0], Goal(max_utilisation=1.0))
            if isinstance(d, NoFit):
                return math.inf
            t = timing.analyse(d.netlist)
            total += 50 + (t.latency_cycles + (batch - 1) * t.interval_cycles) / d.clock_mhz
        return total

    best = min(microseconds(at) for at in partitions(graph, len(graph.nodes)))
    alone = microseconds((0, len(graph.nodes))) - 50  # a pipeline of one board is configured before
    assert isinstance(answer, System)
    us = pipeline.interval_cycles(answer) * batch / answer.clock_mhz
    assert us <= min(best, alone) * 1.02 + 1 or answer.mode == "pipeline"
    if answer.mode == "sequence":
        assert us == pytest.approx(best, rel=0.02) and len(answer.parts) > 1
        assert pipeline.estimate(answer).latency_cycles >= max(p.netlist.processes[0].cycles for p in answer.parts)
    if lut <= 3000:
        assert answer.mode == "sequence", "the whole network does not fit this board"
    if batch <= 40:
        assert answer.mode == "pipeline", "loading the board again takes longer than it saves"


def test_platforms_of_the_package_take_a_network() -> None:
    for place in platform.every():
        assert isinstance(mapping.solve_platform(three_layers(), place, Goal("area", min_fps=1000)), System)
