"""Gaussian processes whose length scale and noise are chosen by the marginal likelihood, for Bayesian optimisation.

Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, algorithm 2.1 and equation 2.30; Matern 5/2
kernel (equation 4.17) on standardised features. A small grid instead of gradient descent: deterministic, and enough
for the at most few hundred trials of a search.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flow.search import Floats

SCALES = (0.35, 0.7, 1.4, 2.8)  # of the length, in units of sqrt(features)
NOISES = (1e-4, 1e-2, 1e-1)  # variance, in units of the signal's


@dataclass(frozen=True, eq=False)
class Standard:
    """Standardisation of features; the same for all models of one training set."""

    centre: Floats
    spread: Floats

    @classmethod
    def of(cls, features: Floats) -> Standard:
        """Constant features are left at 0."""
        spread = features.std(axis=0)
        return cls(features.mean(axis=0), np.where(spread > 1e-9, spread, 1.0))

    def __call__(self, features: Floats) -> Floats:
        return (features - self.centre) / self.spread / np.sqrt(features.shape[1])


def distances(a: Floats, b: Floats) -> Floats:
    """(n, m) Euclidean distances of the rows."""
    d2 = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None] - 2.0 * (a @ b.T)
    return np.asarray(np.sqrt(np.maximum(d2, 0.0)))


def matern(distance: Floats, scale: float) -> Floats:
    """Matern 5/2 kernel of unit variance."""
    r = np.sqrt(5.0) * distance / scale
    return np.asarray((1.0 + r + r**2 / 3.0) * np.exp(-r))


@dataclass(frozen=True, eq=False)
class Model:
    """Fitted to values (n,) at ``x`` (n, d), standardised features."""

    x: Floats
    chol: Floats
    alpha: Floats
    scale: float
    mean: float
    spread: float

    def predict(self, z: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation (m,) of the noiseless value at standardised features ``z`` (m, d)."""
        k = matern(distances(z, self.x), self.scale)
        v = np.linalg.solve(self.chol, k.T)
        variance = np.maximum(1.0 - (v**2).sum(axis=0), 1e-9)
        return self.mean + self.spread * (k @ self.alpha), self.spread * np.sqrt(variance)


def fit(x: Floats, values: Floats) -> Model:
    """The model of greatest marginal likelihood; ``x`` (n, d) standardised, n >= 1, ``values`` (n,) finite."""
    mean, spread = float(values.mean()), float(values.std())
    spread = spread if spread > 1e-12 else 1.0
    y = (values - mean) / spread
    apart = distances(x, x)
    best: tuple[float, Model] | None = None
    for scale in SCALES:
        k = matern(apart, scale)
        for noise in NOISES:
            # 1e-8: distances by the cosine rule are exact to about that
            chol = np.linalg.cholesky(k + (noise + 1e-8) * np.eye(len(x)))
            alpha = np.linalg.solve(chol.T, np.linalg.solve(chol, y))
            likelihood = float(-0.5 * y @ alpha - np.log(np.diag(chol)).sum())
            if best is None or likelihood > best[0]:
                best = likelihood, Model(x, chol, alpha, scale, mean, spread)
    assert best is not None
    return best[1]
