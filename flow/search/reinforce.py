"""Reinforcement learning: a controller draws genotypes gene by gene and follows REINFORCE with a running baseline.

Williams, "Simple statistical gradient-following algorithms", Machine Learning 8, 1992; the controller as in FNAS,
Co-Exploration and NAHAS (:mod:`flow.search.policy`), paid as :mod:`flow.search.rewards` says. The space needs an
encoding (:mod:`flow.search.encoded`).

A proposal that was made before is drawn again with a growing share of uniformly drawn genes, so a controller that has
settled explores around its favourite instead of standing still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from flow.search import Floats, Genotype, SearchError, Space, Trial
from flow.search.encoded import Indices, encoded, matrix
from flow.search.learned import Learned
from flow.search.numbered import History
from flow.search.policy import CONTROLLERS, Adam, make
from flow.search.rewards import Reward, Running

AGAIN = 8  # draws at a time where the first was known


@dataclass(frozen=True, eq=False)
class State:
    """Parameters with their optimiser, and the averages of the rewards."""

    adam: Adam
    running: Running


@dataclass(frozen=True)
class Training:
    """``rate``: Adam's; ``entropy``: weight of the entropy bonus; ``hidden``: of the LSTM; ``uniform``: share of
    genes drawn uniformly by the first try of a proposal."""

    controller: str
    rate: float
    entropy: float
    hidden: int
    uniform: float

    def __post_init__(self) -> None:
        if self.controller not in CONTROLLERS:
            raise SearchError(f"controller {self.controller!r} is not one of {', '.join(CONTROLLERS)}")
        if self.rate <= 0 or self.entropy < 0 or self.hidden < 1 or not 0 <= self.uniform <= 1:
            raise SearchError(
                f"controller: rate {self.rate} must be above 0, entropy {self.entropy} at least 0, hidden "
                f"{self.hidden} at least 1, uniform {self.uniform} from 0 to 1"
            )


class Controller(Learned[State]):
    """See the module."""

    def __init__(
        self, space: Space, seed: int, objectives: int, batch: int, training: Training, reward: Reward
    ) -> None:
        super().__init__(space, seed, objectives, batch)
        self.coded = encoded(space, "reinforce and ppo")
        self.training, self.reward = training, reward
        self._again: Indices = np.zeros((0, 0), np.int64)
        self.policy = make(training.controller, self.coded.genes(), training.hidden)

    def start(self) -> State:
        return State(Adam.at(self.policy.start(np.random.default_rng([self.seed, 1 << 32]))), Running())

    def learn(self, state: State, trials: Sequence[Trial]) -> State:
        running, rewards = self.reward(state.running, trials)
        running, advantage = self.reward.advantages(running, rewards)
        return State(self.ascend(state.adam, matrix(self.coded, [t.genotype for t in trials]), advantage), running)

    def ascend(self, adam: Adam, batch: Indices, advantage: Floats) -> Adam:
        """One step along the mean of advantage times the score, plus the entropy bonus."""
        n, t = len(batch), self.training
        return adam.step(self.policy.gradient(adam.theta, batch, advantage / n, t.entropy / n), t.rate)

    def draw(self, state: State, history: History, rng: np.random.Generator, attempt: int) -> Genotype:
        theta, shape = state.adam.theta, (len(self.coded.genes()), 2)
        if attempt == 0:
            chosen = self.together(history, lambda rngs: self.policy.draw(
                theta, np.array([r.random(shape) for r in rngs]), self.training.uniform
            ))  # fmt: skip
            return self.coded.decode(chosen.tolist())
        if attempt % AGAIN == 1:
            stray = max(self.training.uniform, attempt / self.retries)
            self._again = self.policy.draw(theta, rng.random((AGAIN, *shape)), stray)
        return self.coded.decode(self._again[(attempt - 1) % AGAIN].tolist())


def create(
    space: Space,
    seed: int,
    objectives: int,
    *,
    batch: int = 8,
    controller: str = "rnn",
    rate: float | None = None,
    entropy: float = 0.02,
    hidden: int = 24,
    uniform: float = 0.05,
    reward: str = "weighted",
    target: float | None = None,
    accuracy: int = 0,
    cost: int = 1,
    error: bool = False,
    beta: float = 0.5,
    within: float = -0.07,
    beyond: float = -0.07,
    weights: Sequence[float] | None = None,
    decay: float = 0.8,
    log: bool = False,
) -> Controller:
    """Options are those of :class:`Training` and :class:`flow.search.rewards.Reward`."""
    w = None if weights is None else tuple(weights)
    pay = Reward(reward, objectives, accuracy, cost, error, target, beta, within, beyond, w, decay, log)
    speed = (0.03 if controller == "rnn" else 0.15) if rate is None else rate
    return Controller(space, seed, objectives, batch, Training(controller, speed, entropy, hidden, uniform), pay)
