"""What the parts of a NAS-Bench-201 network cost in our blocks: measured on small netlists, then added up.

A part (an operation, an addition, a fork, a reduction, the ends) is lowered by the same blocks, given FIFO depths by
the same schedule and counted by the same laws as a compiled design; nothing is fitted. Two things are simplified: FIFO
depths are taken from a part running at its own full speed, where a design may run slower, and a stream is known by its
first and its last beat. ``flow bench search`` prints what that costs against the estimate of whole designs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from flow import blocks, estimate
from flow.blocks import stream
from flow.board import Board, Resources
from flow.cost import laws
from flow.design import Netlist, Port, Process
from flow.ir.graph import Graph
from flow.ir.ops import Shape
from flow.mapping.solve import realise
from flow.space.nas_bench_201 import STAGES, operation, reduce
from flow.space.network import random_graph
from flow.space.stack import Stack
from flow.tabular import family
from flow.tabular.family import Choice

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
BITS = (8, 8)
WORK = ("nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")  # operations that are hardware
WHOLE = 10**9  # an interval that no part reaches: it only sizes the AXI ends
DEEPEST = 1 << 13


@dataclass(frozen=True, eq=False)
class Stage:
    """Costs of one stage's parts by hardware choice j (:func:`flow.tabular.family.choices`).

    ``work``: (3 operations, j, 5 resources).  ``cycles``: (3, j).  ``delay``: (3, j) beats that wait beside an
    operation for it.  ``lag``: (3, j, 4), see :func:`lag`.  ``add``, ``fork``: (j, 5).  ``lanes``, ``beats`` of a map:
    (j,).
    """

    work: Ints
    cycles: Ints
    delay: Ints
    lag: Floats
    add: Ints
    fork: Ints
    lanes: Ints
    beats: Ints


@dataclass(frozen=True, eq=False)
class Costs:
    """``stages``: three of them.  ``reduction[s]``: (j of the stage before, j of stage s, 5), entry 0 empty, with
    ``reduction_cycles`` alike and ``reduction_lag`` (j, j, 2 convolutions, 4).  ``stem``: (j, 5) with input
    end and control, ``head``: (j, 5) with output end; ``head_lag``: cycles after its last input.  ``fifo``: (log2
    lanes, depth, 5), what a FIFO needs above the least one."""

    stages: tuple[Stage, Stage, Stage]
    reduction: tuple[Ints, ...]
    reduction_cycles: tuple[Ints, ...]
    reduction_lag: tuple[Floats, ...]
    stem: Ints
    stem_cycles: Ints
    stem_lag: Floats
    head: Ints
    head_cycles: Ints
    head_lag: Ints
    fifo: Ints


def _array(r: Resources) -> Ints:
    return np.array(r.tuple, np.int64)


def _processes(graph: Graph, board: Board, node_id: str, hardware: dict[int, Choice]) -> list[Process]:
    node = next(n for n in graph.nodes if n.id == node_id)
    return blocks.lower(graph, node, family.folding(graph, node, hardware), board)


def _lowered(graph: Graph, board: Board, node_id: str, hardware: dict[int, Choice]) -> tuple[Ints, int]:
    """Resources and interval of one node's processes."""
    processes = _processes(graph, board, node_id, hardware)
    return _array(sum((p.resources for p in processes), Resources())), max(p.cycles for p in processes) + 1


def lag(processes: list[Process]) -> tuple[float, float, float, float]:
    """How a part's output follows its input: the share of its input that must have come before its first output, the
    cycles of its pipeline, the cycles that it works on after its last input, and those of its own work in all."""
    first = processes[0]
    reads, writes = (found[0] for found in blocks.schedule(first))
    share = float(np.searchsorted(reads, writes[0], "right")) / len(reads)
    pipeline = sum(p.depth for p in processes)
    pace = max(p.iterations for p in processes) / first.iterations
    rest = (first.iterations - 1 - int(reads[-1])) * (pace if len(processes) > 1 else 1.0)
    return share, float(pipeline), rest + pipeline, float(max(p.cycles for p in processes) + 1)


