"""Cycle simulation of a netlist with finite FIFOs and back-pressure: latency, interval, occupancy, deadlock.

The model; ``tests/unit/test_simulate_brute.py`` implements it a second time, cycle by cycle.

*Process.* One II = 1 loop an image. Iteration i fires (reads its beats) one cycle or more after iteration i - 1, and
its writes happen ``depth - 1`` cycles after it fired when nothing stands in the way. A process starts on the next image
three cycles after its last iteration left the pipeline: undisturbed, ``process_cycles + 1`` after it started on this
one, the interval of a dataflow region (flow/design.py).

*FIFO.* A beat written in cycle t can be read from t + 1 on; the place of a beat read in cycle t can be written from
t + 1 on. An iteration reads all its beats in the same cycle, and writes all its beats in the same cycle, or waits.

*Pipeline.* ``flushing`` (Vitis HLS ``style=frp``): iterations in flight move on while the entry waits for data, and
close up behind a blocked exit; at most ``depth - 1`` are in flight. ``stalling`` (``style=stp``): the pipeline is one
shift register, which advances only when the entering iteration's beats are there and the leaving iteration's FIFOs have
room; what is in flight stays there until more input comes, and drains only after the image's last iteration. So a
stalling design needs deeper FIFOs where branches meet again. AMD's documents disagree on the default (UG1448 of 2021.2
to 2024.1: frp; UG1399 of 2021.1 and 2022.1: stp; of 2023.2: the tool chooses), so generated code has to say which one
it wants, or have FIFOs deep enough for both. (``style=flp`` may keep bubbles behind a blocked exit; not modelled.)

*Ends.* The input offers a word every cycle from cycle 0; the output is always taken.

Every transfer's cycle is then a maximum of earlier cycles plus constants (a timed event graph), so the kernel computes
each transfer once instead of stepping cycles. In such a graph more room never makes anything later, and once every
transfer of an image comes at most P cycles after the same transfer of the image before, over as many images as a FIFO
holds, this is so for all images to come: that proves an interval of P (Baccelli, Cohen, Olsder, Quadrat,
Synchronization and Linearity, 1992, chapters 2 and 3).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from flow import timing
from flow.design import Netlist, Stream
from flow.fixed import IntArray
from flow.simulate_kernel import Kernel, Model, SimulateError, model

__all__ = ["Deadlock", "SimulateError", "Simulation", "minimal_depths", "simulate"]

Style = Literal["flushing", "stalling"]
Waiting = tuple[str, str, str]

MAX_IMAGES = 24  # simulated at most in search of a steady state
LEAST_DEPTH = 2  # the tools' default; one place less halves the rate, as its room is seen a cycle late


@dataclass(frozen=True)
class Deadlock:
    """No beat moves from ``cycle`` on. ``waiting``: (process id, "reads" from an empty or "writes" to a full FIFO, its
    name), in the order of the netlist's processes."""

    cycle: int
    waiting: tuple[Waiting, ...]

    def __str__(self) -> str:
        ends = {"reads": "reads empty", "writes": "writes full"}
        return f"deadlock in cycle {self.cycle}: " + ", ".join(f"{p} {ends[kind]} {s}" for p, kind, s in self.waiting)


