"""Several output pixels a cycle: matrix-vector units side by side on shared weights (``hls/matvec.h``).

With all output channels unrolled a layer is bound to one pixel in SF cycles. From there on whole pixels are unrolled: a
beat holds several with all their channels, ``lanes`` = channels x pixels in and ``pe`` = output channels x pixels out
(fewer than in where the stride skips columns), and the weight memory stays as wide as for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from flow.blocks import mac, window
from flow.blocks.beats import Beats, every
from flow.blocks.control import control
from flow.blocks.matvec import Layer, depth, lane_cost, weight_cost
from flow.blocks.pareto import MOST_PIXELS
from flow.blocks.piece import Piece, piece
from flow.blocks.requant import Rounder, beat, ctype
from flow.board import Resources
from flow.cost import laws
from flow.design import Contents, Folding, Memory, Port, Process
from flow.fixed import IntArray, Quant, bits_for

MOST_PRODUCTS = 1 << 14  # a cycle in one layer; the largest board has 12,288 DSPs


def choices(la: Layer) -> Iterator[tuple[int, int]]:
    """Pixels of an input beat and of the output beat that it becomes."""
    if la.geometry is None:
        yield from ((n, n) for n in range(2, MOST_PIXELS + 1) if la.groups == 1 and la.vectors % n == 0)
    elif la.groups == 1:
        yield from ((n, la.geometry.raster(n * la.lanes_of).gives) for n in window.pixel_choices(la.geometry))


def gives(la: Layer, f: Folding) -> int:
    """Output pixels a beat; 0 for foldings of the ordinary unit."""
    return f.pe // la.outputs if f.lanes > la.lanes_of else 0


def unit_cost(la: Layer, f: Folding, ultra: bool) -> Resources:
    """Products and output lanes of each pixel, one weight memory, the input beat and its slices."""
    out, columns = gives(la, f), la.inputs * la.kernel
    dots = mac.dot_cost(la.outputs, f.simd, la.weights, la.x_range, la.rounding.acc_bits, f.mult, ultra)
    lanes = lane_cost(la, la.outputs)
    feed = laws.register(columns * la.x.bits)
    if columns > f.simd:
        feed += laws.mux(columns // f.simd, f.simd * la.x.bits)
    return (dots + lanes + feed).times(out) + weight_cost(la, la.outputs * f.simd, f.memory) + control(1)


@lru_cache(maxsize=65536)
def unit_piece(la: Layer, bits: int, signed: bool, f: Folding, ultra: bool) -> Piece:
    """The unit as time and area see it; ``bits``, ``signed``: of its output."""
    n, columns = gives(la, f), la.inputs * la.kernel
    sf, groups = columns // f.simd, la.vectors // n
    inputs, outputs = Port(n * columns, la.x.bits, la.x.signed, groups), Port(f.pe, bits, signed, groups)
    deep, moves = depth(la, la.outputs, f.simd, f.mult, ultra), unit_beats(groups, sf)
    return piece(groups * sf, deep, unit_cost(la, f, ultra), (inputs,), (outputs,), moves)


def unit(
    node: str, la: Layer, f: Folding, weights: IntArray, bias: IntArray, raised: int, r: Rounder, out: Quant,
    ultra: bool,
) -> Process:  # fmt: skip
    """The unit as a dataflow process. ``weights``: (outputs, columns) by kernel position, channel."""
    seen, x = unit_piece(la, out.bits, out.signed, f, ultra), la.x
    (inputs,), (outputs,) = seen.inputs, seen.outputs
    constants = {
        "VECTORS": inputs.beats, "SF": la.inputs * la.kernel // f.simd, "GIVES": gives(la, f), "CHANNELS": la.lanes_of,
        "PE": la.outputs, "SIMD": f.simd, "RAISE": raised,
    }  # fmt: skip
    return Process(
        id=f"{node}_matvec",
        node=node,
        header="matvec.h",
        function="matvec_pixels",
        constants=(
            *constants.items(), *mac.constants(la.weights, la.x_range, f.mult, ultra, la.outputs), *r.constants,
        ),
        types=(
            ("In", beat(x.bits, x.signed, inputs.lanes)),
            ("Out", beat(out.bits, out.signed, outputs.lanes)),
            ("T", ctype(x.bits, x.signed)),
            *r.types(out),
            *mac.types(la.weights, la.x_range, f.mult, ultra, la.outputs),
        ),
        inputs=(inputs,),
        outputs=(outputs,),
        iterations=seen.iterations,
        depth=seen.depth,
        resources=seen.resources,
        memories=Contents(lambda: contents(la, f, weights, bias, r)),
    )  # fmt: skip


def contents(la: Layer, f: Folding, weights: IntArray, bias: IntArray, r: Rounder) -> tuple[Memory, ...]:
    """Weights, biases and rounding constants."""
    words = np.ascontiguousarray(weights.reshape(la.outputs, -1, f.simd).transpose(1, 0, 2))
    kind = f.memory if len(words) > 1 else "registers"
    b_bits, b_signed = bits_for(int(bias.min()), int(bias.max()))
    return (
        Memory("weights", words, *bits_for(*la.weights), kind),
        Memory("bias", bias.reshape(1, -1), b_bits, b_signed, "registers"),
        *r.tables(la.outputs),
    )


def schedule(p: Process) -> tuple[list[Beats], list[Beats]]:
    """Iterations at which each input beat is read and each output beat written."""
    return unit_beats(p.constant("VECTORS"), p.constant("SF"))


def unit_beats(groups: int, sf: int) -> tuple[list[Beats], list[Beats]]:
    return [every(groups, sf)], [every(groups, sf, sf - 1)]


SCHEDULES = {"matvec_pixels": schedule}
