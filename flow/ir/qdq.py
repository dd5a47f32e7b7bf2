"""QDQ ONNX to the integer graph.

The activation format is the tightest that storage type, Clip and Relu in front of the QuantizeLinear allow.  Scales
that are powers of two give exactly what ONNX Runtime computes.  Other scales become an integer multiplier and shift
(`flow.ir.scales`), and a float bias is rounded to the accumulator's scale, ties to even: there the graph is the
specification, and `notes` says so.  Operators are added one at a time: a function in `flow.ir.operators`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from flow.fixed import IntArray, Quant, bits_for
from flow.ir import dialects, operators, scales
from flow.ir.graph import Graph, Node, Tensor
from flow.ir.importer import OPERATORS, Importer, attributes, operator, refusal
from flow.ir.onnx_file import DOMAINS, ModelError, shown
from flow.ir.values import Codes, Constant, Curve, Image, Joined, Moved, Parameter, Pending, Real, Stored, Value

LIMITS = {
    **{np.dtype(t): (int(np.iinfo(t).min), int(np.iinfo(t).max)) for t in (np.int8, np.uint8, np.int16, np.uint16)},
    np.dtype(np.int32): (-(1 << 31), (1 << 31) - 1),
}
TYPES: dict[int, tuple[int, int]] = {
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT8: (0, 255),
    TensorProto.INT16: (-32768, 32767),
    TensorProto.UINT16: (0, 65535),
    TensorProto.INT4: (-8, 7),
    TensorProto.UINT4: (0, 15),
}


def is_quantised(model: ModelProto) -> bool:
    """True when the model bears QuantizeLinear nodes of its own."""
    return any(n.op_type == "QuantizeLinear" for n in model.graph.node)


def load(model: ModelProto) -> Graph:
    """The integer graph of a QDQ model with one input and one output.  Raises ModelError naming the node."""
    return loaded(model)[0]


def notes(model: ModelProto) -> tuple[str, ...]:
    """Where the integers only approximate the model's float arithmetic; empty when every step is exact."""
    return loaded(model)[1]


def loaded(model: ModelProto) -> tuple[Graph, tuple[str, ...]]:
    """`load` and `notes` in one pass."""
    operators.load()
    graph = dialects.folded(model).graph
    values: dict[str, Value] = {t.name: Constant(numpy_helper.to_array(t)) for t in graph.initializer}
    inputs = [i for i in graph.input if i.name not in values]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise ModelError(
            f"{len(inputs)} inputs and {len(graph.output)} outputs; networks have one of each, split the model"
        )
    values[inputs[0].name] = _image(inputs[0])
    opset = max((o.version for o in model.opset_import if o.domain in DOMAINS), default=0)
    importer = Importer(values, opset)
    for node in _needed(graph):
        function = OPERATORS.get(node.op_type) if node.domain in DOMAINS else None
        if function is None:
            raise refusal(
                node, f"the operator is not supported; replace it (supported: {', '.join(sorted(OPERATORS))})"
            )
        found = function(importer, node)
        for name, value in zip(node.output, found if isinstance(found, tuple) else (found,), strict=False):
            values[name] = value
    return _pruned(importer, _output(importer, graph)), tuple(importer.notes)


def _image(value: Any) -> Image:
    dims = [d.dim_value if d.HasField("dim_value") else 0 for d in value.type.tensor_type.shape.dim]
    if len(dims) not in (2, 3, 4) or any(d < 1 for d in dims[1:]):
        raise ModelError(
            f"input {shown(value.name)} has shape {dims}; (1, C, H, W), (1, C, W) or (1, C) of fixed size is supported"
        )
    if value.type.tensor_type.elem_type != TensorProto.FLOAT:
        raise ModelError(f"input {shown(value.name)} is not float32; export with a float32 input")
    c, h, w = (dims[1], 1 if len(dims) < 4 else dims[2], 1 if len(dims) == 2 else dims[-1])
    return Image((c, h, w), len(dims))


