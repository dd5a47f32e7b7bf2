"""Regularised (ageing) evolution.

Real et al., "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019.

The population is the youngest ``population`` trials; the best of a random sample of them is mutated. With several
objectives, best means: feasible, then lowest non-domination rank and largest own hypervolume within it
(``fitness="hypervolume"``), or the smallest Chebyshev scalarisation (``fitness="weights"``; random weights for each
proposal unless given).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flow.search import Floats, Genotype, SearchError, Space
from flow.search.numbered import History, Numbered, mutated
from flow.search.pareto import Indices, chebyshev, contributions, fronts

FITNESS = ("hypervolume", "weights")


class Evolution(Numbered):
    """See the module."""

    def __init__(
        self,
        space: Space,
        seed: int,
        objectives: int,
        batch: int,
        population: int,
        sample: int,
        fitness: str,
        weights: Sequence[float] | None,
    ) -> None:
        super().__init__(space, seed, objectives, batch)
        if not 1 <= sample <= population:
            raise SearchError(f"evolution: sample {sample} must be between 1 and the population, {population}")
        if fitness not in FITNESS:
            raise SearchError(f"evolution: fitness {fitness!r} is not one of {', '.join(FITNESS)}")
        if weights is not None and (len(weights) != objectives or min(weights) < 0 or max(weights) <= 0):
            raise SearchError(f"evolution: weights {list(weights)} must be {objectives} numbers >= 0, not all 0")
        self.population, self.sample, self.fitness, self.weights = population, sample, fitness, weights
        self._order: tuple[History, Floats] | None = None

    def propose(self, history: History, rng: np.random.Generator, attempt: int) -> Genotype:
        if len(history) < self.population:
            return self.space.sample(rng)
        young = history.trials[-self.population :]
        cost = self._costs(history) if self.fitness == "hypervolume" else self._weighted(history, rng)
        chosen = rng.choice(len(young), size=self.sample, replace=False)
        return mutated(self.space, young[chosen[np.argmin(cost[chosen])]].genotype, rng, attempt)

    def _costs(self, history: History) -> Floats:
        """Place of each of the population in the order of rank and own hypervolume; the same for a whole generation."""
        if self._order is None or self._order[0] is not history:
            values, violation = history.values[-self.population :], history.violation[-self.population :]
            self._order = history, order_cost(values, violation)
        return self._order[1]

    def _weighted(self, history: History, rng: np.random.Generator) -> Floats:
        weights = rng.dirichlet(np.ones(self.objectives)) if self.weights is None else np.asarray(self.weights)
        return scalar_cost(history.values[-self.population :], history.violation[-self.population :], weights)


def order_cost(values: Floats, violation: Floats) -> Floats:
    """(n,) 0 for the best.

    Rank first, then own hypervolume against a reference 10 % beyond the front's worst values.
    """
    cost = np.zeros(len(values))
    place = 0
    for front in fronts(values, violation):
        order = front
        if violation[front[0]] <= 0 and len(front) > 1:
            v = values[front]
            low, span = v.min(axis=0), np.ptp(v, axis=0)
            scaled = (v - low) / np.where(span > 0, span, 1.0)
            order = front[np.argsort(-contributions(scaled, [1.1] * v.shape[1]), kind="stable")]
        cost[order] = place + np.arange(len(order))
        place += len(order)
    return cost


def scalar_cost(values: Floats, violation: Floats, weights: Floats) -> Floats:
    """(n,) the scalarisation of feasible trials; every infeasible one costs more, in the order of violation."""
    cost = np.zeros(len(values))
    good = violation <= 0
    if good.any():
        cost[good] = chebyshev(values[good], weights)
    if not good.all():
        places = np.unique(violation[~good], return_inverse=True)[1]
        cost[~good] = cost.max(initial=0.0) + 1.0 + places
    return cost


def best(history: History, weights: Floats) -> list[Indices]:
    """For each of the weight vectors (n, objectives), all above 0, the trials of least :func:`scalar_cost`, ties all.

    Such a scalarisation is least on the front, so nothing else is looked at.
    """
    front = history.front
    if not len(front):
        return [np.flatnonzero(history.violation == history.violation.min())] * len(weights)
    low, high = history.extent
    scaled = (history.values[front] - low) / np.where(high > low, high - low, 1.0) * weights[:, None]
    cost = scaled.max(axis=2) + 0.05 * scaled.sum(axis=2)
    return [front[c == least] for c, least in zip(cost, cost.min(axis=1), strict=True)]


def create(
    space: Space,
    seed: int,
    objectives: int,
    *,
    batch: int = 8,
    population: int = 32,
    sample: int = 8,
    fitness: str | None = None,
    weights: Sequence[float] | None = None,
) -> Evolution:
    """``fitness``.

    By default the hypervolume for up to 3 objectives (it costs too much beyond) unless weights are given.
    """
    if fitness is None:
        fitness = "hypervolume" if objectives <= 3 and weights is None else "weights"
    return Evolution(space, seed, objectives, batch, population, sample, fitness, weights)
