"""Random search: the baseline every other strategy has to beat."""

from __future__ import annotations

import numpy as np

from flow.search import Genotype, Space
from flow.search.numbered import History, Numbered


class Random(Numbered):
    """Samples of the space without repetition."""

    blind = True

    def propose(self, history: History, rng: np.random.Generator, attempt: int) -> Genotype:
        return self.space.sample(rng)


def create(space: Space, seed: int, objectives: int, *, batch: int = 8) -> Random:
    """``batch`` has no effect; it is taken so that a run may give it to every strategy."""
    return Random(space, seed, objectives, batch=batch)
