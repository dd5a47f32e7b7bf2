"""Find the design: smallest interval (or latency, or area) whose stages, width converters and FIFOs fit the budget."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from flow import elaborate, layout, timing
from flow import estimate as cost
from flow.board import KINDS, Board, Resources
from flow.cost.targets import CSYNTH, Decision
from flow.design import Bound, Design, Folding, Netlist, Report, Violation, excess
from flow.ir.graph import Graph
from flow.layout import Layout
from flow.mapping import choose, contents, fifos
from flow.mapping.choose import Floats, Problem

TRIES = 14  # intervals tried above the bound, in growing steps
GROWTH = 0.001  # of the first step from interval to interval; it doubles
BISECTIONS, SEARCHES = 6, 5
GOOD_GAP = 0.01  # a design this close to its bound is good enough
CORRECTIONS = 3  # designs realised at an interval, each counting on what the FIFOs of the one before held
QUICK = 3_000_000  # sums of a search for a design
LIMITS = {"lut": "lut", "ff": "ff", "dsp": "dsp", "bram18": "memory", "uram": "memory"}


@dataclass(frozen=True)
class Goal:
    """What to optimise ("throughput", "latency" or "area") under which limits."""

    objective: str = "throughput"
    max_utilisation: float = 0.8
    min_fps: float | None = None
    max_latency_ms: float | None = None
    max_energy_mj: float | None = None
    decision: Decision = CSYNTH  # which target must fit, and how surely

    def __post_init__(self) -> None:
        if self.objective not in ("throughput", "latency", "area"):
            raise ValueError(f"objective {self.objective!r}: throughput, latency or area")
        if not 0 < self.max_utilisation <= 1:
            raise ValueError(f"max_utilisation {self.max_utilisation}: above 0, at most 1")


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

    def __post_init__(self) -> None:
        self.problem = self.expected = choose.problem(self.graph, self.board)
        self.budget = cost.share(self.board, self.goal.max_utilisation, self.goal.decision)
        self.reserve = np.zeros(len(KINDS))
        self.weights = choose.even()
        low = floor_cycles(self.graph, self.board, self.clock_mhz)
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
        """Realised picks if they fit; if not, the next choice counts on what FIFOs hold here."""
        found = self.realise(picks)
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
                state, picks = self.expected.fit(interval, self.limits(), weights, QUICK)
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
        if not self.problem.proves(interval, self.limits(0), weights):
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


def solve(graph: Graph, board: Board, goal: Goal | None = None, clock_mhz: float | None = None) -> Design | NoFit:
    """The best design for a goal. Raises UnsupportedError when no block serves a node."""
    started = time.perf_counter()
    task = Task(graph, board, goal or Goal(), clock_mhz or board.clock_mhz)
    found = answer(task)
    return found if isinstance(found, NoFit) else task.design(found, started)


def evaluate(
    graph: Graph, board: Board, goal: Goal | None = None, clock_mhz: float | None = None,
    decision: Decision | None = None,
) -> Report | NoFit:  # fmt: skip
    """The estimate of ``solve``'s design, with the same numbers, without building it: what a search asks for.

    ``decision``: which target it is judged by, the goal's without. Raises UnsupportedError as ``solve``.
    """
    started = time.perf_counter()
    task = Task(graph, board, goal or Goal(), clock_mhz or board.clock_mhz)
    found = answer(task)
    return found if isinstance(found, NoFit) else task.report(found, started, decision)


def answer(task: Task) -> Found | NoFit:
    """The best design for the task's goal that keeps its limits."""
    refused = impossible(task)
    if refused is not None:
        return refused
    found = OBJECTIVES[task.goal.objective](task)
    return short(task) if found is None else missed(task, found) or found


def refused(graph: Graph, board: Board, goal: Goal | None = None, clock_mhz: float | None = None) -> NoFit | None:
    """Why no design can keep a goal's limits, by bounds alone: a search's first and cheapest question."""
    return impossible(Task(graph, board, goal or Goal(), clock_mhz or board.clock_mhz))


def impossible(task: Task) -> NoFit | None:
    """The same of a task."""
    if task.bound is None:
        return short(task)
    goal, least_ms = task.goal, (task.bound - 1) / (task.clock_mhz * 1e3)  # an image takes the slowest process whole
    most = task.clock_mhz * 1e6 / goal.min_fps if goal.min_fps else None
    if most is not None and task.bound > most * (1 + 1e-9):
        return NoFit((Violation("interval_cycles", task.bound, int(most)),))
    if goal.max_latency_ms is not None and least_ms > goal.max_latency_ms:
        return NoFit((Violation("latency_ms", round(least_ms, 6), goal.max_latency_ms),))
    return None


