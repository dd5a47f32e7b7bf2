"""The device that a report names against the boards that carry it: a check on the numbers of what is available."""

from __future__ import annotations

import re
from functools import cache

from flow import board
from flow.toolchain.parse_values import RESOURCES, ToolReport

# xc7z020-clg400-1, xc7z020clg400-1, 7z020clg400, xczu9eg-ffvb1156-2-e, xcu250-figd2104-2L-e
_DEVICE = re.compile(
    r"(?:xc|xa|xq)?(7[aksvz]\w*?\d+t?|zu\d+[a-z]{2}|[vk]u\d+p?|u\d+[a-z]?|k2[46])(?=-|[a-z]{3,4}\d|$)", re.I
)


def device(part: str) -> str | None:
    """The device of a part name (``7z020``), None for names that are none."""
    found = _DEVICE.match(part.strip())
    return found[1].lower() if found else None


# Devices without a board here, as csynth reports of their parts print them (LUT, FF, DSP, BRAM18, URAM).
_MORE = {
    "k24": (70560, 141120, 360, 432, 0),
    "ku115": (663360, 1326720, 5520, 4320, 0),
    "vu11p": (1296000, 2592000, 9216, 4032, 960),
    "vu19p": (4085760, 8171520, 3840, 4320, 320),
}


@cache
def known() -> dict[str, dict[str, int]]:
    """Device -> resources: of the boards that come with the package, and of devices seen in reports."""
    boards = {d: dict(b.available.json()) for b in board.every() if (d := device(b.part))}
    return {d: dict(zip(RESOURCES, amounts, strict=True)) for d, amounts in _MORE.items()} | boards


def device_amounts(part: str | None) -> dict[str, int]:
    """Resources of the device that a part name names; empty for an unknown one."""
    return known().get(device(part or "") or "", {})


def other_device(report: ToolReport) -> tuple[str, ...]:
    """A warning per resource of which the named device has another number, or fewer than a report without it takes."""
    has = device_amounts(report.part)
    pairs = [(k, report.available.get(k), report.resources.get(k)) for k in has]
    return tuple(
        f"{k}: {said} available, but {report.part} has {has[k]}"
        if said is not None
        else f"{k}: {used} used, {has[k]} on {report.part}"
        for k, said, used in pairs
        if (said is not None and said != has[k]) or (said is None and used is not None and used > has[k])
    )
