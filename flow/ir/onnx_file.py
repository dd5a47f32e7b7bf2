"""ONNX files at the edge: read them safely, check them, run them with ONNX Runtime.

Files are untrusted.  Limits stand before every step that costs memory or time, and every refusal is one line.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from functools import lru_cache
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, NodeProto, numpy_helper
from onnx import ModelProto as ModelProto

from flow.ir import dialects
from flow.ir.messages import ModelError, node_label, one_line, shown
from flow.ir.stored_data import FLOATS, MAX_BYTES, MAX_WEIGHTS, constants, elements, load_external

__all__ = ["ModelError", "checked", "node_label", "one_line", "read", "run", "shown"]

MAX_NODES = 10_000
MAX_TENSOR = 1 << 27  # elements of one feature map
MAX_EXTENT = 1 << 16  # of a stride, dilation, kernel or padding
MIN_OPSET, MAX_OPSET = 7, 26  # what ONNX Runtime executes
RUNTIME_IR = 10  # newest file format that every ONNX Runtime >= 1.20 reads; later ones add no operator semantics
CONSTANT_IR = 4  # from here on a weight need not be listed among the inputs
DOMAINS = ("", "ai.onnx")


def read(path: str | Path) -> ModelProto:
    """The checked model of a file, external data loaded, shapes inferred, a dynamic batch dimension set to 1.

    Raises ModelError (one line, naming the file) for everything that is damaged, unsafe or too large.
    """
    path = Path(path)
    try:
        model = _parse(path)
        load_external(model, path.parent)
        return checked(model)
    except ModelError as e:
        raise ModelError(f"{one_line(str(path))}: {e}") from None


def checked(model: ModelProto) -> ModelProto:
    """``model`` after every check that needs no file, in standard ONNX, shapes inferred.  Raises ModelError."""
    _check_header(model)
    _check_size(model)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    _check_wiring(model.graph)
    _check_constants(model)
    model = dialects.standard(model)
    _check_nodes(model.graph, max(o.version for o in model.opset_import if o.domain in DOMAINS))
    fixed = _fix_batch(model)
    inferred = _inferred(fixed)
    _check_shapes(inferred.graph)
    return inferred


def _parse(path: Path) -> ModelProto:
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise ModelError("not a regular file; give an ONNX file")
        if info.st_size == 0:
            raise ModelError("the file is empty; export the model again")
        if info.st_size > MAX_BYTES:
            raise ModelError(f"{info.st_size} bytes, the limit is {MAX_BYTES}; store weights as 8-bit integers")
        data = path.read_bytes()
    except OSError as e:
        raise ModelError(f"cannot be read: {e.strerror or e}") from None
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, RuntimeError, UnicodeDecodeError):
        raise ModelError("not an ONNX file, or a truncated one; export or copy the model again") from None
    if any(isinstance(text, bytes) for text in _texts(model)):
        raise ModelError("a name in it is no valid UTF-8 text; export or copy the model again")
    return model


def _texts(message: Message) -> Iterator[str | bytes]:
    """Every text of a message; protobuf hands out bytes where a text is malformed."""
    for descriptor, value in message.ListFields():
        if descriptor.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE):
            continue
        many = [value] if isinstance(value, (str, bytes, Message)) else value
        for item in many:
            if isinstance(item, Message):
                yield from _texts(item)
            else:
                yield item


def _check_header(model: ModelProto) -> None:
    if not model.ir_version or not model.HasField("graph") or not model.graph.node:
        raise ModelError("holds no ONNX graph, or a truncated one; export or copy the model again")
    versions = {o.domain: o.version for o in model.opset_import}
    main = next((versions[d] for d in DOMAINS if d in versions), None)
    if main is None:
        raise ModelError("declares no opset of the standard ONNX domain; export with opset 13 to 21")
    if not MIN_OPSET <= main <= MAX_OPSET:
        raise ModelError(f"opset {main} is outside {MIN_OPSET}..{MAX_OPSET}; export with opset 13 to 21")
    if model.graph.sparse_initializer:
        raise ModelError("sparse weights are not supported; export them dense")
    if model.training_info:
        raise ModelError("holds training information; export the network for inference")


def _check_size(model: ModelProto) -> None:
    """Node count, functions expanded (they may nest, so the count is made before anything is expanded)."""
    bodies = {(f.domain, f.name): f for f in model.functions}
    if len(bodies) > MAX_NODES:
        raise ModelError(f"{len(bodies)} functions, the limit is {MAX_NODES}")
    sizes: dict[tuple[str, str], int] = {}

    def expanded(nodes: Iterable[NodeProto], above: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in above or len(above) > 50:
                raise ModelError(f"function {shown(node.op_type)} calls itself or nests deeper than 50; inline it")
            if key in bodies and key not in sizes:
                sizes[key] = expanded(bodies[key].node, (*above, key))
            total += sizes.get(key, 1)
            if total > MAX_NODES:
                raise ModelError(f"more than {MAX_NODES} nodes, which is the limit; simplify the network")
        return total

    expanded(model.graph.node, ())


def _check_nodes(graph: GraphProto, opset: int) -> None:
    for node in graph.node:
        if node.domain not in DOMAINS:
            raise ModelError(
                f"{node_label(node)}: domain {shown(node.domain)} is not supported; export with standard ONNX "
                "operators (opset 21 has 4- and 16-bit QuantizeLinear)"
            )
        if not _known(node.op_type, opset):
            raise ModelError(f"{node_label(node)}: ONNX opset {opset} has no such operator; export with standard ones")
        for a in node.attribute:
            if a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
                raise ModelError(f"{node_label(node)}: control flow is not supported; export a static graph")
            if a.type in (AttributeProto.SPARSE_TENSOR, AttributeProto.SPARSE_TENSORS):
                raise ModelError(f"{node_label(node)}: sparse constants are not supported; export them dense")
            low = {"strides": 1, "dilations": 1, "kernel_shape": 1, "group": 1, "pads": 0}.get(a.name)
            if low is None or node.op_type == "Pad":
                continue
            for v in a.ints if a.type == AttributeProto.INTS else [a.i]:
                if not low <= v <= MAX_EXTENT:
                    raise ModelError(f"{node_label(node)}: {a.name} {v} is outside {low}..{MAX_EXTENT}; correct it")


def _known(op_type: str, opset: int) -> bool:
    try:
        return not onnx.defs.get_schema(op_type, opset, "").deprecated
    except onnx.defs.SchemaError:
        return False


def _check_wiring(graph: GraphProto) -> None:
    """Every name is produced once, before it is read: no cycle, nothing undefined, nothing twice."""
    given = [i.name for i in graph.input]
    known = set(given) | {t.name for t in graph.initializer}
    if len(set(given)) < len(given):
        raise ModelError("two inputs bear the same name; export the model again")
    if len({t.name for t in graph.initializer}) < len(graph.initializer):
        raise ModelError("two weights bear the same name; export the model again")
    for node in graph.node:
        for name in node.input:
            if name and name not in known:
                raise ModelError(
                    f"{node_label(node)} reads {shown(name)}, which nothing before it produces (a cycle or a "
                    "missing tensor); export the model again"
                )
        for name in node.output:
            if name and name in known:
                raise ModelError(f"{node_label(node)} writes {shown(name)} a second time; export the model again")
            known.add(name)
    for out in graph.output:
        if out.name not in known:
            raise ModelError(f"output {shown(out.name)} is produced by no node; export the model again")


def _check_constants(model: ModelProto) -> None:
    total = 0
    for label, t in constants(model):
        total += elements(label, t)
        if total > MAX_WEIGHTS:
            raise ModelError(
                f"{label}: more than {MAX_WEIGHTS} weights in all, which is the limit; use a smaller network"
            )
        try:
            values = numpy_helper.to_array(t)
        except (ValueError, TypeError, RuntimeError) as e:
            raise ModelError(
                f"{label}: its data do not fit {list(t.dims)}: {one_line(str(e), 80)}; export again"
            ) from None
        if t.data_type in FLOATS and not np.isfinite(values.astype(np.float32)).all():
            if label.startswith("weight"):
                raise ModelError(f"{label} holds NaN or infinity (in float32); train or export the network again")
            raise ModelError(f"{label}: a constant holds NaN or infinity (in float32); export the network again")


def _fix_batch(model: ModelProto) -> ModelProto:
    """A copy with the batch dimension 1, without stale intermediate shapes, and its weights no longer inputs."""
    out = ModelProto()
    out.CopyFrom(model)
    out.ir_version = max(CONSTANT_IR, min(out.ir_version, RUNTIME_IR))
    del out.graph.value_info[:]
    constant = {t.name for t in out.graph.initializer}
    for value in [v for v in out.graph.input if v.name in constant]:
        out.graph.input.remove(value)
    for value in out.graph.input:
        if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
            raise ModelError(
                f"input {shown(value.name)} is no tensor of known rank; export with input shape (1, C, H, W)"
            )
        dims = value.type.tensor_type.shape.dim
        if len(dims) < 2:
            raise ModelError(f"input {shown(value.name)} has rank {len(dims)}; export with input shape (1, C, H, W)")
        for k, d in enumerate(dims):
            if not d.HasField("dim_value"):
                if k:
                    raise ModelError(
                        f"input {shown(value.name)}: dimension {k} ({shown(d.dim_param or '?')}) is dynamic; export "
                        "with a fixed (1, C, H, W), e.g. torch.onnx.export without dynamic_axes / dynamic_shapes for it"
                    )
                d.dim_value = 1
            if d.dim_value < 1:
                raise ModelError(
                    f"input {shown(value.name)}: dimension {k} is {d.dim_value}; dimensions are at least 1"
                )
        if dims[0].dim_value != 1:
            raise ModelError(
                f"input {shown(value.name)} has batch {dims[0].dim_value}; export with batch 1 or a dynamic batch"
            )
    for value in out.graph.output:
        value.type.tensor_type.ClearField("shape")
    return out


def _inferred(model: ModelProto) -> ModelProto:
    try:
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        onnx.checker.check_model(inferred)
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        RuntimeError,
        ValueError,
        TypeError,
    ) as e:
        reason = " ".join(str(e).split("==> Context")[0].split())
        raise ModelError(f"the ONNX checker refuses it: {one_line(reason, 300)}; export the model again") from None
    return inferred


def _check_shapes(graph: GraphProto) -> None:
    for value in [*graph.input, *graph.value_info, *graph.output]:
        dims = [d.dim_value for d in value.type.tensor_type.shape.dim if d.HasField("dim_value")]
        if any(d < 1 for d in dims) and dims != [0]:
            raise ModelError(f"tensor {shown(value.name)} has shape {dims}; dimensions are at least 1")
        if prod(dims) > MAX_TENSOR:
            raise ModelError(f"tensor {shown(value.name)} has {prod(dims)} elements, the limit is {MAX_TENSOR}")


@lru_cache(maxsize=1)
def runtime_errors() -> tuple[type[Exception], ...]:
    """ONNX Runtime's exception classes: they have no common base below Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    found = [v for v in vars(state).values() if isinstance(v, type) and issubclass(v, Exception)]
    return (*found, RuntimeError, ValueError)


def run(model: ModelProto, images: NDArray[np.float32], batch: int = 64, threads: int = 1) -> list[NDArray[np.float32]]:
    """Outputs of ``model`` for ``images`` (N, C, H, W) by ONNX Runtime on the CPU, graph optimisations off.

    Off, because optimised kernels may saturate 8-bit products; without them a QDQ graph is computed as written.
    A model whose batch is fixed at 1 runs image by image.  Raises ModelError.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        first = session.get_inputs()[0]
        step = 1 if first.shape and isinstance(first.shape[0], int) else max(1, batch)
        data = np.ascontiguousarray(images, np.float32)
        if len(first.shape) != data.ndim:  # (N, C) and (N, C, 1, 1) are the same images
            data = data.reshape(len(data), *first.shape[1:])
        parts = [session.run(None, {first.name: data[i : i + step]}) for i in range(0, len(data), step)]
    except runtime_errors() as e:
        raise ModelError(f"ONNX Runtime refuses the model: {one_line(str(e), 300)}") from None
    if not parts:
        raise ModelError("no images given; at least one is needed")
    return [np.concatenate(column) for column in zip(*parts, strict=True)]
