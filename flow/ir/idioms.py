"""Passes that turn idioms of exporters into operators that hardware has; ``passes.simplify`` runs and checks them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from flow.ir.chains import chains
from flow.ir.edit import Edit
from flow.ir.importer import attributes


def layers_by_pixel(model: ModelProto) -> ModelProto:
    """A matrix over the last dimension of (1, H, W, C) or (1, N, C), as of layouts with channels last, is a 1x1
    convolution; a bias and a scale behind it join. It is a MatMul, or a Gemm between two Reshapes (onnxslim)."""
    edit = Edit(model)
    for node in edit.nodes("Gemm"):
        _as_matmul(edit, node)
    for node in edit.nodes("MatMul"):
        weight, rank = edit.weights.get(node.input[1]), len(edit.shapes.get(node.input[0], ()))
        if weight is None or weight.ndim != 2 or rank not in (3, 4):
            continue
        kernel, bias = weight.T, np.zeros(weight.shape[1], np.float32)
        while (step := _behind(edit, node, len(bias))) is not None:
            reader, values = step
            if reader.op_type == "Add":
                bias = bias + values
            else:
                kernel, bias = kernel * values[:, None], bias * values
            model.graph.node.remove(reader)
            node.output[0] = reader.output[0]
        base = node.output[0]
        first = edit.before(node, "Transpose", [node.input[0]], perm=[0, rank - 1, *range(1, rank - 1)])
        stored = edit.store(f"{base}_kernel", kernel.reshape(*kernel.shape, *[1] * (rank - 2)).astype(np.float32))
        layer = edit.before(node, "Conv", [first, stored, edit.store(f"{base}_bias", bias.astype(np.float32))])
        edit.become(node, "Transpose", [layer], perm=[0, *range(2, rank), 1])
    return edit.finish()


def _as_matmul(edit: Edit, node: NodeProto) -> None:
    """Reshape, Gemm, Reshape back: the MatMul and the Add that they were."""
    before, a = edit.producer(node.input[0]), attributes(node)
    after = edit.readers(node.output[0])
    shaped = before is not None and before.op_type == "Reshape" and edit.alone(node.output[0])
    if before is None or not shaped or after[0].op_type != "Reshape" or a.get("transA"):
        return
    weight = edit.weights.get(node.input[1])
    bias = edit.weights.get(node.input[2]) if len(node.input) > 2 else np.zeros(1, np.float32)
    given, made = edit.shapes.get(before.input[0], []), edit.shapes.get(after[0].output[0], [])
    if weight is None or bias is None or len(given) < 3 or given[:-1] != made[:-1]:
        return
    matrix = weight.T if a.get("transB") else weight
    if matrix.shape != (given[-1], made[-1]) or a.get("alpha", 1.0) != 1.0 or a.get("beta", 1.0) != 1.0:
        return
    terms = edit.store(f"{node.output[0]}_terms", np.broadcast_to(bias.reshape(-1), (made[-1],)))
    product = edit.before(node, "MatMul", [before.input[0], edit.store(f"{node.output[0]}_matrix", matrix)])
    edit.become(after[0], "Add", [product, terms])
    edit.model.graph.node.remove(node)
    if not edit.readers(before.output[0]) and before.output[0] not in edit.outputs:
        edit.model.graph.node.remove(before)


def _behind(edit: Edit, node: NodeProto, channels: int) -> tuple[NodeProto, NDArray[Any]] | None:
    """The only reader of a node and its constant, when it adds or multiplies by one for each of the last dimension."""
    if not edit.alone(node.output[0]):
        return None
    (reader,) = edit.readers(node.output[0])
    other = [i for i in reader.input if i != node.output[0]]
    values = edit.weights.get(other[0]) if reader.op_type in ("Add", "Mul") and len(other) == 1 else None
    return (reader, values.reshape(-1)) if values is not None and values.size == values.shape[-1] == channels else None


def extremes(model: ModelProto) -> ModelProto:
    """max(a, b) = relu(a - b) + b and min(a, b) = a - relu(a - b) of two maps that are no functions of one element."""
    edit = Edit(model)
    found = chains(model)
    for node in edit.nodes("Max", "Min"):
        name, inputs = node.output[0], list(node.input)
        maps = len(inputs) > 1 and not any(i in edit.weights for i in inputs) and len(set(inputs)) == len(inputs)
        if not maps or name in found.inside or name in found.ends:
            continue
        a = inputs[0]
        for last, b in ((k == len(inputs) - 2, b) for k, b in enumerate(inputs[1:])):
            above = edit.before(node, "Relu", [edit.before(node, "Sub", [a, b])])
            op, pair = ("Add", [above, b]) if node.op_type == "Max" else ("Sub", [a, above])
            if last:
                edit.become(node, op, pair)
            else:
                a = edit.before(node, op, pair)
    return edit.finish()


def reductions(model: ModelProto) -> ModelProto:
    """Reductions over other dimensions than height and width: over channels a 1x1 convolution (sum, mean) or a MaxPool
    over a layout with channels last; over rows or columns a pooling."""
    edit = Edit(model)
    for node in edit.nodes("ReduceMean", "ReduceMax", "ReduceSum"):
        shape, out = edit.shapes.get(node.input[0], []), edit.shapes.get(node.output[0], [])
        given = attributes(node).get("axes") if len(node.input) < 2 else edit.weights.get(node.input[1])
        if len(shape) != 4 or not out or given is None:
            continue
        axes = sorted(int(x) % 4 for x in given)
        if axes == [1]:
            short = _over_channels(edit, node, shape)
        elif axes in ([2], [3]) and node.op_type != "ReduceSum":
            kernel = [shape[2], 1] if axes == [2] else [1, shape[3]]
            pool = "MaxPool" if node.op_type == "ReduceMax" else "AveragePool"
            short = edit.before(node, pool, [node.input[0]], kernel_shape=kernel)
        else:
            continue
        final = edit.store(f"{node.output[0]}_shape", np.array([0, *out[1:]], np.int64))
        edit.become(node, "Reshape", [short, final])
    return edit.finish()


def _over_channels(edit: Edit, node: NodeProto, shape: list[int]) -> str:
    _, c, h, w = shape
    if node.op_type != "ReduceMax":
        value = 1 / c if node.op_type == "ReduceMean" else 1
        kernel = edit.store(f"{node.output[0]}_kernel", np.full((1, c, 1, 1), value, np.float32))
        return edit.before(node, "Conv", [node.input[0], kernel])
    last = edit.before(node, "Transpose", [node.input[0]], perm=[0, 2, 3, 1])
    flat = edit.store(f"{node.output[0]}_pixels", np.array([0, 1, h * w, c], np.int64))
    return edit.before(node, "MaxPool", [edit.before(node, "Reshape", [last, flat])], kernel_shape=[1, c])


def resizes(model: ModelProto) -> ModelProto:
    """Interpolation that needs no arithmetic of its own: of a single pixel a repetition, to half the size between pixel
    centres a mean of four."""
    edit = Edit(model)
    for node in edit.nodes("Resize"):
        a, shape, out = attributes(node), edit.shapes.get(node.input[0], []), edit.shapes.get(node.output[0], [])
        if a.get("mode") not in (b"linear", b"cubic") or len(shape) != 4 or shape[:2] != out[:2]:
            continue
        centred = a.get("coordinate_transformation_mode", b"half_pixel") in (b"half_pixel", b"pytorch_half_pixel")
        if shape[2:] == [1, 1]:
            repeats = edit.store(f"{node.output[0]}_repeats", np.array([1, 1, *out[2:]], np.int64))
            edit.become(node, "Tile", [node.input[0], repeats])
        elif a["mode"] == b"linear" and centred and not a.get("antialias") and shape[2:] == [2 * n for n in out[2:]]:
            edit.become(node, "AveragePool", [node.input[0]], kernel_shape=[2, 2], strides=[2, 2])
    return edit.finish()
