"""Corrections from reports: recovered from made ones, shrunk where evidence is short; the command on real files."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from flow import calibration
from flow.cli import main
from flow.cost.calibrate import WIDTHS, Calibration, Observation, calibrate, plain, rank_correlation
from flow.toolchain.parse import ReportError

DATA = Path(os.environ.get("COEXPLORE_DATA", Path(__file__).parents[2] / "../shared/data")) / "hls_reports"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no reports at {DATA} (set COEXPLORE_DATA)")
TRUE = {"Conv": 1.4, "MaxPool": 0.8}


def made(n: int, tool: float = 1.2, noise: float = 0.02, seed: int = 0) -> list[Observation]:
    """Reports of designs of two kinds of blocks with hidden factors."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        part = float(rng.uniform(0.2, 0.9))
        shares = {"Conv": part, "MaxPool": 1 - part}
        ratio = math.log(tool) + sum(s * math.log(TRUE[k]) for k, s in shares.items()) + rng.normal(0, noise)
        found.append(Observation("lut", "V 1", "zu9eg", 1000.0, 1000 * math.exp(ratio), shares))
    return found


def test_hidden_factors_are_found() -> None:
    """Of whole designs that were not reported; the interval holds what comes."""
    found = calibrate(made(30))
    for part in (0.3, 0.5, 0.85):
        shares = {"Conv": part, "MaxPool": 1 - part}
        true = 1.2 * TRUE["Conv"] ** part * TRUE["MaxPool"] ** (1 - part)
        s = found.spread("lut", "V 1", "zu9eg", shares)
        assert s.p50 == pytest.approx(true, rel=0.03)
        assert s.p10 < true < s.p90 and s.p90 / s.p10 < 1.3


def test_intervals_hold_their_share() -> None:
    """Nine reports in ten below p90, one in ten below p10, within what chance allows of 300."""
    found, later = calibrate(made(25, noise=0.1)), made(300, noise=0.1, seed=1)
    spreads = [found.spread("lut", o.tool, o.family, o.shares) for o in later]
    below90 = np.mean([o.reported / o.estimated <= s.p90 for o, s in zip(later, spreads, strict=True)])
    below10 = np.mean([o.reported / o.estimated <= s.p10 for o, s in zip(later, spreads, strict=True)])
    assert 0.82 < below90 < 0.98 and 0.02 < below10 < 0.2


def test_evidence_travels_less_the_further_it_is() -> None:
    found = calibrate(made(4, tool=1.6))
    shares = {"Conv": 0.5, "MaxPool": 0.5}
    here = found.factor("lut", "V 1", "zu9eg", shares)
    other_tool = found.factor("lut", "W 2", "zu9eg", shares)
    stranger = found.factor("lut", "W 2", "7z020", {"Gemm": 1.0})
    assert here > other_tool > stranger > 1.0
    widths = [
        s.p90 / s.p10 for s in (found.spread("lut", "V 1", "zu9eg", shares), found.spread("lut", "W 2", "7z020", {}))
    ]
    assert widths[0] < widths[1]
    assert found.factor("ff", "V 1", "zu9eg", shares) == 1.0, "no report, no correction"


def test_a_first_report_is_not_taken_for_noise() -> None:
    """Nothing tells effect from noise then: of its own design, half of what it says is believed and some more."""
    shares = {"Conv": 0.9, "Add": 0.1}
    for ratio in (0.5, 1.25, 3.0):
        s = calibrate([Observation("lut", "V 1", "a", 100, 100 * ratio, shares)]).spread("lut", "V 1", "a", shares)
        assert 0.5 < math.log(s.p50) / math.log(ratio) < 0.95
        assert s.p10 < ratio < s.p90, "and the next may be as far off"


