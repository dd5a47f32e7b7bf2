"""Pooling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flow.fixed import IntArray, Requant
from flow.ir.ops.base import Pads, Range, Shape, window_extent, windows


@dataclass(frozen=True)
class Pool:
    """Max or average pooling. ``kind``: "MaxPool" or "AveragePool".

    An average's divisor is ``requant.div`` (padding counted: the zero point stands for zero), or with ``exclude`` the
    number of the window's pixels inside the map; ``offset`` is added to the sum (minus the window's share of the
    input's zero point).
    """

    kind: str
    kernel: tuple[int, int]
    requant: Requant
    stride: tuple[int, int] = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    pad_value: int = 0
    offset: int = 0
    dilation: tuple[int, int] = (1, 1)
    exclude: bool = False

    def shape(self, inputs: list[Shape]) -> Shape:
        c, h, w = inputs[0]
        top, left, bottom, right = self.pads
        oh = window_extent(h, self.kernel[0], self.stride[0], top, bottom, self.dilation[0])
        ow = window_extent(w, self.kernel[1], self.stride[1], left, right, self.dilation[1])
        if oh < 1 or ow < 1:
            raise ValueError(f"window {self.kernel[0]}x{self.kernel[1]} does not fit into {h}x{w}")
        return c, oh, ow

    def counts(self, shape: Shape) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Pixels inside the map (C, H, W) that windows of each output row, and of each output column, hold."""
        out = self.shape([shape])
        found = []
        for axis in (0, 1):
            first = np.arange(out[1 + axis]) * self.stride[axis] - self.pads[axis]
            taps = first[:, None] + np.arange(self.kernel[axis]) * self.dilation[axis]
            found.append(tuple(((taps >= 0) & (taps < shape[1 + axis])).sum(1).tolist()))
        return found[0], found[1]

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        cols = windows(inputs[0], self.kernel, self.stride, self.pads, self.dilation, self.pad_value)
        if self.kind == "MaxPool":
            return self.requant.apply(cols.max((2, 3)))
        total = cols.sum((2, 3)) + self.offset
        if not self.exclude:
            return self.requant.apply(total)
        rows, columns = self.counts(inputs[0].shape[1:])
        return self.requant.apply(total, np.outer(rows, columns))

    def macs(self, inputs: list[Shape]) -> int:
        return 0

    def accumulator(self, ranges: list[Range]) -> Range:
        lo, hi = ranges[0]
        if any(self.pads):
            lo, hi = min(lo, self.pad_value), max(hi, self.pad_value)
        n = 1 if self.kind == "MaxPool" else self.kernel[0] * self.kernel[1]
        return min(0, n * lo) + min(0, self.offset), max(0, n * hi) + max(0, self.offset)
