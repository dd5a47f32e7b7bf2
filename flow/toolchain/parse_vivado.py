"""Vivado's ``report_utilization``.

"CLB LUTs" (UltraScale) and "Slice LUTs" (7 series) are the same column, and so are the registers. A "Block RAM Tile" is
36 Kb: two of the 18 Kb units of ``resources``; the tiles themselves stand in ``details["bram36"]``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from flow.toolchain import checks
from flow.toolchain.parse_table import Table, is_row, is_rule, read_table
from flow.toolchain.parse_values import ReportError, ToolReport, amounts, count, decimal

UTILIZATION = re.compile(r"^Utilization Design Information\s*$", re.MULTILINE)
_HEAD = re.compile(r"^\| (Tool Version|Command|Design|Device|Design State|Speed File) *: (.*?) *$", re.MULTILINE)
_VERSION = re.compile(r"(Vivado) v\.(\S+)")
_CONTENTS = re.compile(r"^\d+(?:\.\d+)*\.? \S.*$")
STATES = {
    "Synthesized": "synthesis",
    "Optimized": "optimized",
    "Fully Placed": "placed",
    "Placed": "placed",
    "Physopt postPlace": "placed",
}
STATES |= {"Routed": "routed", "Physopt postRoute": "routed"}


def head_of(text: str) -> dict[str, str]:
    return {m[1]: m[2] for m in _HEAD.finditer(text[:8192])}


def common(text: str) -> dict[str, Any]:
    head = head_of(text)
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
    sites, primitives, types = _sites(lines, where)
    used, available, warnings = _resources(sites, where)
    warnings += _counted(used, primitives) + (_types(types, used["ff"], where) if types else [])
    tiles, of = sites.get("Block RAM Tile", _NOTHING)[:2]
    state = head_of(text).get("Design State")
    return [
        ToolReport(
            file=where,
            kind="utilization",
            **common(text),
            resources=used,
            available=available,
            warnings=tuple(checks.over_device(used, available) + warnings),
            details={
                "stage": STATES.get(state or "", state),
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
    state = head_of(text).get("Design State")
    return ToolReport(
        file=where,
        kind="utilization",
        **common(text),
        resources=rows[0]["resources"],
        modules=tuple(rows[1:]),
        details={"stage": STATES.get(state or "", state)},
    )


Site = tuple[str | None, str | None, str | None]
Sites = dict[str, Site]
_NOTHING: Site = (None, None, None)


def _sites(lines: list[str], where: str) -> tuple[Sites, dict[str, int | None], Table | None]:
    """Site type -> (used, available, percent) of the first table that has it, primitive -> count, registers by type."""
    sites: Sites = {}
    types: Table | None = None
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
        elif table.columns[:2] == ("Total", "Clock Enable") and types is None:
            types = table
    return sites, primitives, types


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
    warnings += _sums(sites, where)
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
    """A tile is a RAMB36 or two RAMB18; Versal names them with their generation."""
    names = next((n for n in (("RAMB36/FIFO", "RAMB18"), ("RAMB36E5", "RAMB18E5")) if n[0] in sites), None)
    if names is None:
        return []
    wide, narrow = (count(sites.get(s, _NOTHING)[0], where) for s in names)
    if bram18 is None or wide is None or narrow is None or 2 * wide + narrow == bram18:
        return []
    return [f"bram18: {bram18} in the row of tiles, but {wide} {names[0]} and {narrow} {names[1]}"]


# A row and the rows below it that add up to it. Rows that a report does not have count nothing; a parent without any
# of its parts is not checked. Latches used as gates have a row on some families.
_SUMS = (
    (_LUTS, ("LUT as Logic", "LUT as Memory")),
    (("LUT as Memory",), ("LUT as Distributed RAM", "LUT as Shift Register")),
    (_REGISTERS, ("Register as Flip Flop", "Register as Latch", "Register as AND/OR")),
    (("DSPs",), ("DSP48E1 only", "DSP48E2 only", "DSP48E1", "DSP48E2")),
    (("RAMB36/FIFO",), ("RAMB36E1 only", "RAMB36E2 only", "FIFO36E1 only", "FIFO36E2 only")),
    (("RAMB18",), ("RAMB18E1 only", "RAMB18E2 only", "FIFO18E1 only", "FIFO18E2 only")),
)
_SAME = ((_LUTS, "LUT as Logic"), (_REGISTERS, "Register as Flip Flop"), (_REGISTERS, "Register as Latch"))


def _sums(sites: Sites, where: str) -> list[str]:
    """Rows against the rows below them, and every percentage of them."""
    found = []
    for names, parts in _SUMS:
        parent = next((n for n in names if n in sites), None)
        own = [p for p in parts if p in sites]
        if parent is None or not own:
            continue
        total, cells = count(sites[parent][0], where), [count(sites[p][0], where) for p in own]
        if total is not None and None not in cells and sum(c or 0 for c in cells) != total:
            found.append(f"{parent}: {total}, but {' and '.join(f'{c} {p}' for c, p in zip(cells, own, strict=True))}")
    for names, part in _SAME:
        parent = next((n for n in names if n in sites), None)
        if parent is not None and part in sites:
            pair = [(f"{part} available", sites[parent][1] or None, sites[part][1] or None)]
            found += checks.differences(pair, parent, part)
    for part in ("LUT as Logic", "LUT as Memory", "Register as Flip Flop", "RAMB36/FIFO", "RAMB18", "URAM"):
        found += _percent(part, sites[part], where) if part in sites else []
    return found


def _types(table: Table, registers: int | None, where: str) -> list[str]:
    """The summary of registers by type adds up to the registers; older reports of other families may leave it out."""
    cells = [count(r["Total"], where) for r in table.dicts()]
    total = sum(c or 0 for c in cells)
    if registers is None or not cells or None in cells or total == registers:
        return []
    return [f"ff: {registers} in the row of registers, {total} in the summary by type"]


_PRIMITIVES = (("dsp", ("DSP48E1", "DSP48E2")), ("uram", ("URAM288", "URAM288_BASE")))


def _counted(used: Mapping[str, int | None], primitives: Mapping[str, int | None]) -> list[str]:
    """Primitives of the netlist against the sites they take; a list without any of a kind says nothing."""
    found = []
    for name, refs in _PRIMITIVES:
        cells = [primitives[r] for r in refs if r in primitives]
        if cells and None not in cells and used.get(name) is not None and sum(c or 0 for c in cells) != used[name]:
            found.append(f"{name}: {used[name]} in the row of sites, {sum(c or 0 for c in cells)} in the primitives")
    return found


def _percent(site: str, cells: Site, where: str) -> list[str]:
    """The printed percentage, two decimals, checks both numbers before it."""
    used, available = decimal(cells[0], where), decimal(cells[1], where)
    printed = (cells[2] or "").strip()
    if used is None or not available or not printed:
        return []
    share = 100 * used / available
    fits = 0 < share < 0.01 if printed.startswith("<") else abs(share - (decimal(printed, where) or 0.0)) <= 0.00501
    return [] if fits else [f"{site}: {used:g} of {available:g} is not the printed {printed} %"]
