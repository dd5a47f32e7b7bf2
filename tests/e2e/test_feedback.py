"""A vendor's tool (a mock that checks the project as the tool does) on PATH: its numbers replace the estimates."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flow import archive, config, run, study
from flow.board import load
from flow.search import Trial
from tests.e2e import small
from tests.mock_tools import fixture

LUT, FF, LATENCY, INTERVAL = 1.3, 0.9, 1.5, 1.25
KEY = ("network", "clock_mhz", "budget", "objective")  # of a front point


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The mock of vitis_hls first on PATH."""
    fixture.mock_path(monkeypatch, ["vitis_hls"])
    for name, value in small.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    yield tmp_path


def settings(folder: Path, **more: Any) -> config.Config:
    """Few candidates and short trainings: only the numbers' way matters here."""
    (folder / "tiny_space.py").write_text(small.SPACE)
    space = str(folder / "tiny_space.py")
    given: dict[str, Any] = {"space": space, "trials": 6, "time_s": 8.0, "seed": 3, "front_size": 2, "workers": 2}
    return config.Config(**(given | more))


def of(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [r for r in archive.read(folder) if r["kind"] == kind]


def biased(project: Path, board: str = "zcu102") -> dict[str, float]:
    """What the mock reports for a project: its own estimate, with factors."""
    estimated = json.loads((project / "report" / "estimate_network_performance.json").read_text())
    available = load(board).available.json()
    used = {k: float(n) for k, n in estimated["resources"].items()}
    used |= {"lut": float(round(LUT * used["lut"])), "ff": float(round(FF * used["ff"]))}
    interval = round(INTERVAL * estimated["interval_cycles"])
    return used | {
        "interval_cycles": float(interval),
        "utilisation": max(used[k] / n for k, n in available.items() if n),
        "fps": load(board).clock_mhz * 1e6 / interval,
        "latency_ms": round(LATENCY * estimated["latency_cycles"]) / (load(board).clock_mhz * 1e3),
    }


@pytest.mark.slow
def test_reported_numbers_replace_estimates(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COEXPLORE_MOCK_BIAS", f"lut={LUT},ff={FF},latency={LATENCY},interval={INTERVAL}")
    monkeypatch.setenv("COEXPLORE_MOCK_CALLS", str(folder / "calls"))
    told: list[Trial] = []
    parts = study.parts

    def listening(settings: config.Config) -> study.Parts:
        made = parts(settings)
        tell = made.strategy.tell
        monkeypatch.setattr(made.strategy, "tell", lambda trials: (told.extend(trials), tell(trials))[1])
        return made

    monkeypatch.setattr(study, "parts", listening)
    said: list[str] = []
    front = run.start(settings(folder), folder / "run", said.append)

    tools = of(folder / "run", "tool")
    assert len(tools) >= 2 and len({r["candidate"] for r in tools}) == len(tools)
    for record in tools:
        reported = record["reported"]
        assert reported["fidelity"] == "csynth" and reported["tool"] == "Vitis HLS 2022.1"
        name = record["candidate"]
        place = f"synthesis/{int(name.split()[1]):04d}" if name.startswith("candidate ") else name
        want = biased(folder / "run" / place)
        assert set(want) == set(reported["objectives"])
        for measure, value in reported["objectives"].items():
            assert value == pytest.approx(want[measure], rel=1e-4), measure
        assert reported["objectives"]["latency_ms"] != record["estimated"]["latency_ms"]

    by_name = {r["candidate"]: r["reported"]["objectives"] for r in tools}
    for p in front["points"]:
        assert {p["fidelity"][k] for k in ("latency_ms", "fps", "lut", "ff", "dsp")} == {"csynth"}
        for name, value in by_name[p["directory"]].items():
            assert p["objectives"][name] == value
        assert (folder / "run" / p["directory"] / "synth" / "done.json").is_file()

    (verified,) = (r for r in tools if r["candidate"].startswith("candidate "))
    number = int(verified["candidate"].split()[1])
    (trial,) = (r for r in of(folder / "run", "trial") if r["trial"] == number)
    assert trial["fidelity"] == "csynth" and trial["tool"] == "Vitis HLS 2022.1"
    assert trial["objectives"]["latency_ms"] == verified["reported"]["objectives"]["latency_ms"]
    values = {round(t.values[1], 9) for t in told if t.number == number and t.feasible}
    reported_ms = verified["reported"]["objectives"]["latency_ms"]
    assert trial["feasible"] is (not verified["reported"]["violations"])
    assert not trial["feasible"] or round(math.log10(reported_ms), 9) in values
    assert any("Vitis HLS 2022.1 reports" in line for line in said)
    page = (folder / "run" / "report.html").read_text()
    assert "csynth" in page and "Predicted against reported" in page

    # The report corrects the candidates that have none of their own.
    assert of(folder / "run", "calibration")
    others = [t for t in of(folder / "run", "trial") if "tool" not in t and t["objectives"]]
    ratios = [t["objectives"]["lut"] / t["raw"]["lut"] for t in others]
    assert ratios and all(1.05 < r < LUT * 1.1 for r in ratios), ratios

    # Going on with the finished run asks the tool nothing.
    calls = (folder / "calls").read_text()
    again = run.resume(folder / "run", said.append)
    assert again["points"] == front["points"] and (folder / "calls").read_text() == calls
    assert len(of(folder / "run", "tool")) == len(tools)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "reason"), [("no_report", "wrote no csynth.xml"), ("licence", "A valid license was not found")]
)
def test_a_failing_tool_leaves_the_estimate(
    fault: str, reason: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COEXPLORE_MOCK_FAIL", fault)
    said: list[str] = []
    front = run.start(settings(folder, trials=4, front_size=1), folder / "run", said.append)
    tools = of(folder / "run", "tool")
    assert tools and all(reason in r["reason"] and "reported" not in r and r["estimated"] for r in tools)
    assert all(t.get("fidelity") is None for t in of(folder / "run", "trial"))
    for p in front["points"]:
        assert p["fidelity"]["latency_ms"] == "estimate"
        performance = folder / "run" / p["directory"] / "report" / "estimate_network_performance.json"
        assert p["objectives"]["latency_ms"] == pytest.approx(json.loads(performance.read_text())["latency_ms"])
    assert any("synthesis failed, the estimate stands" in line for line in said)


@pytest.mark.slow
def test_a_report_outside_the_limits_leaves_the_front(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate keeps --min-fps, the tool says otherwise: such points are not on the front."""
    monkeypatch.setenv("COEXPLORE_MOCK_BIAS", "interval=1000")
    with pytest.raises(study.RunError, match="within the limits"):
        run.start(settings(folder, trials=4, front_size=1, min_fps=5000.0), folder / "run", lambda text: None)
    proofs = of(folder / "run", "proof")
    # The first report already corrects all other candidates: the search learns that nothing can keep the limit.
    reports = [r["reported"]["objectives"]["fps"] for r in of(folder / "run", "tool")]
    assert reports and max(reports) < 5000 and all(r["objectives"]["fps"] < 5000 for r in proofs)
    assert of(folder / "run", "calibration")
    assert not (folder / "run" / "front.json").exists()


@pytest.mark.slow
def test_what_reports_say_is_too_large_is_mapped_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool needs three times the LUTs on a small share of the board: no network is lost for that, no point exceeds
    it, and an interrupted run ends the same."""
    monkeypatch.setenv("COEXPLORE_MOCK_BIAS", "lut=3")
    given = settings(folder, trials=4, generation=4, max_utilisation=0.04, front_size=3)
    front = run.start(given, folder / "run", lambda text: None)
    reported = of(folder / "run", "tool")[0]["candidate"]
    others = [t for t in of(folder / "run", "trial") if reported != f"candidate {t['trial']}"]
    assert all(t["feasible"] and t["objectives"]["utilisation"] <= 0.04 for t in others)
    assert all(t["raw"]["lut"] * 2 < 0.04 * 274_080 for t in others), "mapped with less than the estimate would allow"
    shrunk = of(folder / "run", "smaller")
    reports = {r["candidate"]: r["reported"]["objectives"]["utilisation"] for r in of(folder / "run", "tool")}
    over = [r for r in of(folder / "run", "proof") if reports[r["directory"]] > 0.04]
    replaced = [r["of"] for r in shrunk]
    assert all([r[k] for k in KEY] in replaced for r in over if r["objective"] == "throughput")
    assert shrunk and all(p["objectives"]["utilisation"] <= 0.04 for r in shrunk for p in r["points"])
    assert front["points"] and all(reports[p["directory"]] <= 0.04 for p in front["points"])

    # A run that stops after its last exploring, and goes on.
    records = archive.read(folder / "run")
    last = max(i for i, r in enumerate(records) if r["kind"] in ("trial", "remapped"))
    shutil.copytree(folder / "run", folder / "again")
    journal = folder / "again" / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[: len(lines) - len(records) + last + 1]))
    for name in ("front.json", "report.html"):
        (folder / "again" / name).unlink()
    shutil.rmtree(folder / "again" / "trials")
    again = run.resume(folder / "again", lambda text: None)
    assert [(p["directory"], p["objectives"]) for p in again["points"]] == [
        (p["directory"], p["objectives"]) for p in front["points"]
    ]
