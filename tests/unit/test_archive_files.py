"""Atomic files, TOML text, front.json and the list of runs."""

import json
import math
import os
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flow.archive import Archive, ArchiveError, differences, runs, write_atomic, write_front
from flow.files import toml_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALAR = st.one_of(TEXT, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))
VALUE = st.one_of(SCALAR, st.lists(st.one_of(SCALAR, st.lists(SCALAR, max_size=2)), max_size=3))
TABLE = st.recursive(
    st.dictionaries(TEXT, VALUE, max_size=4),
    lambda inner: st.dictionaries(TEXT, st.one_of(VALUE, inner, st.lists(inner, max_size=2)), max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(TABLE)
def test_toml_reads_back_equal(table):
    assert tomllib.loads(toml_text(table)) == table


def test_toml_leaves_none_out_and_names_what_it_cannot_keep():
    assert tomllib.loads(toml_text({"a": None, "b": {"c": None}, "d": (1, 2)})) == {"b": {}, "d": [1, 2]}
    for bad, key in (
        ({"a": {"b": math.nan}}, "a.b"),
        ({"x": [1, object()]}, "x"),
        ({"y": "\ud800"}, "ud800"),
        ({3: 1}, "3"),
    ):
        with pytest.raises(ArchiveError, match=key):
            toml_text(bad)


def test_differences_are_typed_and_dotted():
    assert differences({"a": 1, "b": {"c": True}}, {"a": 1.0, "b": {"c": True}}) == ["a: 1 -> 1.0"]
    assert differences({"b": {"c": 1}}, {"b": {"c": 2}, "d": 0}) == ["b.c: 1 -> 2", "d: (absent) -> 0"]
    assert differences({"b": {"c": 1}}, {"b": {"c": 2}}, ["b.c"]) == []


def test_write_atomic_replaces_whole_and_cleans_up(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, b"old")
    assert path.stat().st_mode & 0o600 == 0o600

    def fails(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(ArchiveError, match=r"cannot write .*file: No space left on device"):
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    with pytest.raises(ArchiveError, match="No such file or directory"):
        write_atomic(tmp_path / "no" / "file", b"")


def point(trial, accuracy, latency, **more):
    return {
        "trial": trial,
        "objectives": {"accuracy": accuracy, "latency_ms": latency, "fps": None},
        "fidelity": {"accuracy": "test", "latency_ms": "estimate"},
        "directory": f"trials/{trial:04d}-ab",
    } | more


def test_front_json(tmp_path):
    points = [point(3, 0.9, 4.0), point(7, 0.5, 1.0, layers=[{"name": "a"}])]
    front = write_front(tmp_path, ["accuracy", "latency_ms"], [0.1, 10.0], points, 20)
    assert front == json.loads((tmp_path / "front.json").read_text())
    assert front["hypervolume"] == pytest.approx(0.8 * 6 + 0.4 * 3)
    assert list(front) == ["objectives", "reference", "hypervolume", "trials", "points"]
    assert front["points"] == points and front["trials"] == 20
    assert write_front(tmp_path, ["accuracy"], [0.1], [], 20)["hypervolume"] == 0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (point(3, math.nan, 1.0), "trial 3: accuracy is nan"),
        (point(3, 0.5, math.inf), "latency_ms is inf"),
        (point(3, None, 1.0), "lacks one of the objectives"),
        (point(3, 0.5, 1.0) | {"directory": "/etc"}, "not inside the run folder"),
        (point(3, 0.5, 1.0) | {"directory": "trials/../../x"}, "not inside the run folder"),
        ({"trial": 3, "objectives": {}}, "has no 'fidelity'"),
    ],
)
def test_what_must_not_be_on_a_front(tmp_path, bad, message):
    with pytest.raises(ArchiveError, match=message):
        write_front(tmp_path, ["accuracy", "latency_ms"], [0.1, 10.0], [point(1, 0.5, 2.0), bad], 20)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ArchiveError, match="reference"):
        write_front(tmp_path, ["accuracy", "latency_ms"], [0.1], [], 20)


def test_runs_are_summarised(tmp_path):
    assert runs(tmp_path / "none") == []
    for name in ("a", "b", "c", "d"):
        with Archive.create(tmp_path / name, {"board": name}, {}) as a:
            for trial in (0, 1, 1):
                a.append({"kind": "trial", "trial": trial})
            a.append({"kind": "train", "trial": 1})
    write_front(tmp_path / "b", ["accuracy"], [0.1], [point(1, 0.5, 2.0)], 2)
    (tmp_path / "c/front.json").write_text("{}")
    journal = tmp_path / "d/journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"train", b"brain"))
    (tmp_path / "unrelated").mkdir()
    a, b, c, d = runs(tmp_path)
    assert (a["state"], a["trials"], a["trained"], a["front"], a["config"]) == ("stopped", 2, 1, None, {"board": "a"})
    assert (b["state"], b["front"], b["hypervolume"]) == ("finished", 1, pytest.approx(0.4))
    assert c["state"] == "stopped" and "front.json cannot be read" in c["error"]
    assert d["state"] == "damaged" and "line 5 is damaged" in d["error"]
