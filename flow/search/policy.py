"""Distributions over index vectors with exact gradients, for reinforcement learning; numpy only.

``Categorical``: genes are independent, a softmax each. ``Recurrent``: the controller of Zoph and Le, "Neural
Architecture Search with Reinforcement Learning", ICLR 2017: an LSTM reads the choices already made and gives the next
gene's softmax. Parameters are one flat vector, so optimisers and states stay plain values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from flow.search import Floats
from flow.search.encoded import Indices


class Policy(Protocol):
    """What the strategies need of a distribution with parameters ``theta`` (size,)."""

    def start(self, rng: np.random.Generator) -> Floats:
        """Parameters of a distribution that is uniform or close to it."""

    def draw(self, theta: Floats, lots: Floats, uniform: float) -> Indices:
        """(n, genes) index vectors from random numbers (n, genes, 2) in 0..1; each gene is drawn uniformly with
        probability ``uniform``."""

    def log_prob(self, theta: Floats, batch: Indices) -> Floats:
        """(n,) log-probabilities of index vectors (n, genes)."""

    def gradient(self, theta: Floats, batch: Indices, weight: Floats, entropy: float) -> Floats:
        """(size,) gradient of ``sum_n weight[n] log p(batch[n]) + entropy * sum of the steps' entropies``."""


def softmax(logits: Floats) -> Floats:
    """Along the last axis; ``-inf`` gives 0."""
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def _pick(p: Floats, counts: Indices, lots: Floats, uniform: float) -> Indices:
    """(...) choices from probabilities (..., width), 0 beyond ``counts``, and random numbers (..., 2)."""
    chosen = (np.cumsum(p, axis=-1) <= lots[..., 1:]).sum(axis=-1)
    if uniform > 0:
        first = lots[..., 0]
        chosen = np.where(first < uniform, (first / uniform * counts).astype(np.int64), chosen)
    return np.asarray(np.minimum(chosen, counts - 1), np.int64)  # rounding may step over the end


def _slope(p: Floats, chosen: Indices, weight: Floats, entropy: float) -> Floats:
    """(n, width) gradient by the logits of one gene: of ``weight * log p[chosen]`` and of the entropy."""
    out = -weight[:, None] * p
    out[np.arange(len(chosen)), chosen] += weight
    log_p = np.log(np.maximum(p, 1e-300))
    each = (p * log_p).sum(axis=1, keepdims=True)
    return np.asarray(out - entropy * p * (log_p - each))


class Categorical:
    """Independent genes: ``theta`` is a table (genes, widest gene) of logits."""

    def __init__(self, counts: Sequence[int]) -> None:
        self.counts = tuple(counts)
        self.shape = (len(counts), max(counts))
        self.mask = np.where(np.arange(max(counts)) < np.array(counts)[:, None], 0.0, -np.inf)

    def start(self, rng: np.random.Generator) -> Floats:
        return np.zeros(self.shape[0] * self.shape[1])

    def _p(self, theta: Floats) -> Floats:
        return softmax(theta.reshape(self.shape) + self.mask)

    def draw(self, theta: Floats, lots: Floats, uniform: float) -> Indices:
        return _pick(self._p(theta)[None], np.array(self.counts), lots, uniform)

    def log_prob(self, theta: Floats, batch: Indices) -> Floats:
        p = self._p(theta)
        return np.asarray(np.log(np.maximum(p[np.arange(len(self.counts)), batch], 1e-300)).sum(axis=1))

    def gradient(self, theta: Floats, batch: Indices, weight: Floats, entropy: float) -> Floats:
        p = self._p(theta)
        genes, width = self.shape
        chosen = np.bincount((batch + np.arange(genes) * width).ravel(), np.repeat(weight, genes), genes * width)
        log_p = np.log(np.maximum(p, 1e-300))
        each = (p * log_p).sum(axis=1, keepdims=True)
        return np.asarray(chosen - (p * (weight.sum() + len(batch) * entropy * (log_p - each))).ravel())


@dataclass(frozen=True, eq=False)
class _Step:
    """What the backward pass needs of one step; all (n, hidden) but ``p`` (n, width)."""

    source: Indices
    h: Floats
    c: Floats
    gates: Floats
    tanh_c: Floats
    out: Floats
    p: Floats


