"""A netlist as arrays: all that time and area depend on, and nothing that only code generation needs.

``of`` reads one off a netlist; ``compose`` makes one of foldings, processes and streams numbered as
``elaborate.netlist`` makes them, some ten times faster: mappers try many designs before they build one.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

import numpy as np

from flow import blocks, elaborate
from flow.blocks import stream
from flow.blocks.control import control
from flow.blocks.piece import Piece
from flow.board import Board, Resources
from flow.cost import laws
from flow.design import Folding, Netlist, Port
from flow.fixed import IntArray
from flow.ir.graph import Graph


class Fifo(NamedTuple):
    """Bits of a stream's beat, beats that it holds, where they are kept (``design.Stream``)."""

    width: int
    depth: int = 2
    storage: Literal["auto", "srl"] = "auto"


@dataclass(frozen=True, eq=False)
class Layout:
    """Processes in dataflow order and the FIFOs between them.

    ``owners``: for each process the graph node (or "input", "output") that it serves; ``sinks``: for each FIFO the
    number of the process that reads it; ``bits``: of an image in each FIFO; ``ports``: (stream or -1, rows) of all
    processes' ports, inputs first.
    """

    pieces: tuple[Piece, ...]
    owners: tuple[str, ...]
    fifos: tuple[Fifo, ...]
    sinks: tuple[int, ...]
    bits: IntArray
    ports: IntArray

    @cached_property
    def shape(self) -> IntArray:
        """Iterations, pipeline depth, inputs and outputs of each process."""
        return np.array([p.shape for p in self.pieces], np.int64)

    @cached_property
    def rows(self) -> IntArray:
        """The schedules of all ports."""
        return np.concatenate([p.rows for p in self.pieces])

    @cached_property
    def interval(self) -> int:
        """Of the dataflow region: its slowest process's, plus one cycle (40 of 43 regions in real reports)."""
        return max(p.cycles for p in self.pieces) + 1

    def with_depths(self, depths: Sequence[int]) -> Layout:
        """FIFOs of these depths (beats)."""
        return self.with_fifos([f._replace(depth=d) for f, d in zip(self.fifos, depths, strict=True)])

    def with_fifos(self, fifos: Sequence[Fifo]) -> Layout:
        """The same processes between other FIFOs; what was found out about the processes is kept."""
        found, known = replace(self, fifos=tuple(fifos)), vars(self)
        vars(found).update({k: known[k] for k in ("shape", "rows", "interval", "own") if k in known})
        return found

    @cached_property
    def own(self) -> Resources:
        """Of all processes."""
        return Resources(*map(sum, zip(*(p.resources for p in self.pieces), strict=True)))

    @property
    def joined(self) -> bool:
        """Whether branches meet somewhere."""
        return any(p.shape[2] > 1 for p in self.pieces)


def _ports(pieces: Sequence[Piece], into: dict[tuple[int, int], int], out_of: dict[tuple[int, int], int]) -> IntArray:
    found: list[int] = []
    for i, p in enumerate(pieces):
        inputs = p.shape[2]
        for k, count in enumerate(p.counts):
            end = into.get((i, k), -1) if k < inputs else out_of.get((i, k - inputs), -1)
            found += (end, count)
    return np.array(found, np.int64)


def with_fifos(netlist: Netlist, fifos: Sequence[Fifo]) -> Netlist:
    """The netlist with FIFOs of these depths and kinds."""
    pairs = zip(netlist.streams, fifos, strict=True)
    return replace(netlist, streams=tuple(replace(s, depth=f.depth, storage=f.storage) for s, f in pairs))


def of(netlist: Netlist) -> Layout:
    """What a netlist's time and area depend on."""
    place = {p.id: i for i, p in enumerate(netlist.processes)}
    pieces = tuple(blocks.piece_of(p) for p in netlist.processes)
    into = {(place[s.sink[0]], s.sink[1]): i for i, s in enumerate(netlist.streams)}
    out_of = {(place[s.source[0]], s.source[1]): i for i, s in enumerate(netlist.streams)}
    fifos = tuple(Fifo(s.port.width, s.depth, s.storage) for s in netlist.streams)
    sinks = tuple(place[s.sink[0]] for s in netlist.streams)
    bits = np.array([s.port.width * s.port.beats for s in netlist.streams], np.int64)
    owners = tuple(p.node for p in netlist.processes)
    return Layout(pieces, owners, fifos, sinks, bits, _ports(pieces, into, out_of))


