"""Operators that move elements: shape changes, slices, pads, enlargements, permutations, concatenation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

from flow.fixed import IntArray
from flow.ir.evaluate import evaluate
from flow.ir.graph import Node
from flow.ir.importer import Importer, attributes, label, operator, refusal
from flow.ir.messages import ModelError
from flow.ir.ops import Concat, DepthToSpace, Permute, Sample, Select
from flow.ir.values import (
    Constant,
    Curve,
    Feature,
    Image,
    Joined,
    Moved,
    Parameter,
    Pending,
    Real,
    Stored,
    Value,
)
from flow.ir.writer import Writer, emitter, finish_real, real_input

FEATURES = (Image, Stored, Real, Pending, Curve, Joined, Moved)
RESHAPES = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")
MOVES = (
    *("Transpose", "Slice", "Gather", "Split", "Pad", "Resize", "Upsample", "Expand", "Tile", "DepthToSpace"),
    *("SpaceToDepth", "GatherND", "GatherElements", *RESHAPES),
)
LARGEST = 1 << 24  # positions that float32 holds, which is the one type every movement takes


@operator("Identity", "Dropout", role="passed")
def identity(importer: Importer, node: NodeProto) -> Value:
    if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
        mode = importer.array(node, 2)
        if mode is not None and mode.any():
            raise refusal(node, "drops in training mode; export the network for inference")
    return importer.value(node, 0)


@operator("Constant", role="passed")
def constant(importer: Importer, node: NodeProto) -> Value:
    (name, value), *_ = attributes(node).items()
    if name == "value":
        return Constant(numpy_helper.to_array(value))
    if name in ("value_float", "value_floats", "value_int", "value_ints"):
        return Constant(np.asarray(value, np.float32 if "float" in name else np.int64))
    raise refusal(node, f"a constant of kind {name} is not supported; store a dense tensor")


@operator(*MOVES, role="passed")
def move(importer: Importer, node: NodeProto) -> Value | tuple[Value, ...]:
    value = importer.value(node, 0)
    given = {name: importer.array(node, k) for k, name in enumerate(node.input) if k and name}
    constants = {name: a for name, a in given.items() if a is not None}
    if isinstance(value, Constant):
        return tuple(Constant(a) for a in _applied(importer, node, value.values, constants))
    if isinstance(value, Parameter):
        return tuple(_parameter(node, value, a) for a in _parameters(importer, node, value, constants))
    if not isinstance(value, FEATURES):
        raise refusal(node, "moving stored integers is not supported; put a DequantizeLinear in front")
    _legible(node, constants)
    fill: tuple[float, ...] = ()
    if isinstance(value, Moved) and value.index.ndim == 4 and node.op_type in RESHAPES:
        if isinstance(value.source, Stored | Real):  # as a map it is cheaper to move than as a vector
            value = importer.placed(node, value, keep=True)
    source, index = value, importer.positions(value)
    if isinstance(value, Moved):
        source, fill = value.source, value.fill
    if node.op_type == "Pad":
        constants, fill = _marked(node, constants, fill)
    found = _applied(importer, node, index, constants)
    return tuple(
        simplest(importer, Moved(label(node), source, a.astype(np.int64), fill, node.op_type == "Transpose"))
        for a in found
    )


def simplest(importer: Importer, moved: Moved) -> Feature:
    """The source itself where nothing moved; (C, H, W) flattened to (1, N) stays the tensor it is."""
    source, index = moved.source, moved.index
    if isinstance(source, Joined | Moved) or not np.array_equal(index.reshape(-1), np.arange(index.size)):
        return moved
    c, h, w = importer.shape_of(source)
    if index.size != c * h * w:
        return moved
    for rank, dims in ((source.rank, importer.dims(source)), (4, (1, c, h, w)), (2, (1, c * h * w)), (3, (1, c, w))):
        if index.shape == dims and not (rank == 3 and h > 1):
            return source if rank == source.rank else replace(source, rank=rank)
    return moved


def _legible(node: NodeProto, constants: dict[str, NDArray[Any]]) -> None:
    """Refuses what computes values instead of moving them."""
    a = attributes(node)
    if node.op_type in ("Resize", "Upsample"):
        mode = a.get("mode", b"nearest").decode()
        if mode != "nearest":
            raise refusal(node, f"interpolates ({mode}); use mode nearest, or a ConvTranspose")
        if a.get("coordinate_transformation_mode") == b"tf_crop_and_resize":
            raise refusal(node, "crops by a computed region; slice and resize instead")


def _marked(
    node: NodeProto, constants: dict[str, NDArray[Any]], fill: tuple[float, ...]
) -> tuple[dict[str, NDArray[Any]], tuple[float, ...]]:
    """A Pad's filler replaced by the marker that stands for it in index arrays."""
    a = attributes(node)
    if a.get("mode", b"constant") != b"constant":
        return constants, fill
    name = node.input[2] if len(node.input) > 2 and node.input[2] else ""
    value = float(constants[name].ravel()[0]) if name else float(a.get("value", 0.0))
    place = fill.index(value) if value in fill else len(fill)
    return {**constants, "filler": np.array(-1 - place)}, (*fill, value) if place == len(fill) else fill


