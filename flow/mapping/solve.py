"""Find the design: smallest interval (or latency, or area) whose stages, width converters and FIFOs fit the budget."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from flow import elaborate, timing
from flow import estimate as cost
from flow.board import KINDS, Board, Resources
from flow.cost.targets import CSYNTH, Decision
from flow.design import Bound, Design, Folding, Netlist, Violation, excess
from flow.ir.graph import Graph
from flow.mapping import choose, fifos
from flow.mapping.choose import Floats, Problem

TRIES = 14  # intervals tried above the bound, in growing steps
GROWTH = 0.001  # of the first step from interval to interval; it doubles
BISECTIONS, SEARCHES = 6, 5
GOOD_GAP = 0.01  # a design this close to its bound is good enough
CORRECTIONS = 3  # designs realised at an interval, each with what the one before lacked set aside
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
    """No design meets the limits: what is short, how much is needed at least and how much there is."""

    violations: tuple[Violation, ...]

    def __str__(self) -> str:
        return "; ".join(str(v) for v in self.violations)


@dataclass(frozen=True, eq=False)
class Found:
    """Picks (index of each stage's option, AXI ends included) that fit, and what they become."""

    picks: tuple[int, ...]
    netlist: Netlist

    @property
    def interval(self) -> int:
        return timing.slowest(self.netlist)


@dataclass(eq=False)
class Task:
    """One question to the mapper, and what was found out on the way to its answer; lives within one call."""

    graph: Graph
    board: Board
    goal: Goal
    clock_mhz: float
    problem: Problem = field(init=False)
    budget: Resources = field(init=False)
    reserve: Floats = field(init=False)  # what FIFOs took beyond their least
    weights: Floats = field(init=False)
    bound: int | None = None  # proved: no design that fits has a smaller interval
    limit: str = "stream"

    def __post_init__(self) -> None:
        self.problem = choose.problem(self.graph, self.board)
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
        """The netlist of picks, FIFO depths included."""
        options = self.problem.options(picks)
        foldings = {n.id: o.folding for n, o in zip(self.graph.nodes, options, strict=True)}
        return Found(tuple(picks), realise(self.graph, self.board, foldings, max(o.cycles for o in options)))

    def fitting(self, picks: Sequence[int], interval: int, weights: Floats) -> Found | None:
        """Realised picks if they fit; if not, what they took beyond what was counted is set aside."""
        found = self.realise(picks)
        found = replace(found, netlist=fitted(found.netlist, self.budget))
        used = cost.resources(found.netlist)
        if not excess(used, self.budget):
            return found
        counted = self.problem.cost(interval, self.limits(0), weights, picks)
        self.reserve = np.maximum(self.reserve, np.array(used) - counted)
        return None

    def at(self, interval: int) -> Found | None:
        """A design of at most ``interval``; the one of least area where that fits."""
        self.reserve *= 0.5  # deeper FIFOs of other designs say little about this one's
        for _ in range(CORRECTIONS):
            weights = choose.even()
            picks = self.problem.cheapest(interval, self.limits(), weights)
            if picks is None:
                weights = self.weights.copy()
                state, picks = self.problem.fit(interval, self.limits(), weights, self.nodes)
                if state != 1:
                    return None
            found = self.fitting(picks, interval, weights)
            if found is not None:
                return found
        return None

    def prove(self, interval: int) -> bool:
        """Raise the bound above ``interval`` if that many cycles are provably too few."""
        if self.bound is None or interval < self.bound:
            return False
        weights = self.weights.copy()
        if not self.problem.proves(interval, self.limits(0), weights, self.nodes):
            return False
        self.bound = self.problem.next(interval + 1)
        self.limit = LIMITS[KINDS[int(np.argmax(weights))]]
        return True

    @property
    def nodes(self) -> int:
        """Of a search that takes some hundredths of a second, whatever the network's size."""
        return min(200, 2_500_000 // self.problem.work)

    def design(self, found: Found, started: float) -> Design:
        foldings = dict(zip((n.id for n in self.graph.nodes), self._foldings(found.picks), strict=True))
        assert self.bound is not None
        gap = found.interval / self.bound - 1
        bound = Bound(self.bound, self.limit, gap, True, time.perf_counter() - started)
        return Design(self.graph, self.board, self.clock_mhz, foldings, found.netlist, bound, self.budget)

    def _foldings(self, picks: Sequence[int]) -> list[Folding]:
        return [o.folding for o in self.problem.options(picks)]


def solve(graph: Graph, board: Board, goal: Goal | None = None, clock_mhz: float | None = None) -> Design | NoFit:
    """The best design for a goal. Raises UnsupportedError when no block serves a node."""
    started = time.perf_counter()
    task = Task(graph, board, goal or Goal(), clock_mhz or board.clock_mhz)
    refused = impossible(task)
    if refused is not None:
        return refused
    found = OBJECTIVES[task.goal.objective](task)
    return _check(task.design(found, started), task.goal) if found else short(task)


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
    while found is None and task.prove(task.bound) and task.bound is not None and task.bound < top:
        found = task.at(task.bound)
    interval = max(interval, task.bound or top)
    slowest = None if found is not None else task.at(top)
    if found is None and slowest is None:
        return None
    for _ in range(TRIES):
        if found is not None or interval >= top:
            break
        failed = interval
        interval = task.problem.next(max(interval + 1, int(interval * (1 + growth)))) or top
        growth *= 2
        found = task.at(interval)
    found = found or slowest
    assert found is not None
    return _searched(task, _closer(task, found, failed))


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
    best = timing.latency(found.netlist)
    for _ in range(2 * len(found.picks)):
        moves = sorted(_moves(task, found))
        for cycles, stage, pick in moves:
            if cycles >= best:
                return found
            better = task.realise((*found.picks[:stage], pick, *found.picks[stage + 1 :]))
            if not excess(cost.resources(better.netlist), task.budget):
                found, best = better, cycles
                break
        else:
            return found
    return found


def _moves(task: Task, found: Found) -> list[tuple[int, int, int]]:
    """(latency, stage, option): each stage sped up as much, and as little, as what is left allows."""
    left = np.array(task.budget) - np.array(cost.resources(found.netlist))
    moves = []
    for i, (t, k) in enumerate(zip(task.problem.tables[1:-1], found.picks[1:-1], strict=True), 1):
        o = t.options
        faster = (o.cycles < o.cycles[k]) & np.all(o.resources - o.resources[k] <= left, axis=1)
        fitting = np.flatnonzero(faster).tolist()
        for j in sorted({fitting[0], fitting[-1]}) if fitting else []:
            picks = (*found.picks[:i], j, *found.picks[i + 1 :])
            moves.append((timing.latency(task.realise(picks).netlist), i, j))
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
    kept = found if timing.latency(found.netlist) <= most else None
    while kept is None or low < high:
        mid = (low + high) // 2
        trial = task.at(mid)
        if trial is not None and timing.latency(trial.netlist) <= most:
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
        return NoFit(missing)
    roomy = np.maximum(np.array(task.budget, np.float64), 1) * 1e6
    picks = task.problem.cheapest(top, roomy, task.weights)
    assert picks is not None
    used = cost.resources(task.realise(picks).netlist)
    return NoFit(excess(used, task.budget) or (Violation("any", 1, 0),))


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
    used = cost.resources(netlist)
    return fifos.allocate(netlist, used, budget) if excess(used, budget) else netlist


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


def _check(design: Design, goal: Goal) -> Design | NoFit:
    cycles = timing.slowest(design.netlist)
    if goal.min_fps and design.clock_mhz * 1e6 / cycles < goal.min_fps:
        return NoFit((Violation("interval_cycles", cycles, int(design.clock_mhz * 1e6 / goal.min_fps)),))
    if goal.max_latency_ms:
        # Finite FIFOs may make it longer than the schedule.
        ms = cost.latency_cycles(design.netlist, timing.analyse(design.netlist)) / (design.clock_mhz * 1e3)
        if ms > goal.max_latency_ms:
            return NoFit((Violation("latency_ms", round(ms, 6), goal.max_latency_ms),))
    if goal.max_energy_mj:
        mj = cost.estimate(design).energy_mj or 0.0
        if mj > goal.max_energy_mj:
            return NoFit((Violation("energy_mj", round(mj, 6), goal.max_energy_mj),))
    return design