def test_widths_are_averaged_by_their_likelihood() -> None:
    """Against the joint normal distribution of reports, written out: two reports, all pairs of widths."""
    own = [Observation("ff", "V 1", "a", 100, 130, {"Conv": 1.0}), Observation("ff", "V 1", "a", 100, 90, {"Add": 1.0})]
    y, k = np.log([1.3, 0.9]), np.array([[4.0, 3.0, 3.5], [3.0, 4.0, 3.5], [3.5, 3.5, 3.5]])  # the last: half of each
    total = first = second = 0.0
    for w in WIDTHS:
        for n in WIDTHS:
            c = w * w * k + n * n * np.eye(3)
            inside, across = c[:2, :2], c[2, :2]
            p = math.exp(-0.5 * y @ np.linalg.solve(inside, y)) / math.sqrt(np.linalg.det(inside))
            mean = across @ np.linalg.solve(inside, y)
            total, first = total + p, first + p * mean
            second += p * (c[2, 2] - across @ np.linalg.solve(inside, across) + mean**2)
    s = calibrate(own).spread("ff", "V 1", "a", {"Conv": 0.5, "Add": 0.5})
    mean, deviation = first / total, math.sqrt(second / total - (first / total) ** 2)
    assert math.log(s.p50) == pytest.approx(mean, rel=0.01)
    assert math.log(s.p90 / s.p50) == pytest.approx(1.28155 * deviation, rel=0.01)


def test_one_report_moves_but_does_not_rule() -> None:
    """More evidence, closer to the truth; nothing at all without any."""
    shares = {"Conv": 1.0}
    far = [
        calibrate([Observation("dsp", "V 1", "a", 100, 150, shares)] * n).factor("dsp", "V 1", "a", shares)
        for n in (1, 8)
    ]
    assert 1.0 < far[0] <= far[1] <= 1.5 + 1e-6
    assert calibrate([]).observations == 0
    assert Calibration({}, 0).spread("lut", "x", "y") == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("wrong", [{"measure": "watts"}, {"estimated": 0.0}, {"reported": -1.0}])
def test_nonsense_is_refused(wrong: dict[str, object]) -> None:
    good: dict[str, object] = {"measure": "lut", "tool": "t", "family": "f", "estimated": 1.0, "reported": 1.0}
    with pytest.raises(ValueError, match=r"measure|above zero"):
        Observation(**(good | wrong))  # type: ignore[arg-type]


def test_rank_correlation() -> None:
    assert rank_correlation([1, 2, 3, 4], [10, 20, 25, 90]) == pytest.approx(1.0)
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1.0)
    assert rank_correlation([1, 2, 2, 3], [1, 2, 2, 3]) == pytest.approx(1.0)
    assert rank_correlation([1, 2], [1, 2]) is None and rank_correlation([1, 1, 1], [1, 2, 3]) is None


def test_plain_and_back() -> None:
    own = made(3)
    assert [Observation(**row) for row in json.loads(json.dumps(plain(own)))] == own


@needs_data
def test_command_on_real_reports(capsys: pytest.CaptureFixture[str]) -> None:
    """Every module report of the set with its rows: the total predicted, registers exact."""
    files = [str(p) for p in sorted(DATA.glob("*_csynth_rpt_V*.rpt"))]
    assert main(["calibrate", "--json", *files]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["reports"]) == len(files) == 26
    errors = []
    for r in found["reports"]:
        for t in r["totals"].values():
            if t["reported"]:
                errors.append(abs(t["predicted"] / t["reported"] - 1))
        if r["rows"].get("register", {}).get("rows"):
            assert r["rows"]["register"]["exact"] > 0.9, r["file"]
    assert np.median(errors) < 0.02 and np.quantile(errors, 0.9) < 0.15
    assert all(c["p10"] <= c["factor"] <= c["p90"] for c in found["corrections"])
    assert main(["calibrate", *files[:4]]) == 0
    assert "exact in" in capsys.readouterr().out


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="nothing to compare"):
        calibration.examine([tmp_path])
    with pytest.raises(ReportError, match="cannot be read"):
        calibration.examine([tmp_path / "absent.rpt"])
    (tmp_path / "design.json").write_text("{}")
    with pytest.raises(ReportError, match="flow synth"):
        calibration.examine([tmp_path])
