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
ROUNDS = 40  # of weights, at most
PATIENCE = 12  # rounds without a nearer boundary
SLACK = 1e-9  # keeps rounding from proving something false


class Stages:
    """Options of all stages on one board as padded arrays, (stage, option, resource), those that fit by ascending time;
    equal stages share a row and padding takes forever."""

    def __init__(self, options: Sequence[Options], budget: Resources, clock_mhz: float) -> None:
        distinct: dict[int, int] = {}
        rows = [distinct.setdefault(id(opts), len(distinct)) for opts in options]
        firsts = {r: opts for r, opts in zip(rows, options, strict=True)}
        most = max(len(opts) for opts in firsts.values())
        limit = np.maximum(np.array(budget.tuple, float), 1e-12)
        self.row = np.array(rows)
        self.fraction = np.zeros((len(firsts), most, len(KINDS)))
        self.time_us = np.full((len(firsts), most), np.inf)
        for r, opts in firsts.items():
            table = opts.resources / limit
            fits = np.flatnonzero((table <= 1).all(axis=1))
            self.fraction[r, : len(fits)] = table[fits]
            self.time_us[r, : len(fits)] = opts.cycles[fits] / clock_mhz

    def furthest(self, start: int, time_us: float, ends: NDArray[np.int64]) -> int:
        """Last of ``ends`` (boundaries, ascending) that stages from ``start`` may reach; ``start`` where none."""
        within = self.time_us <= time_us
        most = max(1, int(within.sum(axis=1).max()))  # options are sorted by time: the open ones come first
        table, closed = self.fraction[:, :most], np.where(within[:, :most], 0.0, np.inf)
        rows, usable = np.arange(len(table)), np.asarray(within.any(axis=1))[self.row[start:]]
        wall = start + (len(usable) if usable.all() else int(np.argmin(usable)))
        reach, still = self._within(ends, start, wall), 0
        weights = np.full(len(KINDS), 1 / len(KINDS))
        for k in range(ROUNDS):
            if reach == start or still > PATIENCE:
                break
            cost = table @ weights + closed
            picks = cost.argmin(axis=1)
            least = cost[rows, picks][self.row[start:reach]]
            proved = start + int(np.searchsorted(np.cumsum(least), 1 + SLACK, "right"))
            nearer = min(reach, self._within(ends, start, proved))
            reach, still = nearer, 0 if nearer < reach else still + 1
            used = table[rows, picks][self.row[start:reach]].sum(axis=0)
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
