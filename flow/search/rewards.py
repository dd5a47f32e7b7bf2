"""What a controller is paid for a trial: the scalar rewards of the papers, from values that are all minimised.

``weighted``  minus the augmented Chebyshev scalarisation (see :func:`flow.search.pareto.chebyshev`), objectives scaled
              by the range seen so far; no paper's, the default, for any number of objectives.
``fnas``      A - EWA(A) + L / (10 spec), within +-0.1; over the specification -0.1 without training (Jiang et al.,
              "Accuracy vs. Efficiency", DAC 2019).
``co-explore`` beta A + (1 - beta) U, the slow level of Jiang et al., "Hardware/Software Co-Exploration of Neural
              Architectures", TCAD 2020, U the pipeline's efficiency. Their fast level, pruning against the throughput
              specification without training, is a limit of the run: a trial that breaks it arrives with a violation.
``nahas``     A (L / target)^w (Zhou et al., "Rethinking Co-design of Neural Architectures and Hardware Accelerators",
              2021): w = ``within`` up to the target and ``beyond`` above it; -0.07 both is the soft form, 0 and -1 the
              hard one.

A is the accuracy: ``-value`` of its objective, as maximised measures arrive negated, or ``1 - value`` with ``error``.
L is the latency's value in its own unit, which is that of ``target`` (FNAS's spec). With a single objective the
hardware terms are absent. An infeasible trial is paid less than any feasible one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from flow.search import Floats, SearchError, Trial

FORMS = ("weighted", "fnas", "co-explore", "nahas")
CLIP = 0.1  # FNAS's limit of a reward


@dataclass(frozen=True)
class Running:
    """What rewards and advantages remember of earlier trials: averages (None before the first) and ranges."""

    accuracy: float | None = None
    reward: float | None = None
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True)
class Reward:
    """``accuracy``, ``cost``: numbers of those objectives; ``decay``: of the exponentially weighted averages;
    ``log``: the cost's value is its log10.

    Raises SearchError for an unknown form, a missing target, or numbers that are none of an objective.
    """

    form: str = "weighted"
    objectives: int = 2
    accuracy: int = 0
    cost: int = 1
    error: bool = False
    target: float | None = None
    beta: float = 0.5
    within: float = -0.07
    beyond: float = -0.07
    weights: tuple[float, ...] | None = None
    decay: float = 0.8
    log: bool = False

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise SearchError(f"reward {self.form!r} is not one of {', '.join(FORMS)}")
        used = (self.accuracy, self.cost) if self.objectives > 1 else (self.accuracy,)
        if not all(0 <= i < self.objectives for i in used) or len(set(used)) < len(used):
            raise SearchError(f"reward: accuracy {self.accuracy} and cost {self.cost} are no two objectives' numbers")
        if self.form in ("fnas", "nahas") and self.objectives > 1 and not (self.target and self.target > 0):
            raise SearchError(f"reward {self.form} needs the option target: the cost's limit, above 0, in its unit")
        if not 0 <= self.beta <= 1 or not 0 <= self.decay < 1:
            raise SearchError(f"reward: beta {self.beta} is 0 to 1 and decay {self.decay} from 0 to below 1")
        w = self.weights
        if w is not None and (len(w) != self.objectives or min(w) < 0 or max(w) <= 0):
            raise SearchError(f"reward: weights {list(w)} must be {self.objectives} numbers >= 0, not all 0")

    def __call__(self, state: Running, trials: Sequence[Trial]) -> tuple[Running, Floats]:
        """Rewards (n,) of a generation, and the state after it; FNAS's average moves from trial to trial."""
        state = self._widened(state, trials)
        paid = []
        for trial in trials:
            if not trial.feasible:
                paid.append(self._unfit(trial))
                continue
            state, reward = self._paid(state, trial)
            paid.append(reward)
        return state, np.array(paid)

    def advantages(self, state: Running, rewards: Floats) -> tuple[Running, Floats]:
        """Rewards less their running average, in units of the generation's spread; FNAS's already are advantages."""
        if self.form == "fnas":
            return state, rewards / CLIP
        before = float(rewards.mean()) if state.reward is None else state.reward
        after = self.decay * before + (1 - self.decay) * float(rewards.mean())
        spread = float(rewards.std())
        return replace(state, reward=after), (rewards - before) / (spread if spread > 1e-9 else 1.0)

    def _widened(self, state: Running, trials: Sequence[Trial]) -> Running:
        good = [t.values for t in trials if t.feasible]
        if not good:
            return state
        rows = np.array([*good, *([state.low, state.high] if state.low else [])])
        return replace(state, low=tuple(rows.min(axis=0).tolist()), high=tuple(rows.max(axis=0).tolist()))

    def _unfit(self, trial: Trial) -> float:
        if self.form == "fnas":
            return -CLIP
        # Chebyshev's worst is below -1 by 0.05 an objective; a product's and a sum's worst are above.
        return -1.1 - 0.05 * self.objectives - min(1.0, trial.violation)

    def _accuracy(self, trial: Trial) -> float:
        value = trial.values[self.accuracy]
        return 1.0 - value if self.error else -value

    def _cost(self, trial: Trial) -> float | None:
        if self.objectives == 1:
            return None
        return float(10.0 ** trial.values[self.cost]) if self.log else trial.values[self.cost]

    def _paid(self, state: Running, trial: Trial) -> tuple[Running, float]:
        accuracy, cost = self._accuracy(trial), self._cost(trial)
        if self.form == "weighted":
            low, high = np.array(state.low), np.array(state.high)
            weights = np.ones(self.objectives) if self.weights is None else np.array(self.weights)
            scaled = (np.array(trial.values) - low) / np.where(high > low, high - low, 1.0) * weights / weights.max()
            return state, -float(scaled.max() + 0.05 * scaled.sum())
        if self.form == "co-explore":
            return state, accuracy if cost is None else self.beta * accuracy - (1 - self.beta) * cost
        if cost is not None and self.target is not None and cost <= 0:
            raise SearchError(f"trial {trial.number}: cost {cost} is not above 0; reward {self.form} needs a latency")
        ratio = 0.0 if cost is None or self.target is None else cost / self.target
        if self.form == "nahas":
            return state, accuracy * (ratio ** (self.within if ratio <= 1 else self.beyond) if ratio else 1.0)
        before = accuracy if state.accuracy is None else state.accuracy
        state = replace(state, accuracy=self.decay * before + (1 - self.decay) * accuracy)
        gain = accuracy - before + ratio / 10
        return state, -CLIP if ratio > 1 else min(CLIP, max(-CLIP, gain))
