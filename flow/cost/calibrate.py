"""What reports say of the estimator: a hierarchical correction, and how sure it is.

The logarithm of reported / estimated is a sum of effects: of everything, of the tool and release, of the device
family, and of each kind of block, weighed by its share of the estimate. Effects are drawn around zero, so one report
moves everything it could be evidence about a little, and many reports about one kind of block move that kind. That is
Gaussian process regression with linear kernels (Rasmussen and Williams, 2006, chapter 2). How wide effects and noise
are is not known, and one or two reports cannot tell one from the other, so all pairs of ``WIDTHS`` are averaged by
their marginal likelihood (section 5.2 there): the most likely pair alone may take a single report for mere noise.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flow.cost.targets import Spread

MEASURES = ("lut", "ff", "dsp", "bram18", "uram", "latency_cycles", "interval_cycles")
WIDTHS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # of the logarithm: 1 % to a factor of e
_Z90 = 1.2815515655446004
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Observation:
    """One number of one report beside its estimate. ``shares``: block kind -> part of the estimate, adding up to 1."""

    measure: str
    tool: str
    family: str
    estimated: float
    reported: float
    shares: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise ValueError(f"measure {self.measure!r}: one of {', '.join(MEASURES)}")
        if not (self.estimated > 0 and self.reported > 0):
            raise ValueError(f"{self.measure}: {self.reported} reported, {self.estimated} estimated: both above zero")

    @property
    def ratio(self) -> float:
        """Logarithm of reported / estimated."""
        return math.log(self.reported / self.estimated)


@dataclass(frozen=True)
class Case:
    """What a correction is wanted for."""

    tool: str
    family: str
    shares: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Fit:
    """The correction of one measure: pairs of widths (of effects, of noise), and how much each is believed."""

    cases: tuple[Case, ...]
    ratios: Matrix
    width: Matrix
    noise: Matrix
    belief: Matrix

    @cached_property
    def _inverse(self) -> Matrix:
        """(pairs, n, n)"""
        k = self.width[:, None, None] ** 2 * kernel(self.cases, self.cases)
        found = np.linalg.inv(k + self.noise[:, None, None] ** 2 * np.eye(len(self.cases)))
        return np.asarray(found, np.float64)

    def at(self, case: Case) -> tuple[float, float]:
        """Mean and standard deviation of the logarithm of the next report's ratio."""
        row = kernel([case], self.cases)[0] * self.width[:, None] ** 2
        own = self.width**2 * kernel([case], [case])[0, 0]
        weights = np.einsum("pn,pnm->pm", row, self._inverse)
        means = weights @ self.ratios
        variances = np.maximum(own - (weights * row).sum(1), 0.0) + self.noise**2
        mean = float(self.belief @ means)
        return mean, math.sqrt(float(self.belief @ (variances + (means - mean) ** 2)))


def fitted(cases: tuple[Case, ...], ratios: Matrix) -> Fit:
    """The correction that reports of ``cases`` give, every pair of widths as likely before them."""
    k = kernel(cases, cases)
    pairs = np.array([(w, n) for w in WIDTHS for n in WIDTHS])
    evidence = np.array([likelihood(k, ratios, w, n) for w, n in pairs])
    belief = np.exp(evidence - evidence.max())
    belief /= belief.sum()
    kept = belief > 1e-4 * belief.max()
    return Fit(cases, ratios, pairs[kept, 0], pairs[kept, 1], belief[kept] / belief[kept].sum())


def kernel(a: Sequence[Case], b: Sequence[Case]) -> Matrix:
    """Covariance of two lists of cases for effects of width 1: what they have in common."""
    kinds = sorted({k for c in (*a, *b) for k in c.shares})
    x: Matrix = np.array([[c.shares.get(k, 0.0) for k in kinds] for c in a], np.float64).reshape(len(a), -1)
    y: Matrix = np.array([[c.shares.get(k, 0.0) for k in kinds] for c in b], np.float64).reshape(len(b), -1)
    tool: Matrix = np.array([[p.tool == q.tool for q in b] for p in a], np.float64)
    family: Matrix = np.array([[p.family == q.family for q in b] for p in a], np.float64)
    found: Matrix = 1.0 + tool + family + x @ y.T
    return found


def likelihood(k: Matrix, ratios: Matrix, width: float, noise: float) -> float:
    """Logarithm of the probability of ``ratios``, constants left out."""
    c = width**2 * k + noise**2 * np.eye(len(ratios))
    sign, logdet = np.linalg.slogdet(c)
    return float(-0.5 * (ratios @ np.linalg.solve(c, ratios) + logdet)) if sign > 0 else -math.inf


@dataclass(frozen=True, eq=False)
class Calibration:
    """Corrections by measure; measures without reports stay as they are estimated."""

    fits: Mapping[str, Fit]
    observations: int

    def spread(self, measure: str, tool: str, family: str, shares: Mapping[str, float] | None = None) -> Spread:
        """p10, p50 and p90 of reported / estimated for the next report."""
        if measure not in self.fits:
            return Spread(1.0, 1.0, 1.0)
        mean, deviation = self.fits[measure].at(Case(tool, family, shares or {}))
        return Spread(*(math.exp(mean + z * deviation) for z in (-_Z90, 0.0, _Z90)))

    def factor(self, measure: str, tool: str, family: str, shares: Mapping[str, float] | None = None) -> float:
        """What an estimate is multiplied by."""
        return self.spread(measure, tool, family, shares).p50


def calibrate(observations: Iterable[Observation]) -> Calibration:
    """The correction that all observations together give."""
    by: dict[str, list[Observation]] = defaultdict(list)
    for o in observations:
        by[o.measure].append(o)
    fits = {}
    for measure, own in by.items():
        cases = tuple(Case(o.tool, o.family, o.shares) for o in own)
        fits[measure] = fitted(cases, np.array([o.ratio for o in own]))
    return Calibration(fits, sum(map(len, by.values())))


def ranks(values: Sequence[float]) -> Matrix:
    """Ranks from 0, ties by their mean."""
    order = np.argsort(np.asarray(values, float), kind="stable")
    found = np.empty(len(order))
    found[order] = np.arange(len(order))
    v = np.asarray(values, float)
    for x in np.unique(v):
        found[v == x] = found[v == x].mean()
    return found


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's; None for fewer than three pairs, or where one side never differs."""
    if len(a) < 3 or len(set(a)) < 2 or len(set(b)) < 2:
        return None
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def plain(observations: Iterable[Observation]) -> list[dict[str, Any]]:
    """As JSON values; inverse: ``Observation(**row)``."""
    return [
        {"measure": o.measure, "tool": o.tool, "family": o.family, "estimated": o.estimated, "reported": o.reported,
         "shares": dict(o.shares)} for o in observations
    ]  # fmt: skip
