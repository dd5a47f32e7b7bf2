"""The double-buffered tiled engine of FNAS, Super-LIP and HotNAS: cycles and resources by the published equations.

A tile of Tm x Tn channels and Tr x Tc pixels takes Lat1 = max(tI, tW, tComp); its outputs are stored while the next
tile is computed: Lat2 = max(sum over input channel tiles of Lat1, tO).

Sources: Jiang et al., "Accuracy vs. Efficiency: Achieving Both through FPGA-Implementation Aware Neural Architecture
Search", DAC 2019 (FNAS); Jiang et al., "Achieving Super-Linear Speedup across Multi-FPGA for Real-Time DNN Inference",
CODES+ISSS 2019 (Super-LIP, XFER); Jiang et al., "Standing on the Shoulders of Giants: Hardware and Neural Architecture
Co-Search with Hot Start", TCAD 2020 (HotNAS) and its public code and logs.

Every field of ``Engine`` may be a number or an array of numbers, so one formula serves one design and a whole grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flow.cost import laws
from flow.published.layers import Layer

Number = Any  # int, float or an array of them: numpy's arithmetic treats them alike
BRAM_BITS = 18_000  # what the papers count for a block


@dataclass(frozen=True)
class Engine:
    """Tile sizes, words a cycle on the weight, input and output ports, bits a word, the largest kernel."""

    tm: Number
    tn: Number
    tr: Number
    tc: Number
    wp: Number
    ip: Number
    op: Number
    bits: int = 16
    tk: int = 11


@dataclass(frozen=True)
class Rules:
    """How the equations are read: the defaults are right, each switch is a defect of published code.

    ``stride_twice``: output rows and columns are divided by the stride once more. ``padded_map``: tiles cover the
    output map plus its padding. ``whole_edges``: the last tile along each axis takes as long as the first.
    ``whole_weights``: a weight tile of Tm x Tn is loaded even where the layer has fewer channels. ``no_halo``: the
    input tile is as large as the output tile. ``no_fill``: the first load and the last store are free.
    ``part_cycles``: transfers end within a cycle.
    """

    stride_twice: bool = False
    padded_map: bool = False
    whole_edges: bool = False
    whole_weights: bool = False
    no_halo: bool = False
    no_fill: bool = False
    part_cycles: bool = False


CORRECTED = Rules()
HOTNAS = Rules(True, True, True, True, True, True, True)
SUPER_LIP = replace(HOTNAS, stride_twice=False, padded_map=False)


@dataclass(frozen=True)
class Tiles:
    """Cycles of one tile: loading weights and inputs, computing, storing outputs."""

    weights: Number
    inputs: Number
    compute: Number
    outputs: Number

    @property
    def lat1(self) -> Number:
        return np.maximum(np.maximum(self.weights, self.inputs), self.compute)


def tile(la: Layer, e: Engine, rules: Rules, m: Number, n: Number, r: Number, c: Number) -> Tiles:
    """One tile of m x n channels and r x c pixels of the map that ``rules`` has tiles cover."""
    whole = (lambda x: x) if rules.part_cycles else np.ceil
    down = la.stride if rules.stride_twice else 1
    out_r, out_c = (np.minimum(r, la.r), np.minimum(c, la.c)) if rules.padded_map else (r, c)
    in_r, in_c = (r, c) if rules.no_halo else (halo(la, r, la.r), halo(la, c, la.c))
    rows, columns = np.ceil(r / down), np.ceil(c / down)
    deep = n if not la.depthwise else m
    weights = e.tm * (1 if la.depthwise else e.tn) if rules.whole_weights else m * n
    return Tiles(
        weights=whole(weights * la.k**2 / e.wp),
        inputs=whole(deep * in_r * in_c / e.ip),
        compute=la.k**2 * rows * columns * (n > 0),
        outputs=whole(m * np.ceil(out_r / down) * np.ceil(out_c / down) / e.op),
    )


def halo(la: Layer, pixels: Number, whole: int) -> Number:
    """Input pixels along an axis that ``pixels`` outputs read, no more than the map has; 0 for none."""
    size = (whole - 1) * la.stride + la.k - 2 * la.padding
    return np.minimum((pixels - 1) * la.stride + la.k, size) * (pixels > 0)


def split(extent: int, size: Number, whole: bool) -> list[tuple[Number, Number]]:
    """(tile size, number of such tiles) along an axis: full ones and the last."""
    if whole:
        return [(np.minimum(size, extent), np.ceil(extent / size))]
    return [(np.minimum(size, extent), extent // size), (extent % size, (extent % size > 0) * 1)]


def cycles(la: Layer, e: Engine, rules: Rules = CORRECTED) -> Number:
    """Cycles of a layer on an engine: the sum of its tiles, with the first load and last store unless ``no_fill``."""
    pad = 2 * la.padding if rules.padded_map else 0
    edges = rules.whole_edges
    total: Number = 0
    for m, times_m in split(la.m, e.tm, edges):
        for r, times_r in split(la.r + pad, e.tr, edges):
            for c, times_c in split(la.c + pad, e.tc, edges):
                inner: Number = 0
                for n, times_n in split(la.n, e.tn, edges):
                    inner = inner + times_n * tile(la, e, rules, m, n, r, c).lat1
                store = tile(la, e, rules, m, np.minimum(e.tn, la.n), r, c).outputs
                total = total + times_m * times_r * times_c * np.maximum(inner, store)
    total = total * la.batch
    if not rules.no_fill:
        sizes = zip((e.tm, e.tn, e.tr, e.tc), (la.m, la.n, la.r, la.c), strict=True)
        first = tile(la, e, rules, *(np.minimum(size, extent) for size, extent in sizes))
        total = total + np.maximum(first.weights, first.inputs) + first.outputs
    return total


def network_cycles(layers: Sequence[Layer], e: Engine, rules: Rules = CORRECTED) -> Number:
    """Layers one after another on the same engine."""
    return sum(cycles(la, e, rules) for la in layers)


def dsps(e: Engine, depthwise: bool = False) -> Number:
    """One DSP a 16-bit product, five a product of 32-bit floats."""
    return e.tm * (1 if depthwise else e.tn) * (5 if e.bits == 32 else 1)


def bram18(e: Engine, depthwise: bool = False, weights_in_lutram: bool = False, block_bits: int = BRAM_BITS) -> Number:
    """18 Kb blocks: input and output tiles double-buffered, a weight bank per multiplier unless in LUTRAM."""
    pixels = np.ceil(e.tr * e.tc * e.bits / block_bits)
    tn = e.tm if depthwise else e.tn
    banks = e.tm * (1 if depthwise else e.tn)
    kernel = e.tk**2 * e.bits
    deep = 2 * np.ceil(kernel / block_bits) if e.bits == 32 else np.ceil(4 * kernel / block_bits)
    return 2 * (tn + e.tm) * pixels + (0 if weights_in_lutram else banks * deep)


def weight_lut(e: Engine) -> Number:
    """LUT when every multiplier's double-buffered weight bank of 2 K^2 words is distributed RAM."""
    return e.tm * e.tn * laws.memory(2 * e.tk**2, e.bits, kind="lutram", rom=False).lut


def port_bits(e: Engine) -> Number:
    return e.bits * (e.wp + e.ip + e.op)


def shared_weights_cycles(la: Layer, e: Engine, link_words: Number, rules: Rules = SUPER_LIP) -> Number:
    """XFER on two boards: each computes half of the batch, loads half of every weight tile and streams it to its peer
    at ``link_words`` words a cycle.  Lat1 = max(tI, tW_mem, tW_net, tComp).
    """
    if la.batch % 2:
        raise ValueError(f"two boards share a batch of {la.batch}: give an even one")
    # Half a weight tile over the port and half over the link, at the same time: the slower one is the port's rate.
    one = replace(la, batch=la.batch // 2)
    return cycles(one, replace(e, wp=2 * np.minimum(e.wp, link_words)), rules)
