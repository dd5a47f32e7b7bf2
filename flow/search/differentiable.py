"""Differentiable search: gradients of a learnt evaluator through a relaxed genotype, network and hardware at once.

After Choi et al., "DANCE: Differentiable Accelerator/Network Co-Exploration", DAC 2021, and Li et al., "EDD: Efficient
Differentiable DNN Architecture and Implementation Co-search", DAC 2020. A gene is a softmax over its choices, sampled
with Gumbel noise at a falling temperature (Jang, Gu, Poole, ICLR 2017), so that a multilayer perceptron of the relaxed
genes can be followed downhill. As DANCE's evaluator, it predicts every objective, accuracy included, and the violation;
it is trained on the told trials. Each proposal descends its own random Chebyshev scalarisation plus a penalty for
predicted violation, from the logits of a good trial.

What differs from the papers: their accuracy comes from a supernet's own loss, trained with the same gradients; here it
is one more output of the evaluator, so that a search needs no images. The space needs an encoding
(:mod:`flow.search.encoded`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flow.search import Floats, Genotype, SearchError, Space, Trial
from flow.search.encoded import Indices, encoded, matrix
from flow.search.evolution import scalar_cost
from flow.search.learned import Learned
from flow.search.numbered import History
from flow.search.policy import Adam, softmax

LIMIT = 3.0  # largest violation that the evaluator is shown
PENALTY = 4.0  # of one unit of predicted violation
START, END = 2.0, 0.3  # temperature
SURE = 2.0  # logit of the choices of the trial that a descent starts from


@dataclass
class State:
    """Evaluator and what it has seen: codes (n, genes), values (n, objectives), violation (n,)."""

    adam: Adam
    codes: Indices
    values: Floats
    violation: Floats


class Evaluator:
    """x (n, inputs) -> tanh (hidden) -> outputs; parameters are one flat vector."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        self.shapes = [(inputs, hidden), (hidden,), (hidden, outputs), (outputs,)]

    def start(self, rng: np.random.Generator) -> Floats:
        parts = [rng.normal(0, 1 / np.sqrt(s[0]), s).ravel() if len(s) == 2 else np.zeros(s) for s in self.shapes]
        return np.concatenate(parts)

    def _split(self, theta: Floats) -> list[Floats]:
        ends = np.cumsum([int(np.prod(s)) for s in self.shapes])
        return [p.reshape(s) for p, s in zip(np.split(theta, ends[:-1]), self.shapes, strict=True)]

    def predict(self, theta: Floats, x: Floats) -> tuple[Floats, Floats]:
        """Outputs (n, outputs) and hidden values (n, hidden)."""
        a, b, c, d = self._split(theta)
        h = np.tanh(x @ a + b)
        return h @ c + d, h

    def slope(self, theta: Floats, h: Floats, out: Floats) -> Floats:
        """Gradient by the input of ``(out * outputs).sum()``."""
        a, _, c, _ = self._split(theta)
        return np.asarray(((out @ c.T) * (1 - h**2)) @ a.T)

    def gradient(self, theta: Floats, x: Floats, target: Floats, weight: Floats) -> Floats:
        """By the parameters, of the weighted mean square error, negated: :class:`Adam` ascends."""
        y, h = self.predict(theta, x)
        e = (target - y) * weight / len(x)
        g = (e @ self._split(theta)[2].T) * (1 - h**2)
        return np.concatenate([(x.T @ g).ravel(), g.sum(0), (h.T @ e).ravel(), e.sum(0)])


