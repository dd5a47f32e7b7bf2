"""``parse(path)``: any report of an HLS tool or of Vivado, told apart by its content, as ``ToolReport`` values.

Known: csynth XML and text of Vivado HLS 2017.2 to Vitis 2025.2 (top and module, with all detail tables), the Vitis
overview, co-simulation, export (Vivado's synthesis or implementation of an exported design), Vivado utilisation and
timing, logs, ``hls_data.json``. Reading is bounded: logs beyond ``LOG_BYTES`` are read at both ends, other files beyond
``FILE_BYTES`` refused.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from flow.toolchain import (
    checks,
    parse_cosim,
    parse_csynth,
    parse_csynth_xml,
    parse_export,
    parse_json,
    parse_log,
    parse_overview,
    parse_timing,
    parse_vivado,
)
from flow.toolchain.parse_device import other_device
from flow.toolchain.parse_values import KINDS, RESOURCES, Reader, ReportError, ToolReport

__all__ = ["KINDS", "RESOURCES", "ReportError", "ToolReport", "parse", "read"]

FILE_BYTES = 64 << 20
LOG_BYTES = 8 << 20
_HEAD_BYTES = 1 << 16

# In this order: a title is more telling than a message.
_TEXTS: tuple[tuple[re.Pattern[str], Reader], ...] = (
    (parse_csynth.TITLE, parse_csynth.read),
    (parse_csynth.COLLECTION, parse_csynth.read),  # one cut before its title
    (parse_overview.TITLE, parse_overview.read),
    (parse_export.TITLE, parse_export.read),
    (parse_vivado.UTILIZATION, parse_vivado.read_utilization),
    (parse_timing.TIMING, parse_timing.read_timing),
    (parse_cosim.TITLE, parse_cosim.read),
    (parse_log.TITLE, parse_log.read),
)


def parse(path: Path) -> list[ToolReport]:
    """The reports in one file (a collection by hls4ml holds two).

    Raises ReportError, naming the file: absent, empty, truncated, damaged, hostile or of no known kind.
    """
    path = Path(path)
    where = str(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            if size > LOG_BYTES and _reader(_decode(head, where), where) is parse_log.read:
                head += file.read(LOG_BYTES // 2)
                file.seek(max(size - LOG_BYTES // 2, len(head)))
            elif size > FILE_BYTES:
                raise ReportError(f"{where}: {size} bytes, more than the {FILE_BYTES} that any report has")
            data = head + file.read(FILE_BYTES)
    except OSError as bad:
        raise ReportError(f"{where}: cannot be read: {bad.strerror or bad}") from None
    return [_beside(_named(report, path), path) for report in read(_decode(data, where), where)]


def read(text: str, where: str) -> list[ToolReport]:
    """The reports in ``text``; ``where`` names it in errors and in ``ToolReport.file``. Raises ReportError."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if not text.strip():
        raise ReportError(f"{where}: the report is empty")
    reader = _reader(text, where)
    # Every tool ends its last line, so a file that does not was cut.
    if reader not in (parse_csynth_xml.read, parse_json.read, parse_log.read) and not text.endswith("\n"):
        raise ReportError(f"{where}: the last line has no end: the report is truncated")
    return [_checked(report) for report in reader(text, where)]


def _checked(report: ToolReport) -> ToolReport:
    """With what its device says against it."""
    other = other_device(report)
    return dataclasses.replace(report, warnings=(*report.warnings, *other)) if other else report


def _decode(data: bytes, where: str) -> str:
    """UTF-8; other bytes (paths in the user's code page) are replaced, they never stand in a number."""
    if b"\0" in data:
        raise ReportError(f"{where}: binary data, no report")
    return data.decode("utf-8", errors="replace")


def _reader(text: str, where: str) -> Reader:
    start = text.removeprefix("\ufeff").lstrip()
    if start.startswith("<"):
        return parse_csynth_xml.read
    if start.startswith("{"):
        return parse_json.read
    for title, reader in _TEXTS:
        if title.search(text):
            return reader
    raise ReportError(
        f"{where}: no report of a known kind (csynth, cosim, export, utilization, timing, log or hls_data.json)"
    )


_TOP_XML = re.compile(r"<TopModelName>\s*([^<\s]+)\s*</TopModelName>")


def _named(report: ToolReport, path: Path) -> ToolReport:
    """A text report does not say whether its module is the top; ``csynth.xml`` beside it does."""
    if report.kind != "csynth_module":
        return report
    try:
        with path.with_name("csynth.xml").open("rb") as file:
            top = _TOP_XML.search(file.read(_HEAD_BYTES).decode("utf-8", errors="replace"))
    except OSError:
        return report
    return dataclasses.replace(report, kind="csynth") if top and top[1] == report.top else report


def _beside(report: ToolReport, path: Path) -> ToolReport:
    """XML and text of one synthesis lie in one folder under one name: what they say differently is a warning."""
    other = {".xml": ".rpt", ".rpt": ".xml"}.get(path.suffix)
    if other is None or not report.kind.startswith("csynth") or not path.stem.endswith("_csynth"):
        return report
    twin = path.with_suffix(other)
    try:
        if twin.stat().st_size > FILE_BYTES:
            return report
        found = read(_decode(twin.read_bytes(), str(twin)), str(twin))[0]
    except (OSError, ReportError):
        return report  # none there, or none that says anything
    told = checks.compared(report, found, (path.name, twin.name)) if found.top == report.top else ()
    return dataclasses.replace(report, warnings=(*report.warnings, *told)) if told else report
