"""Find the design: smallest interval (or latency, or area) whose stages, width converters and FIFOs fit the budget."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from flow import blocks, elaborate, timing
from flow import estimate as cost
from flow.board import Board, Resources
from flow.cost.targets import CSYNTH, Decision
from flow.design import Bound, Design, Folding, Netlist, Option, Violation, excess
from flow.ir.graph import Graph
from flow.mapping.choose import Stages, cheapest, choose, stages

GOOD_GAP = 0.25  # a first answer this close to its bound is taken


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


def solve(graph: Graph, board: Board, goal: Goal | None = None, clock_mhz: float | None = None) -> Design | NoFit:
    """The best design for a goal. Raises UnsupportedError when no block serves a node."""
    goal, clock = goal or Goal(), clock_mhz or board.clock_mhz
    started = time.perf_counter()
    budget = cost.share(board, goal.max_utilisation, goal.decision)
    options = [blocks.options(graph, n, board) for n in graph.nodes]
    first = _reserved(graph, board, goal, clock, options, budget, started)
    if isinstance(first, Design) and (first.bound.gap <= GOOD_GAP or goal.objective != "throughput"):
        return _check(first, goal)
    picked = _by_interval(graph, board, goal, clock, options, budget)
    if picked is None:
        return _check(first, goal) if isinstance(first, Design) else first
    second = _design(graph, board, clock, picked, budget, options, started)
    faster = isinstance(first, NoFit) or timing.slowest(second.netlist) < timing.slowest(first.netlist)
    return _check(second if faster or isinstance(first, NoFit) else first, goal)


def _reserved(
    graph: Graph, board: Board, goal: Goal, clock: float, options: list[tuple[Option, ...]], budget: Resources,
    started: float,
) -> Design | NoFit:  # fmt: skip
    """Converters, FIFOs and control come on top of the stages: reserve for them, and more when that was short.

    Quick, and right when they are small beside the budget.
    """
    reserve = Resources()
    for _ in range(8):
        s = stages(options, minus(budget, reserve))
        found = _search(graph, board, goal, clock, s)
        if isinstance(found, NoFit):
            return least(options, budget, found, reserve)
        chosen = [s.options[i][k] for i, k in enumerate(found)]
        design = _design(graph, board, clock, chosen, budget, options, started)
        used = cost.resources(design.netlist)
        over = excess(used, budget)
        if not over:
            return design
        overhead = minus(used, total(chosen))
        reserve = Resources(
            *(max(a, b + b // 20 + 1) if b else a for a, b in zip(reserve.tuple, overhead.tuple, strict=True))
        )
    return NoFit(over)


def _by_interval(
    graph: Graph, board: Board, goal: Goal, clock: float, options: list[tuple[Option, ...]], budget: Resources
) -> list[Option] | None:
    """Options found by binary search over intervals, what comes on top of the stages measured anew at each.

    For small budgets, where FIFOs and converters of a fast design say nothing about those of a slow one.
    """
    candidates = intervals(stages(options, budget), floor_cycles(graph, board, clock))
    best: list[Option] | None = None
    low, high = 0, len(candidates) - 1
    mid = high  # the slowest first: when it does not fit, nothing does
    while low <= high:
        picked = _at_interval(graph, board, options, budget, int(candidates[mid]))
        if picked is not None:
            best, high = picked, mid - 1
        elif best is None:
            return None
        else:
            low = mid + 1
        mid = (low + high) // 2
    return best


def _at_interval(
    graph: Graph, board: Board, options: list[tuple[Option, ...]], budget: Resources, interval: int
) -> list[Option] | None:
    """Options of at most ``interval`` cycles that fit with all that joins them; None when corrections find none."""
    reserve = Resources()
    for _ in range(4):
        s = stages(options, minus(budget, reserve))
        choice = cheapest(s, interval) or choose(s, interval).choice
        if choice is None:
            return None
        picked = [s.options[i][k] for i, k in enumerate(choice)]
        used = cost.resources(_realised(graph, board, picked))
        if not excess(used, budget):
            return picked
        if (overhead := minus(used, total(picked))) == reserve:
            return None
        reserve = overhead
    return None


def minus(a: Resources, b: Resources) -> Resources:
    return Resources(*(max(0, x - y) for x, y in zip(a.tuple, b.tuple, strict=True)))


def total(options: list[Option]) -> Resources:
    return sum((o.resources for o in options), Resources())


def floor_cycles(graph: Graph, board: Board, clock_mhz: float) -> int:
    """Interval below which the board's memory cannot deliver images and take results."""
    if not board.memory_gb_s:
        return 1
    bits = sum(elaborate.size(graph, t) * graph.tensors[t].quant.bits for t in ("input", graph.output))
    return int(np.ceil(bits / 8 / (board.memory_gb_s * 1e9) * clock_mhz * 1e6))


