"""Multiply-accumulate arrays: multipliers in LUTs, in DSPs, or several products a DSP (``hls/mac.h``).

Packing: (... + (w2 << 2F) + (w1 << F) + w0) * x holds one product in each field of F bits; CHAIN such products may be
summed before the fields are split as long as the sums in all but the highest field stay inside F signed bits: taking
the low field off as a signed number leaves the same form with one field fewer, so every field comes out exact. Two
rows of 8-bit weights share a DSP, three of 4 bits, four of 3 or 2 bits. The multiplier takes 27 x 18 signed bits in a
DSP48E2 (AMD UG579) and 25 x 18 in a DSP48E1 (UG479).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from flow.blocks.requant import ctype, signed_bits
from flow.board import Resources
from flow.cost import laws
from flow.design import Multiplier
from flow.fixed import IntArray, bits_for
from flow.ir.graph import Graph, Node, once

MULT = {"lut": 0, "dsp": 1, "packed": 2}
Range = tuple[int, int]


def common_shift(weights: IntArray) -> int:
    """Trailing zero bits that all weights share: they are multiplied by the rest and the sum is shifted."""
    if np.any(weights.reshape(-1)[:256] & 1):
        return 0
    together = int(np.bitwise_or.reduce(weights, axis=None))  # a number and its negative end in the same zeros
    return max(0, (together & -together).bit_length() - 1)


def weight_range(weights: IntArray) -> Range:
    """Range that stands for an array of weights: the symmetric one of their width, or the full one when it is used."""
    low, high = int(weights.min()), int(weights.max())
    bits = max(2, signed_bits(min(low, 0), max(high, 0)))
    top = (1 << (bits - 1)) - 1
    return (-top - 1 if low < -top else -top), top


class Weights(NamedTuple):
    """``raised``: zero bits that all share; ``range`` of the rest."""

    raised: int
    range: Range


@once
def weights_of(graph: Graph, node: Node) -> Weights:
    """Of a node with an array ``weight``."""
    weight: IntArray = node.op.weight  # type: ignore[attr-defined]
    raised = common_shift(weight)
    return Weights(raised, weight_range(weight >> raised if raised else weight))


@dataclass(frozen=True)
class Packing:
    """Rows of weights in one operand, field width, products per chain, and type widths."""

    rows: int
    field: int
    chain: int
    packed_bits: int
    pair_bits: int


MAX_ROWS, MAX_CHAIN = 4, 8
X_PORT = 18  # signed bits of a DSP's narrow operand


@lru_cache(maxsize=4096)
def packing(weights: Range, x: Range, wide_port: int, pe: int) -> Packing | None:
    """Most rows, then widest field, that fit the multiplier's ``wide_port`` (27 or 25 bits); None when two do not.

    ``pe``: rows that there are; the last DSP of a column may hold fewer.
    """
    if signed_bits(*x) > X_PORT:
        return None
    products = [a * b for a in weights for b in x]
    low, high = min(products), max(products)
    for rows in range(min(MAX_ROWS, pe), 1, -1):
        for field in range((wide_port - 1) // (rows - 1), 1, -1):
            ones = sum(1 << (field * r) for r in range(rows))
            packed = (min(weights[0], 0) * ones, max(weights[1], 0) * ones)
            if signed_bits(*packed) > wide_port:
                continue
            chain = min((1 << (field - 1)) // max(-low, 1), ((1 << (field - 1)) - 1) // max(high, 1), MAX_CHAIN)
            if chain < 1:
                break
            pair = [chain * a * b for a in packed for b in x]
            return Packing(rows, field, chain, signed_bits(*packed), signed_bits(min(pair), max(pair)))
    return None


def product_bits(weights: Range, x: Range) -> int:
    """Signed width of one product."""
    products = [a * b for a in weights for b in x]
    return signed_bits(min(products), max(products))


def wide_port(ultrascale: bool) -> int:
    return 27 if ultrascale else 25


def dot_cost(
    pe: int, simd: int, weights: Range, x: Range, acc_bits: int, mult: Multiplier, ultrascale: bool
) -> Resources:
    """Multipliers and adder trees of ``pe`` dot products of length ``simd``; every level registered."""
    pack = packing(weights, x, wide_port(ultrascale), pe) if mult == "packed" else None
    assert pack is not None or mult != "packed", "illegal packing"
    group, join, row = parts(simd, weights, x, acc_bits, mult, pack)
    groups = -(-pe // pack.rows) if pack else pe
    return group.times(groups) + join.times(pe - groups) + row.times(pe)


@lru_cache(maxsize=65536)
def parts(
    simd: int, weights: Range, x: Range, acc_bits: int, mult: Multiplier, pack: Packing | None
) -> tuple[Resources, Resources, Resources]:
    """What dot products of length ``simd`` cost: each group of rows that share DSPs, each further row of it, each row.

    A multiplication followed by an addition becomes one DSP (mac_muladd rows of real reports), so half of the first
    level's additions cost nothing; in packed chains all additions inside a chain do. Without packing each row is a
    group of its own.
    """
    bits = product_bits(weights, x)
    if pack is not None:
        chains = -(-simd // pack.chain)
        field_bits = min(bits + (min(pack.chain, simd) - 1).bit_length(), acc_bits)
        row = laws.register(field_bits).times(chains) + tree(chains, field_bits, acc_bits)
        return Resources(dsp=simd), laws.adder(field_bits).times(chains), row
    row = laws.multiplier(signed_bits(*weights), bits_for(*x)[0], "lut" if mult == "lut" else "dsp").times(simd)
    if mult == "dsp":
        row += tree(-(-simd // 2), bits + 1, acc_bits)
    else:
        row += laws.register(bits).times(simd) + tree(simd, bits, acc_bits)
    return Resources(), Resources(), row


def tree(leaves: int, bits: int, limit: int) -> Resources:
    """Binary adder tree over ``leaves`` values of ``bits``, each level's sums registered, no wider than ``limit``."""
    total = Resources()
    while leaves > 1:
        bits = min(bits + 1, limit)
        total += (laws.adder(bits) + laws.register(bits)).times(leaves // 2)
        leaves -= leaves // 2
    return total


def latency(simd: int, mult: Multiplier, chain: int = 1) -> int:
    """Pipeline stages from operands to the sum: multiplier (3 in a DSP, 2 in LUTs), then one per adder level.

    Real reports: product and sum in a DSP 4 stages (69 of 69 rows, 3.3 to 10 ns), a product in logic 1 (66 of 66); the
    second is a margin of one cycle a process (``flow bench depths``).
    """
    if mult == "packed":
        return 3 + min(chain, simd) + max(0, -(-simd // chain) - 1).bit_length()
    return (3 if mult == "dsp" else 2) + max(0, simd - 1).bit_length()


def types(weights: Range, x: Range, mult: Multiplier, ultrascale: bool, pe: int) -> tuple[tuple[str, str], ...]:
    """C++ types the header asks for."""
    out = [("Product", ctype(product_bits(weights, x), True))]
    pack = packing(weights, x, wide_port(ultrascale), pe) if mult == "packed" else None
    if pack:
        out += [("Packed", ctype(pack.packed_bits, True)), ("Pair", ctype(pack.pair_bits, True))]
    return tuple(out)


def constants(weights: Range, x: Range, mult: Multiplier, ultrascale: bool, pe: int) -> tuple[tuple[str, int], ...]:
    """C++ constants the header asks for."""
    pack = packing(weights, x, wide_port(ultrascale), pe) if mult == "packed" else None
    out = [("MULT", MULT[mult])]
    if pack:
        out += [("ROWS", pack.rows), ("FIELD", pack.field), ("CHAIN", pack.chain)]
    return tuple(out)
