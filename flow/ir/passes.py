"""Passes over a float ONNX graph, run before quantisation; after each, ONNX Runtime says that nothing changed.

General simplification (constant folding, shape arithmetic, common subexpressions) is taken from onnxscript and
onnxslim.  Ours leave a graph of Conv, Gemm, pooling, Add and limits: whatever multiplies and adds per channel
(BatchNormalization, Mul, Div, Add, Sub by constants) is folded into the operator in front, by

    a * (W x + b) + c  =  (a W) x + (a b + c)

or becomes a depthwise 1x1 convolution when there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

from flow.ir import idioms
from flow.ir.chains import chains
from flow.ir.edit import Edit
from flow.ir.importer import attributes
from flow.ir.onnx_file import ModelError, checked, node_label, run

Floats = NDArray[np.float64]
Pass = Callable[[ModelProto], ModelProto]
TOLERANCE = 1e-4  # of the largest output: float32 sums in another order
LIBRARY_ERRORS = (  # what a library's pass may raise on a model that it does not expect, or by being absent
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError),
    *(RuntimeError, TypeError, ValueError),
)


def simplify(model: ModelProto, seed: int = 0) -> ModelProto:
    """The same function with fewer and plainer nodes.

    A pass of a library that fails or changes the outputs is undone; ours then work on what is there.  Raises ModelError
    when the model cannot run, or when one of our passes changes it (a defect here, better found than shipped).
    """
    model = checked(model)
    images = _probe(model, seed)
    reference = run(model, images)
    for rewrite in (_onnxscript, _onnxslim):
        try:
            candidate = checked(rewrite(_copy(model)))
            same = _same(reference, run(candidate, images))
        except LIBRARY_ERRORS:
            continue
        model = candidate if same else model
    for own in OWN:
        model = checked(own(_copy(model)))
        if not _same(reference, run(model, images)):
            raise ModelError(f"pass {own.__name__} changed the outputs; please report the model")
    return model


def _copy(model: ModelProto) -> ModelProto:
    out = ModelProto()
    out.CopyFrom(model)
    return out


def _probe(model: ModelProto, seed: int) -> NDArray[np.float32]:
    """Two random images of the input's shape."""
    inputs = model.graph.input
    if len(inputs) != 1:
        raise ModelError(f"{len(inputs)} inputs; networks have one, split the model")
    shape = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim]
    return np.random.default_rng(seed).normal(size=(2, *shape[1:])).astype(np.float32)


def _same(a: list[NDArray[np.float32]], b: list[NDArray[np.float32]]) -> bool:
    return len(a) == len(b) and all(
        x.shape == y.shape
        and bool(np.abs(x - y).max(initial=0) <= TOLERANCE * max(1.0, float(np.abs(x).max(initial=0))))
        for x, y in zip(a, b, strict=True)
    )


def _onnxscript(model: ModelProto) -> ModelProto:
    from onnxscript import optimizer

    out: ModelProto = optimizer.optimize(model)
    return out


def _onnxslim(model: ModelProto) -> ModelProto:
    import onnxslim

    out: ModelProto = onnxslim.slim(model)
    return out


HOST = ("Softmax", "LogSoftmax", "ArgMax")


def headless(model: ModelProto) -> tuple[ModelProto, tuple[str, ...]]:
    """The model without what the host does at its end, and a note for each part left out: Softmax and the like, which
    keep the order of a classifier's outputs, and layouts of more than four dimensions, as detectors give them.
    """
    model, notes = _copy(model), []
    graph, ranks = model.graph, _ranks(model)
    while len(graph.output) == 1:
        name = graph.output[0].name
        last = next((n for n in graph.node if name in n.output), None)
        alone = last is not None and not any(name in n.input for n in graph.node)
        deep = last is not None and last.op_type in ("Reshape", "Transpose") and ranks.get(name, 0) > 4
        if last is None or not alone or len(graph.node) < 2 or not (deep or last.op_type in (*HOST, "Identity")):
            break
        graph.output[0].name = last.input[0]
        graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
        graph.output[0].type.tensor_type.ClearField("shape")
        graph.node.remove(last)
        if last.op_type != "Identity":
            notes.append(f"{node_label(last)} is left to the host: the accelerator gives its input")
    return (model, tuple(notes)) if notes else (model, ())


def _ranks(model: ModelProto) -> dict[str, int]:
    """Dimensions of the tensors, where the output has more than four."""
    if len(model.graph.output) != 1 or len(model.graph.output[0].type.tensor_type.shape.dim) <= 4:
        return {}
    try:
        found = shape_inference.infer_shapes(model).graph
    except shape_inference.InferenceError:
        return {}
    return {v.name: len(v.type.tensor_type.shape.dim) for v in [*found.output, *found.value_info]}


