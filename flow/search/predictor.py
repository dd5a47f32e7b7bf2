"""Accuracy of untrained networks predicted from trained ones: a Gaussian process with a squared-exponential kernel.

Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, algorithm 2.1. Length scale sqrt(d) on
standardised features; noise a tenth of the signal's variance: training is noisy and the sample small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NOISE = 0.1


@dataclass(frozen=True, eq=False)
class Predictor:
    """Fitted model; ``predict`` gives mean and standard deviation."""

    x: Floats
    alpha: Floats
    chol: Floats
    centre: Floats
    spread: Floats
    mean: float
    scale: float

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """``features``: (N, d). Returns (N,) mean and (N,) standard deviation of the noiseless value."""
        z = (features - self.centre) / self.spread
        k = kernel(z, self.x)
        v = np.linalg.solve(self.chol, k.T)
        variance = np.maximum(1.0 - (v**2).sum(0), 1e-9)
        return self.mean + self.scale * (k @ self.alpha), self.scale * np.sqrt(variance)


def kernel(a: Floats, b: Floats) -> Floats:
    d2 = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2.0 * a @ b.T  # no (N, M, d) array
    return np.asarray(np.exp(-0.5 * np.maximum(d2, 0.0) / a.shape[1]))


def fit(features: Floats, values: Floats) -> Predictor:
    """``features``: (N, d), ``values``: (N,), N >= 1."""
    centre = features.mean(0)
    spread = np.where(features.std(0) > 1e-9, features.std(0), 1.0)
    x = (features - centre) / spread
    mean, scale = float(values.mean()), float(values.std()) or 1e-3
    chol: Floats = np.asarray(np.linalg.cholesky(kernel(x, x) + NOISE * np.eye(len(x))), np.float64)
    alpha = np.linalg.solve(chol.T, np.linalg.solve(chol, (values - mean) / scale))
    return Predictor(x, alpha, chol, centre, spread, mean, scale)