class _Builder:
    """Accumulates pieces and streams; the only mutable thing here, and it does not leave the module."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.owners: list[str] = []
        self.fifos: list[Fifo] = []
        self.into: dict[tuple[int, int], int] = {}
        self.out_of: dict[tuple[int, int], int] = {}
        self.sinks: list[int] = []
        self.bits: list[int] = []

    def add(self, p: Piece, owner: str) -> int:
        self.pieces.append(p)
        self.owners.append(owner)
        return len(self.pieces) - 1

    def join(self, source: tuple[int, int], sink: tuple[int, int], port: Port) -> None:
        self.into[sink] = self.out_of[source] = len(self.fifos)
        self.open(port, sink[0])

    def open(self, port: Port, sink: int) -> None:
        width = port.lanes * port.bits
        self.fifos.append(Fifo(width))
        self.bits.append(width * port.beats)
        self.sinks.append(sink)

    def offer(self, tensor: str, source: tuple[int, int], port: Port, need: int) -> list[tuple[int, int]]:
        """One end per reader of a tensor, in the order of ``elaborate.netlist``."""
        found = [source]
        while len(found) < need:
            split = self.add(stream.fork_piece(port), tensor)
            self.join(found.pop(), (split, 0), port)
            found += [(split, 0), (split, 1)]
        return found

    def chain(self, node: str, chain: Sequence[Piece], ends: Sequence[tuple[tuple[int, int], Port, int]]) -> int:
        """A stage behind its inputs (end, port, elements an image), width converters where lanes differ."""
        heads: list[tuple[tuple[int, int], int, Port]] = []
        for k, (end, port, total) in enumerate(ends):
            want = chain[0].inputs[k]
            if port.lanes != want.lanes:
                gear = self.add(stream.gearbox_piece(port, want.lanes, total), node)
                self.join(end, (gear, 0), port)
                end = gear, 0
            heads.append((end, len(self.fifos), want))
            self.open(want, -1)
        first = len(self.pieces)
        for p in chain:
            self.add(p, node)
        for k, (end, at, _) in enumerate(heads):
            self.into[first, k] = self.out_of[end] = at
            self.sinks[at] = first
        for i, (up, _) in enumerate(itertools.pairwise(chain)):
            self.join((first + i, 0), (first + i + 1, 0), up.outputs[0])
        return len(self.pieces) - 1


def compose(
    graph: Graph, foldings: Sequence[Folding], board: Board, interval: int, ends: tuple[int, int] | None = None
) -> Layout:
    """The layout of ``elaborate.netlist``; ``foldings``: one a node. FIFO depths are left at their default."""
    widths = ends or elaborate.axis_widths(graph, interval)
    b = _Builder()
    readers = Counter(t for node in graph.nodes for t in node.inputs)
    tensors = graph.tensors
    size = {t: x.shape[0] * x.shape[1] * x.shape[2] for t, x in tensors.items()}
    source = stream.from_axis_piece(tensors["input"].quant, size["input"], widths[0])
    ports = {"input": source.outputs[0]}
    at = b.add(source, "input")
    open_ends = {"input": b.offer("input", (at, 0), source.outputs[0], max(1, readers["input"]))}
    for node, folding in zip(graph.nodes, foldings, strict=True):
        stage = blocks.outline(graph, node, folding, board)
        at = b.chain(node.id, stage, [(open_ends[t].pop(0), ports[t], size[t]) for t in node.inputs])
        ports[node.id] = stage[-1].outputs[0]
        open_ends[node.id] = b.offer(node.id, (at, 0), ports[node.id], max(1, readers[node.id]))
    sink = stream.to_axis_piece(tensors[graph.output].quant, size[graph.output], widths[1])
    b.chain("output", [sink], [(open_ends[graph.output].pop(0), ports[graph.output], size[graph.output])])
    pieces = tuple(b.pieces)
    bits = np.array(b.bits, np.int64)
    return Layout(pieces, tuple(b.owners), tuple(b.fifos), tuple(b.sinks), bits, _ports(pieces, b.into, b.out_of))


def resources(found: Layout) -> Resources:
    """Sum of all processes and FIFOs, and the control interface: a module's total is the sum of its rows (100 % of
    1,651 real reports)."""
    # start/done logic and the batch register behind AXI4-Lite
    parts = control(2), found.own, *(fifo_cost(f) for f in found.fifos)
    return Resources(*map(sum, zip(*parts, strict=True)))


@lru_cache(maxsize=65536)
def fifo_cost(f: Fifo) -> Resources:
    return laws.fifo(f.depth, f.width, storage=f.storage)
