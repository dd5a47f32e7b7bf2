"""Plumbing between stages: AXI4-Stream ends, width conversion, forks (``hls/stream.h``)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from flow.blocks.beats import Beats, every, rounded
from flow.blocks.control import control
from flow.blocks.piece import Piece, piece
from flow.blocks.requant import beat
from flow.board import Resources
from flow.cost import laws
from flow.design import Port, Process
from flow.fixed import Quant

AXIS_DEPTH = 3  # pipeline stages of an AXI end; real loops from stream to stream have 1 or 2 (flow bench depths)


def slot_bits(quant: Quant) -> int:
    """Bits of one element in an AXI word: whole bytes, a power of two of them."""
    return 8 << max(0, (-(-quant.bits // 8) - 1).bit_length())


def from_axis(quant: Quant, elements: int, width: int) -> Process:
    """AXI4-Stream words of ``width`` bits to beats; the last word of an image may be partly filled."""
    lanes = width // slot_bits(quant)
    words = -(-elements // lanes)
    return Process(
        id="input_axis",
        node="input",
        header="stream.h",
        function="from_axis",
        constants=(("WORDS", words), ("LANES", lanes), ("SLOT", slot_bits(quant)), ("WIDTH", width)),
        types=(("Word", f"Axis<{width}>"), ("Out", beat(quant.bits, quant.signed, lanes))),
        inputs=(Port(1, width, False, words),),
        outputs=(Port(lanes, quant.bits, quant.signed, words),),
        iterations=words,
        depth=AXIS_DEPTH,
        resources=control(1) + laws.register(2 * width) + laws.fifo(2, width + width // 4 + 1),
    )


def to_axis(quant: Quant, elements: int, width: int) -> Process:
    """Beats to AXI4-Stream words; the last word of a batch carries TLAST."""
    lanes = width // slot_bits(quant)
    words = -(-elements // lanes)
    return Process(
        id="output_axis",
        node="output",
        header="stream.h",
        function="to_axis",
        constants=(("WORDS", words), ("LANES", lanes), ("SLOT", slot_bits(quant)), ("WIDTH", width)),
        types=(("In", beat(quant.bits, quant.signed, lanes)), ("Word", f"Axis<{width}>")),
        inputs=(Port(lanes, quant.bits, quant.signed, words),),
        outputs=(Port(1, width, False, words),),
        iterations=words,
        depth=AXIS_DEPTH,
        resources=control(2) + laws.register(2 * width) + laws.fifo(2, width + width // 4 + 1),
    )


@lru_cache(maxsize=65536)
def gearbox_iterations(a: int, b: int, total: int) -> int:
    """Iterations to turn A-lane beats into B-lane beats, ``total`` elements an image.

    A <= B: one read each iteration, and one more iteration when the partly filled last beat follows a full one.
    A > B: one write each iteration.
    """
    reads, writes = -(-total // a), -(-total // b)
    if a > b:
        return writes
    full = total // b * b
    return reads + (1 if total % b and full > (reads - 1) * a else 0)


@lru_cache(maxsize=65536)
def gearbox_cost(a: int, b: int, bits: int) -> Resources:
    """Element registers, the multiplexer in front of each (one input per reachable fill level), control."""
    small, large = min(a, b), max(a, b)
    levels = (large + small - 1) // np.gcd(a, b) if large % small else large // small
    held = laws.register((a + b) * bits) + laws.mux(max(2, int(levels)), a * bits).times(max(1, large // small))
    return held + control(3)


def gearbox(ident: str, node: str, source: Port, lanes: int, total: int) -> Process:
    """From ``source`` to beats of ``lanes`` elements."""
    a, b = source.lanes, lanes
    reads, writes, n = -(-total // a), -(-total // b), gearbox_iterations(a, b, total)
    return Process(
        id=ident,
        node=node,
        header="stream.h",
        function="gearbox",
        constants=(("A", a), ("B", b), ("READS", reads), ("WRITES", writes), ("ITERATIONS", n), ("TOTAL", total)),
        types=(("In", beat(source.bits, source.signed, a)), ("Out", beat(source.bits, source.signed, b))),
        inputs=(Port(a, source.bits, source.signed, reads),),
        outputs=(Port(b, source.bits, source.signed, writes),),
        iterations=n,
        depth=3,
        resources=gearbox_cost(a, b, source.bits),
    )


def fork(ident: str, node: str, source: Port) -> Process:
    """One stream to two."""
    return Process(
        id=ident,
        node=node,
        header="stream.h",
        function="fork",
        constants=(("ITERATIONS", source.beats),),
        types=(("Beat", beat(source.bits, source.signed, source.lanes)),),
        inputs=(source,),
        outputs=(source, source),
        iterations=source.beats,
        depth=2,
        resources=control(1) + laws.register(source.width),
    )


def _piece(p: Process) -> Piece:
    return piece(p.iterations, p.depth, p.resources, p.inputs, p.outputs, SCHEDULES[p.function](p))


@lru_cache(maxsize=4096)
def from_axis_piece(quant: Quant, elements: int, width: int) -> Piece:
    return _piece(from_axis(quant, elements, width))


@lru_cache(maxsize=4096)
def to_axis_piece(quant: Quant, elements: int, width: int) -> Piece:
    return _piece(to_axis(quant, elements, width))


@lru_cache(maxsize=65536)
def gearbox_piece(source: Port, lanes: int, total: int) -> Piece:
    return _piece(gearbox("", "", source, lanes, total))


@lru_cache(maxsize=65536)
def fork_piece(source: Port) -> Piece:
    return _piece(fork("", "", source))


def schedule_gearbox(p: Process) -> tuple[list[Beats], list[Beats]]:
    """Iterations at which each input beat is read and each output beat written."""
    c = dict(p.constants)
    a, b, total, reads, writes = c["A"], c["B"], c["TOTAL"], c["READS"], c["WRITES"]
    if a > b:
        return [rounded(reads, a, 0, b, (reads - 1) * a // b)], [every(writes)]
    # Write k = 0, 1, ... needs ceil(min((k + 1) b, total) / a) reads; a partly filled last beat may come one iteration
    # later.
    last = -(-total // a) - 1
    if total % b and writes > 1:
        last = max(last, -(-(writes - 1) * b // a))
    return [every(reads)], [rounded(writes, b, b - 1, a, last)]


def schedule_copy(p: Process) -> tuple[list[Beats], list[Beats]]:
    each = every(p.iterations)
    return [each] * len(p.inputs), [each] * len(p.outputs)


SCHEDULES = {
    "gearbox": schedule_gearbox,
    "from_axis": schedule_copy,
    "to_axis": schedule_copy,
    "fork": schedule_copy,
}
