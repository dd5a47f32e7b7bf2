"""What surrounds a tiled engine: block designs under tclsh, drivers against stand-ins that run the project's C++."""

from __future__ import annotations

import ast
import importlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flow import board, project
from flow.board import names
from flow.ir import emit
from flow.mapping import Goal
from flow.tiled import Grid, TiledDesign, render, solve
from flow.tiled import system as engine_system
from flow.tiled.program import Program, compile_program
from flow.toolchain import gpp
from tests.integration.test_system_tcl import run
from tests.networks import Draft

MOCKS = Path(__file__).parents[1] / "mock_tools" / "fake_engine"
MASTERS = ("maps", "residuals", "results", "weights", "program")


def network() -> Any:
    d = Draft((3, 9, 9), seed=6)
    x = d.conv("input", 16, stride=(2, 2))
    x = d.conv(x, 16)
    d.dense(d.global_average(x), 10)
    return d.graph()


@cache
def program(name: str, copies: int) -> Program:
    space = Grid(((16, 8),), 8, (8,), (64,), (512,), (256,), copies=(copies,), batch=(2,))
    found = solve(network(), board.load(name), Goal(max_utilisation=1.0), 100.0, space)
    assert isinstance(found, TiledDesign) and found.copies == copies
    return compile_program(found)


def write(folder: Path, name: str, copies: int) -> Path:
    p = program(name, copies)
    model = {project.MODEL: emit.model(p.design.graph).SerializeToString()}
    project.write(render.files(p) | engine_system.files(p) | model, folder)
    return folder


@pytest.mark.parametrize("name", names())
def test_every_board_gets_its_files(name: str) -> None:
    place = board.load(name)
    moved = program("zcu102", 2).design
    p = compile_program(
        TiledDesign(
            moved.graph, place, moved.clock_mhz, moved.engine, moved.copies, moved.batch, moved.steps, moved.choices,
            moved.bound, moved.available,
        )
    )  # fmt: skip
    files = {path: content.decode() for path, content in engine_system.files(p).items()}
    wanted = {"README.md", "vivado/ooc.tcl", "driver/images.py"}
    if place.processor == "xrt":
        wanted |= {"vivado/accel.cfg", "vivado/link.cfg", "driver/host_xrt.py"}
        assert "nk=accel:2:accel_1.accel_2" in files["vivado/link.cfg"]
        assert files["vivado/link.cfg"].count("sp=") == 2 * len(MASTERS)
    else:
        wanted |= {"vivado/build_system.tcl"}
    if place.processor in ("zynq_ultra_ps_e", "processing_system7"):
        wanted |= {"driver/driver.py"}
    assert set(files) == wanted
    for path, text in files.items():
        assert "{{" not in text.replace("{{}}", "") and "{%" not in text, path
        if path.endswith(".py"):
            ast.parse(text, path, feature_version=(3, 6))  # what older PYNQ images run


@pytest.mark.skipif(shutil.which("tclsh") is None, reason="tclsh is not installed")
@pytest.mark.parametrize(("name", "copies"), [("zcu102", 4), ("zcu104", 1), ("pynq-z2", 2), ("zc706", 1)])
def test_block_design(tmp_path: Path, name: str, copies: int) -> None:
    folder, place = write(tmp_path / "p", name, copies), board.load(name)
    ip = folder / "hls" / "hls_work" / "hls" / "impl" / "ip"
    ip.mkdir(parents=True)
    (ip / "component.xml").write_text(f"name accel masters {{{' '.join(MASTERS)}}}")
    result = run(folder / "vivado" / "build_system.tcl", STUB_BOARDS=place.board_part)
    assert result.rc == 0 and result.validated, result.text
    port = "ps/S_AXI_HP{}_FPD" if place.processor == "zynq_ultra_ps_e" else "ps/S_AXI_HP{}"
    slaves = engine_system.wiring(copies, program(name, copies).design.engine.ports)
    for number, masters in enumerate(slaves):
        assert result.links[f"memory{number}/M00_AXI"] == port.format(number)
        inputs = {result.links[f"memory{number}/S{k:02d}_AXI"] for k in range(len(masters))}
        assert inputs == {f"accel_{copy}/m_axi_{name}" for copy, name in masters}
    assert sorted(m for s in slaves for m in s) == sorted((k, m) for k in range(copies) for m in MASTERS)
    assert {result.links[f"control/M{k:02d}_AXI"] for k in range(copies)} == {
        f"accel_{k}/s_axi_control" for k in range(copies)
    }
    assert (folder / "driver" / "accel.bit").is_file()


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Import a project's driver as a program on the board would, and forget it afterwards."""
    names = ("driver", "host_xrt", "images", "pynq", "pyxrt")

    def load_module(folder: Path, name: str, kernels: list[str], wide: bool = True) -> Any:
        bench, _ = gpp.build(folder / "hls", native=True)
        facts = {"bench": str(bench), "hls": str(folder / "hls"), "kernels": kernels, "wide": wide}
        (folder / "device.json").write_text(json.dumps(facts))
        for suffix in (".bit", ".hwh", ".xclbin"):
            (folder / "driver" / "accel").with_suffix(suffix).write_text("")
        monkeypatch.setenv("FAKE_DEVICE", str(folder / "device.json"))
        monkeypatch.syspath_prepend(str(MOCKS))
        monkeypatch.syspath_prepend(str(folder / "driver"))
        for n in names:
            sys.modules.pop(n, None)
        return importlib.import_module(name)

    yield load_module
    for n in names:
        sys.modules.pop(n, None)


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
@pytest.mark.parametrize("wide", [True, False], ids=["64-bit", "32-bit"])
def test_pynq_driver(
    tmp_path: Path, module: Callable[..., Any], wide: bool, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    folder, graph = write(tmp_path / "p", "zcu102", 2), network()
    driver = module(folder, "driver", ["accel_0", "accel_1"], wide)
    device = driver.Accelerator(folder / "driver" / "accel.bit", batch=8, timeout_s=0.3)
    for seed, n in enumerate((1, 3, 9, 4, 2)):
        images = project.random_images(graph, n, seed)
        assert np.array_equal(device.run(images), graph.evaluate(images)[graph.output])
    metrics = device.throughput_test(repeats=1)
    assert metrics["batch_size"] == 8 and metrics["fclk[mhz]"] == 100.0
    assert device.validate(images, str(folder / "model.onnx"))["mismatches"] == 0
    monkeypatch.setenv("FAKE_FAULT", "hang")
    with pytest.raises(TimeoutError, match="no end of the program"):
        device.run(images)
    monkeypatch.delenv("FAKE_FAULT")
    assert np.array_equal(device.run(images), graph.evaluate(images)[graph.output])
    device.close()
    weights = (folder / "hls" / "weights.bin").read_bytes()
    (folder / "hls" / "weights.bin").write_bytes(weights[:-1])
    with pytest.raises(ValueError, match="it is of another design"):
        driver.Accelerator(folder / "driver" / "accel.bit")


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_xrt_program(tmp_path: Path, module: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, graph = write(tmp_path / "p", "u250", 1), network()
    host = module(folder, "host_xrt", ["accel_1"])
    card = host.Accelerator(folder / "driver" / "accel.xclbin", batch=4, timeout_s=0.3)
    for seed, n in enumerate((1, 5)):
        images = project.random_images(graph, n, seed)
        assert np.array_equal(card.run(images), graph.evaluate(images)[graph.output])
    monkeypatch.setenv("FAKE_FAULT", "hang")
    with pytest.raises(TimeoutError, match="no end of the program"):
        card.run(images)
