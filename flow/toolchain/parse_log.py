"""Logs of Vivado HLS, Vitis HLS and Vitis Unified: settings, and the messages that say why a run failed."""

from __future__ import annotations

import re

from flow.toolchain.parse_values import ReportError, ToolReport, count, nanoseconds

TITLE = re.compile(
    r"^(?:INFO|WARNING|ERROR|CRITICAL WARNING): \[|^\*{6} (?:Vitis|Vivado)|^Vivado\(TM\) HLS|^Vitis HLS - ",
    re.MULTILINE,
)
_MESSAGE = re.compile(r"^(ERROR|CRITICAL WARNING|WARNING): (.*\S)\s*$", re.MULTILINE)
_TOOL = re.compile(r"(?:\*{6} |^)(Vitis HLS|Vivado\(TM\) HLS|v\+\+|vitis-run)\b.* v(20\d\d\.\d(?:\.\d)?)", re.MULTILINE)
_PATH = re.compile(r"Running '[^'\n]*[/\\](Vitis_HLS|Vivado|Vitis)[/\\](20\d\d\.\d(?:\.\d)?)[/\\]")
_PART = re.compile(r"Setting target device to '([^'\n]+)'")
_TOP = re.compile(r"Running: set_top (\S+)|(?:^|\s)syn\.top=(\S+)", re.MULTILINE)
_PERIOD = re.compile(r"Setting up clock '[^'\n]*' with a period of ([0-9.]+)ns")
_UNCERTAINTY = re.compile(r"with an uncertainty of ([0-9.]+)ns")
_FMAX = re.compile(r"\*\*\*\* Estimated Fmax: ([0-9.]+) MHz")
_CLOSING = ("Total CPU user time", "Total elapsed time", "Exiting vitis_hls", "Exiting vivado_hls", "Exiting v++")
_TCL = re.compile(r"^(.*\S)\s*\n {4}while executing", re.MULTILINE)
_LISTED = 50  # messages kept: the first say what happened
LICENCE = re.compile(r"licen[sc]e|FLEXnet|LM_LICENSE|checkout failed", re.IGNORECASE)
PART = re.compile(
    r"\bpart\b.*(not (?:found|installed|support|valid)|invalid|does not exist|unknown|cannot)|(?:invalid|unknown) part",
    re.I,
)


def messages(text: str, level: str = "ERROR") -> list[str]:
    """Messages of one level, in order, each once and on one line."""
    return list(dict.fromkeys(m[2] for m in _MESSAGE.finditer(text) if m[1] == level))


def reason(text: str) -> str | None:
    """The message that explains a failed run: about the licence, then the part, the first error, or Tcl's own."""
    errors = messages(text)
    for wanted in (LICENCE, PART):
        if found := next((e for e in errors if wanted.search(e)), None):
            return found
    if errors:
        return errors[0]
    tcl = _TCL.search(text)
    return tcl[1] if tcl else None


def read(text: str, where: str) -> list[ToolReport]:
    """One report. A log has no end mark that every tool writes; one without any is reported as possibly cut."""
    if not TITLE.search(text):
        raise ReportError(f"{where}: no messages of an HLS tool in this log")
    tool, path = _TOOL.search(text), _PATH.search(text)
    part, top = _PART.search(text), _TOP.search(text)
    period, uncertainty = (_last(p, text, where) for p in (_PERIOD, _UNCERTAINTY))
    fmax = _last(_FMAX, text, where)
    warnings = (
        [] if any(mark in text[-8192:] for mark in _CLOSING) else ["log: no closing line of the tool: it may be cut"]
    )
    name = (
        tool[1].replace("(TM)", "")
        if tool
        else {"Vitis_HLS": "Vitis HLS", "Vivado": "Vivado HLS"}.get(path[1])
        if path
        else None
    )
    return [
        ToolReport(
            file=where,
            kind="log",
            tool=name,
            tool_version=tool[2] if tool else path[2] if path else None,
            part=part[1] if part else None,
            top=(top[1] or top[2]) if top else None,
            clock_target_ns=period,
            clock_estimated_ns=round(1000 / fmax, 3) if fmax else None,
            warnings=tuple(warnings),
            details={
                "clock_uncertainty_ns": uncertainty,
                "errors": messages(text)[:_LISTED],
                "critical_warnings": messages(text, "CRITICAL WARNING")[:_LISTED],
                "warning_count": len(messages(text, "WARNING")),
                "simulation_errors": _csim(text, where),
            },
        )
    ]


def _last(pattern: re.Pattern[str], text: str, where: str) -> float | None:
    found = pattern.findall(text)
    return nanoseconds(found[-1].rstrip("."), where) if found else None


def _csim(text: str, where: str) -> int | None:
    m = re.search(r"CSim done with (\d+) errors", text)
    return count(m[1], where) if m else None
