"""``flow bench``: benchmarks found by looking, run by name, refused by name."""

import json

import pytest

from flow import bench, cli

SOURCE = '''"""Counts.

More about it.
"""


def tables(arguments):
    yield "first", [{"n": 1, "words": " ".join(arguments)}]
    yield "second", []
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "counting.py").write_text(SOURCE)
    (tmp_path / "no_benchmark.py").write_text("x = 1\n")
    monkeypatch.setattr(bench, "FOLDER", tmp_path)


def test_lists_what_defines_tables(folder, capsys):
    assert cli.main(["bench"]) == 0
    out = capsys.readouterr().out
    assert "counting" in out and "Counts." in out and "no_benchmark" not in out


def test_runs_with_its_arguments(folder, capsys):
    assert cli.main(["bench", "--json", "counting", "a", "--b"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"title": "first", "rows": [{"n": 1, "words": "a --b"}]},
        {"title": "second", "rows": []},
    ]


def test_unknown_name_is_one_line_with_the_names(folder, capsys):
    assert cli.main(["bench", "absent"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "'absent'" in err and "counting" in err
