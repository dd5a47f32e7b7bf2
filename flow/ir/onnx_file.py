"""ONNX files at the edge: read them safely, check them, run them with ONNX Runtime.

Files are untrusted.  Limits stand before every step that costs memory or time, and every refusal is one line.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from functools import lru_cache
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

MAX_BYTES = 1 << 30  # of the file and of its external data, each
MAX_NODES = 10_000
MAX_WEIGHTS = 1 << 28  # elements of all constants
MAX_TENSOR = 1 << 26  # elements of one feature map
MAX_EXTENT = 1 << 16  # of a stride, dilation, kernel or padding
MIN_OPSET, MAX_OPSET = 7, 26  # what ONNX Runtime executes
RUNTIME_IR = 10  # newest file format that every ONNX Runtime >= 1.20 reads; later ones add no operator semantics
DOMAINS = ("", "ai.onnx")

FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
STORABLE = {
    *FLOATS,
    *(TensorProto.INT4, TensorProto.UINT4, TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16),
    *(TensorProto.INT32, TensorProto.UINT32, TensorProto.INT64, TensorProto.UINT64, TensorProto.BOOL),
}


class ModelError(ValueError):
    """A model that is damaged, unsafe or unsupported: one line naming file or node, the limit and the way out."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message, 600))


def one_line(text: str, limit: int = 200) -> str:
    """``text`` as one printable line: control and non-ASCII characters escaped, the rest cut at ``limit``."""
    clean = "".join(c if c.isascii() and c.isprintable() else ascii(c)[1:-1] for c in text[: 4 * limit].strip())
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def shown(name: str) -> str:
    """A name from outside, quoted and escaped for a message."""
    return f"'{one_line(name, 60)}'"


def node_label(node: NodeProto) -> str:
    """How messages name a node: its name, or else its output, and its operator."""
    name = node.name or (node.output[0] if node.output else "")
    return f"node {shown(name)} ({one_line(node.op_type, 40)})"


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
    """``model`` after every check that needs no file; shapes inferred strictly.  Raises ModelError."""
    _check_header(model)
    _check_size(model)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    _check_nodes(model.graph)
    _check_wiring(model.graph)
    _check_constants(model)
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
    return model


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


def _check_nodes(graph: GraphProto) -> None:
    for node in graph.node:
        if node.domain not in DOMAINS:
            raise ModelError(
                f"{node_label(node)}: domain {shown(node.domain)} is not supported; export with standard ONNX "
                "operators (opset 21 has 4- and 16-bit QuantizeLinear)"
            )
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


def constants(model: ModelProto) -> Iterator[tuple[str, TensorProto]]:
    """Every stored tensor, with a label for messages: initializers and tensor attributes, functions included."""
    for t in model.graph.initializer:
        yield f"weight {shown(t.name)}", t
    for node in [*model.graph.node, *(n for f in model.functions for n in f.node)]:
        for a in node.attribute:
            if a.type == AttributeProto.TENSOR:
                yield node_label(node), a.t
            for t in a.tensors:
                yield node_label(node), t


def _check_constants(model: ModelProto) -> None:
    total = 0
    for label, t in constants(model):
        total += _elements(label, t)
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


def _elements(label: str, t: TensorProto) -> int:
    """Elements of a stored tensor, refused when its shape or type is unreasonable."""
    if t.data_type not in STORABLE:
        kind = TensorProto.DataType.Name(t.data_type) if t.data_type in TensorProto.DataType.values() else t.data_type
        raise ModelError(f"{label}: element type {kind} is not supported; use float32 or integers of 4 to 32 bits")
    if any(d < 0 for d in t.dims) or (len(t.dims) > 1 and 0 in t.dims):
        raise ModelError(f"{label}: dimensions {list(t.dims)[:8]} are not all positive; export the network again")
    count: int = prod(t.dims)
    if count > MAX_WEIGHTS:
        raise ModelError(f"{label}: {count} elements, the limit is {MAX_WEIGHTS}; use a smaller network")
    return count


def load_external(model: ModelProto, folder: Path) -> None:
    """Bring external data into ``model``: only plain files inside ``folder``, exact lengths.  Raises ModelError."""
    total = 0
    for label, t in constants(model):
        if t.data_location != TensorProto.EXTERNAL:
            continue
        entry = {e.key: e.value for e in t.external_data}
        size = _bytes(label, t)
        total += size
        if total > MAX_BYTES:
            raise ModelError(f"{label}: more than {MAX_BYTES} bytes of external data, which is the limit")
        t.raw_data = _external_bytes(label, entry, size, folder)
        t.data_location = TensorProto.DEFAULT
        del t.external_data[:]


def _bytes(label: str, t: TensorProto) -> int:
    count = _elements(label, t)
    if t.data_type in (TensorProto.INT4, TensorProto.UINT4):
        return (count + 1) // 2
    return count * np.dtype(helper.tensor_dtype_to_np_dtype(t.data_type)).itemsize


def _external_bytes(label: str, entry: dict[str, str], size: int, folder: Path) -> bytes:
    location = entry.get("location", "")
    parts = location.replace("\\", "/").split("/")
    if not location or location[0] in "/\\" or ".." in parts or ":" in location or "\0" in location:
        raise ModelError(f"{label}: external data at {shown(location)}; keep them in the model's own folder")
    try:
        offset, length = int(entry.get("offset") or 0), int(entry.get("length") or size)
    except ValueError:
        raise ModelError(f"{label}: offset or length of its external data is no number; export again") from None
    if offset < 0 or length != size:
        raise ModelError(f"{label}: external data at offset {offset}, {length} bytes, but {size} needed; export again")
    path = folder
    try:
        for part in parts:
            path = path / part
            if stat.S_ISLNK(path.lstat().st_mode):
                raise ModelError(f"{label}: {shown(location)} is a link; keep a plain file in the model's own folder")
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as f:
            info = os.fstat(f.fileno())
            if not stat.S_ISREG(info.st_mode) or info.st_nlink != 1:
                raise ModelError(
                    f"{label}: {shown(location)} is no plain file of one name; copy the data beside the model"
                )
            if offset + size > info.st_size:
                raise ModelError(
                    f"{label}: {shown(location)} has {info.st_size} bytes, {offset + size} needed; copy it again"
                )
            f.seek(offset)
            return f.read(size)
    except OSError as e:
        raise ModelError(
            f"{label}: external data {shown(location)}: {e.strerror or e}; put the file beside the model"
        ) from None


def _fix_batch(model: ModelProto) -> ModelProto:
    """A copy with the batch dimension 1 and without stale intermediate shapes."""
    out = ModelProto()
    out.CopyFrom(model)
    out.ir_version = min(out.ir_version, RUNTIME_IR)
    del out.graph.value_info[:]
    constant = {t.name for t in out.graph.initializer}
    for value in out.graph.input:
        if value.name in constant:
            continue
        if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
            raise ModelError(
                f"input {shown(value.name)} is no tensor of known rank; export with input shape (1, C, H, W)"
            )
        dims = value.type.tensor_type.shape.dim
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
        if len(dims) > 1 and dims[0].dim_value != 1:
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
def _runtime_errors() -> tuple[type[Exception], ...]:
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
        if len(first.shape) == 2:
            data = data.reshape(len(data), -1)
        parts = [session.run(None, {first.name: data[i : i + step]}) for i in range(0, len(data), step)]
    except _runtime_errors() as e:
        raise ModelError(f"ONNX Runtime refuses the model: {one_line(str(e), 300)}") from None
    if not parts:
        raise ModelError("no images given; at least one is needed")
    return [np.concatenate(column) for column in zip(*parts, strict=True)]
