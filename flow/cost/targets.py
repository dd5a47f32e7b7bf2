"""The two targets of an estimate, never mixed: what C synthesis reports and what an implementation uses.

Blocks are composed of component laws, so an estimate predicts C synthesis. An implementation's numbers are that times
a ratio seen in real designs (targets.toml), which differs between resources and scatters: so each comes as p10, p50
and p90.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import resources as files
from typing import Any, NamedTuple

from flow.board import KINDS, Resources

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Spread(NamedTuple):
    """Quantiles of a ratio."""

    p10: float
    p50: float
    p90: float


@cache
def data() -> dict[str, Any]:
    """targets.toml."""
    return tomllib.loads((files.files("flow.cost") / "targets.toml").read_text(encoding="utf-8"))


@cache
def spread(target: str, kind: str) -> Spread:
    """Quantiles of ``target`` over the C synthesis estimate, for a resource kind."""
    return Spread(**data()[target][kind])


def implementation(used: Resources) -> tuple[float, ...]:
    """Median amounts (by KINDS) that an implementation uses where C synthesis reports ``used``."""
    return tuple(n * spread("impl", k).p50 for k, n in zip(KINDS, used.tuple, strict=True))
