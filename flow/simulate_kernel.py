"""The compiled part of the cycle simulation: a netlist as arrays, run by ``simulate_kernel.cpp``."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from flow import blocks, native
from flow.design import Netlist, Process
from flow.fixed import IntArray

PORTS = 8  # most ports on one side of a process, as in the C++ source


class SimulateError(ValueError):
    """A netlist or FIFO depths that cannot be simulated, or no C++ compiler."""


@cache
def library() -> ctypes.CDLL:
    """The kernel. Raises SimulateError without a compiler."""
    try:
        lib = native.library("simulate_kernel.cpp")
    except native.NativeError as e:
        raise SimulateError(str(e)) from None
    lib.flow_sim_new.restype = ctypes.c_void_p
    lib.flow_sim_fifos.restype = ctypes.c_int64
    return lib


@dataclass(frozen=True, eq=False)
class Model:
    """A netlist as the kernel's arrays. ``beats`` an image per FIFO; the rest mirrors ``flow_sim_new``."""

    netlist: Netlist
    beats: IntArray
    iterations: IntArray
    depth: IntArray
    events: IntArray
    iteration: NDArray[np.int32]
    mask: NDArray[np.uint8]
    fifo: NDArray[np.int32]
    reader: NDArray[np.int32]
    writer: NDArray[np.int32]


def _side(p: Process, ports: Sequence[IntArray]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Iterations at which any of the ports moves a beat, ascending, and which ones do (bit per port)."""
    if len(ports) > PORTS:
        raise SimulateError(f"process {p.id}: {len(ports)} ports on one side, at most {PORTS} can be simulated")
    for at in ports:
        if at.size and (int(at[0]) < 0 or int(at[-1]) >= p.iterations or bool((np.diff(at) <= 0).any())):
            raise SimulateError(
                f"process {p.id}: a port moves one beat an iteration, in iterations 0 to {p.iterations - 1}"
            )
    if len(ports) == 1:
        return ports[0].astype(np.int32), np.ones(ports[0].size, np.uint8)
    when = np.unique(np.concatenate(ports)) if ports else np.empty(0, np.int64)
    mask = np.zeros(when.size, np.uint8)
    for k, at in enumerate(ports):
        mask[np.searchsorted(when, at)] |= np.uint8(1 << k)
    return when.astype(np.int32), mask


def model(netlist: Netlist) -> Model:
    """Arrays of a netlist. Raises SimulateError for a schedule that is no II = 1 loop."""
    place = {p.id: i for i, p in enumerate(netlist.processes)}
    fifo = np.full((len(netlist.processes), 2, PORTS), -1, np.int32)
    for i, s in enumerate(netlist.streams):
        fifo[place[s.sink[0]], 0, s.sink[1]] = i
        fifo[place[s.source[0]], 1, s.source[1]] = i
    beats = np.zeros(len(netlist.streams), np.int64)
    sides: list[tuple[NDArray[np.int32], NDArray[np.uint8]]] = []
    for i, p in enumerate(netlist.processes):
        if not 1 <= p.iterations < 2**31 or p.depth < 1:
            raise SimulateError(
                f"process {p.id}: {p.iterations} iterations, depth {p.depth}: at least 1 each, below 2^31"
            )
        reads, writes = blocks.schedule(p)
        sides += [_side(p, reads), _side(p, writes)]
        for k, at in enumerate(writes):
            if fifo[i, 1, k] >= 0:
                beats[fifo[i, 1, k]] = at.size
        for k, at in enumerate(reads):
            end = int(fifo[i, 0, k])
            if end >= 0 and at.size != netlist.streams[end].port.beats:
                name, declared = netlist.streams[end].name, netlist.streams[end].port.beats
                raise SimulateError(f"process {p.id}: reads {at.size} beats of {name}, {declared} are declared")
    for s, n in zip(netlist.streams, beats.tolist(), strict=True):
        if n != s.port.beats:
            raise SimulateError(
                f"stream {s.name}: {s.source[0]} writes {n} beats an image, {s.port.beats} are declared"
            )
    return Model(
        netlist=netlist,
        beats=beats,
        iterations=np.array([p.iterations for p in netlist.processes], np.int64),
        depth=np.array([p.depth for p in netlist.processes], np.int64),
        events=np.cumsum([0, *(len(when) for when, _ in sides)], dtype=np.int64),
        iteration=np.concatenate([when for when, _ in sides]),
        mask=np.concatenate([mask for _, mask in sides]),
        fifo=fifo,
        reader=np.array([place[s.sink[0]] for s in netlist.streams], np.int32),
        writer=np.array([place[s.source[0]] for s in netlist.streams], np.int32),
    )


class Kernel:
    """One simulation in progress; a context manager, because its memory lies outside Python."""

    def __init__(self, m: Model, depths: IntArray, stalling: bool) -> None:
        """``depths`` in beats per FIFO, at least 1."""
        self.model, self.images = m, 0
        self._lib = library()
        self._depths = np.ascontiguousarray(depths, np.int64)
        arrays = (m.iterations, m.depth, m.events, m.iteration, m.mask, m.fifo, self._depths, m.reader, m.writer)
        pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in arrays]
        count = (len(m.iterations), len(m.beats), int(stalling))
        self._handle = ctypes.c_void_p(self._lib.flow_sim_new(*count, *pointers))

    def __enter__(self) -> Kernel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lib.flow_sim_free(self._handle)

    def run(self, images: int) -> bool:
        """Go on until ``images`` images are done; False for a deadlock."""
        self.images = images
        return bool(self._lib.flow_sim_run(self._handle, ctypes.c_int64(images)))

    def ends(self) -> tuple[IntArray, IntArray, IntArray]:
        """Per image: the cycle after it is complete, and the longest and the least time by which one of its transfers
        follows the same transfer of the image before (meaningless for the first image)."""
        arrays = tuple(np.zeros(self.images, np.int64) for _ in range(3))
        self._lib.flow_sim_images(self._handle, *(a.ctypes.data_as(ctypes.c_void_p) for a in arrays))
        completion, growth, least = arrays
        return completion, growth, least

    def fifos(self) -> tuple[IntArray, NDArray[np.uint8], int]:
        """Per FIFO the most beats held and who waits at it (bit 0 its reader, bit 1 its writer; only after a
        deadlock), and the cycle of the last transfer."""
        peak, waits = np.zeros(len(self.model.beats), np.int64), np.zeros(len(self.model.beats), np.uint8)
        pointers = (a.ctypes.data_as(ctypes.c_void_p) for a in (peak, waits))
        last = int(self._lib.flow_sim_fifos(self._handle, *pointers))
        return peak, waits, last
