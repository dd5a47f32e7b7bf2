"""Each network's best accelerator of the family, by looking at all of them; and the true front that follows.

The latency depends on lanes and unrolling alone, so those of the three stages are put in the order of latency, and the
first that some choice of multipliers and memories fits into the budget is the best: nothing is left out, so this is a
proof. A floor (the least of each resource over those choices) dismisses most without trying.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flow.search import pareto
from flow.tabular import family
from flow.tabular.problem import Body, Problem, latency

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
VARIANTS = len(family.MULTS) * len(family.MEMORIES)


@dataclass(frozen=True, eq=False)
class Optimum:
    """By body number: least latency in cycles (``inf``: fits on no accelerator) and the choices that reach it."""

    latency: Floats
    hardware: Ints


class Grid:
    """All lanes and unrollings of the three stages, with what does not depend on the network."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        first = [np.arange(0, len(family.choices(s)), VARIANTS) for s in range(3)]
        self.j = np.array([a.ravel() for a in np.meshgrid(*first, indexing="ij")])
        self.parts = problem.array_parts((self.j[0], self.j[1], self.j[2]))
        offsets = np.meshgrid(*[np.arange(VARIANTS)] * 3, indexing="ij")
        self.variants = np.array([o.ravel() for o in offsets])
        c = problem.costs
        # Parts between stages: (stage before's lanes do not depend on its variant, so its first stands for all).
        self.ends = _least(c.stem, 0)[self.j[0]] + _least(c.head, 0)[self.j[2]]
        for s in (1, 2):
            self.ends = self.ends + _least(c.reduction[s], 1)[self.j[s - 1], self.j[s]]

    def best(self, body: Body) -> tuple[float, tuple[int, int, int]]:
        """Least latency in cycles and its choices; ``inf`` where nothing fits."""
        p = self.problem
        floor = self.ends + sum(_least(body.used[s], 0)[self.j[s]] for s in range(3))
        possible = np.flatnonzero((floor <= p.budget).all(axis=1))
        if not len(possible):
            return np.inf, (0, 0, 0)
        cycles = latency(body.cell, self.parts, p.pixels, np.maximum)
        for at in possible[np.argsort(cycles[possible], kind="stable")]:
            j = self.j[:, at, None] + self.variants
            used = p.costs.stem[j[0]] + p.costs.head[j[2]] + sum(body.used[s][j[s]] for s in range(3))
            used = used + p.costs.reduction[1][j[0], j[1]] + p.costs.reduction[2][j[1], j[2]]
            fits = (used <= p.budget).all(axis=1)
            if fits.any():
                # Of those that fit, the one that leaves most of the scarcest resource.
                scarce = np.where(fits, (used / p.limit).max(axis=1), np.inf)
                a, b, c = (int(i) for i in j[:, int(np.argmin(scarce))])
                return float(cycles[at]), (a, b, c)
        return np.inf, (0, 0, 0)


def _least(table: Ints, axis: int) -> Ints:
    """Least of each resource over the variants, repeated for each of them; choices are on ``axis``."""
    shape = table.shape
    split = table.reshape(*shape[:axis], shape[axis] // VARIANTS, VARIANTS, *shape[axis + 1 :])
    return np.repeat(split.min(axis=axis + 1), VARIANTS, axis=axis)


def solve(problem: Problem, workers: int = 1) -> Optimum:
    """All bodies; ``workers``: processes that share them."""
    global _grid
    _grid = Grid(problem)
    numbers = range(len(problem.bodies))
    if workers > 1:
        # Linux: a fork shares the tables.
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork")) as pool:
            found = list(pool.map(_best, numbers, chunksize=64))
    else:
        found = [_best(n) for n in numbers]
    return Optimum(np.array([f[0] for f in found]), np.array([f[1] for f in found]))


_grid: Grid  # of the problem being solved, for forked processes


def _best(number: int) -> tuple[float, tuple[int, int, int]]:
    return _grid.best(_grid.problem.bodies[number])


def values(problem: Problem, optimum: Optimum, accuracy: Floats) -> Floats:
    """(networks, 2) minimised objectives of every network on its best accelerator, infinite where there is none."""
    body = problem.body_of
    cycles = np.where(body >= 0, optimum.latency[body], np.inf)
    with np.errstate(divide="ignore"):
        return np.column_stack([-accuracy, np.log10(cycles / (problem.board.clock_mhz * 1e3))])


def front(points: Floats) -> Ints:
    """Numbers of the undominated finite points."""
    good = np.flatnonzero(np.isfinite(points).all(axis=1))
    return good[pareto.nondominated(points[good])]
