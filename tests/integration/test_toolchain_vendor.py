"""Vendor tools end to end on mock tools that interpret the rendered scripts with the real tclsh."""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import jinja2
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from mock_tools.fixture import mock_path

from flow.toolchain import vendor
from flow.toolchain.parse import parse
from flow.toolchain.runner import run
from flow.toolchain.vendor import ToolError

TEMPLATES = Path(__file__).parents[2] / "templates"
ALL = ("vitis-run", "vitis_hls", "vivado_hls")
pytestmark = pytest.mark.skipif(shutil.which("tclsh") is None, reason="the mock tools need tclsh")

VALUES = {
    "top": "accel",
    "part": "xczu9eg-ffvb1156-2-e",
    "clock_ns": 5.0,
    "sources": ["accel.cpp"],
    "tb_files": ["tb.cpp"],
    "data_files": ["vectors.dat"],
    "cflags": "-std=c++11 -I.",
    "uncertainty": 12.5,
    "version": "0.1",
    "digest": "0123abcd",
}
ESTIMATE = {
    "latency_cycles": 10000,
    "interval_cycles": 8000,
    "resources": {"lut": 20000, "ff": 30000, "dsp": 100, "bram18": 40, "uram": 0},
    "available": {"lut": 274080, "ff": 548160, "dsp": 2520, "bram18": 1824, "uram": 0},
}


def render(name, **changes):
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True, trim_blocks=True
    )
    return environment.get_template(name).render(**VALUES | changes)


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "a project"
    hls = folder / "hls"
    hls.mkdir(parents=True)
    (hls / "accel.cpp").write_text("void accel(int *in, int *out) { *out = *in; }\n")
    (hls / "tb.cpp").write_text("int main() { return 0; }\n")
    (hls / "vectors.dat").write_text("1 2 3\n")
    (hls / "hls_config.cfg").write_text(render("hls_config.cfg.j2"))
    (hls / "run_hls.tcl").write_text(render("run_hls.tcl.j2"))
    (folder / "report").mkdir()
    (folder / "report" / "estimate_network_performance.json").write_text(json.dumps(ESTIMATE))
    return folder


@pytest.fixture
def tool(request, monkeypatch):
    mock_path(monkeypatch, [request.param])
    return vendor.choose(request.param)


every_tool = pytest.mark.parametrize("tool", ALL, indirect=True)


def test_templates_refuse_a_missing_value():
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined)
    for name in ("run_hls.tcl.j2", "hls_config.cfg.j2"):
        with pytest.raises(jinja2.UndefinedError):
            environment.get_template(name).render({k: v for k, v in VALUES.items() if k != "part"})


def test_available_in_order_with_versions(monkeypatch):
    mock_path(monkeypatch, ALL)
    tools = vendor.available()
    assert [(t.name, t.version) for t in tools] == [
        ("vitis-run", "2024.2"),
        ("vitis_hls", "2022.1"),
        ("vivado_hls", "2019.2"),
    ]
    assert vendor.choose("auto") == tools[0]
    assert vendor.choose("vivado_hls") == tools[2]
    assert vendor.choose("none") is None


def test_nothing_installed(monkeypatch):
    mock_path(monkeypatch, [])
    assert vendor.available() == []
    assert vendor.choose() is None
    with pytest.raises(ToolError, match=r"vitis-run and v\+\+ not on PATH \(no HLS tool is installed\)"):
        vendor.choose("vitis-run")
    with pytest.raises(ToolError, match="known: auto, none, vitis-run"):
        vendor.choose("quartus")


def test_an_explicit_tool_that_is_missing(monkeypatch):
    mock_path(monkeypatch, ["vitis_hls"])
    with pytest.raises(ToolError, match=r"vivado_hls not on PATH \(installed: vitis_hls\)"):
        vendor.choose("vivado_hls")


def test_half_of_the_unified_tool_is_none_of_it(monkeypatch):
    folder = mock_path(monkeypatch, ["vitis-run"])
    (folder / "v++").unlink()
    assert vendor.available() == []


@every_tool
@pytest.mark.parametrize("step", vendor.STEPS)
def test_every_step_runs(tool, step, project):
    result = run(
        vendor.commands(tool, step), project / "hls", 60, {vendor.STEP_VARIABLE: step}, log_path=project / "log"
    )
    assert result.rc == 0, result.log_tail
    assert "ERROR" not in (project / "log").read_text()
    found = {p.name for p in (project / "hls").rglob("*") if "report" in p.parts}
    assert ("csynth.xml" in found) == (step != "csim")
    assert ("accel_cosim.rpt" in found) == (step == "cosim")
    assert any("export" in n for n in found) == (step == "impl")


