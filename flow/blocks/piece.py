"""A process as its time and area are seen: what mappers compare thousands of, without names, types and contents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from flow.blocks.beats import Beats, rows
from flow.board import Resources
from flow.design import Port, process_cycles
from flow.fixed import IntArray

Side = Sequence[Beats | IntArray]


class Piece(NamedTuple):
    """``shape``: iterations, pipeline depth, number of inputs, of outputs. ``counts``: rows of each port's schedule,
    inputs first; ``rows`` (n, 8): all of them, as ``timing_kernel.cpp`` reads them."""

    shape: tuple[int, int, int, int]
    resources: Resources
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    counts: tuple[int, ...]
    rows: IntArray
    keep: tuple[IntArray, ...]  # arrays whose addresses are among the rows

    @property
    def iterations(self) -> int:
        return self.shape[0]

    @property
    def depth(self) -> int:
        return self.shape[1]

    @property
    def cycles(self) -> int:
        """Cycles from start to ready for the next image."""
        return process_cycles(*self.shape[:2])


def piece(
    iterations: int, depth: int, resources: Resources, inputs: tuple[Port, ...], outputs: tuple[Port, ...],
    beats: tuple[Side, Side],
) -> Piece:  # fmt: skip
    """``beats``: of each input and of each output, as a block's schedule gives them."""
    keep: list[IntArray] = []
    found = [rows(port, keep) for side in beats for port in side]
    table = np.array([row for port in found for row in port], np.int64).reshape(-1, 8)
    counts = tuple(len(port) for port in found)
    shape = iterations, depth, len(beats[0]), len(beats[1])
    return Piece(shape, resources, inputs, outputs, counts, table, tuple(keep))
