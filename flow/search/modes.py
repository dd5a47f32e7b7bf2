"""What is searched: one half of a pair, both in turn, or both together; any strategy does the searching.

``joint``      both halves.
``nested``     the first half; the evaluation finds the best second half for each.
``hw-aware``   the first half, the second held: hardware-aware NAS on a given accelerator.
``hw-only``    the second half, the first held: an accelerator for a given network.
``nas``        the first half for the first objective alone, limits included in nothing: NAS without hardware.
``sequential`` ``nas`` with the first trials, then ``hw-only`` on what it found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from flow.search import Genotype, SearchError, Space, Strategy, Trial, free_numbers, load
from flow.search.halves import Held

MODES = ("joint", "nested", "hw-aware", "hw-only", "nas", "sequential")


def strategy(
    mode: str,
    name: str,
    space: Space,
    seed: int,
    objectives: int,
    *,
    held: Genotype = None,
    first: int = 0,
    keep: int = 1,
    **options: Any,
) -> Strategy:
    """The strategy ``name`` (:func:`flow.search.load`) in a mode.

    ``held``: a genotype whose second half (for ``hw-only``: first half) is held; not for ``joint``.  ``first``: trials
    of ``sequential``'s first search.  ``keep``: how many of its best go into the second.  Raises SearchError.
    """
    if mode not in MODES:
        raise SearchError(f"mode {mode!r} is not one of {', '.join(MODES)}")
    if mode == "joint":
        return load(name, space, seed, objectives, **options)
    if held is None:
        raise SearchError(f"mode {mode} holds a half: give the genotype that it is of")
    if mode in ("nested", "hw-aware", "hw-only"):
        return load(name, Held(space, int(mode != "hw-only"), [held]), seed, objectives, **options)
    alone = Alone(load(name, Held(space, 1, [held]), seed, 1, **options), objectives)
    if mode == "nas":
        return alone
    if first < 1 or keep < 1:
        raise SearchError(f"mode sequential: first {first} and keep {keep} must be at least 1")
    return InTurn(alone, name, space, seed, objectives, first, keep, options)


class Alone:
    """A strategy of one objective that is told only the first value of each trial, its limits forgotten."""

    def __init__(self, inner: Strategy, objectives: int) -> None:
        self.inner, self.objectives = inner, objectives

    def ask(self, n: int) -> list[Genotype]:
        return self.inner.ask(n)

    def tell(self, trials: Sequence[Trial]) -> None:
        for t in trials:
            if len(t.values) != self.objectives:
                raise SearchError(f"trial {t.number} has {len(t.values)} values, not {self.objectives}")
        self.inner.tell([
            Trial(t.number, t.genotype, t.values[:1])
            if math.isfinite(t.values[0])
            else Trial.failed(t.number, t.genotype, 1)
            for t in trials
        ])  # fmt: skip


class InTurn:
    """``first`` trials of one search, then a search of the second half for its ``keep`` best; numbers run on."""

    def __init__(
        self,
        alone: Alone,
        name: str,
        space: Space,
        seed: int,
        objectives: int,
        first: int,
        keep: int,
        options: dict[str, Any],
    ) -> None:
        self.alone, self.name, self.space, self.seed = alone, name, space, seed
        self.objectives, self.first, self.keep, self.options = objectives, first, keep, options
        self._told: dict[int, Trial] = {}
        self._asked: set[int] = set()
        self._second: Strategy | None = None

    def ask(self, n: int) -> list[Genotype]:
        free = free_numbers(self._told.keys() | self._asked)
        numbers = [next(free) for _ in range(n)]
        early = sum(k < self.first for k in numbers)
        if early:
            found = self.alone.ask(early)
        else:
            second = self._begun()
            found = [] if second is None else second.ask(n)
        self._asked.update(numbers[: len(found)])
        return found

    def tell(self, trials: Sequence[Trial]) -> None:
        self.alone.tell([t for t in trials if t.number < self.first])
        if self._second is not None:
            self._second.tell([self._moved(t) for t in trials if t.number >= self.first])
        self._told.update((t.number, t) for t in trials)

    def _begun(self) -> Strategy | None:
        """The second search, made once every trial of the first is told."""
        if self._second is None:
            known = [self._told[i] for i in range(self.first) if i in self._told]
            if len(known) < self.first:
                return None
            best = sorted(known, key=lambda t: (t.values[0], t.number))[: self.keep]
            space = Held(self.space, 0, [t.genotype for t in best], {self.space.dumps(t.genotype) for t in known})
            self._second = load(self.name, space, self.seed, self.objectives, **self.options)
            self._second.tell([self._moved(t) for n, t in sorted(self._told.items()) if n >= self.first])
        return self._second

    def _moved(self, t: Trial) -> Trial:
        return Trial(t.number - self.first, t.genotype, t.values, t.violation, t.info)