def _applied(
    importer: Importer, node: NodeProto, array: NDArray[Any], constants: dict[str, NDArray[Any]]
) -> list[NDArray[Any]]:
    """What the operator makes of an array: it runs in ONNX Runtime."""
    if array.size >= LARGEST:
        raise refusal(node, f"moves {array.size} elements, the limit is {LARGEST}; use a smaller map")
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.input[0] = "moved"
    feeds = {k: v for k, v in constants.items() if k != "filler"}
    whole = array.dtype.kind in "iu"
    if "filler" in constants:
        filler = np.array(float(constants["filler"]), np.float32)
        if importer.opset < 11:
            for k in [k for k in copy.attribute if k.name == "value"]:
                copy.attribute.remove(k)
            copy.attribute.add(name="value", type=1, f=float(filler))
        else:
            copy.input.extend([""] * (3 - len(copy.input)))
            copy.input[2] = "filler"
            feeds = {k: v for k, v in feeds.items() if k in copy.input} | {"filler": filler}
    feeds["moved"] = array.astype(np.float32)
    try:
        found = evaluate([copy], feeds, list(node.output), importer.opset)
    except ModelError as e:
        raise refusal(node, str(e)) from None
    return [np.rint(a).astype(array.dtype) if whole else a for a in found]


def _parameters(
    importer: Importer, node: NodeProto, value: Parameter, constants: dict[str, NDArray[Any]]
) -> list[IntArray]:
    if np.abs(value.values).max(initial=0) >= LARGEST:
        raise refusal(node, "moves integers of more than 24 bits; store the constant in its final shape")
    return [a.astype(np.int64) for a in _applied(importer, node, value.values, constants)]


def _parameter(node: NodeProto, value: Parameter, moved: IntArray) -> Parameter:
    """A stored weight in another shape; its scales must stay along one axis."""
    if len(value.scale) == 1:
        return Parameter(moved, value.scale, 0)
    if node.op_type == "Transpose":
        order = list(attributes(node).get("perm") or range(value.values.ndim)[::-1])
        return Parameter(moved, value.scale, order.index(value.axis))
    if node.op_type in RESHAPES:
        for axis, size in enumerate(moved.shape):
            before = int(np.prod(moved.shape[:axis]))
            if size == len(value.scale) and before == int(np.prod(value.values.shape[: value.axis])):
                return Parameter(moved, value.scale, axis)
    raise refusal(node, "moves a constant with several scales; store the constant in its final shape")


