"""The bookkeeping that makes a strategy replayable: numbers, generations, outstanding trials, duplicates."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from flow.search import Exhausted, Floats, Genotype, SearchError, Space, Trial
from flow.search.pareto import Indices, nondominated


@dataclass(frozen=True, eq=False)
class History:
    """All trials of the generations before the one asked for, by number.

    ``values`` (trials, objectives): infinite only where infeasible.  ``violation`` (trials,).  ``earlier``: a number of
    trials and the :attr:`front` among the first so many, where it is known.
    """

    trials: tuple[Trial, ...]
    values: Floats
    violation: Floats
    earlier: tuple[int, Indices] = (0, np.zeros(0, np.intp))

    def __len__(self) -> int:
        return len(self.trials)

    @classmethod
    def of(cls, trials: Sequence[Trial], objectives: int) -> History:
        rows = _rows(trials, objectives)
        return cls(tuple(trials), rows[:, 1:], rows[:, 0])

    @cached_property
    def front(self) -> Indices:
        """Positions of the feasible trials that no other dominates."""
        start, known = self.earlier
        among = np.concatenate([known, start + np.flatnonzero(self.violation[start:] <= 0)])
        return among[nondominated(self.values[among])]

    @cached_property
    def extent(self) -> tuple[Floats, Floats]:
        """Least and greatest values of the feasible trials, of which there is at least one."""
        good = self.values[self.violation <= 0]
        return good.min(axis=0), good.max(axis=0)


def _rows(trials: Sequence[Trial], objectives: int) -> Floats:
    """(trials, 1 + objectives): violation and values."""
    rows = [(t.violation, *t.values) for t in trials]
    return np.array(rows, dtype=np.float64).reshape(len(rows), 1 + objectives)


def mutated(space: Space, genotype: Genotype, rng: np.random.Generator, attempt: int) -> Genotype:
    """A mutation, and the more of them the more often the answer was known: the neighbourhood widens where it is used
    up."""
    for _ in range(1 + attempt // 4):
        genotype = space.mutate(genotype, rng)
    return genotype


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
        self._done: list[Trial] = []  # those told, up to the first that is not
        self._rows = np.empty((64, 1 + objectives))  # of the first of these; never written twice, as histories share it
        self._filled = 0
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
            if trial.number < len(self._done):
                self._changed(trial)
        while len(self._done) in self._told:
            self._done.append(self._told[len(self._done)])

    def _changed(self, trial: Trial) -> None:
        """A trial that strategies may have looked at is another now."""
        self._done[trial.number] = trial
        if trial.number < self._filled:
            self._rows, self._filled, self._history = np.empty_like(self._rows), 0, None

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
        if len(self._done) < end:
            return None
        if self._history is None or len(self._history) != end:
            self._history = self._first_trials(end)
        return self._history

    def _first_trials(self, end: int) -> History:
        if end > len(self._rows):
            self._rows = np.concatenate([self._rows[: self._filled], np.empty((end, self._rows.shape[1]))])
        if end > self._filled:
            self._rows[self._filled : end] = _rows(self._done[self._filled : end], self.objectives)
            self._filled = end
        last = self._history
        known = last is not None and len(last) < end and "front" in last.__dict__
        rows = self._rows[:end]
        earlier = (len(last), last.front) if last is not None and known else (0, np.zeros(0, np.intp))
        return History(tuple(self._done[:end]), rows[:, 1:], rows[:, 0], earlier)

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
