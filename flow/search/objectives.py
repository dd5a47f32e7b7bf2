"""Which measures are better when larger, and their form inside the search: everything minimised."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from flow.search import SearchError

MAXIMISED = frozenset({"accuracy", "fps", "throughput", "efficiency", "gops", "fps_per_w"})


def sign(name: str) -> float:
    """-1 for a measure that is better when larger, else 1: times it, smaller is better."""
    return -1.0 if name in MAXIMISED else 1.0


def minimised(names: Sequence[str], measures: Mapping[str, float | None]) -> tuple[float, ...] | None:
    """The search's values from named measures in natural units; None where one is missing, NaN or infinite."""
    values = [measures.get(n) for n in names]
    if any(v is None or not math.isfinite(v) for v in values):
        return None
    return tuple(sign(n) * float(v) for n, v in zip(names, values, strict=True) if v is not None)


def minimised_reference(names: Sequence[str], reference: Sequence[float]) -> tuple[float, ...]:
    """A hypervolume's reference point, given in natural units, in the search's form.

    Raises SearchError on unequal lengths.
    """
    if len(names) != len(reference):
        raise SearchError(
            f"reference {list(reference)} has {len(reference)} numbers for the objectives {', '.join(names)}"
        )
    return tuple(sign(n) * float(r) for n, r in zip(names, reference, strict=True))