def intervals(s: Stages, least_cycles: int) -> np.ndarray:
    """Every interval that some stage can have and no stage exceeds in its fastest folding."""
    if any(len(c) == 0 for c in s.cycles):
        return np.array([], np.int64)
    low = max(max(int(c[0]) for c in s.cycles), least_cycles)
    found = np.unique(np.concatenate([*s.cycles, np.array([low])]))
    return found[found >= low]


def _search(graph: Graph, board: Board, goal: Goal, clock: float, s: Stages) -> tuple[int, ...] | NoFit:
    candidates = intervals(s, floor_cycles(graph, board, clock))
    if len(candidates) == 0:
        return NoFit(())
    fastest = _smallest(s, candidates)
    if fastest is None:
        return NoFit(())
    index, choice = fastest
    if goal.objective == "throughput":
        return tidy(s, int(candidates[index]), choice)
    if goal.objective == "latency":
        return _quicken(graph, board, clock, s, tidy(s, int(candidates[index]), choice), goal)
    return _smallest_area(graph, board, goal, clock, s, candidates[index:], choice)


def _smallest(s: Stages, candidates: np.ndarray) -> tuple[int, tuple[int, ...]] | None:
    """Binary search for the first interval with a feasible choice."""
    low, high = 0, len(candidates) - 1
    last = choose(s, int(candidates[high])).choice
    if last is None:
        return None
    while low < high:
        mid = (low + high) // 2
        answer = choose(s, int(candidates[mid]))
        if answer.choice is None:
            low = mid + 1
        else:
            high, last = mid, answer.choice
    return high, last


def tidy(s: Stages, interval: int, choice: tuple[int, ...]) -> tuple[int, ...]:
    """At the same interval, the choice of least area when it fits."""
    return cheapest(s, interval) or choice


def bound(s: Stages, candidates: np.ndarray, reached: int, started: float) -> Bound:
    """Largest interval proved necessary: all smaller candidates are proved infeasible."""
    low, high = 0, int(np.searchsorted(candidates, reached))
    limit = "stream"
    while low < high:
        mid = (low + high) // 2
        answer = choose(s, int(candidates[mid]))
        if answer.choice is None and answer.proved:
            low = mid + 1
            limit = s.kinds[int(np.argmax(answer.weights))]
        else:
            high = mid
    proved = int(candidates[low]) if low < len(candidates) else reached
    name = {"dsp": "dsp", "lut": "lut", "ff": "ff", "bram18": "memory", "uram": "memory"}.get(limit, limit)
    return Bound(proved, name, reached / proved - 1, True, time.perf_counter() - started)


def _design(
    graph: Graph, board: Board, clock: float, picked: list[Option], budget: Resources,
    options: list[tuple[Option, ...]], started: float,
) -> Design:  # fmt: skip
    net = _realised(graph, board, picked)
    foldings = {n.id: o.folding for n, o in zip(graph.nodes, picked, strict=True)}
    whole = stages(options, budget)
    candidates = intervals(whole, floor_cycles(graph, board, clock))
    reached = timing.slowest(net)
    return Design(graph, board, clock, foldings, net, bound(whole, candidates, reached, started), budget)


def _realised(graph: Graph, board: Board, picked: list[Option]) -> Netlist:
    foldings = {n.id: o.folding for n, o in zip(graph.nodes, picked, strict=True)}
    return realise(graph, board, foldings, max(o.cycles for o in picked))


def realise(
    graph: Graph, board: Board, foldings: Mapping[str, Folding], interval: int, ends: tuple[int, int] | None = None
) -> Netlist:
    """Netlist with FIFO depths that keep its interval."""
    net = elaborate.netlist(graph, foldings, board, interval, ends)
    return net.with_depths(timing.analyse(net).depths)


