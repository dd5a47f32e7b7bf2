"""A network on several boards through the command line: compiled, simulated together, linted, refused."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flow import assembly, cli, project
from flow.ir import emit
from flow.space.network import random_graph
from flow.space.stack import Stack
from tests.mock_tools import fixture

BOARD = """
name = "b{n}"
part = "xc7z020clg400-1"
family = "zynq"
[resources]
lut = {lut}
ff = 60000
dsp = 40
bram18 = 60
uram = 0
[memory]
bandwidth_gb_s = 2.0
[clock]
default_mhz = 100.0
[system]
processor = "processing_system7"
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five convolutions with a residual and a depthwise one, activations of 5 and 8 bits at the cuts."""
    s = Stack((3, 10, 10))
    s.conv(8, 3)
    a = s.tip
    s.conv(8, 3, bits=(8, 5))
    s.sum(a, s.conv(8, 3, relu=False), (8, 8), relu=True)
    s.conv(12, 1, bits=(4, 5))
    s.conv(12, 3, 2, groups=12)
    path = tmp_path_factory.mktemp("model") / "m.onnx"
    path.write_bytes(emit.model(random_graph(s.finish(6))).SerializeToString())
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three boards of two sizes in a chain, from files of one's own."""
    folder = tmp_path_factory.mktemp("platform")
    for n, lut in enumerate((9000, 7000)):
        (folder / f"b{n}.toml").write_text(BOARD.format(n=n, lut=lut))
    text = 'name = "mine"\nboards = ["b0.toml", "b1.toml", "b0.toml"]\n[link]\nbandwidth_gb_s = 0.3\nlatency_us = 0.4\n'
    (folder / "p.toml").write_text(text + "[reconfiguration]\nms = 0.01\n")
    return folder / "p.toml"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main(list(words))
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.fixture(scope="module")
def compiled(model: Path, place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "net"
    assert cli.main(["compile", str(model), "--platform", str(place), "--out", str(folder)]) == 0
    return folder


def test_one_complete_project_a_board(compiled: Path) -> None:
    view = json.loads((compiled / "design.json").read_text())
    folders = [p["folder"] for p in view["parts"]]
    assert len(folders) >= 2 and folders == [f"board{i}" for i in range(len(folders))]
    for name in folders:
        inside = compiled / name
        assert {"model.onnx", "design.json", "hls", "vivado", "driver", "report", "README.md"} <= {
            p.name for p in inside.iterdir()
        }
        part = project.load(inside)
        # What leaves a part is what the next one takes: the stream's words as well as the format.
    for a, b in itertools.pairwise(folders):
        left, right = (json.loads((compiled / n / "design.json").read_text()) for n in (a, b))
        for key in ("shape", "bits", "signed", "scale", "zero", "axis_bits", "words"):
            assert left["output"][key] == right["input"][key]
    assert part.graph.output and "link" in (compiled / "README.md").read_text().lower()


def test_all_boards_together_are_bit_exact(compiled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "csim", str(compiled), "--images", "30", "--json")
    got = json.loads(out)
    assert code == 0 and got["bit_exact"] and (got["images"], got["outputs"], got["mismatches"]) == (30, 6, 0)


def test_a_wrong_part_is_found(compiled: Path, tmp_path: Path) -> None:
    """The comparison can fail: another weight in the middle board's code."""
    broken = tmp_path / "broken"
    shutil.copytree(compiled, broken)
    code = next((broken / "board1/hls/weights").glob("*.h"))
    head, body = code.read_text().split("=", 1)
    code.write_text(head + "=" + re.sub(r"-?\d+", lambda m: "-1" if m[0] == "1" else "1", body, count=3))
    loaded = assembly.load(broken)
    assert not assembly.csim(loaded, project.random_images(loaded.graph, 30)).bit_exact


def test_simulation_agrees_with_the_estimate(compiled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    estimate = json.loads((compiled / "report/estimate_network_performance.json").read_text())
    code, out, _ = run(capsys, "simulate", str(compiled), "--json")
    got = json.loads(out)
    assert code == 0 and not got["deadlock"]
    assert got["interval_cycles"] == pytest.approx(estimate["interval_cycles"], rel=0.02)
    delays = sum(k["latency_us"] for k in estimate["platform"]["links"]) * estimate["clock_mhz"]
    assert got["latency_cycles"] + delays == pytest.approx(estimate["latency_cycles"], rel=0.02)
    assert any(f["name"].startswith("link0") for f in got["fifos"])


def test_synthesis_takes_every_board(
    compiled: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    copied = tmp_path / "net"
    shutil.copytree(compiled, copied)
    fixture.mock_path(monkeypatch, ["vitis_hls"])
    code, out, _ = run(capsys, "synth", str(copied), "--json")
    tops = {Path(r["file"]).relative_to(copied).parts[0] for r in json.loads(out) if r["top"] == "accel"}
    boards = len(json.loads((copied / "design.json").read_text())["parts"])
    assert code == 0 and boards >= 2 and tops == {f"board{i}" for i in range(boards)}


@pytest.mark.slow
def test_lint_covers_every_board(compiled: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(capsys, "lint", str(compiled))[0] == 0
    broken = tmp_path / "broken"
    shutil.copytree(compiled, broken)
    top = broken / "board1/hls/accel.cpp"
    top.write_text(top.read_text().replace("#pragma HLS DATAFLOW", "#pragma HLS DATAFLOWS", 1))
    code, out, _ = run(capsys, "lint", str(broken), "--json")
    assert code == 1 and {f["file"].split("/")[0] for f in json.loads(out)["findings"]} == {"board1"}


def test_estimate_as_text_names_boards(model: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "estimate", str(model), "--platform", str(place))
    assert code == 0 and "board 0 (b0)" in out and "pipeline efficiency" in out


@pytest.mark.slow
def test_one_board_in_turns(model: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A platform of one board that is too small for the network: loaded with one part after another."""
    alone = tmp_path / "alone.toml"
    (tmp_path / "b.toml").write_text(BOARD.format(n=7, lut=7000))
    alone.write_text('name = "alone"\nboards = ["b.toml"]\n[reconfiguration]\nms = 0.01\n')
    words = ["compile", str(model), "--platform", str(alone), "--out", str(tmp_path / "o")]
    assert run(capsys, *words)[0] in (0, 1)
    code, out, _ = run(capsys, *words, "--batch", "5000", "--json")
    view: dict[str, Any] = json.loads(out)
    assert code == 0 and view["platform"]["mode"] == "sequence" and len(view["engines"]) > 1
    assert run(capsys, "csim", str(tmp_path / "o"), "--images", "5")[0] == 0


def test_bad_input_is_one_line(
    model: Path, place: Path, compiled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: str) -> str:
        code, _, err = run(capsys, *words)
        assert code == 1 and err.count("\n") == 1
        return err

    out = str(tmp_path / "o")
    assert "unknown platform" in refused("compile", str(model), "--platform", "nowhere", "--out", out)
    assert "does not fit" in refused("compile", str(model), "--platform", str(place), "--max-utilisation", "0.01", "--out", out)  # fmt: skip  # noqa: E501
    assert not Path(out).exists()
    with pytest.raises(SystemExit):
        cli.main(["compile", str(model), "--platform", str(place), "--board", "zcu102", "--out", out])
    capsys.readouterr()
    for name, said in (("board1/design.json", "board1"), ("model.onnx", "model.onnx")):
        broken = tmp_path / name.replace("/", "-")
        shutil.copytree(compiled, broken)
        (broken / name).unlink()
        assert said in refused("csim", str(broken))
    images = tmp_path / "x.npy"
    np.save(images, np.zeros((2, 1, 10, 10)))
    assert "the network takes" in refused("csim", str(compiled), "--inputs", str(images))
