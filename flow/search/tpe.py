"""Tree-structured Parzen estimator over genes: draw from the good trials' density, prefer where bad trials are rare.

Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011; several objectives by splitting at the
non-domination rank and crowding distance, after Ozaki et al., GECCO 2020. Genes are taken as independent categories
with a prior of one trial spread over the choices. The space needs an encoding (:mod:`flow.search.encoded`). Optuna's
own TPE is the strategy ``optuna_samplers``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from flow.search import Floats, Genotype, SearchError, Space
from flow.search.encoded import Indices, encoded, matrix
from flow.search.numbered import History, Numbered
from flow.search.pareto import select


@dataclass(frozen=True, eq=False)
class Densities:
    """(genes, widest gene) probabilities of the choices among good and bad trials; 0 beyond a gene's choices."""

    good: Floats
    bad: Floats


class Tpe(Numbered):
    """``initial``: random samples first; ``share``: of the trials that count as good; ``candidates``: draws from the
    good density of which the likeliest good one is proposed."""

    def __init__(
        self, space: Space, seed: int, objectives: int, batch: int, initial: int, share: float, candidates: int
    ) -> None:
        super().__init__(space, seed, objectives, batch)
        if initial < 2 or not 0 < share < 1 or candidates < 1:
            raise SearchError(
                f"tpe: initial {initial} must be at least 2, share {share} between 0 and 1, candidates {candidates} at "
                "least 1"
            )
        self.initial, self.share, self.candidates = initial, share, candidates
        self.coded = encoded(space, "tpe")
        self.counts = np.array(self.coded.genes())
        self._last: tuple[History, Densities] | None = None

    def propose(self, history: History, rng: np.random.Generator, attempt: int) -> Genotype:
        if len(history) < self.initial:
            return self.space.sample(rng)
        if self._last is None or self._last[0] is not history:
            self._last = history, self._densities(history)
        d = self._last[1]
        drawn = _draws(d.good, self.candidates, rng)
        # The more often the proposals were known, the more genes come from the whole space.
        stray = rng.random(drawn.shape) < attempt / self.retries
        drawn = np.where(stray, rng.integers(self.counts, size=drawn.shape), drawn)
        at = np.arange(len(self.counts))
        score = (np.log(d.good[at, drawn]) - np.log(d.bad[at, drawn])).sum(axis=1)
        return self.coded.decode([int(i) for i in drawn[int(np.argmax(score))]])

    def _densities(self, history: History) -> Densities:
        n = len(history)
        best = select(history.values, history.violation, max(2, math.ceil(self.share * n)))[0]
        good = np.zeros(n, dtype=bool)
        good[best] = True
        codes = matrix(self.coded, [t.genotype for t in history.trials])
        return Densities(self._density(codes[good]), self._density(codes[~good]))

    def _density(self, codes: Indices) -> Floats:
        width = int(self.counts.max())
        inside = np.arange(width) < self.counts[:, None]
        seen = (codes[:, :, None] == np.arange(width)).sum(axis=0) + inside / self.counts[:, None]
        return np.asarray(seen / (len(codes) + 1.0))


def _draws(density: Floats, count: int, rng: np.random.Generator) -> Indices:
    """(count, genes) independent draws."""
    total = np.cumsum(density, axis=1)
    u = rng.random((count, len(density))) * total[:, -1]
    return np.asarray((u[:, :, None] >= total[None]).sum(axis=2), dtype=np.int64)


def create(
    space: Space,
    seed: int,
    objectives: int,
    *,
    batch: int = 8,
    initial: int = 16,
    share: float = 0.2,
    candidates: int = 24,
) -> Tpe:
    return Tpe(space, seed, objectives, batch, initial, share, candidates)
