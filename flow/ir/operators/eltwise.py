"""Sums, differences and products of two maps; Relu and Clip."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from flow.fixed import Quant, Requant
from flow.ir import scales
from flow.ir.graph import Node
from flow.ir.importer import Importer, attributes, bound, label, limited, operator, refusal
from flow.ir.operators.curve import curve
from flow.ir.operators.windows import shaped
from flow.ir.ops import Add, Mul, Op, Range
from flow.ir.values import Constant, Curve, Feature, Image, Joined, Moved, Parameter, Pending, Real, Stored, Value
from flow.ir.writer import Writer, agree, emitter, finish, real_input


@operator("Add", "Sum", "Sub")
def add(importer: Importer, node: NodeProto) -> Value:
    if len(node.input) != 2:
        raise refusal(node, f"adds {len(node.input)} tensors, two inputs are supported; chain additions")
    left, right = importer.value(node, 0), importer.value(node, 1)
    for value, other in ((left, right), (right, left)) if node.op_type != "Sub" else ():
        if isinstance(value, Pending) and value.rebias and isinstance(other, (Constant, Parameter)):
            shape = other.values.shape
            aligned = shape[-1:] if value.rank == 2 else shape[-3:-2] if shape[-2:] == (1, 1) else ()
            if np.prod(shape) > 1 and aligned != (value.shape[0],):
                raise refusal(node, f"a constant of shape {shape} is no bias for {value.shape}; fold it elsewhere")
            biased = value.rebias(other)
            return limited(replace(biased, rank=value.rank), value.lo, value.hi) if value.lo == -np.inf else _late(node)
    return curve_of(importer, node) or _sum(importer, node, aligned_pair(importer, node))


def curve_of(importer: Importer, node: NodeProto) -> Curve | None:
    """The node as a function of one map when it reads a constant or such a function; None for two plain maps."""
    values = [importer.value(node, k) for k in (0, 1)]
    if not any(isinstance(v, Constant | Parameter | Curve) for v in values):
        return None
    found = curve(importer, node)
    if found is None:
        raise refusal(node, "reads a float function of another map; put QuantizeLinear and DequantizeLinear between")
    return found


def aligned_pair(importer: Importer, node: NodeProto) -> list[Real]:
    """The two maps that a node reads, each repeated where ONNX broadcasts it."""
    pair = [importer.real(node, k)[0] for k in (0, 1)]
    dims = [importer.dims(v) for v in pair]
    try:
        shape = np.broadcast_shapes(*dims)
    except ValueError:
        raise refusal(
            node, f"its inputs' shapes {list(dims[0])} and {list(dims[1])} do not fit; export again"
        ) from None
    if len(dims[0]) != len(dims[1]):
        raise refusal(node, "its inputs have different ranks; flatten both or none")
    out = []
    for value, own in zip(pair, dims, strict=True):
        if own != shape:
            index = np.broadcast_to(importer.positions(value), shape)
            value = importer.placed(node, Moved(label(node), value, index))
        out.append(value)
    return out


@operator("Mul")
def mul(importer: Importer, node: NodeProto) -> Value:
    found = curve_of(importer, node)
    if found is not None:
        return found
    pair = aligned_pair(importer, node)
    tensors = [importer.tensors[r.tensor] for r in pair]
    zeros = (tensors[0].quant.zero, tensors[1].quant.zero)
    step = scales.fraction(tensors[0].quant.scale) * scales.fraction(tensors[1].quant.scale)

    def build(requant: Requant) -> Op:
        return Mul(requant, zeros)

    shape = shaped(node, build(Requant((0,), 0, 0)), [t.shape for t in tensors])
    return Pending(label(node), "Mul", (pair[0].tensor, pair[1].tensor), shape, pair[0].rank, (step,), build)


def _late(node: NodeProto) -> Pending:
    raise refusal(node, "a bias behind Relu or Clip is not supported; put it in front")


def _sum(importer: Importer, node: NodeProto, pair: list[Real]) -> Pending:
    """Addition at the common finest scale; an input whose scale is no power of two apart is rescaled first."""
    names = [r.tensor for r in pair]
    s = [scales.fraction(importer.tensors[n].quant.scale) for n in names]
    apart = max(s) / min(s)
    if apart.denominator != 1 or apart.numerator & (apart.numerator - 1):
        k = s.index(max(s))
        names[k] = _rescaled(importer, node, pair[k], min(s))
        s[k] = scales.fraction(importer.tensors[names[k]].quant.scale)
    tensors = [importer.tensors[n] for n in names]
    finest = min(s)
    shift = (int(s[0] / finest).bit_length() - 1, int(s[1] / finest).bit_length() - 1)
    if max(shift) > 20:
        raise refusal(node, f"its inputs' scales are 2**{max(shift)} apart; quantise with closer scales")
    sign = -1 if node.op_type == "Sub" else 1
    a, b = (t.quant.zero << k for t, k in zip(tensors, shift, strict=True))

    def build(requant: Requant) -> Op:
        return Add(requant, shift, -a - sign * b, sign)

    shape = shaped(node, build(Requant((0,), 0, 0)), [t.shape for t in tensors])
    return Pending(label(node), "Add", tuple(names), shape, pair[0].rank, (finest,), build)


def _rescaled(importer: Importer, node: NodeProto, value: Real, base: Fraction) -> str:
    """``value`` at ``base / 2**k``, the finest such scale (k at most 8) whose integers fit 16 bits."""
    q = importer.tensors[value.tensor].quant
    size = max(q.zero - q.lo, q.hi - q.zero) * scales.fraction(q.scale)
    k = next((k for k in range(8, -25, -1) if size * Fraction(2) ** k < 32767 * base), None)
    if k is None:
        raise refusal(node, "its inputs' scales are too far apart; quantise with closer scales")
    fine = base / Fraction(2) ** k
    lo, hi = (round((v - q.zero) * scales.fraction(q.scale) / fine) for v in (q.lo, q.hi))
    return importer.quantised(node, importer.identity(node, value), float(fine), 0, lo, hi)


@operator("Relu", "Clip", role="limit")
def clip(importer: Importer, node: NodeProto) -> Value:
    value = importer.value(node, 0)
    lo, hi = 0.0, np.inf
    if node.op_type == "Clip":
        a = attributes(node)
        given: list[NDArray[Any] | None] = [importer.array(node, k) if len(node.input) > k else None for k in (1, 2)]
        lo = float(given[0].ravel()[0]) if given[0] is not None else a.get("min", -np.inf)
        hi = float(given[1].ravel()[0]) if given[1] is not None else a.get("max", np.inf)
        if lo > hi:
            raise refusal(node, f"its limits {lo:g}..{hi:g} are empty; correct them")
    if isinstance(value, Image | Stored | Real | Pending | Curve | Joined | Moved):
        return limit(importer, node, value, lo, hi)
    return limited(importer.identity(node, importer.real(node, 0)[0]), lo, hi)


def limit(importer: Importer, node: NodeProto, value: Feature, lo: float, hi: float) -> Feature:
    """``value`` clipped; moving and joining commute with it."""
    if isinstance(value, Image | Pending | Curve):
        return limited(value, lo, hi)
    if isinstance(value, Joined):
        return replace(value, parts=tuple(limit(importer, node, p, lo, hi) for p in value.parts))
    if isinstance(value, Moved):
        fill = tuple(min(max(f, lo), hi) for f in value.fill)
        return replace(value, source=limit(importer, node, value.source, lo, hi), fill=fill)
    real = value if isinstance(value, Real) else importer.real(node, 0)[0]
    quant = importer.tensors[real.tensor].quant
    s = scales.fraction(quant.scale)
    if bound(lo, s, quant.zero, quant.lo) <= quant.lo and bound(hi, s, quant.zero, quant.hi) >= quant.hi:
        return real
    return limited(importer.identity(node, real), lo, hi)


def _reach(node: Node, ranges: list[Range], quants: list[Quant]) -> Range:
    op = node.op
    assert isinstance(op, Add)
    size = sum(max(-lo, hi) << s for (lo, hi), s in zip(ranges, op.left_shift, strict=True))
    return -size, size


@emitter(Add, _reach)
def _add(writer: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Add)
    a, b = (writer.graph.tensors[i].quant for i in node.inputs)
    finest = [scales.fraction(q.scale) / 2**s for q, s in zip((a, b), op.left_shift, strict=True)]
    if finest[0] != finest[1]:
        raise ValueError(f"node {node.id}: shifts {op.left_shift} do not align the scales {a.scale} and {b.scale}")
    if op.offset != -(a.zero << op.left_shift[0]) - op.sign * (b.zero << op.left_shift[1]):
        raise ValueError(f"node {node.id}: offset {op.offset} is not the zero points' share")
    out = scales.fraction(writer.graph.tensors[node.id].quant.scale)
    agree(node, finest[0] / out)
    flat = all(i in writer.flat for i in node.inputs)
    finish(writer, node, op.kind, [real_input(writer, node, 0, flat), real_input(writer, node, 1, flat)])
    if flat:
        writer.flat.add(node.id)


def _reach_mul(node: Node, ranges: list[Range], quants: list[Quant]) -> Range:
    size = max(-ranges[0][0], ranges[0][1]) * max(-ranges[1][0], ranges[1][1])
    return -size, size


@emitter(Mul, _reach_mul)
def _mul(writer: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Mul)
    a, b = (writer.graph.tensors[i].quant for i in node.inputs)
    if op.zero != (a.zero, b.zero):
        raise ValueError(f"node {node.id}: zero points {op.zero} differ from its inputs' {(a.zero, b.zero)}")
    out = scales.fraction(writer.graph.tensors[node.id].quant.scale)
    agree(node, scales.fraction(a.scale) * scales.fraction(b.scale) / out)
    finish(writer, node, "Mul", [real_input(writer, node, k) for k in (0, 1)])
