"""Emitters of the operators that multiply, add and pool."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from flow.fixed import IntArray
from flow.ir import scales
from flow.ir.emit_writer import Writer, agree, feature, finish
from flow.ir.graph import Node
from flow.ir.ops import Add, Conv, Dense, Pool



def real_bias(op: Conv | Dense, zero: int) -> IntArray:
    out: IntArray = op.bias + zero * op.weight.reshape(op.weight.shape[0], -1).sum(1)
    return out


def _weights(writer: Writer, node: Node, op: Conv | Dense, weight: IntArray) -> list[str]:
    """Dequantised weight and bias; the weight scales follow from the requantisation."""
    source, out = (writer.graph.tensors[i].quant for i in (node.inputs[0], node.id))
    sx, sy = scales.fraction(source.scale), scales.fraction(out.scale)
    channels = max(len(op.requant.shift), len(op.requant.mult))
    scale = [float(sy / sx * scales.ratio(op.requant, c) / op.requant.div) for c in range(channels)]
    bias = real_bias(op, source.zero)
    if np.abs(bias).max(initial=0) >= 1 << 31:
        raise ValueError(f"node {node.id}: a bias exceeds 32 bits; quantise with closer scales")
    for dtype in (np.int8, np.int16, np.int32):
        info = np.iinfo(dtype)
        if info.min <= weight.min(initial=0) and weight.max(initial=0) <= info.max:
            break
    else:
        raise ValueError(f"node {node.id}: a weight exceeds 32 bits")
    acc = [float(sx * Fraction(float(np.float32(s)))) for s in scale]
    return [
        writer.parameter(f"{node.id}_weight", weight.astype(dtype), scale),
        writer.parameter(f"{node.id}_bias", bias.astype(np.int32), acc),
    ]


def _conv(writer: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Conv)
    zero = writer.graph.tensors[node.inputs[0]].quant.zero
    if any(op.pads) and op.pad_value != zero:
        raise ValueError(f"node {node.id}: padding with {op.pad_value}, but only the zero point {zero} stands for zero")
    inputs = [feature(writer, node, 0), *_weights(writer, node, op, op.weight)]
    shape: dict[str, Any] = {"kernel_shape": op.kernel, "strides": op.stride, "pads": op.pads, "dilations": op.dilation}
    finish(writer, node, "Conv", inputs, group=op.groups, **shape)


def _dense(writer: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Dense)
    inputs = [feature(writer, node, 0, flat=True), *_weights(writer, node, op, op.weight.reshape(len(op.weight), -1))]
    finish(writer, node, "Gemm", inputs, transB=1)
    writer.flat.add(node.id)


def _pool(writer: Writer, node: Node) -> None:
    op, source = node.op, writer.graph.tensors[node.inputs[0]].quant
    assert isinstance(op, Pool)
    size = op.kernel[0] * op.kernel[1]
    average = op.kind == "AveragePool"
    neutral = source.zero if average else source.lo
    if any(op.pads) and (op.pad_value != neutral if average else op.pad_value > neutral):
        raise ValueError(f"node {node.id}: {op.kind} pads with {op.pad_value}, ONNX with {neutral}")
    out = writer.graph.tensors[node.id].quant
    want = scales.fraction(source.scale) / scales.fraction(out.scale) / (size if average else 1)
    if average and op.offset != -size * source.zero:
        raise ValueError(f"node {node.id}: offset {op.offset} is not the zero point's share")
    agree(node, want)
    attributes: dict[str, Any] = {"kernel_shape": op.kernel, "strides": op.stride, "pads": op.pads}
    if average:
        attributes["count_include_pad"] = 1
    # A maximum has no offset: its input's zero point passes through, so it must be zero or the scale unchanged.
    if not average and source.zero and want != 1:
        raise ValueError(f"node {node.id}: a MaxPool cannot rescale an input with zero point {source.zero}")
    finish(writer, node, op.kind, [feature(writer, node, 0)], passed=0 if average else source.zero, **attributes)


def _add(writer: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Add)
    a, b = (writer.graph.tensors[i].quant for i in node.inputs)
    finest = [scales.fraction(q.scale) / 2**s for q, s in zip((a, b), op.left_shift, strict=True)]
    if finest[0] != finest[1]:
        raise ValueError(f"node {node.id}: shifts {op.left_shift} do not align the scales {a.scale} and {b.scale}")
    if op.offset != -(a.zero << op.left_shift[0]) - (b.zero << op.left_shift[1]):
        raise ValueError(f"node {node.id}: offset {op.offset} is not the zero points' share")
    out = scales.fraction(writer.graph.tensors[node.id].quant.scale)
    agree(node, finest[0] / out)
    flat = all(i in writer.flat for i in node.inputs)
    finish(writer, node, "Add", [feature(writer, node, 0, flat), feature(writer, node, 1, flat)])
    if flat:
        writer.flat.add(node.id)


EMITTERS: dict[type[object], Callable[[Writer, Node], None]] = {Conv: _conv, Dense: _dense, Pool: _pool, Add: _add}
