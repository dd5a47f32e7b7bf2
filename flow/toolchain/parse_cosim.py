"""The C/RTL co-simulation report of Vivado HLS and Vitis HLS: measured latency and interval."""

from __future__ import annotations

import re

from flow.toolchain import checks
from flow.toolchain.parse_table import is_row, is_rule
from flow.toolchain.parse_values import ReportError, ToolReport, count

TITLE = re.compile(r"^\s*\+\s+RTL\s+\+\s+Status\s+\+", re.MULTILINE)
_SOLUTION = re.compile(r"^Solution +: (.*?)\.?\s*$", re.MULTILINE)
_SIMULATOR = re.compile(r"^Simulation tool +: (.*?)\.?\s*$", re.MULTILINE)
_LANGUAGES = ("VHDL", "Verilog", "SystemC")


def read(text: str, where: str) -> list[ToolReport]:
    """One report: the language that was simulated. Raises ReportError where the table is cut or damaged."""
    lines = text.split("\n")
    rows: dict[str, list[str]] = {}
    last = ""
    for line in lines:
        if is_row(line):
            cells = [c.strip() for c in line.strip().strip("|").split("|")]
            if cells[0] in _LANGUAGES:
                if len(cells) not in (8, 9) or cells[0] in rows:
                    raise ReportError(f"{where}: the co-simulation row {cells[0]} is damaged")
                rows[cells[0]] = cells
        if line.strip():
            last = line
    if not rows or not is_rule(last):
        raise ReportError(f"{where}: the co-simulation table has no end: the report is truncated")
    ran = {name: cells for name, cells in rows.items() if cells[1].upper() != "NA"}
    return [_report(text, *_chosen(ran, rows), where)]


def _chosen(ran: dict[str, list[str]], rows: dict[str, list[str]]) -> tuple[str | None, list[str], list[str]]:
    """The simulated language (the first that passed), its cells, and what there is to say about the others."""
    if not ran:
        return None, next(iter(rows.values())), ["co-simulation: nothing was simulated"]
    passed = [n for n in ran if ran[n][1].lower() == "pass"]
    name = (passed or list(ran))[0]
    warnings = [f"co-simulation: {n} status {cells[1]}" for n, cells in ran.items() if cells[1].lower() != "pass"]
    warnings += [f"co-simulation: {n} measured other cycles than {name}" for n in passed if ran[n][2:] != ran[name][2:]]
    return name, ran[name], warnings


def _report(text: str, language: str | None, cells: list[str], warnings: list[str], where: str) -> ToolReport:
    latency_min, latency_avg, latency_max, interval_min, interval_avg, interval_max = (
        count(c, where) for c in cells[2:8]
    )
    solution, simulator = _SOLUTION.search(text), _SIMULATOR.search(text)
    ordered = checks.disordered((latency_min, latency_max), (interval_min, interval_max))
    return ToolReport(
        file=where,
        kind="cosim",
        latency_min=latency_min,
        latency_max=latency_max,
        interval_min=interval_min,
        interval_max=interval_max,
        warnings=tuple(warnings + ordered),
        details={
            "stage": "cosim",
            "status": cells[1] if language else None,
            "language": language,
            "simulator": simulator[1] if simulator else None,
            "solution": solution[1] if solution else None,
            "latency_average": latency_avg,
            "interval_average": interval_avg,
            "execution_cycles": count(cells[8], where) if len(cells) == 9 else None,
        },
    )
