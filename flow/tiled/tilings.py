"""All tilings of a step at once: the fastest, and what none of them can beat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from flow.tiled.engine import LINE_WORDS
from flow.tiled.nest import (
    DISTANCE,
    START,
    Job,
    Tile,
    Tiling,
    column_tiles,
    cost,
    iteration_cost,
    iterations,
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


def totals(
    job: Job, cand: Candidates, mb: int, bytes_per_cycle: float, port_bytes: float
) -> tuple[np.ndarray, np.ndarray]:
    """Cycles and bytes of the whole step for each candidate, blocks of ``mb`` output tiles."""
    images, rows, cols = cand.images[:, :, None, None], cand.rows[:, None, :, None], cand.cols[:, None, None, :]
    count = cand.image_counts[:, :, None, None] * rows[..., 2] * cols[..., 2]
    cycles = np.zeros(len(cand.nb), np.int64)
    moved = np.zeros(len(cand.nb), np.int64)
    for blocks, size, m0 in job.blocks(mb):
        words, runs = loaded_words(job, m0, size)
        again = iteration_cost(
            job, images, rows[..., 0], rows[..., 1], cols[..., 0], cols[..., 1], m0, size, words, runs, 1,
            weight_words(job, m0, size, 1.0, False),
        )  # fmt: skip
        fresh = iteration_cost(  # of each block, the first iteration takes its weights from memory
            job, cand.images[:, 0], cand.rows[:, 0, 0], cand.rows[:, 0, 1], cand.cols[:, 0, 0], cand.cols[:, 0, 1], m0,
            size, words, runs, 1, weight_words(job, m0, size, 1.0, True),
        )  # fmt: skip
        slow, first = again.slowest(bytes_per_cycle, port_bytes), fresh.slowest(bytes_per_cycle, port_bytes)
        data = again.read_bytes + again.write_bytes
        extra = fresh.read_bytes - np.broadcast_to(again.read_bytes, slow.shape)[:, 0, 0, 0]
        cycles += blocks * ((slow * count).sum((1, 2, 3)) + first - slow[:, 0, 0, 0])
        moved += blocks * ((data * count).sum((1, 2, 3)) + extra)
    few = count.sum((1, 2, 3)) < DISTANCE
    return cycles + np.where(few, refill(fresh), 0), moved


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
    parts = []
    for mb in [1] if job.windowed else pieces(job.m_tiles):
        cycles, moved = totals(job, cand, mb, bytes_per_cycle, port_bytes)
        sizes = np.stack([cand.nb, cand.tr, cand.tc, np.full(len(cand.nb), mb)], 1)
        parts.append((sizes, cand.nb * cand.tr * cand.tc, inputs, cycles, moved))
    merged = [np.concatenate(x) for x in zip(*parts, strict=True)]
    order = np.lexsort((merged[4], merged[3]))
    return Surface(*(x[order] for x in merged))


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
    """A given tiling and what it costs, by a walk through its iterations; equal ones are looked at once."""
    parts: dict[tuple[object, ...], tuple[int, int]] = {}
    cycles = moved = passes = 0
    last, m0 = None, job.blocks(tiling.mb)[-1][2]
    for it in iterations(job, tiling, batch):
        sizes = it.images, it.rows.outputs, it.rows.span, it.cols.outputs, it.cols.span, it.mb, it.nn
        key = (*sizes, it.first, it.last, it.fresh, job.widths[it.m0 : it.m0 + it.mb])
        if key not in parts:
            c = cost(job, it)
            parts[key] = int(c.slowest(bytes_per_cycle, port_bytes)), int(c.read_bytes + c.write_bytes)
        cycles, moved = cycles + parts[key][0], moved + parts[key][1]
        passes += it.m0 == 0 and it.last
        if last is None and it.fresh and it.m0 == m0:
            last = it
    if passes < DISTANCE or tiling.chunk:
        assert last is not None
        cycles += int(refill(cost(job, last)))
    return Choice(tiling, cycles, moved)


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


def floors(each: Sequence[Job], batch: int) -> Floors:
    """Of every job."""
    rows = []
    for job in each:
        s = job.shape
        reads, writes = compulsory(job, batch)
        out = batch * s.r * s.c * sum(job.widths)
        rows.append((max(batch * ideal(job), out, job.all_words, START), reads + writes, reads))
    return Floors(*np.array(rows, np.int64).reshape(-1, 3).T)


@lru_cache(maxsize=65536)
def compulsory(job: Job, batch: int) -> tuple[int, int]:
    """Bytes (read, written) that any schedule moves: every input word that some window needs, every weight and every
    output word, once a batch."""
    e, s = job.engine, job.shape
    rows = touched(s.r, s.h, s.kernel[0], s.stride[0], s.pads[0], s.dilation[0])
    cols = touched(s.c, s.w, s.kernel[1], s.stride[1], s.pads[1], s.dilation[1])
    words = rows * (job.row_words if job.gathered else cols * job.n_words)
    out = s.r * s.c * sum(job.widths)
    weights = job.all_words * e.wp
    return batch * e.granule * (words + (out if s.residual else 0)) + weights, batch * e.granule * out
