"""Data sets: splits that do not overlap, classes in proportion, files verified."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from flow.train import data as module
from flow.train.data import DataError, Dataset, load, read_fashion


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COEXPLORE_CACHE", str(tmp_path / "cache"))


def rows(*arrays: np.ndarray) -> list[bytes]:
    return [x.tobytes() for a in arrays for x in a]


def test_digits_are_real_images_split_once(tmp_path: Path) -> None:
    d = load("digits")
    assert d.train_x.shape == (3000, 1, 28, 28) and len(d.val_x) == 500 and len(d.test_x) == 1500
    assert d.train_x.dtype == np.uint8 and d.train_x.max() == 255
    parts = [set(rows(x)) for x in (d.train_x, d.val_x, d.test_x)]
    assert sum(map(len, parts)) == len(set.union(*parts)) >= 4990  # no image in two splits
    for y in (d.train_y, d.val_y, d.test_y):
        counts = np.bincount(y, minlength=10)
        assert counts.max() - counts.min() <= 1
    again = load("digits")  # now from the cache
    assert (tmp_path / "cache" / "digits.npz").is_file()
    assert np.array_equal(d.train_x, again.train_x) and np.array_equal(d.test_y, again.test_y)

    assert not again.train_x.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        again.train_x[0] = 0
    path = tmp_path / "cache" / "digits.npz"  # a damaged cache is made anew
    path.write_bytes(path.read_bytes()[:5000])
    assert np.array_equal(load("digits").val_x, d.val_x)
    assert len(np.load(path)["y"]) == 5000 and not list(path.parent.glob("*.part"))


def fashion(folder: Path, count: int = 60) -> dict[str, str]:
    rng, digests = np.random.default_rng(0), {}
    for split, n in (("train", count), ("t10k", 20)):
        for kind, shape in (("images-idx3", (n, 28, 28)), ("labels-idx1", (n,))):
            values = (
                rng.integers(0, 256, shape, dtype=np.uint8) if len(shape) == 3 else np.arange(n, dtype=np.uint8) % 10
            )
            content = b"\0\0\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + values.tobytes()
            (folder / f"{split}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
            digests[f"{split}-{kind}-ubyte"] = hashlib.sha256(content).hexdigest()
    return digests


def test_fashion_files_are_split_and_verified(tmp_path: Path) -> None:
    digests = fashion(tmp_path)
    d = read_fashion(tmp_path, digests, 10)
    assert (len(d.train_x), len(d.val_x), len(d.test_x)) == (50, 10, 20)
    assert np.bincount(d.val_y).tolist() == [1] * 10
    with pytest.raises(DataError, match="differs from the published file"):
        read_fashion(tmp_path, {**digests, "t10k-labels-idx1-ubyte": "0" * 64}, 10)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="no train-labels-idx1-ubyte"):
        load("fashion-mnist", tmp_path)


def test_fashion_is_fetched_from_the_user_s_address_into_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = tmp_path / "web"
    web.mkdir()
    monkeypatch.setattr(module, "FASHION_SHA256", fashion(web, 6000))
    monkeypatch.setattr(module, "DEBIAN_FOLDER", Path("nowhere"))
    monkeypatch.setenv(module.URL_VARIABLE, web.as_uri())
    assert len(load("fashion-mnist").train_x) == 1000
    for path in web.iterdir():
        path.unlink()
    assert len(load("fashion-mnist").val_x) == 5000  # from the cache


def test_fashion_that_differs_does_not_enter_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fashion(tmp_path)
    monkeypatch.setattr(module, "DEBIAN_FOLDER", Path("nowhere"))
    monkeypatch.setenv(module.URL_VARIABLE, tmp_path.as_uri())
    monkeypatch.setenv("PATH", str(tmp_path))  # no apt-get
    with pytest.raises(DataError, match=r"put train-images.*differs from the published file.*no Debian system") as e:
        load("fashion-mnist")
    assert "\n" not in str(e.value) and not (tmp_path / "cache" / "fashion-mnist").exists()


def test_debian_s_package_is_unpacked_with_apt_and_dpkg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mock apt-get without lists at first: it must be told to update into our own folder, then downloads."""
    store, bin_dir = tmp_path / "store", tmp_path / "bin"
    store.mkdir()
    bin_dir.mkdir()
    monkeypatch.setattr(module, "FASHION_SHA256", fashion(store, 6000))
    monkeypatch.setattr(module, "DEBIAN_FOLDER", Path("nowhere/here"))
    apt = f"""#!/bin/sh
case "$*" in
  "download dataset-fashion-mnist") echo "E: Unable to locate package" >&2; exit 100;;
  *State::Lists=*update) touch {tmp_path}/updated;;
  *State::Lists=*"download dataset-fashion-mnist") test -f {tmp_path}/updated && echo deb > d_1_all.deb;;
  *) exit 9;;
esac
"""
    dpkg = f'#!/bin/sh\ntest "$1" = -x && mkdir -p "$3/nowhere/here" && cp {store}/* "$3/nowhere/here"\n'
    for name, text in (("apt-get", apt), ("dpkg", dpkg)):
        (bin_dir / name).write_text(text)
        (bin_dir / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_dir}:/usr/bin:/bin")
    monkeypatch.delenv(module.URL_VARIABLE, raising=False)
    assert len(load("fashion-mnist").test_x) == 20


def test_cifar_needs_a_folder_and_has_no_empty_validation(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cifar10 needs a data folder"):
        load("cifar10")
    with pytest.raises(DataError, match="does not exist"):
        load("cifar10", tmp_path / "nope")
    x, y = np.zeros((100, 32, 32, 3), np.uint8), np.arange(100) % 10
    np.savez(tmp_path / "c.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    d = load("cifar10", tmp_path / "c.npz")
    assert d.input_shape == (3, 32, 32) and len(d.train_x) == 90 and np.bincount(d.val_y).tolist() == [1] * 10


def test_unknown_names_and_unfit_arrays() -> None:
    with pytest.raises(DataError, match="there are cifar10, digits, fashion-mnist"):
        load("imagenet")
    x, y = np.zeros((2, 1, 8, 8), np.uint8), np.array([0, 2])
    with pytest.raises(DataError, match=r"labels 0\.\.2 for 2 classes"):
        Dataset("d", ("a", "b"), x, y, x, y, x, y, "none")
