"""Genotypes as strategies see them: as text keys, and as lists of choices for those that learn gene by gene
(controllers, TPE, shrinking).

A space that can be written as choices offers three more methods than :class:`flow.search.Space`; nothing else changes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from flow.search import Genotype, SearchError, Space, Trial

Indices: TypeAlias = NDArray[np.int64]
METHODS = ("genes", "encode", "decode")


class Encoded(Space, Protocol):
    """A space whose genotypes are index vectors, from the network's front to its back."""

    def genes(self) -> tuple[int, ...]:
        """Number of choices of each gene, each at least 1; constant."""

    def encode(self, genotype: Genotype, /) -> tuple[int, ...]:
        """Index of each gene's choice, 0 for a gene without effect; ``decode(encode(g))`` equals ``g``."""

    def decode(self, indices: Sequence[int], /) -> Genotype:
        """The genotype of any index vector within ``genes``; several vectors may mean one genotype."""


def encoded(space: Space, strategy: str) -> Encoded:
    """``space`` as one with an encoding. Raises SearchError naming the methods it lacks."""
    missing = [m for m in METHODS if not callable(getattr(space, m, None))]
    if missing:
        raise SearchError(
            f"strategy {strategy} chooses gene by gene: the space {type(space).__name__} lacks {', '.join(missing)} "
            "(flow.search.encoded.Encoded); add them, or take a strategy such as nsga2 that needs no genes"
        )
    return cast(Encoded, space)


class Codes:
    """Encodings of a history that grows, each made once."""

    def __init__(self, space: Encoded) -> None:
        self.space, self._trials = space, list[Trial]()
        self._codes = np.zeros((0, len(space.genes())), np.int64)

    def __call__(self, trials: Sequence[Trial]) -> Indices:
        """(trials, genes)"""
        same = len(self._trials)
        if same > len(trials) or any(a is not b for a, b in zip(self._trials, trials, strict=False)):
            same = 0
        fresh = matrix(self.space, [t.genotype for t in trials[same:]])
        self._codes, self._trials = np.concatenate([self._codes[:same], fresh]), list(trials)
        return self._codes


def matrix(space: Encoded, genotypes: Sequence[Genotype]) -> Indices:
    """(n, genes) the encodings."""
    rows = [space.encode(g) for g in genotypes]
    return np.array(rows, dtype=np.int64).reshape(len(rows), len(space.genes()))


class TextSpace:
    """A space of ``flow.space`` with genotypes as text keys, as strategies compare them."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.sample, self.mutate, self.crossover = inner.sample, inner.mutate, inner.crossover
        self.features = inner.features
        # Only what the space has, so that a strategy can say what it misses.
        for name in (*METHODS, "join", "halves"):
            if hasattr(inner, name):
                setattr(self, name, getattr(inner, name))

    def dumps(self, genotype: Any) -> str:
        return json.dumps(self.inner.dumps(genotype), sort_keys=True, separators=(",", ":"))

    def loads(self, text: str) -> Any:
        return self.inner.loads(json.loads(text))
