"""How each float ONNX operator of a QDQ graph becomes an integer operator: one function each, found by `operator`.

To add one: write a function here (or in a module imported by `flow.ir.qdq`) that returns the value of the node's
output, and decorate it.  What a function does not understand it refuses, naming the node and the way out.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from flow.fixed import IntArray, Requant
from flow.ir import scales
from flow.ir.graph import Tensor
from flow.ir.importer import (
    Constant,
    Image,
    Importer,
    Parameter,
    Pending,
    Real,
    Value,
    attributes,
    label,
    limited,
    operator,
    refusal,
)
from flow.ir.ops import Add, Conv, Dense, Op, Pads, Pool, Shape, window_extent

MAX_BIAS = 1 << 31  # ONNX stores biases in 32 bits


def window(importer: Importer, node: NodeProto, shape: Shape, kernel: tuple[int, ...]) -> dict[str, Any]:
    """Stride, pads (auto_pad and ceil_mode resolved) and dilation of a window operator over ``shape``.

    ``ceil`` is true when ceil_mode adds positions that the pads of the file do not cover.
    """
    a = attributes(node)
    if len(kernel) != 2:
        raise refusal(node, f"a {len(kernel)}-dimensional window is not supported; use two dimensions")
    stride, dilation = tuple(a.get("strides", (1, 1))), tuple(a.get("dilations", (1, 1)))
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    pads = list(a.get("pads", (0, 0, 0, 0)))
    mode = a.get("auto_pad", b"NOTSET")
    if mode in (b"SAME_UPPER", b"SAME_LOWER"):
        total = [max(0, (-(-n // s) - 1) * s + e - n) for n, s, e in zip(shape[1:], stride, extent, strict=True)]
        small = [t // 2 for t in total]
        big = [t - t // 2 for t in total]
        pads = small + big if mode == b"SAME_UPPER" else big + small
    elif mode == b"VALID":
        pads = [0, 0, 0, 0]
    elif mode != b"NOTSET":
        raise refusal(node, "its auto_pad is unknown; use explicit pads")
    grown = list(pads)
    if a.get("ceil_mode"):
        for k in (0, 1):
            size = shape[1 + k] + pads[k] + pads[k + 2]
            count = -(-(size - extent[k]) // stride[k]) + 1
            if (count - 1) * stride[k] >= shape[1 + k] + pads[k]:
                count -= 1  # ONNX drops windows that start in the end padding
            grown[k + 2] = max(pads[k + 2], (count - 1) * stride[k] + extent[k] - shape[1 + k] - pads[k])
    return {"stride": stride, "pads": tuple(grown), "dilation": dilation, "ceil": grown != pads}


@operator("Conv")
def conv(importer: Importer, node: NodeProto) -> Value:
    value, tensor = importer.real(node, 0, rank=4)
    weight = parameter(importer, node, 1)
    if weight.values.ndim != 4:
        raise refusal(node, f"its weight has {weight.values.ndim} dimensions; 2-D convolutions are supported")
    kernel = tuple(int(k) for k in weight.values.shape[2:])
    if tuple(attributes(node).get("kernel_shape", kernel)) != kernel:
        raise refusal(node, f"kernel_shape contradicts its weight {weight.values.shape}; export again")
    place = window(importer, node, tensor.shape, kernel)
    groups, zero = attributes(node).get("group", 1), tensor.quant.zero
    if len(weight.scale) > 1 and weight.axis != 0:
        raise refusal(node, "weight scales lie along another axis than the output channel; quantise along axis 0")

    def build(requant: Requant, bias: IntArray) -> Op:
        return Conv(
            weight.values, bias, requant, place["stride"], place["pads"], place["dilation"], groups, pad_value=zero
        )

    given = importer.optional(node, 2)
    return linear(importer, node, value, weight, build, given)


def linear(
    importer: Importer, node: NodeProto, value: Real, weight: Parameter, build: Any, bias: Value | None
) -> Pending:
    """The pending operator of ``build(requant, bias)`` with integer bias: the zero point's share is subtracted."""
    tensor = importer.tensors[value.tensor]
    channels = weight.values.shape[0]
    step = tuple(scales.fraction(tensor.quant.scale) * s for s in weight.scale)
    share = tensor.quant.zero * weight.values.reshape(channels, -1).sum(1)

    def pending(terms: IntArray, rebias: Any) -> Pending:
        shape = shaped(node, build(Requant((0,), 0, 0), terms - share), [tensor.shape])
        rank = 2 if node.op_type in ("Gemm", "MatMul") else 4
        return Pending(
            label(node),
            node.op_type,
            (value.tensor,),
            shape,
            rank,
            step,
            lambda r: build(r, terms - share),
            rebias=rebias,
        )

    def rebiased(extra: Constant | Parameter) -> Pending:
        return pending(bias_terms(importer, node, extra, step, channels), None)

    if bias is None:
        return pending(np.zeros(channels, np.int64), rebiased)
    return pending(bias_terms(importer, node, bias, step, channels), None)


