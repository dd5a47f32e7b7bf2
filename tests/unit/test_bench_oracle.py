"""The oracle benchmark: random designs by simulation, RTL twins by Yosys where it is installed."""

from __future__ import annotations

import importlib.util

import pytest

from flow import board, estimate, simulate, timing
from flow.bench import load

ORACLE = load("oracle").__globals__


def test_estimates_of_random_designs_are_what_the_simulation_gives() -> None:
    ((_, rows),) = load("oracle")(["--designs", "12", "--twins", "0"])
    by = {r["measure"]: r for r in rows}
    assert by["latency"]["within 2 %"] == by["interval"]["exact"] == "100.0%"
    assert by["latency of chains"]["exact"] == "100.0%"


def test_where_branches_meet_finite_fifos_delay_the_first_image() -> None:
    """The schedule without limits is a lower bound; the estimate is the simulation's."""
    seen = 0
    for d in ORACLE["designs"](20, board.load("zcu102")):
        alone, found = timing.analyse(d.netlist).latency_cycles, simulate.simulate(d.netlist).latency_cycles
        assert found is not None and alone <= found == estimate.estimate(d).latency_cycles
        seen += alone < found
    assert seen, "no design in which it matters: the test shows nothing"


def test_twins_are_verilog_of_their_size() -> None:
    text = ORACLE["verilog"](("memory", 700, 24), "t0")
    assert "[23:0] m [0:699]" in text and "[9:0] wa" in text and 'ram_style="block"' in text
    assert "output reg signed [16:0] p" in ORACLE["verilog"](("multiplier", 8, 9), "t1")
    with pytest.raises(ValueError, match="--designs N"):
        list(load("oracle")(["--other", "1"]))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("pyosys") is None, reason="pyosys is not installed (coexplore[rtl])")
def test_primitives_by_yosys() -> None:
    twins = [
        ("memory", 512, 36),
        ("memory", 1000, 18),
        ("memory", 4096, 8),
        ("multiplier", 8, 9),
        ("multiplier", 25, 18),
    ]
    tool = ORACLE["FAMILIES"]["xcup"][1]
    got = ORACLE["synthesised"](twins, "xcup")
    assert [max(g) for g in got] == [ORACLE["law"](t, tool) for t in twins] == [1, 1, 2, 1, 1]