class Differentiable(Learned[State]):
    """``initial``: random trials first; ``steps``: of one descent; ``rate``: of the logits; ``fits``: steps of the
    evaluator a generation, each on ``sample`` trials."""

    frozen = False

    def __init__(
        self,
        space: Space,
        seed: int,
        objectives: int,
        batch: int,
        initial: int,
        steps: int,
        rate: float,
        hidden: int,
        fits: int,
        sample: int,
    ) -> None:
        super().__init__(space, seed, objectives, batch)
        if initial < 2 or min(steps, hidden, fits, sample) < 1 or rate <= 0:
            raise SearchError(
                f"differentiable: initial {initial} is at least 2; steps {steps}, hidden {hidden}, fits {fits} and "
                f"sample {sample} at least 1; rate {rate} above 0"
            )
        self.initial, self.steps, self.rate, self.fits, self.sample = initial, steps, rate, fits, sample
        self.coded = encoded(space, "differentiable")
        counts = self.coded.genes()
        self.width = max(counts)
        self.inside: NDArray[np.bool_] = np.less(np.arange(self.width), np.array(counts)[:, None])
        self.evaluator = Evaluator(int(self.inside.sum()), hidden, objectives + 1)

    def start(self) -> State:
        rng = np.random.default_rng([self.seed, 1 << 32])
        genes = len(self.inside)
        empty = np.zeros((0, genes), np.int64), np.zeros((0, self.objectives)), np.zeros(0)
        return State(Adam.at(self.evaluator.start(rng)), *empty)

    def learn(self, state: State, trials: Sequence[Trial]) -> State:
        """More steps of the evaluator on random samples of all trials so far; failures teach only their violation."""
        state.codes = np.vstack([state.codes, matrix(self.coded, [t.genotype for t in trials])])
        state.values = np.vstack([state.values, np.array([t.values for t in trials])])
        state.violation = np.append(state.violation, [min(t.violation, LIMIT) for t in trials])
        target, weight = self._targets(state)
        x = self._one_hot(state.codes)
        rng = np.random.default_rng([self.seed, 1 << 33, len(x)])
        for _ in range(self.fits):
            pick = rng.integers(len(x), size=min(self.sample, len(x)))
            g = self.evaluator.gradient(state.adam.theta, x[pick], target[pick], weight[pick])
            state.adam = state.adam.step(g, 0.01)
        return state

    def _targets(self, state: State) -> tuple[Floats, Floats]:
        """Objectives scaled to mean 0 and deviation 1 over finite trials, violation as it is; weights of both."""
        known: NDArray[np.bool_] = np.asarray(np.isfinite(state.values).all(axis=1))
        scaled = np.zeros_like(state.values)
        if known.any():
            good = state.values[known]
            spread = good.std(axis=0)
            scaled[known] = (good - good.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        target = np.column_stack([scaled, state.violation])
        weight = np.column_stack([np.repeat(known[:, None], self.objectives, axis=1), np.ones(len(known))])
        return target, weight.astype(float)

    def _one_hot(self, codes: Indices) -> Floats:
        return np.asarray((codes[:, :, None] == np.arange(self.width))[:, self.inside], dtype=np.float64)

    def draw(self, state: State, history: History, rng: np.random.Generator, attempt: int) -> Genotype:
        if len(history) < self.initial:
            return self.space.sample(rng)
        if attempt == 0:
            self._logits: Floats = self.together(history, lambda rngs: self._descend(state, history, rngs))
        # The choices of the last logits with noise that grows while proposals are known.
        noise = rng.gumbel(size=self._logits.shape) * (0.2 + 2.0 * attempt / self.retries)
        return self.coded.decode([int(i) for i in (self._logits + noise).argmax(axis=1)])

    def _descend(self, state: State, history: History, rngs: list[np.random.Generator]) -> Floats:
        """(n, genes, widest gene) logits after a descent with each of the generators; -inf outside the choices."""
        weights = np.array([rng.dirichlet(np.ones(self.objectives)) for rng in rngs])
        codes = state.codes[[self._start(history, w, rng) for w, rng in zip(weights, rngs, strict=True)]]
        noise = np.array([rng.gumbel(size=(self.steps, *self.inside.shape)) for rng in rngs])
        logits = np.where(self.inside, SURE * (codes[:, :, None] == np.arange(self.width)), -np.inf)
        theta, rows = state.adam.theta, np.arange(len(rngs))
        for step in range(self.steps):
            temperature = START * (END / START) ** (step / max(1, self.steps - 1))
            p = softmax((logits + noise[:, step]) / temperature)
            y, h = self.evaluator.predict(theta, p[:, self.inside])
            out = np.column_stack([0.05 * weights, PENALTY * (y[:, -1] > 0.02)])
            worst = np.argmax(weights * y[:, :-1], axis=1)
            out[rows, worst] += weights[rows, worst]
            by_p = np.zeros_like(p)
            by_p[:, self.inside] = self.evaluator.slope(theta, h, out)
            by_logits = p * (by_p - (p * by_p).sum(axis=2, keepdims=True)) / temperature
            logits = np.where(self.inside, logits - self.rate * by_logits, -np.inf)
        return logits

    def _start(self, history: History, weights: Floats, rng: np.random.Generator) -> int:
        """One of the four best trials under the weights."""
        return int(rng.choice(np.argsort(scalar_cost(history.values, history.violation, weights), kind="stable")[:4]))


def create(
    space: Space,
    seed: int,
    objectives: int,
    *,
    batch: int = 8,
    initial: int = 32,
    steps: int = 15,
    rate: float = 1.0,
    hidden: int = 48,
    fits: int = 30,
    sample: int = 64,
) -> Differentiable:
    return Differentiable(space, seed, objectives, batch, initial, steps, rate, hidden, fits, sample)
