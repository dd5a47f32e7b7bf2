"""The command line: help, exit codes, JSON as interface.md promises, one clear line for bad input, nothing half-written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from flow import __version__, board, cli, run
from flow.ir import emit
from tests import networks

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(cli.parser()._subparsers._group_actions[0].choices)  # type: ignore[union-attr]
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


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line of a command that says no."""
    code, out, err = answer(capsys, *arguments)
    lines = [x for x in err.splitlines() if x]
    assert code == 1 and out == "" and len(lines) == 1 and lines[0].startswith("flow: "), (code, out, err)
    return lines[0]


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


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = "import sys, time; t = time.perf_counter(); from flow import cli; cli.parser().format_help(); "
    code += f"print(time.perf_counter() - t, *[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, *imported = done.stdout.split()
    assert not imported and float(seconds) < 0.5
    best = min(_timed([sys.executable, "-m", "flow.cli", "--help"]) for _ in range(3))
    assert best < 0.5


def _timed(command: list[str]) -> float:
    import time

    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return time.perf_counter() - start


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
def test_wrong_usage_is_two(arguments: list[str]) -> None:
    usage(*arguments)


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "start", interrupted)
    code, _, err = answer(capsys, "search", "--board", "zcu102", "--run", "r")
    assert code == 130 and len(err.splitlines()) == 1


def test_a_closed_pipe_is_quiet() -> None:
    done = subprocess.run(
        f"{sys.executable} -m flow.cli boards | head -1", shell=True, cwd=ROOT, capture_output=True, text=True, check=True
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
    assert all(set(f) >= {"name", "depth", "max_occupancy"} and f["max_occupancy"] <= f["depth"] for f in found["fifos"])
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
        "latency_max", "interval_min", "interval_max", "resources", "available", "loops", "modules", "wns_ns", "warnings",
    }  # fmt: skip
    assert code == 0 and set(found) >= keys
    assert (found["kind"], found["top"], found["latency_max"], found["interval_max"]) == ("csynth", "accel", 1234, 1000)
    assert found["wns_ns"] is None and found["resources"]["lut"] == 7


# ---------------------------------------------------------------------- bad input


