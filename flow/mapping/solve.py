"""Find the design: smallest interval (or latency, or area) whose stages, width converters and FIFOs fit the budget."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from flow import elaborate, layout, timing
from flow.board import KINDS, Board, Resources
from flow.cost.targets import Decision
from flow.design import Bound, Design, Folding, Netlist, Report, Violation, excess
from flow.ir.graph import Graph
from flow.mapping import fifos
from flow.mapping.objectives import OBJECTIVES
from flow.mapping.task import Found, Goal, NoFit, Task


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
    return (impossible(task) or short(task)) if found is None else missed(task, found) or found


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


def short(task: Task) -> NoFit:
    """Name what is short: each resource's proved least use, else what the design that overuses least takes."""
    top = max(int(t.options.cycles[-1]) for t in task.problem.tables)
    least = []
    for k in range(len(KINDS)):
        only = np.eye(len(KINDS))[k]
        roomy = np.full(len(KINDS), 1e12)
        picks = task.problem.cheapest(top, roomy, only)
        assert picks is not None
        least.append(int(task.problem.cost(roomy, only, picks)[k]))
    missing = excess(Resources(*least), task.budget)
    if missing:
        return NoFit(missing, task.bound)
    roomy = np.maximum(np.array(task.budget, np.float64), 1) * 1e6
    picks = task.problem.cheapest(top, roomy, task.weights)
    assert picks is not None
    counted = excess(Resources(*map(int, task.problem.cost(roomy, task.weights, picks))), task.budget)
    found = counted or excess(task.realise(picks).resources, task.budget)
    return NoFit(found or (Violation("any", 1, 0),), task.bound)


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
