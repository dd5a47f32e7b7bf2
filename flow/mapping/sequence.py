"""One board loaded with one part of a network after another: the cuts that take least time for a batch.

A part's cost is its configuration, the time to its first image and its interval for each further one, so the best cuts
are a shortest path over the boundaries. An edge's cost is a cheap lower bound until the edge lies on the shortest path,
then a better one, then the real design's: when a shortest path consists of real costs it is the best there is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from flow import timing
from flow.design import Design
from flow.mapping.reach import Stages

Edge = tuple[int, int]
Solver = Callable[[int, int], Design | None]


@dataclass
class Costs:
    """Time (us) of each segment for a batch: how well it is known, and what it is."""

    stages: Stages
    solve: Solver
    batch: int
    again_us: float
    known: dict[Edge, tuple[int, float]] = field(default_factory=dict)  # 0: quick bound, 1: relaxation, 2: design

    def of(self, edge: Edge) -> float:
        if edge not in self.known:
            self.known[edge] = (0, self._least(self.stages.fastest_us(*edge)))
        return self.known[edge][1]

    def refine(self, edge: Edge) -> None:
        """Know an edge one level better."""
        level = self.known[edge][0]
        if level == 0:
            self.known[edge] = (1, self._least(self.stages.least_us(*edge)))
        elif level == 1:
            d = self.solve(*edge)
            self.known[edge] = (2, math.inf if d is None else self._real(d))

    def _least(self, interval_us: float) -> float:
        return self.again_us + self.batch * interval_us

    def _real(self, d: Design) -> float:
        t = timing.analyse(d.netlist)
        return self.again_us + (t.latency_cycles + (self.batch - 1) * t.interval_cycles) / d.clock_mhz


def best_cuts(boundaries: tuple[int, ...], costs: Costs) -> tuple[int, ...] | None:
    """Boundaries of the parts of least total time, 0 and the end included; None when no cuts fit."""
    while True:
        path = _shortest(boundaries, costs)
        if path is None:
            return None
        open_edges = [e for e in itertools.pairwise(path) if costs.known[e][0] < 2]
        if not open_edges:
            return path
        for edge in open_edges:
            costs.refine(edge)


def _shortest(boundaries: tuple[int, ...], costs: Costs) -> tuple[int, ...] | None:
    total, back = [0.0], [0]
    for j in range(1, len(boundaries)):
        sums = [total[i] + costs.of((boundaries[i], boundaries[j])) for i in range(j)]
        i = int(np.argmin(sums))
        total.append(sums[i])
        back.append(i)
    if math.isinf(total[-1]):
        return None
    path, j = [boundaries[-1]], len(boundaries) - 1
    while j:
        j = back[j]
        path.append(boundaries[j])
    return tuple(reversed(path))
