"""Multiply-accumulate arrays: multipliers in LUTs, in DSPs, or two products a DSP (``hls/mac.h``).

Packing: ((w1 << F) + w0) * x holds w1 x in the high and w0 x in the low field; CHAIN such products may be summed before
the fields are split as long as the sum of the low products stays inside F signed bits. The multiplier takes 27 x 18
signed bits in a DSP48E2 (AMD UG579) and 25 x 18 in a DSP48E1 (UG479).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from flow.blocks.requant import ctype, signed_bits
from flow.board import Resources
from flow.cost import laws
from flow.design import Multiplier
from flow.fixed import IntArray, bits_for

MULT = {"lut": 0, "dsp": 1, "packed": 2}
Range = tuple[int, int]


def common_shift(weights: IntArray) -> int:
    """Trailing zero bits that all weights share: they are multiplied by the rest and the sum is shifted."""
    together = int(np.bitwise_or.reduce(np.abs(weights), axis=None))
    return max(0, (together & -together).bit_length() - 1)


def weight_range(weights: IntArray) -> Range:
    """Range that stands for an array of weights: the symmetric one of their width, or the full one when it is used."""
    low, high = int(weights.min()), int(weights.max())
    bits = max(2, signed_bits(min(low, 0), max(high, 0)))
    top = (1 << (bits - 1)) - 1
    return (-top - 1 if low < -top else -top), top


@dataclass(frozen=True)
class Packing:
    """Field width, products per chain and type widths of a packed pair."""

    field: int
    chain: int
    packed_bits: int
    pair_bits: int


@lru_cache(maxsize=4096)
def packing(weights: Range, x: Range, wide_port: int) -> Packing | None:
    """Widest field that fits the multiplier's ``wide_port`` (27 or 25 bits), or None when two products do not fit."""
    if signed_bits(*x) > 18:
        return None
    products = [a * b for a in weights for b in x]
    low, high = min(products), max(products)
    for field in range(wide_port - 1, 1, -1):
        packed = ((weights[0] << field) + min(weights[0], 0), (weights[1] << field) + max(weights[1], 0))
        if signed_bits(*packed) > wide_port:
            continue
        chain = min((1 << (field - 1)) // max(-low, 1), ((1 << (field - 1)) - 1) // max(high, 1), 8)
        if chain < 1:
            return None
        pair = [chain * a * b for a in packed for b in x]
        return Packing(field, chain, signed_bits(*packed), signed_bits(min(pair), max(pair)))
    return None


def product_bits(weights: Range, x: Range) -> int:
    """Signed width of one product."""
    products = [a * b for a in weights for b in x]
    return signed_bits(min(products), max(products))


def wide_port(ultrascale: bool) -> int:
    return 27 if ultrascale else 25


@lru_cache(maxsize=65536)
def dot_cost(
    pe: int, simd: int, weights: Range, x: Range, acc_bits: int, mult: Multiplier, ultrascale: bool
) -> Resources:
    """Multipliers and adder trees of ``pe`` dot products of length ``simd``; every level registered.

    A multiplication followed by an addition becomes one DSP (mac_muladd rows of real reports), so half of the first
    level's additions cost nothing; in packed chains all additions inside a chain do.
    """
    wb, xb = signed_bits(*weights), bits_for(*x)[0]
    bits = product_bits(weights, x)
    if mult == "packed":
        pack = packing(weights, x, wide_port(ultrascale))
        assert pack is not None and pe % 2 == 0, "illegal packing"
        chains = -(-simd // pack.chain)
        field_bits = min(bits + (min(pack.chain, simd) - 1).bit_length(), acc_bits)
        pair = Resources(dsp=simd) + laws.adder(field_bits).times(chains) + laws.register(2 * field_bits).times(chains)
        pair += tree(chains, field_bits, acc_bits).times(2)
        return pair.times(pe // 2)
    one = laws.multiplier(wb, xb, "lut" if mult == "lut" else "dsp")
    row = one.times(simd)
    if mult == "dsp":
        row += tree(-(-simd // 2), bits + 1, acc_bits)
    else:
        row += laws.register(bits).times(simd) + tree(simd, bits, acc_bits)
    return row.times(pe)


def tree(leaves: int, bits: int, limit: int) -> Resources:
    """Binary adder tree over ``leaves`` values of ``bits``, each level's sums registered, no wider than ``limit``."""
    total = Resources()
    while leaves > 1:
        bits = min(bits + 1, limit)
        total += (laws.adder(bits) + laws.register(bits)).times(leaves // 2)
        leaves -= leaves // 2
    return total


def latency(simd: int, mult: Multiplier, chain: int = 1) -> int:
    """Pipeline stages from operands to the sum: multiplier (3 in a DSP, 2 in LUTs), then one per adder level."""
    if mult == "packed":
        return 3 + min(chain, simd) + max(0, -(-simd // chain) - 1).bit_length()
    return (3 if mult == "dsp" else 2) + max(0, simd - 1).bit_length()


def types(weights: Range, x: Range, mult: Multiplier, ultrascale: bool) -> tuple[tuple[str, str], ...]:
    """C++ types the header asks for."""
    out = [("Product", ctype(product_bits(weights, x), True))]
    pack = packing(weights, x, wide_port(ultrascale)) if mult == "packed" else None
    if pack:
        out += [("Packed", ctype(pack.packed_bits, True)), ("Pair", ctype(pack.pair_bits, True))]
    return tuple(out)


def constants(weights: Range, x: Range, mult: Multiplier, ultrascale: bool) -> tuple[tuple[str, int], ...]:
    """C++ constants the header asks for."""
    pack = packing(weights, x, wide_port(ultrascale)) if mult == "packed" else None
    out = [("MULT", MULT[mult])]
    if pack:
        out += [("FIELD", pack.field), ("CHAIN", pack.chain)]
    return tuple(out)
