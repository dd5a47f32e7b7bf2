"""Numbers that describe networks of any space, for predictors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flow.space.network import NetSpec

# By digest: a search asks for the same networks in every generation.
_rows: dict[str, list[float]] = {}
_work: dict[str, float] = {}


def features(specs: Sequence[NetSpec]) -> NDArray[np.float64]:
    """Per network: logarithms of work and size, depth, widths and bit widths; the genotype itself is not needed."""
    for s in specs:
        if s.digest not in _rows:
            _rows[s.digest] = _row(s)
    return np.array([_rows[s.digest] for s in specs], np.float64)


# Seconds that a training step takes for an image: least squares of relative errors over 60 random networks of the
# default space (28x28 and 32x32 images, batches of 64, float, one core, bfloat16 convolutions). Spread of the log:
# 0.3, that of a multiple of the products 0.8. On other machines the sums are good for comparing networks.
SECONDS_AN_OUTPUT = 5.6e-9  # of a convolution: normalisation and activation move memory
SECONDS_A_PRODUCT = {"dense": 0.024e-9, "depthwise": 0.47e-9}
SECONDS_A_CONVOLUTION = 15e-6


def training_work(spec: NetSpec) -> float:
    """What training ``spec`` costs an image, in seconds of the core that the coefficients were read off."""
    if spec.digest not in _work:
        _work[spec.digest] = _training_work(spec)
    return _work[spec.digest]


def _training_work(spec: NetSpec) -> float:
    total = 0.0
    for i, (layer, (c, h, w)) in enumerate(zip(spec.layers, spec.shapes(), strict=True)):
        if layer.weighted:
            kind = "depthwise" if layer.groups > 1 else "dense"
            total += SECONDS_A_PRODUCT[kind] * math.prod(spec.weight_shape(i)) * h * w
        if layer.kind == "conv":
            total += SECONDS_AN_OUTPUT * c * h * w + SECONDS_A_CONVOLUTION
    return total


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
