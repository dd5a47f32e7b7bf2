"""Tiled projects: compiled from ONNX, C-simulated against onnxruntime, simulated, linted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from flow import board, cli, project
from flow.fixed import Quant, Requant
from flow.ir import emit, quantise
from flow.ir.graph import Graph
from flow.ir.ops import Add
from flow.lint import lint
from flow.mapping import Goal, NoFit
from flow.tiled import Grid, solve
from flow.tiled.program import compile_program
from flow.toolchain import gpp
from tests import large_models
from tests.networks import Draft, random_draft, sample

SMALL = Grid(arrays=((16, 8),), granule=8, wp=(8,), acc_depth=(64,), in_depth=(512,), cache=(256,), copies=(1,))


def residual() -> Graph:
    """A small residual network whose scales ONNX can express: sums and a difference."""
    d = Draft((3, 24, 24), seed=8)
    x = d.conv("input", 16, 5, stride=(2, 2), pads=(2, 2, 2, 2))
    for sign in (1, -1):
        y = d.conv(d.conv(x, 24, per_channel=True), 16)
        x = d.add(Add(Requant((1,), 0, 255), sign=sign), x, y, quant=Quant(8, False, d.tensors[y].quant.scale * 2))
        x = d.conv(x, 16, groups=16)
    d.dense(d.global_average(d.pool(x)), 10)
    return d.graph()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A residual network on a pynq-z2 by the command line."""
    root = tmp_path_factory.mktemp("tiled")
    (root / "net.onnx").write_bytes(emit.model(residual()).SerializeToString())
    arguments = ["compile", str(root / "net.onnx"), "--board", "pynq-z2", "--engine", "tiled", "--out", str(root / "p")]
    assert cli.main(arguments) == 0
    return root / "p"


def test_csim_is_bit_exact(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["csim", str(folder), "--images", "7", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bit_exact"] and found["images"] == 7 and found["reference"] == "onnxruntime"


def test_simulation_agrees_with_the_estimate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["simulate", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    report = json.loads((folder / "report" / "estimate_network_performance.json").read_text())
    assert not found["deadlock"]
    assert found["interval_cycles"] == pytest.approx(report["interval_cycles"], rel=0.1)
    assert found["traffic_bytes"] == report["engines"][0]["parameters"]["traffic_bytes"]


def test_project_is_read_back(folder: Path) -> None:
    loaded = project.load(folder)
    assert loaded.is_tiled and loaded.engine().digest == loaded.view["digest"]
    with pytest.raises(project.ProjectError, match="tiled engine"):
        loaded.design()


def test_engine_is_chosen_where_stages_do_not_fit(tmp_path: Path) -> None:
    model, place = emit.model(residual()), board.load("pynq-z2")
    for share in (0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1):
        stages = project.compile_for("stream", model, place, Goal(max_utilisation=share))
        found = project.compile_for("auto", model, place, Goal(max_utilisation=share))
        if isinstance(stages, NoFit):
            break
        assert found.report.kind == "stream"
    assert isinstance(stages, NoFit)
    assert isinstance(found, NoFit) or found.report.kind == "tiled"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sample", "random"])
def test_vendor_types_agree(name: str, tmp_path: Path) -> None:
    """Xilinx's ap_int in place of native integers: the widths of every number hold."""
    graph = sample() if name == "sample" else random_draft(21, 6).graph()
    design = solve(graph, board.load("zcu104"), Goal(max_utilisation=1.0), 200.0, SMALL)
    project.write(files_of(design), tmp_path / "p")
    view = json.loads((tmp_path / "p" / "design.json").read_text())
    images = project.random_images(graph, 2)
    got = gpp.simulate(tmp_path / "p" / "hls", images, view, native=False)
    assert np.array_equal(got.outputs, graph.evaluate(images)[graph.output])


def files_of(design: object) -> dict[str, bytes]:
    from flow.tiled import render

    return render.files(compile_program(design))  # type: ignore[arg-type]


@pytest.mark.slow
def test_lint_finds_nothing(folder: Path) -> None:
    assert lint(folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet"])
def test_networks_from_torch(name: str, tmp_path: Path) -> None:
    """Depthwise layers with ReLU6, and concatenations, at a quarter of the size."""
    size = 64
    model = quantise.quantise(large_models.exported(name, size, 10), large_models.images(2, size))
    made = project.compile_for("tiled", model, board.load("zcu102"), Goal())
    project.write(made.files, tmp_path / "p")
    loaded = project.load(tmp_path / "p")
    assert project.csim(loaded, project.random_images(loaded.graph, 3)).bit_exact
