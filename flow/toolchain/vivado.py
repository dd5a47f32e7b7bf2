"""Vivado on a synthesised project, out of context: ``vivado/ooc.tcl`` run, its reports of resources and timing read.

Needs the IP that an HLS tool exported into ``hls/``. ``synth/vivado.json`` records the digest of the script and the IP
and of the reports, so that nothing is run twice; reports count only when they are newer than the start of the run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

from flow.toolchain import parse_log
from flow.toolchain.parse import ReportError, ToolReport, parse
from flow.toolchain.runner import ToolError, run
from flow.toolchain.vendor import Tool, version_of

REPORTS = ("report/ooc_utilization.rpt", "report/ooc_timing.rpt")
SCRIPT = "vivado/ooc.tcl"
RECORD = "synth/vivado.json"
_MESSAGE_CHARACTERS = 300


def available() -> Tool | None:
    """Vivado, when it is on PATH."""
    program = shutil.which("vivado", path=os.environ.get("PATH", ""))
    return Tool("vivado", program, version_of(program, "-version")) if program else None


def choose() -> Tool:
    """Vivado. Raises ToolError where it is not installed."""
    tool = available()
    if tool is None:
        raise ToolError("vivado is not available: vivado not on PATH; flow synth --impl asks the HLS tool instead")
    return tool


def implement(tool: Tool, project_dir: Path, timeout_s: float) -> list[ToolReport]:
    """Reports of the placed and routed accelerator, alone on its part: utilization, then timing.

    Returns at once when the same IP was done before. Raises ToolError: no IP (synthesise first), Vivado failed (its
    message is quoted: licence, part, missed timing), hung, or left no usable report.
    """
    project_dir = Path(project_dir)
    if not (project_dir / SCRIPT).is_file():
        raise ToolError(f"{project_dir / SCRIPT} does not exist: {project_dir} is no compiled project")
    key = _key(tool, project_dir)
    if (done := _recorded(project_dir, key)) is not None:
        return done
    began = time.time()
    log = project_dir / "synth" / "vivado-ooc.log"
    command = [tool.path, "-mode", "batch", "-nojournal", "-nolog", "-source", Path(SCRIPT).name]
    result = run([command], (project_dir / SCRIPT).parent, timeout_s, log_path=log)
    if result.timed_out:
        raise ToolError(f"vivado did not finish in {timeout_s:g} s; all its processes were ended")
    if result.rc != 0:
        raise ToolError(f"vivado failed with status {result.rc}: {_quote(result.log_tail)} (log: {log})")
    old = [n for n in REPORTS if not (project_dir / n).is_file() or (project_dir / n).stat().st_mtime < began - 1.0]
    if old:
        raise ToolError(f"vivado ended well but wrote no {old[0]}: {_quote(result.log_tail)}")
    reports = _read(project_dir)
    record = {"digest": key, "reports": {n: _sha256(project_dir / n) for n in REPORTS}}
    half = (project_dir / RECORD).with_suffix(".tmp")
    half.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    half.replace(project_dir / RECORD)
    return reports


def _read(project_dir: Path) -> list[ToolReport]:
    try:
        found = [r for n in REPORTS for r in parse(project_dir / n)]
    except ReportError as bad:
        raise ToolError(f"vivado left a report that cannot be used: {bad}") from None
    kinds = [r.kind for r in found]
    if kinds != ["utilization", "timing"]:
        raise ToolError(f"vivado left reports of {', '.join(kinds)} under {project_dir}, not of utilization and timing")
    return found


def _key(tool: Tool, project_dir: Path) -> str:
    """Digest of the tool, the script and the exported IP: its RTL and its description."""
    ips = sorted(p.parent for p in (project_dir / "hls").rglob("component.xml"))
    if not ips:
        raise ToolError(f"{project_dir / 'hls'} holds no exported IP: flow synth {project_dir} --impl, or export it")
    digest = hashlib.sha256(json.dumps([tool.name, tool.version, _sha256(project_dir / SCRIPT)]).encode())
    for ip in ips:
        for path in sorted(
            p for p in ip.rglob("*") if p.is_file() and p.suffix in (".v", ".vhd", ".xml", ".dat", ".tcl")
        ):
            digest.update(json.dumps([path.relative_to(project_dir).as_posix(), _sha256(path)]).encode())
    return digest.hexdigest()


def _recorded(project_dir: Path, key: str) -> list[ToolReport] | None:
    try:
        done = json.loads((project_dir / RECORD).read_text(encoding="utf-8"))
        if done["digest"] != key or any(_sha256(project_dir / n) != d for n, d in done["reports"].items()):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # no record, or a damaged one: the run is simply done again
    return _read(project_dir)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _quote(log: str) -> str:
    """The tool's own words on one line: its explaining error, else the last line it wrote."""
    lines = [line for line in log.splitlines() if line.strip()]
    text = parse_log.reason(log) or (lines[-1] if lines else "it wrote nothing")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= _MESSAGE_CHARACTERS else text[: _MESSAGE_CHARACTERS - 3] + "..."
