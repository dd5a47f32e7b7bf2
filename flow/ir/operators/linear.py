"""Conv, Gemm and MatMul with constant weights."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from onnx import NodeProto

from flow.fixed import IntArray, Quant, Requant
from flow.ir import scales
from flow.ir.graph import Node
from flow.ir.importer import (
    Constant,
    Importer,
    Parameter,
    Pending,
    Real,
    Value,
    attributes,
    label,
    operator,
    refusal,
)
from flow.ir.operators.windows import shaped, spatial, transposed_window, window
from flow.ir.ops import Conv, ConvTranspose, Dense, Op, Range, dot_range, turned
from flow.ir.values import Finer, Moved
from flow.ir.writer import Writer, emitter, finish, real_input

MAX_BIAS = 1 << 31  # ONNX stores biases in 32 bits
MAX_REFINEMENT = 16  # bits that an accumulator may be finer than its products


@operator("Conv")
def conv(importer: Importer, node: NodeProto) -> Value:
    value, tensor = importer.feature(node, 0)
    weight = flat_kernel(node, parameter(importer, node, 1), value.rank)
    kernel = tuple(int(k) for k in weight.values.shape[2:])
    if tuple(spatial(node).get("kernel_shape", kernel)) != kernel:
        raise refusal(node, f"kernel_shape contradicts its weight {weight.values.shape}; export again")
    place = window(importer, node, tensor.shape, kernel)
    groups, zero = attributes(node).get("group", 1), tensor.quant.zero
    if len(weight.scale) > 1 and weight.axis != 0:
        raise refusal(node, "weight scales lie along another axis than the output channel; quantise along axis 0")

    def build(requant: Requant, values: IntArray, bias: IntArray) -> Op:
        return Conv(values, bias, requant, place["stride"], place["pads"], place["dilation"], groups, pad_value=zero)

    given = importer.optional(node, 2)
    return linear(importer, node, value, weight, build, given)


@operator("ConvTranspose")
def conv_transpose(importer: Importer, node: NodeProto) -> Value:
    value, tensor = importer.feature(node, 0)
    weight = flat_kernel(node, parameter(importer, node, 1), value.rank)
    a, (ic, ocg, *kernel) = spatial(node), weight.values.shape
    groups, zero = a.get("group", 1), tensor.quant.zero
    if tuple(a.get("kernel_shape", kernel)) != tuple(kernel) or ic % groups:
        raise refusal(node, f"kernel_shape or group contradicts its weight {weight.values.shape}; export again")
    scale = weight.scale
    if len(scale) > 1 and not (weight.axis == 1 and groups == 1):
        # Along the input channels only where each group makes one output channel and has one scale.
        each = ic // groups
        scale = scale[::each]
        if weight.axis != 0 or ocg != 1 or weight.scale != tuple(s for s in scale for _ in range(each)):
            raise refusal(node, "weight scales lie along another axis than the output channel; quantise along axis 1")
    place = transposed_window(node, tensor.shape, (kernel[0], kernel[1]))
    cube = turned(weight.values, groups)

    def build(requant: Requant, values: IntArray, bias: IntArray) -> Op:
        return ConvTranspose(values, bias, requant, groups=groups, pad_value=zero, **place)

    given = importer.optional(node, 2)
    return linear(importer, node, value, Parameter(cube, scale, 0), build, given)


def flat_kernel(node: NodeProto, weight: Parameter, rank: int) -> Parameter:
    """A convolution's weight for maps: (.., K) becomes (.., 1, K)."""
    if weight.values.ndim != rank:
        raise refusal(node, f"its weight has {weight.values.ndim} dimensions, its input {rank}; export again")
    return weight if rank == 4 else replace(weight, values=weight.values[:, :, None])


def linear(
    importer: Importer, node: NodeProto, value: Real, weight: Parameter, build: Any, bias: Value | None
) -> Pending:
    """The pending operator of ``build(requant, weights, bias)``, the zero point's share subtracted from the bias.

    A bias that is no integer of the accumulator is rounded to finer units once the output's scale is known: products
    are then multiplied by a power of two, which blocks take out of the weights again.
    """
    tensor = importer.tensors[value.tensor]
    channels = weight.values.shape[0]
    step = tuple(scales.fraction(tensor.quant.scale) * s for s in weight.scale)
    share = tensor.quant.zero * weight.values.reshape(channels, -1).sum(1)

    def pending(real: list[Fraction] | None, rebias: Any) -> Pending:
        """``real``: the bias of each channel in accumulator units."""
        terms = np.zeros(channels, np.int64) if real is None else bias_integers(node, real, 0)
        shape = shaped(node, build(Requant((0,), 0, 0), weight.values, terms - share), [tensor.shape])
        rank = value.rank
        return Pending(
            label(node),
            node.op_type,
            (value.tensor,),
            shape,
            rank,
            step,
            lambda r: build(r, weight.values, terms - share),
            rebias=rebias,
            refine=None if real is None else lambda unit: refine(real, unit),
        )

    def refine(real: list[Fraction], unit: Fraction) -> Finer | None:
        """Products and bias times 2**k: exact when that is possible with k up to MAX_REFINEMENT."""
        k = refinement(real, step, unit)
        if any((r * 2**k).denominator != 1 for r in real):
            importer.notes.append(f"{label(node)}: bias rounded to its accumulator's scale")
        if k == 0:
            return None
        terms = bias_integers(node, real, k) - (share << k)
        finer = tuple(s / 2**k for s in step)
        return Finer(finer, lambda r: build(r, weight.values << k, terms))

    def rebiased(extra: Constant | Parameter) -> Pending:
        return pending(bias_terms(node, extra, step, channels), None)

    if bias is None:
        return pending(None, rebiased)
    return pending(bias_terms(node, bias, step, channels), None)