class Recurrent:
    """An LSTM over the genes: input, the embedding of the choice before; output, a softmax of the gene's own."""

    def __init__(self, counts: Sequence[int], hidden: int = 24) -> None:
        self.counts, self.hidden = tuple(counts), hidden
        first = np.cumsum([1, *counts])  # row 0: nothing chosen yet
        self.offset = first[:-1]
        width, h = max(counts), hidden
        self.mask = np.where(np.arange(width) < np.array(counts)[:, None], 0.0, -np.inf)
        # The embedding is a table of the input's share of the gates, so it needs no matrix of its own.
        self.shapes = {
            "embed": (int(first[-1]), 4 * h),
            "cell": (h, 4 * h),
            "out": (len(counts), h, width),
            "bias": (len(counts), width),
        }

    def start(self, rng: np.random.Generator) -> Floats:
        parts = []
        for name, shape in self.shapes.items():
            size = int(np.prod(shape))
            parts.append(np.zeros(size) if name == "bias" else rng.normal(0.0, 0.1, size))
        return np.concatenate(parts)

    def _views(self, theta: Floats) -> dict[str, Floats]:
        at, found = 0, {}
        for name, shape in self.shapes.items():
            size = int(np.prod(shape))
            found[name] = theta[at : at + size].reshape(shape)
            at += size
        return found

    def _step(self, w: dict[str, Floats], gene: int, source: Indices, h: Floats, c: Floats) -> _Step:
        k = self.hidden
        z = w["embed"][source] + h @ w["cell"]
        gates = 1.0 / (1.0 + np.exp(-z))  # input, forget, output; the fourth is a tanh
        gates[:, 3 * k :] = np.tanh(z[:, 3 * k :])
        new = gates[:, k : 2 * k] * c + gates[:, :k] * gates[:, 3 * k :]
        tanh_c = np.tanh(new)
        out = gates[:, 2 * k : 3 * k] * tanh_c
        p = softmax(out @ w["out"][gene] + w["bias"][gene] + self.mask[gene])
        return _Step(source, h, c, gates, tanh_c, out, p)

    def _next(self, s: _Step) -> tuple[Floats, Floats]:
        k = self.hidden
        return s.out, s.gates[:, k : 2 * k] * s.c + s.gates[:, :k] * s.gates[:, 3 * k :]

    def draw(self, theta: Floats, lots: Floats, uniform: float) -> Indices:
        w, chosen = self._views(theta), np.zeros(lots.shape[:2], np.int64)
        source = np.zeros(len(lots), dtype=np.int64)
        h = c = np.zeros((len(lots), self.hidden))
        for gene, count in enumerate(np.array(self.counts)):
            step = self._step(w, gene, source, h, c)
            chosen[:, gene] = _pick(step.p, count, lots[:, gene], uniform)
            source = self.offset[gene] + chosen[:, gene]
            h, c = self._next(step)
        return chosen

    def _forward(self, w: dict[str, Floats], batch: Indices) -> list[_Step]:
        source = np.zeros(len(batch), dtype=np.int64)
        h = c = np.zeros((len(batch), self.hidden))
        steps = []
        for gene in range(len(self.counts)):
            steps.append(self._step(w, gene, source, h, c))
            source = self.offset[gene] + batch[:, gene]
            h, c = self._next(steps[-1])
        return steps

    def log_prob(self, theta: Floats, batch: Indices) -> Floats:
        steps, rows = self._forward(self._views(theta), batch), np.arange(len(batch))
        p = [s.p[rows, batch[:, g]] for g, s in enumerate(steps)]
        return np.asarray(np.log(np.maximum(p, 1e-300)).sum(axis=0))

    def gradient(self, theta: Floats, batch: Indices, weight: Floats, entropy: float) -> Floats:
        w, k = self._views(theta), self.hidden
        steps = self._forward(w, batch)
        total = np.zeros_like(theta)
        g = self._views(total)
        dh = dc = np.zeros((len(batch), k))
        for gene in reversed(range(len(steps))):
            s = steps[gene]
            dlogits = _slope(s.p, batch[:, gene], weight, entropy)
            g["out"][gene] = s.out.T @ dlogits
            g["bias"][gene] = dlogits.sum(axis=0)
            dh = dh + dlogits @ w["out"][gene].T
            i, f, o, t = (s.gates[:, j * k : (j + 1) * k] for j in range(4))
            dc = dc + dh * o * (1 - s.tanh_c**2)
            slopes = (dc * t * i * (1 - i), dc * s.c * f * (1 - f), dh * s.tanh_c * o * (1 - o), dc * i * (1 - t**2))
            dz = np.concatenate(slopes, axis=1)
            g["cell"] += s.h.T @ dz
            np.add.at(g["embed"], s.source, dz)
            dh, dc = dz @ w["cell"].T, dc * f
        return total


@dataclass(frozen=True, eq=False)
class Adam:
    """Ascent by Kingma and Ba, "Adam", ICLR 2015, as a value."""

    theta: Floats
    first: Floats
    second: Floats
    steps: int = 0

    @classmethod
    def at(cls, theta: Floats) -> Adam:
        return cls(theta, np.zeros_like(theta), np.zeros_like(theta))

    def step(self, gradient: Floats, rate: float) -> Adam:
        n = self.steps + 1
        first = 0.9 * self.first + 0.1 * gradient
        second = 0.999 * self.second + 0.001 * gradient**2
        move = first / (1 - 0.9**n) / (np.sqrt(second / (1 - 0.999**n)) + 1e-8)
        return Adam(self.theta + rate * move, first, second, n)


CONTROLLERS = ("rnn", "categorical")


def make(controller: str, counts: Sequence[int], hidden: int) -> Policy:
    """The policy of that name over genes with ``counts`` choices."""
    return Recurrent(counts, hidden) if controller == "rnn" else Categorical(counts)
