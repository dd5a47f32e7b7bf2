"""The bookkeeping that makes a strategy replayable: numbers, generations, outstanding trials, duplicates."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flow.search import Exhausted, Floats, Genotype, SearchError, Space, Trial


@dataclass(frozen=True, eq=False)
class History:
    """All trials of the generations before the one asked for, by number."""

    trials: tuple[Trial, ...]
    objectives: int

    def __len__(self) -> int:
        return len(self.trials)

    @cached_property
    def values(self) -> Floats:
        """(trials, objectives); infinite only where infeasible."""
        return np.array([t.values for t in self.trials], dtype=np.float64).reshape(len(self.trials), self.objectives)

    @cached_property
    def violation(self) -> Floats:
        return np.array([t.violation for t in self.trials], dtype=np.float64)


class Numbered(abc.ABC):
    """A strategy from one function, :meth:`propose`. The rest of the contract in :mod:`flow.search` is kept here.

    ``batch``: trials a generation; a generation is proposed from the trials before it. ``retries``: tries a proposal
    gets to be new, after which as many random samples are tried.
    """

    blind = False  # a strategy that never looks at results need not wait for them

    def __init__(self, space: Space, seed: int, objectives: int, batch: int = 8, retries: int = 64) -> None:
        if seed < 0:
            raise SearchError(f"seed {seed} is negative")
        if batch < 1 or retries < 1:
            raise SearchError(f"batch {batch} and retries {retries} must be at least 1")
        self.space, self.seed, self.objectives = space, seed, objectives
        self.batch, self.retries = batch, retries
        self._told: dict[int, Trial] = {}
        self._keys: dict[int, str] = {}  # of every number told or asked for
        self._first: dict[str, int] = {}  # the lowest number of a key
        self._next = 0  # every number below is told or asked for
        self._complete = 0  # every number below is told
        self._history: History | None = None

    @abc.abstractmethod
    def propose(self, history: History, rng: np.random.Generator, attempt: int) -> Genotype:
        """A genotype.

        Called again with the next ``attempt`` and the same ``rng`` while the answer was proposed before.
        """

    def ask(self, n: int) -> list[Genotype]:
        """See :class:`flow.search.Strategy`."""
        if n < 1:
            raise SearchError(f"ask for at least 1 proposal, not {n}")
        found: list[Genotype] = []
        while len(found) < n:
            while self._next in self._keys:
                self._next += 1
            history = self._before(self._next)
            if history is None:
                break
            genotype = self._new(self._next, history)
            if genotype is None:
                if found:
                    break
                raise Exhausted(
                    f"no new genotype in {2 * self.retries} tries after {self._next} proposals: the space is exhausted"
                )
            found.append(genotype)
        return found

    def tell(self, trials: Sequence[Trial]) -> None:
        """See :class:`flow.search.Strategy`. A batch with a wrong trial is refused whole."""
        keys = [self._checked(t) for t in trials]
        for trial, key in zip(trials, keys, strict=True):
            self._told[trial.number] = trial
            self._note(trial.number, key)
        while self._complete in self._told:
            self._complete += 1
        if trials:
            self._history = None

    def _checked(self, trial: Trial) -> str:
        if len(trial.values) != self.objectives:
            raise SearchError(
                f"trial {trial.number} has {len(trial.values)} values; the search has {self.objectives} objectives"
            )
        key = self.space.dumps(trial.genotype)
        if self._keys.get(trial.number, key) != key:
            was = self._keys[trial.number]
            raise SearchError(
                f"trial {trial.number} was proposed as {was} and told as {key}: give trials the numbers asked for"
            )
        return key

    def _note(self, number: int, key: str) -> None:
        self._keys[number] = key
        self._first[key] = min(number, self._first.get(key, number))

    def _before(self, number: int) -> History | None:
        """What proposal ``number`` may look at; None while some of it is outstanding."""
        end = 0 if self.blind else number // self.batch * self.batch
        if self._complete < end:
            return None
        if self._history is None or len(self._history) != end:
            self._history = History(tuple(self._told[i] for i in range(end)), self.objectives)
        return self._history

    def _new(self, number: int, history: History) -> Genotype | None:
        rng = np.random.default_rng([self.seed, number])
        for attempt in range(2 * self.retries):
            genotype = self.propose(history, rng, attempt) if attempt < self.retries else self.space.sample(rng)
            key = self.space.dumps(genotype)
            # Later numbers may be known already when a run with gaps resumes: they were not when this one was first
            # proposed.
            if self._first.get(key, number) >= number:
                self._note(number, key)
                return genotype
        return None
