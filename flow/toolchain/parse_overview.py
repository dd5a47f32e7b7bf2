"""``csynth.rpt`` of Vitis HLS: one table with every module and loop of the design.

Its columns differ between versions (2025.2 reordered them), so all are found by name. It prints one latency per module,
the largest one, and ``-`` both for zero and for unknown.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from flow.toolchain import checks
from flow.toolchain.parse_csynth import general, version
from flow.toolchain.parse_device import device_amounts
from flow.toolchain.parse_table import Table, blocks
from flow.toolchain.parse_values import COLUMNS, ReportError, ToolReport, amounts, bounds, count, decimal, printed

TITLE = re.compile(r"^== Synthesis Summary Report of '([^'\n]*)'", re.MULTILINE)
_NAME = re.compile(r"(\s*)([+o]) (.*?)(\*?)\s*$")
_ESTIMATES = "Performance & Resource Estimates"
# In the order in which the tool writes them since 2022.1; earlier versions have the first.
_SECTIONS = ("HW Interfaces", "SW I/O Information", "Bind Op Report", "Pragma Report")


def read(text: str, where: str) -> list[ToolReport]:
    """One report. Raises ReportError where sections or the end of a table are missing."""
    title = TITLE.search(text)
    assert title is not None  # the caller found it
    found = blocks(text.split("\n"), where)
    head = general(text)
    sections = {b.path[0] for b in found}
    for section in _SECTIONS if (version(head) or "") >= "2022" else _SECTIONS[:1]:
        if section not in sections:
            raise ReportError(f"{where}: no section {section!r}: the report is truncated or damaged")
    table = next((b.table for b in found if b.table is not None and _ESTIMATES in b.path), None)
    if table is None or not table.columns[0].startswith("Modules"):
        raise ReportError(f"{where}: no table of modules and loops: the report is truncated or damaged")
    modules, loops = _rows(table, where)
    if not modules or modules[0]["name"] != title[1]:
        raise ReportError(f"{where}: the table of modules does not start with {title[1][:60]!r}: the report is damaged")
    return [
        ToolReport(
            file=where,
            kind="csynth",
            tool="Vitis HLS",
            tool_version=version(head),
            part=head.get("Target device") or None,
            top=title[1] or None,
            latency_max=modules[0]["latency_max"],
            interval_max=modules[0]["interval_max"],
            resources=modules[0]["resources"],
            loops=tuple(loops),
            modules=tuple(modules[1:]),
            warnings=tuple(_doubts(table, modules, loops, head.get("Target device", ""), where)),
            details={
                "stage": "csynth",
                "family": head.get("Product family") or None,
                "project": head.get("Project") or None,
                "solution": head.get("Solution") or None,
                "pipeline": modules[0]["pipeline"],
                "slack_ns": modules[0]["slack_ns"],
                "issue": modules[0]["issue"],
            },
        )
    ]


def _rows(table: Table, where: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Modules (``+``) and loops (``o``); ``depth`` of a loop counts the loops around it inside its module."""
    modules: list[dict[str, Any]] = []
    loops: list[dict[str, Any]] = []
    around: list[tuple[int, str, int]] = []  # indent, sign, index into its list
    for cell, row in zip(table.first, table.dicts(), strict=True):
        name = _NAME.match(cell)
        if name is None:
            raise ReportError(f"{where}: {cell.strip()[:40]!r} is neither module nor loop: the report is damaged")
        indent = len(name[1])
        while around and around[-1][0] >= indent:
            around.pop()
        if name[2] == "+":
            modules.append(_module(row, name[3], name[4] == "*", where))
            around.append((indent, "+", len(modules) - 1))
        else:
            outer = []
            for _, sign, index in reversed(around):
                if sign == "+":
                    break
                outer.append(index)
            owner = next((modules[i]["name"] for _, sign, i in reversed(around) if sign == "+"), None)
            loops.append(_loop(row, name[3], len(outer), outer[0] if outer else None, owner, where))
            around.append((indent, "o", len(loops) - 1))
    return modules, loops


_SHARE = re.compile(r"(\d{1,18}) \((~?)(\d{1,6})%\)$")


