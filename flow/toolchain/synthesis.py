"""Which installed tool synthesises what: a whole project with a vendor's, one of its processes with an open one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flow.toolchain import bambu, vendor, vivado
from flow.toolchain.runner import ToolError


def reports(folder: Path, toolchain: str, block: str | None, timeout_s: float, impl: bool) -> list[dict[str, Any]]:
    """Reports as JSON values. ``block``: a process of the project, which only Bambu takes.

    Raises ToolError: no tool, a request that the tool cannot serve, or a run that failed.
    """
    if toolchain == "bambu" or block is not None:
        if block is None:
            raise ToolError("bambu takes one process, not a whole project: give --block PROCESS, as in design.json")
        if toolchain not in ("bambu", "auto"):
            raise ToolError(f"--block is for --toolchain bambu; {toolchain} takes the whole project")
        if impl:
            raise ToolError("--impl is for Vivado; bambu ends with simulated RTL")
        return [bambu.synthesise_block(bambu.choose(), folder, block, timeout_s).json()]
    if toolchain == "vivado":
        return [r.json() for r in vivado.implement(vivado.choose(), folder, timeout_s)]
    tool = vendor.choose(toolchain)
    if tool is None:
        raise ToolError(
            "no HLS tool on PATH (vitis-run, vitis_hls, vivado_hls): install one, or stay with the estimate"
        )
    return [r.json() for r in vendor.synthesise(tool, folder, timeout_s, impl=impl)]
