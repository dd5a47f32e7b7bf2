"""Progressive shrinking: the space loses choices gene by gene, from the back, before evolution searches the rest.

Luo et al., "HSCoNAS: Hardware-Software Co-Design of Efficient DNNs via Neural Architecture Search", DATE 2021: the
quality of a choice is the mean over sampled networks that have it, all shrunk genes kept within their survivors; the
best choices stay. Theirs scores with a supernet and keeps one operator a layer; here quality is the mean place in the
order of rank and own hypervolume among the phase's trials, and ``keep`` of the choices stay, so the front keeps its
extent. The space needs an encoding (:mod:`flow.search.encoded`), whose last genes are the network's last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from flow.search import Genotype, SearchError, Space, Trial
from flow.search.encoded import encoded, matrix
from flow.search.evolution import order_cost
from flow.search.learned import Learned
from flow.search.nsga2 import Survivors
from flow.search.numbered import History

Choices: TypeAlias = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class State:
    """``left``: surviving choices of each gene; ``gene``: the one being judged, None when shrinking is over; ``seen``:
    the trials of this phase."""

    left: Choices
    gene: int | None
    seen: tuple[Trial, ...] = ()


class Shrinking(Learned[State]):
    """``genes``: share of the genes with a choice that are shrunk, from the back; ``samples``: trials a choice;
    ``keep``: share of the choices that stay, at least one; ``population``: of the evolution afterwards."""

    def __init__(
        self,
        space: Space,
        seed: int,
        objectives: int,
        batch: int,
        genes: float,
        samples: int,
        keep: float,
        population: int,
    ) -> None:
        super().__init__(space, seed, objectives, batch)
        if not 0 <= genes <= 1 or not 0 < keep <= 1:
            raise SearchError(f"shrinking: genes {genes} and keep {keep} are shares, 0 to 1")
        if samples < 1 or population < 2:
            raise SearchError(f"shrinking: samples {samples} must be at least 1 and population {population} at least 2")
        self.samples, self.keep, self.population = samples, keep, population
        self.coded = encoded(space, "shrinking")
        self.counts = self.coded.genes()
        free = [g for g, c in enumerate(self.counts) if c > 1]
        self.order = free[len(free) - round(genes * len(free)) :][::-1]
        self._survivors: tuple[History, Survivors] | None = None

    def start(self) -> State:
        return State(tuple(tuple(range(c)) for c in self.counts), self.order[0] if self.order else None)

    def learn(self, state: State, trials: Sequence[Trial]) -> State:
        """A phase ends with the generation that completes its trials."""
        seen = (*state.seen, *trials)
        if state.gene is None or len(seen) < self.samples * len(state.left[state.gene]):
            return State(state.left, state.gene, seen if state.gene is not None else ())
        place = self.order.index(state.gene) + 1
        following = self.order[place] if place < len(self.order) else None
        kept = self._best(state.gene, state.left[state.gene], seen)
        return State((*state.left[: state.gene], kept, *state.left[state.gene + 1 :]), following)

    def _best(self, gene: int, choices: tuple[int, ...], seen: tuple[Trial, ...]) -> tuple[int, ...]:
        history = History.of(seen, self.objectives)
        place = order_cost(history.values, history.violation)
        chosen = matrix(self.coded, [t.genotype for t in seen])[:, gene]
        # A choice that no trial of the phase has (each was a duplicate) has the worst quality there is.
        quality = {c: float(place[chosen == c].mean()) if (chosen == c).any() else math.inf for c in choices}
        count = max(1, math.ceil(self.keep * len(choices)))
        return tuple(sorted(sorted(choices, key=lambda c: (quality[c], c))[:count]))

    def draw(self, state: State, history: History, rng: np.random.Generator, attempt: int) -> Genotype:
        if attempt > self.retries // 2 and len(history):  # what is left of the space is used up: its neighbours
            return self.space.mutate(history.trials[int(rng.integers(len(history)))].genotype, rng)
        if state.gene is not None or len(history) < self.population:
            return self.coded.decode([c[int(rng.integers(len(c)))] for c in state.left])
        if self._survivors is None or self._survivors[0] is not history:
            self._survivors = history, Survivors.of(history, self.population)
        codes = [self.coded.encode(self._survivors[1].tournament(rng)) for _ in range(2)]
        take = rng.random(len(self.counts)) < 0.5
        child = [(a if t else b) for a, b, t in zip(*codes, take, strict=True)]
        # About one gene changes; genes outside what is left come back into it.
        move = rng.random(len(child)) < 1.0 / len(child)
        move[int(rng.integers(len(child)))] = True
        for g, left in enumerate(state.left):
            if move[g] or child[g] not in left:
                child[g] = left[int(rng.integers(len(left)))]
        return self.coded.decode(child)


def create(
    space: Space,
    seed: int,
    objectives: int,
    *,
    batch: int = 8,
    genes: float = 0.5,
    samples: int = 2,
    keep: float = 0.5,
    population: int = 16,
) -> Shrinking:
    return Shrinking(space, seed, objectives, batch, genes, samples, keep, population)
