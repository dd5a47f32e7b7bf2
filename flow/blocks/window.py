"""Sliding-window units: schedule, row-buffer geometry, cost and configuration (``hls/window.h``)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from flow.blocks.beats import Beats, every, loops
from flow.blocks.control import control
from flow.blocks.piece import Piece, piece
from flow.blocks.requant import beat
from flow.board import Resources
from flow.cost import laws
from flow.design import Memory, Port, Process
from flow.fixed import IntArray, Quant, bits_for
from flow.ir.ops import Pads, window_extent

DEPTH = {"serial": 5, "parallel": 4}  # counters, address, read or shift, select, write
HAZARD = 4  # least iterations between storing a word and reading it back


@dataclass(frozen=True)
class Geometry:
    """All that a window unit depends on but its lanes. ``groups``: 0 means every channel beat is a group."""

    channels: int
    height: int
    width: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: Pads
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def out(self) -> tuple[int, int]:
        top, left, bottom, right = self.pads
        return (
            window_extent(self.height, self.kernel[0], self.stride[0], top, bottom, self.dilation[0]),
            window_extent(self.width, self.kernel[1], self.stride[1], left, right, self.dilation[1]),
        )

    @property
    def trivial(self) -> bool:
        """True when each input pixel is its own window: no unit is needed."""
        return self.kernel == (1, 1) and self.stride == (1, 1) and not any(self.pads)

    def group_count(self, lanes: int) -> int:
        return self.groups or self.channels // lanes


@dataclass(frozen=True)
class Serial:
    """Counters of ``window_serial``."""

    rows: int
    first_rows: int
    first_length: int
    first_slot: int
    emit: int
    spacing: int  # iterations between two stores while emitting: input is taken as evenly as output is given
    gap: int
    phases: tuple[tuple[int, int], ...]  # (beats stored, iterations) per output row
    iterations: int


@lru_cache(maxsize=65536)
def serial(g: Geometry, lanes: int) -> Serial:
    """Phases of the serial unit: each output row is emitted while the next one's new input rows are stored."""
    cf = g.channels // lanes
    (kh, kw), (sh, _), (dh, _), (oh, ow) = g.kernel, g.stride, g.dilation, g.out
    row = g.width * cf
    emit = ow * kh * kw * cf
    reach = (kh - 1) * dh
    rows = reach + 1 + sh
    if g.height < rows and reach < g.height and sh <= g.height:
        rows = g.height
    first = min(max(reach + 1 - g.pads[0], 0), g.height)
    # Rows stored, and the hazard distance between the last word stored in a phase and its first use in the next.
    per_group = cf // g.group_count(lanes)
    stored, counts = first, []
    for y in range(oh):
        need = g.height if y == oh - 1 else min((y + 1) * sh - g.pads[0] + reach + 1, g.height)
        need = max(need, stored)
        counts.append((need - stored) * row)
        stored = need
    most = max(counts)
    spacing = max(1, emit // max(most, 1))
    distance = 1 + (kh - 1) * kw * per_group - (sh - 1) * max(0, kw * per_group - row)
    distance += max(emit, most * spacing) - 1 - max(most - 1, 0) * spacing
    gap = max(0, HAZARD - distance)
    phases = tuple((c, max(c * spacing, emit) + gap) for c in counts)
    length = max(1, first * row)
    total = length + sum(n for _, n in phases)
    return Serial(rows, first, length, -g.pads[0] % rows, emit, spacing, gap, phases, total)


def phase_table(s: Serial) -> IntArray:
    """(OH + 1, 2): beats stored and iterations of each phase; the row after the last is never used."""
    return np.array([*s.phases, (0, 0)], np.int64)


def parallel_legal(g: Geometry) -> bool:
    """The shift-register unit needs output windows that complete in raster order, one position apart at least."""
    (kh, kw), (dh, dw), (oh, ow) = g.kernel, g.dilation, g.out
    top, left = g.pads[:2]
    return (
        top <= (kh - 1) * dh
        and left <= (kw - 1) * dw
        and (oh == 1 or g.stride[0] * g.width > (ow - 1) * g.stride[1])
        and g.kernel != (1, 1)
    ) or (g.kernel == (1, 1) and not any(g.pads))


@lru_cache(maxsize=65536)
def parallel_positions(g: Geometry) -> tuple[int, int, int]:
    """First completing position, step between the last window of a row and the first of the next, positions in all."""
    (kh, kw), (dh, dw), (oh, ow) = g.kernel, g.dilation, g.out
    top, left = g.pads[:2]
    first = ((kh - 1) * dh - top) * g.width + (kw - 1) * dw - left
    row_step = g.stride[0] * g.width - (ow - 1) * g.stride[1]
    last = first + (oh - 1) * g.stride[0] * g.width + (ow - 1) * g.stride[1]
    return first, row_step, max(g.height * g.width, last + 1)


def iterations(g: Geometry, lanes: int, mode: str) -> int:
    """Loop iterations an image, II = 1."""
    if mode == "serial":
        return serial(g, lanes).iterations
    return parallel_positions(g)[2] * (g.channels // lanes)


@lru_cache(maxsize=65536)
def cost(g: Geometry, lanes: int, mode: str, bits: int) -> Resources:
    """Row or line buffers, shift registers and control."""
    cf, (kh, kw), (dh, dw) = g.channels // lanes, g.kernel, g.dilation
    if mode == "serial":
        s = serial(g, lanes)
        table = phase_table(s)
        phases = laws.memory(len(table), 2 * int(table.max()).bit_length(), kind="lutram")
        rows = laws.memory(s.rows * g.width * cf, lanes * bits, rom=False)
        return rows + phases + control(10) + laws.register(2 * lanes * bits)
    total = control(6) + laws.register(lanes * bits)
    if kh > 1:
        total += laws.memory(dh * g.width * cf, (kh - 1) * lanes * bits, rom=False)
    taps = kh * ((kw - 1) * dw * cf + 1)
    total += laws.register(taps * lanes * bits)
    masked = kh * kw if any(g.pads) else 0
    return total + laws.select(lanes * bits).times(masked) + laws.comparator(16).times(2 * (kh + kw) if masked else 0)


def process(ident: str, node: str, g: Geometry, lanes: int, mode: str, quant: Quant, pad: int) -> Process:
    """The unit as a dataflow process."""
    cf, (kh, kw), (oh, ow) = g.channels // lanes, g.kernel, g.out
    constants = {
        "H": g.height, "W": g.width, "OH": oh, "OW": ow, "KH": kh, "KW": kw, "SH": g.stride[0], "SW": g.stride[1],
        "DH": g.dilation[0], "DW": g.dilation[1], "PT": g.pads[0], "PL": g.pads[1], "PAD": pad,
        "CF": cf, "LANES": lanes,
    }  # fmt: skip
    beats_in = g.height * g.width * cf
    memories: tuple[Memory, ...] = ()
    types = [("Beat", beat(quant.bits, quant.signed, lanes))]
    if mode == "serial":
        s = serial(g, lanes)
        constants |= {
            "GROUPS": g.group_count(lanes), "ROWS": s.rows, "FIRST_ROWS": s.first_rows, "FIRST_LENGTH": s.first_length,
            "FIRST_SLOT": s.first_slot, "EMIT": s.emit, "SPACING": s.spacing, "GAP": s.gap,
        }  # fmt: skip
        out = Port(lanes, quant.bits, quant.signed, oh * ow * kh * kw * cf)
        table = phase_table(s)
        bits, signed = bits_for(0, int(table.max()))
        memories = (Memory("phases", table, bits, signed, "lutram"),)
    else:
        first, row_step, _ = parallel_positions(g)
        constants |= {
            "DELAY": g.dilation[0] * g.width * cf if kh > 1 else 1, "TAPS": (kw - 1) * g.dilation[1] * cf,
            "FIRST": first, "ROW_STEP": row_step,
        }  # fmt: skip
        out = Port(lanes * kh * kw, quant.bits, quant.signed, oh * ow * cf)
        types.append(("Window", beat(quant.bits, quant.signed, lanes * kh * kw)))
    n = iterations(g, lanes, mode)
    return Process(
        id=ident,
        node=node,
        header="window.h",
        function=f"window_{mode}",
        constants=(*constants.items(), ("ITERATIONS", n)),
        types=tuple(types),
        inputs=(Port(lanes, quant.bits, quant.signed, beats_in),),
        outputs=(out,),
        iterations=n,
        depth=DEPTH[mode],
        resources=cost(g, lanes, mode, quant.bits),
        memories=memories,
    )


@lru_cache(maxsize=65536)
def unit(g: Geometry, lanes: int, mode: str, bits: int, signed: bool) -> Piece:
    """The unit as time and area see it."""
    p = process("", "", g, lanes, mode, Quant(bits, signed, 1.0), 0)
    return piece(p.iterations, p.depth, p.resources, p.inputs, p.outputs, SCHEDULES[p.function](p))


def schedule_serial(p: Process) -> tuple[list[Beats], list[Beats]]:
    """Iterations at which each input beat is read and each output beat written."""
    c = dict(p.constants)
    reads = [loops(0, (c["FIRST_ROWS"] * c["W"] * c["CF"], 1))]
    writes = []
    start = c["FIRST_LENGTH"]
    phases = [tuple(row) for row in p.memories[0].data[:-1].tolist()]
    for (stored, length), run in itertools.groupby(phases):
        count = len(list(run))
        reads.append(loops(start, (count, length), (stored, c["SPACING"])))
        writes.append(loops(start, (count, length), (c["EMIT"], 1)))
        start += count * length
    return [Beats(tuple(reads))], [Beats(tuple(writes))]


def schedule_parallel(p: Process) -> tuple[list[Beats], list[Beats]]:
    """Iterations at which each input beat is read and each output beat written."""
    c = dict(p.constants)
    cf, row = c["CF"], c["ROW_STEP"] + (c["OW"] - 1) * c["SW"]
    writes = loops(c["FIRST"] * cf, (c["OH"], row * cf), (c["OW"], c["SW"] * cf), (cf, 1))
    return [every(c["H"] * c["W"] * cf)], [Beats((writes,))]


SCHEDULES = {"window_serial": schedule_serial, "window_parallel": schedule_parallel}