def rebuild(graph: Graph, board: Board, view: Mapping[str, Any], foldings: dict[str, Folding]) -> Design:
    """The design that ``design.json`` (``view``) describes, with its recorded FIFO depths.

    Raises ValueError when the foldings do not give the recorded streams.
    """
    depths = {s["name"]: int(s["depth"]) for s in view["streams"]}
    interval = max(int(p["cycles"]) for p in view["processes"]) + 1
    net = elaborate.netlist(graph, foldings, board, interval, (view["input"]["axis_bits"], view["output"]["axis_bits"]))
    if {s.name for s in net.streams} != set(depths):
        raise ValueError("the recorded foldings give other streams than the recorded ones")
    bound = Bound(**view["bound"])
    return Design(
        graph, board, float(view["clock_mhz"]), foldings, net.with_depths(depths), bound, Resources(**view["available"])
    )


def _check(design: Design, goal: Goal) -> Design | NoFit:
    t = timing.analyse(design.netlist)
    fps = design.clock_mhz * 1e6 / t.interval_cycles
    ms = t.latency_cycles / (design.clock_mhz * 1e3)
    if goal.min_fps and fps < goal.min_fps:
        return NoFit((Violation("interval_cycles", t.interval_cycles, int(design.clock_mhz * 1e6 / goal.min_fps)),))
    if goal.max_latency_ms and ms > goal.max_latency_ms:
        return NoFit((Violation("latency_ms", round(ms, 6), goal.max_latency_ms),))
    if goal.max_energy_mj:
        mj = cost.estimate(design).energy_mj or 0.0
        if mj > goal.max_energy_mj:
            return NoFit((Violation("energy_mj", round(mj, 6), goal.max_energy_mj),))
    return design


def _latency(graph: Graph, board: Board, s: Stages, choice: tuple[int, ...]) -> int:
    foldings = {n.id: s.options[i][k].folding for i, (n, k) in enumerate(zip(graph.nodes, choice, strict=True))}
    net = elaborate.netlist(graph, foldings, board, max(s.options[i][k].cycles for i, k in enumerate(choice)))
    return timing.latency(net)


def _quicken(
    graph: Graph, board: Board, clock: float, s: Stages, choice: tuple[int, ...], goal: Goal
) -> tuple[int, ...]:
    """Spend what the smallest interval left over: speed up one stage at a time while latency falls and all fits."""
    current = list(choice)
    best = _latency(graph, board, s, choice)
    for _ in range(2 * len(current)):
        moves: list[tuple[int, int, int]] = []
        used = np.sum([s.fractions[i][k] for i, k in enumerate(current)], axis=0)
        for i, k in enumerate(current):
            faster = [j for j in range(k) if s.cycles[i][j] < s.cycles[i][k]]
            fitting = [j for j in faster if (used - s.fractions[i][k] + s.fractions[i][j]).max() <= 0.98]
            for j in sorted({fitting[0], fitting[-1]}) if fitting else []:
                trial = (*current[:i], j, *current[i + 1 :])
                moves.append((_latency(graph, board, s, trial), i, j))
        if not moves or min(moves)[0] >= best:
            break
        best, i, j = min(moves)
        current[i] = j
    return tuple(current)


def _smallest_area(
    graph: Graph, board: Board, goal: Goal, clock: float, s: Stages, candidates: np.ndarray, choice: tuple[int, ...]
) -> tuple[int, ...]:
    """Least area among the intervals that keep the limits: the largest such interval."""
    limit = clock * 1e6 / goal.min_fps - 1 if goal.min_fps else float("inf")
    allowed = candidates[candidates <= limit]
    if len(allowed) == 0:
        return choice
    if goal.max_latency_ms is None:
        return cheapest(s, int(allowed[-1])) or choice
    low, high, found = 0, len(allowed) - 1, choice
    while low <= high:
        mid = (low + high) // 2
        trial = cheapest(s, int(allowed[mid]))
        if trial is not None and _latency(graph, board, s, trial) <= goal.max_latency_ms * clock * 1e3:
            found, low = trial, mid + 1
        else:
            high = mid - 1
    return found


def least(options: list[tuple[Option, ...]], budget: Resources, found: NoFit, reserve: Resources) -> NoFit:
    """Name what is short: each resource's proved least use over all foldings, else the smallest design's overuse."""
    if found.violations:
        return found
    floors = Resources(*(
        sum(min(o.resources.tuple[k] for o in opts) for opts in options) for k in range(len(budget.tuple))
    )) + reserve  # fmt: skip
    short = excess(floors, budget)
    if short:
        return NoFit(short)
    # No single resource is short by itself: show the design that overuses least.
    limit = np.maximum(np.array(budget.tuple, float), 1)
    picks = [min(opts, key=lambda o: float(np.max(np.array(o.resources.tuple) / limit))) for opts in options]
    return NoFit(excess(total(picks) + reserve, budget) or (Violation("any", 1, 0),))
