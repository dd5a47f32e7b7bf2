"""Bad input to the command line: one clear line on stderr, exit 1, nothing half-written."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from flow.ir import emit
from tests import networks
from tests.unit.test_cli import ROOT, answer, here, model, project

__all__ = ["here", "model", "project"]  # fixtures


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line of a command that says no."""
    code, out, err = answer(capsys, *arguments)
    lines = [x for x in err.splitlines() if x]
    assert code == 1 and out == "" and len(lines) == 1 and lines[0].startswith("flow: "), (code, out, err)
    return lines[0]


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
    "empty": (lambda m, p: (p.write_bytes(b"") and p) or p, "empty"),
    "garbage": (lambda m, p: (p.write_bytes(b"\x00\xffnot a model"), p)[1], "not an ONNX file"),
    "truncated": (truncated, "truncated"),
    "missing": (lambda m, p: p, "No such file"),
    "operator": (lambda m, p: float_model(p, "Hardmax"), "Hardmax"),
    "dynamic": (lambda m, p: float_model(p, shape=(1, 2, "height", 6)), "dynamic"),
    "batch": (lambda m, p: float_model(p, shape=(4, 2, 6, 6)), "batch 4"),
}


@pytest.mark.parametrize("fault", sorted(BAD))
@pytest.mark.parametrize("command", ["compile", "estimate"])
def test_bad_models(fault: str, command: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    assert re.search(
        r"unknown board 'zcu-102'; nearest: .*\bzcu102\b", refused(capsys, "estimate", model, "--board", "zcu-102")
    )
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
        ("--time", "soon", "time 'soon'"), ("--bits", "1-9", "bits '1-9'"),
        ("--max-utilisation", "1.5", "max_utilisation"),
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
def test_bad_calibration(content: Any, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_no_tool_no_report_no_run(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
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


def obey_permissions() -> None:
    """For the next program: root without the capability to write whatever the permissions say."""
    import ctypes

    drop_from_bounding_set, dac_override = 24, 1  # linux/prctl.h, linux/capability.h
    ctypes.CDLL(None).prctl(drop_from_bounding_set, dac_override, 0, 0, 0)


def unprivileged(arguments: list[str | Path]) -> subprocess.CompletedProcess[str]:
    """The command as by a user for whom folders can be read-only."""
    before = obey_permissions if os.geteuid() == 0 else None
    command = [sys.executable, "-m", "flow.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, preexec_fn=before)


def test_read_only_folders(model: Path, tmp_path: Path) -> None:
    """Run folder and output folder: one line with the path, nothing left."""
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    for command in (
        ["search", "--run", locked / "r", "--trials", "2"],
        ["search", "--run", locked / "deep" / "r", "--trials", "2"],
        ["compile", model, "--board", "zcu102", "--out", locked / "p"],
        ["compile", model, "--board", "zcu102", "--out", locked / "deep" / "p"],
    ):
        done = unprivileged(command)
        lines = done.stderr.splitlines()
        assert done.returncode == 1 and len(lines) == 1, done.stderr
        assert str(locked) in lines[0] and "Permission denied" in lines[0]
        assert not list(locked.iterdir())
