"""Vivado's ``report_utilization``, ``report_timing_summary`` and ``report_timing``.

"CLB LUTs" (UltraScale) and "Slice LUTs" (7 series) are the same column, and so are the registers. A "Block RAM Tile" is
36 Kb: two of the 18 Kb units of ``resources``; the tiles themselves stand in ``details["bram36"]``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from flow.toolchain.parse_table import Table, is_row, is_rule, read_table
from flow.toolchain.parse_values import ReportError, ToolReport, amounts, count, decimal, over_device

UTILIZATION = re.compile(r"^Utilization Design Information\s*$", re.MULTILINE)
TIMING = re.compile(r"^Timing (?:Summary )?Report\s*$", re.MULTILINE)
_HEAD = re.compile(r"^\| (Tool Version|Command|Design|Device|Design State|Speed File) *: (.*?) *$", re.MULTILINE)
_VERSION = re.compile(r"(Vivado) v\.(\S+)")
_CONTENTS = re.compile(r"^\d+(?:\.\d+)*\.? \S.*$")
_STATES = {
    "Synthesized": "synthesis",
    "Optimized": "optimized",
    "Fully Placed": "placed",
    "Placed": "placed",
    "Physopt postPlace": "placed",
}
_STATES |= {"Routed": "routed", "Physopt postRoute": "routed"}


def _head(text: str) -> dict[str, str]:
    return {m[1]: m[2] for m in _HEAD.finditer(text[:8192])}


def _common(text: str) -> dict[str, Any]:
    head = _head(text)
    version = _VERSION.search(head.get("Tool Version", ""))
    return {
        "tool": version[1] if version else None,
        "tool_version": version[2] if version else None,
        "part": head.get("Device") or None,
        "top": head.get("Design") or None,
    }


def read_utilization(text: str, where: str) -> list[ToolReport]:
    """One report. Raises ReportError where a section of the report's own table of contents is missing."""
    lines = text.split("\n")
    if _HIERARCHY in text:
        return [_hierarchy(text, lines, where)]
    _whole(lines, where)
    sites, primitives = _sites(lines, where)
    used, available, warnings = _resources(sites, where)
    tiles, of = sites.get("Block RAM Tile", _NOTHING)[:2]
    state = _head(text).get("Design State")
    return [
        ToolReport(
            file=where,
            kind="utilization",
            **_common(text),
            resources=used,
            available=available,
            warnings=tuple(over_device(used, available) + warnings),
            details={
                "stage": _STATES.get(state or "", state),
                "bram36": decimal(tiles, where),
                "bram36_available": decimal(of, where),
                "primitives": primitives,
            },
        )
    ]


def _whole(lines: list[str], where: str) -> None:
    """Every line of the table of contents stands again as an underlined heading, the last one with a closed table."""
    try:
        start = lines.index("Table of Contents")
    except ValueError:
        raise ReportError(f"{where}: no table of contents: the report is truncated or damaged") from None
    contents = []
    for line in lines[start + 2 :]:
        if not _CONTENTS.match(line):
            break
        contents.append(line.strip())
    underlined = {a.strip() for a, b in pairwise(lines) if b.startswith("---") and _CONTENTS.match(a)}
    for heading in contents:
        if heading not in underlined:
            raise ReportError(f"{where}: no section {heading!r}: the report is truncated or damaged")
    if len(contents) < 3:
        raise ReportError(f"{where}: a table of contents of {len(contents)} lines: the report is truncated or damaged")
    after = lines[max(i for i, line in enumerate(lines) if line.strip() == contents[-1]) :]
    if not any(is_rule(line) for line in after):
        raise ReportError(f"{where}: nothing in the last section {contents[-1]!r}: the report is truncated")


_HIERARCHY = "1. Utilization by Hierarchy\n---"
_BY_INSTANCE = {
    "lut": ("Total LUTs",),
    "ff": ("FFs",),
    "dsp": ("DSP48 Blocks", "DSP Blocks", "DSP Slices"),
    "uram": ("URAM",),
}


def _hierarchy(text: str, lines: list[str], where: str) -> ToolReport:
    """``report_utilization -hierarchical``: the first row is the top, an instance's depth its indent."""
    start = next((i for i, line in enumerate(lines) if is_rule(line)), None)
    if start is None:
        raise ReportError(f"{where}: no table of instances: the report is truncated")
    table, _ = read_table(lines, start, where)
    if not {"Instance", "Module", "Total LUTs", "FFs", "RAMB36", "RAMB18"} <= set(table.columns) or not table.rows:
        raise ReportError(f"{where}: the table of instances has unknown columns: the report is damaged")
    rows: list[dict[str, Any]] = []
    for cell, row in zip(table.first, table.dicts(), strict=True):
        used = {n: count(next((row[c] for c in cs if c in row), None), where) for n, cs in _BY_INSTANCE.items()}
        wide, narrow = count(row["RAMB36"], where), count(row["RAMB18"], where)
        used["bram18"] = None if wide is None or narrow is None else 2 * wide + narrow
        depth = (len(cell) - len(cell.lstrip()) - 1) // 2
        rows.append({"name": row["Module"], "instance": row["Instance"], "depth": depth, "resources": amounts(used)})
    state = _head(text).get("Design State")
    return ToolReport(
        file=where,
        kind="utilization",
        **_common(text),
        resources=rows[0]["resources"],
        modules=tuple(rows[1:]),
        details={"stage": _STATES.get(state or "", state)},
    )


