"""Reports correct estimates: what a report is evidence of, and what it changes in other candidates and in mapping."""

from __future__ import annotations

from typing import Any

import pytest

from flow import board, feedback
from flow.bench import load as benchmark
from flow.config import Config
from flow.cost import calibrate
from flow.cost.targets import Decision
from flow.tasks import goal_of

PYNQ = board.load("pynq-z2")
FAMILY = feedback.family(PYNQ)
SHARES = {"lut": {"Conv": 0.75, "MaxPool": 0.25}, "dsp": {"Conv": 1.0}}


def result(lut: float = 20_000, **more: Any) -> dict[str, Any]:
    raw = {"latency_ms": 1.0, "fps": 2000.0, "interval_cycles": 50_000.0, "utilisation": lut / 53_200, "energy_mj": 0.1,
           "lut": lut, "ff": 10_000.0, "dsp": 100.0, "bram18": 50.0, "uram": 0.0}  # fmt: skip
    return {"feasible": True, "violation": 0.0, "violations": [], "objectives": dict(raw), "raw": raw, "shares": SHARES,
            **more}  # fmt: skip


def record(factor: float = 1.5, **more: Any) -> dict[str, Any]:
    """A synthesis that reports ``factor`` times the LUTs and twice the latency."""
    own = result()
    said = {"lut": own["raw"]["lut"] * factor, "latency_ms": 2.0, "interval_cycles": 50_000.0, "dsp": 100.0}
    return {"kind": "tool", "candidate": "candidate 1", "estimated": own["objectives"], "raw": own["raw"],
            "shares": SHARES, "reported": {"objectives": said, "tool": "Vitis HLS 2022.1"}, **more}  # fmt: skip


def settings(n: int, factor: float = 1.5) -> dict[str, Any]:
    rows = [o for _ in range(n) for o in feedback.observations(record(factor), FAMILY)]
    return {**Config(board="pynq-z2").dict(), "calibration": calibrate.plain(rows)}


def test_what_a_report_is_evidence_of() -> None:
    found = {o.measure: o for o in feedback.observations(record(), FAMILY)}
    assert set(found) == {"lut", "dsp", "latency_cycles", "interval_cycles"}  # nothing said of FF, no BRAM reported
    assert found["lut"].reported / found["lut"].estimated == pytest.approx(1.5)
    assert found["lut"].shares == SHARES["lut"] and found["lut"].family == "7z020"
    failed = {k: v for k, v in record().items() if k != "reported"} | {"reason": "licence"}
    assert feedback.observations(failed, FAMILY) == []


def test_other_candidates_are_scored_anew() -> None:
    """By the raw estimate each time, so that corrections do not pile up."""
    once = feedback.judged(result(), settings(6), PYNQ)
    assert once["objectives"]["lut"] == pytest.approx(30_000, rel=0.03)
    assert once["objectives"]["latency_ms"] == pytest.approx(2.0, rel=0.05)
    assert once["objectives"]["fps"] == pytest.approx(2000, rel=0.02)
    assert once["objectives"]["utilisation"] == pytest.approx(30_000 / 53_200, rel=0.03)
    again = feedback.judged(once, settings(6), PYNQ)
    assert again["objectives"] == once["objectives"] and again["raw"] == result()["raw"]


def test_a_corrected_candidate_may_stop_or_start_to_fit() -> None:
    large = feedback.judged(result(40_000.0), settings(6), PYNQ)
    assert not large["feasible"] and large["violations"][0]["resource"] == "lut" and large["violation"] > 0.2
    over = result(
        50_000.0, feasible=False, violation=0.1, violations=[{"resource": "lut", "used": 5e4, "available": 4e4}]
    )
    assert feedback.judged(over, settings(6, factor=0.6), PYNQ)["feasible"]
    slow = {**settings(6), "max_latency_ms": 1.5}
    assert feedback.judged(result(), slow, PYNQ)["violations"][0]["resource"] == "latency_ms"
    starved = result(violations=[{"resource": "bandwidth_gb_s", "used": 3.0, "available": 2.0}], feasible=False)
    assert not feedback.judged(starved, settings(6), PYNQ)["feasible"], "no report speaks of bandwidth"


def test_reported_and_unmapped_candidates_stay() -> None:
    own = result(tool="Vitis HLS 2022.1")
    assert feedback.judged(own, settings(6), PYNQ) == own
    never = {"feasible": False, "violation": 2.0, "violations": [], "objectives": {}}
    assert feedback.judged(never, settings(6), PYNQ) == never


def test_mapping_takes_the_correction_into_its_budget() -> None:
    found = feedback.decision(settings(6))
    assert dict(found.scale)["lut"] == pytest.approx(1.5, rel=0.03)
    assert found.budget(board.Resources(lut=30_000)).lut == pytest.approx(20_000, rel=0.03)
    assert goal_of(settings(6), 0.5).decision == found
    assert feedback.decision(Config().dict()) == Decision()


def test_the_more_reports_the_surer() -> None:
    luts = [feedback.judged(result(), settings(n), PYNQ)["objectives"]["lut"] for n in (1, 3, 9)]
    assert 20_000 < luts[0] <= luts[1] <= luts[2] < 30_100


@pytest.mark.slow
def test_simulated_vendor() -> None:
    """Two seeds of the benchmark: feedback ends with a better true front, from the same first generation."""
    rows, _ = (found for _, found in benchmark("feedback")(["--seeds", "2", "--trials", "48"]))
    assert all(float(r["with feedback"]) > float(r["without feedback"]) for r in rows), rows