def _needed(graph: GraphProto) -> list[NodeProto]:
    """Nodes that the output depends on, in order: dead ones need not be supported."""
    wanted, out = {graph.output[0].name}, []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted.update(node.input)
            out.append(node)
    return out[::-1]


def _output(importer: Importer, graph: GraphProto) -> str:
    name = graph.output[0].name
    node = next(n for n in reversed(graph.node) if name in n.output)
    value = importer.settled(node, importer.values[name])
    if isinstance(value, Pending):
        return importer.raw(node, value)
    if isinstance(value, Moved) and isinstance(value.source, Stored):
        value = importer.placed(node, value)
    if isinstance(value, (Real, Stored)):
        if value.tensor != "input":
            return value.tensor
        copy, q = importer.identity(node, Real(value.tensor, value.rank)), importer.tensors["input"].quant
        return importer.quantised(node, copy, q.scale, q.zero, q.lo, q.hi)
    if isinstance(value, Curve | Joined | Moved):
        raise refusal(node, "the output is float; put QuantizeLinear and DequantizeLinear behind it")
    raise refusal(node, "the output does not depend on a quantised operator; give a network")


def _pruned(importer: Importer, output: str) -> Graph:
    """Only what the output needs, ids counted anew."""
    by_id = {n.id: n for n in importer.nodes}
    keep, stack = {"input"}, [output]
    while stack:
        name = stack.pop()
        if name not in keep:
            keep.add(name)
            stack.extend(by_id[name].inputs)
    nodes = [n for n in importer.nodes if n.id in keep]
    ids = {"input": "input", **{n.id: f"L{k}" for k, n in enumerate(nodes)}}
    renamed = tuple(Node(ids[n.id], n.name, n.op, tuple(ids[i] for i in n.inputs)) for n in nodes)
    return Graph(renamed, {ids[t]: importer.tensors[t] for t in importer.tensors if t in keep})


@operator("QuantizeLinear", role="quantiser")
def quantize_linear(importer: Importer, node: NodeProto) -> Value:
    scale, zero, (lo, hi) = _format(importer, node)
    value = importer.value(node, 0)
    if isinstance(value, Constant):
        real = value.values.astype(np.float32)
        steps, offsets = _along(node, real.ndim, scale), _along(node, real.ndim, zero)
        return Codes(np.clip(np.rint(real / steps).astype(np.float64) + offsets, lo, hi).astype(np.int64))
    if scale.size != 1:
        raise refusal(node, "feature maps have one scale each here; quantise activations per tensor")
    s, z = float(scale.ravel()[0]), int(zero.ravel()[0])
    if isinstance(value, Image):
        return _quantised_image(importer, node, value, Quant(*bits_for(lo, hi), s, z))
    if isinstance(value, Real | Pending | Curve | Joined | Moved):
        return importer.stored(node, value, s, z, lo, hi)
    raise refusal(node, "its input is quantised already; remove the second QuantizeLinear")


def _quantised_image(importer: Importer, node: NodeProto, image: Image, full: Quant) -> Stored:
    """The network's input format: the storage type, or a narrower one by Clip that is a whole format again."""
    real = (np.array([image.lo, image.hi]) / full.scale).clip(-(2**40), 2**40)
    lo, hi = (int(v) for v in np.clip(np.rint(real) + full.zero, full.lo, full.hi))
    quant = Quant(*bits_for(lo, hi), full.scale, full.zero)
    if (quant.lo, quant.hi) != (lo, hi):
        raise refusal(
            node, f"the input is clipped to {lo}..{hi}, no whole integer format; widen the Clip to the format"
        )
    known = importer.tensors.setdefault("input", Tensor(image.shape, quant))
    if known.quant != quant:
        raise refusal(node, "the network input is quantised in two ways; quantise it once and share it")
    return Stored("input", image.rank)


