"""MOEA/D: one Chebyshev subproblem a weight vector, parents from neighbouring subproblems.

Zhang and Li, "MOEA/D: A Multiobjective Evolutionary Algorithm Based on Decomposition", IEEE TEC 11(6), 2007; choosing
parents from the whole population at times after Li and Zhang, IEEE TEC 13(2), 2009. Each proposal is for a subproblem
drawn at random. A subproblem's solution is the best of all trials, not only of its neighbours' children: an evaluation
costs far more than remembering it. Objectives are scaled by the range of the feasible trials.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import numpy as np

from flow.search import Floats, Genotype, SearchError, Space
from flow.search.evolution import best
from flow.search.numbered import History, Numbered, mutated
from flow.search.pareto import Indices


@lru_cache(maxsize=32)
def lattice(objectives: int, most: int) -> Floats:
    """(n, objectives) weight vectors evenly over the simplex (Das and Dennis, 1998), n at most ``most`` where the
    corners alone are not more; in lexicographic order."""
    parts = 1
    while objectives > 1 and len(_compositions(parts + 1, objectives)) <= most:
        parts += 1
    rows = np.array(_compositions(parts, objectives), dtype=np.float64) / parts
    rows.setflags(write=False)
    return rows


def _compositions(total: int, parts: int) -> list[tuple[int, ...]]:
    bars = combinations(range(total + parts - 1), parts - 1)
    return [tuple(int(d) for d in np.diff([-1, *b, total + parts - 1]) - 1) for b in bars]


class Moead(Numbered):
    """``population``: most subproblems, and random samples at the start; ``neighbours``: size of a neighbourhood;
    ``local``: probability that parents come from it; ``crossover``, ``mutation``: as for nsga2."""

    def __init__(
        self,
        space: Space,
        seed: int,
        objectives: int,
        batch: int,
        population: int,
        neighbours: int,
        local: float,
        crossover: float,
        mutation: float,
    ) -> None:
        super().__init__(space, seed, objectives, batch)
        if population < 2 or neighbours < 1:
            raise SearchError(f"moead: population {population} must be at least 2, neighbours {neighbours} at least 1")
        if not all(0 <= p <= 1 for p in (local, crossover, mutation)):
            raise SearchError(f"moead: local {local}, crossover {crossover} and mutation {mutation} are probabilities")
        self.population, self.local, self.crossover, self.mutation = population, local, crossover, mutation
        # A weight of 0 would leave an objective out altogether; 1e-3 breaks its ties.
        self.weights = np.maximum(lattice(objectives, population), 1e-3)
        apart = ((self.weights[:, None] - self.weights[None]) ** 2).sum(axis=2)
        self.near = np.argsort(apart, axis=1, kind="stable")[:, :neighbours]
        self.all = np.arange(len(self.weights))
        self._best: tuple[History, list[Indices]] | None = None

    def propose(self, history: History, rng: np.random.Generator, attempt: int) -> Genotype:
        if len(history) < self.population:
            return self.space.sample(rng)
        if self._best is None or self._best[0] is not history:
            self._best = history, best(history, self.weights)  # ties are all kept
        found = self._best[1]
        problem = int(rng.integers(len(self.weights)))
        pool = self.near[problem] if rng.random() < self.local else self.all
        first, second = (history.trials[_any(found[_any(pool, rng)], rng)].genotype for _ in range(2))
        crossed = rng.random() < self.crossover
        child = self.space.crossover(first, second, rng) if crossed else first
        if not crossed or rng.random() < self.mutation:
            child = mutated(self.space, child, rng, attempt)
        return child


def _any(among: Indices, rng: np.random.Generator) -> int:
    return int(among[int(rng.integers(len(among)))])


def create(
    space: Space,
    seed: int,
    objectives: int,
    *,
    batch: int = 8,
    population: int = 20,
    neighbours: int = 5,
    local: float = 0.9,
    crossover: float = 0.5,
    mutation: float = 0.8,
) -> Moead:
    return Moead(space, seed, objectives, batch, population, neighbours, local, crossover, mutation)
