"""``flow search --min-accuracy``: no front point below it; a target out of reach is one line, and the run is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flow.cli import main

pytestmark = pytest.mark.slow


def searched(folder: Path, least: str) -> int:
    order = ["search", "--board", "zcu102", "--trials", "24", "--time", "25s", "--workers", "2", "--seed", "3"]
    return main([*order, "--run", str(folder), "--min-accuracy", least])


def test_every_point_reaches_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert searched(tmp_path / "run", "0.6") == 0
    points = json.loads((tmp_path / "run" / "front.json").read_text())["points"]
    assert points and all(p["objectives"]["accuracy"] >= 0.6 for p in points)


def test_a_target_out_of_reach_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert searched(tmp_path / "run", "1") == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "--min-accuracy asks for 1: give the search more --time" in said
    assert (tmp_path / "run" / "journal.jsonl").exists() and not (tmp_path / "run" / "front.json").exists()
