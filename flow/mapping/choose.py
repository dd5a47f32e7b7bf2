"""One option for every stage within a budget of several resources: the multi-dimensional multiple-choice knapsack.

For an interval T every stage may use its options of at most T cycles. Lagrangian duality decides most cases: for
weights w >= 0 with sum 1 over resources measured as fractions of the budget, any choice uses at least
``sum over stages of min over options of w . r`` of the weighted budget, so a value above 1 proves that T is infeasible;
and the minimising choices themselves are often feasible. Multiplicative updates move w towards what is short (Arora,
Hazan, Kale 2012).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flow.board import KINDS, Resources
from flow.design import Option

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Stages:
    """Options of all stages as arrays: cycles ascending, resources as fractions of the budget."""

    options: tuple[tuple[Option, ...], ...]
    cycles: tuple[NDArray[np.int64], ...]
    fractions: tuple[Floats, ...]
    kinds: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Answer:
    """A feasible choice (index per stage), or proof that there is none (``proved``), or neither."""

    choice: tuple[int, ...] | None
    proved: bool
    weights: Floats  # what was short: one weight per resource kind


def stages(options: Sequence[tuple[Option, ...]], budget: Resources) -> Stages:
    """Drop options that alone exceed the budget; a stage left empty stays with an empty array."""
    kept, cycles, fractions = [], [], []
    limit = np.array(budget.tuple, float)
    for opts in options:
        table = np.array([o.resources.tuple for o in opts], float).reshape(-1, len(KINDS))
        good = np.all(table <= limit, axis=1)
        table = table[good] / np.maximum(limit, 1)
        chosen = tuple(o for o, ok in zip(opts, good.tolist(), strict=True) if ok)
        kept.append(chosen)
        cycles.append(np.array([o.cycles for o in chosen], np.int64))
        fractions.append(table)
    return Stages(tuple(kept), tuple(cycles), tuple(fractions), KINDS)


def choose(s: Stages, interval: int, rounds: int = 60) -> Answer:
    """Decide whether the stages fit at ``interval``."""
    counts = [int(np.searchsorted(c, interval, "right")) for c in s.cycles]
    weights = np.full(len(s.kinds), 1.0 / len(s.kinds))
    if min(counts) == 0:
        return Answer(None, True, weights)
    tables = [f[:n] for f, n in zip(s.fractions, counts, strict=True)]
    best: tuple[float, list[int]] | None = None
    for k in range(rounds):
        picks = [int(np.argmin(t @ weights)) for t in tables]
        total = np.sum([t[i] for t, i in zip(tables, picks, strict=True)], axis=0)
        over = float(total.max())
        if best is None or over < best[0]:
            best = (over, picks)
        if over <= 1:
            return Answer(tuple(picks), False, weights)
        # The small allowance keeps rounding from proving something false.
        if float(total @ weights) > 1 + 1e-9:
            return Answer(None, True, weights)
        weights = weights * np.exp((total - 1) * (2.0 / (1 + k / 8)))
        weights /= weights.sum()
    assert best is not None
    repaired = repair(tables, best[1])
    return Answer(tuple(repaired) if repaired else None, False, weights)


def repair(tables: list[Floats], picks: list[int], steps: int = 400) -> list[int] | None:
    """Local search: change one stage at a time, to the smallest overuse, until everything fits or nothing helps."""
    picks = list(picks)
    total = np.sum([t[i] for t, i in zip(tables, picks, strict=True)], axis=0)
    for _ in range(steps):
        if total.max() <= 1:
            return picks
        best = (overuse(total), -1, -1)
        for stage, table in enumerate(tables):
            trial = total - table[picks[stage]] + table
            scores = np.maximum(trial - 1, 0).sum(1)
            option = int(np.argmin(scores))
            if scores[option] < best[0] - 1e-12:
                best = (float(scores[option]), stage, option)
        if best[1] < 0:
            return None
        total = total - tables[best[1]][picks[best[1]]] + tables[best[1]][best[2]]
        picks[best[1]] = best[2]
    return None


def overuse(total: Floats) -> float:
    return float(np.maximum(total - 1, 0).sum())


def cheapest(s: Stages, interval: int) -> tuple[int, ...] | None:
    """The choice of least summed fractions at ``interval``, if it fits."""
    counts = [int(np.searchsorted(c, interval, "right")) for c in s.cycles]
    if min(counts) == 0:
        return None
    tables = [f[:n] for f, n in zip(s.fractions, counts, strict=True)]
    picks = [int(np.argmin(t.sum(1))) for t in tables]
    total = np.sum([t[i] for t, i in zip(tables, picks, strict=True)], axis=0)
    return tuple(picks) if total.max() <= 1 else None
