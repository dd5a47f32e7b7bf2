"""Constants stored in or beside an ONNX file: their types, sizes, and external data, which only come from plain files.

Location, offset and length are untrusted: onnx's own checker accepts negative offsets and sizes beyond any memory.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
from onnx import AttributeProto, ModelProto, TensorProto, helper

from flow.ir.messages import ModelError, node_label, shown

MAX_BYTES = 1 << 30  # of the file and of its external data, each
MAX_WEIGHTS = 1 << 28  # elements of all constants
FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
STORABLE = {
    *FLOATS,
    *(TensorProto.INT4, TensorProto.UINT4, TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16),
    *(TensorProto.INT32, TensorProto.UINT32, TensorProto.INT64, TensorProto.UINT64, TensorProto.BOOL),
}


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


def elements(label: str, t: TensorProto) -> int:
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
    count = elements(label, t)
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
