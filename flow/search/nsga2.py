"""NSGA-II (Deb et al., IEEE TEC 6(2), 2002): constrained domination, crowding distance, binary tournaments.

Survivors are taken from all trials, not from the last generation alone: an evaluation costs far more than remembering
it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flow.search import Genotype, SearchError, Space
from flow.search.numbered import History, Numbered, mutated
from flow.search.pareto import select


@dataclass(frozen=True, eq=False)
class Survivors:
    """Genotypes and their places in the order of rank, then crowding distance: less is better."""

    genotypes: tuple[Genotype, ...]
    places: tuple[tuple[int, float], ...]

    @classmethod
    def of(cls, history: History, population: int) -> Survivors:
        index, rank, distance = select(history.values, history.violation, population)
        places = tuple(zip(rank.tolist(), (-distance).tolist(), strict=True))
        return cls(tuple(history.trials[i].genotype for i in index.tolist()), places)

    def tournament(self, rng: np.random.Generator) -> Genotype:
        """The better of two."""
        n = len(self.places)
        a, b = int(rng.integers(n)), int(rng.integers(n))
        return self.genotypes[a if self.places[a] <= self.places[b] else b]


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
            self._survivors = history, Survivors.of(history, self.population)
        survivors = self._survivors[1]
        parent = survivors.tournament(rng)
        crossed = rng.random() < self.crossover
        child = self.space.crossover(parent, survivors.tournament(rng), rng) if crossed else parent
        if not crossed or rng.random() < self.mutation:
            child = mutated(self.space, child, rng, attempt)
        return child


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