def refinement(real: list[Fraction], step: tuple[Fraction, ...], unit: Fraction) -> int:
    """Least k such that a bias in units of ``step / 2**k`` is exact, or its unit at most ``unit``."""
    most = max((abs(r) for r in real), default=Fraction(0))
    for k in range(MAX_REFINEMENT):
        exact = all((r * 2**k).denominator == 1 for r in real)
        if exact or max(step) / 2**k <= unit or most * 2 ** (k + 1) >= MAX_BIAS:
            return k
    return MAX_REFINEMENT


def bias_integers(node: NodeProto, real: list[Fraction], k: int) -> IntArray:
    """A bias in units of the accumulator's ``2**-k``, rounded half to even."""
    out = [round(r * 2**k) for r in real]
    if any(abs(v) >= MAX_BIAS for v in out):
        raise refusal(node, "a bias exceeds 32 bits of its accumulator; quantise with larger scales")
    return np.array(out, np.int64)


def bias_terms(node: NodeProto, bias: Value, step: tuple[Fraction, ...], channels: int) -> list[Fraction]:
    """A bias in accumulator units.  Integers stored at the accumulator's scale stay integers."""
    if not isinstance(bias, (Constant, Parameter)):
        raise refusal(node, "its bias is computed; store it as a constant")
    steps = step * channels if len(step) == 1 else step
    values = bias.values.reshape(-1)
    if len(values) == 1:
        values = np.repeat(values, channels)
    if len(values) != channels:
        raise refusal(node, f"{len(values)} biases for {channels} channels; export again")
    units = [Fraction(1)] * channels
    if isinstance(bias, Parameter):
        units = list(bias.scale * channels if len(bias.scale) == 1 else bias.scale)
    if len(units) != channels or len(steps) != channels:
        raise refusal(node, f"its scales do not fit {channels} channels; quantise again")
    out = []
    for v, unit, s in zip(values, units, steps, strict=True):
        exact = Fraction(float(v)) if values.dtype.kind == "f" else int(v) * unit
        # A stored scale is the float32 product of two scales: the same but for its rounding.
        same = values.dtype.kind != "f" and abs(unit / s - 1) < Fraction(1, 1 << 20)
        out.append(Fraction(int(v)) if same else exact / s)
    return out


def parameter(importer: Importer, node: NodeProto, k: int) -> Parameter:
    value = importer.value(node, k)
    if isinstance(value, Parameter):
        return value
    what = "float" if isinstance(value, Constant) else "computed"
    raise refusal(
        node, f"its weight is {what}; store integers with DequantizeLinear, or compile the float model with calibration"
    )


@operator("Gemm", "MatMul")
def gemm(importer: Importer, node: NodeProto) -> Value:
    a = attributes(node)
    if a.get("transA") or a.get("alpha", 1.0) != 1.0 or a.get("beta", 1.0) != 1.0:
        raise refusal(node, "transA, alpha and beta are not supported; fold them into the weights")
    given = importer.value(node, 0)
    weight = parameter(importer, node, 1)
    if isinstance(given, Moved) and isinstance(given.source, Real) and given.index.ndim == 2 and not given.fill:
        return _gathered(importer, node, given, weight)
    value, tensor = importer.real(node, 0, rank=2)
    if weight.values.ndim != 2:
        raise refusal(node, "its weight is no matrix; use MatMul with a constant matrix")
    if not a.get("transB"):
        weight = Parameter(weight.values.T, weight.scale, 1 - weight.axis)
    if len(weight.scale) > 1 and weight.axis != 0:
        raise refusal(node, "weight scales lie along the input channels; quantise per output channel or per tensor")
    if weight.values.shape[1] != np.prod(tensor.shape):
        raise refusal(node, f"weights {weight.values.shape} do not fit {np.prod(tensor.shape)} inputs; export again")

    def build(requant: Requant, values: IntArray, bias: IntArray) -> Op:
        return Dense(values.reshape(-1, *tensor.shape), bias, requant)

    return linear(importer, node, value, weight, build, importer.optional(node, 2))


