"""Element-wise operators: sums and products of two maps, and functions of one map as tables."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from flow.fixed import IntArray, Requant
from flow.ir.ops.base import Range, Shape, frozen


def same_shape(inputs: list[Shape]) -> Shape:
    """The common shape of two maps; raises ValueError when they differ."""
    if inputs[0] != inputs[1]:
        raise ValueError(f"shapes {inputs[0]} and {inputs[1]} differ")
    return inputs[0]


@dataclass(frozen=True)
class Add:
    """``a * 2**left_shift[0] + sign * b * 2**left_shift[1] + offset``, requantised: both at their common finest scale.

    ``sign`` is -1 for a subtraction.
    """

    requant: Requant
    left_shift: tuple[int, int] = (0, 0)
    offset: int = 0
    sign: int = 1

    @property
    def kind(self) -> str:
        return "Add" if self.sign > 0 else "Sub"

    def shape(self, inputs: list[Shape]) -> Shape:
        return same_shape(inputs)

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        a, b = inputs
        return self.requant.apply((a << self.left_shift[0]) + self.sign * (b << self.left_shift[1]) + self.offset)

    def macs(self, inputs: list[Shape]) -> int:
        return 0

    def accumulator(self, ranges: list[Range]) -> Range:
        (a0, a1), (b0, b1) = ranges
        s, t = self.left_shift
        if self.sign < 0:
            b0, b1 = -b1, -b0
        return (a0 << s) + (b0 << t) + self.offset, (a1 << s) + (b1 << t) + self.offset


@dataclass(frozen=True)
class Mul:
    """``(a - zero[0]) * (b - zero[1])``, requantised."""

    requant: Requant
    zero: tuple[int, int] = (0, 0)
    kind: str = field(default="Mul", init=False)

    def shape(self, inputs: list[Shape]) -> Shape:
        return same_shape(inputs)

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        a, b = inputs
        return self.requant.apply((a - self.zero[0]) * (b - self.zero[1]))

    def macs(self, inputs: list[Shape]) -> int:
        c, h, w = inputs[0]
        return c * h * w

    def accumulator(self, ranges: list[Range]) -> Range:
        ends = [[v - z for v in r] for r, z in zip(ranges, self.zero, strict=True)]
        products = [a * b for a in ends[0] for b in ends[1]]
        return min(products), max(products)


@dataclass(frozen=True, eq=False)
class Lookup:
    """A function of each element by table: ``table[channel, x - low]``, one row for all channels or one for each.

    ``curve`` is the function itself, a serialised ONNX graph with input "x" and output "y": the table holds what ONNX
    Runtime computes for every integer of the input's format, quantised to the output's.
    """

    table: IntArray
    low: int
    curve: bytes
    kind: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", frozen(self.table))

    @property
    def requant(self) -> Requant:
        return Requant((0,), int(self.table.min()), int(self.table.max()))

    def shape(self, inputs: list[Shape]) -> Shape:
        if len(self.table) not in (1, inputs[0][0]):
            raise ValueError(f"{len(self.table)} tables do not fit {inputs[0][0]} channels")
        return inputs[0]

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        at = inputs[0] - self.low
        rows = np.arange(len(self.table)).reshape(1, -1, 1, 1)
        out: IntArray = self.table[rows, at]
        return out

    def macs(self, inputs: list[Shape]) -> int:
        return 0

    def accumulator(self, ranges: list[Range]) -> Range:
        return int(self.table.min()), int(self.table.max())
