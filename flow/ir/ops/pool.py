"""Pooling."""

from __future__ import annotations

from dataclasses import dataclass

from flow.fixed import IntArray, Requant
from flow.ir.ops.base import Pads, Shape, window_extent, windows


@dataclass(frozen=True)
class Pool:
    """Max or average pooling. ``kind``: "MaxPool" or "AveragePool".

    An average's divisor is ``requant.div`` (padding counted: the zero point stands for zero); ``offset`` is added to
    the sum (minus the window's share of the input's zero point).
    """

    kind: str
    kernel: tuple[int, int]
    requant: Requant
    stride: tuple[int, int] = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    pad_value: int = 0
    offset: int = 0

    def shape(self, inputs: list[Shape]) -> Shape:
        c, h, w = inputs[0]
        top, left, bottom, right = self.pads
        oh = window_extent(h, self.kernel[0], self.stride[0], top, bottom)
        ow = window_extent(w, self.kernel[1], self.stride[1], left, right)
        if oh < 1 or ow < 1:
            raise ValueError(f"window {self.kernel[0]}x{self.kernel[1]} does not fit into {h}x{w}")
        return c, oh, ow

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        cols = windows(inputs[0], self.kernel, self.stride, self.pads, (1, 1), self.pad_value)
        return self.requant.apply(cols.max((2, 3)) if self.kind == "MaxPool" else cols.sum((2, 3)) + self.offset)

    def macs(self, inputs: list[Shape]) -> int:
        return 0

    def accumulator(self, ranges: list[tuple[int, int]]) -> tuple[int, int]:
        lo, hi = ranges[0]
        if any(self.pads):
            lo, hi = min(lo, self.pad_value), max(hi, self.pad_value)
        n = 1 if self.kind == "MaxPool" else self.kernel[0] * self.kernel[1]
        return min(0, n * lo) + min(0, self.offset), max(0, n * hi) + max(0, self.offset)
