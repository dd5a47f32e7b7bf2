"""Graph -> steps: what the engine computes in one go, an operator with the addition behind it.

A step is one pass over its output: products or a window, requantisation, and then perhaps the sum with a second
tensor (a residual branch), requantised again.  An addition is joined to the later of its two producers where nobody
else reads that one, so its first operand never goes through memory.  Concatenations are no steps: their operands are
written where the result lies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from flow.blocks import UnsupportedError
from flow.fixed import IntArray, Requant
from flow.ir.graph import Graph, Node
from flow.ir.ops import Add, Conv, Dense, Pool
from flow.tiled.engine import PIXEL, Features
from flow.tiled.place import Place

CONV, DEPTHWISE, MAX, SUM = 1, 2, 3, 4  # how a step combines a window's numbers
KINDS = {CONV: "conv", DEPTHWISE: "depthwise", MAX: "max", SUM: "sum"}
BITS = 8  # widest activations and weights of the engine


@dataclass(frozen=True, eq=False)
class Post:
    """Output stage: ``requant`` of the sum plus ``bias``; then, with a residual, ``add`` of (value, residual).

    ``minus``: which of the two a difference subtracts.
    """

    bias: IntArray  # per output channel
    requant: Requant
    add: Add | None = None
    minus: tuple[bool, bool] = (False, False)


@dataclass(frozen=True)
class Shape:
    """What a step's cost depends on; equal layers share their tilings.

    ``n``, ``m``: input and output channels; ``h``, ``w``, ``r``, ``c``: input and output rows and columns.
    """

    kind: int
    n: int
    m: int
    h: int
    w: int
    r: int
    c: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int]  # top, left
    dilation: tuple[int, int]
    groups: int
    residual: bool
    out_bytes: int = 1
    image: bool = False  # reads the network's input, which may be gathered

    @property
    def gathers(self) -> bool:
        """Whether the loading process can lay the kernel's columns side by side as channels."""
        return (
            self.image
            and self.kind == CONV
            and self.groups == 1
            and self.n <= PIXEL
            and self.kernel[1] > 1
            and self.dilation[1] == 1
        )


@dataclass(frozen=True, eq=False)
class Step:
    """``nodes``: ids of the operators it computes; ``name``: the first one's, for people."""

    shape: Shape
    nodes: tuple[str, ...]
    name: str
    source: str
    out: str
    weight: IntArray | None  # (OC, IC/groups, KH, KW)
    post: Post
    pad_value: int
    signed: bool
    macs: int
    residual: str | None = None

    @cached_property
    def multiplies(self) -> bool:
        r = [self.post.requant, *([self.post.add.requant] if self.post.add else [])]
        return any(m != 1 for q in r for m in q.mult)


@dataclass(frozen=True, eq=False)
class Steps:
    """Steps in order; ``joins``: a concatenation's tensor -> its parts' tensors."""

    steps: tuple[Step, ...]
    joins: Mapping[str, tuple[str, ...]]
    graph: Graph
    entry: Place | None = None

    @cached_property
    def features(self) -> Features:
        """What the engine must be able to do for all of them."""
        worst = 1
        for s in self.steps:
            for node in (self.graph.node(n) for n in s.nodes):
                lo, hi = self.graph.accumulator(node)
                r = node.op.requant
                up = max(0, -min(r.shift))
                reach = max(-lo, hi) << up
                worst = max(worst, reach + (1 << max(0, *r.shift, 1)) + abs(r.zero))
        ops = [self.graph.node(n).op for s in self.steps for n in s.nodes]
        return Features(
            window=any(s.shape.kind in (MAX, SUM) for s in self.steps),
            depthwise=any(s.shape.kind == DEPTHWISE for s in self.steps),
            residual=any(s.residual for s in self.steps),
            multiplier=any(s.multiplies for s in self.steps),
            divide=any(op.requant.div != 1 for op in ops),
            wide=any(s.shape.out_bytes > 1 for s in self.steps),
            gather=any(s.shape.gathers for s in self.steps),
            acc_bits=worst.bit_length() + 1,
        )

    @property
    def macs(self) -> int:
        return sum(s.macs for s in self.steps)


def lower(graph: Graph, entry: Place | None = None) -> Steps:
    """Steps of a graph; ``entry``: how its input lies in memory, where its maker decides that.

    Raises UnsupportedError naming the node and what to change.
    """
    joins: dict[str, tuple[str, ...]] = {}
    steps: list[Step] = []
    made: dict[str, int] = {}  # tensor -> its step
    for node in graph.nodes:
        if node.op.kind == "Concat":
            joins[node.id] = _joined(graph, node)
            made[node.id] = max(made.get(i, -1) for i in node.inputs)
            continue
        if isinstance(node.op, Add):
            at = _host(graph, node, steps, made)
            if at is None:
                steps.append(_plain(graph, node))
                at = len(steps) - 1
            steps[at] = _fused(graph, node, steps[at])
        else:
            steps.append(_step(graph, node, entry is None))
            at = len(steps) - 1
        made[steps[at].out] = at
    for s in steps:
        _check(graph, s)
    return Steps(tuple(steps), joins, graph, entry)


