"""Numbers that describe networks of any space, for predictors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flow.space.network import NetSpec

_rows: dict[str, list[float]] = {}  # by digest: a search asks for the same networks in every generation


def features(specs: Sequence[NetSpec]) -> NDArray[np.float64]:
    """Per network: logarithms of work and size, depth, widths and bit widths; the genotype itself is not needed."""
    for s in specs:
        if s.digest not in _rows:
            _rows[s.digest] = _row(s)
    return np.array([_rows[s.digest] for s in specs], np.float64)


def _row(s: NetSpec) -> list[float]:
    weighted = [layer for layer in s.layers if layer.weighted]
    bits = [(layer.weight_bits, layer.activation_bits) for layer in weighted]
    wide = [layer.out_channels for layer in weighted]
    shapes = s.shapes()
    return [
        math.log(s.macs), math.log(s.params), len(weighted), sum(layer.groups > 1 for layer in weighted),
        float(np.mean([b[0] for b in bits])), float(np.mean([b[1] for b in bits])), min(b[0] for b in bits),
        min(b[1] for b in bits), math.log(max(wide)), math.log(min(wide)),
        math.log(max(1, shapes[max(0, len(shapes) - 3)][1])), sum(layer.kernel for layer in weighted),
        sum(layer.kind == "add" for layer in s.layers),
    ]  # fmt: skip
