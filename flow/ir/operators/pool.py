"""MaxPool, AveragePool and means of whole maps."""

from __future__ import annotations

from typing import Any

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
from flow.ir.operators.windows import shaped, window
from flow.ir.ops import Op, Pads, Pool, Range, Shape, window_extent
from flow.ir.writer import Writer, agree, emitter, finish, real_input


@operator("MaxPool", role="passed")
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
    agree(node, want)
    attributes: dict[str, Any] = {"kernel_shape": op.kernel, "strides": op.stride, "pads": op.pads}
    if average:
        attributes["count_include_pad"] = 1
    # A maximum has no offset: its input's zero point passes through, so it must be zero or the scale unchanged.
    if not average and source.zero and want != 1:
        raise ValueError(f"node {node.id}: a MaxPool cannot rescale an input with zero point {source.zero}")
    finish(writer, node, op.kind, [real_input(writer, node, 0)], passed=0 if average else source.zero, **attributes)