def store_constants(model: ModelProto) -> ModelProto:
    """Constant nodes become initializers, Identity and inference Dropout vanish."""
    edit = Edit(model)
    for node in edit.nodes("Constant"):
        a = attributes(node)
        name, value = next(iter(a.items()))
        if name == "value":
            array = numpy_helper.to_array(value)
        elif name in ("value_float", "value_floats", "value_int", "value_ints"):
            array = np.asarray(value, np.float32 if "float" in name else np.int64)
        else:
            continue
        if node.output[0] not in edit.outputs:
            model.graph.node.remove(node)
            model.graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
    for node in edit.nodes("Identity", "Dropout"):
        training = node.op_type == "Dropout" and len(node.input) > 2
        mask = any(edit.readers(o) or o in edit.outputs for o in node.output[1:] if o)
        made = edit.producer(node.input[0])
        if not training and not mask and (node.output[0] not in edit.outputs or (made and edit.alone(node.input[0]))):
            edit.bypass(node)
    return edit.finish()


def plain_gemm(model: ModelProto) -> ModelProto:
    """MatMul by a constant matrix and Gemm in every spelling become Gemm(x, W (out, in), bias), transB = 1."""
    edit = Edit(model)
    for node in edit.nodes("MatMul", "Gemm"):
        a = attributes(node)
        weight = edit.weights.get(node.input[1])
        bias = edit.weights.get(node.input[2]) if len(node.input) > 2 else None
        computed = len(node.input) > 2 and bias is None
        if (
            weight is None
            or weight.ndim != 2
            or len(edit.shapes.get(node.input[0], ())) != 2
            or computed
            or a.get("transA")
        ):
            continue
        matrix = (weight if a.get("transB") else weight.T) * np.float32(a.get("alpha", 1.0))
        terms = np.zeros(len(matrix)) if bias is None else np.broadcast_to(bias.reshape(-1), len(matrix))
        _set_linear(edit, node, matrix, terms * np.float32(a.get("beta", 1.0)))
        node.op_type = "Gemm"
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("transB", 1))
    return edit.finish()


def _set_linear(edit: Edit, node: NodeProto, weight: NDArray[Any], bias: NDArray[Any]) -> None:
    base = node.output[0]
    names = [
        edit.store(f"{base}_weight", weight.astype(np.float32)),
        edit.store(f"{base}_bias", bias.astype(np.float32)),
    ]
    node.input[:] = [node.input[0], *names]