def float_model(path: Path, op: str = "Conv", shape: tuple[int | str, ...] = (1, 2, 6, 6)) -> Path:
    """A float network of one convolution and one more operator."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, (3, 2, 3, 3), np.linspace(-1, 1, 54).tolist())
    second = "softsign" if op == "Softsign" else op
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], name="first")]
    nodes += [helper.make_node(op, ["c"], ["y"], name=second)] if op != "Conv" else []
    out = "c" if op == "Conv" else "y"
    body = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)],
        [weight],
    )
    onnx.save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def truncated(model: Path, path: Path) -> Path:
    path.write_bytes(model.read_bytes()[: model.stat().st_size * 2 // 3])
    return path


BAD: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "empty": (lambda m, p: p.write_bytes(b"") and p or p, "empty"),
    "garbage": (lambda m, p: (p.write_bytes(b"\x00\xffnot a model"), p)[1], "not an ONNX file"),
    "truncated": (truncated, "truncated"),
    "missing": (lambda m, p: p, "No such file"),
    "operator": (lambda m, p: float_model(p, "Softsign"), "Softsign"),
    "dynamic": (lambda m, p: float_model(p, shape=(1, 2, "height", 6)), "dynamic"),
    "batch": (lambda m, p: float_model(p, shape=(4, 2, 6, 6)), "batch 4"),
}


@pytest.mark.parametrize("fault", sorted(BAD))
@pytest.mark.parametrize("command", ["compile", "estimate"])
def test_bad_models(
    fault: str, command: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, reason = BAD[fault]
    path = make(model, tmp_path / "bad.onnx")
    np.save(tmp_path / "x.npy", np.zeros((8, 2, 6, 6), np.float32))
    more = ["--calibration", str(tmp_path / "x.npy")] if fault in ("operator", "dynamic") else []
    before = sorted(tmp_path.rglob("*"))
    more += ["--out", str(tmp_path / "deep" / "out")] if command == "compile" else []
    line = refused(capsys, command, path, "--board", "zcu102", *more)
    assert reason in line and ("bad.onnx" in line or fault == "operator")
    assert sorted(tmp_path.rglob("*")) == before, "something was written"


def test_a_network_that_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(emit.model(networks.lenet()), tmp_path / "m.onnx")
    for out in ([], ["--out", str(tmp_path / "o")]):
        command = "compile" if out else "estimate"
        line = refused(capsys, command, "m.onnx", "--board", "zcu102", "--max-utilisation", "0.001", *out)
        assert "does not fit zcu102" in line and re.search(r"lut: [\d.e+]+ needed, 274 available", line)
    line = refused(capsys, "compile", "m.onnx", "--board", "zcu102", "--min-fps", "1e9", "--out", "o")
    assert re.search(r"interval_cycles: \d+ needed, 0 available", line) and not (tmp_path / "o").exists()


def test_unknown_boards_name_the_nearest(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert re.search(r"unknown board 'zcu-102'; nearest: .*\bzcu102\b", refused(capsys, "estimate", model, "--board", "zcu-102"))
    assert re.search(r"nearest: .*pynq-z2", refused(capsys, "compile", model, "--board", "pynqz2", "--out", "o"))
    assert "zcu102" in refused(capsys, "search", "--board", "ZCU102x", "--run", "r") and not Path("r").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name = 3", "family is missing"), ("= 3", "not valid TOML"), ("", "family is missing"),
        ('family = "zynq"\nname = "x"', "part is missing"), ('family = "stratix"', "stratix"),
        ('colour = "red"', "unknown key colour"),
    ],
)  # fmt: skip
def test_bad_board_files(
    text: str, reason: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "b.toml"
    path.write_text(text)
    for command in (["estimate", model], ["compile", model, "--out", "o"], ["search", "--run", "r"]):
        line = refused(capsys, *command, "--board", path)
        assert reason in line and "b.toml" in line
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.toml"]
    assert "does not exist" in refused(capsys, "estimate", model, "--board", "none.toml")


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("--strategy", "magic", "unknown strategy 'magic'"), ("--space", "vast", "no space 'vast'"),
        ("--space", "none.py", "none.py"), ("--data", "imagenet", "no data set 'imagenet'"),
        ("--data-dir", "nowhere", "nowhere does not exist"), ("--toolchain", "quartus", "unknown toolchain 'quartus'"),
        ("--time", "soon", "time 'soon'"), ("--bits", "1-9", "bits '1-9'"), ("--max-utilisation", "1.5", "max_utilisation"),
        ("--clock-mhz", "5000", "clock_mhz"),
    ],
)  # fmt: skip
def test_bad_settings_leave_no_run_folder(
    option: str, value: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, "search", "--run", tmp_path / "deep" / "r", option, value)
    assert reason in line and not (tmp_path / "deep").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a readable .npy file"), (b"garbage", "not a readable .npy file"), (None, "No such file"),
        (np.zeros((4, 3, 6, 6), np.float32), "the model takes (N, 2, 6, 6)"), (np.zeros((2, 6)), "(N, 2, 6, 6)"),
        (np.full((4, 2, 6, 6), np.nan, np.float32), "NaN"), (np.array(["a"]), "not an array of numbers"),
        (np.zeros((0, 2, 6, 6), np.float32), "calibration"),
    ],
)  # fmt: skip
def test_bad_calibration(
    content: Any, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    float_model(tmp_path / "f.onnx")
    if isinstance(content, bytes):
        Path("x.npy").write_bytes(content)
    elif content is not None:
        np.save("x.npy", content)
    line = refused(capsys, "compile", "f.onnx", "--board", "zcu102", "--calibration", "x.npy", "--out", "o")
    assert reason in line and not Path("o").exists()


def test_bad_archives_of_arrays(model: Path, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("x.npz", a=np.zeros(3))
    assert "not an array of numbers" in refused(capsys, "csim", project, "--inputs", "x.npz")
    Path("y.npz").write_bytes(Path("x.npz").read_bytes()[:60])
    assert "not a readable .npy file" in refused(capsys, "csim", project, "--inputs", "y.npz")


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((3, 9, 9)), "takes (N, 2, 6, 6)"), (np.zeros(()), "takes (N, 2, 6, 6)"),
        (np.full((1, 2, 6, 6), np.inf), "NaN or infinity"), (np.full((1, 2, 6, 6), 256), "outside 0..255"),
        (np.zeros((0, 2, 6, 6)), "(0, 2, 6, 6)"),
    ],
)  # fmt: skip
def test_bad_images(array: Any, reason: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("x.npy", array)
    assert reason in refused(capsys, "csim", project, "--inputs", "x.npy")


def test_no_compiled_project(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    for command in ("csim", "simulate"):
        assert "holds no compiled project" in refused(capsys, command, tmp_path)
    shutil.copytree(project, tmp_path / "p")
    path = tmp_path / "p" / "design.json"
    view = json.loads(path.read_text())
    for bad in (b"{", b"[]", b"\xff\xfe", json.dumps({k: v for k, v in view.items() if k != "input"}).encode()):
        path.write_bytes(bad)
        assert "design.json" in refused(capsys, "csim", tmp_path / "p")
    path.write_text(json.dumps(view | {"graph": "0"}))
    assert "compile it again" in refused(capsys, "csim", tmp_path / "p")


def test_no_tool_no_report_no_run(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert "no HLS tool on PATH" in refused(capsys, "synth", project)
    assert "unknown toolchain" in refused(capsys, "synth", project, "--toolchain", "magic")
    (tmp_path / "x.rpt").write_text("nothing")
    assert "x.rpt" in refused(capsys, "parse", tmp_path / "x.rpt")
    assert "y.rpt" in refused(capsys, "parse", tmp_path / "y.rpt")
    for command in ("resume", "report"):
        assert "does not exist" in refused(capsys, command, tmp_path / "nowhere")
        assert "is not a run folder" in refused(capsys, command, tmp_path)


def test_out_is_kept_from_harm(model: Path, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder or file of something else is not touched; an older project is replaced whole."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    line = refused(capsys, "compile", model, "--board", "zcu102", "--out", tmp_path / "mine")
    assert "holds no compiled project" in line
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    (tmp_path / "file").write_text("x")
    assert "file" in refused(capsys, "compile", model, "--board", "zcu102", "--out", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "x"
    for place in ("zcu102", "pynq-z2"):
        assert answer(capsys, "compile", model, "--board", place, "--out", tmp_path / "o")[0] == 0
        assert json.loads((tmp_path / "o" / "design.json").read_text())["board"] == place
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "mine", "o"]


def unprivileged(arguments: list[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """The command as a user for whom folders can be read-only: root writes everywhere."""
    user = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    env = {**os.environ, "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "COEXPLORE_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "flow.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, **user)  # type: ignore[call-overload, no-any-return]


def test_read_only_folders(model: Path) -> None:
    """Run folder and output folder: one line with the path, nothing left."""
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copy(model, folder / "m.onnx")
        locked = folder / "locked"
        locked.mkdir()
        locked.chmod(0o555)
        if unprivileged(["boards"], folder).returncode:
            pytest.skip("another user cannot read this checkout")
        for command in (
            ["search", "--run", locked / "r", "--trials", "2"],
            ["search", "--run", locked / "deep" / "r", "--trials", "2"],
            ["compile", folder / "m.onnx", "--board", "zcu102", "--out", locked / "p"],
        ):
            done = unprivileged(command, folder)
            lines = done.stderr.splitlines()
            assert done.returncode == 1 and len(lines) == 1, done.stderr
            assert str(locked) in lines[0] and "Permission denied" in lines[0]
            assert not list(locked.iterdir())
