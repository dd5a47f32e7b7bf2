"""Readers of data files: right content, and one line for each way a file can be wrong."""

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flow.train.formats import (
    DataError,
    read_binary_batch,
    read_cifar,
    read_idx,
    read_npz,
    read_python_batch,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)
LABELS = np.arange(20) % 10


def idx(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_python(folder: Path, **change: object) -> None:
    for name in [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]:
        batch = {b"data": IMAGES.reshape(20, 3072), b"labels": LABELS.tolist(), b"batch_label": b"x", **change}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))


def test_idx_plain_and_gzip(tmp_path: Path) -> None:
    array = RNG.integers(0, 256, (3, 5, 4), dtype=np.uint8)
    (tmp_path / "a").write_bytes(idx(array))
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(array), mtime=0))
    assert np.array_equal(read_idx(tmp_path / "a"), array) and np.array_equal(read_idx(tmp_path / "a.gz"), array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an idx file"),
        (b"\0\0\x0d\x01" + bytes(8), "not an idx file"),
        (idx(np.zeros((3, 4), np.uint8))[:-1], "declares 3x4 bytes, has 11"),
        (idx(np.zeros((3, 4), np.uint8))[:9], "truncated in its header"),
        (gzip.compress(idx(np.zeros(99, np.uint8)), mtime=0)[:-9], "cannot be read"),
        (idx(np.zeros((3, 4), np.uint8)), "content differs"),
    ],
)
def test_idx_refusals(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_idx(tmp_path / "a", "0" * 64)


def test_python_batches(tmp_path: Path) -> None:
    write_python(tmp_path)
    arrays = read_cifar(tmp_path)
    assert arrays["train_x"].shape == (100, 3, 32, 32) and np.array_equal(arrays["test_x"], IMAGES)
    assert np.array_equal(arrays["test_y"], LABELS)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("open('/tmp/never', 'w')",)


def test_a_pickle_that_asks_for_code_is_refused_before_it_runs(tmp_path: Path) -> None:
    write_python(tmp_path, extra=Evil())
    with pytest.raises(DataError, match=r"asks for .*builtin.*eval"):
        read_cifar(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"data": 3}, "uint8 array"), ({"labels": [0]}, "1 labels"), ({"labels": [10] * 20}, r"labels 10\.\.10")],
)
def test_python_batch_of_wrong_content(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write_python(tmp_path, **{k.encode().decode(): v for k, v in change.items()})
    with pytest.raises(DataError, match=message):
        read_python_batch(tmp_path / "test_batch")


def test_a_truncated_python_batch_is_one_line(tmp_path: Path) -> None:
    write_python(tmp_path)
    path = tmp_path / "data_batch_3"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="data_batch_3"):
        read_cifar(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match="data_batch_3: missing"):
        read_cifar(tmp_path)


def test_binary_batches(tmp_path: Path) -> None:
    rows = np.concatenate([LABELS[:, None].astype(np.uint8), IMAGES.reshape(20, 3072)], 1)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name in [f"data_batch_{k}" for k in range(1, 6)] + ["test_batch"]:
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
    arrays = read_cifar(tmp_path)
    assert np.array_equal(arrays["test_x"], IMAGES) and np.array_equal(arrays["train_y"][:20], LABELS)
    (folder / "test_batch.bin").write_bytes(rows.tobytes()[:-1])
    with pytest.raises(DataError, match="multiple of 3073"):
        read_binary_batch(folder / "test_batch.bin")


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("order", ["{0}_{1}", "{1}_{0}"])
def test_npz_layouts_and_keys(tmp_path: Path, layout: str, order: str) -> None:
    x = IMAGES if layout == "nchw" else IMAGES.transpose(0, 2, 3, 1)
    arrays = {order.format(s, k): v for s in ("train", "test") for k, v in (("x", x), ("y", LABELS.astype(np.uint8)))}
    np.savez(tmp_path / "c.npz", **arrays)
    for root in (tmp_path, tmp_path / "c.npz"):
        found = read_cifar(root)
        assert np.array_equal(found["train_x"], IMAGES) and found["train_y"].dtype == np.int64


def test_npz_refusals(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    good = {"train_x": IMAGES, "train_y": LABELS, "test_x": IMAGES, "test_y": LABELS}
    bad = [
        ({**good, "train_x": IMAGES.astype(np.float32)}, "float32"),
        ({**good, "train_y": LABELS[:3]}, "3 labels"),
        ({k: v for k, v in good.items() if k != "test_y"}, "no array test_y"),
        ({**good, "test_x": np.array([None])}, "pickle"),
    ]
    for arrays, message in bad:
        np.savez(path, **arrays)
        with pytest.raises(DataError, match=message):
            read_npz(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=r"c\.npz"):
        read_npz(path)


def test_image_folders(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for k, name in enumerate(("cat", "dog")):
            (tmp_path / split / name).mkdir(parents=True)
            Image.fromarray(IMAGES[k].transpose(1, 2, 0)).save(tmp_path / split / name / "0.png")
    found = read_cifar(tmp_path)
    assert np.array_equal(found["train_x"], IMAGES[:2]) and found["train_y"].tolist() == [0, 1]
    assert found["classes"].tolist() == ["cat", "dog"]
    (tmp_path / "test" / "dog" / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="not an image"):
        read_cifar(tmp_path)


def test_an_empty_folder_says_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data_batch_1"):
        read_cifar(tmp_path)
