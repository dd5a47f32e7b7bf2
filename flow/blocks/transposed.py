"""Transposed convolution: an ordinary one for each phase of the stride, then depth to space and a crop.

Output pixel ``u = q * stride + r`` (counted before cropping) meets the weights whose place t has ``t = r`` modulo the
stride: with all phases r as output channels it is one convolution over the input's own pixels, and no product with a
zero between pixels is ever formed. Its header is the convolution's; the movement is ``hls/permute.h`` and
``hls/sample.h``.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from flow.blocks import conv, permute, sample
from flow.blocks.pareto import Options
from flow.board import Board, Resources
from flow.design import Folding, Process, stage_cycles
from flow.fixed import IntArray, Requant
from flow.ir.graph import Graph, Node, Tensor
from flow.ir.ops import Conv, ConvTranspose, Op, Shape


def serves(op: Op) -> bool:
    return isinstance(op, ConvTranspose)


def span(op: ConvTranspose, axis: int, size: int) -> tuple[int, int, int]:
    """(taps, first, last): taps of a phase, and the values of q along an axis of ``size`` input pixels."""
    taps = (op.kernel[axis] - 1) * op.dilation[axis] // op.stride[axis] + 1
    first, last = op.pads[axis] // op.stride[axis], (op.size[axis] - 1 + op.pads[axis]) // op.stride[axis]
    return taps, min(first, taps - 1), max(last, size - 1)


def phases(op: ConvTranspose, shape: Shape) -> Conv:
    """The convolution whose output channels are (group, row phase, column phase, channel of the group)."""
    (oc, icg, kh, kw), g, (sh, sw) = op.weight.shape, op.groups, op.stride
    spans = [span(op, axis, shape[1 + axis]) for axis in (0, 1)]
    (th, qh, _), (tw, qw, _) = spans
    weight = np.zeros((g, sh, sw, oc // g, icg, th, tw), np.int64)
    given = op.weight.reshape(g, oc // g, icg, kh, kw)
    for y in range(kh):
        for x in range(kw):
            (b, m), (d, n) = (divmod(t * e, s)[::-1] for t, e, s in ((y, op.dilation[0], sh), (x, op.dilation[1], sw)))
            weight[:, b, d, :, :, th - 1 - m, tw - 1 - n] = given[:, :, :, y, x]
    # The bias stands for all weights of a channel; a phase has only its own.
    missing = given.sum((2, 3, 4))[:, None, None] - weight.sum((4, 5, 6))
    bias = op.bias.reshape(g, 1, 1, oc // g) + op.pad_value * missing
    bottom, right = (last - (shape[1 + axis] - 1) for axis, (_, _, last) in enumerate(spans))
    return Conv(
        weight.reshape(-1, icg, th, tw),
        bias.reshape(-1),
        spread(op.requant, g, sh * sw, oc // g),
        pads=(th - 1 - qh, tw - 1 - qw, bottom, right),
        groups=g,
        pad_value=op.pad_value,
    )


def spread(requant: Requant, groups: int, phases: int, channels: int) -> Requant:
    """A requantisation by channel repeated for every phase."""

    def each(values: tuple[int, ...]) -> tuple[int, ...]:
        if len(values) == 1:
            return values
        cube = np.array(values, np.int64).reshape(groups, 1, channels)
        return tuple(np.broadcast_to(cube, (groups, phases, channels)).reshape(-1).tolist())

    return replace(requant, shift=each(requant.shift), mult=each(requant.mult))


def plain(graph: Graph, node: Node) -> tuple[Graph, Node]:
    """The node as its convolution, in a graph of its own."""
    op, x = node.op, graph.tensors[node.inputs[0]]
    assert isinstance(op, ConvTranspose)
    inner = phases(op, x.shape)
    made = Node(node.id, node.name, inner, ("input",))
    return Graph((made,), {"input": x, node.id: Tensor(inner.shape([x.shape]), graph.tensors[node.id].quant)}), made


def order(op: ConvTranspose, shape: Shape) -> IntArray:
    """Places of every pixel, cropping aside, in the convolution's output ``shape``."""
    c, (sh, sw), g = len(op.weight), op.stride, op.groups
    plain = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(g, sh, sw, c // g, *shape[1:])
    return np.ascontiguousarray(plain.transpose(0, 3, 4, 1, 5, 2).reshape(c, shape[1] * sh, shape[2] * sw))


def movement(
    op: ConvTranspose, shape: Shape, inner: Shape, graph: Graph, node: Node
) -> tuple[permute.Layer, sample.Layer]:
    """Depth to space and crop behind the convolution."""
    quant = graph.tensors[node.id].quant
    index = order(op, inner)
    first = [span(op, axis, shape[1 + axis])[1] * op.stride[axis] for axis in (0, 1)]
    begin = [p - f for p, f in zip(op.pads, first, strict=True)]
    rows, columns = (tuple(range(b, b + n)) for b, n in zip(begin, op.size, strict=True))
    return permute.rows(index, inner, quant), sample.Layer((len(op.weight), *index.shape[1:]), rows, columns, quant)


def crops(frame: sample.Layer) -> bool:
    return frame.shape[1:] != (len(frame.rows), len(frame.columns))


@lru_cache(maxsize=4096)
def tail(order: permute.Layer, frame: sample.Layer, lanes: int) -> tuple[int, Resources]:
    """Cycles and resources of the movement."""
    f = Folding(pe=lanes, lanes=lanes)
    work = [(permute.iterations(order, f), permute.DEPTH[permute.function(order, f)])]
    cost = permute.cost(order, f)
    if crops(frame):
        work.append((sample.iterations(frame, lanes), sample.DEPTH["frame"]))
        cost += sample.cost(frame, lanes)
    return stage_cycles(*work), cost


def options(graph: Graph, node: Node, board: Board) -> Options:
    """The convolution's foldings whose output beats stay within a pixel of the output."""
    op, x = node.op, graph.tensors[node.inputs[0]].shape
    assert isinstance(op, ConvTranspose)
    inner, made = plain(graph, node)
    parts = movement(op, x, inner.tensors[node.id].shape, graph, node)
    found = conv.options(inner, made, board)
    found = found.rows(np.flatnonzero(len(op.weight) // op.groups % found.numbers[:, 0] == 0))
    ends = {lanes: tail(*parts, lanes) for lanes in np.unique(found.numbers[:, 0]).tolist()}
    pe = found.numbers[:, 0].tolist()
    cycles = np.maximum(found.cycles, np.array([ends[n][0] for n in pe], np.int64))
    resources = found.resources + np.array([ends[n][1] for n in pe], np.int64).reshape(len(pe), -1)
    return replace(found, cycles=cycles, resources=resources).undominated


def lower(graph: Graph, node: Node, f: Folding, board: Board) -> list[Process]:
    """Window unit, matrix-vector unit, depth to space, crop."""
    op, x = node.op, graph.tensors[node.inputs[0]].shape
    assert isinstance(op, ConvTranspose)
    inner, made = plain(graph, node)
    order, frame = movement(op, x, inner.tensors[node.id].shape, graph, node)
    move = Folding(pe=f.pe, lanes=f.pe)
    units = conv.lower(inner, made, f, board)
    units.append(permute.process(f"{node.id}_spread", node.id, order, move, 0))
    if crops(frame):
        units.append(sample.process(f"{node.id}_crop", node.id, frame, f.pe, 0))
    return units


SCHEDULES = conv.SCHEDULES | {name: permute.SCHEDULES[name] for name in ("permute", "slice")} | sample.SCHEDULES
