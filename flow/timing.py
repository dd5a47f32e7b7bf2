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

from flow import layout, native
from flow.design import Netlist
from flow.fixed import IntArray
from flow.layout import Layout


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
    found = layout.of(netlist)
    depths = np.zeros(len(netlist.streams), np.int64)
    cycles = _run(found, found.interval, depths)
    names = [s.name for s in netlist.streams]
    return Timing(cycles, found.interval, dict(zip(names, depths.tolist(), strict=True)))


def depths(netlist: Netlist) -> dict[str, int]:
    """FIFO depths alone."""
    return dict(zip((s.name for s in netlist.streams), depths_of(layout.of(netlist)), strict=True))


def depths_of(found: Layout) -> list[int]:
    """The same, in the order of the FIFOs."""
    room = np.zeros(len(found.fifos), np.int64)
    _run(found, found.interval, room, latency=False)
    depths: list[int] = room.tolist()
    return depths


def latency(netlist: Netlist) -> int:
    """Cycles of one image, FIFOs unbounded."""
    return latency_of(layout.of(netlist))


def latency_of(found: Layout) -> int:
    """The same of a layout."""
    return _run(found, 0, np.zeros(len(found.fifos), np.int64))


def finite_latency(found: Layout) -> int | None:
    """Cycles of one image with FIFOs as deep as they are (the model: ``flow.simulate``); None after a deadlock."""
    room = np.array([f.depth for f in found.fifos], np.int64)
    processes, pointers = _arguments(found, room)
    cycles = int(_library().flow_timing_finite(processes, *pointers[:3], ctypes.c_int64(len(room)), pointers[3]))
    return None if cycles < 0 else cycles


@cache
def _library() -> ctypes.CDLL:
    lib = native.library("timing_kernel.cpp")
    for name in ("flow_timing", "flow_timing_finite"):
        getattr(lib, name).restype = ctypes.c_int64
    return lib


def _arguments(found: Layout, depths: IntArray) -> tuple[ctypes.c_int64, list[ctypes.c_void_p]]:
    arrays = (found.shape, found.ports, found.rows, depths)
    return ctypes.c_int64(len(found.pieces)), [a.ctypes.data_as(ctypes.c_void_p) for a in arrays]


def _run(found: Layout, period: int, depths: IntArray, latency: bool = True) -> int:
    processes, pointers = _arguments(found, depths)
    others = (ctypes.c_int64(n) for n in (len(depths), latency, period))
    bits = found.bits.ctypes.data_as(ctypes.c_void_p)
    return int(_library().flow_timing(processes, *pointers[:3], *others, bits, pointers[3]))