def plain_resize(model: ModelProto) -> ModelProto:
    """Bilinear enlargement by whole numbers becomes a depthwise ConvTranspose over the map with its edge repeated.

    Scale s, half-pixel centres: the kernel is a triangle of ``2 s`` (odd s: one less) weights, alike in all channels.
    """
    edit = Edit(model)
    for node in edit.nodes("Resize"):
        a, shape, out = attributes(node), edit.shapes.get(node.input[0], []), edit.shapes.get(node.output[0], [])
        centred = a.get("coordinate_transformation_mode", b"half_pixel") in (b"half_pixel", b"pytorch_half_pixel")
        if a.get("mode") != b"linear" or not centred or len(shape) != 4 or len(out) != 4 or a.get("antialias"):
            continue
        scale = [n // m for n, m in zip(out[2:], shape[2:], strict=True)]
        if [1, shape[1], shape[2] * scale[0], shape[3] * scale[1]] != out or min(scale) < 1 or min(shape[2:]) < 2:
            continue
        rows, columns = (1 - np.abs(np.arange(2 * s - s % 2) - (2 * s - s % 2 - 1) / 2) / s for s in scale)
        kernel = np.broadcast_to(np.outer(rows, columns), (shape[1], 1, len(rows), len(columns)))
        pads = [(3 * s - s % 2) // 2 for s in scale]
        name = node.output[0]
        inputs = [node.input[0], edit.store(f"{name}_pads", np.array([0, 0, 1, 1, 0, 0, 1, 1]))]
        place = list(model.graph.node).index(node)
        model.graph.node.insert(place, helper.make_node("Pad", inputs, [f"{name}_edge"], mode="edge"))
        node.op_type = "ConvTranspose"
        del node.attribute[:]
        node.input[:] = [f"{name}_edge", edit.store(f"{name}_kernel", kernel.astype(np.float32))]
        for key, value in {"group": shape[1], "strides": scale, "pads": [*pads, *pads]}.items():
            node.attribute.append(helper.make_attribute(key, value))
    return edit.finish()


def fold_pads(model: ModelProto) -> ModelProto:
    """A Pad with zeros over height and width joins the convolutions that read it."""
    edit = Edit(model)
    for node in edit.nodes("Pad"):
        pads = _pads(edit, node)
        readers = edit.readers(node.output[0])
        plain = all(
            r.op_type == "Conv"
            and attributes(r).get("auto_pad", b"NOTSET") == b"NOTSET"
            and r.input[0] == node.output[0]
            for r in readers
        )
        if pads is None or not readers or not plain or node.output[0] in edit.outputs:
            continue
        for reader in readers:
            old = attributes(reader).get("pads", [0, 0, 0, 0])
            for k in [k for k in reader.attribute if k.name == "pads"]:
                reader.attribute.remove(k)
            reader.attribute.append(helper.make_attribute("pads", [p + q for p, q in zip(old, pads, strict=True)]))
        edit.bypass(node)
    return edit.finish()


def _pads(edit: Edit, node: NodeProto) -> list[int] | None:
    """(top, left, bottom, right) of a Pad that adds zeros to height and width only; None for any other."""
    a = attributes(node)
    if a.get("mode", b"constant") != b"constant" or a.get("value", 0) != 0:
        return None
    given = a.get("pads") if len(node.input) < 2 else edit.weights.get(node.input[1])
    filler = [edit.weights.get(n) for n in node.input[2:3] if n]
    if given is None or len(given) != 8 or any(node.input[3:]) or any(f is None or f.any() for f in filler):
        return None
    p = [int(v) for v in given]
    if p[0] or p[1] or p[4] or p[5] or min(p) < 0:
        return None
    return [p[2], p[3], p[6], p[7]]


def fold_affine(model: ModelProto) -> ModelProto:
    """Per-channel ``a x + c`` joins the Conv or Gemm in front of it, or becomes a depthwise 1x1 Conv."""
    edit, found_chains = Edit(model), chains(model)
    kept = found_chains.ends | found_chains.inside
    for node in edit.nodes("BatchNormalization", "Mul", "Div", "Add", "Sub"):
        found = affine(edit, node)
        if found is None:
            continue
        source, a, c = found
        maker = edit.producer(source)
        if maker is not None and maker.op_type in ("Conv", "Gemm") and edit.alone(source) and _linear(edit, maker):
            weight = edit.weights[maker.input[1]].astype(np.float64)
            bias = edit.weights[maker.input[2]] if len(maker.input) > 2 else np.zeros(len(weight))
            _set_linear(edit, maker, weight * a.reshape(-1, *[1] * (weight.ndim - 1)), a * bias + c)
            node.input[0] = source
            edit.bypass(node)
        elif len(edit.shapes[source]) == 4 and node.output[0] not in kept:
            _depthwise(edit, node, source, a, c)
    return edit.finish()


def _linear(edit: Edit, node: NodeProto) -> bool:
    """True for a Conv or plain Gemm whose weight and bias are constants."""
    return all(n in edit.weights for n in node.input[1:]) and (
        node.op_type == "Conv" or (len(node.input) == 3 and attributes(node).get("transB") == 1)
    )


def affine(edit: Edit, node: NodeProto) -> tuple[str, Floats, Floats] | None:
    """``(x, a, c)`` of a node that computes ``a x + c`` with a number per channel; None for any other node."""
    if node.op_type == "BatchNormalization":
        values = [edit.weights.get(n) for n in node.input[1:5]]
        if any(v is None for v in values) or any(o in edit.outputs or edit.readers(o) for o in node.output[1:] if o):
            return None
        gamma, beta, mean, var = (np.asarray(v, np.float64) for v in values)
        a = gamma / np.sqrt(var + attributes(node).get("epsilon", 1e-5))
        return node.input[0], a, beta - a * mean
    constant = [n in edit.weights for n in node.input]
    if constant.count(True) != 1 or (node.op_type == "Div" and constant[0]):
        return None
    source, stored = node.input[constant.index(False)], node.input[constant.index(True)]
    v = _per_channel(edit.weights[stored], edit.shapes.get(source, []), edit.shapes.get(node.output[0], []))
    if v is None or (node.op_type == "Div" and not v.all()):
        return None
    one, nil = np.ones_like(v), np.zeros_like(v)
    if node.op_type == "Mul":
        return source, v, nil
    if node.op_type == "Div":
        return source, one / v, nil
    if node.op_type == "Sub":
        return (source, -one, v) if constant[0] else (source, one, -v)
    return source, one, v


def _per_channel(values: NDArray[Any], shape: list[int], result: list[int]) -> Floats | None:
    """A constant as one number per channel of (1, C, ...); None when it varies otherwise or broadcasts the input."""
    if values.dtype.kind != "f" or len(shape) < 2 or shape != result or values.ndim > len(shape):
        return None
    full = values.reshape([1] * (len(shape) - values.ndim) + list(values.shape))
    if any(n != 1 for k, n in enumerate(full.shape) if k != 1):
        return None
    return np.array(np.broadcast_to(full.reshape(-1), shape[1]), np.float64)


def _depthwise(edit: Edit, node: NodeProto, source: str, a: Floats, c: Floats) -> None:
    """Turn ``node`` into a Conv with one weight per channel."""
    node.op_type = "Conv"
    del node.attribute[:], node.output[1:]
    node.input[:] = [source]
    node.attribute.append(helper.make_attribute("group", len(a)))
    node.attribute.append(helper.make_attribute("kernel_shape", [1, 1]))
    _set_linear(edit, node, a.reshape(-1, 1, 1, 1), c)


OWN: tuple[Pass, ...] = (
    store_constants, idioms.layers_by_pixel, plain_gemm, idioms.extremes, idioms.reductions, idioms.resizes,
    plain_resize, fold_pads, fold_affine,
)  # fmt: skip


def refuse_unknown(model: ModelProto, known: set[str]) -> None:
    """Raises ModelError naming the first node whose operator is not in ``known``."""
    for node in model.graph.node:
        if node.op_type not in known:
            raise ModelError(
                f"{node_label(node)}: the operator is not supported; replace it or end the network before it "
                f"(supported: {', '.join(sorted(known))})"
            )
