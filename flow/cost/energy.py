"""Power and energy of an accelerator: static power of the device, dynamic power of what is busy, per device family.

    dynamic = clock x sum over kinds (energy of a busy cycle x (busy + idle_share x (placed - busy)))
    energy of an image = (static + dynamic) x interval

``busy`` weighs each process's resources by the share of the interval that it works, so an image's energy is not its
latency times a constant: a design twice as wide takes half as long and about the same dynamic energy, and saves static
energy. The programmable logic only: no processor, no DRAM, no board. Resources are those of an implementation.
Coefficients, sources and the measured error: flow/cost/power.toml, ``flow bench energy``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from importlib import resources as files
from typing import Any

from flow.board import KINDS, Board

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Amounts = tuple[float, ...]  # by KINDS: lut, ff, dsp, bram18, uram
STATIC_ERROR = 1.4  # power.toml, sources.static


@dataclass(frozen=True)
class Power:
    """Watts of the programmable logic; ``low`` and ``high`` are p10 and p90 of static plus dynamic."""

    static_w: float
    dynamic_w: float
    low_w: float
    high_w: float

    @property
    def total_w(self) -> float:
        return self.static_w + self.dynamic_w

    def energy_mj(self, seconds: float) -> tuple[float, float, float]:
        """p10, expected and p90 energy in mJ of ``seconds``."""
        return self.low_w * seconds * 1e3, self.total_w * seconds * 1e3, self.high_w * seconds * 1e3


@cache
def coefficients() -> dict[str, Any]:
    """power.toml."""
    return tomllib.loads((files.files("flow.cost") / "power.toml").read_text(encoding="utf-8"))


@cache
def node(family: str) -> dict[str, Any]:
    """The technology of a device family. Raises ValueError for one that the model does not know."""
    for found in coefficients()["node"].values():
        if family in found["families"]:
            return dict(found)
    raise ValueError(f"device family {family!r}: no power model; flow/cost/power.toml lists those there are")


def cycle_pj(amounts: Amounts, family: str) -> float:
    """Energy of one busy cycle of ``amounts``. Flip-flops are counted with the LUTs that they sit beside."""
    per = coefficients()["dynamic"]
    weights = {k: float(per.get(f"{k}_pj", 0.0)) for k in KINDS}
    return float(node(family)["scale"]) * sum(a * weights[k] for k, a in zip(KINDS, amounts, strict=True))


def static_w(board: Board) -> float:
    """The board's own figure (``[power] static_w``), else by the size of the device."""
    n = node(board.family)
    return board.static_w or float(n["static_w"] + n["static_w_per_klut"] * board.available.lut / 1e3)


def power(placed: Amounts, busy: Amounts, board: Board, clock_mhz: float) -> Power:
    """Power of ``placed`` resources of which ``busy`` work in a mean cycle (both by KINDS, of an implementation)."""
    per, n = coefficients()["dynamic"], node(board.family)
    share = per["idle_share"]
    mean = tuple(b + share * max(p - b, 0.0) for p, b in zip(placed, busy, strict=True))
    dynamic = cycle_pj(mean, board.family) * clock_mhz * 1e-6
    still = static_w(board)
    low = still / STATIC_ERROR + dynamic * per["error_p10"] / n["widen"]
    high = still * STATIC_ERROR + dynamic * per["error_p90"] * n["widen"]
    return Power(still, dynamic, low, high)
