"""What every report parser shares: the ``ToolReport`` value, its error, and how a number in a report is read.

Strict by rule: a value that a report leaves open (``?``, ``undef``, ``-``, ``-1``, an empty cell) is ``None``; text
that is neither a number nor one of those is a damaged report and raises ``ReportError``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

RESOURCES = ("lut", "ff", "dsp", "bram18", "uram")
KINDS = ("csynth", "csynth_module", "cosim", "utilization", "timing", "export", "log")
# Every name that a version gives to a column of resources. Block RAM is counted in 18 Kb units in all of them.
COLUMNS = {
    "BRAM_18K": "bram18",
    "BRAM": "bram18",
    "DSP48E": "dsp",
    "DSP": "dsp",
    "FF": "ff",
    "LUT": "lut",
    "URAM": "uram",
}

Bounds = tuple[int | None, int | None]


class ReportError(ValueError):
    """A report that is truncated, damaged, empty, or of no known kind; the message names the file."""


@dataclass(frozen=True)
class ToolReport:
    """One report of an HLS or FPGA tool; ``None`` where the report does not say.

    Latencies and intervals in clock cycles, times in ns. ``resources`` and ``available`` always hold the five keys of
    ``RESOURCES`` (block RAM in 18 Kb units). ``loops`` and ``modules`` are rows in report order; ``warnings`` holds
    what contradicts itself or cannot be built; ``details`` what only some kinds say (solution, stage, tables).
    """

    file: str
    kind: str
    tool: str | None = None
    tool_version: str | None = None
    part: str | None = None
    top: str | None = None
    clock_target_ns: float | None = None
    clock_estimated_ns: float | None = None
    latency_min: int | None = None
    latency_max: int | None = None
    interval_min: int | None = None
    interval_max: int | None = None
    resources: Mapping[str, int | None] = field(default_factory=lambda: amounts({}))
    available: Mapping[str, int | None] = field(default_factory=lambda: amounts({}))
    loops: tuple[Mapping[str, Any], ...] = ()
    modules: tuple[Mapping[str, Any], ...] = ()
    wns_ns: float | None = None
    warnings: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """Plain dicts and lists, in the order of the fields."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain.update(resources=dict(self.resources), available=dict(self.available), details=dict(self.details))
        plain.update({name: [dict(row) for row in plain[name]] for name in ("loops", "modules")})
        return {**plain, "warnings": list(self.warnings)}


def amounts(found: Mapping[str, int | None]) -> dict[str, int | None]:
    """``found`` with all five resources as keys."""
    return {name: found.get(name) for name in RESOURCES}


_OPEN = frozenset(("", "?", "-", "undef", "undefined", "na", "n/a", "none", "unknown", "inf", "x", "-1"))
# 18 digits: more than any 64-bit count a tool prints, and it bounds what a damaged file can make int() do.
_INTEGER = re.compile(r"\d{1,18}$")
_NEGATIVE = re.compile(r"-\d{1,18}$")
_DECIMAL = re.compile(r"[-+]?\d{1,18}(\.\d{0,12})?([eE][-+]?\d{1,2})?$")
_UNSIGNED_MINUS_ONE = 2**32 - 1  # how Vitis HLS 2025.2 writes an initiation interval that nobody asked for


def count(text: str | None, where: str) -> int | None:
    """A count of cycles or resources; None where the report leaves it open (negative ones are overflowed unknowns)."""
    cell = (text or "").strip()
    if _INTEGER.match(cell):
        value = int(cell)
        return None if value == _UNSIGNED_MINUS_ONE else value
    if cell.lower() in _OPEN or _NEGATIVE.match(cell):
        return None
    raise ReportError(f"{where}: {cell[:40]!r} is no count (is the report damaged?)")


def bounds(text: str | None, where: str) -> Bounds:
    """``(smallest, largest)`` of a cell such as ``17``, ``1 ~ 512`` or ``27 ~ ?``."""
    low, tilde, high = (text or "").partition("~")
    if not tilde or not low.strip():  # "~0" in a column of percentages is no range and is refused by count()
        one = count(text, where)
        return one, one
    return count(low, where), count(high, where)


_UNITS = {"ps": 1e-3, "ns": 1.0, "us": 1e3, "ms": 1e6, "sec": 1e9, "s": 1e9}


def nanoseconds(text: str | None, where: str, unit: str = "ns") -> float | None:
    """A time in ns; the unit stands behind the number, or is ``unit``."""
    cell = (text or "").strip()
    if cell.lower() in _OPEN:
        return None
    number, _, named = cell.partition(" ")
    scale = _UNITS.get(named.strip() or unit)
    if scale is None or not _DECIMAL.match(number):
        raise ReportError(f"{where}: {cell[:40]!r} is no time (is the report damaged?)")
    return float(number) if scale == 1.0 else round(float(number) * scale, 6)


@dataclass(frozen=True)
class Printed:
    """A time in ns and the worth of its last printed digit."""

    ns: float
    step: float


def printed(text: str | None, where: str) -> Printed | None:
    """A time with how exactly it is printed; None where left open or a range (``0 ns ~ 5.150 us``)."""
    value = None if "~" in (text or "") else nanoseconds(text, where)
    if value is None:
        return None
    number, _, named = (text or "").strip().partition(" ")
    digits, _, power = number.lower().partition("e")
    step = 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
    return Printed(value, step * _UNITS[named.strip() or "ns"])


def uncertainty(text: str | None, target: float | None, where: str) -> float | None:
    """A clock's uncertainty in ns; in percent of its period where that is how it was set."""
    cell = (text or "").strip()
    if not cell.endswith("%"):
        return nanoseconds(cell, where)
    share = decimal(cell[:-1], where)
    return None if share is None or target is None else round(target * share / 100, 6)


def decimal(text: str | None, where: str) -> float | None:
    """A number with a fraction, such as a slack or a tile count; None where left open."""
    cell = (text or "").strip()
    if _DECIMAL.match(cell):
        return float(cell)
    if cell.lower() in _OPEN:
        return None
    raise ReportError(f"{where}: {cell[:40]!r} is no number (is the report damaged?)")


Reader = Callable[[str, str], list[ToolReport]]  # (text, file name) -> reports
