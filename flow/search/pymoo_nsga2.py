"""pymoo's own NSGA-II behind this package's interface, to be measured against.

pymoo (Blank and Deb, IEEE Access 8, 2020) is not a dependency: ``pip install 'pymoo>=0.6.1,<0.7'``. Genes are integers
with its own operators for them (simulated binary crossover, polynomial mutation, rounding, duplicates eliminated), so
the space needs an encoding (:mod:`flow.search.encoded`). A generation is pymoo's offspring of the generations before
it, made again from the told trials.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flow.search import Genotype, SearchError, Space, Trial
from flow.search.encoded import encoded, matrix
from flow.search.learned import Learned
from flow.search.numbered import History

REQUIRES = ("pymoo",)  # so that flow.search.names does not list it
INSTALL = "pip install 'pymoo>=0.6.1,<0.7'"
HUGE = 1e12  # stands for infinity


def _pymoo() -> dict[str, Any]:
    try:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.evaluator import Evaluator
        from pymoo.core.population import Population
        from pymoo.core.problem import Problem
        from pymoo.operators.crossover.sbx import SBX
        from pymoo.operators.mutation.pm import PM
        from pymoo.operators.repair.rounding import RoundingRepair
        from pymoo.operators.sampling.rnd import IntegerRandomSampling
        from pymoo.problems.static import StaticProblem
    except ModuleNotFoundError as e:
        raise SearchError(f"strategy pymoo_nsga2 needs the Python module {e.name}: {INSTALL}") from None
    return {
        "NSGA2": NSGA2, "Evaluator": Evaluator, "Population": Population, "Problem": Problem, "SBX": SBX, "PM": PM,
        "RoundingRepair": RoundingRepair, "IntegerRandomSampling": IntegerRandomSampling,
        "StaticProblem": StaticProblem,
    }  # fmt: skip


@dataclass
class State:
    """pymoo's algorithm and the offspring that it proposes next, (batch, genes)."""

    algorithm: Any
    offspring: Any


class Pymoo(Learned[State]):
    """The state is an algorithm, which ``learn`` changes in place. ``batch`` is the population."""

    frozen = False

    def __init__(self, space: Space, seed: int, objectives: int, batch: int) -> None:
        super().__init__(space, seed, objectives, batch)
        self.coded = encoded(space, "pymoo_nsga2")
        self.counts = np.array(self.coded.genes())
        self.parts = _pymoo()

    def start(self) -> State:
        p = self.parts
        repair = p["RoundingRepair"]()
        algorithm = p["NSGA2"](
            pop_size=self.batch,
            sampling=p["IntegerRandomSampling"](),
            crossover=p["SBX"](prob=1.0, eta=3.0, vtype=float, repair=repair),
            mutation=p["PM"](prob=1.0, eta=3.0, vtype=float, repair=repair),
            eliminate_duplicates=True,
        )
        problem = p["Problem"](
            n_var=len(self.counts),
            n_obj=self.objectives,
            n_ieq_constr=1,
            xl=np.zeros(len(self.counts)),
            xu=self.counts - 1.0,
            vtype=int,
        )
        algorithm.setup(problem, termination=("n_gen", 10**9), seed=self.seed, verbose=False)
        return State(algorithm, algorithm.ask().get("X"))

    def learn(self, state: State, trials: Sequence[Trial]) -> State:
        p = self.parts
        pop = p["Population"].new("X", matrix(self.coded, [t.genotype for t in trials]).astype(float))
        values = [[v if math.isfinite(v) else HUGE for v in t.values] for t in trials]
        over = [[min(t.violation, HUGE)] for t in trials]
        known = p["StaticProblem"](state.algorithm.problem, F=np.array(values), G=np.array(over))
        p["Evaluator"]().eval(known, pop)
        state.algorithm.tell(infills=pop)
        offspring = state.algorithm.ask()
        state.offspring = offspring.get("X") if offspring is not None else np.empty((0, len(self.counts)))
        return state

    def draw(self, state: State, history: History, rng: np.random.Generator, attempt: int) -> Genotype:
        at = self._next - len(history)
        if at >= len(state.offspring):  # pymoo found no more that are new
            return self.space.sample(rng)
        code = np.rint(np.asarray(state.offspring[at], dtype=float)).astype(int)
        stray = rng.random(len(code)) < attempt / self.retries
        return self.coded.decode([int(i) for i in np.where(stray, rng.integers(self.counts), code)])


def create(space: Space, seed: int, objectives: int, *, batch: int = 24) -> Pymoo:
    """``batch``: the population. Raises SearchError where pymoo is absent."""
    return Pymoo(space, seed, objectives, batch)
