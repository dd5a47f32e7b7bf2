"""Where a learning curve will end, told from its beginning and from curves that have ended.

After Baker et al., "Accelerating Neural Architecture Search using Performance Prediction", ICLR workshop 2018: a
regression from the first epochs' accuracies to the final one. Its deviation is that of leave-one-out residuals, so that
few or unlike curves promise little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flow.search import Floats

LEAST = 4  # ended curves before anything is predicted
RIDGE = 1e-3
SURE = 2.0  # deviations below what is needed before a training is given up


@dataclass(frozen=True)
class Ended:
    """A whole curve: accuracy after each epoch, and the final score."""

    curve: tuple[float, ...]
    final: float


def predict(begun: Sequence[float], ended: Sequence[Ended]) -> tuple[float, float] | None:
    """Mean and deviation of the final score of a curve that began with ``begun``; None where too few have ended."""
    k = len(begun)
    known = [e for e in ended if len(e.curve) >= k]
    if not k or len(known) < LEAST:
        return None
    x, y = np.array([_features(e.curve[:k]) for e in known]), np.array([e.final for e in known])
    mean, leverage, residual = _ridge(x, y, _features(begun))
    spread = float(np.sqrt(np.mean((residual / np.maximum(1 - leverage, 0.1)) ** 2)))
    return float(np.clip(mean, 0.0, 1.0)), spread


def _features(begun: Sequence[float]) -> list[float]:
    """One, the best accuracy yet, and what the last epoch added."""
    return [1.0, max(begun), begun[-1] - begun[-2] if len(begun) > 1 else 0.0]


def _ridge(x: Floats, y: Floats, at: Sequence[float]) -> tuple[float, Floats, Floats]:
    """Prediction at ``at``, and the leverage and residual of each known point."""
    inverse = np.linalg.inv(x.T @ x + RIDGE * np.eye(x.shape[1]))
    weights = inverse @ x.T @ y
    leverage = np.einsum("ij,jk,ik->i", x, inverse, x)
    return float(np.asarray(at) @ weights), leverage, y - x @ weights


def hopeless(begun: Sequence[float], ended: Sequence[Ended], needed: float) -> bool:
    """Whether the final score will almost surely stay below ``needed``."""
    found = predict(begun, ended)
    return found is not None and found[0] + SURE * found[1] < needed
