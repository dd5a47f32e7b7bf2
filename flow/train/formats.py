"""Readers of image data files.  Files come from outside: every size and type is checked, nothing in them is executed.

Images are uint8 (N, C, H, W), labels int64 (N,).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

MAX_FILE_BYTES = 2 << 30
_IDX_UINT8 = 0x08


class DataError(ValueError):
    """Data that is missing or not what it should be; one line saying where to put it."""


def read_bytes(path: Path, limit: int = MAX_FILE_BYTES) -> bytes:
    """The file's content, decompressed if gzip.  Raises ``DataError``."""
    try:
        raw = path.read_bytes()
        if raw[:2] != b"\x1f\x8b":
            return raw
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as f:
            out = f.read(limit + 1)
    except (OSError, EOFError, zlib.error) as e:
        raise DataError(f"{path}: cannot be read: {e}") from e
    if len(out) > limit:
        raise DataError(f"{path}: more than {limit} bytes when decompressed")
    return out


def read_idx(path: Path, sha256: str | None = None) -> NDArray[np.uint8]:
    """An idx file of bytes (plain or .gz) as an array of its declared shape.

    ``sha256``: of the decompressed content, checked when given.  Raises ``DataError``.
    """
    data = read_bytes(path)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] != _IDX_UINT8 or not 1 <= data[3] <= 4:
        raise DataError(f"{path}: not an idx file of bytes (magic {data[:4].hex()})")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise DataError(f"{path}: truncated in its header")
    shape = struct.unpack(f">{data[3]}I", data[4:start])
    if len(data) - start != math.prod(shape):
        raise DataError(f"{path}: declares {'x'.join(map(str, shape))} bytes, has {len(data) - start}")
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise DataError(f"{path}: content differs from the published file (sha256 {sha256[:12]}... expected)")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


class _ArraysOnly(pickle.Unpickler):
    """Loads numpy arrays, bytes, numbers, lists and dicts; any other class is refused before it is built."""

    _ALLOWED = frozenset(
        {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("_codecs", "encode"),  # how protocol 2 spells bytes
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def read_python_batch(path: Path) -> tuple[Images, Labels]:
    """One CIFAR-10 "python version" batch: (N, 3, 32, 32) and labels 0..9.  Raises ``DataError``."""
    try:
        batch = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except (
        pickle.UnpicklingError,
        EOFError,
        OSError,
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        KeyError,
    ) as e:
        raise DataError(f"{path}: not a CIFAR-10 python batch: {e}") from e
    fields = {k.decode() if isinstance(k, bytes) else k: v for k, v in batch.items()} if isinstance(batch, dict) else {}
    data, labels = fields.get("data"), fields.get("labels")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        raise DataError(f"{path}: 'data' must be a uint8 array of N x 3072")
    if not isinstance(labels, list) or not all(isinstance(y, int) for y in labels):
        raise DataError(f"{path}: 'labels' must be a list of integers")
    return data.reshape(-1, 3, 32, 32), _labels(path, np.array(labels, np.int64), len(data), 10)


def read_binary_batch(path: Path) -> tuple[Images, Labels]:
    """One CIFAR-10 "binary version" batch: rows of label, 1024 red, green, blue.  Raises ``DataError``."""
    data = np.frombuffer(read_bytes(path), np.uint8)
    if not len(data) or len(data) % 3073:
        raise DataError(f"{path}: {len(data)} bytes, a multiple of 3073 is needed")
    rows = data.reshape(-1, 3073)
    return rows[:, 1:].reshape(-1, 3, 32, 32), _labels(path, rows[:, 0].astype(np.int64), len(rows), 10)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """``train_x``, ``train_y``, ``test_x``, ``test_y`` (and ``classes`` when there) of an .npz of plain arrays.

    Keys may also be ``x_train`` and so on; images uint8, (N, H, W), (N, H, W, C) or (N, C, H, W).
    Raises ``DataError``.
    """
    try:
        with np.load(path, allow_pickle=False) as z:
            names = set(z.files)
            found = {}
            for key in ("train_x", "train_y", "test_x", "test_y"):
                name = next((n for n in (key, "_".join(reversed(key.split("_")))) if n in names), None)
                if name is None:
                    raise DataError(f"{path}: has no array {key} (keys: {', '.join(sorted(names))})")
                found[key] = z[name]
            if "classes" in names:
                found["classes"] = z["classes"]
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError) as e:
        raise DataError(f"{path}: not an .npz file: {e}") from e
    except ValueError as e:
        raise e if isinstance(e, DataError) else DataError(f"{path}: {e}") from e
    for split in ("train", "test"):
        found[f"{split}_x"] = channels_first(path, found[f"{split}_x"])
        found[f"{split}_y"] = _labels(path, found[f"{split}_y"], len(found[f"{split}_x"]), None)
    return found


def channels_first(path: Path, x: NDArray[Any]) -> Images:
    """uint8 (N, H, W), (N, H, W, C) or (N, C, H, W), with C 1 or 3, as (N, C, H, W)."""
    if x.dtype != np.uint8 or x.ndim not in (3, 4):
        raise DataError(f"{path}: images are {x.dtype} with {x.ndim} axes, uint8 with 3 or 4 is needed")
    if x.ndim == 3:
        return np.ascontiguousarray(x[:, None])
    if x.shape[3] in (1, 3) and x.shape[1] not in (1, 3):
        return np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    if x.shape[1] in (1, 3):
        return np.ascontiguousarray(x)
    raise DataError(f"{path}: images of shape {x.shape[1:]} have neither 1 nor 3 channels")


def read_folder(root: Path) -> tuple[Images, Labels, tuple[str, ...]]:
    """``root/<class>/*.png`` (or jpg, bmp): images of one size, labels, class names in sorted order."""
    from PIL import Image, UnidentifiedImageError

    classes = tuple(sorted(p.name for p in root.iterdir() if p.is_dir()))
    if not classes:
        raise DataError(f"{root}: holds no class folders")
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        for path in sorted((root / name).iterdir()):
            if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".bmp"):
                continue
            try:
                with Image.open(path) as im:
                    pixels = np.asarray(im.convert("L" if im.mode in ("L", "1") else "RGB"))
            except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as e:
                raise DataError(f"{path}: not an image: {e}") from e
            if images and pixels.shape != images[0].shape:
                raise DataError(f"{path}: {pixels.shape}, the images before it {images[0].shape}")
            images.append(pixels)
            labels.append(label)
    if not images:
        raise DataError(f"{root}: its class folders hold no .png, .jpg or .bmp")
    return channels_first(root, np.stack(images)), np.array(labels, np.int64), classes


