"""Searches of the tabular benchmark: a strategy in a mode for a number of evaluations, and how good the result is.

A search sees accuracies after few epochs. What it would hand over, the undominated of what it saw, is scored with the
accuracies of full training against the true front: every network on its best accelerator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flow.search import Space, Trial, modes, pareto
from flow.search.loop import drive
from flow.search.repair import Repaired
from flow.tabular import optimum
from flow.tabular.optimum import Optimum
from flow.tabular.problem import Genotype, Problem

Floats = NDArray[np.float64]
MARGIN = 0.1  # of the true front's extent, by which the reference point lies beyond its worst values
HELD = (0.25, 0.5, 0.75)  # places on the true front, by latency, whose halves the fixed modes hold


@dataclass(frozen=True)
class Arm:
    """``held``: index into ``HELD``.  ``keep``: networks that ``sequential`` carries on; half the evaluations find
    them."""

    strategy: str
    mode: str = "joint"  # of flow.search.modes, or repaired: joint on pairs that are made to fit the board
    options: dict[str, Any] = field(default_factory=dict)
    held: int = 1
    keep: int = 1
    most: int = 10**9  # evaluations beyond which it takes too long to be of use here

    @property
    def label(self) -> str:
        return " ".join([self.strategy.partition("_")[0], *filter(None, [self.options.get("sampler")])])

    @property
    def by_budget(self) -> bool:
        """True where a run of many evaluations does not begin with the run of few."""
        return self.mode == "sequential"


@dataclass(frozen=True, eq=False)
class Truth:
    """The problem with every network's best accelerator."""

    problem: Problem
    optimum: Optimum

    @cached_property
    def late(self) -> Floats:
        return optimum.values(self.problem, self.optimum, self.problem.accuracies.late)

    @cached_property
    def front(self) -> NDArray[np.int64]:
        """Network numbers of the true front, fastest first."""
        found = optimum.front(self.late)
        return found[np.lexsort((found, self.late[found, 1]))]

    @cached_property
    def reference(self) -> tuple[float, float]:
        """Least accuracy, negated, and log10 of the highest latency on the true front, and a tenth of the way on."""
        points = self.late[self.front]
        worst = points.max(axis=0) + MARGIN * np.ptp(points, axis=0)
        return float(worst[0]), float(worst[1])

    @cached_property
    def volume(self) -> float:
        return pareto.hypervolume(self.late[self.front], self.reference)

    def ratio(self, points: Floats) -> float:
        """Hypervolume of (n, 2) points over that of the true front."""
        return pareto.hypervolume(points, self.reference) / self.volume

    def distance(self, points: Floats) -> float:
        """IGD+ to the true front in units of its extent; infinite for no points."""
        if not len(points):
            return float("inf")
        span = np.ptp(self.late[self.front], axis=0)
        return pareto.igd_plus(points / span, self.late[self.front] / span)

    def held(self, which: int) -> Genotype:
        """A pair of the true front: networks and accelerators for the modes that hold one."""
        network = int(self.front[int(HELD[which] * (len(self.front) - 1))])
        return self.problem.genotype(network, self.optimum.hardware[self.problem.body_of[network]])

    def nested(self, number: int, genotype: Genotype) -> Trial:
        """A network on the accelerator that exhaustion finds for it."""
        network = self.problem.network(genotype)
        body = self.problem.body_of[network]
        early = float(self.problem.accuracies.early[network])
        if body < 0 or not np.isfinite(self.optimum.latency[body]):
            return Trial(number, genotype, (-early, 99.0), 1.0)
        return Trial(number, genotype, (-early, float(self.late[network, 1])))

    def ceiling(self) -> float:
        """The ratio of a search that saw everything: fronts by few and by many epochs differ."""
        early = optimum.values(self.problem, self.optimum, self.problem.accuracies.early)
        return self.ratio(self.late[optimum.front(early)])

    def handed_over(self, arm: Arm, trials: Sequence[Trial]) -> Floats:
        """(n, 2) late accuracy, negated, and latency of what a search would hand over."""
        if arm.mode == "nas":  # one network; the mapper makes its accelerator
            best = min(trials, key=lambda t: (t.values[0], t.number))
            point = self.late[self.problem.network(best.genotype)]
            return point[None] if np.isfinite(point).all() else np.empty((0, 2))
        good = [t for t in trials if t.feasible]
        if not good:
            return np.empty((0, 2))
        values = np.array([t.values for t in good])
        chosen = np.flatnonzero(pareto.nondominated(values))
        late = [-self.problem.accuracies.late[self.problem.network(good[int(i)].genotype)] for i in chosen]
        return np.column_stack([late, values[chosen, 1]])


def run(truth: Truth, arm: Arm, seed: int, count: int, known: Sequence[Trial] = ()) -> list[Trial]:
    """``count`` evaluations; ``known``: those of an interrupted run."""
    options = {"first": max(1, count // 2), "keep": arm.keep} if arm.mode == "sequential" else {}
    space: Space = truth.problem.space
    mode = arm.mode
    if mode == "repaired":
        space, mode = Repaired(space, truth.problem.repaired), "joint"
    strategy = modes.strategy(mode, arm.strategy, space, seed, 2, held=truth.held(arm.held), **options, **arm.options)
    evaluate = truth.nested if arm.mode == "nested" else truth.problem.trial
    return drive(strategy, evaluate, count, known)


def scores(truth: Truth, arm: Arm, seed: int, budgets: Sequence[int]) -> list[tuple[float, float]]:
    """(hypervolume ratio, IGD+) after each of the budgets, ascending."""
    wanted = [b for b in budgets if b <= arm.most]
    if arm.by_budget:
        # The first half of each is the beginning of one and the same search.
        early = run(truth, replace(arm, mode="nas"), seed, max(1, max(wanted, default=0) // 2))
        runs = [run(truth, arm, seed, b, early[: max(1, b // 2)]) for b in wanted]
    else:
        whole = run(truth, arm, seed, max(wanted)) if wanted else []
        runs = [whole[:b] for b in wanted]
    found = [truth.handed_over(arm, trials) for trials in runs]
    return [(truth.ratio(p), truth.distance(p)) for p in found]
