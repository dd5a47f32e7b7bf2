"""A space whose every proposal is repaired: what breaks a limit that costs nothing to check is changed until it fits.

Where most genotypes are infeasible, a search that has to find out by evaluating spends its budget on that. A strategy
on a repaired space sees feasible genotypes from the first sample on (Coello Coello, "Theoretical and numerical
constraint-handling techniques used with evolutionary algorithms", 2002, section 3: repair by replacement, Lamarckian).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from flow.search import Genotype, Space
from flow.search.encoded import METHODS


class Repaired:
    """``space`` with ``repair`` applied to whatever comes out of it; ``repair`` is a function of the genotype alone
    and leaves alone what keeps the limits."""

    def __init__(self, space: Space, repair: Callable[[Genotype], Genotype]) -> None:
        self.inner, self.repair = space, repair
        self.features, self.dumps, self.loads = space.features, space.dumps, space.loads
        if all(callable(getattr(space, m, None)) for m in METHODS):
            self.genes, self.encode, self.decode = space.genes, space.encode, self._decode  # type: ignore[attr-defined]

    def sample(self, rng: np.random.Generator) -> Genotype:
        return self.repair(self.inner.sample(rng))

    def mutate(self, genotype: Genotype, rng: np.random.Generator) -> Genotype:
        return self.repair(self.inner.mutate(genotype, rng))

    def crossover(self, a: Genotype, b: Genotype, rng: np.random.Generator) -> Genotype:
        return self.repair(self.inner.crossover(a, b, rng))

    def _decode(self, indices: Sequence[int]) -> Genotype:
        return self.repair(self.inner.decode(indices))  # type: ignore[attr-defined]
