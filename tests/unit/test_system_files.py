"""What surrounds the accelerator: which files a board gets, and what is in them."""

from __future__ import annotations

import ast
import configparser
import json
import re
from dataclasses import replace
from functools import cache

import pytest

from flow import codegen, estimate, mapping, system
from flow.board import load, names
from flow.design import Design
from flow.ir.graph import Graph
from tests import networks

COMMON = {"README.md", "vivado/ooc.tcl", "driver/images.py"}
CARD = {"vivado/kernels.cpp", "vivado/link.cfg", "vivado/mm2s.cfg", "vivado/s2mm.cfg", "vivado/accel_stream.cfg"}
EVIL = "a;PWNED\n[exec rm]{{ 7*7 }}"


def graph() -> Graph:
    d = networks.Draft((3, 5, 7))
    d.dense(d.conv("input", 4), 5)
    found = d.graph()
    return replace(found, nodes=tuple(replace(n, name=EVIL) for n in found.nodes))


@cache
def design(board: str = "zcu102") -> Design:
    found = mapping.solve(graph(), load(board))
    assert isinstance(found, Design)
    return found


@cache
def on(board: str) -> dict[str, str]:
    """The files for a board; the design itself is taken from another, as only the board's data matter here."""
    moved = replace(design(), board=load(board))
    return {path: content.decode() for path, content in system.files(moved).items()}


@pytest.mark.parametrize("board", names())
def test_every_board_gets_its_files(board: str) -> None:
    kind = load(board).processor
    wanted = COMMON | (CARD | {"driver/host_xrt.py"} if kind == "xrt" else {"vivado/build_system.tcl"})
    if kind in ("zynq_ultra_ps_e", "processing_system7"):
        wanted |= {"driver/driver.py"}
    files = on(board)
    assert set(files) == wanted
    for path, text in files.items():
        assert "PWNED" not in text and "{{" not in text.replace("{{}}", "") and "{%" not in text, path
        if path.endswith(".py"):
            ast.parse(text, path, feature_version=(3, 6))  # what older PYNQ images run
    assert f"-part {load(board).part}" in files["vivado/ooc.tcl"]


def test_drivers_carry_the_layout_of_design_json() -> None:
    tree = ast.parse(on("zcu102")["driver/images.py"])
    tables = {
        t.id: ast.literal_eval(n.value)
        for n in tree.body
        if isinstance(n, ast.Assign) and isinstance(t := n.targets[0], ast.Name) and t.id in ("INPUT", "OUTPUT")
    }
    described = json.loads(json.dumps(codegen.describe(design())))
    assert tables == {"INPUT": described["input"], "OUTPUT": described["output"]}


@pytest.mark.parametrize(
    ("board", "bank"), [("u50", "HBM[0]"), ("u280", "HBM[0]"), ("u200", "DDR[0]"), ("u250", "DDR[0]")]
)
def test_link_configuration_connects_the_kernels(board: str, bank: str) -> None:
    text = on(board)["vivado/link.cfg"]
    lines = text[text.index("[connectivity]") :].splitlines()[1:]
    kernels = {m[1]: m[2] for line in lines if (m := re.fullmatch(r"nk=(\w+):1:(\w+)", line))}
    assert set(kernels) == {"mm2s", "accel_stream", "s2mm"}
    streams = [m.groups() for line in lines if (m := re.fullmatch(r"stream_connect=(\w+)\.(\w+):(\w+)\.(\w+)", line))]
    instances = {v: k for k, v in kernels.items()}
    assert [(instances[a], instances[c]) for a, _, c, _ in streams] == [
        ("mm2s", "accel_stream"),
        ("accel_stream", "s2mm"),
    ]
    banks = {m[1]: (m[2], m[3]) for line in lines if (m := re.fullmatch(r"sp=(\w+)\.(\w+):(.*)", line))}
    assert banks == {"mm2s_1": ("memory", bank), "s2mm_1": ("memory", bank)}
    assert len(lines) == len(kernels) + len(streams) + len(banks)
    source = on(board)["vivado/kernels.cpp"]
    for kernel in kernels:
        signature = re.search(rf'extern "C" void {kernel}\((.*?)\) {{(.*?)^}}', source, re.DOTALL | re.MULTILINE)
        assert signature, kernel
        ports = re.findall(r"(\w+)(?:,|$)", signature[1])
        # Every argument has an explicit interface, and every stream that is connected exists.
        for port in ports:
            assert re.search(rf"INTERFACE (axis|m_axi) port={port}\b|INTERFACE s_axilite port={port}\b", signature[2])
        used = {p for a, p, c, q in streams for i, p in ((a, p), (c, q)) if instances[i] == kernel}
        assert used == {p for p in ports if p.startswith("words_")}
    for kernel in kernels:
        parser = configparser.ConfigParser(strict=False)
        parser.read_string("[top]\n" + on(board)[f"vivado/{kernel}.cfg"])
        assert parser["hls"]["syn.top"] == kernel and parser["hls"]["package.output.format"] == "xo"
        assert parser["top"]["freqhz"] == "200000000"


def test_readme_labels_its_numbers_as_estimates() -> None:
    text = on("zcu102")["README.md"]
    report = estimate.estimate(design())
    assert "| | estimate |" in text and f"| {report.interval_cycles} cycles |" in text
    assert f"| LUT | {report.resources.lut} of {load('zcu102').available.lut} |" in text
    # Every file the README names is generated here, by codegen or beside them.
    known = set(on("zcu102")) | set(codegen.plan(design()).files) | {"model.onnx"}
    for name in re.findall(r"^\| `([\w/.]+\.\w+)`", text, re.MULTILINE):
        assert name in known


def test_same_design_gives_the_same_bytes() -> None:
    assert system.files(design()) == system.files(design())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"processor": "picoblaze"}, "system.processor 'picoblaze' is not one of zynq_ultra_ps_e"),
        ({"name": "a b"}, "name has characters"),
        ({"part": "xc7; exec rm"}, "part has characters"),
        ({"board_part": "[exec rm]"}, "system.board_part has characters"),
    ],
)
def test_boards_that_no_system_can_be_written_for(change: dict[str, str], message: str) -> None:
    with pytest.raises(system.BoardSystemError, match=message) as error:
        system.files(replace(design(), board=replace(load("zcu102"), **change)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("bits", "board", "beats"),
    [(32, "zcu102", 64), (512, "zcu102", 64), (1024, "u250", 32), (32, "pynq-z2", 16), (1024, "pynq-z2", 16)],
)
def test_bursts_stay_within_axi(bits: int, board: str, beats: int) -> None:
    assert system.burst(bits, load(board)) == beats
    assert beats * bits // 8 <= 4096
