"""Sliding-window units: schedule, row-buffer geometry, cost and configuration (``hls/window.h``).

Lanes divide the channels, or are several times as many: then a beat is a row's next pixels with all their channels,
and the parallel unit gives the windows of all outputs that a beat completes at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from flow.blocks.beats import Beats, every, loops
from flow.blocks.control import control
from flow.blocks.pareto import MOST_PIXELS, Options, divisors
from flow.blocks.piece import Piece, piece
from flow.blocks.requant import beat
from flow.board import Resources
from flow.cost import laws
from flow.design import Buffer, Folding, Memory, Port, Process
from flow.fixed import IntArray, Quant, bits_for
from flow.ir.ops import Pads, window_extent

DEPTH = {"serial": 5, "parallel": 4}  # counters, address, read or shift, select, write; real loops: 4, 3 (bench depths)
HAZARD = 4  # least iterations between storing a word and reading it back
WORTH = 4  # block RAMs (18 Kb) that one UltraRAM (288 Kb) must replace


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

    def raster(self, lanes: int) -> Raster:
        """How the map and its windows go by in beats of ``lanes``."""
        pixels = max(1, lanes // self.channels)
        gives = max(1, pixels // self.stride[1])
        reach = (gives - 1) * self.stride[1] + (self.kernel[1] - 1) * self.dilation[1] - self.pads[1]
        return Raster(
            pixels, gives, max(1, self.channels // lanes), self.width // pixels, self.out[1] // gives,
            self.stride[1] * gives // pixels, reach // pixels,
        )  # fmt: skip


class Raster(NamedTuple):
    """Pixels of an input beat, windows given at once, channel beats a pixel; a row's beats and groups of windows.

    ``step``: beats from one group of a row to the next; ``shift``: beats from a row's first to the one that completes
    its first group, padding taken off.
    """

    pixels: int
    gives: int
    channel_beats: int
    beats: int
    groups: int
    step: int
    shift: int


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
def pixel_choices(g: Geometry) -> list[int]:
    """Numbers of pixels of a row, two or more, that a beat may have: whole beats and whole groups of windows a row."""
    if g.groups > 1 or not (g.trivial or parallel_legal(g)):
        return []
    found = []
    for n in range(2, min(MOST_PIXELS, g.width) + 1):
        fits = g.width % n == 0 and n % g.stride[1] == 0 and g.out[1] % (n // g.stride[1]) == 0
        if fits and parallel_positions(g, n * g.channels)[1] >= 1:
            found.append(n)
    return found


def channelwise(g: Geometry, whole: bool = False) -> Iterator[tuple[str, int, int, list[int]]]:
    """Ways to bring windows to a unit that works on each channel by itself: mode, PE, lanes and kernel positions that
    it may take a cycle. ``whole``: the map itself is the window.
    """
    kernel = g.kernel[0] * g.kernel[1]
    if whole or g.trivial:
        yield from (("none", n, n, [1]) for n in divisors(g.channels))
    else:
        yield from (("serial", n, n, [1]) for n in divisors(g.channels))
        if parallel_legal(g):
            yield from (("parallel", n, n, divisors(kernel)) for n in divisors(g.channels))
    if not whole:
        yield from ((mode, pe, lanes, [kernel]) for mode, pe, lanes in channelwise_pixels(g))


def channelwise_pixels(g: Geometry) -> Iterator[tuple[str, int, int]]:
    """Those of several pixels a beat, whole windows at a time: mode, PE, lanes."""
    for n in pixel_choices(g):
        yield "none" if g.trivial else "parallel", g.raster(n * g.channels).gives * g.channels, n * g.channels


@lru_cache(maxsize=65536)
def parallel_positions(g: Geometry, lanes: int) -> tuple[int, int, int]:
    """First completing position, step between the last windows of a row and the first of the next, positions in all.

    A position is a pixel, or the pixels of one beat.
    """
    (kh, _), (dh, _), (oh, _), r = g.kernel, g.dilation, g.out, g.raster(lanes)
    first = ((kh - 1) * dh - g.pads[0]) * r.beats + r.shift
    row_step = g.stride[0] * r.beats - (r.groups - 1) * r.step
    last = first + (oh - 1) * g.stride[0] * r.beats + (r.groups - 1) * r.step
    return first, row_step, max(g.height * r.beats, last + 1)


def iterations(g: Geometry, lanes: int, mode: str) -> int:
    """Loop iterations an image, II = 1."""
    if mode == "serial":
        return serial(g, lanes).iterations
    return parallel_positions(g, lanes)[2] * g.raster(lanes).channel_beats


@lru_cache(maxsize=65536)
def cost(g: Geometry, lanes: int, mode: str, bits: int, buffer: Buffer = "auto") -> Resources:
    """Row or line buffers, shift registers and control."""
    r, (kh, kw) = g.raster(lanes), g.kernel
    cf = r.channel_beats
    if mode == "serial":
        s = serial(g, lanes)
        table = phase_table(s)
        phases = laws.memory(len(table), 2 * int(table.max()).bit_length(), kind="lutram")
        rows = laws.memory(s.rows * g.width * cf, lanes * bits, buffer, rom=False)
        return rows + phases + control(10) + laws.register(2 * lanes * bits)
    total = control(6) + laws.register(lanes * bits)
    if kh > 1:
        total += laws.memory(g.dilation[0] * r.beats * cf, (kh - 1) * lanes * bits, buffer, rom=False)
    total += laws.register(kh * (taps(g, lanes) + 1) * lanes * bits)
    if not any(g.pads):
        return total
    columns = laws.comparator(16).times(2 * kw * r.gives)
    masked = laws.select(lanes // r.pixels * bits).times(kh * kw * r.gives)
    return total + masked + columns + laws.comparator(16).times(2 * kh)


def taps(g: Geometry, lanes: int) -> int:
    """Beats of a row that are kept behind the newest one."""
    r = g.raster(lanes)
    return (r.pixels - 1 + g.pads[1] + r.shift * r.pixels) // r.pixels * r.channel_beats


def everywhere(options: Options, g: Geometry | None, bits: int) -> Options:
    """The undominated ones of these options and of the same with their rows in UltraRAM, where each of it frees
    ``WORTH`` block RAMs; only these options where ``g`` is None.

    Row buffers need no initial contents, so they can lie there; weights cannot.
    """
    if g is None:
        return options
    moved = []  # rows of options, and what they use instead
    for mode in ("serial", "parallel") if g.kernel[0] > 1 else ("serial",):
        kinds = [k for k, kind in enumerate(options.kinds) if kind[0] == mode]
        of_mode = np.isin(options.kind, kinds)
        for lanes in np.unique(options.numbers[of_mode, 2]).tolist():
            have, uram = cost(g, lanes, mode, bits), cost(g, lanes, mode, bits, "uram")
            if have.bram18 >= WORTH * uram.uram:
                at = np.flatnonzero(of_mode & (options.numbers[:, 2] == lanes))
                moved.append((at, options.resources[at] - have + uram))
    if not moved:
        return options
    at, used = (np.concatenate(column) for column in zip(*moved, strict=True))
    every = options.rows(np.concatenate([np.arange(len(options)), at]))
    kind = np.concatenate([options.kind, options.kind[at] + len(options.kinds)])
    named = options.kinds + tuple((*kind[:-1], "uram") for kind in options.kinds)
    return replace(every, kind=kind, kinds=named, resources=np.concatenate([options.resources, used])).undominated


def process(ident: str, node: str, g: Geometry, f: Folding, quant: Quant, pad: int) -> Process:
    """The unit as a dataflow process."""
    lanes, mode = f.lanes, f.window
    r, (kh, kw), (oh, ow) = g.raster(lanes), g.kernel, g.out
    cf = r.channel_beats
    constants = {
        "H": g.height, "W": g.width, "OH": oh, "OW": ow, "KH": kh, "KW": kw, "SH": g.stride[0], "SW": g.stride[1],
        "DH": g.dilation[0], "DW": g.dilation[1], "PT": g.pads[0], "PL": g.pads[1], "PAD": pad,
        "CF": cf, "LANES": lanes,
    }  # fmt: skip
    beats_in = g.height * r.beats * cf
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
        first, row_step, _ = parallel_positions(g, lanes)
        constants |= {
            "PIXELS": r.pixels, "GIVES": r.gives, "BEATS": r.beats, "STEP": r.step, "SHIFT": r.shift,
            "DELAY": g.dilation[0] * r.beats * cf if kh > 1 else 1, "TAPS": taps(g, lanes),
            "FIRST": first, "ROW_STEP": row_step,
        }  # fmt: skip
        out = Port(lanes // r.pixels * r.gives * kh * kw, quant.bits, quant.signed, oh * r.groups * cf)
        types.append(("Window", beat(out.bits, out.signed, out.lanes)))
    n = iterations(g, lanes, mode)
    return Process(
        id=ident,
        node=node,
        header="window.h",
        function=f"window_{mode}" if f.buffer == "auto" else f"window_{mode}_uram",
        constants=(*constants.items(), ("ITERATIONS", n)),
        types=tuple(types),
        inputs=(Port(lanes, quant.bits, quant.signed, beats_in),),
        outputs=(out,),
        iterations=n,
        depth=DEPTH[mode],
        resources=cost(g, lanes, mode, quant.bits, f.buffer),
        memories=memories,
    )


@lru_cache(maxsize=65536)
def unit(g: Geometry, f: Folding, bits: int, signed: bool) -> Piece:
    """The unit as time and area see it."""
    p = process("", "", g, f, Quant(bits, signed, 1.0), 0)
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
    cf, groups, step = c["CF"], c["OW"] // c["GIVES"], c["STEP"]
    row = c["ROW_STEP"] + (groups - 1) * step
    writes = loops(c["FIRST"] * cf, (c["OH"], row * cf), (groups, step * cf), (cf, 1))
    return [every(c["H"] * c["BEATS"] * cf)], [Beats((writes,))]


SCHEDULES = {f"window_serial{buffer}": schedule_serial for buffer in ("", "_uram")}
SCHEDULES |= {f"window_parallel{buffer}": schedule_parallel for buffer in ("", "_uram")}
