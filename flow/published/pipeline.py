"""Pipelines of engines: FNAS's tile overlap and DSP split, Co-Exploration's pipeline over one or several FPGAs.

Sources: FNAS (see ``tiled``); Jiang et al., "Hardware/Software Co-Exploration of Neural Architectures", TCAD 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from flow.published.layers import Layer
from flow.published.tiled import Engine


def dsp_split(layers: Sequence[Layer], dsps: int) -> list[int]:
    """DSPs of each layer's engine, in proportion to its products: max(1, floor(DSP MAC_l / sum MAC))."""
    whole = sum(la.macs for la in layers)
    return [max(1, dsps * la.macs // whole) for la in layers]


def overlapped_cycles(layers: Sequence[Layer], engines: Sequence[Engine], tile_cycles: Sequence[int]) -> int:
    """Latency of a pipeline in which a layer starts as soon as its first input tile is there.

    ``tile_cycles``: the time ET of one tile on each engine.  Reuse alternates along the layers: with output reuse the
    first tile is ready after ``n ET``, with input reuse after ``((n - 1) m + 1) ET``; the last layer takes its whole
    time ``n m ceil(R/Tr) ceil(C/Tc) ET``.
    """
    total = 0
    for i, (la, e, et) in enumerate(zip(layers, engines, tile_cycles, strict=True)):
        n, m = ceil(la.n / e.tn), ceil(la.m / e.tm)
        if i == len(layers) - 1:
            total += n * m * ceil(la.r / e.tr) * ceil(la.c / e.tc) * et
        else:
            total += n * et if i % 2 == 0 else ((n - 1) * m + 1) * et
    return total


@dataclass(frozen=True)
class Pipeline:
    """Stages (latency each) joined by links (cycles of one image's transfer; one fewer than stages)."""

    stages: tuple[int, ...]
    links: tuple[int, ...] = ()

    @property
    def interval(self) -> int:
        """II = max(Lat_i, link_i)."""
        return max((*self.stages, *self.links))

    @property
    def utilisations(self) -> tuple[float, ...]:
        """U_i = Lat_i / II."""
        return tuple(s / self.interval for s in self.stages)

    @property
    def efficiency(self) -> float:
        """Pipeline efficiency: the mean of U_i."""
        return sum(self.utilisations) / len(self.stages)

    @property
    def latency(self) -> int:
        return sum(self.stages) + sum(self.links)
