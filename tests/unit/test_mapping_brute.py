"""The mapper against exhaustive search: every combination of foldings of tiny networks, elaborated for real."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from flow import blocks, board, mapping, timing
from flow import estimate as cost
from flow.board import Board, Resources
from flow.design import Design, Option, excess
from flow.ir.graph import Graph
from flow.mapping.solve import realise
from tests import networks

MOST = 2_500  # combinations of foldings that a case may have
CASES = 40


@dataclass(frozen=True)
class Case:
    """A network on a board that is too small for its fastest foldings, and the best design there is."""

    graph: Graph
    place: Board
    optimum: int | None  # smallest interval that fits
    answer: Design | mapping.NoFit


def draft(seed: int) -> networks.Draft:
    """Two or three layers with few channels, so that all foldings can be tried."""
    rng = np.random.default_rng([seed, 2])
    d = networks.Draft((int(rng.choice([1, 2, 3])), int(rng.integers(3, 6)), int(rng.integers(3, 6))), seed=seed)
    x = "input"
    for _ in range(int(rng.integers(1, 3))):
        kind = rng.choice(["conv", "pointwise", "depthwise", "pool", "residual"])
        c, h, w = d.tensors[x].shape
        if kind == "conv":
            x = d.conv(x, int(rng.choice([2, 3])), (2, 1) if h > 2 else 1, pads=(0, 0, 0, 0), weight_bits=4, bits=4)
        elif kind == "depthwise" and c > 1:
            x = d.conv(x, c, 3 if min(h, w) > 2 else 1, groups=c, weight_bits=3, bits=4)
        elif kind == "pool" and min(h, w) > 1:
            x = d.pool(x, "MaxPool", (2, 2), (1, 1))
        elif kind == "residual":
            x = d.residual(x, d.conv(x, c, 1, bits=d.tensors[x].quant.bits))
        else:
            x = d.conv(x, int(rng.choice([2, 4])), 1, weight_bits=4, bits=4)
    d.dense(d.global_average(x) if rng.random() < 0.6 else x, int(rng.choice([2, 3, 4])), weight_bits=4)
    return d


def tight_board(graph: Graph, seed: int) -> Board:
    """A board with a random part of what the fastest foldings take, of each resource by itself."""
    rng = np.random.default_rng([seed, 3])
    base = board.load(("zcu104", "pynq-z2")[seed % 2])
    fastest = [blocks.options(graph, n, base)[0] for n in graph.nodes]
    slowest = [blocks.options(graph, n, base)[-1] for n in graph.nodes]
    most, least = (sum((o.resources for o in some), Resources()) for some in (fastest, slowest))
    share = rng.uniform(0.0, 1.0, len(most))
    part = [int(a + s * max(0, b - a)) for a, b, s in zip(least, most, share, strict=True)]
    # Room for FIFOs, converters and control: without it hardly anything fits.
    room = (600, 2600)
    part[0], part[1] = part[0] + int(rng.integers(*room)), part[1] + int(rng.integers(*room))
    part[2], part[3] = part[2] + int(rng.integers(0, 3)), part[3] + int(rng.integers(0, 3))
    return replace(base, name=f"tight-{seed}", available=Resources(*part))


def best(graph: Graph, place: Board) -> int | None:
    """Smallest interval over all combinations of foldings whose whole netlist fits the board."""
    options = [blocks.options(graph, n, place) for n in graph.nodes]
    found: int | None = None
    combinations = sorted(itertools.product(*options), key=lambda c: max(o.cycles for o in c))
    for chosen in combinations:
        nominal = max(o.cycles for o in chosen)
        if found is not None and nominal >= found:
            break  # a netlist is never faster than its slowest stage
        interval = fitting(graph, place, chosen)
        if interval is not None:
            assert interval >= nominal
            found = interval if found is None else min(found, interval)
    return found


def fitting(graph: Graph, place: Board, chosen: tuple[Option, ...]) -> int | None:
    """The interval of these foldings if the elaborated design fits."""
    if excess(sum((o.resources for o in chosen), Resources()), place.available):
        return None
    foldings = {n.id: o.folding for n, o in zip(graph.nodes, chosen, strict=True)}
    net = realise(graph, place, foldings, max(o.cycles for o in chosen))
    return None if excess(cost.resources(net), place.available) else timing.slowest(net)


@cache
def cases() -> tuple[Case, ...]:
    found = []
    for seed in itertools.count():
        graph = draft(seed).graph()
        place = tight_board(graph, seed)
        if np.prod([float(len(blocks.options(graph, n, place))) for n in graph.nodes]) > MOST:
            continue
        answer = mapping.solve(graph, place, mapping.Goal(max_utilisation=1.0))
        found.append(Case(graph, place, best(graph, place), answer))
        if len(found) == CASES:
            return tuple(found)
    raise AssertionError


def test_the_sample_is_not_one_sided() -> None:
    answers = [c.optimum for c in cases()]
    assert sum(o is None for o in answers) >= 5 and sum(o is not None for o in answers) >= 15
    scarce = [c for c in cases() if c.optimum is not None and c.optimum > unlimited(c)]
    assert len(scarce) >= 8, "the boards hardly limit anything"


def unlimited(c: Case) -> int:
    """Interval when nothing is scarce."""
    return max(blocks.options(c.graph, n, c.place)[0].cycles for n in c.graph.nodes)


def test_bound_optimum_answer() -> None:
    """bound <= optimum <= answer; the gap is what the report says."""
    for c in cases():
        if isinstance(c.answer, Design):
            assert c.optimum is not None, "an answer although nothing fits"
            reached = timing.slowest(c.answer.netlist)
            bound = c.answer.bound
            assert bound.proved and bound.interval_cycles <= c.optimum <= reached
            assert bound.gap == pytest.approx(reached / bound.interval_cycles - 1) and bound.gap >= 0


def test_the_answer_fits_and_is_near_the_optimum() -> None:
    """Here FIFOs and converters cost as much as stages: whoever does not count them is far off."""
    gaps = []
    for c in cases():
        if isinstance(c.answer, Design) and c.optimum is not None:
            assert not excess(cost.resources(c.answer.netlist), c.place.available)
            gaps.append(timing.slowest(c.answer.netlist) / c.optimum - 1)
    assert len(gaps) >= 10 and np.mean(np.array(gaps) == 0) >= 0.9 and max(gaps) < 0.05, sorted(gaps)


def test_no_fit_says_what_is_short() -> None:
    refused = [c for c in cases() if isinstance(c.answer, mapping.NoFit)]
    for c in refused:
        assert isinstance(c.answer, mapping.NoFit)
        assert c.answer.violations and all(v.used > v.available for v in c.answer.violations)
        for v in c.answer.violations:
            assert v.available == c.place.available.json()[v.resource] and f"{v.used:g} needed" in str(c.answer)
    assert all(isinstance(c.answer, mapping.NoFit) for c in cases() if c.optimum is None)
    too_strict = sum(c.optimum is not None for c in refused)
    assert too_strict <= len(cases()) // 4, "refuses too many networks that fit tightly"


def test_bounds_alone_lose_no_design() -> None:
    """A search drops candidates by their bound, before solving: whatever some design reaches is never dropped."""
    dropped = 0
    for c in cases():
        clock = c.place.clock_mhz * 1e6
        if c.optimum is None:
            dropped += mapping.refused(c.graph, c.place, mapping.Goal(max_utilisation=1.0)) is not None
            continue
        for objective in ("throughput", "latency", "area"):
            reached = mapping.Goal(objective, 1.0, min_fps=clock / c.optimum)
            assert mapping.refused(c.graph, c.place, reached) is None
        # An image is in the design as long as the slowest process takes, less the cycles of its start and end.
        late = mapping.Goal("latency", 1.0, max_latency_ms=c.optimum / clock * 1e3)
        assert mapping.refused(c.graph, c.place, late) is None
        too_fast = mapping.Goal(max_utilisation=1.0, min_fps=1.01 * clock / (unlimited(c) - 1))
        assert mapping.refused(c.graph, c.place, too_fast) is not None
    assert dropped >= 5