def _netlist(graph: Graph, board: Board, hardware: dict[int, Choice]) -> Netlist:
    return realise(graph, board, {n.id: family.folding(graph, n, hardware) for n in graph.nodes}, WHOLE)


def _depth_into(net: Netlist, node_id: str) -> int:
    """Beats of the deepest FIFO that a node's processes read."""
    owner = {p.id: p.node for p in net.processes}
    return max(s.depth for s in net.streams if owner[s.sink[0]] == node_id)


@lru_cache(maxsize=64)
def _part(channels: int, side: int, op: str) -> tuple[Graph, str, str]:
    """image -> 1x1 convolution -> op -> added to the op's input; the graph, ids of the op and of the addition."""
    stack = Stack((channels, side, side))
    source = stack.conv(channels, 1, bits=BITS)
    tip = operation(stack, op, source, BITS)
    total = stack.sum(source, tip, BITS, relu=True)
    return random_graph(stack.finish(10)), f"L{tip}", f"L{total}"


def _stage(board: Board, stage: int, side: int) -> Stage:
    channels, chosen = STAGES[stage], family.choices(stage)
    n, variants = len(chosen), len(family.MULTS) * len(family.MEMORIES)
    work, cycles, delay = np.zeros((3, n, 5), np.int64), np.zeros((3, n), np.int64), np.zeros((3, n), np.int64)
    add, fork, lags = np.zeros((n, 5), np.int64), np.zeros((n, 5), np.int64), np.zeros((3, n, 4))
    for i, op in enumerate(WORK):
        graph, part, total = _part(channels, side, op)
        for start in range(0, n, variants):  # lanes and unroll; the variants differ in resources only
            first = {stage: chosen[start]}
            net = _netlist(graph, board, first)
            whole, (bare, _) = estimate.by_node(net), _lowered(graph, board, part, first)
            depth = _depth_into(net, total)
            joints = _array(whole[part]) - bare
            lags[i, start : start + variants] = lag(_processes(graph, board, part, first))
            for j in range(start, start + variants):
                own, cycles[i, j] = _lowered(graph, board, part, {stage: chosen[j]})
                work[i, j], delay[i, j] = own + joints, depth - 2
                add[j] = _array(whole[total]) - _slack(chosen[j].lanes, depth)
                fork[j] = _fork(chosen[j].lanes)
    widths = np.array([c.lanes for c in chosen], np.int64)
    return Stage(work, cycles, delay, lags, add, fork, widths, channels * side * side // widths)


def _slack(lanes: int, depth: int) -> Ints:
    """What a FIFO of ``depth`` needs above the least one."""
    return _array(laws.fifo(max(2, depth), lanes * BITS[1])) - _array(laws.fifo(2, lanes * BITS[1]))


@lru_cache(maxsize=64)
def _fork(lanes: int) -> Ints:
    split = stream.fork("f", "f", Port(lanes, BITS[1], False, 1))
    return _array(split.resources + laws.fifo(2, lanes * BITS[1]))


@lru_cache(maxsize=16)
def _reducing(channels: int, side: int) -> tuple[Graph, list[str]]:
    """image -> 1x1 convolution -> reduction to twice the channels; ids of its nodes."""
    stack = Stack((channels, side, side))
    stack.conv(channels, 1, bits=BITS)
    first = len(stack.layers)
    reduce(stack, 2 * channels, BITS)
    nodes = [f"L{i}" for i in range(first, len(stack.layers))]
    return random_graph(stack.finish(10)), nodes


def _reduction(board: Board, stage: int, side: int) -> tuple[Ints, Ints, Floats]:
    """The reduction before ``stage``; ``side``: of the maps before it."""
    before, after = family.choices(stage - 1), family.choices(stage)
    graph, nodes = _reducing(STAGES[stage - 1], side)
    shape = (len(before), len(after))
    total, cycles, lags = np.zeros((*shape, 5), np.int64), np.zeros(shape, np.int64), np.zeros((*shape, 2, 4))
    variants = len(family.MULTS) * len(family.MEMORIES)
    step = len(family.UNROLLS) * variants
    for a in range(0, len(before), step):  # of the stage before only the lanes matter
        for start in range(0, len(after), variants):
            first = {stage - 1: before[a], stage: after[start]}
            net = _netlist(graph, board, first)
            stages = estimate.by_node(net)
            whole = sum((_array(stages[n]) for n in nodes), _array(Resources()))
            bare = sum((_lowered(graph, board, n, first)[0] for n in nodes), _array(Resources()))
            pair = [_processes(graph, board, n, first) for n in nodes[:2]]  # the two 3x3 convolutions
            late = [lag(p) for p in pair]
            for b in range(start, start + variants):
                own = [_lowered(graph, board, n, {stage - 1: before[a], stage: after[b]}) for n in nodes]
                total[a : a + step, b] = sum((r for r, _ in own), whole - bare) + _fork(before[a].lanes)
                cycles[a : a + step, b] = max(c for _, c in own)
                lags[a : a + step, b] = late
    return total, cycles, lags


def _ends(board: Board, shape: Shape, classes: int) -> tuple[Ints, Ints, Floats, Ints, Ints, Ints]:
    """Stem with the input's end and control, average and dense layer with the output's end, by choice."""
    stem, stem_cycles, lags = [], [], []
    stack = Stack(shape)
    stack.conv(STAGES[0], 3)
    graph = random_graph(stack.finish(10))
    for c in family.choices(0):
        net = _netlist(graph, board, {0: c})
        parts = estimate.by_node(net)
        stem.append(_array(parts["input"]) + _array(parts["L0"]) + _array(estimate.resources(Netlist((), ()))))
        unit = _processes(graph, board, "L0", {0: c})
        stem_cycles.append(max(p.cycles for p in unit) + 1)
        # Delays are those of one variant: that of a multiplier's pipeline is left out, so that the latency depends on
        # lanes and unrolling alone.
        lags.append(lag(_processes(graph, board, "L0", {0: family.first(0, c)})))
    head, head_cycles = [], []
    stack = Stack((STAGES[-1], shape[1] // 4, shape[2] // 4))
    stack.conv(STAGES[-1], 1, bits=BITS)
    graph = random_graph(stack.finish(classes))
    for c in family.choices(2):
        net = _netlist(graph, board, {2: c})
        parts = estimate.by_node(net)
        head.append(sum((_array(parts[k]) for k in parts if k not in ("input", "L0")), _array(Resources())))
        head_cycles.append(max(p.cycles for p in net.processes if p.node not in ("input", "L0")) + 1)
    own = {c: n for c, n in zip(family.choices(2), head_cycles, strict=True)}
    head_lag = [own[family.first(2, c)] for c in family.choices(2)]
    return (
        np.array(stem),
        np.array(stem_cycles),
        np.array(lags),
        np.array(head),
        np.array(head_cycles),
        np.array(head_lag),
    )


def _fifos() -> Ints:
    """(lanes, depth, 5): what FIFOs need above the least one, lanes 1, 2, 4, ... 32."""
    depths = range(DEEPEST)
    return np.array([[_slack(1 << i, d) for d in depths] for i in range(6)])


@lru_cache(maxsize=8)
def measure(board: Board, shape: Shape, classes: int) -> Costs:
    """All parts of networks for images ``shape``; some ten seconds.

    Raises ValueError for images that the three stages do not halve to whole maps.
    """
    if shape[1] != shape[2] or shape[1] % 4 or shape[1] < 16:
        raise ValueError(f"images {shape}: the benchmark takes square ones whose side is a multiple of 4, from 16 on")
    side = shape[1]
    first, second, third = (_stage(board, s, side >> s) for s in range(3))
    reductions = [_reduction(board, s, side >> (s - 1)) for s in (1, 2)]
    empty, none = np.zeros(0, np.int64), np.zeros(0)
    stem, stem_cycles, stem_lag, head, head_cycles, head_lag = _ends(board, shape, classes)
    return Costs(
        (first, second, third),
        (empty, *(r[0] for r in reductions)),
        (empty, *(r[1] for r in reductions)),
        (none, *(r[2] for r in reductions)),
        stem,
        stem_cycles,
        stem_lag,
        head,
        head_cycles,
        head_lag,
        _fifos(),
    )
