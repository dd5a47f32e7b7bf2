"""Spaces of pairs: a genotype's two halves held, exchanged and searched apart.

What the halves are is the space's business (here: a network and its hardware); a space that has them offers
``join(a, b)``, the genotype with the first half of ``a`` and the second of ``b``, and, beside an encoding,
``halves()``, which half each gene belongs to. ``vary(genotype, half, rng)``, a neighbour that differs in that half
alone, may be left out: then mutations of both halves are drawn until one does.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol, cast

import numpy as np

from flow.search import Genotype, SearchError, Space
from flow.search.encoded import METHODS

TRIES = 32  # of a mutation that must change the half which is free


class Halved(Space, Protocol):
    """A space of pairs."""

    def join(self, a: Genotype, b: Genotype, /) -> Genotype:
        """The first half of ``a`` with the second half of ``b``."""

    def halves(self) -> Sequence[int]:
        """0 or 1 for each gene of the encoding: the half it belongs to. Only beside an encoding."""


def halved(space: Space) -> Halved:
    """``space`` as one of pairs. Raises SearchError where it has no halves."""
    if not callable(getattr(space, "join", None)):
        raise SearchError(
            f"the space {type(space).__name__} has no method join(a, b) (flow.search.halves): only the joint search "
            "works on it"
        )
    return cast(Halved, space)


class Held:
    """``space`` with one half held: that of ``fixed``, or of one of them; the others are never proposed.

    ``half``: 0 or 1, the half that is held.  ``avoid``: texts of genotypes that are known already. Offers an encoding
    where the space does, with one choice for held genes; a strategy that goes gene by gene then stays with the first
    of ``fixed``.
    """

    def __init__(self, space: Space, half: int, fixed: Sequence[Genotype], avoid: Collection[str] = ()) -> None:
        if not fixed:
            raise SearchError("nothing to hold: give at least one genotype")
        self.inner, self.half, self.fixed, self.avoid = halved(space), half, tuple(fixed), frozenset(avoid)
        self.features, self.dumps, self.loads = space.features, space.dumps, space.loads
        if all(callable(getattr(space, m, None)) for m in (*METHODS, "halves")):
            self.genes, self.encode, self.decode = self._genes, self._encode, self._decode

    def hold(self, genotype: Genotype, owner: Genotype) -> Genotype:
        """``genotype`` with the held half of ``owner``."""
        return self.inner.join(owner, genotype) if self.half == 0 else self.inner.join(genotype, owner)

    def sample(self, rng: np.random.Generator) -> Genotype:
        owner = self.fixed[int(rng.integers(len(self.fixed)))]
        return self._new(lambda: self.hold(self.inner.sample(rng), owner), None)

    def mutate(self, genotype: Genotype, rng: np.random.Generator) -> Genotype:
        owner = self._owner(genotype, rng)
        vary = getattr(self.inner, "vary", None)
        if vary is not None:
            return self._new(lambda: vary(self.hold(genotype, owner), 1 - self.half, rng), self.dumps(genotype))
        return self._new(lambda: self.hold(self.inner.mutate(genotype, rng), owner), self.dumps(genotype))

    def crossover(self, a: Genotype, b: Genotype, rng: np.random.Generator) -> Genotype:
        return self.hold(self.inner.crossover(a, b, rng), self._owner(a, rng))

    def _owner(self, genotype: Genotype, rng: np.random.Generator) -> Genotype:
        """Now and then another of those held, where there are several."""
        if len(self.fixed) > 1 and rng.random() < 1 / len(self.fixed):
            return self.fixed[int(rng.integers(len(self.fixed)))]
        return self.hold(genotype, self.fixed[0]) if len(self.fixed) == 1 else genotype

    def _new(self, draw: Any, unlike: str | None) -> Genotype:
        found = draw()
        for _ in range(TRIES):
            key = self.dumps(found)
            if key != unlike and key not in self.avoid:
                break
            found = draw()
        return found

    def _genes(self) -> tuple[int, ...]:
        counts = self.inner.genes()  # type: ignore[attr-defined]
        return tuple(1 if h == self.half else n for n, h in zip(counts, self.inner.halves(), strict=True))

    def _encode(self, genotype: Genotype) -> tuple[int, ...]:
        code = self.inner.encode(genotype)  # type: ignore[attr-defined]
        return tuple(0 if h == self.half else i for i, h in zip(code, self.inner.halves(), strict=True))

    def _decode(self, indices: Sequence[int]) -> Genotype:
        found = self.hold(self.inner.decode(indices), self.fixed[0])  # type: ignore[attr-defined]
        if self.dumps(found) not in self.avoid:
            return found
        return self.mutate(found, np.random.default_rng(list(indices)))
