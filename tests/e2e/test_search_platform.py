"""A search over several boards: every front point a compiled system whose boards together are bit-exact."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e import small

pytestmark = pytest.mark.slow

# A board on which the larger of the tiny networks has to be folded, or cut in two.
BOARD = """
name = "small"
part = "xc7z010clg400-1"
family = "zynq"
[resources]
lut = 11000
ff = 24000
dsp = 30
bram18 = 40
uram = 0
[memory]
bandwidth_gb_s = 2.0
[clock]
default_mhz = 100.0
[system]
processor = "processing_system7"
"""


def test_search_over_two_boards(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(BOARD)
    place = tmp_path / "two.toml"
    place.write_text(
        'name = "two"\nboards = ["small.toml", "small.toml"]\n[link]\nbandwidth_gb_s = 0.5\nlatency_us = 0.2\n'
    )
    run = tmp_path / "run"
    command = small.search_command(tmp_path, run, "trials", "12", "platform", str(place), "front-size", "2")
    done = small.call(command, tmp_path)
    assert done.returncode == 0, done.stderr
    points = small.front(run)["points"]
    assert points and all(p["csim"]["bit_exact"] and p["csim"]["images"] >= 300 for p in points)
    assert all(0 < p["objectives"]["utilisation"] <= 0.8 and not p["simulate"]["deadlock"] for p in points)
    for p in points:
        folder = run / p["directory"]
        view = json.loads((folder / "design.json").read_text())
        assert view["kind"] == "system" and view["platform"]["name"] == "two"
        report = json.loads((folder / "report/estimate_network_performance.json").read_text())
        # Never the mean of the boards: the fullest resource of the fullest board.
        fullest = max(
            v / n
            for e in report["engines"]
            for v, n in zip(e["resources"].values(), (11000, 24000, 30, 40, 0), strict=True)
            if n
        )
        assert p["objectives"]["utilisation"] == pytest.approx(fullest)
    assert "<svg" in (run / "report.html").read_text() and "Roofline" in (run / "report.html").read_text()
    again = small.call(small.flow("csim", str(run / points[0]["directory"]), "--images", "5", "--json"), tmp_path)
    assert again.returncode == 0 and json.loads(again.stdout)["bit_exact"]
