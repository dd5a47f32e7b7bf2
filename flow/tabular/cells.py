"""Cells as what they build: operations, additions, forks and the paths that meet, so that equal hardware is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flow.space.nas_bench_201 import CELLS, OUT, live_edges
from flow.tabular.costs import WORK, Stage

Ints = NDArray[np.int64]
Moments = tuple[Any, Any]  # cycles at which a stream's first and last beats come: numbers or arrays
Part = tuple[Any, Any, Any, Any]  # share, pipeline, rest (flow.tabular.costs.lag) and cycles of a part's own work
ADD = -1
ADDITION = 6  # cycles of an addition's pipeline


class Step(NamedTuple):
    """One value made of others: ``work`` is an index of ``WORK`` and reads ``a``, or ``ADD`` and reads both."""

    work: int
    a: int
    b: int


@dataclass(frozen=True)
class Cell:
    """What a cell builds, in order; values are numbered from 0, the cell's input, each step making the next. ``out``:
    the value that leaves.  ``alive``: False for a cell whose output is zero."""

    steps: tuple[Step, ...]
    out: int
    alive: bool

    @property
    def counts(self) -> tuple[int, ...]:
        """Of each operation of ``WORK``."""
        return tuple(sum(s.work == i for s in self.steps) for i in range(len(WORK)))

    @property
    def adds(self) -> int:
        return sum(s.work == ADD for s in self.steps)

    @property
    def forks(self) -> int:
        """Streams to be split: every reader of a value but its first."""
        readers = [v for s in self.steps for v in ((s.a, s.b) if s.work == ADD else (s.a,))] + [self.out]
        return sum(readers.count(v) - 1 for v in set(readers))


def cell(ops: Sequence[str]) -> Cell:
    """As ``flow.space.nas_bench_201`` builds it: skips are wires, additions are chains in the order of the edges."""
    edges = live_edges(ops)
    steps: list[Step] = []
    nodes = {0: 0}
    for j, i, op in edges:
        term = nodes[i]
        if op != "skip_connect":
            steps.append(Step(WORK.index(op), term, term))
            term = len(steps)
        if j in nodes:
            steps.append(Step(ADD, nodes[j], term))
            term = len(steps)
        nodes[j] = term
    return Cell(tuple(steps), nodes.get(OUT, 0), bool(edges))


def resources(c: Cell, stage: Stage, fifo: Ints) -> Ints:
    """(j, 5) of a stage's cells by hardware choice, FIFOs that wait for slower paths included.

    A value's delay is the most beats between the cell's input and it; the earlier operand of an addition waits.
    """
    total = np.tensordot(np.array(c.counts), stage.work, 1) + c.adds * stage.add + c.forks * stage.fork
    width = np.log2(stage.lanes).astype(np.int64)
    delay = [np.zeros(len(width), np.int64)]
    for step in c.steps:
        if step.work == ADD:
            a, b = delay[step.a], delay[step.b]
            total = total + fifo[width, np.minimum(np.abs(a - b) + 2, fifo.shape[1] - 1)]
            delay.append(np.maximum(a, b) + 1)
        else:
            delay.append(delay[step.a] + stage.delay[step.work])
    return np.asarray(total * CELLS)


def cycles(c: Cell, stage: Stage) -> Ints:
    """(j,) interval of the slowest part; additions and forks pass a map in ``beats`` cycles."""
    busy = [stage.cycles[i] for i, n in enumerate(c.counts) if n]
    return np.asarray(np.maximum.reduce([stage.beats + ADDITION, *busy]))


def follow(at: Moments, part: Part, most: Callable[[Any, Any], Any] = max) -> Moments:
    """The output of a part: it starts when it has enough input and ends no earlier than its own work, or than its
    input and the rest after it. ``most``: ``max``, or ``np.maximum`` for arrays."""
    share, pipeline, rest, work = part
    start = at[0] + share * (at[1] - at[0]) + pipeline
    return start, most(start + work, at[1] + rest)


def through(c: Cell, parts: Sequence[Part], at: Moments, most: Callable[[Any, Any], Any] = max) -> Moments:
    """The output of a stage's cells; ``parts``: of each operation of ``WORK``."""
    for _ in range(CELLS):
        found = [at]
        for work, a, b in c.steps:
            if work == ADD:
                (p, q), (x, y) = found[a], found[b]
                found.append((most(p, x) + ADDITION, most(q, y) + ADDITION))
            else:  # follow, without the call: this is where a search's time goes
                share, pipeline, rest, own = parts[work]
                p, q = found[a]
                start = p + share * (q - p) + pipeline
                found.append((start, most(start + own, q + rest)))
        at = found[c.out]
    return at
