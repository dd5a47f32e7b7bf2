"""The loop nest of a step as data: what every iteration loads, computes and stores, and how long each part takes.

    for each block of mb output tiles (tm channels each)           weights of the block stay in the cache if they fit
      for each group of nb images, tile of tr rows, tile of tc columns
        load the input tile: clipped halo, all channels            one iteration = one instruction
        for each of the mb output tiles: products, output stage, store

With one block the input is read once (input reuse); with blocks that fit the cache the weights are (weight reuse).  The
compiler writes its instructions from the iterations and the cost below is evaluated over them; the search evaluates the
same formulas over all tilings at once (``tilings.cpp``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from flow.tiled.engine import FEWEST, PIXEL, RECORD, Engine, Features
from flow.tiled.steps import CONV, DEPTHWISE, Shape

# Assumptions of the cycle model, in cycles.  A burst's first word comes this late (read: request, DDR and interconnect;
# write: response), during which its process waits; processes of a dataflow region need START to begin an iteration;
# DEPTH is the array's pipeline.
DISTANCE = 3  # iterations from a store to the first load that may read it (docs/tiled-engine.md has the argument)
READ_LATENCY = 64
WRITE_LATENCY = 48
WAIT_BYTES = 1024  # of other transfers that a burst finds before it in the queue of memory: one of 64 words of 16 bytes
START = 24
DEPTH = 24


class Tile(NamedTuple):
    """A piece of one axis: ``outputs`` from ``at``, for which inputs ``low`` .. ``low + span - 1`` are loaded."""

    at: int
    outputs: int
    low: int
    span: int


@lru_cache(maxsize=65536)
def tiles(outputs: int, size: int, each: int, kernel: int, stride: int, pad: int, dilation: int) -> tuple[Tile, ...]:
    """An axis of ``outputs`` cut into tiles of ``each``; the last may be shorter, halos are clipped to the map."""
    found = []
    for at in range(0, outputs, each):
        count = min(each, outputs - at)
        low = min(max(0, at * stride - pad), size - 1)
        high = min(size - 1, (at + count - 1) * stride - pad + (kernel - 1) * dilation)
        found.append(Tile(at, count, low, max(1, high - low + 1)))
    return tuple(found)


class Tiling(NamedTuple):
    """Tile sizes of a step: images, rows, columns, output tiles to a block, input words to a chunk (0: all)."""

    nb: int
    tr: int
    tc: int
    mb: int
    chunk: int = 0


class Iteration(NamedTuple):
    """One instruction's work. ``first``/``last``: of the chunks that are summed."""

    image: int
    images: int
    rows: Tile
    cols: Tile
    m0: int
    mb: int
    n0: int
    nn: int
    first: bool
    last: bool
    fresh: bool  # weights come from memory (and fill the cache), not from the cache


def row_tiles(s: Shape, each: int) -> tuple[Tile, ...]:
    return tiles(s.r, s.h, each, s.kernel[0], s.stride[0], s.pads[0], s.dilation[0])


def column_tiles(s: Shape, each: int, gathered: bool) -> tuple[Tile, ...]:
    """Gathered rows hold one word (or a few) for each output column."""
    if gathered:
        return tiles(s.c, s.c, each, 1, 1, 0, 1)
    return tiles(s.c, s.w, each, s.kernel[1], s.stride[1], s.pads[1], s.dilation[1])


