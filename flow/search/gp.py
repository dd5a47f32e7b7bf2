"""Gaussian processes whose length scale and noise are chosen by the marginal likelihood, for Bayesian optimisation.

Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, algorithm 2.1 and equation 2.30; Matern 5/2
kernel (equation 4.17) on standardised features. A small grid instead of gradient descent: deterministic, and enough
for the at most few hundred trials of a search.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flow.search import Floats

SCALES = (0.5, 1.0, 2.0)  # of the length, in units of sqrt(features)
NOISES = (1e-4, 1e-2, 1e-1)  # variance, in units of the signal's
CORNER = 1e12  # above y^T K^-1 y, which is at most n / least noise for standardised y


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
        return np.asarray((features - self.centre) / self.spread / np.sqrt(features.shape[1]))


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
    """Fitted to values (n,) at ``x`` (n, d), standardised features; ``inverse`` (n, n) of the kernel with its noise."""

    x: Floats
    inverse: Floats
    alpha: Floats
    scale: float
    mean: float
    spread: float

    def predict(self, z: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation (m,) of the noiseless value at standardised features ``z`` (m, d)."""
        k = matern(distances(z, self.x), self.scale)
        variance = np.maximum(1.0 - ((k @ self.inverse) * k).sum(axis=1), 1e-9)
        return self.mean + self.spread * (k @ self.alpha), self.spread * np.sqrt(variance)


def fit(x: Floats, values: Floats) -> tuple[Model, ...]:
    """For each column of ``values`` (n, m), finite, the model of greatest marginal likelihood.

    ``x`` (n, d) standardised, n >= 1.
    """
    means, spreads = values.mean(axis=0), values.std(axis=0)
    spreads = np.where(spreads > 1e-12, spreads, 1.0)
    y = (values - means) / spreads
    apart = distances(x, x)
    grid = [(scale, noise, likelihoods(_noisy(matern(apart, scale), noise), y)) for scale in SCALES for noise in NOISES]
    found = []
    for j in range(values.shape[1]):
        scale, noise, _ = max(grid, key=lambda point: point[2][j])
        inverse = np.asarray(np.linalg.inv(_noisy(matern(apart, scale), noise)), dtype=np.float64)
        found.append(Model(x, inverse, inverse @ y[:, j], scale, float(means[j]), float(spreads[j])))
    return tuple(found)


def _noisy(kernel: Floats, noise: float) -> Floats:
    # 1e-8: distances by the cosine rule are exact to about that
    return np.asarray(kernel + (noise + 1e-8) * np.eye(len(kernel)))


def likelihoods(kernel: Floats, y: Floats) -> Floats:
    """(m,) log marginal likelihoods of the columns of ``y`` (n, m), up to a constant.

    The factor L of the kernel bordered by y has (L^-1 y)^T below that of the kernel: one Cholesky factorisation is all,
    which is far cheaper here than a general solver. The corner only has to keep the whole positive definite.
    """
    n, m = y.shape
    factor = np.linalg.cholesky(np.block([[kernel, y], [y.T, CORNER * np.eye(m)]]))
    return np.asarray(-0.5 * (factor[n:, :n] ** 2).sum(axis=1) - np.log(np.diag(factor)[:n]).sum())
