"""When a port moves its beats: iterations of its process's loop, written down as loops instead of listed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from flow.fixed import IntArray

LOOPS, ROUNDED, LISTED = 0, 1, 2
Row = tuple[int, int, int, int, int, int, int, int]


class Beats(NamedTuple):
    """Pieces one after another; the rows are what ``flow/timing_kernel.cpp`` reads."""

    rows: tuple[Row, ...]

    def array(self) -> IntArray:
        """The iteration of every beat, ascending."""
        return np.concatenate([_expand(row) for row in self.rows]) if self.rows else np.zeros(0, np.int64)


def loops(start: int, *levels: tuple[int, int]) -> Row:
    """``start`` plus up to three nested counters (count, step), the innermost last."""
    (a, b, c) = ((1, 0),) * (3 - len(levels)) + levels
    return LOOPS, start, *a, *b, *c


def every(count: int, step: int = 1, start: int = 0) -> Beats:
    """``count`` beats, one every ``step`` iterations from ``start`` on."""
    return Beats((loops(start, (count, step)),))


def rounded(count: int, numerator: int, offset: int, divisor: int, last: int) -> Beats:
    """Beat k in iteration ``(k * numerator + offset) // divisor``, but the last one in iteration ``last``."""
    return Beats(((ROUNDED, last, count, numerator, offset, divisor, 0, 0),))


def rows(port: Beats | IntArray, keep: list[IntArray]) -> Sequence[Row]:
    """The kernel's rows of a port; an array goes in by address, so it is also put into ``keep``."""
    if isinstance(port, Beats):
        return port.rows
    array = np.ascontiguousarray(port, np.int64)
    keep.append(array)
    return [(LISTED, array.ctypes.data, array.size, 0, 0, 0, 0, 0)]


def _expand(row: Row) -> IntArray:
    kind, first, n0, s0, n1, s1, n2, s2 = row
    if kind == LOOPS:
        outer = np.arange(n0)[:, None, None] * s0 + np.arange(n1)[None, :, None] * s1
        return (first + outer + np.arange(n2) * s2).reshape(-1)
    iterations = (np.arange(n0) * s0 + n1) // s1
    iterations[-1:] = first
    return iterations
