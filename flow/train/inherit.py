"""A child network begins with its parent's weights: layers matched in order, the overlap of their shapes copied.

After Real et al., "Large-Scale Evolution of Image Classifiers", ICML 2017 (children keep the weights of layers whose
shape is unchanged) and Chen et al., "Net2Net", ICLR 2016 (a wider layer keeps the narrower one's channels).
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray

from flow.space.network import NetSpec

Arrays = Mapping[str, NDArray[np.float32]]


def matches(child: NetSpec, parent: NetSpec) -> list[tuple[int, int]]:
    """Pairs (child layer, parent layer) of the same kind, in the same order: longest common runs first."""

    def marks(spec: NetSpec) -> list[tuple[int, str, bool]]:
        return [(i, layer.kind, layer.groups > 1) for i, layer in enumerate(spec.layers) if layer.weighted]

    ours, theirs = marks(child), marks(parent)
    found = SequenceMatcher(None, [m[1:] for m in ours], [m[1:] for m in theirs], autojunk=False)
    return [
        (ours[block.a + k][0], theirs[block.b + k][0])
        for block in found.get_matching_blocks()
        for k in range(block.size)
    ]


def start(child: NetSpec, parent: NetSpec, arrays: Arrays, seed: int) -> dict[str, NDArray[np.float32]]:
    """What ``trainer.train(start=...)`` takes: ``<layer>.weight`` and ``<layer>.bias`` of the matched layers.

    ``arrays``: the parent's ``Trained.weights``.  Kernels overlap at their centres, channels from the first; what the
    parent lacks is drawn at the scale of what it has, so that new channels neither drown nor dominate the old.
    """
    rng = np.random.default_rng(seed)
    begun: dict[str, NDArray[np.float32]] = {}
    for mine, other in matches(child, parent):
        shape, source = child.weight_shape(mine), arrays[f"{other}.weight"]
        weight = rng.normal(0.0, float(source.std()) or 1e-3, shape).astype(np.float32)
        here, there = _overlap(shape, source.shape)
        weight[here] = source[there]
        bias = np.zeros(shape[0], np.float32)
        count = min(len(bias), len(arrays[f"{other}.bias"]))
        bias[:count] = arrays[f"{other}.bias"][:count]
        begun[f"{mine}.weight"], begun[f"{mine}.bias"] = weight, bias
    return begun


def _overlap(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of two weights (OC, IC, K, K) that lie on each other."""
    here, there = [], []
    for axis, (m, n) in enumerate(zip(a, b, strict=True)):
        size = min(m, n)
        mine, other = ((m - size) // 2, (n - size) // 2) if axis >= 2 else (0, 0)
        here.append(slice(mine, mine + size))
        there.append(slice(other, other + size))
    return tuple(here), tuple(there)