Site = tuple[str | None, str | None, str | None]
Sites = dict[str, Site]
_NOTHING: Site = (None, None, None)


def _sites(lines: list[str], where: str) -> tuple[Sites, dict[str, int | None]]:
    """Site type -> (used, available, percent) of the first table that has it, and primitive -> count."""
    sites: Sites = {}
    primitives: dict[str, int | None] = {}
    i = 0
    while i < len(lines):
        if not is_rule(lines[i]):
            if is_row(lines[i]) and not lines[i].startswith("| "):
                raise ReportError(f"{where}: line {i + 1} is a row outside any table: the report is damaged")
            i += 1
            continue
        table, i = read_table(lines, i, where)
        if table.columns[0] == "Site Type" and "Used" in table.columns:
            _note_sites(table, sites)
        elif table.columns[:2] == ("Ref Name", "Used") and len(table.columns) == 3:
            primitives.update({r["Ref Name"]: count(r["Used"], where) for r in table.dicts()})
    return sites, primitives


def _note_sites(table: Table, sites: Sites) -> None:
    for row in table.dicts():
        # A star or two marks a footnote.
        sites.setdefault(row["Site Type"].rstrip("*"), (row["Used"], row.get("Available"), row.get("Util%")))


_LUTS = ("CLB LUTs", "Slice LUTs")
_REGISTERS = ("CLB Registers", "Slice Registers", "Registers")


def _resources(sites: Sites, where: str) -> tuple[dict[str, int | None], dict[str, int | None], list[str]]:
    used: dict[str, int | None] = {}
    available: dict[str, int | None] = {}
    warnings = []
    for name, types in (("lut", _LUTS), ("ff", _REGISTERS), ("dsp", ("DSPs", "DSP Slices")), ("uram", ("URAM",))):
        site = next((t for t in types if t in sites), None)
        if site is not None:
            used[name], available[name] = (count(c, where) for c in sites[site][:2])
            warnings += _percent(site, sites[site], where)
        elif name in ("lut", "ff"):
            raise ReportError(f"{where}: no row {' or '.join(types)}: the report is truncated or damaged")
    warnings += [f"report: no row {row!r}" for row in ("Block RAM Tile",) if row not in sites]
    warnings += ["report: no row 'DSPs'"] if "dsp" not in used else []
    if "Block RAM Tile" in sites:
        tiles, of = (decimal(c, where) for c in sites["Block RAM Tile"][:2])
        used["bram18"], available["bram18"] = (None if t is None else _halves(t, where) for t in (tiles, of))
        warnings += _percent("Block RAM Tile", sites["Block RAM Tile"], where) + _parts(sites, used["bram18"], where)
    return amounts(used), amounts(available), warnings


def _halves(tiles: float, where: str) -> int:
    """18 Kb units of a number of 36 Kb tiles: only halves of a tile exist."""
    if tiles < 0 or not (2 * tiles).is_integer():
        raise ReportError(f"{where}: {tiles:g} block RAM tiles are no multiple of a half: the report is damaged")
    return int(2 * tiles)


def _parts(sites: Sites, bram18: int | None, where: str) -> list[str]:
    wide, narrow = (count(sites.get(s, _NOTHING)[0], where) for s in ("RAMB36/FIFO", "RAMB18"))
    if bram18 is None or wide is None or narrow is None or 2 * wide + narrow == bram18:
        return []
    return [f"bram18: {bram18} in the row of tiles, but {wide} RAMB36 and {narrow} RAMB18"]


def _percent(site: str, cells: Site, where: str) -> list[str]:
    """The printed percentage, two decimals, checks both numbers before it."""
    used, available = decimal(cells[0], where), decimal(cells[1], where)
    printed = (cells[2] or "").strip()
    if used is None or not available or not printed:
        return []
    share = 100 * used / available
    fits = 0 < share < 0.01 if printed.startswith("<") else abs(share - (decimal(printed, where) or 0.0)) <= 0.00501
    return [] if fits else [f"{site}: {used:g} of {available:g} is not the printed {printed} %"]


def read_timing(text: str, where: str) -> list[ToolReport]:
    """One report. A timing summary gives ``wns_ns``; a list of paths only ``details["worst_path_slack_ns"]``."""
    lines = text.split("\n")
    summary = _summary(lines, where) if "Timing Summary Report" in text else None
    paths = _paths(lines, where)
    if summary is None and not any(_SLACK.match(line) or "No timing paths found" in line for line in lines):
        raise ReportError(f"{where}: no timing path in it: the report is truncated")
    clocks = _clocks(lines, where) if summary is not None else []
    state = _head(text).get("Design State")
    fastest = min((p for _, p in clocks if p is not None), default=None)
    return [
        ToolReport(
            file=where,
            kind="timing",
            **_common(text),
            clock_target_ns=fastest if summary is not None else _period(text, where),
            wns_ns=summary["WNS(ns)"] if summary is not None else None,
            warnings=tuple(_doubts(text, summary)) if summary is not None else (),
            details={
                "stage": _STATES.get(state or "", state),
                "summary": summary,
                "clocks": [{"name": n, "period_ns": p} for n, p in clocks],
                "worst_path_slack_ns": min(paths, default=None),
            },
        )
    ]


