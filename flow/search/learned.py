"""Strategies with a state that is trained generation by generation, and yet replayable.

The state after a generation is a function of the state before it and of that generation's trials, so it can always be
made again from the told trials alone; the states on the way are kept as a cache and compared, not trusted.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from flow.search import Genotype, Space, Trial
from flow.search.numbered import History, Numbered

S = TypeVar("S")


class Learned(Numbered, Generic[S]):
    """Subclasses give :meth:`start`, :meth:`learn` and :meth:`draw`.

    ``frozen``: states are values. Where ``learn`` changes the state that it is given, ``frozen`` must be False: then
    only the newest state is kept, and a trial told again has the state made anew from the first trial.
    """

    frozen = True

    def __init__(self, space: Space, seed: int, objectives: int, batch: int = 8) -> None:
        super().__init__(space, seed, objectives, batch)
        self._learnt: list[tuple[Trial, ...]] = []  # the generations that the states have seen
        self._states: list[S] = []
        self._seen: History | None = None
        self._made: tuple[History, NDArray[Any]] | None = None

    @abc.abstractmethod
    def start(self) -> S:
        """The state before any trial, a function of the seed."""

    @abc.abstractmethod
    def learn(self, state: S, trials: Sequence[Trial]) -> S:
        """The state after one more generation of trials, in the order of their numbers."""

    @abc.abstractmethod
    def draw(self, state: S, history: History, rng: np.random.Generator, attempt: int) -> Genotype:
        """As :meth:`Numbered.propose`, with the state learnt from ``history``."""

    def propose(self, history: History, rng: np.random.Generator, attempt: int) -> Genotype:
        if history is not self._seen:
            self._replay(history)
            self._seen = history
        return self.draw(self._states[-1], history, rng, attempt)

    def together(self, history: History, make: Callable[[list[np.random.Generator]], NDArray[Any]]) -> NDArray[Any]:
        """This proposal's part of what ``make`` gives for a whole generation, from each proposal's random numbers; as
        arrays, a generation takes little longer than one proposal, and no part depends on what was asked for first."""
        if self._made is None or self._made[0] is not history:
            numbers = range(len(history), len(history) + self.batch)
            self._made = history, make([np.random.default_rng([self.seed, k]) for k in numbers])
        return np.asarray(self._made[1][self._next - len(history)])

    def _replay(self, history: History) -> None:
        trials, step = history.trials, self.batch
        generations = [trials[i : i + step] for i in range(0, len(trials), step)]
        same = 0
        while same < min(len(generations), len(self._learnt)) and generations[same] == self._learnt[same]:
            same += 1
        if not self._states or (not self.frozen and same < len(self._learnt)):
            same, self._states = 0, [self.start()]
        if self.frozen:
            del self._states[same + 1 :]
        del self._learnt[same:]
        for generation in generations[same:]:
            state = self.learn(self._states[-1], generation)
            self._states = [*self._states, state] if self.frozen else [state]
            self._learnt.append(generation)
