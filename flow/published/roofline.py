"""The roofline model of FPGA'15: a tiled loop nest bounded by its multipliers and by its memory traffic.

Source: Zhang et al., "Optimizing FPGA-based Accelerator Design for Deep Convolutional Neural Networks", FPGA 2015.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from flow.published.layers import Layer


@dataclass(frozen=True)
class Tile:
    """Unrolled output and input channels, rows and columns of a tile."""

    tm: int
    tn: int
    tr: int
    tc: int


def cycles(layer: Layer, tm: int, tn: int) -> int:
    """ceil(M/Tm) ceil(N/Tn) R C K^2 cycles: ``tm`` x ``tn`` products each."""
    return ceil(layer.m / tm) * ceil(layer.n / tn) * layer.r * layer.c * layer.k**2 * layer.batch


def traffic(layer: Layer, t: Tile) -> int:
    """Words to and from memory: alpha_in B_in + alpha_w B_w + alpha_out B_out."""
    tr, tc = min(t.tr, layer.r), min(t.tc, layer.c)
    b_in = t.tn * (layer.stride * tr + layer.k - layer.stride) * (layer.stride * tc + layer.k - layer.stride)
    b_w, b_out = t.tm * t.tn * layer.k**2, t.tm * tr * tc
    outer = ceil(layer.m / t.tm) * ceil(layer.r / tr) * ceil(layer.c / tc)
    return layer.batch * outer * (ceil(layer.n / t.tn) * (b_in + b_w) + b_out)


@dataclass(frozen=True)
class Roof:
    """GFLOP/s: what the multipliers allow, what the memory allows, and the smaller; operations per byte."""

    computation: float
    bandwidth: float
    intensity: float

    @property
    def attainable(self) -> float:
        return min(self.computation, self.bandwidth)


def roof(layer: Layer, t: Tile, clock_mhz: float, bandwidth_gb_s: float, word_bytes: int = 4) -> Roof:
    """A layer's roofs; two operations a product."""
    operations = 2 * layer.macs
    seconds = cycles(layer, t.tm, t.tn) / (clock_mhz * 1e6)
    intensity = operations / (word_bytes * traffic(layer, t))
    return Roof(operations / seconds / 1e9, intensity * bandwidth_gb_s, intensity)
