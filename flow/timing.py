"""Cycle-level schedules of a netlist: latency, interval, and FIFO depths that provably keep them.

Every process runs one II = 1 loop whose reads and writes happen at known iterations (``blocks.beats``), so a schedule
is one firing time per iteration, and dependences are prefix maxima: one pass over the beats, in
``timing_kernel.cpp``. (``tests/unit/test_timing.py`` has both schedules again, in numpy.)

*Latency*: the earliest schedule with unbounded FIFOs, t(i) = max(t(i-1) + 1, arrival of the beats that iteration i
reads).

*FIFO depths*: a periodic schedule, images one period apart. Sources spread their beats evenly; every other process
takes each step of its pipeline as soon as its beats come, except one that writes more bits than it reads (a window
unit: each pixel up to nine times). That one waits for its reader: what has to wait, waits in front of it, where it is
small. The most beats that a FIFO holds under this schedule, images overlapping, is a sufficient depth: self-timed
execution of a dataflow graph with that much room is never later than any schedule that fits the same room (monotonicity
of timed event graphs; Baccelli, Cohen, Olsder, Quadrat, Synchronization and Linearity, 1992, ch. 2), so it neither
deadlocks nor exceeds the interval. A pipeline's steps include its draining, so one that stops as a whole can follow the
schedule as well as one that drains by itself.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache

import numpy as np

from flow import blocks, native
from flow.blocks.beats import Row, rows
from flow.design import Netlist
from flow.fixed import IntArray


@dataclass(frozen=True)
class Timing:
    """``latency_cycles`` of one image, ``interval_cycles`` between images, sufficient FIFO ``depths`` in beats."""

    latency_cycles: int
    interval_cycles: int
    depths: dict[str, int]


def slowest(netlist: Netlist) -> int:
    """Interval of a dataflow region: its slowest process's, plus one cycle (40 of 43 regions in real reports)."""
    return max(p.cycles for p in netlist.processes) + 1


def analyse(netlist: Netlist) -> Timing:
    """Latency, interval and FIFO depths. Raises NativeError without a C++ compiler."""
    period = slowest(netlist)
    depths = np.zeros(len(netlist.streams), np.int64)
    cycles = _run(netlist, period, depths)
    names = [s.name for s in netlist.streams]
    return Timing(cycles, period, dict(zip(names, depths.tolist(), strict=True)))


def depths(netlist: Netlist) -> dict[str, int]:
    """FIFO depths alone."""
    found = np.zeros(len(netlist.streams), np.int64)
    _run(netlist, slowest(netlist), found, latency=False)
    return dict(zip((s.name for s in netlist.streams), found.tolist(), strict=True))


def latency(netlist: Netlist) -> int:
    """Cycles of one image, FIFOs unbounded."""
    return _run(netlist, 0, np.zeros(len(netlist.streams), np.int64))


@cache
def _library() -> ctypes.CDLL:
    lib = native.library("timing_kernel.cpp")
    lib.flow_timing.restype = ctypes.c_int64
    return lib


def _run(netlist: Netlist, period: int, depths: IntArray, latency: bool = True) -> int:
    into = {s.sink: i for i, s in enumerate(netlist.streams)}
    out_of = {s.source: i for i, s in enumerate(netlist.streams)}
    shape: list[int] = []
    ports: list[int] = []
    pieces: list[Row] = []
    keep: list[IntArray] = []  # arrays whose addresses are among the pieces
    for p in netlist.processes:
        reads, writes = blocks.beats(p)
        shape += [p.iterations, p.depth, len(reads), len(writes)]
        for side, ends in ((reads, into), (writes, out_of)):
            for k, port in enumerate(side):
                found = rows(port, keep)
                ports += [ends.get((p.id, k), -1), len(found)]
                pieces += found
    bits = [s.port.width * s.port.beats for s in netlist.streams]
    arrays = [np.array(x, np.int64) for x in (shape, ports, pieces, bits)]
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (*arrays, depths)]
    sizes = len(netlist.processes), len(netlist.streams), latency, period
    processes, *others = (ctypes.c_int64(n) for n in sizes)
    return int(_library().flow_timing(processes, *pointers[:3], *others, *pointers[3:]))
