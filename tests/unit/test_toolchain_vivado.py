"""Vivado out of context, by a stand-in for what ``ooc.tcl`` does: reports read, nothing done twice, errors told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from flow.toolchain import synthesis, vivado
from flow.toolchain.runner import ToolError
from tests.unit.test_toolchain_parse import TIMING, UTILIZATION

FAKE = """#!/bin/sh
if [ "$1" = "-version" ]; then echo "Vivado v2023.2 (64-bit)"; exit 0; fi
echo call >> "$CALLS"
case "$FAULT" in
  licence) echo "ERROR: [Common 17-345] A valid license was not found for feature 'Synthesis'"; exit 1;;
  nothing) exit 0;;
  truncated) mkdir -p ../report; head -c 300 "$PLACE/u.rpt" > ../report/ooc_utilization.rpt;
     cp "$PLACE/t.rpt" ../report/ooc_timing.rpt; exit 0;;
esac
[ -f ooc.tcl ] || { echo "ERROR: no ooc.tcl here"; exit 1; }
mkdir -p ../report; cp "$PLACE/u.rpt" ../report/ooc_utilization.rpt; cp "$PLACE/t.rpt" ../report/ooc_timing.rpt
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with an exported IP, and the stand-in first on PATH."""
    program = tmp_path / "bin" / "vivado"
    program.parent.mkdir()
    program.write_text(FAKE)
    program.chmod(0o755)
    text = UTILIZATION.format(kind="CLB", device="xczu9eg", uram="", state="Routed")
    (tmp_path / "u.rpt").write_text(text.replace("53200", "274080").replace("1.00 |", "0.19 |"))
    (tmp_path / "t.rpt").write_text(TIMING)
    for name, value in {"CALLS": str(tmp_path / "calls"), "PLACE": str(tmp_path), "FAULT": ""}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", os.pathsep.join([str(program.parent), os.environ["PATH"]]))
    folder = tmp_path / "p"
    ip = folder / "hls" / "hls_work" / "hls" / "impl" / "ip"
    ip.mkdir(parents=True)
    (ip / "component.xml").write_text("<component/>")
    (ip / "accel.v").write_text("module accel; endmodule\n")
    (folder / "vivado").mkdir()
    (folder / "vivado" / "ooc.tcl").write_text("# script\n")
    return folder


def calls(project: Path) -> int:
    path = project.parent / "calls"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_reports_are_read_and_kept(project: Path) -> None:
    found = synthesis.reports(project, "vivado", None, 60.0, False)
    assert [r["kind"] for r in found] == ["utilization", "timing"]
    assert found[0]["resources"]["lut"] == 532 and found[0]["details"]["stage"] == "routed"
    assert found[1]["wns_ns"] == pytest.approx(-1.791)
    assert synthesis.reports(project, "vivado", None, 60.0, False) == found and calls(project) == 1
    tool = vivado.available()
    assert tool is not None and tool.version == "2023.2"


def test_another_ip_or_a_changed_report_is_run_again(project: Path) -> None:
    vivado.implement(vivado.choose(), project, 60.0)
    next(project.rglob("accel.v")).write_text("module accel(input clk); endmodule\n")
    vivado.implement(vivado.choose(), project, 60.0)
    assert calls(project) == 2
    (project / "report" / "ooc_timing.rpt").write_text(TIMING.replace("77242", "77243"))
    vivado.implement(vivado.choose(), project, 60.0)
    assert calls(project) == 3
    (project / "synth" / "vivado.json").write_text(json.dumps([1]))
    vivado.implement(vivado.choose(), project, 60.0)
    assert calls(project) == 4


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("licence", "A valid license was not found"),
        ("nothing", "wrote no report/ooc_utilization"),
        ("truncated", "cannot be used"),
    ],
)
def test_faults_are_told(fault: str, says: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULT", fault)
    with pytest.raises(ToolError, match=says):
        vivado.implement(vivado.choose(), project, 60.0)
    assert not (project / "synth" / "vivado.json").exists()


def test_what_is_missing_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    next(project.rglob("component.xml")).unlink()
    with pytest.raises(ToolError, match="no exported IP: flow synth"):
        vivado.implement(vivado.choose(), project, 60.0)
    (project / "vivado" / "ooc.tcl").unlink()
    with pytest.raises(ToolError, match="no compiled project"):
        vivado.implement(vivado.choose(), project, 60.0)
    monkeypatch.setenv("PATH", str(project))
    with pytest.raises(ToolError, match="vivado not on PATH"):
        vivado.choose()
