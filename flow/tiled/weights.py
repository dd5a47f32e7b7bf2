"""Weights and output parameters in the order in which the engine takes them, packed for its weight port.

An output tile's stream: first the output stage's parameters of ``tm`` channels (bias as int32, shift as int8, with a
general multiplier also that as int32), then each kernel position's weights.  Products: ``[tn][tm]`` bytes; windows:
``[taps][lanes]``.  With chunks the parameters come in the last one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flow.blocks import UnsupportedError
from flow.tiled.engine import PIXEL
from flow.tiled.nest import Job
from flow.tiled.place import Place
from flow.tiled.steps import CONV, DEPTHWISE, Step

Bytes = NDArray[np.uint8]


def members(place: Place, granule: int, element: int) -> NDArray[np.int64]:
    """Channel in each element of a pixel, block after block; -1 in holes."""
    out = np.full(place.words * granule // element, -1, np.int64)
    out[np.array(place.slots, np.int64)] = np.arange(len(place.slots))
    return out


def tile_channels(job: Job, out: Place) -> list[NDArray[np.int64]]:
    """Output channels of every output tile, ``tm`` each, -1 where there is none."""
    e, element = job.engine, job.shape.out_bytes
    all_ = members(out, e.granule, element)
    found, at = [], 0
    for width in job.widths:
        n = width * e.granule // element
        tile = np.full(e.tm, -1, np.int64)
        part = all_[at : at + min(n, e.tm)]
        tile[: len(part)] = part
        found.append(tile)
        at += n
    return found


def stream(job: Job, step: Step, source: Place, out: Place, chunk: int) -> list[list[Bytes]]:
    """Bytes of every output tile and chunk: ``[tile][chunk]``."""
    found = []
    for j, channels in enumerate(tile_channels(job, out)):
        if job.windowed:
            parts = [_window(job, step, channels, j)]
        else:
            whole = _products(job, step, source, channels)
            parts = [whole[n : n + chunk].reshape(-1) for n in range(0, job.depth, chunk)]
        parts[-1] = np.concatenate([_parameters(job, step, channels), parts[-1]])
        found.append(parts)
    return found


def _parameters(job: Job, step: Step, channels: NDArray[np.int64]) -> Bytes:
    """Bias, shift and multiplier of the channels. Raises UnsupportedError where they do not fit their words."""
    r, n = step.post.requant, step.shape.m
    up = max(0, -min(r.shift))
    shift = np.broadcast_to(np.array(r.shift, np.int64) + up, n)
    mult = np.broadcast_to(np.array(r.mult, np.int64) << (up if step.multiplies else 0), n)
    tables: list[tuple[NDArray[np.int64], np.dtype[np.signedinteger]]] = [
        (step.post.bias, np.dtype("<i4")),
        (shift, np.dtype("<i1")),
    ]
    if job.features.multiplier:
        tables.append((mult, np.dtype("<i4")))
    parts = []
    for values, kind in tables:
        limits = np.iinfo(kind)
        if values.min() < limits.min or values.max() > limits.max:
            raise UnsupportedError(f"{step.name!r}: bias, shift or multiplier needs more than {8 * kind.itemsize} bits")
        parts.append(np.where(channels >= 0, values[channels], 0).astype(kind).view(np.uint8))
    return np.concatenate(parts)


def _products(job: Job, step: Step, source: Place, channels: NDArray[np.int64]) -> Bytes:
    """``(depth, positions x tn x tm)`` bytes of a convolution's output tile."""
    e, s = job.engine, step.shape
    assert step.weight is not None
    dense = step.weight if s.groups == 1 else _ungrouped(step.weight, s.groups)
    rows = np.zeros((e.tm, *dense.shape[1:]), np.int8)
    rows[channels >= 0] = dense[channels[channels >= 0]]
    if job.gathered:
        kw = s.kernel[1]
        flat = np.zeros((e.tm, s.kernel[0], job.depth * e.tn), np.int8)
        at = (np.arange(kw) * PIXEL)[:, None] + np.arange(s.n)
        flat[:, :, at.reshape(-1)] = rows.transpose(0, 2, 3, 1).reshape(e.tm, s.kernel[0], -1)
        lanes = flat.reshape(e.tm, s.kernel[0], job.depth, e.tn).transpose(2, 1, 3, 0)
    else:
        all_ = members(source, e.granule, 1)
        wide = np.zeros((e.tm, job.depth * e.tn, *s.kernel), np.int8)
        wide[:, np.flatnonzero(all_ >= 0)] = rows[:, all_[all_ >= 0]]
        lanes = wide.reshape(e.tm, job.depth, e.tn, -1).transpose(1, 3, 2, 0)
    out: Bytes = np.ascontiguousarray(lanes).view(np.uint8).reshape(job.depth, -1)
    return out


def _ungrouped(weight: NDArray[np.int64], groups: int) -> NDArray[np.int64]:
    """A grouped convolution's weights with zeros between the groups."""
    oc, icg = weight.shape[:2]
    out = np.zeros((oc, icg * groups, *weight.shape[2:]), np.int64)
    for g in range(groups):
        rows = slice(g * oc // groups, (g + 1) * oc // groups)
        out[rows, g * icg : (g + 1) * icg] = weight[rows]
    return out


def _window(job: Job, step: Step, channels: NDArray[np.int64], tile: int) -> Bytes:
    """A window tile's weights: slice by slice, row by row, ``taps`` columns at a time."""
    e, s = job.engine, step.shape
    if s.kind != DEPTHWISE:
        return np.zeros(0, np.uint8)
    assert step.weight is not None
    kh, kw = s.kernel
    rows = np.zeros((e.tm, kh, kw), np.int8)
    rows[channels >= 0] = step.weight[channels[channels >= 0], 0]
    each = job.reach if s.dilation[1] == 1 else 1
    passes = []
    for part in range(job.slices(tile)):
        lanes = rows[part * e.lanes : (part + 1) * e.lanes]
        for y in range(kh):
            for x in range(0, kw, each):
                taps = np.zeros((e.taps, e.lanes), np.int8)
                found = lanes[:, y, x : x + each].T
                start = e.taps - job.reach
                taps[start : start + len(found)] = found
                passes.append(pad(taps.reshape(-1).view(np.uint8), job.position_words * e.wp))
    return np.concatenate(passes)


def pad(data: Bytes, size: int) -> Bytes:
    return np.concatenate([data, np.zeros(size - len(data), np.uint8)])


def words(parts: Sequence[Sequence[Bytes]], wp: int) -> int:
    """Port words of all parts together."""
    return sum(len(p) for tile in parts for p in tile) // wp


__all__ = ["CONV", "members", "stream", "tile_channels", "words"]