def _doubts(
    table: Table, modules: list[dict[str, Any]], loops: list[dict[str, Any]], part: str, where: str
) -> list[str]:
    """Percentages must leave room for one device, times for one clock, and a module holds what is inside it."""
    found = checks.loops(loops, None)
    for module in modules:
        kind = None if module["dataflow"] else module["pipeline"]
        ends = (None, module["latency_max"]), (None, module["interval_max"])
        found += [f"module {module['name']}: {w}" for w in checks.unpipelined(kind, *ends)]
        found += [
            f"module {module['name']}: {n}: {u} inside {modules[0]['resources'][n]}"
            for n, u in module["resources"].items()
            if u is not None and modules[0]["resources"][n] is not None and u > modules[0]["resources"][n]
        ]
    own = device_amounts(part)
    for column, name in COLUMNS.items():
        found += _shares(column, [row[column] for row in table.dicts() if column in row], own.get(name))
    return found + _clock(table, where)


def _shares(column: str, cells: Sequence[str], device: int | None) -> list[str]:
    """``133 (46%)``: whole percents, rounded down, of the device where it is known, else of one device in all rows."""
    found = []
    low, high = (1.0, math.inf) if device is None else (float(device), float(device))
    for cell in cells:
        m = _SHARE.match(cell)
        if m is None or not int(m[1]):
            continue
        hundredfold, percent = 100 * int(m[1]), 0 if m[2] else int(m[3])
        least, most = hundredfold / (percent + 1), hundredfold / percent if percent else math.inf
        if least >= high or most < low:
            found.append(f"{column}: {cell} does not fit the device" + (" of the rows above" if device is None else ""))
        else:
            low, high = max(low, least), min(high, most)
    return found


def _clock(table: Table, where: str) -> list[str]:
    """Every ``Latency (ns)`` is its cycles at one clock; four digits are printed."""
    found, low, high = [], 0.0, float("inf")
    for row in table.dicts():
        cycles, time = _cycles(row, where), printed(row.get("Latency (ns)"), where)
        if not cycles or time is None:
            continue
        least, most = (time.ns - 0.51 * time.step) / cycles, (time.ns + 0.51 * time.step) / cycles
        if least > high or most < low:
            found.append(f"latency: {cycles} cycles in {time.ns:g} ns, but the clock of the rows above is {low:.4g} ns")
        else:
            low, high = max(low, least), min(high, most)
    return found


def _cycles(row: Mapping[str, str], where: str) -> int | None:
    return bounds(row.get("Latency (cycles)"), where)[1]


def _module(row: Mapping[str, str], name: str, dataflow: bool, where: str) -> dict[str, Any]:
    # "133 (46%)": the amount, then its share of the device.
    used = {COLUMNS[c]: count(cell.partition("(")[0], where) for c, cell in row.items() if c in COLUMNS}
    return {
        "name": name,
        "instance": None,
        "latency_min": None,
        "latency_max": _cycles(row, where),
        "interval_min": None,
        "interval_max": bounds(row.get("Interval"), where)[1],
        "pipeline": row.get("Pipelined") or None,
        "dataflow": dataflow,
        "slack_ns": decimal(row.get("Slack"), where),
        "issue": None if row.get("Issue Type", "-") in ("-", "") else row["Issue Type"],
        "resources": amounts(used),
    }


def _loop(
    row: Mapping[str, str], name: str, depth: int, parent: int | None, module: str | None, where: str
) -> dict[str, Any]:
    trip, iteration = bounds(row.get("Trip Count"), where), bounds(row.get("Iteration Latency"), where)
    return {
        "name": name,
        "module": module,
        "depth": depth,
        "parent": parent,
        "trip_count_min": trip[0],
        "trip_count_max": trip[1],
        "latency_min": None,
        "latency_max": _cycles(row, where),
        "iteration_latency_min": iteration[0],
        "iteration_latency_max": iteration[1],
        "ii": bounds(row.get("Interval"), where)[1],
        "ii_target": None,
        "pipeline_depth": None,
        "pipelined": {"yes": True, "no": False}.get(row.get("Pipelined", "")),
    }
