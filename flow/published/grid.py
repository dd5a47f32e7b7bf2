"""HotNAS's hardware grid of 9,000 engines for one network, answered exactly by evaluating all of it at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from flow.board import Board
from flow.published import tiled
from flow.published.layers import Layer
from flow.published.tiled import Engine, Rules

TM = tuple(range(10, 250, 30))
EXTENTS = (32, 64, 256)
MemoryCheck = Literal["checked", "ignored", "swapped"]
PORTS = tuple(range(2, 21, 4))
PORT_BITS = 512  # of a zcu102, for the three ports together


@dataclass(frozen=True)
class Best:
    """The fastest engine of the grid that fits: of equals, the first in the published loop order."""

    engine: Engine
    cycles: float
    points: int
    feasible: int

    def ms(self, clock_mhz: float = 100.0) -> float:
        return self.cycles / (clock_mhz * 1e3)


def engines(dsps: int, tk: int) -> Engine:
    """The whole grid as one engine of arrays: Tm, Tc, Tr, Wp, Ip, Op in loop order, Tn what the DSPs allow."""
    tm, tc, tr, wp, ip, op = (
        a.reshape(-1) for a in np.meshgrid(TM, EXTENTS, EXTENTS, PORTS, PORTS, PORTS, indexing="ij")
    )
    return Engine(tm, dsps // tm, tr, tc, wp, ip, op, tk=tk)


def best(layers: Sequence[Layer], board: Board, rules: Rules, memory: MemoryCheck = "checked") -> Best | None:
    """The optimum of the grid on a board; None when nothing fits.

    ``memory``: "checked" against the board's block RAM, and its LUTs where the weight banks (a few hundred bits each)
    have to be distributed RAM; "ignored" as in the last public code; "swapped" as in the code that the published
    logs come from, which passes the number of blocks as their size and the size as their number.
    """
    e = engines(board.available.dsp, max(la.k for la in layers))
    fits = (tiled.port_bits(e) <= PORT_BITS) & (tiled.dsps(e) <= board.available.dsp)
    if memory == "swapped":
        fits &= tiled.bram18(e, block_bits=board.available.bram18) <= tiled.BRAM_BITS
    elif memory == "checked":
        in_bram = tiled.bram18(e) <= board.available.bram18
        in_lut = tiled.bram18(e, weights_in_lutram=True) <= board.available.bram18
        fits &= in_bram | (in_lut & (tiled.weight_lut(e) <= board.available.lut))
    if not fits.any():
        return None
    time = np.where(fits, tiled.network_cycles(layers, e, rules), np.inf)
    k = int(np.argmin(time))
    tm, tn, tr, tc, wp, ip, op = (int(a[k]) for a in (e.tm, e.tn, e.tr, e.tc, e.wp, e.ip, e.op))
    return Best(Engine(tm, tn, tr, tc, wp, ip, op, tk=e.tk), float(time[k]), time.size, int(fits.sum()))
