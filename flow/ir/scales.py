"""From real scales to integers: the ratio of two scales as ``multiplier / 2**shift``.

Scales are float32 in ONNX; ratios are formed exactly, as fractions.  A power of two gives multiplier 1 and is exact.
Any other ratio is rounded to a multiplier of at most MULTIPLIER_BITS bits, a relative error below 2**-22; that is more
precise than the float32 products which ONNX Runtime rounds on the way, and the integers are the specification.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from flow.fixed import Requant

MULTIPLIER_BITS = 22  # a float32 weight scale (24 bits) determines it uniquely, so emitting and loading agree
MIN_SHIFT, MAX_SHIFT = -30, 56  # int64 arithmetic of Requant.apply stays exact inside
MAX_DIVIDED_SHIFT = 46  # the same behind a divisor of up to 2**14


def fraction(scale: float) -> Fraction:
    """The exact value of a float32 scale."""
    return Fraction(float(np.float32(scale)))


def multiplier(ratio: Fraction) -> tuple[int, int]:
    """``(mult, shift)`` with odd ``mult`` such that ``mult / 2**shift`` is nearest to ``ratio``.

    Raises ValueError when the shift is outside MIN_SHIFT..MAX_SHIFT.
    """
    exponent = ratio.numerator.bit_length() - ratio.denominator.bit_length()
    if ratio < Fraction(2) ** exponent:
        exponent -= 1
    shift = MULTIPLIER_BITS - 1 - exponent
    mult = round(ratio * Fraction(2) ** shift)
    trailing = (mult & -mult).bit_length() - 1
    mult, shift = mult >> trailing, shift - trailing
    if not MIN_SHIFT <= shift <= MAX_SHIFT:
        raise ValueError(f"scales differ by 2**{exponent}, too far for integers; quantise with closer scales")
    return mult, shift


def requant(ratios: Sequence[Fraction], lo: int, hi: int, div: int = 1, zero: int = 0) -> Requant:
    """Requantisation by ``ratios`` (one, or one per output channel) over ``div``.

    ``div`` stays a divisor while the ratios are powers of two, so that averages stay exact; else it joins the ratio.
    """
    pairs = [multiplier(r) for r in ratios]
    if div > 1 and {m for m, _ in pairs} != {1}:
        pairs, div = [multiplier(r / div) for r in ratios], 1
    if div > 1 and max(s for _, s in pairs) > MAX_DIVIDED_SHIFT:
        raise ValueError("an average's scales are too far apart for integers; quantise with closer scales")
    mult = tuple(m for m, _ in pairs)
    if set(mult) == {1}:
        mult = (1,)
    return Requant(tuple(s for _, s in pairs), lo, hi, mult, div, zero)


def ratio(req: Requant, channel: int = 0) -> Fraction:
    """What ``req`` multiplies a channel's accumulator by, the divisor left out."""
    mult, shift = req.mult[min(channel, len(req.mult) - 1)], req.shift[min(channel, len(req.shift) - 1)]
    return mult / Fraction(2) ** shift
