"""Proximal policy optimisation of the controller of :mod:`flow.search.reinforce`.

Schulman et al., "Proximal Policy Optimization Algorithms", 2017: several steps on each generation, a trial's share
held back once its probability has moved by more than ``clip``. The advantage is the reward less its running average:
an episode has one reward, at its end, so there is no value network.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flow.search import Floats, SearchError, Space
from flow.search.encoded import Indices
from flow.search.policy import Adam
from flow.search.reinforce import Controller, Training
from flow.search.rewards import Reward


class Ppo(Controller):
    """``epochs``: steps a generation."""

    def __init__(
        self,
        space: Space,
        seed: int,
        objectives: int,
        batch: int,
        training: Training,
        reward: Reward,
        epochs: int,
        clip: float,
    ) -> None:
        super().__init__(space, seed, objectives, batch, training, reward)
        if epochs < 1 or not 0 < clip < 1:
            raise SearchError(f"ppo: epochs {epochs} must be at least 1 and clip {clip} between 0 and 1")
        self.epochs, self.clip = epochs, clip

    def ascend(self, adam: Adam, batch: Indices, advantage: Floats) -> Adam:
        before = self.policy.log_prob(adam.theta, batch)
        n, t = len(batch), self.training
        for _ in range(self.epochs):
            ratio = np.exp(np.clip(self.policy.log_prob(adam.theta, batch) - before, -20.0, 20.0))
            held = np.where(advantage > 0, ratio > 1 + self.clip, ratio < 1 - self.clip)
            weight = np.where(held, 0.0, advantage * ratio) / n
            adam = adam.step(self.policy.gradient(adam.theta, batch, weight, t.entropy / n), t.rate)
        return adam


def create(
    space: Space,
    seed: int,
    objectives: int,
    *,
    batch: int = 8,
    controller: str = "categorical",
    rate: float | None = None,
    entropy: float = 0.02,
    hidden: int = 24,
    uniform: float = 0.05,
    epochs: int = 4,
    clip: float = 0.3,
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
) -> Ppo:
    """Options are those of ``reinforce``, and ``epochs`` and ``clip``."""
    w = None if weights is None else tuple(weights)
    pay = Reward(reward, objectives, accuracy, cost, error, target, beta, within, beyond, w, decay, log)
    speed = (0.02 if controller == "rnn" else 0.1) if rate is None else rate
    training = Training(controller, speed, entropy, hidden, uniform)
    return Ppo(space, seed, objectives, batch, training, pay, epochs, clip)