@dataclass(frozen=True)
class Simulation:
    """``latency_cycles`` of the first image and ``interval_cycles`` between images, both None after a deadlock.

    ``steady``: the interval is that of the last two images, and proved to be that of all to come. Otherwise it is the
    mean over the later half of the images, rounded up: too shallow FIFOs can make intervals alternate.
    ``max_occupancy`` and ``depths`` in beats per FIFO, ``images`` simulated, ``seconds`` it took.
    """

    latency_cycles: int | None
    interval_cycles: int | None
    max_occupancy: Mapping[str, int]
    depths: Mapping[str, int]
    deadlock: Deadlock | None
    images: int
    steady: bool
    style: Style
    seconds: float = field(compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_occupancy", MappingProxyType(dict(self.max_occupancy)))
        object.__setattr__(self, "depths", MappingProxyType(dict(self.depths)))

    def json(self) -> dict[str, Any]:
        """The layout of ``flow simulate --json``; after a deadlock cycles are null and ``waiting`` says who waits."""
        stop = self.deadlock
        waiting = [{"process": p, "kind": kind, "fifo": s} for p, kind, s in stop.waiting] if stop else []
        return {
            "latency_cycles": self.latency_cycles,
            "interval_cycles": self.interval_cycles,
            "deadlock": stop is not None,
            "deadlock_cycle": stop.cycle if stop else None,
            "waiting": waiting,
            "images": self.images,
            "steady": self.steady,
            "style": self.style,
            "fifos": [
                {"name": s, "depth": depth, "max_occupancy": self.max_occupancy[s]} for s, depth in self.depths.items()
            ],
            "seconds": self.seconds,
        }


def latency(netlist: Netlist) -> int | None:
    """Cycles until the first image is out, FIFOs as deep as they are; None after a deadlock."""
    m = model(netlist)
    room = np.minimum(_depths(netlist, {}), m.beats)
    with Kernel(m, room, False) as kernel:
        return int(kernel.ends()[0][0]) if kernel.run(1) else None


def simulate(
    netlist: Netlist, images: int | None = None, depths: Mapping[str, int] | None = None, style: Style = "flushing"
) -> Simulation:
    """Run ``images`` images, at least 2, back to back; None: until the interval is proved steady, at most MAX_IMAGES.

    ``depths`` (beats) replace those of the netlist, by stream name. Raises SimulateError for an unknown stream, a depth
    below 1, fewer than 2 images, an unknown style, or a missing compiler.
    """
    if style not in ("flushing", "stalling"):
        raise SimulateError(f"style {style!r}: flushing or stalling")
    if images is not None and images < 2:
        raise SimulateError(f"images {images}: at least 2, an interval lies between two")
    started = time.perf_counter()
    m = model(netlist)
    depth = _depths(netlist, depths or {})
    span, slowest = _span(m, depth), timing.slowest(netlist)
    # More places than beats ever sent cannot matter, and would only take memory.
    room = np.minimum(depth, m.beats * (images or MAX_IMAGES))
    with Kernel(m, room, style == "stalling") as kernel:
        limit = images or 2
        alive = kernel.run(limit)
        while alive and images is None and limit < MAX_IMAGES and not _steady(kernel, span, slowest):
            limit += 1
            alive = kernel.run(limit)
        peak, waits, last = kernel.fifos()
        completion, _, _ = kernel.ends()
        steady = alive and _steady(kernel, span, slowest)
    names = [s.name for s in netlist.streams]
    stop = None if alive else Deadlock(last + 1, _waiting(netlist, dict(zip(names, waits.tolist(), strict=True))))
    return Simulation(
        latency_cycles=int(completion[0]) if alive else None,
        interval_cycles=_interval(completion, steady) if alive else None,
        max_occupancy=dict(zip(names, peak.tolist(), strict=True)),
        depths=dict(zip(names, depth.tolist(), strict=True)),
        deadlock=stop,
        images=limit,
        steady=steady,
        style=style,
        seconds=time.perf_counter() - started,
    )


def _depths(netlist: Netlist, given: Mapping[str, int]) -> IntArray:
    unknown = sorted(given.keys() - {s.name for s in netlist.streams})
    if unknown:
        raise SimulateError(
            f"no stream {unknown[0]!r} in the netlist: {netlist.streams[0].name} to {netlist.streams[-1].name}"
        )
    found = {s.name: given.get(s.name, s.depth) for s in netlist.streams}
    for name, depth in found.items():
        if depth < 1:
            raise SimulateError(f"stream {name}: depth {depth}: at least 1")
    return np.array(list(found.values()), np.int64)


def _span(m: Model, depth: IntArray) -> int:
    """Over how many images a transfer depends on others: a write waits for the read ``depth`` beats earlier."""
    return max(1, int((-(-depth // m.beats)).max(initial=1)))


def _bounded(kernel: Kernel, span: int, interval: int) -> bool:
    """Whether the last images prove that none to come takes longer than ``interval``."""
    _, growth, _ = kernel.ends()
    return kernel.images > span and int(growth[-span:].max()) <= interval


def _exceeds(kernel: Kernel, span: int, interval: int) -> bool:
    """Whether the last images prove, by the same argument from below, that all to come take longer than that."""
    _, _, least = kernel.ends()
    return kernel.images > span and int(least[-span:].min()) > interval


def _steady(kernel: Kernel, span: int, slowest: int) -> bool:
    """Whether the last interval seen is that of all images to come: none longer, none shorter in the long run."""
    completion, _, _ = kernel.ends()
    interval = int(completion[-1] - completion[-2])
    return _bounded(kernel, span, interval) and (interval == slowest or _exceeds(kernel, span, interval - 1))


def _interval(completion: IntArray, steady: bool) -> int:
    first = len(completion) - 2 if steady else (len(completion) - 1) // 2
    return -(-int(completion[-1] - completion[first]) // (len(completion) - 1 - first))


def _waiting(netlist: Netlist, waits: Mapping[str, int]) -> tuple[Waiting, ...]:
    into: dict[str, list[Stream]] = {p.id: [] for p in netlist.processes}
    out_of: dict[str, list[Stream]] = {p.id: [] for p in netlist.processes}
    for s in netlist.streams:
        into[s.sink[0]].append(s)
        out_of[s.source[0]].append(s)
    found: list[Waiting] = []
    for p in netlist.processes:
        reads = sorted((s for s in into[p.id] if waits[s.name] & 1), key=lambda s: s.sink[1])
        writes = sorted((s for s in out_of[p.id] if waits[s.name] & 2), key=lambda s: s.source[1])
        found += [(p.id, "reads", s.name) for s in reads] + [(p.id, "writes", s.name) for s in writes]
    return tuple(found)


def minimal_depths(netlist: Netlist, style: Style = "flushing", interval: int | None = None) -> dict[str, int]:
    """FIFO depths of which no single one can be smaller without losing ``interval`` (default: the slowest process's).

    Starts from sufficient depths (``timing.analyse``; doubled until they do, which only stalling pipelines need) and
    bisects one FIFO after another, the one of most bits first, with the simulation as judge: a choice is kept when its
    interval is proved within MAX_IMAGES images. One pass is enough, since taking room elsewhere never makes less room
    enough here. Depths are 2 or more. Raises SimulateError when no depth keeps the interval.
    """
    m = model(netlist)
    target = timing.slowest(netlist) if interval is None else interval
    least = np.minimum(LEAST_DEPTH, m.beats)
    enough = timing.analyse(netlist).depths
    depth = np.maximum(np.array([enough[s.name] for s in netlist.streams], np.int64), least)
    limit = m.beats * 4
    while not _keeps(m, depth, style, target):
        if bool((depth >= limit).all()):
            raise SimulateError(
                f"interval {target} cannot be kept by any FIFO depths; the slowest process allows {target}"
            )
        depth = np.minimum(depth * 2, np.maximum(limit, depth))
    widths = np.array([s.port.width for s in netlist.streams], np.int64)
    order: list[int] = np.argsort(-depth * widths, kind="stable").tolist()
    _shrink(order, depth, least, lambda trial: _keeps(m, trial, style, target))
    return {s.name: max(LEAST_DEPTH, n) for s, n in zip(netlist.streams, depth.tolist(), strict=True)}


def _shrink(order: list[int], depth: IntArray, least: IntArray, keeps: Callable[[IntArray], bool]) -> None:
    """Give each FIFO of ``order`` in turn its smallest sufficient depth, in place.

    Where all of them can have their least depth at once, one trial says so: room only ever helps, so each in its turn
    could have had it too.
    """
    order = [i for i in order if depth[i] > least[i]]
    if not order:
        return
    trial = depth.copy()
    trial[order] = least[order]
    if keeps(trial):
        depth[order] = least[order]
    elif len(order) > 1:
        half = len(order) // 2
        _shrink(order[:half], depth, least, keeps)
        _shrink(order[half:], depth, least, keeps)
    else:
        low, high = int(least[order[0]]) + 1, int(depth[order[0]])
        while low < high:
            trial[order] = (low + high) // 2
            low, high = (low, int(trial[order[0]])) if keeps(trial) else (int(trial[order[0]]) + 1, high)
        depth[order] = high


def _keeps(m: Model, depth: IntArray, style: Style, target: int) -> bool:
    """Whether these depths provably allow an image every ``target`` cycles."""
    span = _span(m, depth)
    with Kernel(m, depth, style == "stalling") as kernel:
        for images in range(span + 1, max(MAX_IMAGES, span + 1) + 1):
            if not kernel.run(images):
                return False
            if _bounded(kernel, span, target):
                return True
            if _exceeds(kernel, span, target):
                return False
    return False
