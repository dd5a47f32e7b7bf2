"""Chains: joints, the search against a walk through all candidates, steps and memory."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from flow import board, chain, estimate
from flow.board import Board, Resources
from flow.chain import cycles, memory
from flow.chain.design import Chain, ChainError, is_linear, joint, linear, step_cycles, used
from flow.chain.solve import SHARES, Cut, Search
from flow.cost.targets import Decision
from flow.design import Design
from flow.mapping import Goal, NoFit
from flow.platform import Link, Platform
from flow.tiled import Grid, TiledDesign, UnsupportedError, solve
from flow.tiled.place import Place
from flow.tiled.program import compile_program
from tests.networks import Draft

SPACE = Grid(
    arrays=((8, 8), (16, 8), (16, 16), (32, 16)), granule=8, wp=(8,), acc_depth=(64, 256), in_depth=(512,),
    cache=(0, 512), copies=(1, 2), batch=(1, 2),
)  # fmt: skip


def network() -> Draft:
    d = Draft((3, 16, 16), seed=5)
    x = d.conv("input", 16)
    x = d.residual(d.conv(x, 16), x)
    x = d.conv(d.conv(x, 24, stride=(2, 2)), 32, 1)
    d.dense(d.global_average(x), 10)
    return d


@pytest.fixture(scope="module")
def place() -> Board:
    return board.load("pynq-z2")


@pytest.fixture(scope="module")
def search(place: Board) -> Search:
    return Search(network().graph(), place, Goal(max_utilisation=0.7), place.clock_mhz, SPACE)


def test_search_finds_the_best_of_all_candidates(search: Search) -> None:
    """Every candidate at every level, from one that the best does not keep upwards until none is left."""
    best = search.best(2)
    assert best is not None
    level, every = search.level(best.interval_cycles), list(search.candidates(2))
    for cut in every:
        parts = search.at(cut, level + 2)
        found = None if parts is None else search.chain(cut, parts, level + 2)
        assert found is None or search.level(found.interval_cycles) <= level
    assert {c.share for c in every} == {1.0, *SHARES}


@pytest.mark.parametrize("decision", [Decision("csynth", 0.9), Decision("impl", 0.8)])
def test_a_chain_fits_as_surely_as_asked(decision: Decision, place: Board) -> None:
    """Stages and engines together: what the chosen target needs of them at that confidence."""
    goal = Goal(max_utilisation=0.7, decision=decision)
    found = Search(network().graph(), place, goal, place.clock_mhz, SPACE).best(2)
    assert found is not None
    limit = estimate.share(place, 0.7)
    total = sum((used(p) for p in found.parts), Resources())
    assert all(n * decision.factor(k) <= getattr(limit, k) for k, n in total.json().items())
    assert found.budget(0) == estimate.share(place, 0.7, decision)


def test_a_chain_is_no_slower_than_one_engine(search: Search, place: Board) -> None:
    alone = solve(search.graph, place, search.goal, space=SPACE)
    found = chain.solve(search.graph, place, search.goal, space=SPACE)
    assert isinstance(alone, TiledDesign) and isinstance(found, Chain)
    assert found.interval_cycles <= alone.interval_cycles / 0.99
    assert not found.violations() and found.report().fits


def kept(search: Search, cut: Cut) -> Chain:
    """A candidate somewhere above its fastest."""
    found = search.improved(cut, search.level(100 * 1e6 / 50))
    assert found is not None
    return found


def cuts_of(search: Search) -> dict[str, Cut]:
    n, after = search.ends[-1], search.ends[2]
    return {
        "head": Cut(after, n, n),
        "tail": Cut(0, n - 1, n - 1),
        "both": Cut(after, n - 1, n - 1),
        "two": Cut(0, after, n, 0.5),
    }


@pytest.mark.parametrize("name", ["head", "tail", "both", "two"])
def test_simulation_is_within_five_percent(search: Search, name: str) -> None:
    found = kept(search, cuts_of(search)[name])
    kinds = [type(p) for p in found.parts]
    assert kinds == {
        "head": [Design, TiledDesign], "tail": [TiledDesign, Design], "both": [Design, TiledDesign, Design],
        "two": [TiledDesign, TiledDesign],
    }[name]  # fmt: skip
    result = cycles.simulate(found)
    assert not result.deadlock
    assert result.interval_cycles == pytest.approx(found.interval_cycles, rel=0.05)
    engines = [p for p in found.parts if isinstance(p, TiledDesign)]
    assert result.traffic_bytes >= sum(found.images // p.batch * p.traffic_bytes for p in engines)


def test_a_step_is_its_slowest_part(search: Search) -> None:
    found = kept(search, cuts_of(search)["both"])
    assert found.step_us * found.clock_mhz == max(step_cycles(p, found.images) for p in found.parts)
    assert found.latency_cycles == len(found.parts) * round(found.step_us * found.clock_mhz)
    doubled = replace(found, images=2 * found.images)
    assert doubled.interval_cycles <= found.interval_cycles and doubled.latency_cycles > found.latency_cycles


def test_joints_that_do_not_agree_are_refused(search: Search) -> None:
    found = kept(search, cuts_of(search)["head"])
    with pytest.raises(ChainError, match="the next reads"):
        joint(found.parts[1], found.parts[1])
    with pytest.raises(ChainError):
        replace(found, parts=(found.parts[0], found.parts[0]))


def test_stream_reads_what_has_no_holes() -> None:
    assert linear(24, 4, 4, 16) is None
    whole = linear(32, 4, 4, 16)
    assert whole == Place(4, 4, (2,), tuple(range(32))) and is_linear(whole, 16)
    assert not is_linear(Place(4, 4, (1, 1), tuple(range(32))), 16) and is_linear(
        Place(1, 1, (1, 1), tuple(range(32))), 16
    )
    assert not is_linear(Place(4, 4, (2,), tuple(range(24))), 16)


def test_memory_overlaps_nowhere(search: Search) -> None:
    found = kept(search, cuts_of(search)["two"])
    programs = {k: compile_program(p) for k, p in enumerate(found.parts) if isinstance(p, TiledDesign)}
    m = memory.allocate(found, programs, 0)
    spans = [(at, 2 * found.images * found.joints[j].image_bytes) for j, at in m.joints.items()]
    spans += [(at, programs[k].arena.words * programs[k].design.engine.granule) for (k, _), at in m.regions.items()]
    spans.sort()
    assert all(a + n <= b for (a, n), (b, _) in itertools.pairwise(spans)) and spans[-1][0] + spans[-1][1] <= m.size
    assert len(m.joints) == 3 and len(m.regions) == sum(p.copies for p in found.parts if isinstance(p, TiledDesign))
    for k in range(2):
        assert sorted(first for _, first in memory.turns(found, k)) == list(
            range(0, found.images, found.parts[k].batch)
        )


def test_two_boards(place: Board) -> None:
    small = Goal(max_utilisation=0.5)
    platform = Platform("pair", (place, place), (Link(0, 1, 1.0, 1.0),))
    one = chain.solve(network().graph(), place, small)
    two = chain.solve_platform(network().graph(), platform, small)
    assert isinstance(one, Chain) and isinstance(two, Chain)
    assert set(two.places) == {0, 1} and two.interval_cycles < one.interval_cycles
    assert not two.violations() and sum(us > 0 for us in two.link_us()) == 1
    assert cycles.simulate(two).interval_cycles == pytest.approx(
        two.interval_cycles, rel=0.1
    )  # tiny layers: mostly fill
    slow = replace(platform, links=(Link(0, 1, 1e-3, 1.0),))
    assert chain.solve_platform(network().graph(), slow, small).interval_cycles >= two.interval_cycles


def test_limits_are_kept_or_named(place: Board) -> None:
    assert isinstance(chain.solve(network().graph(), place, Goal(max_utilisation=0.005)), NoFit)
    missed = chain.solve(network().graph(), place, Goal(max_utilisation=0.7, min_fps=1e9), space=SPACE)
    assert isinstance(missed, NoFit) and missed.violations[0].resource == "fps"


def test_operators_that_the_engine_lacks_become_stages(place: Board) -> None:
    """A product of two maps, as in squeeze and excitation: refused by the engine, split by the chain."""
    d = Draft((3, 16, 16), seed=7)
    x = d.conv("input", 16)
    x = d.product(x, d.conv(x, 16, 1))
    x = d.conv(d.conv(x, 32, stride=(2, 2)), 32)
    d.dense(d.global_average(x), 10)
    with pytest.raises(UnsupportedError, match="--engine chain"):
        solve(d.graph(), place, Goal(), space=SPACE)
    found = chain.solve(d.graph(), place, Goal(max_utilisation=0.9), space=SPACE)
    assert isinstance(found, Chain) and isinstance(found.parts[0], Design) and isinstance(found.parts[1], TiledDesign)
    assert "Mul" in {n.op.kind for n in found.parts[0].graph.nodes}
