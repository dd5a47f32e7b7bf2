"""All tilings of a step at once: the fastest, and what none of them can beat."""

from __future__ import annotations

import ctypes
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from flow import native
from flow.fixed import IntArray
from flow.tiled.engine import FEWEST, LINE_WORDS, RECORD
from flow.tiled.nest import (
    DEPTH,
    DISTANCE,
    READ_LATENCY,
    START,
    WAIT_BYTES,
    WRITE_LATENCY,
    Iteration,
    Job,
    Tile,
    Tiling,
    column_tiles,
    cost,
    loaded_words,
    refill,
    row_tiles,
    weight_words,
)
from flow.tiled.steps import Shape

ROOM = 1 << 13  # accumulator words up to which tilings are listed at once; larger engines list their own
NEVER = 1 << 40  # words that no buffer holds


@dataclass(frozen=True, eq=False)
class Candidates:
    """Spatial tilings of a shape: per candidate the sizes, and up to K distinct tiles of either axis with counts."""

    nb: np.ndarray
    tr: np.ndarray
    tc: np.ndarray
    images: np.ndarray  # (candidates, 2): sizes of image groups
    image_counts: np.ndarray
    rows: np.ndarray  # (candidates, K, 3): outputs, loaded, how many
    cols: np.ndarray


def pieces(n: int) -> list[int]:
    """Tile sizes that differ in the number of tiles: ceil(n / k)."""
    return sorted({-(-n // k) for k in range(1, n + 1)}, reverse=True)


@lru_cache(maxsize=4096)
def candidates(s: Shape, batch: int, gathered: bool, most: int) -> Candidates:
    """Every (images, rows, columns) of at most ``most`` output pixels; columns are cut only where a row is too long."""
    found = []
    for tc in pieces(s.c):
        if tc < s.c and (gathered or min(s.c, most) < 2 * tc <= most):
            continue  # a row fits in fewer pieces
        found += [
            (nb, tr, tc) for tr in pieces(s.r) for nb in pieces(batch)
            if nb * tr * tc <= most and (nb == 1 or tr == s.r)
        ]  # fmt: skip
        if tc <= most and (tc == s.c or tc * 2 <= most):
            break
    if not found:
        return Candidates(*(np.zeros((0, *shape), np.int64) for shape in ((), (), (), (2,), (2,), (1, 3), (1, 3))))
    nb, tr, tc = np.array(found, np.int64).T
    rows = _table([row_tiles(s, t) for t in tr.tolist()])
    cols = _table([column_tiles(s, t, gathered) for t in tc.tolist()])
    images = np.stack([nb, np.where(batch % nb, batch % nb, 1)], 1)
    counts = np.stack([batch // nb, (batch % nb > 0).astype(np.int64)], 1)
    return Candidates(nb, tr, tc, images, counts, rows, cols)


def _table(found: list[tuple[Tile, ...]]) -> np.ndarray:
    classes = [Counter((t.outputs, t.span) for t in ts) for ts in found]
    width = max(len(c) for c in classes)
    out = np.ones((len(found), width, 3), np.int64)
    out[:, :, 2] = 0
    for i, c in enumerate(classes):
        for k, ((count, span), n) in enumerate(c.items()):
            out[i, k] = count, span, n
    return out


@cache
def _library() -> ctypes.CDLL:
    return native.library("tiled/tilings.cpp")


def totals(
    job: Job, cand: Candidates, sizes: Sequence[int], bytes_per_cycle: float, port_bytes: float
) -> tuple[IntArray, IntArray]:
    """Cycles and bytes of the whole step, (block size, candidate): blocks of each of ``sizes`` output tiles."""
    e, s = job.engine, job.shape
    facts = (
        job.gathered, job.windowed, s.residual, e.double_buffer, s.w, s.h, s.c, s.stride[1], s.kernel[1], job.reach,
        job.n_words, job.depth, job.row_words, job.position_words, e.post_words(job.features), e.granule, e.wp, e.ports,
        READ_LATENCY, WRITE_LATENCY, int(WAIT_BYTES / bytes_per_cycle), START, DEPTH, FEWEST, RECORD, DISTANCE,
    )  # fmt: skip
    groups = [[_block(job, *block) for block in job.blocks(mb)] for mb in sizes]
    counts = [len(g) for g in groups]
    cycles, moved = np.empty((2, len(sizes), len(cand.nb)), np.int64)
    inputs = (cand.images, cand.image_counts, cand.rows, cand.cols, facts)
    more = (counts, [row for g in groups for row in g])
    kept = [np.ascontiguousarray(a, np.int64) for a in (*inputs, *more)]
    at = [ctypes.c_void_p(a.ctypes.data) for a in (*kept, cycles, moved)]
    n = [ctypes.c_int64(k) for k in (len(cand.nb), cand.rows.shape[1], cand.cols.shape[1], len(sizes))]
    pace = ctypes.c_double(bytes_per_cycle), ctypes.c_double(port_bytes)
    _library().flow_tilings(*n[:3], *at[:5], *pace, n[3], *at[5:])
    return cycles, moved


def _block(job: Job, times: int, size: int, m0: int) -> tuple[int, ...]:
    """``times`` blocks alike, as the kernel reads them."""
    words, runs = loaded_words(job, m0, size)
    weights = (weight_words(job, m0, size, 1.0, fresh) for fresh in (False, True))
    widths = job.widths[m0 : m0 + size]
    return times, size, words, runs, job.block_positions(m0, words), sum(widths), widths[-1], *weights


class Choice(NamedTuple):
    """The tiling of a step and its cost in a long run of batches."""

    tiling: Tiling
    cycles: int
    moved: int


class Surface(NamedTuple):
    """Every tiling of a step: sizes (nb, tr, tc, mb), buffer words it needs, cycles and bytes; fastest first."""

    sizes: np.ndarray
    pixels: np.ndarray
    inputs: np.ndarray
    cycles: np.ndarray
    moved: np.ndarray


@lru_cache(maxsize=16384)
def surface(job: Job, batch: int, bytes_per_cycle: float, port_bytes: float) -> Surface:
    """All tilings that the engine's buffers could hold; engines with smaller ones take the part that fits theirs."""
    e, cand = job.engine, candidates(job.shape, batch, job.gathered, job.engine.acc_depth)
    deep = job.depth if not job.windowed else -(-max(job.widths) // job.shape.out_bytes * e.granule // e.tn)
    span = cand.rows[:, :, 1].max(1, initial=1) * cand.cols[:, :, 0 if job.gathered else 1].max(1, initial=1)
    inputs = cand.nb * span * deep
    if job.gathered:
        lines = cand.rows[:, :, 1].max(1, initial=1) * job.row_words
        inputs = np.where(lines > LINE_WORDS, NEVER, inputs)
    blocks = [1] if job.windowed else pieces(job.m_tiles)
    cycles, moved = (x.reshape(-1) for x in totals(job, cand, blocks, bytes_per_cycle, port_bytes))
    order = np.lexsort((moved, cycles))
    block, k = np.divmod(order, max(1, len(cand.nb)))
    sizes = np.stack([cand.nb[k], cand.tr[k], cand.tc[k], np.array(blocks)[block]], 1)
    return Surface(sizes, (cand.nb * cand.tr * cand.tc)[k], inputs[k], cycles[order], moved[order])


def best(job: Job, batch: int, bytes_per_cycle: float, port_bytes: float, price: float = 0.0) -> Choice | None:
    """The tiling of fewest cycles plus ``price`` times its bytes, then of least traffic; None when none fits."""
    e = job.engine
    # A cache that holds all weights holds no more than those.
    kept = min(e.cache, job.m_tiles * max(job.tile_words(t) for _, t in job.alike))
    roomy = replace(job, engine=replace(e, acc_depth=max(e.acc_depth, ROOM), in_depth=NEVER - 1, cache=kept))
    s = surface(roomy, batch, bytes_per_cycle, port_bytes)
    ok = (s.pixels <= e.acc_depth) & (s.inputs <= e.in_depth)
    if not ok.any():
        return _chunked(job, batch, bytes_per_cycle, port_bytes)
    k = int(np.argmax(ok)) if not price else int(np.argmin(np.where(ok, s.cycles + price * s.moved, np.inf)))
    return Choice(Tiling(*(int(v) for v in s.sizes[k])), int(s.cycles[k]), int(s.moved[k]))


def measured(job: Job, tiling: Tiling, batch: int, bytes_per_cycle: float, port_bytes: float) -> Choice:
    """A given tiling and what it costs: its iterations, equal ones looked at once."""
    cycles = moved = 0
    m0 = job.blocks(tiling.mb)[-1][2]
    for it, times in kinds(job, tiling, batch):
        c = cost(job, it)
        cycles += times * c.slowest(bytes_per_cycle, port_bytes)
        moved += times * (c.read_bytes + c.write_bytes)
        if it.fresh and it.first and job.widths[it.m0 : it.m0 + it.mb] == job.widths[m0 : m0 + tiling.mb]:
            last = c
    rows, cols = row_tiles(job.shape, tiling.tr), column_tiles(job.shape, tiling.tc, job.gathered)
    if len(range(0, batch, tiling.nb)) * len(rows) * len(cols) < DISTANCE or tiling.chunk:
        cycles += refill(last)
    return Choice(tiling, cycles, moved)


def kinds(job: Job, tiling: Tiling, batch: int) -> Iterator[tuple[Iteration, int]]:
    """Iterations of the nest that cost differently, and how often each comes."""
    chunk = tiling.chunk or job.depth
    groups = Counter(min(tiling.nb, batch - i) for i in range(0, batch, tiling.nb))
    rows = _alike(row_tiles(job.shape, tiling.tr))
    cols = _alike(column_tiles(job.shape, tiling.tc, job.gathered))
    starts = range(0, job.depth, chunk)
    chunks = Counter((min(chunk, job.depth - n), n == 0, n + chunk >= job.depth) for n in starts)
    blocks = Counter(job.widths[m : m + tiling.mb] for m in range(0, job.m_tiles, tiling.mb))
    places = {job.widths[m : m + tiling.mb]: m for m in range(0, job.m_tiles, tiling.mb)}
    for widths, count in blocks.items():
        for number, (images, row, col) in enumerate(itertools.product(groups, rows, cols)):
            times = groups[images] * rows[row] * cols[col]
            for (nn, first, last), n in chunks.items():
                it = Iteration(0, images, row, col, places[widths], len(widths), 0, nn, first, last, False)
                if number == 0:  # the block's first pixels find no weights in the cache
                    yield it._replace(fresh=True), count * n
                if times > (number == 0):
                    yield it, count * n * (times - (number == 0))


def _alike(found: tuple[Tile, ...]) -> dict[Tile, int]:
    """The first tile of each size, and how many there are."""
    sizes = Counter((t.outputs, t.span) for t in found)
    firsts = {(t.outputs, t.span): t for t in reversed(found)}
    return {firsts[size]: n for size, n in sizes.items()}


def _chunked(job: Job, batch: int, bytes_per_cycle: float, port_bytes: float) -> Choice | None:
    """Not even one output row's inputs fit: its channels come in chunks, sums stay in the accumulators."""
    e, s = job.engine, job.shape
    if job.windowed or job.gathered or (e.tm % e.tn and e.tn % e.tm):
        return None
    step = max(1, e.tm // e.tn)
    for tc in pieces(s.c):
        span = max(t.span for t in row_tiles(s, 1)) * max(t.span for t in column_tiles(s, tc, False))
        chunk = e.in_depth // span // step * step
        if chunk < 1 or tc > e.acc_depth:
            continue
        tiling = Tiling(1, 1, tc, 1, chunk)
        return measured(job, tiling, batch, bytes_per_cycle, port_bytes)
    return None


@lru_cache(maxsize=4096)
def touched(outputs: int, size: int, kernel: int, stride: int, pad: int, dilation: int) -> int:
    """Positions of an axis that some window reads."""
    at = (np.arange(outputs) * stride - pad)[:, None] + np.arange(kernel) * dilation
    return int(np.unique(at[(at >= 0) & (at < size)]).size)


def ideal(job: Job) -> int:
    """Cycles an image that the array works at least: every position lasts no less than a tile's pixels."""
    s = job.shape
    pixels = s.r * ((s.c - 1) * s.stride[1] + 1) if job.windowed else s.r * s.c
    return job.all_positions * pixels


class Floors(NamedTuple):
    """Of jobs and a batch, one an entry: cycles of the array and of single words, bytes moved and bytes read."""

    own: np.ndarray
    moved: np.ndarray
    read: np.ndarray

    def cycles(self, bytes_per_cycle: float, port_bytes: float) -> np.ndarray:
        """What no tiling beats: the array's work, each word moved once, memory and ports."""
        least = np.maximum(np.maximum(self.own, self.moved / bytes_per_cycle), self.read / port_bytes)
        whole: np.ndarray = least.astype(np.int64)
        return whole


class Least(NamedTuple):
    """What any schedule of a step needs: of an image, cycles of the array, words written, bytes read and written; of a
    batch, words and bytes of weights. Numbers, or arrays with an entry a step."""

    work: Any
    out: Any
    read: Any
    write: Any
    weight_words: Any
    weights: Any


def least(each: Sequence[Job]) -> Least:
    """Of every job."""
    return Least(*np.array([_least(job) for job in each], np.int64).reshape(-1, len(Least._fields)).T)


@lru_cache(maxsize=65536)
def _least(job: Job) -> Least:
    """Every input word that some window needs, every weight and every output word once."""
    e, s = job.engine, job.shape
    rows = touched(s.r, s.h, s.kernel[0], s.stride[0], s.pads[0], s.dilation[0])
    cols = touched(s.c, s.w, s.kernel[1], s.stride[1], s.pads[1], s.dilation[1])
    words = rows * (job.row_words if job.gathered else cols * job.n_words)
    out, kept = s.r * s.c * sum(job.widths), job.all_words
    return Least(ideal(job), out, e.granule * (words + (out if s.residual else 0)), e.granule * out, kept, kept * e.wp)


def floors(of: Least, batch: int) -> Floors:
    """Of every job."""
    own = np.maximum(np.maximum(batch * of.work, batch * of.out), np.maximum(of.weight_words, START))
    read = batch * of.read + of.weights
    return Floors(own, read + batch * of.write, read)


def compulsory(job: Job, batch: int) -> tuple[int, int]:
    """Bytes (read, written) that any schedule moves for a batch."""
    of = _least(job)
    return batch * of.read + of.weights, batch * of.write
