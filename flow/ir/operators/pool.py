"""MaxPool, AveragePool and means of whole maps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from onnx import NodeProto

from flow.fixed import Quant, Requant
from flow.ir import scales
from flow.ir.graph import Node, Tensor
from flow.ir.importer import (
    Importer,
    Pending,
    Real,
    Value,
    attributes,
    label,
    operator,
    refusal,
)
from flow.ir.operators.windows import shaped, spatial, window
from flow.ir.ops import Op, Pool, Range, Shape
from flow.ir.values import Moved
from flow.ir.writer import Writer, agree, emitter, finish, real_input


@operator("MaxPool", role="passed")
def max_pool(importer: Importer, node: NodeProto) -> Value:
    a = spatial(node)
    if len([o for o in node.output if o]) > 1 or a.get("storage_order"):
        raise refusal(node, "indices and storage order are not supported; use a plain MaxPool")
    return maximum(importer, node, tuple(a["kernel_shape"]))


@operator("GlobalMaxPool", "ReduceMax", role="passed")
def global_max(importer: Importer, node: NodeProto) -> Value:
    source = importer.value(node, 0)
    if not isinstance(source, Pending):
        source = importer.feature(node, 0)[0]
    shape = importer.shape_of(source)
    kept = node.op_type == "GlobalMaxPool" or reduced(importer, node, source.rank)
    found = maximum(importer, node, shape[1:])
    return found if kept else replace(found, rank=2)


def maximum(importer: Importer, node: NodeProto, kernel: tuple[int, ...]) -> Pending:
    """A maximum over windows; behind a float operator it is taken after that operator's quantiser."""
    source = importer.value(node, 0)

    def over(tensor_id: str) -> Pending:
        tensor = importer.tensors[tensor_id]
        place = pool_window(importer, node, tensor.shape, kernel)
        pad = tensor.quant.lo if any(place["pads"]) else 0  # never more than any pixel

        def build(requant: Requant) -> Op:
            return pooled("MaxPool", kernel, requant, place, pad)

        shape = shaped(node, build(Requant((0,), 0, 0)), [tensor.shape])
        step = (scales.fraction(tensor.quant.scale),)
        zero = tensor.quant.zero
        return Pending(
            label(node), "MaxPool", (tensor_id,), shape, rank, step, build, passed=zero, natural=tensor.quant
        )

    if isinstance(source, Pending) and source.natural is None and source.rank > 2:
        rank = source.rank
        place = pool_window(importer, node, source.shape, kernel)
        shape = shaped(node, pooled("MaxPool", kernel, Requant((0,), 0, 0), place, 0), [source.shape])
        return Pending(label(node), "MaxPool", (), shape, rank, (), _unbuilt, source=source, after=over)
    real, _ = importer.feature(node, 0)
    rank = real.rank
    return over(real.tensor)


def pooled(kind: str, kernel: tuple[int, ...], requant: Requant, place: dict[str, Any], pad: int, **more: Any) -> Pool:
    size = (kernel[0], kernel[1])
    return Pool(kind, size, requant, place["stride"], place["pads"], pad, dilation=place["dilation"], **more)


def _unbuilt(requant: Requant) -> Op:
    raise AssertionError("a MaxPool over a float operator is built after that operator")


def pool_window(importer: Importer, node: NodeProto, shape: Shape, kernel: tuple[int, ...]) -> dict[str, Any]:
    """`window` of a pooling operator, whose windows must each hold a pixel."""
    if len(kernel) == 2 and kernel == shape[1:] and node.op_type not in ("MaxPool", "AveragePool"):
        return dict(WHOLE)
    place = window(importer, node, shape, kernel)
    probe = pooled("MaxPool", kernel, Requant((0,), 0, 0), place, 0)
    shaped(node, probe, [shape])
    if min(min(c) for c in probe.counts(shape)) < 1:
        raise refusal(node, f"a window of {kernel} with pads {place['pads']} holds no pixel; use smaller pads")
    return place


WHOLE: dict[str, Any] = {"stride": (1, 1), "pads": (0, 0, 0, 0), "dilation": (1, 1), "given": (0, 0, 0, 0)}


