"""Integer operators that treat each element by itself: exact tables, differences, products."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from flow.fixed import IntArray, Requant
from flow.ir.ops import Add, Shape, frozen


@dataclass(frozen=True, eq=False)
class Lookup:
    """Any function of one quantised element, as a table over the whole input format.

    ``table``: (channels, entries) or (1, entries) when all channels share it; entry ``k`` of a channel is the output
    for the input integer ``first + k``.  Exact by construction, whatever the function was (``kind``).
    """

    table: IntArray
    first: int
    kind: str = "Lookup"

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", frozen(self.table))

    @property
    def requant(self) -> Requant:
        return Requant((0,), int(self.table.min()), int(self.table.max()))

    def shape(self, inputs: list[Shape]) -> Shape:
        if len(self.table) not in (1, inputs[0][0]):
            raise ValueError(f"tables for {len(self.table)} channels do not fit {inputs[0][0]} channels")
        return inputs[0]

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        index = inputs[0] - self.first
        if index.min(initial=0) < 0 or index.max(initial=0) >= self.table.shape[1]:
            raise ValueError(f"inputs outside the table's {self.first}..{self.first + self.table.shape[1] - 1}")
        if len(self.table) == 1:
            return np.asarray(self.table[0][index])
        channel = np.arange(len(self.table)).reshape(1, -1, 1, 1)
        return np.asarray(self.table[channel, index])

    def macs(self, inputs: list[Shape]) -> int:
        return 0

    def accumulator(self, ranges: list[tuple[int, int]]) -> tuple[int, int]:
        return min(0, self.requant.lo), max(0, self.requant.hi)


@dataclass(frozen=True)
class Sub(Add):
    """``a * 2**left_shift[0] - b * 2**left_shift[1] + offset``, requantised."""

    kind: str = field(default="Sub", init=False)

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        a, b = inputs
        return self.requant.apply((a << self.left_shift[0]) - (b << self.left_shift[1]) + self.offset)

    def accumulator(self, ranges: list[tuple[int, int]]) -> tuple[int, int]:
        (a0, a1), (b0, b1) = ranges
        s, t = self.left_shift
        return (a0 << s) - (b1 << t) + self.offset, (a1 << s) - (b0 << t) + self.offset


@dataclass(frozen=True)
class Mul:
    """``(a - zero[0]) * (b - zero[1])``, requantised."""

    requant: Requant
    zero: tuple[int, int] = (0, 0)
    kind: str = field(default="Mul", init=False)

    def shape(self, inputs: list[Shape]) -> Shape:
        if inputs[0] != inputs[1]:
            raise ValueError(f"shapes {inputs[0]} and {inputs[1]} differ")
        return inputs[0]

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        a, b = inputs
        return self.requant.apply((a - self.zero[0]) * (b - self.zero[1]))

    def macs(self, inputs: list[Shape]) -> int:
        c, h, w = inputs[0]
        return c * h * w

    def accumulator(self, ranges: list[tuple[int, int]]) -> tuple[int, int]:
        a, b = ([v - z for v in r] for r, z in zip(ranges, self.zero, strict=True))
        products = [x * y for x in a for y in b]
        return min(0, *products), max(0, *products)
