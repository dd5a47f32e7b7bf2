"""What is expected of networks that are not yet trained: accuracy and its uncertainty, from all that is known.

features (and zero-cost scores) -> Gaussian process over shortly trained networks -> mean, deviation
  -> corrected by a few steps of training where there are some                    -> mean, deviation
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flow.search import predictor
from flow.space import summary
from flow.space.network import NetSpec
from flow.train import ranking

Floats = NDArray[np.float64]
LEAST = 3  # trained networks before the predictor says anything
MOST = 256  # of them that the predictor is fitted to: its cost grows with the square
LEAST_PAIRS = 5  # networks with both trainings before a few steps tell about a short one
START, SLOPE, DOUBT = 0.3, 0.5, 0.15  # before any training: lowest and range of what is expected, and the deviation


@dataclass
class Known:
    """What is known of networks, by digest. ``few``, ``short``: validation accuracies of the two quick rungs;
    ``scores``: zero-cost proxies; ``shared``: validation accuracies with a supernet's weights."""

    short: dict[str, float] = field(default_factory=dict)
    few: dict[str, float] = field(default_factory=dict)
    scores: dict[str, Mapping[str, float]] = field(default_factory=dict)
    shared: dict[str, float] = field(default_factory=dict)
    specs: dict[str, NetSpec] = field(default_factory=dict)


def accuracies(known: Known, specs: Sequence[NetSpec]) -> tuple[Floats, Floats]:
    """(N,) mean and (N,) deviation of each network's short-training accuracy; a measured one has no deviation."""
    trained = sorted(known.short)
    trained = trained[:: math.ceil(len(trained) / MOST) or 1]  # by digest: a random choice, but always the same
    every = [known.specs[d] for d in trained] + list(specs)
    rows = _rows(known, every)
    if len(trained) < LEAST:
        # The field's baseline proxy, or the zero-cost scores where there are some, stand in.
        rank = ranking.ranks(rows[len(trained) :, -1] if _scored(known, every) else [s.params for s in specs])
        mean, deviation = START + SLOPE * rank, np.full(len(specs), DOUBT)
    else:
        model = predictor.fit(rows[: len(trained)], np.array([known.short[d] for d in trained]))
        mean, deviation = model.predict(rows[len(trained) :])
    mean, deviation = _corrected(known, specs, mean, deviation)
    for i, s in enumerate(specs):
        if s.digest in known.short:
            mean[i], deviation[i] = known.short[s.digest], 0.0
    return np.clip(mean, 0.0, 1.0), deviation


def longer(accuracy: float, times: float, power: float) -> float:
    """``accuracy`` as ``times`` as much training changes it: errors fall with that ``power`` of it."""
    return 1.0 - (1.0 - accuracy) * math.pow(times, -power)


def _scored(known: Known, specs: Sequence[NetSpec]) -> bool:
    return bool(specs) and all(s.digest in known.scores for s in specs)


def _rows(known: Known, specs: Sequence[NetSpec]) -> Floats:
    """Features; then the accuracy with shared weights where some network has one (the others get the mean); then the
    mean rank of the zero-cost scores where every network has them."""
    columns = [summary.features(specs)]
    if read := [known.shared[s.digest] for s in specs if s.digest in known.shared]:
        mean = float(np.mean(read))
        columns.append(np.array([[known.shared.get(s.digest, mean)] for s in specs]))
    if _scored(known, specs):
        columns.append(ranking.ensemble([known.scores[s.digest] for s in specs], ranking.INFORMATIVE)[:, None])
    return np.hstack(columns)


def _corrected(known: Known, specs: Sequence[NetSpec], mean: Floats, deviation: Floats) -> tuple[Floats, Floats]:
    """A straight line from few-steps to short accuracy, its residuals' deviation, and the predictor's answer: the two
    weighted by their precisions."""
    pairs = [(known.few[d], a) for d, a in sorted(known.short.items()) if d in known.few]
    if len(pairs) < LEAST_PAIRS:
        return mean, deviation
    x, y = np.array(pairs).T
    line = np.polyfit(x, y, 1) if np.ptp(x) > 0 else np.array([0.0, y.mean()])
    spread = float(np.sqrt(np.sum((y - np.polyval(line, x)) ** 2) / (len(x) - 2))) + 1e-3
    for i, s in enumerate(specs):
        if s.digest in known.few:
            here = float(np.polyval(line, known.few[s.digest]))
            weight = deviation[i] ** 2 / (deviation[i] ** 2 + spread**2)
            mean[i] += weight * (here - mean[i])
            deviation[i] = float(np.sqrt(weight)) * spread
    return mean, deviation


def nearest(among: Sequence[NetSpec], specs: Sequence[NetSpec]) -> list[int]:
    """For each of ``specs`` the index of the network in ``among`` with the most alike features."""
    rows = summary.features([*among, *specs])
    scaled = (rows - rows.mean(0)) / np.maximum(rows.std(0), 1e-9)
    here, there = scaled[len(among) :], scaled[: len(among)]
    return [int(np.argmin(((there - row) ** 2).sum(1))) for row in here]
