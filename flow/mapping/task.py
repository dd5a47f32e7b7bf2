"""One question to the mapper: network, board and goal, what is proved so far, designs tried and realised."""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from flow import elaborate, layout, timing
from flow import estimate as cost
from flow.blocks import stream
from flow.board import KINDS, Board, Resources
from flow.cost.targets import CSYNTH, Decision
from flow.design import Bound, Design, Folding, Report, Violation, excess
from flow.ir.graph import Graph
from flow.layout import Layout
from flow.mapping import choose, contents, fifos
from flow.mapping.choose import Floats, Problem

GROWTH = 0.001  # of the first step from interval to interval; it doubles
CORRECTIONS = 3  # designs realised at an interval, each counting on what the FIFOs of the one before held
QUICK = 3_000_000  # sums of a search for a design
LIMITS = {"lut": "lut", "ff": "ff", "dsp": "dsp", "bram18": "memory", "uram": "memory"}


@dataclass(frozen=True)
class Goal:
    """What to optimise ("throughput", "latency" or "area") under which limits.

    ``effort``: share of the branch and bound spent on an interval that weights leave undecided; 1 for a design that is
    to be built, less for candidates that are compared.
    """

    objective: str = "throughput"
    max_utilisation: float = 0.8
    min_fps: float | None = None
    max_latency_ms: float | None = None
    max_energy_mj: float | None = None
    decision: Decision = CSYNTH  # which target must fit, and how surely
    effort: float = 1.0

    def __post_init__(self) -> None:
        if self.objective not in ("throughput", "latency", "area"):
            raise ValueError(f"objective {self.objective!r}: throughput, latency or area")
        if not 0 < self.max_utilisation <= 1:
            raise ValueError(f"max_utilisation {self.max_utilisation}: above 0, at most 1")
        if not 0 < self.effort <= 1:
            raise ValueError(f"effort {self.effort}: above 0, at most 1")


@dataclass(frozen=True)
class NoFit:
    """No design meets the limits: what is short, how much is needed at least and how much there is.

    ``open_cycles``: the smallest interval that is not proved impossible, None where all are: nothing can fit then.
    """

    violations: tuple[Violation, ...]
    open_cycles: int | None = None

    def __str__(self) -> str:
        return "; ".join(str(v) for v in self.violations)


@dataclass(frozen=True, eq=False)
class Found:
    """Picks (index of each stage's option, AXI ends included) that fit, and what they become."""

    picks: tuple[int, ...]
    layout: Layout

    @property
    def interval(self) -> int:
        return self.layout.interval

    @cached_property
    def resources(self) -> Resources:
        return layout.resources(self.layout)

    @cached_property
    def latency(self) -> int:
        """Cycles of one image, as the estimate counts them."""
        return cost.latency_cycles(self.layout)


