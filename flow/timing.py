"""Cycle-level schedules of a netlist: latency, interval, and FIFO depths that provably keep them.

Every process runs one II = 1 loop whose reads and writes happen at known iterations (``blocks.schedule``), so a
schedule is one firing time per iteration, and dependences are prefix maxima: vectorised, no event loop.

*Latency*: the earliest schedule with unbounded FIFOs, t(i) = max(t(i-1) + 1, arrival of the beats that iteration i
reads).

*FIFO depths*: a periodic schedule in which every process spreads its iterations evenly over the interval and starts as
soon as no beat comes late. The most beats that a FIFO holds under it, images overlapping, is a sufficient depth:
self-timed execution of a dataflow graph with that much room is never later than any schedule that fits the same room
(monotonicity of timed event graphs; Baccelli, Cohen, Olsder, Quadrat, Synchronization and Linearity, 1992, ch. 2), so
it neither deadlocks nor exceeds the interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flow import blocks
from flow.design import Netlist, Process, Stream
from flow.fixed import IntArray

Times = dict[str, tuple[IntArray, IntArray]]  # stream -> cycle at which each beat is written, and read


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
    """Latency, interval and FIFO depths."""
    period = slowest(netlist)
    _, latency = schedule(netlist, None)
    times, _ = schedule(netlist, period)
    depths = {s.name: occupancy(s, *times[s.name], period) for s in netlist.streams}
    return Timing(latency, period, depths)


def schedule(netlist: Netlist, period: int | None) -> tuple[Times, int]:
    """Times of every beat of one image and the cycle after the last process ends.

    ``period`` None: as early as possible; else every process stretched evenly over the period.
    """
    into = {s.sink: s for s in netlist.streams}
    out_of = {s.source: s for s in netlist.streams}
    written: dict[str, IntArray] = {}
    times: Times = {}
    end = 0
    for p in netlist.processes:
        reads, writes = blocks.schedule(p)
        ready = np.zeros(p.iterations, np.int64)
        for port, iterations in enumerate(reads):
            if (p.id, port) in into:
                np.maximum.at(ready, iterations, written[into[p.id, port].name] + 1)
        fire, leave = _fire(p, ready, period)
        for port, iterations in enumerate(reads):
            if (p.id, port) in into:
                name = into[p.id, port].name
                times[name] = (written[name], fire[iterations])
        for port, iterations in enumerate(writes):
            if (p.id, port) in out_of:
                written[out_of[p.id, port].name] = leave[iterations]
        end = max(end, int(leave[-1]) + 1)
    return times, end + 1


def _fire(p: Process, ready: IntArray, period: int | None) -> tuple[IntArray, IntArray]:
    """Cycle at which each iteration starts, and at which its results leave the pipeline.

    Periodic: every step of the pipeline, draining included, is spread over the period, so the schedule is one that a
    pipeline which stops as a whole can follow as well as one that drains by itself. One cycle of the period goes to
    function entry and exit, one to the region.
    """
    if period is None:
        index = np.arange(p.iterations, dtype=np.int64)
        fire: IntArray = np.maximum.accumulate(ready - index) + index
        return fire, fire + p.depth - 1
    steps = p.iterations + p.depth - 1
    grid = np.arange(steps, dtype=np.int64) * (period - 2) // steps
    grid = grid + int((ready - grid[: p.iterations]).max())
    return grid[: p.iterations], grid[p.depth - 1 :]


def occupancy(stream: Stream, written: IntArray, read: IntArray, period: int) -> int:
    """Most beats in a FIFO at once when images follow one another every ``period`` cycles; at least 2.

    A beat takes its place from the cycle it is written up to and including the cycle it is read.
    """
    span = -(-(int(read[-1]) - int(written[0]) + 1) // period) + 1
    shifts = np.arange(span)[:, None] * period
    moments = np.concatenate([(written + shifts).reshape(-1), (read + 1 + shifts).reshape(-1)])
    change = np.repeat(np.array([1, -1]), [written.size * span, read.size * span])
    order = np.lexsort((change, moments))
    return max(2, int(np.cumsum(change[order]).max()))
