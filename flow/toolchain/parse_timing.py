"""Vivado's ``report_timing_summary`` and ``report_timing``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from flow.toolchain.parse_values import ReportError, ToolReport, decimal
from flow.toolchain.parse_vivado import STATES, common, head_of

TIMING = re.compile(r"^Timing (?:Summary )?Report\s*$", re.MULTILINE)


def read_timing(text: str, where: str) -> list[ToolReport]:
    """One report. A timing summary gives ``wns_ns``; a list of paths only ``details["worst_path_slack_ns"]``."""
    lines = text.split("\n")
    summary = _summary(lines, where) if "Timing Summary Report" in text else None
    paths = _paths(lines, where)
    doubts = [*_requirements(text), *_endings(lines)]
    if summary is None and not any(_SLACK.match(line) or "No timing paths found" in line for line in lines):
        raise ReportError(f"{where}: no timing path in it: the report is truncated")
    clocks = _clocks(lines, where) if summary is not None else []
    state = head_of(text).get("Design State")
    fastest = min((p for _, p, _ in clocks if p is not None), default=None)
    doubts += _frequencies(clocks) + (_strangers(text, clocks) if clocks else [])
    return [
        ToolReport(
            file=where,
            kind="timing",
            **common(text),
            clock_target_ns=fastest if summary is not None else _period(text, where),
            wns_ns=summary["WNS(ns)"] if summary is not None else None,
            warnings=tuple(doubts + (_doubts(text, summary) + _worst(text, summary, paths) if summary else [])),
            details={
                "stage": STATES.get(state or "", state),
                "summary": summary,
                "clocks": [{"name": n, "period_ns": p} for n, p, _ in clocks],
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


_CLOCK = re.compile(r"(\S.*?) \{([-\d. ]*)\} (\S+) (\S+)$")


def _clocks(lines: list[str], where: str) -> list[tuple[str, float | None, float | None]]:
    """Clock names, periods in ns and frequencies in MHz: ``name {rise fall} period frequency``."""
    found = []
    for row in _under(lines, "Clock Summary", where)[1]:
        m = _CLOCK.match(" ".join(row))
        if m is None:
            raise ReportError(f"{where}: {' '.join(row)[:60]!r} is no clock: the report is damaged")
        found.append((m[1], decimal(m[3], where), decimal(m[4], where)))
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


_EDGES = re.compile(r"^ +Requirement: +(-?\d+\.\d+)ns  \(.*?@(-?\d+\.\d+)ns - .*?@(-?\d+\.\d+)ns\)", re.MULTILINE)
_LAST_DIGIT = 0.0011  # ns; times have three decimals, and Vivado rounds each of a sum by itself


def _requirements(text: str) -> list[str]:
    """A requirement is the time between the two edges it names."""
    found = []
    for whole, end, start in dict.fromkeys(m.groups() for m in _EDGES.finditer(text)):
        if abs(float(end) - float(start) - float(whole)) > _LAST_DIGIT:
            found.append(f"timing: a requirement of {whole} ns from {start} to {end} ns")
    return found


_NUMBER = re.compile(r"-?\d+\.\d+$")
_ENDING = re.compile(r"^ +(required time|arrival time|slack) +(-?\d+\.\d+) *$")


def _endings(lines: list[str]) -> list[str]:
    """At the end of a path stand required time, arrival time and their sum, which is the slack at its head."""
    found, head = [], ""
    end: dict[str, float] = {}
    for line in lines:
        if line.startswith("Slack") and (m := _SLACK.match(line)):
            head, end = m[1], {}
        elif line.startswith("    ") and (m := _ENDING.match(line)):
            end[m[1]] = float(m[2])
            if m[1] == "slack" and len(end) == 3:
                own = end["required time"] + end["arrival time"]
                if abs(own - end["slack"]) > _LAST_DIGIT:
                    found.append(f"timing: slack {end['slack']:g} ns, but required and arrival times give {own:.3f}")
                if _NUMBER.match(head) and abs(float(head) - end["slack"]) > 1e-6:
                    found.append(f"timing: slack {head} ns at the head of a path, {end['slack']:g} at its end")
    return found


def _frequencies(clocks: list[tuple[str, float | None, float | None]]) -> list[str]:
    """The clock summary gives each period and its frequency, three decimals both."""
    return [
        f"clock {name}: a period of {period:g} ns is not {mhz:g} MHz"
        for name, period, mhz in clocks
        if period is not None and mhz is not None and abs(period * mhz - 1000) > 0.00051 * (period + mhz)
    ]


_CLOCKED = re.compile(r" clocked by (\S+) +\{")


def _strangers(text: str, clocks: list[tuple[str, float | None, float | None]]) -> list[str]:
    """The clocks of the listed paths stand in the summary."""
    names = {name for name, _, _ in clocks}
    used = dict.fromkeys(_CLOCKED.findall(text))
    return [f"timing: no clock {name} in the clock summary, but paths of it" for name in used if name not in names]


def _worst(text: str, summary: Mapping[str, float | None], paths: list[float]) -> list[str]:
    """The worst slack is that of the worst listed path; with recovery paths, which are not listed here, no better."""
    wns = summary["WNS(ns)"]
    if wns is None or not paths or abs(wns - min(paths)) < _LAST_DIGIT:
        return []
    if wns < min(paths) and "Recovery (" in text:
        return []
    return [f"setup: worst slack {wns:g} ns, but {min(paths):g} ns in the worst path"]