def test_the_script_runs_in_the_unified_tool_too(monkeypatch, project):
    mock_path(monkeypatch, ["vitis-run"])
    command = ["vitis-run", "--mode", "hls", "--tcl", "run_hls.tcl"]
    result = run([command], project / "hls", 60, {vendor.STEP_VARIABLE: "cosim"}, log_path=project / "log")
    assert result.rc == 0, result.log_tail
    assert parse(project / "hls/hls_component/hls/syn/report/csynth.xml")[0].tool_version == "2024.2"
    assert parse(project / "hls/hls_component/hls/sim/report/accel_cosim.rpt")[0].latency_max == 10000


def test_the_step_may_be_an_argument(monkeypatch, project):
    mock_path(monkeypatch, ["vivado_hls"])
    run([["vivado_hls", "-f", "run_hls.tcl", "csim"]], project / "hls", 60, log_path=project / "log")
    assert "CSim done" in (project / "log").read_text() and not list(project.rglob("csynth.xml"))


@every_tool
def test_synthesis_reports_the_biased_estimate(tool, project, monkeypatch):
    monkeypatch.setenv("COEXPLORE_MOCK_BIAS", "lut=1.4,ff=1.1,latency=1.05")
    reports = vendor.synthesise(tool, project, 60)
    report = reports[0]
    assert (report.kind, report.top, report.tool_version) == ("csynth", "accel", tool.version)
    assert report.tool == ("Vivado HLS" if tool.name == "vivado_hls" else "Vitis HLS")
    assert dict(report.resources) == {"lut": 28000, "ff": 33000, "dsp": 100, "bram18": 40, "uram": 0}
    assert (report.latency_max, report.interval_max, report.clock_target_ns) == (10500, 8000, 5.0)
    assert report.details["clock_uncertainty_ns"] == pytest.approx(0.625, abs=0.006)
    assert (report.part, report.warnings) == ("xczu9eg-ffvb1156-2-e", ())
    assert [r.kind for r in reports[1:]] == ["csynth"] and reports[1].details["tables"]["instance"]


@every_tool
def test_implementation(tool, project):
    reports = vendor.synthesise(tool, project, 60, impl=True)
    export = next(r for r in reports if r.kind == "export")
    assert (export.resources["lut"], export.resources["dsp"], export.details["stage"]) == (9600, 100, "implementation")


def test_numbers_from_a_file(monkeypatch, project, tmp_path):
    mock_path(monkeypatch, ["vitis_hls"])
    (tmp_path / "n.json").write_text(
        json.dumps({"latency": 77, "interval": 70, "clock_ns": 5.5, "resources": {"dsp": 3000}})
    )
    monkeypatch.setenv("COEXPLORE_MOCK_NUMBERS", str(tmp_path / "n.json"))
    report = vendor.synthesise(vendor.choose(), project, 60)[0]
    assert (report.latency_max, report.interval_max, report.clock_estimated_ns) == (77, 70, 5.5)
    assert report.warnings == ("dsp: 3000 used, 2520 available on the device", "clock: 5.5 ns estimated, 5 ns wanted")


@every_tool
def test_nothing_is_run_twice(tool, project, monkeypatch, tmp_path):
    calls = tmp_path / "calls"
    monkeypatch.setenv("COEXPLORE_MOCK_CALLS", str(calls))

    def count():
        return len(calls.read_text().splitlines()) if calls.exists() else 0

    first = vendor.synthesise(tool, project, 60)
    ran = count()
    assert vendor.synthesise(tool, project, 60) == first
    assert count() == ran
    (project / "hls" / "tool.log").write_text("what the tool itself leaves there is no input\n")
    vendor.synthesise(tool, project, 60)
    assert count() == ran
    (project / "hls" / "vectors.dat").write_text("4 5 6\n")
    vendor.synthesise(tool, project, 60)
    assert count() == 2 * ran
    Path(first[0].file).write_text("changed by hand")
    vendor.synthesise(tool, project, 60)
    assert count() == 3 * ran
    (project / "synth" / "done.json").write_text('{"digest"')
    vendor.synthesise(tool, project, 60)
    assert count() == 4 * ran


