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


@cache
def known() -> dict[str, board.Resources]:
    """Device -> resources of the boards that come with the package."""
    return {d: b.available for b in board.every() if (d := device(b.part))}


def other_device(report: ToolReport) -> tuple[str, ...]:
    """A warning per resource of which the named device has another number."""
    own = known().get(device(report.part or "") or "")
    if own is None:
        return ()
    has = own.json()
    pairs = [(k, report.available.get(k), has[k]) for k in RESOURCES]
    return tuple(
        f"{k}: {said} available, but {report.part} has {n}" for k, said, n in pairs if said is not None and said != n
    )