def _format(importer: Importer, node: NodeProto) -> tuple[NDArray[Any], IntArray, tuple[int, int]]:
    """Scale, zero point and storage limits of a QuantizeLinear."""
    if attributes(node).get("block_size"):
        raise refusal(node, "block quantisation is not supported; quantise per tensor or per channel")
    scale, zero = importer.array(node, 1), importer.array(node, 2)
    dtype = attributes(node).get("output_dtype") or (TensorProto.UINT8 if zero is None else 0)
    limits = TYPES.get(int(dtype)) if zero is None else _limits(zero.dtype)
    if scale is None or limits is None or not (np.isfinite(scale).all() and (scale > 0).all()):
        raise refusal(node, "scales are positive and types integers of 4, 8 or 16 bits; quantise again")
    zeros = np.zeros(scale.shape, np.int64) if zero is None else zero.astype(np.int64)
    if zeros.size not in (1, scale.size) or not scale.size:
        raise refusal(node, f"{zeros.size} zero points for {scale.size} scales; quantise again")
    return scale.astype(np.float32), zeros, limits


def _limits(dtype: np.dtype[Any]) -> tuple[int, int] | None:
    return {"int4": (-8, 7), "uint4": (0, 15)}.get(dtype.name) or LIMITS.get(dtype)


def _along(node: NodeProto, ndim: int, per_channel: NDArray[Any]) -> NDArray[Any]:
    """Scales or zero points shaped to meet an array of ``ndim`` dimensions."""
    if per_channel.size == 1:
        return per_channel.reshape(())
    shape = [1] * ndim
    shape[attributes(node).get("axis", 1)] = -1
    return per_channel.reshape(shape)


@operator("DequantizeLinear", role="quantiser")
def dequantize_linear(importer: Importer, node: NodeProto) -> Value:
    value = importer.value(node, 0)
    if attributes(node).get("block_size"):
        raise refusal(node, "block quantisation is not supported; quantise per tensor or per channel")
    scale, zero = importer.array(node, 1), importer.array(node, 2)
    if scale is None or not (np.isfinite(scale).all() and (scale > 0).all()):
        raise refusal(node, "scales are finite and positive; quantise again")
    if isinstance(value, (Constant, Codes)):
        return _parameter(node, value.values, scale, zero)
    z = 0 if zero is None else int(zero.ravel()[0])
    if isinstance(value, Moved) and isinstance(value.source, Stored):
        inner = _dequantised(importer, node, value.source, scale, z)
        return replace(value, source=inner)
    if isinstance(value, Stored):
        return _dequantised(importer, node, value, scale, z)
    raise refusal(node, "its input is not quantised; put a QuantizeLinear in front")


def _dequantised(importer: Importer, node: NodeProto, value: Stored, scale: NDArray[Any], z: int) -> Real:
    quant = importer.tensors[value.tensor].quant
    if scale.size != 1 or (float(scale.ravel()[0]), z) != (quant.scale, quant.zero):
        raise refusal(node, "scale or zero point differs from its QuantizeLinear's; use the same for both")
    return Real(value.tensor, value.rank)


def _parameter(node: NodeProto, stored: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any] | None) -> Parameter:
    if stored.dtype.kind == "f":
        raise refusal(node, "its input is float; store integers or put a QuantizeLinear in front")
    if scale.ndim > 1 and scale.size > 1:
        raise refusal(node, "scales of several dimensions are not supported; quantise per tensor or per channel")
    values = stored.astype(np.int64)
    axis = attributes(node).get("axis", 1) % max(values.ndim, 1)
    for what, given in (("scales", scale), ("zero points", zero)):
        if given is not None and given.size != 1 and values.shape[axis : axis + 1] != (given.size,):
            raise refusal(node, f"{given.size} {what} for a weight of shape {values.shape}; quantise again")
    if zero is not None:
        values = values - _along(node, values.ndim, zero.astype(np.int64))
    return Parameter(values, tuple(scales.fraction(float(s)) for s in scale.ravel()), axis)
