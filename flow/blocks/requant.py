"""Requantisation in hardware: the rounding circuit of a Requant, its types, tables and cost (``hls/requant.h``)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from flow.board import Resources
from flow.cost import laws
from flow.design import Memory
from flow.fixed import Quant, Requant, bits_for

MAX_BITS = 64  # of an intermediate: native integers simulate it


def ctype(bits: int, signed: bool) -> str:
    """C++ type of one element."""
    return f"{'Int' if signed else 'UInt'}<{bits}>"


def beat(bits: int, signed: bool, lanes: int) -> str:
    """C++ type of one beat."""
    return f"Vec<{ctype(bits, signed)}, {lanes}>"


class Rounding(NamedTuple):
    """What a stage's cost depends on: accumulator width, per-channel tables (bits a lane), one lane's cost, latency.

    Layers that differ in weights only mostly agree in this, so their options are computed once.
    """

    acc_bits: int
    table_bits: int
    cost: Resources
    latency: int


@dataclass(frozen=True)
class Rounder:
    """Constants, types and tables for one stage's requantisation.

    ``kind``: 0 constant shift, 1 shift per channel, 2 constant divisor, 3 multiplier and shift per channel, 4 the same
    for all channels.
    """

    kind: int
    acc_bits: int
    wide_bits: int
    constants: tuple[tuple[str, int], ...]
    mult: tuple[int, ...]
    shift: tuple[int, ...]
    cost: Resources  # of one lane
    latency: int

    @property
    def summary(self) -> Rounding:
        tables = sum(max(v).bit_length() for v in (self.mult, self.shift) if len(v) > 1)
        return Rounding(self.acc_bits, self.acc_bits + tables, self.cost, self.latency)

    def types(self, out: Quant) -> tuple[tuple[str, str], ...]:
        return (
            ("Acc", ctype(self.acc_bits, True)),
            ("Wide", ctype(self.wide_bits, True)),
            ("OutT", ctype(out.bits, out.signed)),
        )

    def rows(self, pe: int) -> tuple[int, int]:
        """Rows of the ``mult`` and ``shift`` arrays."""
        mult, shift = (len(v) // pe if len(v) > 1 else 1 for v in (self.mult, self.shift))
        return mult, shift

    def tables(self, pe: int) -> tuple[Memory, Memory]:
        """``mult`` and ``shift`` arrays (rows, pe); one row when all channels agree."""
        out = []
        for name, values in (("mult", self.mult), ("shift", self.shift)):
            data = np.array(values, np.int64).reshape(-1, pe) if len(values) > 1 else np.full((1, pe), values[0])
            bits, signed = bits_for(int(data.min()), int(data.max()))
            out.append(Memory(name, data, bits, signed, "lutram" if len(data) > 1 else "registers"))
        return out[0], out[1]


@lru_cache(maxsize=65536)
def rounder(requant: Requant, acc_range: tuple[int, int]) -> Rounder:
    """Choose the circuit. ``acc_range``: every value (partial sums included) that the accumulator takes."""
    lo, hi = acc_range
    base: dict[str, int] = {"LO": requant.lo, "HI": requant.hi, "ZERO": requant.zero, "SHIFT": 0, "UP": 0}
    limits = (requant.lo, requant.hi, requant.zero, requant.zero - 1, requant.zero + 1)
    general = any(m != 1 for m in requant.mult)
    if not general:
        # A common left shift brings every channel's shift to zero or above.
        up = max(0, -min(requant.shift))
        base["UP"] = up
        shifts = tuple(s + up for s in requant.shift)
        lo, hi = lo << up, hi << up
        top = max(shifts)
        if requant.div == 1:
            half = (1 << top) >> 1
            acc_bits = signed_bits(
                min(lo - abs(requant.zero), *limits), max(hi + half + abs(requant.zero) + 1, *limits)
            )
            if len(set(shifts)) == 1:
                base["SHIFT"] = top
                return Rounder(
                    0, acc_bits, acc_bits, done(base, 0), (1,), (0,), lane_cost(acc_bits, top, 1, requant), 3
                )
            return Rounder(
                1, acc_bits, acc_bits, done(base, 1), (1,), shifts,
                lane_cost(acc_bits, top, 1 + top - min(shifts), requant), 4,
            )  # fmt: skip
        divisor = requant.div << top
        base.update(division(divisor, lo, hi))
        acc_bits = signed_bits(min(lo, *limits), max(hi, *limits))
        span = hi - lo + 2 * divisor
        wide = signed_bits(-2 * divisor, max(span * base["DIV_M"], 2 * span))
        cost = lane_cost(acc_bits, 0, 1, requant) + laws.multiplier(acc_bits, base["DIV_M"].bit_length(), "auto")
        cost += laws.multiplier(acc_bits, divisor.bit_length(), "lut") + laws.adder(acc_bits).times(3)
        return Rounder(2, acc_bits, wide, done(base, 2), (1,), (0,), cost, 8)
    return _general(requant, base, lo, hi, limits)


def _general(requant: Requant, base: dict[str, int], lo: int, hi: int, limits: tuple[int, ...]) -> Rounder:
    """Multiplier and shift. Raises ValueError for an average: `flow.ir.scales` makes its divisor part of the ratio."""
    if requant.div != 1:
        raise ValueError("an average with a general multiplier has no circuit; give its scales as powers of two")
    up = max(0, -min(requant.shift))
    mults, shifts = tuple(m << up for m in requant.mult), tuple(s + up for s in requant.shift)
    count = max(len(mults), len(shifts))
    mults, shifts = (v if len(v) == count else v * count for v in (mults, shifts))
    half = (1 << max(shifts)) >> 1
    wide = signed_bits(min(lo * max(mults), -half), max(hi * max(mults) + half + 1, half))
    acc_bits = signed_bits(min(lo, *limits), max(hi, *limits))
    # Rounded values that leave the accumulator's type would wrap before they saturate: widen it to hold them.
    acc_bits = max(acc_bits, wide - min(shifts) + 1)
    if max(wide, acc_bits) > MAX_BITS:
        raise ValueError(
            f"its requantisation needs {max(wide, acc_bits)} bits, {MAX_BITS} is the limit; use fewer bits"
        )
    cost = lane_cost(wide, max(shifts), 1 + max(shifts) - min(shifts), requant)
    cost += laws.multiplier(signed_bits(lo, hi), max(mults).bit_length() + 1, "dsp")
    if len(set(mults)) == len(set(shifts)) == 1:
        base |= {"SCALE": mults[0], "SHIFT": shifts[0]}
        return Rounder(4, acc_bits, wide, done(base, 4), (1,), (0,), cost, 7)
    return Rounder(3, acc_bits, wide, done(base, 3), mults, shifts, cost, 7)


def done(base: dict[str, int], kind: int) -> tuple[tuple[str, int], ...]:
    fields = {"ROUND": kind, "SCALE": 1, "DIV_D": 1, "DIV_M": 1, "DIV_P": 0, "DIV_OFFSET": 0} | base
    return tuple(sorted(fields.items()))


def signed_bits(lo: int, hi: int) -> int:
    """Width of a signed format for ``lo..hi``."""
    bits, signed = bits_for(min(lo, hi), max(lo, hi))
    return bits if signed else bits + 1


def division(divisor: int, lo: int, hi: int) -> dict[str, int]:
    """Constants with ``floor(n / D) == (n * M) >> P`` for every dividend of ``lo..hi`` made non-negative.

    With M = ceil(2**P / D) and e = M D - 2**P, the product is exact for 0 <= n < N if e N <= 2**P (Granlund and
    Montgomery, Division by Invariant Integers using Multiplication, theorem 4.2).
    """
    offset = max(0, -(lo // divisor))
    top = hi + offset * divisor + 1
    for p in range(64):
        m = -(-(1 << p) // divisor)
        if (m * divisor - (1 << p)) * top <= (1 << p):
            return {"DIV_D": divisor, "DIV_M": m, "DIV_P": p, "DIV_OFFSET": offset}
    raise ValueError(f"no reciprocal of {divisor} is exact up to {top}")


def lane_cost(bits: int, shift: int, shifts: int, requant: Requant) -> Resources:
    """Rounding adder, barrel shifter when shifts differ, two comparisons and the selection of the limit."""
    out_bits = signed_bits(requant.lo, requant.hi)
    cost = laws.comparator(bits).times(2) + laws.select(out_bits).times(2) + laws.register(bits + out_bits)
    if shift:
        cost += laws.adder(bits)
    levels = max(0, (shifts - 1).bit_length())
    return cost + laws.select(bits).times(2 * levels)
