"""Which foldings of one layer are worth keeping, as arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, overload

import numpy as np

from flow import native
from flow.board import KINDS, Resources
from flow.design import Folding, Option
from flow.fixed import IntArray

LANES = 3  # the first fields of a folding are numbers: PE, SIMD, lanes


def divisors(n: int) -> list[int]:
    """All positive divisors, ascending."""
    small = [d for d in range(1, int(n**0.5) + 1) if n % d == 0]
    return small + [n // d for d in reversed(small) if d * d != n]


@dataclass(frozen=True, eq=False)
class Options(Sequence[Option]):
    """Options of a layer by ascending cycles: a sequence of ``Option`` that is made of arrays.

    ``numbers`` (n, 3): PE, SIMD and lanes; ``kind`` (n,): which of ``kinds``, the folding's other fields, sorted;
    ``cycles`` (n,), ``resources`` (n, 5), ``inner`` and ``second`` (n,) as in ``Option``.
    """

    numbers: IntArray
    kind: IntArray
    kinds: tuple[tuple[Any, ...], ...]
    cycles: IntArray
    resources: IntArray
    inner: IntArray
    second: IntArray

    def __len__(self) -> int:
        return len(self.cycles)

    @overload
    def __getitem__(self, at: int) -> Option: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Option]: ...
    def __getitem__(self, at: int | slice) -> Option | Sequence[Option]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        cost = Resources(*self.resources[at].tolist())
        return Option(self.folding(at), int(self.cycles[at]), cost, int(self.inner[at]), int(self.second[at]))

    def folding(self, at: int) -> Folding:
        """Of one option."""
        return Folding(*self.numbers[at].tolist(), *self.kinds[self.kind[at]])

    def rows(self, chosen: IntArray) -> Options:
        """Those of the given positions."""
        columns = (self.numbers, self.kind, self.cycles, self.resources, self.inner, self.second)
        numbers, kind, *others = (a[chosen] for a in columns)
        return Options(numbers, kind, self.kinds, *others)

    @property
    def undominated(self) -> Options:
        """Without those that another one of the same lanes, in and out, beats or equals in cycles and every resource.

        Lanes differ in what joins the stage to its neighbours. Ties keep the first in order of (cycles, resources,
        folding), so the answer does not depend on enumeration order.
        """
        folding = (self.kind, *self.numbers.T[::-1])
        order = np.lexsort((*folding, *self.resources.T[::-1], self.cycles))
        ordered = self.rows(order)
        label = ordered.numbers[:, 0] << 40 | ordered.numbers[:, 2] << 20 | ordered.second
        label = labels(label)[1]
        cost = np.column_stack([ordered.cycles, ordered.resources, ordered.inner])
        keep = np.zeros(len(self), np.uint8)
        pointers = (a.ctypes.data_as(ctypes.c_void_p) for a in (label, cost, keep))
        _library().flow_undominated(ctypes.c_int64(len(self)), ctypes.c_int64(cost.shape[1]), *pointers)
        return ordered.rows(np.flatnonzero(keep))


@cache
def _library() -> ctypes.CDLL:
    lib = native.library("blocks/pareto.cpp")
    lib.flow_labels.restype = ctypes.c_int64
    return lib


def labels(keys: IntArray) -> tuple[list[int], IntArray]:
    """Distinct keys ascending, and which of them each key is: what ``np.unique`` does, for short arrays."""
    keys = np.ascontiguousarray(keys)
    distinct, label = np.empty((2, len(keys)), np.int64)
    pointers = (ctypes.c_void_p(a.ctypes.data) for a in (keys, distinct, label))
    count = _library().flow_labels(ctypes.c_int64(len(keys)), *pointers)
    found: list[int] = distinct[:count].tolist()
    return found, label


def collected(options: Iterable[Option]) -> Options:
    """Arrays of single options."""
    found = list(options)
    kinds = sorted({tuple(o.folding[LANES:]) for o in found})
    place = {kind: i for i, kind in enumerate(kinds)}
    return Options(
        np.array([o.folding[:LANES] for o in found], np.int64).reshape(-1, LANES),
        np.array([place[tuple(o.folding[LANES:])] for o in found], np.int64),
        tuple(kinds),
        np.array([o.cycles for o in found], np.int64),
        np.array([o.resources for o in found], np.int64).reshape(-1, len(KINDS)),
        np.array([o.inner for o in found], np.int64),
        np.array([o.second for o in found], np.int64),
    )


MOST_PIXELS = 16  # of a beat


def beat_sizes(shape: tuple[int, int, int]) -> list[int]:
    """Lanes of the beats that a map goes by in: part of a pixel's channels, a pixel, or several."""
    c, h, w = shape
    return divisors(c) + [c * n for n in range(2, MOST_PIXELS + 1) if h * w % n == 0]


def undominated(options: Iterable[Option]) -> Options:
    """The options worth keeping (``Options.undominated``)."""
    return collected(options).undominated