def bias_terms(importer: Importer, node: NodeProto, bias: Value, step: tuple[Fraction, ...], channels: int) -> IntArray:
    """A bias in accumulator units.  Integers at the accumulator's scale stay; others are rounded, ties to even."""
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
    out, rounded = [], False
    for v, unit, s in zip(values, units, steps, strict=True):
        exact = Fraction(float(v)) if values.dtype.kind == "f" else int(v) * unit
        # A stored scale is the float32 product of two scales: the same but for its rounding.
        term = int(v) if values.dtype.kind != "f" and abs(unit / s - 1) < Fraction(1, 1 << 20) else round(exact / s)
        rounded |= term * s != exact and abs(unit / s - 1) >= Fraction(1, 1 << 20)
        if abs(term) >= MAX_BIAS:
            raise refusal(node, "a bias exceeds 32 bits of its accumulator; quantise with larger scales")
        out.append(term)
    if rounded:
        importer.notes.append(f"{label(node)}: bias rounded to its accumulator's scale")
    return np.array(out, np.int64)


def parameter(importer: Importer, node: NodeProto, k: int) -> Parameter:
    value = importer.value(node, k)
    if isinstance(value, Parameter):
        return value
    what = "float" if isinstance(value, Constant) else "computed"
    raise refusal(
        node, f"its weight is {what}; store integers with DequantizeLinear, or compile the float model with calibration"
    )


def shaped(node: NodeProto, op: Op, inputs: list[Shape]) -> Shape:
    try:
        return op.shape(inputs)
    except ValueError as e:
        raise refusal(node, f"{e}; export the model again") from None


@operator("Gemm", "MatMul")
def gemm(importer: Importer, node: NodeProto) -> Value:
    a = attributes(node)
    if a.get("transA") or a.get("alpha", 1.0) != 1.0 or a.get("beta", 1.0) != 1.0:
        raise refusal(node, "transA, alpha and beta are not supported; fold them into the weights")
    value, tensor = importer.real(node, 0, rank=2)
    weight = parameter(importer, node, 1)
    if weight.values.ndim != 2:
        raise refusal(node, "its weight is no matrix; use MatMul with a constant matrix")
    if not a.get("transB"):
        weight = Parameter(weight.values.T, weight.scale, 1 - weight.axis)
    if len(weight.scale) > 1 and weight.axis != 0:
        raise refusal(node, "weight scales lie along the input channels; quantise per output channel or per tensor")
    if weight.values.shape[1] != np.prod(tensor.shape):
        raise refusal(node, f"weights {weight.values.shape} do not fit {np.prod(tensor.shape)} inputs; export again")
    cube = weight.values.reshape(-1, *tensor.shape)

    def build(requant: Requant, bias: IntArray) -> Op:
        return Dense(cube, bias, requant)

    return linear(importer, node, value, weight, build, importer.optional(node, 2))


@operator("Add", "Sum")
def add(importer: Importer, node: NodeProto) -> Value:
    if len(node.input) != 2:
        raise refusal(node, f"adds {len(node.input)} tensors, two inputs are supported; chain additions")
    left, right = importer.value(node, 0), importer.value(node, 1)
    for value, other in ((left, right), (right, left)):
        if isinstance(value, Pending) and value.rebias and isinstance(other, (Constant, Parameter)):
            shape = other.values.shape
            aligned = shape[-1:] if value.rank == 2 else shape[-3:-2] if shape[-2:] == (1, 1) else ()
            if np.prod(shape) > 1 and aligned != (value.shape[0],):
                raise refusal(node, f"a constant of shape {shape} is no bias for {value.shape}; fold it elsewhere")
            biased = value.rebias(other)
            return limited(replace(biased, rank=value.rank), value.lo, value.hi) if value.lo == -np.inf else _late(node)
    pair = [importer.real(node, k)[0] for k in (0, 1)]
    if pair[0].rank != pair[1].rank:
        raise refusal(node, "its inputs have different ranks; flatten both or none")
    return _sum(importer, node, pair)


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
    offset = -sum(t.quant.zero << k for t, k in zip(tensors, shift, strict=True))

    def build(requant: Requant) -> Op:
        return Add(requant, shift, offset)

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