def _gathered(importer: Importer, node: NodeProto, moved: Moved, weight: Parameter) -> Value:
    """A dense layer over moved elements: the weights move instead."""
    assert isinstance(moved.source, Real)
    tensor = importer.tensors[moved.source.tensor]
    columns = weight.values if attributes(node).get("transB") else weight.values.T
    if columns.ndim != 2 or columns.shape[1] != moved.index.size:
        raise refusal(node, f"weights {weight.values.shape} do not fit {moved.index.size} inputs; export again")
    spread = np.zeros((len(columns), int(np.prod(tensor.shape))), np.int64)
    np.add.at(spread.T, moved.index.reshape(-1), columns.T)
    if len(weight.scale) > 1 and weight.axis != (0 if attributes(node).get("transB") else 1):
        raise refusal(node, "weight scales lie along the input channels; quantise per output channel or per tensor")

    def build(requant: Requant, values: IntArray, bias: IntArray) -> Op:
        return Dense(values.reshape(-1, *tensor.shape), bias, requant)

    value = replace(moved.source, rank=2)
    return linear(importer, node, value, Parameter(spread, weight.scale, 0), build, importer.optional(node, 2))


def real_bias(op: Conv | ConvTranspose | Dense, zero: int) -> IntArray:
    out: IntArray = op.bias + zero * op.weight.reshape(op.weight.shape[0], -1).sum(1)
    return out


def _reach(node: Node, ranges: list[Range], quants: list[Quant]) -> Range:
    """Zero points subtracted before, not folded into the bias."""
    op = node.op
    assert isinstance(op, Conv | ConvTranspose | Dense)
    return dot_range(op.weight, real_bias(op, quants[0].zero), min(0, ranges[0][0]), max(0, ranges[0][1]))


def _weights(
    writer: Writer, node: Node, op: Conv | ConvTranspose | Dense, weight: IntArray, axis: int = 0, each: int = 1
) -> list[str]:
    """Dequantised weight and bias; the weight scales follow from the requantisation.

    ``each``: indices of the weight's ``axis`` that one output channel has.
    """
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
    wide = [s for s in scale for _ in range(each)] if channels > 1 else scale
    return [
        writer.parameter(f"{node.id}_weight", weight.astype(dtype), wide, axis),
        writer.parameter(f"{node.id}_bias", bias.astype(np.int32), acc),
    ]


@emitter(Conv, _reach)
def _conv(writer: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Conv)
    zero = writer.graph.tensors[node.inputs[0]].quant.zero
    if any(op.pads) and op.pad_value != zero:
        raise ValueError(f"node {node.id}: padding with {op.pad_value}, but only the zero point {zero} stands for zero")
    inputs = [real_input(writer, node, 0), *_weights(writer, node, op, op.weight)]
    shape: dict[str, Any] = {"kernel_shape": op.kernel, "strides": op.stride, "pads": op.pads, "dilations": op.dilation}
    finish(writer, node, "Conv", inputs, group=op.groups, **shape)


@emitter(ConvTranspose, _reach)
def _conv_transpose(writer: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, ConvTranspose)
    _, h, w = writer.graph.tensors[node.inputs[0]].shape
    if op.pad_value != writer.graph.tensors[node.inputs[0]].quant.zero:
        raise ValueError(f"node {node.id}: pixels {op.pad_value} apart, but only the zero point stands for zero")
    oc = len(op.weight)
    per_channel = max(len(op.requant.shift), len(op.requant.mult)) > 1
    if per_channel and op.groups > 1 and op.groups != oc:
        raise ValueError(f"node {node.id}: ONNX has one scale for all channels of a grouped ConvTranspose")
    cube = turned(op.weight, op.groups)
    axis, each = (1, 1) if op.groups == 1 else (0, len(cube) // op.groups)
    inputs = [real_input(writer, node, 0), *_weights(writer, node, op, cube, axis, each)]
    sizes = zip((h, w), op.stride, op.dilation, op.kernel, strict=True)
    whole = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in sizes]
    # What the output has beyond the whole map is output_padding, at most one stride less one.
    end = [n - p - o for n, p, o in zip(whole, op.pads, op.size, strict=True)]
    attributes: dict[str, Any] = {
        "kernel_shape": op.kernel, "strides": op.stride, "dilations": op.dilation,
        "pads": [*op.pads, *(max(0, e) for e in end)], "output_padding": [max(0, -e) for e in end],
    }  # fmt: skip
    finish(writer, node, "ConvTranspose", inputs, group=op.groups, **attributes)


@emitter(Dense, _reach)
def _dense(writer: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Dense)
    inputs = [
        real_input(writer, node, 0, flat=True),
        *_weights(writer, node, op, op.weight.reshape(len(op.weight), -1)),
    ]
    finish(writer, node, "Gemm", inputs, transB=1)
    writer.flat.add(node.id)
