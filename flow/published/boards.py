"""Co-Exploration's partition of a network over boards with the published engines, solved exactly.

Every board runs its consecutive layers on one tiled engine of its own (``tiled``, corrected); all cuts and all engines
of a grid are tried by dynamic programming over the cuts. Source: see ``pipeline``.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from flow.board import Board
from flow.platform import Platform
from flow.published import tiled
from flow.published.layers import Layer, square
from flow.published.pipeline import Pipeline
from flow.published.tiled import CORRECTED, Engine

BITS = 16
TILES = (4, 8, 16, 32)  # rows and columns
PORTS = (1, 2, 4, 8)  # words a cycle


def cifar(layers: Sequence[tuple[int, int, int]], size: int = 32, channels: int = 3) -> tuple[Layer, ...]:
    """Layers as (kernel, filters, stride) on CIFAR-10's images."""
    out = []
    for kernel, filters, stride in layers:
        size = -(-size // stride)
        out.append(square(filters, channels, size, kernel, stride))
        channels = filters
    return tuple(out)


@dataclass(frozen=True)
class Partition:
    """Layers on each board, each board's engine, cycles of stages and links, and how long it took to find."""

    counts: tuple[int, ...]
    engines: tuple[Engine, ...]
    pipeline: Pipeline
    fps: float
    seconds: float


def grid(board: Board, tk: int) -> Engine:
    """Every engine that fits a board as one engine of arrays: its DSPs, block RAM, and its memory's words a cycle."""
    most = int(board.memory_gb_s * 1e3 / board.clock_mhz / (BITS / 8))
    tm, tr, tc, wp, ip, op = (
        a.reshape(-1) for a in np.meshgrid(np.arange(1, 65), TILES, TILES, PORTS, PORTS, PORTS, indexing="ij")
    )
    e = Engine(tm, np.minimum(64, board.available.dsp // tm), tr, tc, wp, ip, op, bits=BITS, tk=tk)
    in_lutram = tiled.bram18(e, weights_in_lutram=True) <= board.available.bram18
    fits = (tiled.bram18(e) <= board.available.bram18) | (
        in_lutram & (tiled.weight_lut(e) <= board.available.lut // 2)
    )  # the other half of the LUTs is the engine's
    fits &= (wp + ip + op <= most) & (e.tn > 0)
    return Engine(*(a[fits] for a in (e.tm, e.tn, e.tr, e.tc, e.wp, e.ip, e.op)), bits=BITS, tk=tk)  # type: ignore[misc]


def best(layers: Sequence[Layer], place: Platform, balanced: bool = False) -> Partition:
    """The partition over the platform's chain of boards with the smallest interval; of those, the best balanced.

    ``balanced``: the one of the highest pipeline efficiency instead, as Co-Exploration's fast level of search asks for.
    """
    started = time.perf_counter()
    count, length = len(place.boards), len(layers)
    if count > length:
        raise ValueError(f"{length} layers for {count} boards")
    e = grid(place.boards[0], max(la.k for la in layers))
    each = np.stack([np.broadcast_to(tiled.cycles(la, e, CORRECTED), e.tm.shape) for la in layers])
    ends = np.concatenate([np.zeros((1, each.shape[1])), np.cumsum(each, axis=0)])
    pairs = itertools.combinations(range(length + 1), 2)
    fastest = {(a, b): int((ends[b] - ends[a]).argmin()) for a, b in pairs}
    choice: tuple[tuple[float, float], tuple[int, ...], Pipeline] | None = None
    for at in itertools.combinations(range(1, length), count - 1):
        cuts = (0, *at, length)
        stages = tuple(int((ends[b] - ends[a])[fastest[a, b]]) for a, b in itertools.pairwise(cuts))
        p = Pipeline(stages, tuple(_link(layers[c - 1], place, i) for i, c in enumerate(at)))
        key = (-p.efficiency, p.interval) if balanced else (p.interval, -p.efficiency)
        if choice is None or (key, cuts) < choice[:2]:
            choice = key, cuts, p
    assert choice is not None
    _, cuts, p = choice
    engines = tuple(_one(e, fastest[a, b]) for a, b in itertools.pairwise(cuts))
    fps = place.boards[0].clock_mhz * 1e6 / p.interval
    return Partition(tuple(b - a for a, b in itertools.pairwise(cuts)), engines, p, fps, time.perf_counter() - started)


def _link(la: Layer, place: Platform, i: int) -> int:
    link = place.link(i, i + 1)
    assert link is not None, "the platform's boards are no chain"
    seconds = la.m * la.r * la.c * BITS / 8 / (link.bandwidth_gb_s * 1e9)
    return ceil(seconds * place.boards[i].clock_mhz * 1e6)


def _one(e: Engine, k: int) -> Engine:
    tm, tn, tr, tc, wp, ip, op = (int(a[k]) for a in (e.tm, e.tn, e.tr, e.tc, e.wp, e.ip, e.op))
    return Engine(tm, tn, tr, tc, wp, ip, op, bits=BITS, tk=e.tk)
