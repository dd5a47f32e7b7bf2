"""How far a segment can go on a board at an interval, at most: the relaxation behind the bounds of partitions.

For weights w >= 0 of sum 1 over resources measured as fractions of a board's budget, any choice of options uses at
least the sum over stages of the smallest ``w . r``; more than 1 proves that the segment does not fit (see ``choose``).
A longer segment holds all stages of a shorter one, so the first boundary that is proved out of reach closes all behind
it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flow.blocks.pareto import Options
from flow.board import KINDS, Resources

Floats = NDArray[np.float64]
ROUNDS = 40
SLACK = 1e-9  # keeps rounding from proving something false


class Stages:
    """Options of all stages on one board as padded arrays: (stage, option, resource); equal stages share a row."""

    def __init__(self, options: Sequence[Options], budget: Resources, clock_mhz: float) -> None:
        distinct: dict[int, int] = {}
        rows = [distinct.setdefault(id(opts), len(distinct)) for opts in options]
        firsts = {r: opts for r, opts in zip(rows, options, strict=True)}
        most = max(len(opts) for opts in firsts.values())
        limit = np.maximum(np.array(budget.tuple, float), 1e-12)
        self.row = np.array(rows)
        self.fraction = np.full((len(firsts), most, len(KINDS)), np.inf)
        self.time_us = np.full((len(firsts), most), np.inf)
        for r, opts in firsts.items():
            table = opts.resources / limit
            fits = (table <= 1).all(axis=1)
            self.fraction[r, : len(opts)] = np.where(fits[:, None], table, np.inf)
            times = opts.cycles / clock_mhz
            self.time_us[r, : len(opts)] = np.where(fits, times, np.inf)

    def furthest(self, start: int, time_us: float, ends: NDArray[np.int64]) -> int:
        """Last of ``ends`` (boundaries, ascending) that stages from ``start`` may reach; ``start`` where none."""
        open_options = self.time_us <= time_us
        usable: NDArray[np.bool_] = np.asarray(open_options.any(axis=1))[self.row[start:]]
        wall = start + (len(usable) if usable.all() else int(np.argmin(usable)))
        reach = self._within(ends, start, wall)
        weights = np.full(len(KINDS), 1 / len(KINDS))
        for k in range(ROUNDS):
            if reach == start:
                break
            distinct, place = np.unique(self.row[start:reach], return_inverse=True)
            table = np.where(open_options[distinct][..., None], self.fraction[distinct], np.inf)
            cost = _weighted(table, weights)
            picks = cost.argmin(axis=1)
            least = cost[np.arange(len(distinct)), picks][place]
            proved = start + int(np.searchsorted(np.cumsum(least), 1 + SLACK, "right"))
            reach = min(reach, self._within(ends, start, proved))
            used = table[np.arange(len(distinct)), picks][place[: reach - start]].sum(axis=0)
            if reach == start or used.max() <= 1:
                break
            weights = weights * np.exp((used - 1) * (2.0 / (1 + k / 8)))
            weights /= weights.sum()
        return reach

    @staticmethod
    def _within(ends: NDArray[np.int64], start: int, limit: int) -> int:
        k = int(np.searchsorted(ends, limit, "right")) - 1
        return max(start, int(ends[k])) if k >= 0 else start

    def fastest_us(self, first: int, end: int) -> float:
        """The slowest stage's fastest option: no segment is faster."""
        return float(self.time_us.min(axis=1)[self.row[first:end]].max())

    def least_us(self, first: int, end: int) -> float:
        """The smallest interval of a segment that is not proved out of reach; infinite where none is."""
        times, goal = self.times_us(), np.array([end])
        low = int(np.searchsorted(times, self.fastest_us(first, end) * (1 - 1e-12)))
        high = len(times)
        while low < high:
            mid = (low + high) // 2
            low, high = (low, mid) if self.furthest(first, float(times[mid]), goal) == end else (mid + 1, high)
        return float(times[low]) if low < len(times) else float("inf")

    def times_us(self) -> Floats:
        """Every time that some option takes, ascending."""
        found: Floats = np.unique(self.time_us[np.isfinite(self.time_us)])
        return found


def _weighted(table: Floats, weights: Floats) -> Floats:
    """``table @ weights`` where closed options are infinite whatever the weights."""
    finite = np.where(np.isfinite(table), table, 0.0) @ weights
    return np.where(np.isfinite(table[..., 0]), finite, np.inf)
