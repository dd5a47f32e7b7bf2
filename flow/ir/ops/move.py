"""Operators that move elements and compute nothing: formats and scales pass through."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from flow.fixed import IntArray, Requant
from flow.ir.ops.base import Range, Shape, frozen


@dataclass(frozen=True)
class Concat:
    """Two maps behind one another along ``axis`` of (C, H, W)."""

    requant: Requant
    axis: int = 0
    kind: str = field(default="Concat", init=False)

    def shape(self, inputs: list[Shape]) -> Shape:
        a, b = (list(s) for s in inputs)
        a[self.axis], total = b[self.axis], a[self.axis] + b[self.axis]
        if a != b:
            raise ValueError(f"shapes {inputs[0]} and {inputs[1]} differ along more than axis {self.axis}")
        a[self.axis] = total
        return a[0], a[1], a[2]

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        return np.concatenate(inputs, axis=self.axis + 1)

    def macs(self, inputs: list[Shape]) -> int:
        return 0

    def accumulator(self, ranges: list[Range]) -> Range:
        return min(lo for lo, _ in ranges), max(hi for _, hi in ranges)


@dataclass(frozen=True)
class Select:
    """Channels in another order: output channel k is input channel ``channels[k]``, or ``fill`` where that is -1."""

    requant: Requant
    channels: tuple[int, ...]
    fill: int = 0
    kind: str = field(default="Gather", init=False)

    def shape(self, inputs: list[Shape]) -> Shape:
        c, h, w = inputs[0]
        if not self.channels or min(self.channels) < -1 or max(self.channels) >= c:
            raise ValueError(f"a channel is outside 0..{c - 1}")
        return len(self.channels), h, w

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        at = np.array(self.channels)
        out = inputs[0][:, np.maximum(at, 0)]
        out[:, at < 0] = self.fill
        return out

    def macs(self, inputs: list[Shape]) -> int:
        return 0

    def accumulator(self, ranges: list[Range]) -> Range:
        return _with(ranges[0], self.fill, min(self.channels) < 0)


@dataclass(frozen=True)
class Sample:
    """Rows and columns by index: crops, pads (constant, edge, reflected), strides, enlarges (nearest), flips, repeats.

    Output pixel (y, x) is input pixel (``rows[y]``, ``columns[x]``), or ``fill`` where either is -1.
    """

    requant: Requant
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    fill: int = 0
    kind: str = field(default="Resize", init=False)

    def shape(self, inputs: list[Shape]) -> Shape:
        c, h, w = inputs[0]
        for places, size in ((self.rows, h), (self.columns, w)):
            if not places or min(places) < -1 or max(places) >= size:
                raise ValueError(f"a pixel is outside {h}x{w}")
        return c, len(self.rows), len(self.columns)

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        rows, columns = np.array(self.rows), np.array(self.columns)
        out = inputs[0][:, :, np.maximum(rows, 0)][:, :, :, np.maximum(columns, 0)]
        out[:, :, rows < 0] = self.fill
        out[:, :, :, columns < 0] = self.fill
        return out

    def macs(self, inputs: list[Shape]) -> int:
        return 0

    def accumulator(self, ranges: list[Range]) -> Range:
        return _with(ranges[0], self.fill, min(*self.rows, *self.columns) < 0)


@dataclass(frozen=True, eq=False)
class Permute:
    """Any element anywhere: ``index`` (C, H, W) holds flat positions in the input (C, H, W), or -1 for ``fill``."""

    requant: Requant
    index: IntArray
    fill: int = 0
    kind: str = field(default="Transpose", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", frozen(self.index))

    def shape(self, inputs: list[Shape]) -> Shape:
        if self.index.ndim != 3 or self.index.min() < -1 or self.index.max() >= np.prod(inputs[0]):
            raise ValueError(f"an element is outside {inputs[0]}")
        c, h, w = self.index.shape
        return c, h, w

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        flat = inputs[0].reshape(len(inputs[0]), -1)
        out: IntArray = np.where(self.index < 0, self.fill, flat[:, np.maximum(self.index, 0)])
        return out

    def macs(self, inputs: list[Shape]) -> int:
        return 0

    def accumulator(self, ranges: list[Range]) -> Range:
        return _with(ranges[0], self.fill, bool(self.index.min() < 0))


@dataclass(frozen=True)
class DepthToSpace:
    """Groups of channels to pixels: channel ``(a * size + b) * C + c`` of pixel (y, x) becomes channel c of pixel
    (y * size + a, x * size + b)."""

    requant: Requant
    size: int
    kind: str = field(default="DepthToSpace", init=False)

    def shape(self, inputs: list[Shape]) -> Shape:
        c, h, w = inputs[0]
        if self.size < 1 or c % (self.size * self.size):
            raise ValueError(f"{c} channels do not make blocks of {self.size}x{self.size}")
        return c // self.size**2, h * self.size, w * self.size

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        (n, c, h, w), s = inputs[0].shape, self.size
        cube = inputs[0].reshape(n, s, s, c // s**2, h, w)
        return cube.transpose(0, 3, 4, 1, 5, 2).reshape(n, c // s**2, h * s, w * s)

    def macs(self, inputs: list[Shape]) -> int:
        return 0

    def accumulator(self, ranges: list[Range]) -> Range:
        return ranges[0]


def _with(span: Range, fill: int, used: bool) -> Range:
    return (min(span[0], fill), max(span[1], fill)) if used else span