@operator("Concat")
def concat(importer: Importer, node: NodeProto) -> Value:
    values = [importer.value(node, k) for k in range(len(node.input))]
    if all(isinstance(v, Constant) for v in values):
        return Constant(np.concatenate([v.values for v in values if isinstance(v, Constant)], attributes(node)["axis"]))
    parts = [v for v in values if isinstance(v, FEATURES)]
    if len(parts) < len(values):
        raise refusal(node, "joins a map with a constant; pad the map instead")
    if len(parts) == 1:
        return parts[0]
    dims = [importer.dims(p) for p in parts]
    rank = len(dims[0])
    axis = attributes(node)["axis"] % rank
    if axis == 0 or any(d[0] != 1 or len(d) != rank for d in dims) or rank not in (2, 3, 4):
        raise refusal(
            node, f"joins shapes {[list(d) for d in dims]} along axis {axis}; join (1, C, H, W) along C, H or W"
        )
    if rank == 2:
        parts = [_column(importer, p) for p in parts]
    total = [*dims[0][1:axis], sum(d[axis] for d in dims), *dims[0][axis + 1 :]]
    shape = (total[0], total[1] if rank == 4 else 1, total[-1] if rank > 2 else 1)
    return Joined(label(node), tuple(parts), {4: axis - 1, 3: 2 * axis - 2, 2: 0}[rank], shape, rank)


def _column(importer: Importer, value: Feature) -> Feature:
    """A vector as a map of one pixel."""
    if isinstance(value, Moved | Joined) or importer.shape_of(value)[1:] == (1, 1):
        return value
    index = importer.positions(value)
    return Moved(value.name if isinstance(value, Pending | Curve) else "flatten", value, index.reshape(1, -1, 1, 1))


@emitter(Concat)
def _concat(writer: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Concat)
    inputs = [real_input(writer, node, 0), real_input(writer, node, 1)]
    finish_real(writer, node, writer.add("Concat", inputs, f"{node.id}_float", axis=op.axis + 1))


@emitter(Select)
def _select(writer: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Select)
    (c, _, _), real = writer.graph.tensors[node.inputs[0]].shape, real_input(writer, node, 0)
    real = _gathered(writer, node, real, 1, op.channels, c, op.fill)
    finish_real(writer, node, real)


@emitter(Sample)
def _sample(writer: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Sample)
    (_, h, w), real = writer.graph.tensors[node.inputs[0]].shape, real_input(writer, node, 0)
    if op.rows != tuple(range(h)):
        real = _gathered(writer, node, real, 2, op.rows, h, op.fill)
    if op.columns != tuple(range(w)):
        real = _gathered(writer, node, real, 3, op.columns, w, op.fill)
    finish_real(writer, node, real)


def _gathered(writer: Writer, node: Node, real: str, axis: int, places: tuple[int, ...], size: int, fill: int) -> str:
    """Elements by index along an axis; -1 stands for a filler, which a Pad puts behind the last."""
    name = f"{node.id}_axis{axis}"
    if min(places) < 0:
        pads = np.zeros(8, np.int64)
        pads[4 + axis] = 1
        quant = writer.graph.tensors[node.inputs[0]].quant
        value = writer.constant(f"{name}_fill", quant.real(np.array(fill)))
        real = writer.add("Pad", [real, writer.constant(f"{name}_pads", pads), value], f"{name}_padded")
    at = np.array([p if p >= 0 else size for p in places], np.int64)
    return writer.add("Gather", [real, writer.constant(f"{name}_index", at)], f"{name}_moved", axis=axis)


@emitter(Permute)
def _permute(writer: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Permute)
    n, real = f"{node.id}", real_input(writer, node, 0)
    size = int(np.prod(writer.graph.tensors[node.inputs[0]].shape))
    flat = writer.add("Flatten", [real], f"{n}_flat", axis=1)
    if op.index.min() < 0:
        fill = writer.constant(f"{n}_fill", writer.graph.tensors[node.inputs[0]].quant.real(np.array(op.fill)))
        pads = writer.constant(f"{n}_pads", np.array([0, 0, 0, 1], np.int64))
        flat = writer.add("Pad", [flat, pads, fill], f"{n}_padded")
    at = writer.constant(f"{n}_index", np.where(op.index < 0, size, op.index).reshape(-1))
    shape = writer.constant(f"{n}_shape", np.array([0, *op.index.shape], np.int64))
    moved = writer.add("Gather", [flat, at], f"{n}_moved", axis=1)
    finish_real(writer, node, writer.add("Reshape", [moved, shape], f"{n}_float"))


@emitter(DepthToSpace)
def _depth_to_space(writer: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, DepthToSpace)
    real = real_input(writer, node, 0)
    finish_real(writer, node, writer.add("DepthToSpace", [real], f"{node.id}_float", blocksize=op.size))