def fastest(task: Task) -> Found | None:
    """Smallest interval: upwards from the bound in growing steps until something fits, then back by bisection."""
    assert task.bound is not None
    top = max(int(t.options.cycles[-1]) for t in task.problem.tables)
    interval, growth, failed = task.bound, GROWTH, task.bound - 1
    found = task.at(interval)
    if found is None and task.prove(task.bound):
        task.rise()
        if task.bound is None:
            return None
        found = task.at(task.bound)
    interval = max(interval, task.bound)
    for _ in range(TRIES):
        if found is not None or interval >= top:
            break
        failed = interval
        interval = task.problem.next(max(interval + 1, int(interval * (1 + growth)))) or top
        growth *= 2
        found = task.at(interval)
    found = found or task.at(top)
    return found and _searched(task, _closer(task, found, failed))


def _closer(task: Task, found: Found, failed: int) -> Found:
    """Bisect between an interval where no design was found and one where one was."""
    for _ in range(BISECTIONS):
        low = task.problem.next(failed + 1)
        if low is None or low >= found.interval or found.interval <= failed * (1 + GOOD_GAP):
            break
        mid = task.problem.next(max(low, (failed + found.interval) // 2))
        mid = low if mid is None or mid >= found.interval else mid
        better = task.at(mid)
        if better is not None and better.interval < found.interval:
            found = better
        else:
            failed = max(failed, mid)
    return found


def _searched(task: Task, found: Found) -> Found:
    """Close what gap is left from both sides, by search."""
    assert task.bound is not None
    failed = task.bound - 1
    for _ in range(SEARCHES):
        if found.interval <= task.bound * (1 + GOOD_GAP):
            break
        low = max(task.bound, task.problem.next(failed + 1) or task.bound)
        if low >= found.interval:
            break
        mid = task.problem.next(max(low, int(math.sqrt(low * found.interval))))
        mid = low if mid is None or mid >= found.interval else mid
        if task.prove(mid):
            failed = mid
            continue
        better = task.at(mid)
        if better is not None and better.interval < found.interval:
            found = better
        else:
            failed = mid
    return found


def quickest(task: Task) -> Found | None:
    """Small latency: spend what the smallest interval left over, one stage at a time while latency falls and all
    fits."""
    found = fastest(task)
    if found is None:
        return None
    best = found.latency
    for _ in range(2 * len(found.picks)):
        moves = sorted(_moves(task, found))
        for cycles, stage, pick in moves:
            if cycles >= best:
                return found
            better = task.realise((*found.picks[:stage], pick, *found.picks[stage + 1 :]))
            if not excess(better.resources, task.budget):
                found, best = better, cycles
                break
        else:
            return found
    return found


def _moves(task: Task, found: Found) -> list[tuple[int, int, int]]:
    """(latency, stage, option): each stage sped up as much, and as little, as what is left allows."""
    left = np.array(task.budget) - np.array(found.resources)
    moves = []
    for i, (t, k) in enumerate(zip(task.problem.tables[1:-1], found.picks[1:-1], strict=True), 1):
        o = t.options
        faster = (o.cycles < o.cycles[k]) & np.all(o.resources - o.resources[k] <= left, axis=1)
        fitting = np.flatnonzero(faster).tolist()
        for j in sorted({fitting[0], fitting[-1]}) if fitting else []:
            picks = (*found.picks[:i], j, *found.picks[i + 1 :])
            moves.append((task.realise(picks).latency, i, j))
    return moves


def smallest(task: Task) -> Found | None:
    """Least area among the intervals that keep the limits: the largest such interval."""
    goal, clock = task.goal, task.clock_mhz
    top = max(int(t.options.cycles[-1]) for t in task.problem.tables)
    if goal.min_fps:
        top = min(top, int(clock * 1e6 / goal.min_fps))
    found = task.at(top)
    if found is None or goal.max_latency_ms is None:
        return found or fastest(task)
    low, high = task.bound or top, top
    most = goal.max_latency_ms * clock * 1e3
    kept = found if found.latency <= most else None
    while kept is None or low < high:
        mid = (low + high) // 2
        trial = task.at(mid)
        if trial is not None and trial.latency <= most:
            kept, low = trial, mid + 1
        else:
            high = mid
        if low >= high:
            break
    return kept or quickest(task)


OBJECTIVES = {"throughput": fastest, "latency": quickest, "area": smallest}


def short(task: Task) -> NoFit:
    """Name what is short: each resource's proved least use, else what the design that overuses least takes."""
    top = max(int(t.options.cycles[-1]) for t in task.problem.tables)
    least = []
    for k in range(len(KINDS)):
        only = np.eye(len(KINDS))[k]
        roomy = np.full(len(KINDS), 1e12)
        picks = task.problem.cheapest(top, roomy, only)
        assert picks is not None
        least.append(int(task.problem.cost(top, roomy, only, picks)[k]))
    missing = excess(Resources(*least), task.budget)
    if missing:
        return NoFit(missing, task.bound)
    roomy = np.maximum(np.array(task.budget, np.float64), 1) * 1e6
    picks = task.problem.cheapest(top, roomy, task.weights)
    assert picks is not None
    counted = excess(Resources(*map(int, task.problem.cost(top, roomy, task.weights, picks))), task.budget)
    found = counted or excess(task.realise(picks).resources, task.budget)
    return NoFit(found or (Violation("any", 1, 0),), task.bound)


def floor_cycles(graph: Graph, board: Board, clock_mhz: float) -> int:
    """Interval below which the board's memory cannot deliver images and take results."""
    if not board.memory_gb_s:
        return 1
    bits = sum(elaborate.size(graph, t) * graph.tensors[t].quant.bits for t in ("input", graph.output))
    return int(np.ceil(bits / 8 / (board.memory_gb_s * 1e9) * clock_mhz * 1e6))


def realise(
    graph: Graph, board: Board, foldings: Mapping[str, Folding], interval: int, ends: tuple[int, int] | None = None
) -> Netlist:
    """Netlist with FIFO depths that keep its interval."""
    net = elaborate.netlist(graph, foldings, board, interval, ends)
    return net.with_depths(timing.depths(net))


def fitted(netlist: Netlist, budget: Resources) -> Netlist:
    """The netlist with its FIFOs where there is room for them."""
    found = layout.of(netlist)
    used = layout.resources(found)
    if not excess(used, budget):
        return netlist
    return layout.with_fifos(netlist, fifos.allocate(found.fifos, used, budget))


def rebuild(graph: Graph, board: Board, view: Mapping[str, Any], foldings: dict[str, Folding]) -> Design:
    """The design that ``design.json`` (``view``) describes, with its recorded FIFO depths.

    Raises ValueError when the foldings do not give the recorded streams.
    """
    kept = {s["name"]: (int(s["depth"]), s.get("storage", "auto")) for s in view["streams"]}
    interval = max(int(p["cycles"]) for p in view["processes"]) + 1
    net = elaborate.netlist(graph, foldings, board, interval, (view["input"]["axis_bits"], view["output"]["axis_bits"]))
    if {s.name for s in net.streams} != set(kept):
        raise ValueError("the recorded foldings give other streams than the recorded ones")
    net = replace(net, streams=tuple(replace(s, depth=kept[s.name][0], storage=kept[s.name][1]) for s in net.streams))
    clock, bound = float(view["clock_mhz"]), Bound(**view["bound"])
    return Design(graph, board, clock, foldings, net, bound, Resources(**view["available"]))


def missed(task: Task, found: Found) -> NoFit | None:
    """The first of the goal's limits that a design does not keep."""
    goal, clock = task.goal, task.clock_mhz
    if goal.min_fps and clock * 1e6 / found.interval < goal.min_fps:
        return NoFit((Violation("interval_cycles", found.interval, int(clock * 1e6 / goal.min_fps)),), task.bound)
    ms = found.latency / (clock * 1e3) if goal.max_latency_ms else 0.0
    if goal.max_latency_ms and ms > goal.max_latency_ms:
        return NoFit((Violation("latency_ms", round(ms, 6), goal.max_latency_ms),), task.bound)
    mj = (task.report(found, time.perf_counter()).energy_mj or 0.0) if goal.max_energy_mj else 0.0
    if goal.max_energy_mj and mj > goal.max_energy_mj:
        return NoFit((Violation("energy_mj", round(mj, 6), goal.max_energy_mj),), task.bound)
    return None
