"""Quantised number formats and the integer arithmetic that every other module means by "requantise".

A quantised tensor holds integers ``q``; the real value is ``(q - zero) * scale``.  The hardware sees integers only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


def bits_for(lo: int, hi: int) -> tuple[int, bool]:
    """Smallest ``(bits, signed)`` format that holds every integer of ``lo..hi`` (at least one bit)."""
    if lo > hi:
        raise ValueError(f"empty range {lo}..{hi}")
    if lo >= 0:
        return max(1, int(hi).bit_length()), False
    return max(int(-lo - 1).bit_length(), int(hi).bit_length() if hi > 0 else 0) + 1, True


def is_power_of_two(x: float) -> bool:
    """True for 2**k with any integer k, negative ones included."""
    return x > 0 and math.frexp(x)[0] == 0.5


@dataclass(frozen=True)
class Quant:
    """Format of a quantised tensor: ``bits`` wide integers standing for ``(q - zero) * scale``."""

    bits: int
    signed: bool
    scale: float
    zero: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 64:
            raise ValueError(f"{self.bits} bits: formats have 1 to 64 bits")
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"scale {self.scale}: scales are finite and positive")

    @property
    def lo(self) -> int:
        """Least integer of the format."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def hi(self) -> int:
        """Greatest integer of the format."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    def quantise(self, real: NDArray[np.floating]) -> IntArray:
        """``clip(round_half_even(real / scale) + zero)``: what ONNX QuantizeLinear does, in float32 as it does."""
        scaled = np.rint(np.asarray(real, np.float32) / np.float32(self.scale))
        out: IntArray = np.clip(scaled.astype(np.float64) + self.zero, self.lo, self.hi).astype(np.int64)
        return out

    def real(self, q: IntArray) -> NDArray[np.float32]:
        """``(q - zero) * scale`` in float32."""
        return ((q - self.zero).astype(np.float32) * np.float32(self.scale)).astype(np.float32)


@dataclass(frozen=True)
class Requant:
    """``clip(round_half_even(acc * mult / (div * 2**shift)) + zero, lo, hi)``.

    ``mult`` and ``shift`` have one entry, or one per output channel.  A negative shift scales up.  ``div`` is the
    window size of an average; it is 1 elsewhere.  Power-of-two scales have ``mult == (1,)`` and are then exactly what
    ONNX Runtime computes.  For other scales ``mult / 2**shift`` approximates the real ratio and this formula is the
    specification.
    """

    shift: tuple[int, ...]
    lo: int
    hi: int
    mult: tuple[int, ...] = (1,)
    div: int = 1
    zero: int = 0

    def apply(self, acc: IntArray, div: IntArray | None = None) -> IntArray:
        """``acc``: int64, channels on axis 1 (or axis 0 of a 1-D array).  Returns the same shape.

        ``div``: divisors by position, in place of the one.
        """
        shape = [1] * acc.ndim
        shape[1 if acc.ndim > 1 else 0] = -1
        mult = np.asarray(self.mult, np.int64).reshape(shape)
        shift = np.asarray(self.shift, np.int64).reshape(shape)
        num = (acc * mult) << np.maximum(-shift, 0)
        den = (np.int64(self.div) if div is None else div) << np.maximum(shift, 0)
        out: IntArray = np.clip(divide_half_even(num, den) + self.zero, self.lo, self.hi)
        return out


def divide_half_even(num: IntArray, den: IntArray | np.int64) -> IntArray:
    """Exact ``num / den`` rounded to nearest, ties to the even integer; ``den > 0``."""
    floor = num // den
    twice = 2 * (num - floor * den)
    up = (twice > den) | ((twice == den) & ((floor & 1) == 1))
    out: IntArray = floor + up
    return out