@operator("MaxPool")
def max_pool(importer: Importer, node: NodeProto) -> Value:
    a = attributes(node)
    if any(d != 1 for d in a.get("dilations", ())) or len(node.output) > 1 or a.get("storage_order"):
        raise refusal(node, "dilations, indices and storage order are not supported; use a plain MaxPool")
    source = importer.value(node, 0)
    kernel = tuple(a["kernel_shape"])

    def over(tensor_id: str) -> Pending:
        tensor = importer.tensors[tensor_id]
        place = pool_window(importer, node, tensor.shape, kernel)
        pad = tensor.quant.lo if any(place["pads"]) else 0  # never more than any pixel

        def build(requant: Requant) -> Op:
            return Pool("MaxPool", (kernel[0], kernel[1]), requant, place["stride"], place["pads"], pad)

        shape = shaped(node, build(Requant((0,), 0, 0)), [tensor.shape])
        step = (scales.fraction(tensor.quant.scale),)
        return Pending(
            label(node), "MaxPool", (tensor_id,), shape, 4, step, build, passed=tensor.quant.zero, natural=tensor.quant
        )

    if isinstance(source, Pending) and source.natural is None and source.rank == 4:
        place = pool_window(importer, node, source.shape, kernel)
        shape = shaped(
            node,
            Pool("MaxPool", (kernel[0], kernel[1]), Requant((0,), 0, 0), place["stride"], place["pads"]),
            [source.shape],
        )
        return Pending(label(node), "MaxPool", (), shape, 4, (), _unbuilt, source=source, after=over)
    return over(importer.real(node, 0, rank=4)[0].tensor)


def _unbuilt(requant: Requant) -> Op:
    raise AssertionError("a MaxPool over a float operator is built after that operator")


def pool_window(importer: Importer, node: NodeProto, shape: Shape, kernel: tuple[int, ...]) -> dict[str, Any]:
    """`window` of a pooling operator, whose windows must each hold a pixel."""
    place = window(importer, node, shape, kernel)
    pads: Pads = place["pads"]
    if any(p >= k for p, k in zip(pads, (*kernel, *kernel), strict=True)):
        raise refusal(node, f"pads {pads} reach the window's size {kernel}; use smaller pads")
    if any(
        window_extent(n, k, 1, 0, 0) < 1 - pads[i] - pads[i + 2]
        for i, (n, k) in enumerate(zip(shape[1:], kernel, strict=True))
    ):
        raise refusal(node, f"window {kernel} does not fit into {shape}; export the model again")
    return place


@operator("AveragePool")
def average_pool(importer: Importer, node: NodeProto) -> Value:
    value, tensor = importer.real(node, 0, rank=4)
    a = attributes(node)
    kernel = tuple(a["kernel_shape"])
    place = pool_window(importer, node, tensor.shape, kernel)
    if any(d != 1 for d in place["dilation"]):
        raise refusal(node, "dilations are not supported; use a plain AveragePool")
    if place["ceil"] or (any(place["pads"]) and not a.get("count_include_pad")):
        raise refusal(node, "its divisor differs at the border; use count_include_pad=1 and ceil_mode=0, or no pads")
    return averaged(node, value, tensor, (kernel[0], kernel[1]), place)


def averaged(
    node: NodeProto, value: Real, tensor: Tensor, kernel: tuple[int, int], place: dict[str, Any], rank: int = 4
) -> Pending:
    size, zero = kernel[0] * kernel[1], tensor.quant.zero

    def build(requant: Requant) -> Op:
        return Pool("AveragePool", kernel, requant, place["stride"], place["pads"], zero, -size * zero)

    shape = shaped(node, build(Requant((0,), 0, 0)), [tensor.shape])
    step = (scales.fraction(tensor.quant.scale),)
    return Pending(label(node), "AveragePool", (value.tensor,), shape, rank, step, build, div=size)


@operator("GlobalAveragePool", "ReduceMean")
def global_average(importer: Importer, node: NodeProto) -> Value:
    value, tensor = importer.real(node, 0, rank=4)
    rank = 4
    if node.op_type == "ReduceMean":
        a = attributes(node)
        axes = a.get("axes") if len(node.input) < 2 else importer.array(node, 1)
        if axes is None or {int(x) % 4 for x in axes} != {2, 3}:
            raise refusal(node, "means over other axes than height and width are not supported; reduce over (2, 3)")
        rank = 4 if a.get("keepdims", 1) else 2
    place = {"stride": (1, 1), "pads": (0, 0, 0, 0)}
    return averaged(node, value, tensor, (tensor.shape[1], tensor.shape[2]), place, rank)


@operator("Relu", "Clip")
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
    if isinstance(value, Image):
        return limited(value, lo, hi)
    if isinstance(value, Pending):
        return limited(value, lo, hi)
    real, _ = importer.real(node, 0)
    return limited(importer.identity(node, real), lo, hi)