_COLUMN = re.compile(r"\S+(?: \S+)*")


def _under(lines: list[str], title: str, where: str) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of the table below a ``| title`` heading: names, a line of dashes, rows up to an empty line."""
    start = next((i for i, line in enumerate(lines) if line.strip() == f"| {title}"), None)
    if start is None:
        raise ReportError(f"{where}: no section {title!r}: the report is truncated or damaged")
    i = start + 1
    while i < len(lines) and not (
        lines[i].strip() and set(lines[i].strip()) <= {"-", " "} and " -" in lines[i].strip()
    ):
        if lines[i].startswith("| ") and i > start + 1 and not lines[i].startswith("| -"):
            break
        i += 1
    if i >= len(lines) or not set(lines[i].strip()) <= {"-", " "}:
        raise ReportError(f"{where}: no table below {title!r}: the report is truncated or damaged")
    columns = _COLUMN.findall(lines[i - 1])
    rows: list[list[str]] = []
    for line in lines[i + 1 :]:
        if not line.strip():
            return columns, rows
        rows.append(line.split())
    raise ReportError(f"{where}: the table below {title!r} has no end: the report is truncated")


_SLACKS = ("WNS(ns)", "TNS(ns)", "TNS Failing Endpoints", "TNS Total Endpoints", "WHS(ns)", "THS(ns)")


def _summary(lines: list[str], where: str) -> dict[str, float | None]:
    columns, rows = _under(lines, "Design Timing Summary", where)
    if "WNS(ns)" not in columns or len(rows) != 1 or len(rows[0]) != len(columns):
        raise ReportError(f"{where}: the design timing summary is damaged")
    if not any(line.startswith("| Timing Details") or line.startswith("| Other Path Groups") for line in lines):
        raise ReportError(f"{where}: nothing after the design timing summary: the report is truncated")
    return {c: decimal(v, where) for c, v in zip(columns, rows[0], strict=True)}


def _clocks(lines: list[str], where: str) -> list[tuple[str, float | None]]:
    """Clock names and periods in ns: ``name {rise fall} period frequency``."""
    found = []
    for row in _under(lines, "Clock Summary", where)[1]:
        if len(row) >= 4:
            found.append((row[0], decimal(row[-2], where)))
    return found


_SLACK = re.compile(r"^Slack(?: \((?:MET|VIOLATED)\))? *: +(\S+?)(?:ns)?(?: |$)")


def _paths(lines: list[str], where: str) -> list[float]:
    """Setup slacks of the listed paths. Each path ends with its slack: one that does not means the file was cut."""
    found = []
    begun = 0
    for i, line in enumerate(lines):
        if m := _SLACK.match(line):
            begun += 1
            value = decimal(m[1], where)
            if value is not None and any("Setup" in nearby for nearby in lines[i + 1 : i + 8]):
                found.append(value)
        elif line.lstrip().startswith("slack  "):
            begun -= 1
    unconstrained = sum(1 for line in lines if line.startswith("Slack:") and line.rstrip().endswith("inf"))
    if begun > unconstrained:
        raise ReportError(f"{where}: {begun} timing paths have no end: the report is truncated or damaged")
    return found


_REQUIREMENT = re.compile(r"^ +Requirement: +(\d+\.\d+)ns", re.MULTILINE)


def _period(text: str, where: str) -> float | None:
    """The requirement of the first path: one clock period for a path inside one clock."""
    m = _REQUIREMENT.search(text)
    return decimal(m[1], where) if m else None


def _doubts(text: str, summary: Mapping[str, float | None]) -> list[str]:
    found = []
    wns, tns, failing = (summary.get(c) for c in _SLACKS[:3])
    if wns is not None and failing is not None and (wns < 0) != (failing > 0):
        found.append(f"setup: worst slack {wns:g} ns, but {failing:g} failing endpoints")
    if wns is not None and tns is not None and (wns < 0) != (tns < 0):
        found.append(f"setup: worst slack {wns:g} ns, but total negative slack {tns:g} ns")
    met = "All user specified timing constraints are met." in text
    slacks = [summary.get(c) for c in ("WNS(ns)", "WHS(ns)", "WPWS(ns)")]
    if met and any(s is not None and s < 0 for s in slacks):
        found.append("timing: a negative slack contradicts 'All user specified timing constraints are met.'")
    if "Timing constraints are not met." in text and all(s is not None and s >= 0 for s in slacks):
        found.append("timing: no negative slack, but 'Timing constraints are not met.'")
    if wns is not None and wns < 0:
        found.append(f"timing: worst slack {wns:g} ns: the clock is not met")
    return found
