"""Tree-structured Parzen estimator over genes: draw from the good trials' density, prefer where bad trials are rare.

Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011; several objectives by splitting at the
non-domination rank and crowding distance, after Ozaki et al., GECCO 2020. A density is a mixture of a kernel a trial,
all genes together: a gene has the trial's choice with probability (1 + 1/n) / (1 + c/n) and each other one with
(1/n) / (1 + c/n), for n trials and c choices, which is one trial's weight spread over the choices. The space needs an
encoding (:mod:`flow.search.encoded`). Optuna's own TPE is the strategy ``optuna_samplers``.
"""

from __future__ import annotations

import math

import numpy as np

from flow.search import Floats, Genotype, SearchError, Space
from flow.search.encoded import Codes, Indices, encoded
from flow.search.numbered import History, Numbered
from flow.search.pareto import select


class Mixture:
    """``codes`` (n, genes) of the trials, ``counts`` of each gene's choices; of no trial, the uniform density."""

    def __init__(self, codes: Indices, counts: Indices) -> None:
        self.codes, self.counts = codes, counts
        n = max(1, len(codes))
        self.same = (1 + 1 / n) / (1 + counts / n)
        other = (1 / n) / (1 + counts / n)
        self.gain, self.floor = np.log(self.same / other), float(np.log(other).sum())

    def draw(self, count: int, rng: np.random.Generator) -> Indices:
        """(count, genes)"""
        drawn: Indices = rng.integers(self.counts, size=(count, len(self.counts)))
        if not len(self.codes):
            return drawn
        # What is not the trial's choice by the draw of the kernel may be so by that of the gene.
        keep = (self.same * self.counts - 1) / np.maximum(self.counts - 1, 1)
        kept = rng.random(drawn.shape) < keep
        return np.where(kept, self.codes[rng.integers(len(self.codes), size=count)], drawn)

    def log(self, codes: Indices) -> Floats:
        """(m,) log-densities of (m, genes)."""
        if not len(self.codes):
            return np.zeros(len(codes))
        each = (codes[:, None] == self.codes[None]) @ self.gain
        most = each.max(axis=1)
        return np.asarray(most + np.log(np.exp(each - most[:, None]).mean(axis=1)) + self.floor)


class Tpe(Numbered):
    """``initial``: random samples first; ``share``: of the trials that count as good, at most ``most``, with which the
    newest ``bad`` others are compared; ``candidates``: draws, of which the likeliest good one is proposed."""

    def __init__(
        self,
        space: Space,
        seed: int,
        objectives: int,
        batch: int,
        initial: int,
        share: float,
        candidates: int,
        most: int,
        bad: int,
    ) -> None:
        super().__init__(space, seed, objectives, batch)
        if initial < 2 or not 0 < share < 1 or min(candidates, bad) < 1 or most < 2:
            raise SearchError(
                f"tpe: initial {initial} and most {most} must be at least 2, share {share} between 0 and 1, candidates "
                f"{candidates} and bad {bad} at least 1"
            )
        self.initial, self.share, self.candidates, self.most, self.bad = initial, share, candidates, most, bad
        self.coded = encoded(space, "tpe")
        self.counts = np.array(self.coded.genes())
        self.codes = Codes(self.coded)
        self._last: tuple[History, tuple[Mixture, Mixture]] | None = None
        self._ranked: Indices = np.zeros((0, len(self.counts)), np.int64)

    def propose(self, history: History, rng: np.random.Generator, attempt: int) -> Genotype:
        if len(history) < self.initial:
            return self.space.sample(rng)
        if self._last is None or self._last[0] is not history:
            self._last = history, self._mixtures(history)
        if attempt % self.candidates == 0:
            self._ranked = self._candidates(*self._last[1], attempt / self.retries, rng)
        return self.coded.decode(self._ranked[attempt % self.candidates].tolist())

    def _mixtures(self, history: History) -> tuple[Mixture, Mixture]:
        n = len(history)
        best = select(history.values, history.violation, min(self.most, max(2, math.ceil(self.share * n))))[0]
        rest = np.ones(n, dtype=bool)
        rest[best] = False
        codes = self.codes(history.trials)
        return Mixture(codes[best], self.counts), Mixture(codes[rest][-self.bad :], self.counts)

    def _candidates(self, good: Mixture, bad: Mixture, stray: float, rng: np.random.Generator) -> Indices:
        """(candidates, genes), the likeliest good one first; a share ``stray`` of the genes from the whole space, which
        is more the more often proposals were known."""
        drawn = good.draw(self.candidates, rng)
        if stray:
            drawn = np.where(rng.random(drawn.shape) < stray, rng.integers(self.counts, size=drawn.shape), drawn)
        return drawn[np.argsort(bad.log(drawn) - good.log(drawn), kind="stable")]


def create(
    space: Space,
    seed: int,
    objectives: int,
    *,
    batch: int = 8,
    initial: int = 16,
    share: float = 0.2,
    candidates: int = 24,
    most: int = 24,
    bad: int = 96,
) -> Tpe:
    return Tpe(space, seed, objectives, batch, initial, share, candidates, most, bad)
