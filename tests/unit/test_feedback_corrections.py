"""Reports correct estimates: what a report is evidence of, and what it changes in other candidates and in mapping."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from flow import board, estimate, feedback, mapping
from flow.bench import load as benchmark
from flow.config import Config
from flow.cost import calibrate
from flow.cost.calibrate import Observation
from flow.cost.targets import Decision, Spread
from flow.design import Report
from flow.tasks import goal_of, mapped
from tests import networks

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
    assert dict(found.known)["lut"].p50 == pytest.approx(1.5, rel=0.03)
    assert found.budget(board.Resources(lut=30_000)).lut == pytest.approx(20_000, rel=0.03)
    assert goal_of(settings(6), 0.5).decision == found
    assert feedback.decision(Config().dict()) == Decision()


def test_the_more_reports_the_surer() -> None:
    luts = [feedback.judged(result(), settings(n), PYNQ)["objectives"]["lut"] for n in (1, 3, 9)]
    assert 20_000 < luts[0] <= luts[1] <= luts[2] < 30_100


def of_blocks(conv: float, pool: float, dsp: float = 1.0, n: int = 12) -> dict[str, Any]:
    """Settings after reports of designs of many mixes, by factors of LUTs in convolutions and poolings."""
    rows = []
    for i in range(n):
        part = (i + 0.5) / n
        lut = 1e4 * conv**part * pool ** (1 - part)
        rows.append(Observation("lut", "V 1", FAMILY, 1e4, lut, {"Conv": part, "MaxPool": 1 - part}))
        rows.append(Observation("dsp", "V 1", FAMILY, 100.0, 100.0 * dsp, {"Conv": 1.0}))
    return {**Config(board="pynq-z2").dict(), "calibration": calibrate.plain(rows)}


def test_a_correction_is_of_the_blocks_that_a_design_has() -> None:
    known = of_blocks(conv=1.0, pool=2.0)
    convolutions = feedback.decision(known, {"lut": {"Conv": 1.0}}).factor("lut")
    poolings = feedback.decision(known, {"lut": {"MaxPool": 1.0}}).factor("lut")
    assert convolutions == pytest.approx(1.0, abs=0.05) and poolings == pytest.approx(2.0, rel=0.05)
    assert convolutions < feedback.decision(known).factor("lut") < poolings, "the mean mix without shares"


def test_confidence_is_of_the_corrected_interval() -> None:
    """Consistent reports make it narrower than estimates are without any; for an implementation both are unsure."""
    sure = {**of_blocks(1.0, 1.0), "confidence": 0.9}
    shares = {"lut": {"Conv": 0.5, "MaxPool": 0.5}}
    assert feedback.decision(sure, shares).factor("lut") < Decision("csynth", 0.9).factor("lut")
    assert feedback.decision({**sure, "confidence": 0.99}, shares).factor("lut") > 1.0
    built = feedback.decision({**sure, "target": "impl"}, shares)
    assert built.factor("lut") == pytest.approx(Decision("impl", 0.9).factor("lut"), rel=0.05)
    scattered = [Observation("lut", "V 1", FAMILY, 1e4, 1e4 * f, {"Conv": 1.0}) for f in (0.5, 2.0) * 6]
    wide = {**sure, "calibration": calibrate.plain(scattered)}
    objectives = feedback.corrected(result()["raw"], SHARES, wide, PYNQ)
    assert objectives["utilisation"] > 1.3 * objectives["lut"] / 53_200, "as surely as asked for"
    assert not feedback.judged(result(30_000.0), wide, PYNQ)["feasible"]


def judged(report: Any, known: dict[str, Any], share: float) -> float:
    """Part of a share of the board that a mapped design uses by the correction of its own blocks."""
    own = feedback.decision(known, feedback.block_shares(report))
    return feedback.filled(report.resources, own, estimate.share(PYNQ, share))


@pytest.mark.parametrize(("conv", "pool"), [(1.6, 0.7), (0.7, 2.5), (1.3, 1.3)])
def test_a_network_is_mapped_by_its_own_blocks(conv: float, pool: float) -> None:
    """It fits by its own correction, and is as fast as one mapped for exactly that."""
    known, graph = of_blocks(conv, pool), networks.resnet8()
    report, goal = mapped(graph, PYNQ, goal_of(known, 0.5), 100.0, known)
    assert isinstance(report, Report) and judged(report, known, 0.5) <= 1.0
    again = mapping.evaluate(graph, PYNQ, goal, 100.0)
    assert isinstance(again, Report) and again.resources == report.resources, "the goal is the design's"
    worst = Spread(*[max(conv, pool)] * 3)
    largest = replace(goal, decision=replace(goal.decision, known=tuple((k, worst) for k, _ in goal.decision.known)))
    careful = mapping.evaluate(graph, PYNQ, largest, 100.0)
    assert isinstance(careful, mapping.NoFit) or report.interval_cycles <= careful.interval_cycles


def test_mapping_asks_once_where_the_limits_were_right() -> None:
    """And says so where nothing fits, whatever the blocks turn out to be."""
    asked = []

    def ask(goal: mapping.Goal) -> Any:
        asked.append(goal)
        return mapping.evaluate(networks.lenet(), PYNQ, goal, 100.0)

    known = of_blocks(1.3, 1.3)
    report, _ = feedback.mapped(ask, goal_of(known, 0.5), known, PYNQ)
    assert isinstance(report, Report) and len(asked) == 1
    refused, _ = feedback.mapped(ask, goal_of(known, 0.001), known, PYNQ)
    assert isinstance(refused, mapping.NoFit) and len(asked) <= 3
    plain, _ = feedback.mapped(ask, goal_of(Config().dict(), 0.5), Config().dict(), PYNQ)
    assert isinstance(plain, Report) and not asked[-1].decision.known


def test_what_is_mapped_anew() -> None:
    """Designs that no longer fit but need not be slower, and those that leave room where they were full; not those that
    could add nothing, nor the one whose report is of that very design."""
    known = settings(6)
    full = result(40_000.0, filled=0.99)
    over = feedback.judged(full, known, PYNQ)
    hope = feedback.hope(over, 0.8, known)
    assert hope and hope["utilisation"] == 0.8 and hope["latency_ms"] == over["objectives"]["latency_ms"]
    loose = feedback.judged(full, settings(6, factor=0.6), PYNQ)
    hope = feedback.hope(loose, 0.8, known)
    assert hope and hope["utilisation"] == 0.8 and hope["latency_ms"] < 0.7 * loose["objectives"]["latency_ms"]
    assert feedback.hope({**loose, "filled": 0.5}, 0.8, known) is None, "it was not the board that it was short of"
    slow = feedback.judged(full, {**settings(6, factor=1.0), "max_latency_ms": 1.5}, PYNQ)
    assert not slow["feasible"] and feedback.hope(slow, 0.8, known) is None, "no mapping is faster"
    hopes = np.array([[-0.9, 0.0, 0.5], [-0.8, 0.0, 0.5], [-0.95, 0.5, 0.5]])
    front = np.array([[-0.85, 0.0, 0.4]])
    assert set(feedback.outdated(hopes, front, (0.0, 2.0, 1.0), 5)) == {0, 2}
    assert len(feedback.outdated(hopes, front, (0.0, 2.0, 1.0), 1)) == 1
    assert feedback.replaces(loose, over) and not feedback.replaces(over, loose)
    assert not feedback.replaces({**over, "feasible": True}, {**over, "tool": "V 1"})
    assert feedback.replaces({**loose, "raw": result(30_000.0)["raw"]}, {**over, "tool": "V 1"})


def test_the_next_report_is_on_what_is_least_sure() -> None:
    """Before any report the largest of the undominated; after reports on convolutions alone, the one of poolings."""
    small, large = result(5_000.0), result(30_000.0)
    points = np.array([[-0.8, 0.0, 0.1], [-0.9, 0.0, 0.6], [-0.7, 0.5, 0.9]])
    plain = Config(board="pynq-z2").dict()
    assert feedback.telling([small, large, result(45_000.0)], points, plain, PYNQ) == 1
    rows = [Observation("lut", "V 1", FAMILY, 1e4, f * 1e4, {"Conv": 1.0}) for f in (1.28, 1.3, 1.32) * 4]
    known = {**plain, "calibration": calibrate.plain(rows)}
    alike = result(20_000.0, shares={"lut": {"Conv": 1.0}}), result(20_000.0, shares={"lut": {"MaxPool": 1.0}})
    assert feedback.telling(alike, points[:2], known, PYNQ) == 1
    assert feedback.telling(alike[::-1], points[:2], known, PYNQ) == 0


@pytest.mark.slow
def test_simulated_vendor() -> None:
    """A small run of the benchmark: what is handed over fits where the search learned, for each design has its report,
    and exceeds the board by far where it did not."""
    benchmark("feedback")
    bench: Any = sys.modules["benchmarks.feedback"]
    most = {}
    for arm in ("without feedback", "with feedback"):
        run = bench.Run(100, 72, arm)
        assert run.go() > 0
        said = [run.vendor.report(p["raw"], p["shares"])["objectives"]["utilisation"] for p in run.front]
        most[arm] = max(said) / bench.CONFIG.max_utilisation
    assert most["with feedback"] <= 1.0 < math.exp(3 * bench.NOISE) < most["without feedback"], most
    row = bench.compared("a", np.array([2.0, 3.0, 4.0]), np.array([1.0, 1.5, 2.5]))
    assert row["better on"] == 3 and row["Wilcoxon p"] == "0.12" and row["p < 0.05"] == "NO"
