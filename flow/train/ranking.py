"""Ranks, their correlation, and the rank ensemble of zero-cost scores: numbers only, no training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NAMES = ("nwot", "synflow", "jacov", "snip", "grad_norm", "zen", "params", "flops")
BASELINES = ("params", "flops")
INFORMATIVE = tuple(n for n in NAMES if n not in BASELINES)


def ranks(values: Sequence[float] | Floats) -> Floats:
    """0 for the lowest to 1 for the highest; equal values share their mean rank."""
    a = np.asarray(values, np.float64)
    _, inverse, counts = np.unique(a, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle = last - (counts + 1) / 2
    return np.asarray(middle[inverse] / max(len(a) - 1, 1), np.float64)


def ensemble(table: Sequence[Mapping[str, float]], names: Sequence[str] = NAMES) -> Floats:
    """(N,) mean rank of each network over the proxies ``names``, 0 to 1."""
    return np.asarray(np.mean([ranks([row[n] for row in table]) for n in names], axis=0), np.float64)


def correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None for fewer than three pairs or where one side is constant."""
    ra, rb = ranks(a), ranks(b)
    if len(ra) < 3 or ra.std() == 0 or rb.std() == 0:
        return None
    return float(np.corrcoef(ra, rb)[0, 1])
