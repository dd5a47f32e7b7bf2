"""Multi-objective Bayesian optimisation: Gaussian processes of the objectives, expected improvement of scalarisations.

ParEGO's random weights and augmented Chebyshev scalarisation (Knowles, IEEE TEC 10(1), 2006), with one model an
objective and the expectation over samples of all of them, as qNParEGO (Daulton, Balandat, Bakshy, NeurIPS 2021). With
limits, the improvement is multiplied by the probability of feasibility (Gardner et al., ICML 2014), from a model of
the labels. The acquisition is maximised over a pool: samples of the space, and mutations and crossovers of the best
trials under the proposal's weights. The models see genotypes through the space's features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from flow.search import Floats, Genotype, SearchError, Space, gp
from flow.search.evolution import scalar_cost
from flow.search.numbered import History, Numbered
from flow.search.pareto import select

NORMALS = 24  # samples of the objectives' posterior for one expectation


@dataclass(frozen=True, eq=False)
class Models:
    """What a generation's proposals share. ``objectives`` is empty while nothing is feasible; ``fits`` is None while
    nothing is infeasible. ``low``, ``span``: of the feasible trials' values, for scaling."""

    standard: gp.Standard
    objectives: tuple[gp.Model, ...]
    fits: gp.Model | None
    low: Floats
    span: Floats


class Bayes(Numbered):
    """``initial``: random samples first; ``pool``: candidates a proposal; ``most``: trials that a model is fitted to
    (the best half of them by rank, the rest the newest)."""

    def __init__(
        self, space: Space, seed: int, objectives: int, batch: int, initial: int, pool: int, most: int
    ) -> None:
        super().__init__(space, seed, objectives, batch)
        if initial < 2 or pool < 4 or most < 8:
            raise SearchError(f"bayes: initial {initial} is below 2, pool {pool} below 4 or most {most} below 8")
        self.initial, self.pool, self.most = initial, pool, most
        self._features: dict[str, Floats] = {}
        self._models: tuple[History, Models] | None = None
        self._ranked: list[Genotype] = []

    def propose(self, history: History, rng: np.random.Generator, attempt: int) -> Genotype:
        if len(history) < self.initial:
            return self.space.sample(rng)
        if self._models is None or self._models[0] is not history:
            self._models = history, self._fit(history)
        if attempt == 0:
            self._ranked = self._rank(history, self._models[1], rng)
        if attempt < len(self._ranked):
            return self._ranked[attempt]
        return self.space.sample(rng)

    def _vectors(self, genotypes: list[Genotype]) -> Floats:
        return np.array([np.asarray(self.space.features(g), dtype=np.float64).ravel() for g in genotypes])

    def _known(self, history: History, index: int) -> Floats:
        """Features of a trial, computed once."""
        genotype = history.trials[index].genotype
        key = self.space.dumps(genotype)
        if key not in self._features:
            self._features[key] = self._vectors([genotype])[0]
        return self._features[key]

    def _fit(self, history: History) -> Models:
        n = len(history)
        chosen = list(range(n))
        if n > self.most:
            best = [int(i) for i in select(history.values, history.violation, self.most // 2)[0]]
            rest = sorted(set(range(n)) - set(best))
            chosen = sorted([*best, *rest[-(self.most - len(best)) :]])
        features = np.array([self._known(history, i) for i in chosen])
        standard = gp.Standard.of(features)
        x = standard(features)
        good = history.violation[chosen] <= 0
        values = history.values[chosen][good]
        models = gp.fit(x[good], values) if good.any() else ()
        fits = None if good.all() else gp.fit(x, np.where(good, -1.0, 1.0)[:, None])[0]
        low = values.min(axis=0) if good.any() else np.zeros(self.objectives)
        span = np.ptp(values, axis=0) if good.any() else np.ones(self.objectives)
        return Models(standard, models, fits, low, np.where(span > 0, span, 1.0))

    def _rank(self, history: History, models: Models, rng: np.random.Generator) -> list[Genotype]:
        """The pool, best acquisition first."""
        weights = rng.dirichlet(np.ones(self.objectives))
        cost = scalar_cost(history.values, history.violation, weights)
        parents = [history.trials[int(i)].genotype for i in np.argsort(cost, kind="stable")[:8]]
        pool = [self.space.sample(rng) for _ in range(self.pool // 4)]
        while len(pool) < self.pool:
            child = parents[int(rng.integers(len(parents)))]
            if len(pool) % 3 == 0:
                child = self.space.crossover(child, parents[int(rng.integers(len(parents)))], rng)
            for _ in range(int(rng.integers(1, 4))):
                child = self.space.mutate(child, rng)
            pool.append(child)
        z = models.standard(self._vectors(pool))
        gain = self._improvement(history, models, z, weights, rng.standard_normal((NORMALS, self.objectives)))
        if models.fits is not None:
            mean, spread = models.fits.predict(z)
            gain = gain * np.array([0.5 * math.erfc(m / s / math.sqrt(2.0)) for m, s in zip(mean, spread, strict=True)])
        return [pool[int(i)] for i in np.argsort(-gain, kind="stable")]

    def _improvement(self, history: History, models: Models, z: Floats, weights: Floats, normals: Floats) -> Floats:
        """(m,) expected improvement of the scalarisation over the best feasible trial; 1 while there is none."""
        if not models.objectives:
            return np.ones(len(z))
        mean, spread = (
            np.stack(rows, axis=-1) for rows in zip(*(o.predict(z) for o in models.objectives), strict=True)
        )
        known = (history.values[history.violation <= 0] - models.low) / models.span * weights
        best = float((known.max(axis=1) + 0.05 * known.sum(axis=1)).min())
        drawn = (mean + spread * normals[:, None, :] - models.low) / models.span * weights
        return np.asarray(np.maximum(best - drawn.max(axis=2) - 0.05 * drawn.sum(axis=2), 0.0).mean(axis=0))


def create(
    space: Space,
    seed: int,
    objectives: int,
    *,
    batch: int = 8,
    initial: int = 16,
    pool: int = 64,
    most: int = 128,
) -> Bayes:
    return Bayes(space, seed, objectives, batch, initial, pool, most)
