"""The generated Tcl under a real tclsh, against strict stand-ins for Vivado's commands and IPs."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from flow import codegen, mapping, system
from flow.board import Board, load
from flow.design import Design
from tests import networks

STUBS = Path(__file__).parents[1] / "mock_tools" / "vivado_stubs.tcl"
BOARDS = ("zcu102", "zcu104", "zc706", "pynq-z2", "ultra96", "kv260")

needs_tclsh = pytest.mark.skipif(shutil.which("tclsh") is None, reason="tclsh is not installed")
pytestmark = needs_tclsh


@cache
def design(board: str) -> Design:
    d = networks.Draft((3, 5, 7))
    d.dense(d.conv("input", 4), 5)
    found = mapping.solve(d.graph(), load(board))
    assert isinstance(found, Design)
    return found


def write(folder: Path, board: str, exported: str = "hls_work/hls/impl/ip") -> Path:
    """A project's vivado folder, and an exported IP with the design's stream widths."""
    found = design(board)
    for name, content in system.files(found).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    view = codegen.describe(found)
    if exported:
        ip = folder / "hls" / exported
        ip.mkdir(parents=True)
        text = f"name accel in {view['input']['axis_bits']} out {view['output']['axis_bits']}"
        (ip / "component.xml").write_text(text)
    return folder / "vivado"


class Result:
    """What a script left: return code, text, and the design as the stand-ins saw it."""

    def __init__(self, done: subprocess.CompletedProcess[str], state: Path) -> None:
        self.rc, self.text = done.returncode, done.stdout + done.stderr
        lines = [line.split(" ") for line in state.read_text().splitlines()] if state.exists() else []
        self.config = {(x[1], x[2]): x[3] for x in lines if x[0] == "config"}
        self.links = {x[1]: x[2] for x in lines if x[0] == "link"}
        self.drivers = {x[1]: x[2] for x in lines if x[0] == "driver"}
        self.project = {x[1]: x[2] for x in lines if x[0] == "project" and len(x) == 3}
        self.logs = [" ".join(x[1:]).strip("{}") for x in lines if x[0] == "log"]
        self.validated = ["validated", "1"] in lines


def run(script: Path, *arguments: str, **environment: str) -> Result:
    state = script.parent / "state.txt"
    state.unlink(missing_ok=True)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("STUB_", "COEXPLORE_"))}
    command = ["tclsh", str(STUBS), str(state), str(script), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**clean, **environment}, check=False, timeout=60
    )
    return Result(done, state)


@pytest.mark.parametrize("installed", [True, False], ids=["board-files", "no-board-files"])
@pytest.mark.parametrize("name", BOARDS)
def test_block_design_is_built_and_implemented(tmp_path: Path, name: str, installed: bool) -> None:
    board = load(name)
    parts = board.board_part.rpartition(":")[0] + ":1.9 " + board.board_part if installed else "a.com:other:part0:1.0"
    result = run(write(tmp_path, name) / "build_system.tcl", STUB_BOARDS=parts)
    assert result.rc == 0 and result.validated, result.text
    assert result.project["part"] == board.part
    assert ("board_part" in result.project and result.project["board_part"] in parts.split()) == installed
    assert (("ps", "preset") in result.config) == installed
    assert ("WARNING: board files" in result.text) == (not installed)
    for stem in ("accel.bit", "accel.hwh"):
        assert (tmp_path / "driver" / stem).is_file()
    for report in ("vivado_utilization.rpt", "vivado_utilization_hierarchical.rpt", "vivado_timing.rpt"):
        assert (tmp_path / "report" / report).is_file()


@pytest.mark.parametrize("name", BOARDS)
def test_images_go_from_memory_through_the_accelerator_and_back(tmp_path: Path, name: str) -> None:
    board = load(name)
    result = run(write(tmp_path, name) / "build_system.tcl", "check", STUB_BOARDS=board.board_part)
    assert result.rc == 0, result.text
    ultra = board.processor == "zynq_ultra_ps_e"
    memory, registers = ("S_AXI_HP0_FPD", "M_AXI_HPM0_FPD") if ultra else ("S_AXI_HP0", "M_AXI_GP0")
    clock, irq = ("pl_clk0", "pl_ps_irq0") if ultra else ("FCLK_CLK0", "IRQ_F2P")
    assert result.links["axi_dma_0/M_AXIS_MM2S"] == "accel_0/in_r"
    assert result.links["accel_0/out_r"] == "axi_dma_0/S_AXIS_S2MM"
    assert {result.links[f"axi_dma_0/M_AXI_{way}"] for way in ("MM2S", "S2MM")} == {"memory/S00_AXI", "memory/S01_AXI"}
    assert result.links["memory/M00_AXI"] == f"ps/{memory}"
    assert result.links[f"ps/{registers}"] == "control/S00_AXI"
    slaves = {result.links[f"control/M0{i}_AXI"] for i in range(3)}
    assert slaves == {"axi_dma_0/S_AXI_LITE", "accel_0/s_axi_control", "interrupts/s_axi"}
    # The DMA's interrupt must not go to the processor directly: PYNQ's DMA driver stops on that (PYNQ issue 964).
    assert result.drivers["interrupts/intr"] == "axi_dma_0/s2mm_introut"
    assert result.drivers[f"ps/{irq}"] == "interrupts/irq"
    assert result.drivers["accel_0/ap_clk"] == f"ps/{clock}"
    assert result.drivers["accel_0/ap_rst_n"] == "resets/peripheral_aresetn"
    frequency = "PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ" if ultra else "PCW_FPGA0_PERIPHERAL_FREQMHZ"
    assert float(result.config["ps", frequency]) == board.clock_mhz
    assert result.config["axi_dma_0", "c_include_sg"] == "0"
    assert result.config["axi_dma_0", "c_sg_length_width"] == "26"
    assert not (tmp_path / "driver" / "accel.bit").exists()  # "check" stops before implementation


DEFECTS = {
    "unknown option": ("save_bd_design", "save_bd_design -all"),
    "unknown command": ("validate_bd_design", "validate_design"),
    "misspelt property": ("CONFIG.c_include_sg", "CONFIG.c_include_scatter_gather"),
    "value out of range": ("CONFIG.c_sg_length_width {26}", "CONFIG.c_sg_length_width {27}"),
    "misspelt pin": ("axi_dma_0/axi_resetn", "axi_dma_0/aresetn"),
    "clock left out": ("axi_dma_0/m_axi_s2mm_aclk", ""),
    "reset left out": ("memory/aresetn", ""),
    "slave left out": (
        "connect_bd_intf_net [get_bd_intf_pins control/M02_AXI] [get_bd_intf_pins interrupts/s_axi]\n",
        "",
    ),
    "master to master": ("[interface $accel Slave axis]", "[interface $accel Master axis]"),
    "one port too many": ("CONFIG.NUM_MI {3}", "CONFIG.NUM_MI {4}"),
    "one port too few": ("CONFIG.NUM_MI {3}", "CONFIG.NUM_MI {2}"),
    "stream width": ("CONFIG.c_m_axis_mm2s_tdata_width {64}", "CONFIG.c_m_axis_mm2s_tdata_width {32}"),
    "addresses left out": ("assign_bd_address\n", ""),
    "unknown IP": ("[newest axi_intc]", "[newest axi_interrupts]"),
    "memory port left off": ("CONFIG.PSU__USE__S_AXI_GP2 {1}", "CONFIG.PSU__USE__S_AXI_GP2 {0}"),
    "second clock": ("clocked $clock {ps/maxihpm0", "clocked [get_bd_pins resets/mb_reset] {ps/maxihpm0"),
    "burst above 4 KiB": ("CONFIG.c_m_axi_mm2s_data_width {64}", "CONFIG.c_m_axi_mm2s_data_width {1024}"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_stand_ins_refuse_a_wrong_script(tmp_path: Path, defect: str) -> None:
    """The tests above can fail: every defect of the generated script is found."""
    script = write(tmp_path, "zcu102") / "build_system.tcl"
    old, new = DEFECTS[defect]
    text = script.read_text()
    assert text.count(old) >= 1
    script.write_text(text.replace(old, new, 1))
    result = run(script, "check", STUB_BOARDS="xilinx.com:zcu102:part0:3.3")
    assert result.rc == 1 and "saved" not in result.logs, result.text


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"STUB_WNS": "-0.3"}, "timing is missed (WNS '-0.3' ns"),
        ({"STUB_WHS": "-0.01"}, "timing is missed (WHS"),
        ({"STUB_PROGRESS": "42%"}, "implementation ended as"),
        ({"STUB_AUTO_WIDTH": "128"}, "c_m_axis_mm2s_tdata_width is 128"),
    ],
)
def test_no_bitstream_is_handed_out_after_a_failure(tmp_path: Path, environment: dict[str, str], message: str) -> None:
    result = run(write(tmp_path, "pynq-z2") / "build_system.tcl", **environment)
    assert result.rc == 1 and message in result.text
    assert not (tmp_path / "driver" / "accel.bit").exists()


def test_older_folder_layout_of_the_hand_off(tmp_path: Path) -> None:
    result = run(write(tmp_path, "zcu104") / "build_system.tcl", STUB_LAYOUT="srcs")
    assert result.rc == 0 and (tmp_path / "driver" / "accel.hwh").is_file(), result.text


@pytest.mark.parametrize("place", ["hls_prj/solution1/impl/ip", "hls_component/hls/impl/ip", "x/y/z/impl/ip"])
def test_exported_ip_is_found_where_each_tool_puts_it(tmp_path: Path, place: str) -> None:
    result = run(write(tmp_path, "zcu102", place) / "build_system.tcl", "check")
    assert result.rc == 0, result.text
    assert result.project["ip_repo_paths"] == str(tmp_path / "hls" / place)


def test_newest_export_wins_and_a_missing_one_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path, "zcu102", "hls_prj/solution1/impl/ip")
    newer = tmp_path / "hls" / "hls_work/hls/impl/ip"
    shutil.copytree(tmp_path / "hls/hls_prj/solution1/impl/ip", newer)
    os.utime(newer / "component.xml", (2e9, 2e9))
    assert run(folder / "build_system.tcl", "check").project["ip_repo_paths"] == str(newer)
    elsewhere = shutil.copytree(newer, tmp_path / "elsewhere")
    chosen = run(folder / "build_system.tcl", "check", COEXPLORE_IP=str(elsewhere))
    assert chosen.project["ip_repo_paths"] == str(elsewhere)
    shutil.rmtree(tmp_path / "hls")
    missing = run(folder / "build_system.tcl")
    assert missing.rc == 1 and "no exported IP" in missing.text


@pytest.mark.parametrize("name", ["zcu102", "pynq-z2", "u250", "arty-a7-100", "vcu118"])
def test_out_of_context_implementation(tmp_path: Path, name: str) -> None:
    script = write(tmp_path, name) / "ooc.tcl"
    result = run(script)
    assert result.rc == 0, result.text
    assert f"clock {round(1e3 / load(name).clock_mhz, 4)}" in result.logs
    assert (tmp_path / "report" / "ooc_utilization.rpt").is_file()
    missed = run(script, STUB_WNS="-1.5")
    assert missed.rc == 1 and "timing is missed by 1.5 ns" in missed.text
    script.write_text(script.read_text().replace("place_design\nphys_opt_design", "phys_opt_design\nplace_design"))
    assert run(script).rc == 1


@pytest.mark.parametrize("name", ["arty-a7-100", "vcu118"])
def test_boards_without_a_processor_say_so_in_one_line(tmp_path: Path, name: str) -> None:
    result = run(write(tmp_path, name) / "build_system.tcl")
    assert result.rc == 1
    lines = result.text.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"ERROR: {name} needs a soft processor") and "ooc.tcl" in lines[0]


def test_wide_streams_keep_the_dma_legal(tmp_path: Path) -> None:
    """1024-bit streams: burst lengths shrink to what AXI allows."""
    found = design("zcu102")
    processes = tuple(
        replace(p, constants=tuple((k, 1024 if k == "WIDTH" else v) for k, v in p.constants))
        for p in found.netlist.processes
    )
    wide = replace(found, netlist=replace(found.netlist, processes=processes))
    folder = write(tmp_path, "zcu102")
    (folder / "build_system.tcl").write_bytes(system.files(wide)["vivado/build_system.tcl"])
    (tmp_path / "hls/hls_work/hls/impl/ip/component.xml").write_text("name accel in 1024 out 1024")
    result = run(folder / "build_system.tcl", "check")
    assert result.rc == 0, result.text
    assert result.config["axi_dma_0", "c_mm2s_burst_size"] == "32"


def test_board_without_board_part(tmp_path: Path) -> None:
    board: Board = replace(load("zcu102"), board_part="")
    folder = write(tmp_path, "zcu102")
    (folder / "build_system.tcl").write_bytes(
        system.files(replace(design("zcu102"), board=board))["vivado/build_system.tcl"]
    )
    result = run(folder / "build_system.tcl", "check")
    assert result.rc == 0 and "WARNING" not in result.text