def read_cifar(root: Path) -> dict[str, NDArray[Any]]:
    """CIFAR-10 from a folder (python or binary batches, or train/ and test/ image folders) or an .npz file or folder
    holding one.  Keys as ``read_npz``.  Raises ``DataError``."""
    if root.is_file() and root.suffix == ".npz":
        return read_npz(root)
    for folder in (root, root / "cifar-10-batches-py", root / "cifar-10-batches-bin"):
        for suffix, read in (("", read_python_batch), (".bin", read_binary_batch)):
            if (folder / f"data_batch_1{suffix}").is_file():
                train = [read(_file(folder / f"data_batch_{k}{suffix}")) for k in range(1, 6)]
                test_x, test_y = read(_file(folder / f"test_batch{suffix}"))
                train_x, train_y = (np.concatenate(parts) for parts in zip(*train, strict=True))
                return {"train_x": train_x, "train_y": train_y, "test_x": test_x, "test_y": test_y}
    if (root / "train").is_dir() and (root / "test").is_dir():
        train_x, train_y, classes = read_folder(root / "train")
        test_x, test_y, others = read_folder(root / "test")
        if classes != others:
            raise DataError(f"{root}: train/ and test/ have different class folders")
        return {
            "train_x": train_x,
            "train_y": train_y,
            "test_x": test_x,
            "test_y": test_y,
            "classes": np.array(classes),
        }
    archives = sorted(root.glob("*.npz")) if root.is_dir() else []
    if len(archives) == 1:
        return read_npz(archives[0])
    raise DataError(
        f"{root}: no CIFAR-10 found; expected data_batch_1..5 and test_batch (plain or .bin), train/<class>/*.png and "
        "test/<class>/*.png, or one .npz"
    )


def _file(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path}: missing")
    return path


def _labels(path: Path, y: NDArray[Any], count: int, classes: int | None) -> Labels:
    if not np.issubdtype(y.dtype, np.integer) or y.size != count:
        raise DataError(f"{path}: {y.size} labels of {y.dtype} for {count} images")
    out = y.reshape(-1).astype(np.int64)
    if count and (out.min() < 0 or out.max() >= (classes or 1000)):
        raise DataError(f"{path}: labels {out.min()}..{out.max()}, 0..{(classes or 1000) - 1} are allowed")
    return out
