"""The hardware half of a genotype: what the accelerator may use of the board.

Foldings are not searched here: the mapper finds the best ones for a network inside these limits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CLOCKS_MHZ = (100.0, 150.0, 200.0, 250.0, 300.0)
BUDGETS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class HardwareGenotype:
    """``clock_mhz``: target clock; ``budget``: fraction in (0, 1] of each board resource the accelerator may use."""

    clock_mhz: float
    budget: float


def clocks(max_clock_mhz: float) -> tuple[float, ...]:
    """Clocks to choose from on a device that reaches ``max_clock_mhz``; never empty."""
    return tuple(c for c in CLOCKS_MHZ if c <= max_clock_mhz) or (max_clock_mhz,)


def sample(rng: np.random.Generator, clock_choices: tuple[float, ...], budgets: tuple[float, ...]) -> HardwareGenotype:
    """Uniform over the two choices."""
    return HardwareGenotype(float(rng.choice(clock_choices)), float(rng.choice(budgets)))


def crossover(a: HardwareGenotype, b: HardwareGenotype, rng: np.random.Generator) -> HardwareGenotype:
    """Each gene from either parent."""
    clock, budget = rng.integers(0, 2, 2)
    return HardwareGenotype((a, b)[clock].clock_mhz, (a, b)[budget].budget)


def loads(obj: object) -> HardwareGenotype:
    """Read ``{"clock_mhz": x, "budget": y}``; raises ValueError with one line."""
    if not isinstance(obj, dict) or set(obj) != {"clock_mhz", "budget"}:
        raise ValueError(f"hardware genotype {obj!r}: keys clock_mhz and budget are needed")
    clock, budget = obj["clock_mhz"], obj["budget"]
    if not all(isinstance(x, int | float) and not isinstance(x, bool) for x in (clock, budget)):
        raise ValueError(f"hardware genotype {obj!r}: clock_mhz and budget are numbers")
    if not 1 <= clock <= 2000 or not 0 < budget <= 1:
        raise ValueError(f"hardware genotype {obj!r}: clock_mhz is 1..2000 and budget in (0, 1]")
    return HardwareGenotype(float(clock), float(budget))
