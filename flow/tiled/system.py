"""Program -> what surrounds the engines: block design or link configuration, driver, README of the project."""

from __future__ import annotations

from typing import Any

from flow import __version__, codegen, system
from flow.tiled.program import Program
from flow.tiled.render import describe, map_view

# An engine's ports in the order in which they take the processor's memory ports in turn, as in the estimate (`nest`).
# Results go with the maps, since writes have channels of their own; the few instructions with the last of them.
READS = ("maps", "weights", "residuals")


def files(program: Program, top: str = codegen.TOP) -> dict[str, bytes]:
    """Files under ``vivado/`` and ``driver/``, and ``README.md`` (path relative to the project -> content).

    Raises BoardSystemError for an unknown processor and for a board whose names are not plain words.
    """
    view = _view(program, top)
    render = codegen.environment()
    view["exported_ip"] = render.get_template("exported_ip.tcl.j2").render(view)
    out = {"README.md": "engine_readme.md", "vivado/ooc.tcl": "ooc.tcl", "driver/images.py": "driver_images.py"}
    if view["xrt"]:
        out |= {f"vivado/{top}.cfg": "engine_kernel.cfg", "vivado/link.cfg": "engine_link.cfg"}
        out["driver/host_xrt.py"] = "engine_xrt.py"
    elif view["zynq"]:
        out |= {"vivado/build_system.tcl": "engine_system.tcl", "driver/driver.py": "engine_pynq.py"}
    else:
        out["vivado/build_system.tcl"] = "build_system.tcl"
    return {path: render.get_template(f"{name}.j2").render(view).encode() for path, name in out.items()}


def wiring(copies: int, ports: int) -> list[list[tuple[int, str]]]:
    """Which engine's port (copy, name) is on which of the processor's memory ports."""
    found: list[list[tuple[int, str]]] = [[] for _ in range(copies * ports)]
    for copy in range(copies):
        for k, name in enumerate(READS):
            found[copy * ports + k % ports].append((copy, name))
        found[copy * ports].append((copy, "results"))
        found[copy * ports + min(ports, len(READS)) - 1].append((copy, "program"))
    return [slave for slave in found if slave]


def _view(program: Program, top: str) -> dict[str, Any]:
    """What the templates see: numbers and checked words."""
    d, described = program.design, describe(program)
    report, granule = d.report(), d.engine.granule
    used, available = report.resources.json(), d.board.available.json()
    ends = {}
    for end, tensor in (("input", "input"), ("output", d.graph.output)):
        mapped = map_view(program, end, tensor)
        kept = {key: mapped[key] for key in ("start", "row", "pixel")}
        ends[end] = {k: v for k, v in described[end].items() if k not in ("first_word", "image_words")} | kept
        ends[end]["image_bytes"] = mapped["image_words"] * granule
    slaves = wiring(d.copies, d.engine.ports)
    return {
        **system.board_view(d.board, d.clock_mhz),
        "version": __version__,
        "digest": d.digest,
        "top": top,
        "cflags": codegen.CFLAGS,
        "maps": True,
        "slaves": len(slaves),
        "wiring": slaves,
        "copies": d.copies,
        "batch": d.batch,
        "tm": d.engine.tm,
        "tn": d.engine.tn,
        "memory_bytes": program.arena.words * granule,
        "first_in": described["input"]["first_word"] * granule,
        "first_out": described["output"]["first_word"] * granule,
        "instructions": len(program.records),
        "weight_bytes": len(program.weights),
        "program_bytes": program.records.size * 4,
        **ends,
        **{f"{end}_python": [f'"{key}": {value!r}' for key, value in table.items()] for end, table in ends.items()},
        "interval": report.interval_cycles,
        "fps": f"{report.fps:.6g}",
        "latency_ms": f"{report.latency_ms:.4g}",
        "traffic_mb": f"{d.traffic_bytes / d.batch / 1e6:.4g}",
        "resources": [(k.upper(), n, available[k]) for k, n in used.items() if available[k]],
    }
