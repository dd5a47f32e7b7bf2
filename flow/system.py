"""Design -> what surrounds the accelerator: block design or link configuration, driver, README of the project."""

from __future__ import annotations

import re
from typing import Any

from flow import __version__, codegen, estimate
from flow.board import Board
from flow.design import Design

STREAM_TOP = f"{codegen.TOP}_stream"  # the accelerator as a kernel without a control port
PROCESSORS = ("zynq_ultra_ps_e", "processing_system7", "microblaze", "xrt")
LENGTH_BITS = 26  # the AXI DMA's longest length register (AMD PG021): 64 MiB - 1 a transfer
_HBM = ("xcu50", "xcu55c", "xcu280")  # cards whose first memory is HBM
_ATOM = re.compile(r"[A-Za-z0-9._:-]+\Z", re.ASCII)


class BoardSystemError(ValueError):
    """A board that no system can be written for; one line."""


def files(design: Design) -> dict[str, bytes]:
    """Files under ``vivado/`` and ``driver/``, and ``README.md`` (path relative to the project -> content).

    Raises BoardSystemError for an unknown processor and for a board whose names are not plain words.
    """
    view = _view(design)
    render = codegen.environment()
    view["exported_ip"] = render.get_template("exported_ip.tcl.j2").render(view)
    out = {"README.md": "project_readme.md", "vivado/ooc.tcl": "ooc.tcl", "driver/images.py": "driver_images.py"}
    if view["xrt"]:
        out |= {"vivado/kernels.cpp": "kernels.cpp", "vivado/link.cfg": "link.cfg", "driver/host_xrt.py": "host_xrt.py"}
    else:
        out["vivado/build_system.tcl"] = "build_system.tcl"
    if view["zynq"]:
        out["driver/driver.py"] = "driver_pynq.py"
    result = {path: render.get_template(f"{name}.j2").render(view).encode() for path, name in out.items()}
    if view["xrt"]:
        kernel = render.get_template("kernel.cfg.j2")
        for name in ("mm2s", STREAM_TOP, "s2mm"):
            result[f"vivado/{name}.cfg"] = kernel.render(view, kernel=name).encode()
    return result


def _view(design: Design) -> dict[str, Any]:
    """What the templates see: numbers and checked words."""
    board, described, report = design.board, codegen.describe(design), estimate.estimate(design)
    used, available = report.resources.json(), board.available.json()
    ends = {"input": described["input"], "output": described["output"]}
    return {
        **board_view(board, design.clock_mhz),
        "version": __version__,
        "digest": design.digest,
        "top": codegen.TOP,
        "stream_top": STREAM_TOP,
        "cflags": codegen.CFLAGS,
        "length_bits": LENGTH_BITS,
        "slaves": 1,  # memory ports of the processor in use
        "maps": False,  # images are streamed
        # Zynq UltraScale+ has memory above 4 GiB; its addresses have 40 bits.
        "address_bits": 40 if board.processor == "zynq_ultra_ps_e" else 32,
        **ends,
        **{f"{end}_python": [f'"{key}": {value!r}' for key, value in table.items()] for end, table in ends.items()},
        "input_burst": burst(ends["input"]["axis_bits"], board),
        "output_burst": burst(ends["output"]["axis_bits"], board),
        "interval": report.interval_cycles,
        "fps": f"{report.fps:.6g}",
        "latency_ms": f"{report.latency_ms:.4g}",
        "resources": [(k.upper(), n, available[k]) for k, n in used.items() if available[k]],
    }


def board_view(board: Board, clock_mhz: float) -> dict[str, Any]:
    """What templates see of a board and its clock. Raises BoardSystemError."""
    _check(board)
    return {
        "board": board.name,
        "part": board.part,
        # Any version of the board's files will do.
        "board_parts": f"{board.board_part.rpartition(':')[0]}:*" if board.board_part else "",
        "processor": board.processor,
        "zynq": board.processor in ("zynq_ultra_ps_e", "processing_system7"),
        "xrt": board.processor == "xrt",
        "bank": "HBM[0]" if board.part.startswith(_HBM) else "DDR[0]",
        "clock_mhz": clock_mhz,
        "clock_ns": round(1e3 / clock_mhz, 4),
    }


def burst(axis_bits: int, board: Board) -> int:
    """Longest AXI burst in beats: 16 for the AXI3 ports of Zynq-7000, else 64, and no more than 4 KiB (AXI4)."""
    longest = 16 if board.processor == "processing_system7" else 64
    return min(longest, 4096 * 8 // axis_bits)


def _check(board: Board) -> None:
    if board.processor not in PROCESSORS:
        raise BoardSystemError(
            f"board {board.name!r}: system.processor {board.processor!r} is not one of {', '.join(PROCESSORS)}"
        )
    for key, value in (("name", board.name), ("part", board.part), ("system.board_part", board.board_part or "-")):
        if not _ATOM.match(value):
            raise BoardSystemError(f"board {board.name!r}: {key} has characters no part or board name has: {value!r}")
