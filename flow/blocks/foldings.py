"""All undominated foldings of a stage, enumerated by ``foldings.cpp``: mappers ask for thousands.

What a stage is composed of is said twice: in ``matvec``, ``pixels``, ``depthwise``, ``pool``, ``mac`` and ``window``
for the one folding that is built, and there for all of them; ``tests/unit/test_mapping_options.py`` compares the two.
Component laws are said once: the kernel asks ``flow.cost.laws`` for each size that it has not met.
"""

from __future__ import annotations

import ctypes
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from flow import native
from flow.blocks import mac, window
from flow.blocks.control import control
from flow.blocks.pareto import LANES, MOST_PIXELS, Options
from flow.blocks.pixels import MOST_PRODUCTS
from flow.blocks.requant import Rounding, signed_bits
from flow.board import KINDS as RESOURCES
from flow.cost import laws
from flow.design import Multiplier, Storage, stage_cycles
from flow.fixed import Quant, bits_for

MODES = ("none", "parallel", "serial")
MULTIPLIERS: tuple[Multiplier, ...] = ("dsp", "lut", "packed")
MEMORIES: tuple[Storage, ...] = ("bram", "lutram")
KINDS = tuple((mode, mult, memory, "auto") for mode in MODES for mult in MULTIPLIERS for memory in MEMORIES)  # sorted
SHALLOW = 16  # weight memories of so few words are not tried in block RAM
LAG = stage_cycles((0, 1)) - 1  # cycles of a stage beside its iterations and its pipeline

Range = tuple[int, int]

_LAWS = (  # in the kernel's order
    lambda words, bits: laws.memory(words, bits, kind="lutram"),
    lambda words, bits: laws.memory(words, bits, kind="bram"),
    lambda words, bits: laws.memory(words, bits, rom=False),
    lambda bits, _: laws.adder(bits),
    laws.mux,
    lambda bits, _: laws.register(bits),
    lambda bits, _: laws.select(bits),
    lambda bits, _: laws.comparator(bits),
    lambda counters, _: control(counters),
)


def _ask(law: int, a: int, b: int, cost: Any) -> None:
    try:
        for k, n in enumerate(_LAWS[law](a, b)):
            cost[k] = n
    except laws.LawError as e:  # would be lost in the kernel: raised by whoever called it
        _failed.append(e)


_failed: list[laws.LawError] = []
_SIZE = ctypes.c_int64
_ASK = ctypes.CFUNCTYPE(None, _SIZE, _SIZE, _SIZE, ctypes.POINTER(_SIZE))(_ask)


@cache
def _library() -> ctypes.CDLL:
    lib = native.library("blocks/foldings.cpp")
    for name in ("dense", "depthwise", "pool"):
        getattr(lib, f"flow_foldings_{name}").restype = ctypes.c_int64
    lib.flow_foldings_laws(_ASK)
    return lib


def enumerated(name: str, unit: tuple[int, ...]) -> Options:
    """Options of a "dense", "depthwise" or "pool" unit; ``unit``: shape, counts, formats (``packed_unit``)."""
    count = getattr(_library(), f"flow_foldings_{name}")((ctypes.c_int64 * len(unit))(*unit))
    if _failed:
        raise _failed.pop()
    flat = np.empty(count * 11, np.int64)
    _library().flow_foldings_rows(flat.ctypes.data_as(ctypes.c_void_p))
    parts = np.cumsum([0, LANES, 1, 1, len(RESOURCES), 1]).tolist()
    numbers, kind, cycles, resources, inner = (flat[a * count : b * count] for a, b in pairwise(parts))
    zero = np.zeros(count, np.int64)
    shaped = numbers.reshape(count, LANES), kind, KINDS, cycles, resources.reshape(count, len(RESOURCES))
    return Options(*shaped, inner, zero)


def packed_unit(
    geometry: window.Geometry | None, counts: tuple[int, ...], formats: tuple[int, ...], whole: bool = False,
    maximum: bool = False,
) -> tuple[int, ...]:  # fmt: skip
    """The kernel's ``Unit``. ``counts``: inputs a group, kernel positions, outputs a group, groups, output pixels, and
    what lanes divide; ``formats``: as below; ``whole``, ``maximum``: of a pool."""
    return (
        *_shape(geometry), *counts, *formats, LAG, window.DEPTH["serial"], window.DEPTH["parallel"], window.HAZARD,
        SHALLOW, MOST_PIXELS, MOST_PRODUCTS, whole, maximum,
    )  # fmt: skip


def _shape(g: window.Geometry | None) -> tuple[int, ...]:
    if g is None:
        return (1,) * 16 + (0, 0)
    sizes = g.channels, g.height, g.width, *g.kernel, *g.stride, *g.pads, *g.dilation, g.groups, *g.out
    return (*sizes, not g.trivial, not g.trivial and window.parallel_legal(g))


@lru_cache(maxsize=16384)
def formats(x: Quant, weights: Range, rounding: Rounding, ultra: bool) -> tuple[int, ...]:
    """What numbers of these formats need: bits, packing, products, one lane's rounding."""
    x_range = x.lo, x.hi
    bits = signed_bits(*weights), bits_for(*x_range)[0]
    packs = [mac.packing(weights, x_range, mac.wide_port(ultra), pe) for pe in range(1, mac.MAX_ROWS + 1)]
    return (
        x.bits, bits_for(*weights)[0], mac.product_bits(weights, x_range), rounding.acc_bits, rounding.table_bits,
        rounding.latency, *rounding.cost, *laws.multiplier(*bits, "dsp"), *laws.multiplier(*bits, "lut"),
        *(n for p in packs for n in ((p.rows, p.chain) if p else (0, 0))),
    )  # fmt: skip
