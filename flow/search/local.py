"""Local search: neighbours of the best trial known.

Best is under weights drawn anew for each proposal, so all parts of the front get neighbours.
A neighbour already proposed is mutated again, so the neighbourhood widens where it is used up. A share of the
proposals are fresh samples, against local optima.
"""

from __future__ import annotations

import numpy as np

from flow.search import Genotype, SearchError, Space
from flow.search.evolution import best
from flow.search.numbered import History, Numbered


class Local(Numbered):
    """``initial`` samples first, then neighbours; ``restart``: the share of later proposals that are samples."""

    def __init__(self, space: Space, seed: int, objectives: int, batch: int, initial: int, restart: float) -> None:
        super().__init__(space, seed, objectives, batch)
        if initial < 1 or not 0 <= restart <= 1:
            raise SearchError(f"local: initial {initial} must be at least 1 and restart {restart} between 0 and 1")
        self.initial, self.restart = initial, restart
        self._last: Genotype = None

    def propose(self, history: History, rng: np.random.Generator, attempt: int) -> Genotype:
        if attempt == 0:
            self._last = self._start(history, rng)
            if len(history) < self.initial or rng.random() < self.restart:
                self._last = self.space.sample(rng)
                return self._last
        elif len(history) < self.initial:
            return self.space.sample(rng)
        self._last = self.space.mutate(self._last, rng)
        return self._last

    def _start(self, history: History, rng: np.random.Generator) -> Genotype:
        if not len(history):
            return None
        weights = np.maximum(rng.dirichlet(np.ones(self.objectives)), 1e-12)
        ties = best(history, weights[None])[0]
        return history.trials[int(ties[int(rng.integers(len(ties)))])].genotype


def create(
    space: Space, seed: int, objectives: int, *, batch: int = 8, initial: int = 16, restart: float = 0.1
) -> Local:
    return Local(space, seed, objectives, batch, initial, restart)