@every_tool
@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("no_report", "ended well but wrote no csynth.xml"),
        ("stale", "ended well but wrote no csynth.xml|left only an old csynth.xml"),
        ("truncated", "cannot be used.*truncated"),
        ("undef", "no latency_max for accel"),
        ("licence", r"\[Common 17-345\] A valid license was not found for feature 'HLS'"),
        ("bad_part", r"\[HLS 200-1023\] Part 'xc0none' is not installed"),
        ("exit1", r"status 1: \[HLS 207-3776\] use of undeclared identifier 'foo'"),
        ("other_top", "reported on another, not on the top accel"),
    ],
)
def test_failures_are_one_line_and_leave_no_record(tool, project, monkeypatch, mode, says):
    monkeypatch.setenv("COEXPLORE_MOCK_FAIL", mode)
    with pytest.raises(ToolError, match=says) as failed:
        vendor.synthesise(tool, project, 60)
    assert "\n" not in str(failed.value) and len(str(failed.value)) < 500
    monkeypatch.delenv("COEXPLORE_MOCK_FAIL")
    assert vendor.synthesise(tool, project, 60)[0].latency_max == 10000


@every_tool
def test_an_old_report_of_a_run_that_wrote_none(tool, project, monkeypatch):
    vendor.synthesise(tool, project, 60)
    (project / "hls" / "accel.cpp").write_text("void accel(int *in, int *out) { *out = 5; }\n")
    monkeypatch.setenv("COEXPLORE_MOCK_FAIL", "stale")
    with pytest.raises(ToolError, match="left only an old csynth"):
        vendor.synthesise(tool, project, 60)


@every_tool
def test_a_hung_tool_is_ended_with_its_children(tool, project, monkeypatch, tmp_path):
    note = tmp_path / "pids"
    monkeypatch.setenv("COEXPLORE_MOCK_FAIL", "hang")
    monkeypatch.setenv("COEXPLORE_MOCK_PIDS", str(note))
    monkeypatch.setattr("flow.toolchain.runner.GRACE_S", 0.2)
    with pytest.raises(ToolError, match="did not finish in 1 s"):
        vendor.synthesise(tool, project, 1.0)
    pids = [int(p) for p in note.read_text().split()]
    assert len(pids) == 3
    time.sleep(0.2)
    for pid in pids:
        stat = Path(f"/proc/{pid}/stat")
        assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX"


@every_tool
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sources": ["accel.cpp", "gone.cpp"]}, "'gone.cpp' does not exist"),
        ({"data_files": ["gone.dat"]}, "'gone.dat' does not exist"),
        ({"top": "other"}, "Cannot find the top function 'other'"),
        ({"part": "nonsense"}, "Part 'nonsense' is not installed"),
    ],
)
def test_the_mocks_really_read_the_project(tool, project, change, says):
    (project / "hls" / "hls_config.cfg").write_text(render("hls_config.cfg.j2", **change))
    (project / "hls" / "run_hls.tcl").write_text(render("run_hls.tcl.j2", **change))
    with pytest.raises(ToolError, match=says):
        vendor.synthesise(tool, project, 60)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("set_part {", "set_part -bogus {", "Unknown option '-bogus'"),
        (
            "open_solution -reset {solution1}\n",
            "open_solution -reset {solution1} -flow_target vivado\n",
            "'-flow_target'",
        ),
        ("csynth_design", "csynth_desing", "csynth_desing"),
        ("create_clock -period 5.0", "create_clock -period five", "bad period"),
    ],
)
def test_vivado_hls_refuses_what_it_does_not_know(monkeypatch, project, old, new, says):
    mock_path(monkeypatch, ["vivado_hls"])
    script = project / "hls" / "run_hls.tcl"
    assert old in script.read_text()
    script.write_text(script.read_text().replace(old, new))
    with pytest.raises(ToolError, match=says):
        vendor.synthesise(vendor.choose(), project, 60)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("syn.top=", "syn.topp=", "unrecognised option"),
        ("clock=5.0ns", "clock=5.0", "bad value"),
        ("flow_target=vivado\n", "flow_target=vivado\nflow_target=vitis\n", "more than once"),
    ],
)
def test_vitis_refuses_a_bad_configuration(monkeypatch, project, old, new, says):
    mock_path(monkeypatch, ["vitis-run"])
    path = project / "hls" / "hls_config.cfg"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ToolError, match=says):
        vendor.synthesise(vendor.choose(), project, 60)


def test_a_folder_that_is_no_project(monkeypatch, tmp_path):
    mock_path(monkeypatch, ["vitis_hls"])
    with pytest.raises(ToolError, match="no compiled project"):
        vendor.synthesise(vendor.choose(), tmp_path, 5)


def test_unknown_step(monkeypatch):
    mock_path(monkeypatch, ["vitis_hls"])
    with pytest.raises(ToolError, match="unknown step 'place'; known: csim"):
        vendor.commands(vendor.choose(), "place")


def test_the_mocks_come_first_and_alone(monkeypatch):
    folder = mock_path(monkeypatch, ["vitis_hls"])
    assert os.environ["PATH"].split(os.pathsep)[0] == str(folder)
    assert shutil.which("vivado_hls") is None
