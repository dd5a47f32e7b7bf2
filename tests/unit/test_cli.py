"""The command line: help, exit codes, JSON with the promised keys, options that reach the mapper."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from flow import __version__, board, cli, run
from flow.ir import emit
from tests import networks

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(cli.parser(cli.COMMANDS)._subparsers._group_actions[0].choices)  # type: ignore[union-attr]
HEAVY = ("numpy", "torch", "onnx", "onnxruntime", "jinja2", "networkx", "scipy", "hls4ml", "mlxtend", "clang")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COEXPLORE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small quantised network as a file."""
    d = networks.Draft((2, 6, 6), seed=3)
    d.dense(d.pool(d.conv("input", 4, 3, bits=4)), 5)
    path = tmp_path_factory.mktemp("model") / "m.onnx"
    onnx.save(emit.model(d.graph()), path)
    return path


@pytest.fixture(scope="module")
def project(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project") / "p"
    assert cli.main(["compile", str(model), "--board", "pynq-z2", "--out", str(folder)]) == 0
    return folder


def answer(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def usage(*arguments: str) -> None:
    with pytest.raises(SystemExit) as e:
        cli.main(list(arguments))
    assert e.value.code == 2


# ---------------------------------------------------------------------- help


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = {"search", "resume", "report", "runs", "compile", "estimate", "csim", "simulate", "synth", "parse"}
    assert wanted | {"boards", "blocks", "doctor"} <= set(COMMANDS)
    for name in COMMANDS:
        with pytest.raises(SystemExit) as e:
            cli.main([name, "--help"])
        assert e.value.code == 0
        text = capsys.readouterr().out
        assert text.startswith(f"usage: flow {name}") and "--json" in text


def test_help_imports_nothing_heavy() -> None:
    """What takes seconds is not loaded, which is why help takes a tenth of one."""
    code = "import sys; from flow import cli; cli.parser(cli.COMMANDS).format_help(); "
    code += f"print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not done.stdout.split()


def test_version_and_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as e:
        cli.main(["--version"])
    assert e.value.code == 0 and __version__ in capsys.readouterr().out
    assert answer(capsys)[0] == 2
    usage("nonsense")


@pytest.mark.parametrize(
    "arguments",
    [
        ["compile", "m.onnx", "--board", "zcu102"],
        ["estimate", "m.onnx"],
        ["estimate", "m.onnx", "--board", "zcu102", "--objective", "beauty"],
        ["estimate", "m.onnx", "--board", "zcu102", "--clock-mhz", "-5"],
        ["estimate", "m.onnx", "--board", "zcu102", "--min-fps", "nan"],
        ["search", "--trials", "0"],
        ["search", "--trials", "many"],
        ["search", "--mode", "magic"],
        ["csim", "p", "--images", "0"],
        ["parse"],
        ["boards", "--colour"],
    ],
)
def test_wrong_usage_is_two_and_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    usage(*arguments)
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and err.startswith("flow") and "--help)" in err


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "start", interrupted)
    code, _, err = answer(capsys, "search", "--board", "zcu102", "--run", "r")
    assert code == 130 and len(err.splitlines()) == 1


def test_a_closed_pipe_is_quiet() -> None:
    done = subprocess.run(
        f"{sys.executable} -m flow.cli boards | head -1",
        shell=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("name") and "Traceback" not in done.stderr


# ---------------------------------------------------------------------- JSON

RESOURCES = {"lut", "ff", "dsp", "bram18", "uram"}
ESTIMATE = {
    "fidelity", "board", "clock_mhz", "fits", "latency_cycles", "interval_cycles", "latency_ms", "fps", "energy_mj",
    "resources", "available", "violations", "bound", "macs", "engines", "layers",
}  # fmt: skip


def test_estimate_json(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = answer(capsys, "estimate", model, "--board", "zcu102", "--json")
    found = json.loads(out)
    assert code == 0 and err == "" and set(found) >= ESTIMATE
    assert found["fidelity"] == "estimate" and found["board"] == "zcu102" and found["fits"] is True
    assert set(found["resources"]) == set(found["available"]) == RESOURCES and found["violations"] == []
    assert set(found["bound"]) >= {"interval_cycles", "limit", "gap", "proved", "seconds"}
    assert found["bound"]["limit"] in ("dsp", "bandwidth", "stream", "memory", "lut", "ff")
    (engine,) = found["engines"]
    assert set(engine) >= {"board", "kind", "layers", "interval_cycles", "resources", "parameters"}
    assert engine["kind"] in ("stream", "tiled")
    assert len(found["layers"]) == 3 and found["macs"] == sum(x["macs"] for x in found["layers"]) > 0
    for layer in found["layers"]:
        assert set(layer) >= {"name", "op", "macs", "interval_cycles", "parameters", "resources"}
        assert set(layer["parameters"]) >= {"pe", "simd"} and set(layer["resources"]) == RESOURCES
    assert found["fps"] == pytest.approx(found["clock_mhz"] * 1e6 / found["interval_cycles"])
    assert found["latency_ms"] == pytest.approx(found["latency_cycles"] / found["clock_mhz"] / 1e3)


def test_estimate_options_reach_the_mapper(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def found(*more: str) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(answer(capsys, "estimate", model, "--board", "zcu102", "--json", *more)[1])
        return result

    assert found("--clock-mhz", "123")["clock_mhz"] == 123
    assert found("--max-utilisation", "0.5")["available"]["lut"] == board.load("zcu102").available.lut // 2
    free, area = found(), found("--objective", "area", "--min-fps", "1000")
    assert area["resources"]["lut"] < free["resources"]["lut"] and area["fps"] >= 1000


def test_compile_and_csim_json(model: Path, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    performance = json.loads((project / "report" / "estimate_network_performance.json").read_text())
    assert set(performance) >= ESTIMATE and performance["board"] == "pynq-z2"
    assert (project / "model.onnx").read_bytes() and (project / "README.md").is_file()
    assert {p.name for p in project.iterdir()} >= {"model.onnx", "design.json", "hls", "vivado", "driver", "report"}
    assert {p.name for p in (project / "hls").iterdir()} >= {"accel.cpp", "tb.cpp", "hls_config.cfg", "run_hls.tcl"}
    code, out, _ = answer(capsys, "csim", project, "--images", "30", "--json")
    found = json.loads(out)
    keys = {"bit_exact", "images", "outputs", "mismatches", "max_abs_diff", "compile_s", "ms_per_image"}
    assert code == 0 and set(found) >= keys
    assert found["bit_exact"] is True and found["images"] == 30 and found["outputs"] == 5 and found["mismatches"] == 0

    images = np.random.default_rng(0).random((7, 2, 6, 6), np.float32)
    np.save("x.npy", images)
    code, out, _ = answer(capsys, "csim", project, "--inputs", "x.npy", "--images", "5", "--json")
    assert code == 0 and json.loads(out)["images"] == 5
    code, out, _ = answer(capsys, "csim", project, "--inputs", "x.npy")
    assert code == 0 and out.startswith("bit-exact: 7 images")


def test_csim_says_no_with_one(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A project whose C++ is not its model's: exit 1 and the count of differences."""
    import shutil

    shutil.copytree(project, tmp_path / "bad")
    path = max((tmp_path / "bad/hls/weights").glob("*matvec.h"))
    path.write_text(re.sub(r"\{(-?\d+)", lambda m: "{1" if m[1] == "0" else "{0", path.read_text(), count=1))
    code, out, _ = answer(capsys, "csim", tmp_path / "bad", "--images", "60", "--json")
    found = json.loads(out)
    assert code == 1 and found["bit_exact"] is False and found["mismatches"] > 0 and found["max_abs_diff"] > 0


def test_simulate_json(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = answer(capsys, "simulate", project, "--json")
    found = json.loads(out)
    assert code == 0 and set(found) >= {"latency_cycles", "interval_cycles", "deadlock", "fifos", "seconds"}
    assert found["deadlock"] is False
    assert all(
        set(f) >= {"name", "depth", "max_occupancy"} and f["max_occupancy"] <= f["depth"] for f in found["fifos"]
    )
    performance = json.loads((project / "report" / "estimate_network_performance.json").read_text())
    assert found["interval_cycles"] == performance["interval_cycles"]


def test_boards_blocks_doctor_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = answer(capsys, "boards", "--json")
    rows = json.loads(out)
    assert code == 0 and {r["name"] for r in rows} == set(board.names()) and len(rows) >= 9
    assert all(RESOURCES <= set(r) for r in rows)
    code, out, _ = answer(capsys, "blocks", "--json")
    assert code == 0 and {"conv", "depthwise", "pool", "add"} <= {r["block"] for r in json.loads(out)}
    code, out, _ = answer(capsys, "doctor", "--json")
    rows = json.loads(out)
    assert code == 0 and {r["what"] for r in rows} >= {"torch", "onnxruntime", "g++", "vitis_hls"}
    code, out, _ = answer(capsys, "runs", "--json")
    assert code == 0 and json.loads(out) == []
    assert "no runs" in answer(capsys, "runs")[1]


def test_parse_json(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "mock_tools"))
    import mock_reports

    numbers = {"latency": 1234, "interval": 1000, "clock_ns": 3.5}
    numbers |= {k: dict.fromkeys(mock_reports.RESOURCES, 7) for k in ("resources", "available")}  # type: ignore[dict-item]
    one = mock_reports.Run("Vitis HLS", "2022.1", "xczu9eg-ffvb1156-2-e", "accel", 5.0, 0.6, numbers)
    (tmp_path / "csynth.xml").write_text(mock_reports.csynth_xml(one, False))
    code, out, _ = answer(capsys, "parse", tmp_path / "csynth.xml", "--json")
    (found,) = json.loads(out)
    keys = {
        "file", "kind", "tool", "tool_version", "part", "top", "clock_target_ns", "clock_estimated_ns", "latency_min",
        "latency_max", "interval_min", "interval_max", "resources", "available", "loops", "modules", "wns_ns",
        "warnings",
    }  # fmt: skip
    assert code == 0 and set(found) >= keys
    assert (found["kind"], found["top"], found["latency_max"], found["interval_max"]) == ("csynth", "accel", 1234, 1000)
    assert found["wns_ns"] is None and found["resources"]["lut"] == 7