def _joined(graph: Graph, node: Node) -> tuple[str, ...]:
    quants = {graph.tensors[i].quant for i in node.inputs}
    if quants != {graph.tensors[node.id].quant}:
        raise UnsupportedError(
            f"{node.op.kind} {node.name!r}: its operands have other formats than its result; the tiled engine joins "
            "without requantising: give all of them one scale"
        )
    return node.inputs


def _step(graph: Graph, node: Node, image: bool) -> Step:
    op, source = node.op, node.inputs[0]
    n, h, w = graph.tensors[source].shape
    m, r, c = graph.tensors[node.id].shape
    pads, dilation, groups, weight, pad_value = (0, 0), (1, 1), 1, None, 0
    if isinstance(op, Conv):
        kind = DEPTHWISE if op.depthwise else CONV
        kernel, stride, dilation, groups = op.kernel, op.stride, op.dilation, op.groups
        pads, weight, bias, pad_value = op.pads[:2], op.weight, op.bias, op.pad_value
    elif isinstance(op, Dense):
        kind, kernel, stride, weight, bias = CONV, (h, w), (1, 1), op.weight, op.bias
    elif isinstance(op, Pool):
        kind = MAX if op.kind == "MaxPool" else SUM
        kernel, stride, pads, pad_value = op.kernel, op.stride, op.pads[:2], op.pad_value
        bias, groups = np.full(m, op.offset, np.int64), n
    else:
        raise UnsupportedError(
            f"{op.kind} {node.name!r}: the tiled engine computes convolutions, dense layers, pooling, additions and "
            "concatenations; --engine chain computes the layers around it as stages, --engine stream all of them"
        )
    shape = Shape(
        kind, n, m, h, w, r, c, kernel, stride, pads, dilation, groups, False,
        -(-graph.tensors[node.id].quant.bits // 8), image and source == "input",
    )  # fmt: skip
    return Step(
        shape, (node.id,), node.name, source, node.id, weight, Post(bias, op.requant), pad_value,
        graph.tensors[source].quant.signed, graph.macs(node),
    )  # fmt: skip


def _plain(graph: Graph, node: Node) -> Step:
    """The first operand of an addition, as it is."""
    source = node.inputs[0]
    t = graph.tensors[source]
    n, h, w = t.shape
    shape = Shape(MAX, n, n, h, w, h, w, (1, 1), (1, 1), (0, 0), (1, 1), n, False)
    same = Post(np.zeros(n, np.int64), Requant((0,), t.quant.lo, t.quant.hi))
    return Step(shape, (), node.name, source, source, None, same, 0, t.quant.signed, 0)


def _host(graph: Graph, node: Node, steps: list[Step], made: dict[str, int]) -> int | None:
    """The step that an addition is joined to: the later of its producers, read by nobody else."""
    if node.inputs[0] == node.inputs[1]:
        return None
    places = [made.get(i, -1) for i in node.inputs]
    late = max(places)
    if late < 0:
        return None
    own = node.inputs[places.index(late)]
    s = steps[late]
    fits = s.residual is None and s.out == own and len(graph.consumers(own)) == 1 and s.shape.out_bytes == 1
    return late if fits else None


def _fused(graph: Graph, node: Node, step: Step) -> Step:
    assert isinstance(node.op, Add)
    first = node.inputs.index(step.out)
    op = node.op if first == 0 else replace(node.op, left_shift=node.op.left_shift[::-1])
    minus = (False, node.op.sign < 0)
    out_bytes = -(-graph.tensors[node.id].quant.bits // 8)
    return replace(
        step,
        shape=replace(step.shape, residual=True, out_bytes=out_bytes),
        nodes=(*step.nodes, node.id),
        out=node.id,
        residual=node.inputs[1 - first],
        post=replace(step.post, add=op, minus=minus if first == 0 else minus[::-1]),
    )


def _check(graph: Graph, s: Step) -> None:
    """Formats that the engine's bytes cannot hold."""
    for tensor in (s.source, *([s.residual] if s.residual else [])):
        bits = graph.tensors[tensor].quant.bits
        if bits > BITS:
            raise UnsupportedError(
                f"{s.name!r} reads {bits}-bit numbers; the tiled engine keeps feature maps in bytes: quantise to "
                f"{BITS} bits or less"
            )
    if s.shape.out_bytes > 2:
        raise UnsupportedError(f"{s.name!r}: its output has more than 16 bits; quantise the network's output to 16")
    if s.weight is not None and (s.weight.min() < -128 or s.weight.max() > 127):
        raise UnsupportedError(f"{s.name!r}: its weights have more than {BITS} bits; quantise to {BITS} or less")
    if s.post.requant.div != 1 and s.multiplies:
        raise UnsupportedError(f"{s.name!r}: an average with a general multiplier; give power-of-two scales")
    if math.prod(s.shape.kernel) > 1 << 20:
        raise UnsupportedError(f"{s.name!r}: a window of {s.shape.kernel} is too large")
