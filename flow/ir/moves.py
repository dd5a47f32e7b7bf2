"""Integer operators that move elements and compute nothing: separable rearrangements, permutations, joins, ArgMax.

Their outputs bear the scale and zero point of their inputs; importers rescale inputs that differ before they are joined.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from flow.fixed import IntArray, Requant
from flow.ir.ops import Shape, frozen

FILL = -1  # index that stands for the fill value
Axis = tuple[int, ...]


class Move:
    """What operators without arithmetic share."""

    @property
    def requant(self) -> Requant:
        return Requant((0,), 0, 0)

    def macs(self, inputs: list[Shape]) -> int:
        return 0

    def accumulator(self, ranges: list[tuple[int, int]]) -> tuple[int, int]:
        return min(0, *(lo for lo, _ in ranges)), max(0, *(hi for _, hi in ranges))


@dataclass(frozen=True)
class Rearrange(Move):
    """``out[c, y, x] = in[channels[c], rows[y], columns[x]]``; an index of FILL gives ``fill``.

    Slices, splits, padding, nearest-neighbour resizing, broadcasting and channel shuffles (``kind``) are all this.
    ``rows`` and ``columns`` never step back, so that a stream can follow them.  ``source``: the input's shape.
    """

    source: Shape
    channels: Axis
    rows: Axis
    columns: Axis
    fill: int = 0
    kind: str = "Rearrange"

    def __post_init__(self) -> None:
        for what, axis, size in zip(
            ("channels", "rows", "columns"), (self.channels, self.rows, self.columns), self.source, strict=True
        ):
            if not axis or min(axis) < FILL or max(axis) >= size:
                raise ValueError(f"{what} {axis[:8]} do not index {size} of them")
            if what != "channels" and not steady(axis):
                raise ValueError(f"{what} {axis[:8]} step back")

    def shape(self, inputs: list[Shape]) -> Shape:
        if inputs[0] != self.source:
            raise ValueError(f"rearranges {self.source}, not {inputs[0]}")
        return len(self.channels), len(self.rows), len(self.columns)

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        out = inputs[0]
        for k, axis in enumerate((self.channels, self.rows, self.columns), 1):
            index = np.array(axis)
            out = np.take(out, np.maximum(index, 0), axis=k)
            blank = (index < 0).reshape([-1 if d == k else 1 for d in range(4)])
            out = np.where(blank, self.fill, out)
        return out

    def accumulator(self, ranges: list[tuple[int, int]]) -> tuple[int, int]:
        return super().accumulator([*ranges, (self.fill, self.fill)] if self.fills else ranges)

    @property
    def fills(self) -> bool:
        """Whether the fill value occurs."""
        return any(FILL in axis for axis in (self.channels, self.rows, self.columns))


def steady(axis: Axis) -> bool:
    """True when the indices, fill left out, never step back."""
    real = [i for i in axis if i != FILL]
    return all(a <= b for a, b in zip(real, real[1:], strict=False))


@dataclass(frozen=True, eq=False)
class Permute(Move):
    """``out.flat[k] = in.flat[index.flat[k]]`` over (C, H, W) order; an index of FILL gives ``fill``.

    What no stream can follow: transposes, reshapes, reflections.  ``index``: (C, H, W) of the output.
    """

    source: Shape
    index: IntArray
    fill: int = 0
    kind: str = "Permute"

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", frozen(self.index))
        if self.index.min() < FILL or self.index.max() >= int(np.prod(self.source)):
            raise ValueError(f"indices {self.index.min()}..{self.index.max()} are outside {self.source}")

    def shape(self, inputs: list[Shape]) -> Shape:
        if inputs[0] != self.source:
            raise ValueError(f"permutes {self.source}, not {inputs[0]}")
        c, h, w = self.index.shape
        return c, h, w

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        flat = inputs[0].reshape(len(inputs[0]), -1)
        out = np.where(self.index.reshape(-1) < 0, self.fill, flat[:, np.maximum(self.index.reshape(-1), 0)])
        return np.asarray(out.reshape(len(flat), *self.index.shape))

    def accumulator(self, ranges: list[tuple[int, int]]) -> tuple[int, int]:
        return super().accumulator([*ranges, (self.fill, self.fill)] if self.fills else ranges)

    @property
    def fills(self) -> bool:
        """Whether the fill value occurs."""
        return bool((self.index < 0).any())


@dataclass(frozen=True)
class Concat(Move):
    """Inputs one after the other along ``axis`` (0 channels, 1 rows, 2 columns)."""

    axis: int = 0
    kind: str = field(default="Concat", init=False)

    def shape(self, inputs: list[Shape]) -> Shape:
        rest = {tuple(n for k, n in enumerate(s) if k != self.axis) for s in inputs}
        if len(rest) != 1:
            raise ValueError(f"shapes {inputs} differ along other axes than {self.axis}")
        out = list(inputs[0])
        out[self.axis] = sum(s[self.axis] for s in inputs)
        return out[0], out[1], out[2]

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        return np.concatenate(inputs, axis=self.axis + 1)


@dataclass(frozen=True)
class ArgMax(Move):
    """Index of the largest channel, the first of equal ones (the last with ``last``): (C, H, W) -> (1, H, W)."""

    channels: int
    last: bool = False
    kind: str = field(default="ArgMax", init=False)

    @property
    def requant(self) -> Requant:
        return Requant((0,), 0, self.channels - 1)

    def shape(self, inputs: list[Shape]) -> Shape:
        c, h, w = inputs[0]
        if c != self.channels:
            raise ValueError(f"compares {self.channels} channels, not {c}")
        return 1, h, w

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        x = inputs[0]
        best = self.channels - 1 - x[:, ::-1].argmax(1) if self.last else x.argmax(1)
        return np.asarray(best[:, None], np.int64)

    def accumulator(self, ranges: list[tuple[int, int]]) -> tuple[int, int]:
        lo, hi = super().accumulator(ranges)
        return lo, max(hi, self.channels - 1)