@dataclass(eq=False)
class Task:
    """One question to the mapper, and what was found out on the way to its answer; lives within one call."""

    graph: Graph
    board: Board
    goal: Goal
    clock_mhz: float
    problem: Problem = field(init=False)
    budget: Resources = field(init=False)
    expected: Problem = field(init=False)  # with FIFOs as deep as in the last design that did not fit
    reserve: Floats = field(init=False)  # what was not expected there
    weights: Floats = field(init=False)
    bound: int | None = None  # proved: no design that fits has a smaller interval
    limit: str = "stream"
    memory_floor: int = 1  # interval below which the memory does not keep up

    def __post_init__(self) -> None:
        self.problem = self.expected = choose.problem(self.graph, self.board)
        self.budget = cost.share(self.board, self.goal.max_utilisation, self.goal.decision)
        self.reserve = np.zeros(len(KINDS))
        self.weights = choose.even()
        low = self.memory_floor = floor_cycles(self.graph, self.board, self.clock_mhz)
        fastest = max(int(t.options.cycles[0]) for t in self.problem.tables)
        self.limit = "bandwidth" if low > fastest else "stream"
        self.bound = self.problem.floor(low, self.limits(0), self.weights)
        if self.bound is not None and self.bound > max(low, fastest):
            self.limit = LIMITS[KINDS[int(np.argmax(self.weights))]]

    def limits(self, share: float = 1.0) -> Floats:
        """The budget less a share of the reserve."""
        return np.array(self.budget, np.float64) - share * self.reserve

    def realise(self, picks: Sequence[int]) -> Found:
        """What picks become, FIFO depths included."""
        found = layout.compose(self.graph, self.foldings(picks), self.board, self.cycles(picks))
        return Found(tuple(picks), found.with_depths(timing.depths_of(found)))

    def fitting(self, picks: Sequence[int]) -> Found | None:
        """Realised picks if they fit; if not, the next choice counts on what FIFOs hold here. None too where they would
        outrun the memory: a slower choice has narrower ends."""
        found = self.realise(picks)
        if found.interval < self.memory_floor:
            return None
        used = found.resources
        if not excess(used, self.budget):
            return found
        moved = found.layout.with_fifos(fifos.allocate(found.layout.fifos, used, self.budget))
        short = np.maximum(0, np.array(layout.resources(moved)) - np.array(self.budget))
        if not short.any():
            return Found(found.picks, moved)
        self.reserve = self.reserve + short if self.expected is not self.problem else self.reserve
        held = contents.held(self.graph, self.problem, picks, found.layout.fifos)
        self.expected = choose.problem(self.graph, self.board, held)
        return None

    def at(self, interval: int) -> Found | None:
        """A design of at most ``interval``; the one of least area where that fits."""
        self.reserve *= 0.5
        for _ in range(CORRECTIONS):
            weights = choose.even()
            picks = self.expected.cheapest(interval, self.limits(), weights)
            if picks is None:
                weights = self.weights.copy()
                state, picks = self.expected.fit(interval, self.limits(), weights, int(QUICK * self.goal.effort))
                if state != 1:
                    return None
            found = self.fitting(picks)
            if found is not None:
                return found
        return None

    def prove(self, interval: int) -> bool:
        """Raise the bound above ``interval`` if that many cycles are provably too few."""
        if self.bound is None or interval < self.bound:
            return False
        weights = self.weights.copy()
        if not self.problem.proves(interval, self.limits(0), weights, int(choose.EFFORT * self.goal.effort)):
            return False
        self.bound = self.problem.next(interval + 1)
        self.limit = LIMITS[KINDS[int(np.argmax(weights))]]
        return True

    def rise(self) -> None:
        """Raise the bound as far as proofs go: in growing steps, then by bisection."""
        growth, high = GROWTH, None
        while self.bound is not None and (high is None or self.bound < high):
            aim = self.bound * (1 + growth) if high is None else math.sqrt(self.bound * high)
            trial = self.problem.next(max(self.bound, int(aim))) or self.bound
            trial = self.bound if high is not None and trial >= high else trial
            if not self.prove(trial):
                high = trial
            growth *= 2

    def proof(self, found: Found, started: float) -> Bound:
        assert self.bound is not None
        gap = found.interval / self.bound - 1
        return Bound(self.bound, self.limit, gap, True, time.perf_counter() - started)

    def design(self, found: Found, started: float) -> Design:
        foldings = self.by_node(found)
        net = elaborate.netlist(self.graph, foldings, self.board, self.cycles(found.picks))
        net = layout.with_fifos(net, found.layout.fifos)
        return Design(self.graph, self.board, self.clock_mhz, foldings, net, self.proof(found, started), self.budget)

    def report(self, found: Found, started: float, decision: Decision | None = None) -> Report:
        """As ``estimate.estimate`` of the design, which need not be built for it."""
        allowed = cost.share(self.board, self.goal.max_utilisation)
        place = cost.Place(self.board, self.clock_mhz, self.budget, decision or self.goal.decision, allowed)
        return cost.report(self.graph, self.by_node(found), found.layout, place, self.proof(found, started))

    def foldings(self, picks: Sequence[int]) -> list[Folding]:
        """One a node of the network."""
        return [t.options.folding(k) for t, k in zip(self.problem.tables[1:-1], picks[1:-1], strict=True)]

    def by_node(self, found: Found) -> dict[str, Folding]:
        return dict(zip((n.id for n in self.graph.nodes), self.foldings(found.picks), strict=True))

    def cycles(self, picks: Sequence[int]) -> int:
        """Interval of the picked options, which the AXI ends have to keep."""
        return max(int(t.options.cycles[k]) for t, k in zip(self.problem.tables[1:-1], picks[1:-1], strict=True))


def floor_cycles(graph: Graph, board: Board, clock_mhz: float) -> int:
    """Interval below which the board's memory cannot deliver images and take results, in whole words."""
    if not board.memory_gb_s:
        return 1
    ends = ((stream.slot_bits(graph.tensors[t].quant), elaborate.size(graph, t)) for t in ("input", graph.output))
    return _floor_cycles(tuple(ends), clock_mhz * 1e6 / (board.memory_gb_s * 1e9) / 8)


@lru_cache(maxsize=1024)
def _floor_cycles(ends: tuple[tuple[int, int], ...], cycles: float) -> int:
    """``ends``: bits of an element in a word, and elements; ``cycles`` a bit."""

    def needed(interval: int) -> int:
        widths = [elaborate.axis_width(*end, interval) for end in ends]  # no narrower for a smaller interval
        return math.ceil(sum(-(-slot * n // w) * w for (slot, n), w in zip(ends, widths, strict=True)) * cycles)

    most = needed(1)
    return 1 + bisect.bisect_left(range(1, most + 1), True, key=lambda t: needed(t) <= t)