@dataclass(frozen=True)
class Job:
    """A step on an engine: the quantities that its tilings share. Words are of ``granule`` channels.

    ``n_words``: of an input pixel; ``n_blocks``: blocks of channels, which lie apart in memory; ``widths``: words of a
    pixel in each output tile, in bytes of one format.
    """

    engine: Engine
    features: Features
    shape: Shape
    n_words: int
    n_blocks: int
    widths: tuple[int, ...]

    @cached_property
    def gathered(self) -> bool:
        return self.shape.gathers and self.features.gather

    @property
    def windowed(self) -> bool:
        return self.shape.kind != CONV

    @property
    def m_tiles(self) -> int:
        return len(self.widths)

    @cached_property
    def depth(self) -> int:
        """Array words (tn channels) of an input pixel; of a gathered one."""
        e = self.engine
        if self.gathered:
            return -(-self.shape.kernel[1] * PIXEL // e.tn)
        return -(-self.n_words * e.granule // e.tn)

    @property
    def row_words(self) -> int:
        """Port words of an input row in the pixel layout."""
        return -(-self.shape.w * PIXEL // self.engine.granule)

    def positions(self, tile: int = 0) -> int:
        """Kernel positions with all input channels, for an output tile: what the weights change for."""
        kh, kw = self.shape.kernel
        if self.windowed:
            passes = kh * kw if self.shape.dilation[1] > 1 else kh * -(-kw // self.engine.taps)
            return passes * self.slices(tile)
        return self.depth * kh * (1 if self.gathered else kw)

    def block_positions(self, m0: int, words: int) -> int:
        """``positions`` of a block's tiles from ``m0`` for ``words`` input words of a pixel."""
        if self.windowed or self.gathered:
            return self.positions(m0)
        return self.positions() * words // self.n_words

    def slices(self, tile: int) -> int:
        """Window operators: slices of ``lanes`` channels that fill output tile number ``tile``."""
        return -(-self.widths[tile] * self.engine.granule // self.shape.out_bytes // self.engine.lanes)

    @property
    def reach(self) -> int:
        """Window columns taken together."""
        return 1 if self.shape.dilation[1] > 1 else min(self.shape.kernel[1], self.engine.taps)

    @property
    def position_words(self) -> int:
        """Port words of the weights of one position."""
        if self.shape.kind == CONV:
            return self.engine.weight_words
        return self.engine.tap_words() if self.shape.kind == DEPTHWISE else 0

    def tile_words(self, tile: int = 0) -> int:
        """Port words of one output tile's weights and output parameters."""
        return self.positions(tile) * self.position_words + self.engine.post_words(self.features)

    @cached_property
    def alike(self) -> list[tuple[int, int]]:
        """Output tiles by width: how many, and the first."""
        return [(self.widths.count(w), self.widths.index(w)) for w in dict.fromkeys(self.widths)]

    @cached_property
    def all_positions(self) -> int:
        """``positions`` of all output tiles."""
        return sum(n * self.positions(t) for n, t in self.alike)

    @cached_property
    def all_words(self) -> int:
        """``tile_words`` of all output tiles."""
        return sum(n * self.tile_words(t) for n, t in self.alike)

    def blocks(self, mb: int) -> list[tuple[int, int, int]]:
        """Blocks of ``mb`` output tiles as (how many alike, tiles, first tile)."""
        if self.windowed:  # one tile a block: a window has no use for more
            return [(n, 1, t) for n, t in self.alike]
        last = (self.m_tiles - 1) // mb * mb
        inner = [(last // mb, mb, 0)] if last else []
        return [*inner, (1, self.m_tiles - last, last)]


def iterations(job: Job, tiling: Tiling, batch: int) -> Iterator[Iteration]:
    """The nest, in the order in which the engine runs it."""
    s = job.shape
    rows, cols = row_tiles(s, tiling.tr), column_tiles(s, tiling.tc, job.gathered)
    chunk = tiling.chunk or job.depth
    for m0 in range(0, job.m_tiles, tiling.mb):
        mb, fresh = min(tiling.mb, job.m_tiles - m0), True
        for image in range(0, batch, tiling.nb):
            for row in rows:
                for col in cols:
                    for n0 in range(0, job.depth, chunk):
                        nn = min(chunk, job.depth - n0)
                        yield Iteration(
                            image, min(tiling.nb, batch - image), row, col, m0, mb, n0, nn,
                            n0 == 0, n0 + nn == job.depth, fresh,
                        )  # fmt: skip
                    fresh = False


class Cost(NamedTuple):
    """Cycles of each process in one iteration, each alone, and the bytes moved."""

    load: int
    weights: int
    compute: int
    store: int
    residual: int
    drain: int  # what the store still has to do when the array is done
    bursts: tuple[int, int, int]  # of load, store and residual
    read_bytes: int
    write_bytes: int
    port_bytes: int  # of the busiest port, times the ports

    def slowest(self, bytes_per_cycle: float, port_bytes: float) -> int:
        """Cycles between iterations in a long run: the slowest process, the ports, or memory."""
        memory = math.ceil((self.read_bytes + self.write_bytes) / bytes_per_cycle)
        port = math.ceil(self.port_bytes / port_bytes)
        wait = int(WAIT_BYTES / bytes_per_cycle)
        moves = [w + n * wait for w, n in zip((self.load, self.store, self.residual), self.bursts, strict=True)]
        return max(*moves, self.weights, self.compute, RECORD + START, memory, port) + START


def refill(part: Cost) -> int:
    """Cycles between two steps where the second waits for the first's results: with fewer than DISTANCE iterations over
    the map, whose last ones store what the next step's first one loads."""
    return part.drain + part.load + RECORD + READ_LATENCY + DISTANCE * START


def iteration_cost(
    job: Job, images: int, r: int, ly: int, c: int, lx: int, m0: int, mb: int,
    words: int, share: int, last: int, weight_words: int,
) -> Cost:  # fmt: skip
    """Cost of one iteration.

    ``r``, ``c`` outputs from ``ly``, ``lx`` loaded rows and columns of ``images`` images; ``words``: input words of a
    pixel loaded, in ``share`` runs; ``last``: whether it stores; ``weight_words``: port words that come from memory.
    """
    e, s = job.engine, job.shape
    if job.gathered:
        bursts = images
        read = images * ly * job.row_words
        load = read + images * ly * (c * job.depth + s.kernel[1]) + bursts * READ_LATENCY
    else:
        if lx == s.w and ly == s.h:
            bursts = 1 if words == job.n_words else images
        else:
            bursts = images * share * (1 if lx == s.w else ly)
        read = images * ly * lx * words
        load = read + bursts * READ_LATENCY
    pixels = images * r * c
    steps = images * r * ((c - 1) * s.stride[1] + job.reach) if job.windowed else pixels
    beat = max(steps, job.position_words + 1, FEWEST)
    positions = job.block_positions(m0, words)
    compute = mb * positions * beat + job.position_words + DEPTH
    if not e.double_buffer:
        compute = compute + load  # one after the other
    stream = mb * (positions * job.position_words + last * e.post_words(job.features))
    weights = max(stream, weight_words) + (READ_LATENCY if weight_words > 0 else 0)
    out = last * pixels * sum(job.widths[m0 : m0 + mb])
    segments = mb * images * (1 if c == s.c else r)
    store = out + last * (segments * WRITE_LATENCY + mb * e.post_words(job.features))
    residual = (out + segments * READ_LATENCY) if s.residual else 0
    drain = last * (pixels * job.widths[m0 + mb - 1] + WRITE_LATENCY)
    taken = (read * e.granule, weight_words * e.wp, (out if s.residual else 0) * e.granule)  # over ports in turn
    shared = [sum(taken[p :: e.ports]) for p in range(min(e.ports, len(taken)))]
    return Cost(
        load, weights, compute, store, residual, drain, (bursts, segments, segments if s.residual else 0),
        sum(taken), out * e.granule, e.ports * max(shared),
    )  # fmt: skip


def weight_words(job: Job, m0: int, mb: int, share: float, fresh: bool) -> int:
    """Port words of a block's weights that an iteration takes from memory."""
    total = mb * math.ceil(job.tile_words(m0) * share)
    return total if fresh else max(0, total - job.engine.cache)


def cost(job: Job, it: Iteration) -> Cost:
    """Cost of one iteration of the nest."""
    words, runs = loaded_words(job, it.m0, it.mb)
    share = it.nn / job.depth
    if not job.windowed and share < 1:
        words, runs = math.ceil(words * share), max(1, round(runs * share))
    return iteration_cost(
        job, it.images, it.rows.outputs, it.rows.span, it.cols.outputs, it.cols.span, it.m0, it.mb,
        words, runs, int(it.last), weight_words(job, it.m0, it.mb, share, it.fresh),
    )  # fmt: skip


def loaded_words(job: Job, m0: int, mb: int) -> tuple[int, int]:
    """Input words of a pixel and runs that a block needs: all of them, or a window's own channels."""
    if not job.windowed:
        return job.n_words, job.n_blocks
    return job.widths[m0] // job.shape.out_bytes, mb
