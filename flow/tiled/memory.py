"""Addresses in memory: every feature map's words for a whole batch, space reused when nobody reads a map any more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flow.tiled.place import Place
from flow.tiled.steps import Steps


@dataclass(frozen=True)
class Life:
    """A map's words and the steps between which they are needed: written at ``first``, last read at ``last``."""

    words: int
    first: int
    last: int


@dataclass(frozen=True)
class Arena:
    """First word of every tensor's first image; ``words``: of the whole region."""

    starts: Mapping[str, int]
    words: int
    lives: Mapping[str, Life]


def allocate(steps: Steps, places: Mapping[str, Place], batch: int) -> Arena:
    """Addresses by first fit, largest map first; the network's input and output keep their words for themselves.

    A concatenation's parts share its words: part k begins behind the parts before it, image by image.
    """
    last_step = len(steps.steps) - 1
    lives: dict[str, Life] = {}

    def use(tensor: str, first: int, last: int) -> None:
        root = offset_in(steps, places, tensor)[0]
        old = lives.get(root, Life(batch * places[root].image_words, first, last))
        lives[root] = Life(old.words, min(old.first, first), max(old.last, last))

    use("input", 0, last_step)
    for k, s in enumerate(steps.steps):
        for tensor in (s.source, s.out, *([s.residual] if s.residual else [])):
            use(tensor, k, k)
    use(steps.graph.output, 0, last_step)
    starts: dict[str, int] = {}
    for name in sorted(lives, key=lambda n: (-lives[n].words, n)):
        starts[name] = _first_fit(lives[name], [(starts[o], lives[o]) for o in starts])
    total = max(starts[n] + lives[n].words for n in lives)
    return Arena(starts, total, lives)


def _first_fit(life: Life, others: list[tuple[int, Life]]) -> int:
    """Lowest address whose words nobody else uses at the same time."""
    at = 0
    for start, other in sorted(others, key=lambda x: x[0]):
        apart = other.last < life.first or life.last < other.first
        if not apart and start < at + life.words and at < start + other.words:
            at = start + other.words
    return at


def offset_in(steps: Steps, places: Mapping[str, Place], tensor: str) -> tuple[str, int]:
    """``(root, words)``: the outermost concatenation that holds a tensor, and its words of an image in front of it."""
    parent = {part: join for join, parts in steps.joins.items() for part in parts}
    root, words = tensor, 0
    while root in parent:
        join = parent[root]
        for part in steps.joins[join]:
            if part == root:
                break
            words += places[part].image_words
        root = join
    return root, words
