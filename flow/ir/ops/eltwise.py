"""Element-wise operators of two maps."""

from __future__ import annotations

from dataclasses import dataclass, field

from flow.fixed import IntArray, Requant
from flow.ir.ops.base import Shape


@dataclass(frozen=True)
class Add:
    """``a * 2**left_shift[0] + b * 2**left_shift[1] + offset``, requantised: both at their common finest scale."""

    requant: Requant
    left_shift: tuple[int, int] = (0, 0)
    offset: int = 0
    kind: str = field(default="Add", init=False)

    def shape(self, inputs: list[Shape]) -> Shape:
        if inputs[0] != inputs[1]:
            raise ValueError(f"shapes {inputs[0]} and {inputs[1]} differ")
        return inputs[0]

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        a, b = inputs
        return self.requant.apply((a << self.left_shift[0]) + (b << self.left_shift[1]) + self.offset)

    def macs(self, inputs: list[Shape]) -> int:
        return 0

    def accumulator(self, ranges: list[tuple[int, int]]) -> tuple[int, int]:
        (a0, a1), (b0, b1) = ranges
        s, t = self.left_shift
        return (a0 << s) + (b0 << t) + self.offset, (a1 << s) + (b1 << t) + self.offset
