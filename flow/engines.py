"""Which kind of engine: a stage for each layer or one engine for all, the better of both with a bound over both.

Both mappers are asked, except where a bound decides: the tiled engine cannot beat stages when even all DSPs of the
budget, busy with products every cycle, would take longer than the stages do.
"""

from __future__ import annotations

import time
from dataclasses import replace

from flow import mapping, tiled, timing
from flow.board import Board
from flow.design import Bound, Design
from flow.estimate import estimate, share
from flow.ir.graph import Graph
from flow.ir.ops import Conv, Dense
from flow.mapping import Goal, NoFit
from flow.tiled import TiledDesign

Answer = Design | TiledDesign
PRODUCTS = 2  # of 8 bits, a DSP and cycle (flow/blocks/mac.py)


def solve(
    graph: Graph, board: Board, goal: Goal | None = None, clock_mhz: float | None = None, whole: Graph | None = None
) -> Answer | NoFit:
    """The best design of either kind; its bound holds for every design of both. Equal ones: stages.

    ``whole``: the graph for the tiled engine, where it computes more than stages do. Raises UnsupportedError when no
    block serves a node; what only the tiled engine cannot compute goes to stages.
    """
    started, goal = time.perf_counter(), goal or Goal()
    stages = mapping.solve(graph, board, goal, clock_mhz)
    if isinstance(stages, Design) and timing.slowest(stages.netlist) <= least(whole or graph, board, goal):
        if goal.objective == "throughput":
            return stages
    try:
        engine = tiled.solve(whole or graph, board, goal, clock_mhz)
    except tiled.UnsupportedError:
        return stages
    return better(stages, engine, goal, started)


def least(graph: Graph, board: Board, goal: Goal) -> float:
    """Cycles an image that no tiled engine beats: a DSP makes two products a cycle at most."""
    work = sum(graph.macs(n) for n in graph.nodes if isinstance(n.op, Dense) or _plain(n.op))
    return work / max(1, PRODUCTS * share(board, goal.max_utilisation).dsp)


def _plain(op: object) -> bool:
    return isinstance(op, Conv) and op.groups == 1


def better(stages: Design | NoFit, engine: TiledDesign | NoFit, goal: Goal, started: float) -> Answer | NoFit:
    """The one that the goal prefers, with a bound for both kinds together."""
    fitting: list[Answer] = [d for d in (stages, engine) if not isinstance(d, NoFit)]
    if not fitting:
        return stages
    best = min(fitting, key=lambda d: _key(d, goal))
    low, limit = min(b for b in (_open(stages), _open(engine)) if b is not None)
    bound = Bound(low, limit, _interval(best) / low - 1, True, time.perf_counter() - started)
    return replace(best, bound=bound)


def _open(found: Answer | NoFit) -> tuple[int, str] | None:
    """The smallest interval not proved impossible and what limits it; None where all are."""
    if not isinstance(found, NoFit):
        return found.bound.interval_cycles, found.bound.limit
    return None if found.open_cycles is None else (found.open_cycles, "stream")


def _interval(d: Answer) -> int:
    return timing.slowest(d.netlist) if isinstance(d, Design) else d.interval_cycles


def _key(d: Answer, goal: Goal) -> tuple[float, ...]:
    if goal.objective == "throughput":
        return (_interval(d),)
    report = estimate(d) if isinstance(d, Design) else d.report()
    if goal.objective == "latency":
        return report.latency_cycles, _interval(d)
    used = [u / a for u, a in zip(report.resources, d.available, strict=True) if a]
    return max(used), _interval(d)
