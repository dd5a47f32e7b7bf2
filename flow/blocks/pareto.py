"""Which foldings of one layer are worth keeping."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from flow.design import Option


def divisors(n: int) -> list[int]:
    """All positive divisors, ascending."""
    small = [d for d in range(1, int(n**0.5) + 1) if n % d == 0]
    return small + [n // d for d in reversed(small) if d * d != n]


def undominated(options: Iterable[Option]) -> tuple[Option, ...]:
    """Options that no other beats or equals in cycles and every resource, by ascending cycles.

    Ties keep the first in order of (cycles, resources, folding), so the answer does not depend on enumeration order.
    """
    pool = sorted(options, key=lambda o: (o[1], o[2], o[0]))
    cost = np.array([(o.cycles, *o.resources) for o in pool], np.int64)
    kept: list[int] = []
    left = np.arange(len(pool))
    # In this order an option can only be dominated by an earlier one: the first left is undominated.
    while len(left):
        first = left[0]
        kept.append(int(first))
        left = left[~np.all(cost[left] >= cost[first], axis=1)]
    return tuple(pool[i] for i in kept)
