"""What Vivado made of an exported HLS design: ``<top>_export.rpt`` and, of Vitis HLS, ``export_impl.rpt``.

Block RAM is counted in 18 Kb units there. A file may hold the numbers after synthesis and after place and route; the
later stage wins and is named in ``details["stage"]``.
"""

from __future__ import annotations

import re

from flow.toolchain import checks
from flow.toolchain.parse_csynth import general, version
from flow.toolchain.parse_table import blocks
from flow.toolchain.parse_values import COLUMNS, ReportError, ToolReport, amounts, count, nanoseconds

TITLE = re.compile(
    r"^(?:#=== Post-(?:Synthesis|Implementation) Resource usage ==="
    r"|== (?:Place & Route|RTL Synthesis) Resource Summary)\s*$",
    re.MULTILINE,
)
_OLD_HEAD = {
    "tool": re.compile(r"^Implementation tool:\s*Xilinx (Vivado) v\.(\S+)", re.MULTILINE),
    "project": re.compile(r"^Project:\s*(\S.*?)\s*$", re.MULTILINE),
    "solution": re.compile(r"^Solution:\s*(\S.*?)\s*$", re.MULTILINE),
    "part": re.compile(r"^Device target:\s*(\S+)\s*$", re.MULTILINE),
}
_AMOUNT = re.compile(r"^([A-Z][A-Z0-9_]*): +(\S+) *$", re.MULTILINE)
_REQUIRED = re.compile(r"^CP required: *(\S.*?) *$", re.MULTILINE)
_ACHIEVED = re.compile(r"^CP achieved post-(synthesis|implementation): *(\S.*?) *$", re.MULTILINE)
_VERDICT = re.compile(r"^(?:\* )?Timing (?:was )?(not )?met\b", re.MULTILINE | re.IGNORECASE)


def read(text: str, where: str) -> list[ToolReport]:
    """One report. Raises ReportError where the verdict on timing, the last line, is missing."""
    if _VERDICT.search(text) is None:
        raise ReportError(f"{where}: no verdict on timing at the end: the report is truncated")
    return [_old(text, where) if _REQUIRED.search(text) else _new(text, where)]


_OTHER = ("SLICE", "SRL", "LATCH", "CLB")


def _resources(text: str, where: str) -> tuple[dict[str, int | None], str, list[str]]:
    """The amounts below the last heading of resources, the stage that heading names, and what is odd about them."""
    headings = list(TITLE.finditer(text))
    heading = headings[-1]
    placed = "Implementation" in heading[0] or "Route" in heading[0]
    found: dict[str, int | None] = {}
    odd: list[str] = []
    stop = re.compile(r"^#=== Final|^== (?:Place|RTL) .*Timing", re.MULTILINE).search(text, heading.end())
    for m in _AMOUNT.finditer(text, heading.end(), stop.start() if stop else len(text)):
        name = COLUMNS.get(m[1])
        if name is None and m[1] not in _OTHER:
            odd.append(f"report: unknown resource {m[1][:20]}")
        if name in found:
            raise ReportError(f"{where}: {m[1]} stands twice: the report is damaged")
        if name:
            found[name] = count(m[2], where)
    if {"lut", "ff"} - found.keys():
        raise ReportError(f"{where}: no LUT or FF in {heading[0].strip('#= ')!r}: the report is truncated or damaged")
    odd += [f"report: no {n} in it" for n in ("dsp", "bram18") if n not in found]
    return amounts(found), "implementation" if placed else "synthesis", odd


def _old(text: str, where: str) -> ToolReport:
    head = {name: pattern.search(text) for name, pattern in _OLD_HEAD.items()}
    used, stage, odd = _resources(text, where)
    required = _REQUIRED.search(text)
    target = nanoseconds(required[1] if required else None, where)
    achieved = {m[1]: nanoseconds(m[2], where) for m in _ACHIEVED.finditer(text)}
    if not achieved:
        raise ReportError(f"{where}: no achieved clock period: the report is truncated or damaged")
    if stage not in achieved:
        raise ReportError(f"{where}: resources after {stage}, but no clock period after {stage}: the report is damaged")
    tool, project, solution, part = (head[n] for n in ("tool", "project", "solution", "part"))
    return ToolReport(
        file=where,
        kind="export",
        tool="HLS export",
        tool_version=tool[2] if tool else None,
        part=part[1] if part else None,
        clock_target_ns=target,
        clock_estimated_ns=achieved[stage],
        resources=used,
        warnings=tuple(odd + checks.slower(target, achieved[stage]) + _verdict(text, target, achieved[stage])),
        details={
            "stage": stage,
            "implementation_tool": tool[1] if tool else None,
            "project": project[1] if project else None,
            "solution": solution[1] if solution else None,
            "clock_ns_by_stage": achieved,
        },
    )


def _new(text: str, where: str) -> ToolReport:
    found = blocks([line for line in text.split("\n") if not _AMOUNT.match(line)], where)
    table = next((b.table for b in found if b.table is not None and "Timing Summary" in b.path[0]), None)
    if table is None or len(table.columns) != 2:
        raise ReportError(f"{where}: no table of clock periods: the report is truncated or damaged")
    periods = {row[0]: nanoseconds(row[1], where) for row in table.rows}
    used, stage, odd = _resources(text, where)
    target = periods.get("Target")
    achieved = periods.get("Post-Route" if stage == "implementation" else "Post-Synthesis")
    head = general(text)
    return ToolReport(
        file=where,
        kind="export",
        tool="HLS export",
        tool_version=version(head),
        part=head.get("Target device") or None,
        clock_target_ns=target,
        clock_estimated_ns=achieved,
        resources=used,
        warnings=tuple(odd + checks.slower(target, achieved) + _verdict(text, target, achieved)),
        details={
            "stage": stage,
            "family": head.get("Product family") or None,
            "project": head.get("Project") or None,
            "solution": head.get("Solution") or None,
            "clock_ns_by_stage": {k.removeprefix("Post-").lower(): v for k, v in periods.items() if k != "Target"},
        },
    )


def _verdict(text: str, target: float | None, achieved: float | None) -> list[str]:
    verdict = _VERDICT.search(text)
    if verdict is None or target is None or achieved is None or (achieved <= target) == (verdict[1] is None):
        return []
    return [f"timing: {achieved:g} ns of {target:g} ns contradicts {verdict[0].strip('* ')!r}"]
