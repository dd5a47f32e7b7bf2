"""Optuna's own samplers behind this package's interface, to be measured against: TPE and NSGA-II.

Optuna (Akiba et al., KDD 2019) is not a dependency: ``pip install 'optuna>=5,<6'``. Every told trial is enqueued, asked
for and told to an in-memory study in the order of the numbers, so the study can be made again from a journal; a
proposal comes from a sampler seeded by its number, and is then withdrawn, since the study hears of it when it is told.
Violations are Optuna's constraints. Genes are categorical, so the space needs an encoding (:mod:`flow.search.encoded`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from flow.search import Genotype, SearchError, Space, Trial
from flow.search.encoded import encoded
from flow.search.learned import Learned
from flow.search.numbered import History

REQUIRES = ("optuna",)  # so that flow.search.names does not list it
INSTALL = "pip install 'optuna>=5,<6'"
SAMPLERS = ("tpe", "nsga2")
HUGE = 1e12  # stands for infinity, which samplers cannot scale
ASKS = 8  # of the sampler a proposal; then genes of its last answer are changed


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError as e:
        raise SearchError(f"strategy optuna_samplers needs the Python module {e.name}: {INSTALL}") from None
    if not hasattr(optuna.trial.Trial, "set_constraint"):
        raise SearchError(f"strategy optuna_samplers needs Optuna 5, not {optuna.__version__}: {INSTALL}")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


class OptunaSampler(Learned[Any]):
    """The state is a study, which ``learn`` changes in place."""

    frozen = False

    def __init__(
        self,
        space: Space,
        seed: int,
        objectives: int,
        batch: int,
        sampler: str,
        initial: int,
        population: int,
        multivariate: bool,
    ) -> None:
        super().__init__(space, seed, objectives, batch)
        if sampler not in SAMPLERS:
            raise SearchError(f"optuna_samplers: sampler {sampler!r} is not one of {', '.join(SAMPLERS)}")
        if initial < 1 or population < 2:
            raise SearchError(f"optuna_samplers: initial {initial} is below 1 or population {population} below 2")
        self.optuna = _optuna()
        self.coded = encoded(space, "optuna_samplers")
        self.kind, self.initial, self.population, self.multivariate = sampler, initial, population, multivariate
        categories = [self.optuna.distributions.CategoricalDistribution(range(c)) for c in self.coded.genes()]
        self.distributions = {f"gene{i:04d}": d for i, d in enumerate(categories)}
        self._last: tuple[int, ...] = ()

    def start(self) -> Any:
        return self.optuna.create_study(directions=["minimize"] * self.objectives, sampler=self._sampler(self.seed))

    def _sampler(self, seed: int) -> Any:
        samplers = self.optuna.samplers
        if self.kind == "tpe":
            return samplers.TPESampler(n_startup_trials=self.initial, seed=seed, multivariate=self.multivariate)
        return samplers.NSGAIISampler(population_size=self.population, seed=seed)

    def learn(self, state: Any, trials: Sequence[Trial]) -> Any:
        for t in trials:
            params = dict(zip(self.distributions, self.coded.encode(t.genotype), strict=True))
            state.enqueue_trial(params)
            asked = state.ask(self.distributions)
            if self.kind == "nsga2":  # an enqueued trial is given no generation, and would be no one's parent
                state.sampler.get_trial_generation(state, state.get_trials(deepcopy=False)[asked.number])
            asked.set_constraint("violation", min(t.violation, HUGE))
            state.tell(asked, [v if math.isfinite(v) else math.copysign(HUGE, v) for v in t.values])
        # The first ask of an NSGA-II generation meets its parents in another order than the later ones, which find them
        # cached: this one is it, so that no proposal depends on whether it came first.
        state.tell(state.ask(self.distributions), state=self.optuna.trial.TrialState.FAIL)
        return state

    def draw(self, state: Any, history: History, rng: np.random.Generator, attempt: int) -> Genotype:
        if attempt < ASKS:
            _reseed(state.sampler, int(rng.integers(1 << 31)))
            asked = state.ask(self.distributions)
            state.tell(asked, state=self.optuna.trial.TrialState.FAIL)
            self._last = tuple(asked.params[name] for name in self.distributions)
            return self.coded.decode(self._last)
        drawn = zip(self._last, self.coded.genes(), strict=True)
        return self.coded.decode(
            [int(rng.integers(c)) if rng.random() < attempt / self.retries else i for i, c in drawn]
        )


def _reseed(sampler: Any, seed: int) -> None:
    """A sampler keeps what it has worked out about its study, which a new one would have to work out again; Optuna's
    own ``reseed_rng`` takes no seed."""
    for part in (sampler, sampler._random_sampler):
        part._rng.rng.seed(seed)


def create(
    space: Space,
    seed: int,
    objectives: int,
    *,
    batch: int = 8,
    sampler: str = "tpe",
    initial: int = 16,
    population: int = 16,
    multivariate: bool = False,
) -> OptunaSampler:
    """``initial``: TPE's random trials first; ``multivariate``: its genes are drawn together (about ten times as
    fast); ``population``: NSGA-II's. Raises SearchError where Optuna is absent."""
    return OptunaSampler(space, seed, objectives, batch, sampler, initial, population, multivariate)
