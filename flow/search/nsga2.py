"""NSGA-II (Deb et al., IEEE TEC 6(2), 2002): constrained domination, crowding distance, binary tournaments.

Survivors are taken from all trials, not from the last generation alone: an evaluation costs far more than remembering
it.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from flow.search import Floats, Genotype, SearchError, Space
from flow.search.numbered import History, Numbered
from flow.search.pareto import Indices, select

Survivors: TypeAlias = tuple[Indices, Indices, Floats]  # positions in the history, ranks, crowding distances


class Nsga2(Numbered):
    """``population`` survivors are the parents; the first ``population`` trials are random samples."""

    def __init__(
        self, space: Space, seed: int, objectives: int, batch: int, population: int, crossover: float, mutation: float
    ) -> None:
        super().__init__(space, seed, objectives, batch)
        if population < 2:
            raise SearchError(f"nsga2: population {population} is below 2")
        if not (0 <= crossover <= 1 and 0 <= mutation <= 1):
            raise SearchError(f"nsga2: crossover {crossover} and mutation {mutation} are probabilities, 0 to 1")
        self.population, self.crossover, self.mutation = population, crossover, mutation
        self._survivors: tuple[History, Survivors] | None = None

    def propose(self, history: History, rng: np.random.Generator, attempt: int) -> Genotype:
        if len(history) < self.population:
            return self.space.sample(rng)
        if self._survivors is None or self._survivors[0] is not history:
            self._survivors = history, select(history.values, history.violation, self.population)
        survivors = self._survivors[1]
        parent = tournament(history, survivors, rng)
        crossed = rng.random() < self.crossover
        child = self.space.crossover(parent, tournament(history, survivors, rng), rng) if crossed else parent
        if not crossed or rng.random() < self.mutation:
            child = self.space.mutate(child, rng)
        return child


def tournament(history: History, survivors: Survivors, rng: np.random.Generator) -> Genotype:
    """The better of two survivors: lower rank, then larger crowding distance."""
    index, rank, distance = survivors
    a, b = (int(i) for i in rng.integers(len(index), size=2))
    better = (rank[a], -distance[a]) <= (rank[b], -distance[b])
    return history.trials[index[a if better else b]].genotype


def create(
    space: Space,
    seed: int,
    objectives: int,
    *,
    batch: int = 8,
    population: int = 16,
    crossover: float = 0.5,
    mutation: float = 0.8,
) -> Nsga2:
    """``crossover``: probability of two parents; ``mutation``: probability that a crossed child is mutated as well."""
    return Nsga2(space, seed, objectives, batch, population, crossover, mutation)