@operator("AveragePool")
def average_pool(importer: Importer, node: NodeProto) -> Value:
    value, tensor = importer.feature(node, 0)
    a = spatial(node)
    kernel = tuple(a["kernel_shape"])
    place = pool_window(importer, node, tensor.shape, kernel)
    exclude = any(place["pads"]) and not a.get("count_include_pad")
    if a.get("count_include_pad") and place["pads"] != place["given"]:
        # What rounding up adds does not count: pad first, then leave the rest out.
        t, left, b, r = place["given"]
        index = np.pad(importer.positions(value).reshape(tensor.shape), ((0, 0), (t, b), (left, r)), constant_values=-1)
        value = importer.placed(node, Moved(label(node), value, index[None], (0.0,)))
        value, tensor = replace(value, rank=4), importer.tensors[value.tensor]
        rest = tuple(p - q for p, q in zip(place["pads"], place["given"], strict=True))
        place, exclude = {**place, "pads": rest}, True
    return averaged(node, value, tensor, kernel, place, value.rank, exclude)


def averaged(
    node: NodeProto,
    value: Real,
    tensor: Tensor,
    kernel: tuple[int, ...],
    place: dict[str, Any],
    rank: int,
    exclude: bool = False,
) -> Pending:
    size, zero = kernel[0] * kernel[1], tensor.quant.zero

    def build(requant: Requant) -> Op:
        return pooled("AveragePool", kernel, requant, place, zero, offset=-size * zero, exclude=exclude)

    shape = shaped(node, build(Requant((0,), 0, 0)), [tensor.shape])
    step = (scales.fraction(tensor.quant.scale),)
    div = 1 if exclude or node.op_type == "ReduceSum" else size
    return Pending(label(node), "AveragePool", (value.tensor,), shape, rank, step, build, div=div)


@operator("GlobalAveragePool", "ReduceMean", "ReduceSum")
def global_average(importer: Importer, node: NodeProto) -> Value:
    value, tensor = importer.feature(node, 0)
    kept = node.op_type == "GlobalAveragePool" or reduced(importer, node, value.rank)
    return averaged(node, value, tensor, tensor.shape[1:], dict(WHOLE), value.rank if kept else 2)


def reduced(importer: Importer, node: NodeProto, rank: int) -> bool:
    """True when a reduction keeps its dimensions; it must go over all of height and width."""
    a = attributes(node)
    axes = a.get("axes") if len(node.input) < 2 else importer.array(node, 1)
    if axes is None or {int(x) % rank for x in axes} != set(range(2, rank)):
        raise refusal(node, "reducing other axes than height and width is not supported; reduce over (2, 3)")
    return bool(a.get("keepdims", 1))


def _reach(node: Node, ranges: list[Range], quants: list[Quant]) -> Range:
    op = node.op
    assert isinstance(op, Pool)
    if op.kind == "MaxPool":
        return op.accumulator(ranges)
    n = op.kernel[0] * op.kernel[1]
    return n * min(0, ranges[0][0]), n * max(0, ranges[0][1])


@emitter(Pool, _reach)
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
    have = scales.ratio(op.requant) / op.requant.div
    summed = average and not op.exclude and size > 1 and abs(have - want * size) < abs(have - want)
    agree(node, want * size if summed or op.exclude else want)
    attributes: dict[str, Any] = {"kernel_shape": op.kernel, "strides": op.stride, "pads": op.pads}
    attributes |= {"dilations": op.dilation} if op.dilation != (1, 1) else {}
    if summed:
        return _summed(writer, node)
    if average:
        attributes["count_include_pad"] = int(not op.exclude)
    # A maximum has no offset: its input's zero point passes through, so it must be zero or the scale unchanged.
    if not average and source.zero and want != 1:
        raise ValueError(f"node {node.id}: a MaxPool cannot rescale an input with zero point {source.zero}")
    finish(writer, node, op.kind, [real_input(writer, node, 0)], passed=0 if average else source.zero, **attributes)


def _summed(writer: Writer, node: Node) -> None:
    """A sum over the whole map."""
    op = node.op
    assert isinstance(op, Pool)
    if op.kernel != writer.graph.tensors[node.inputs[0]].shape[1:]:
        raise ValueError(f"node {node.id}: sums windows; ONNX only sums whole maps")
    axes = writer.constant("axes_hw", np.array([2, 3], np.int64))
    finish(writer, node, "ReduceSum", [real_input(writer, node, 0), axes], keepdims=1)
