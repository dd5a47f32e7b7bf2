"""Graph + foldings -> netlist: lower every node, join the stages with width converters and forks, open the AXI ends."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Mapping

from flow import blocks
from flow.blocks import stream
from flow.board import Board
from flow.design import Folding, Netlist, Port, Process, Stream, stage_cycles
from flow.ir.graph import Graph

AXIS_WIDTHS = (8, 16, 32, 64, 128, 256, 512, 1024)  # what AXI4-Stream infrastructure IP takes (AMD PG085)
LEAST_AXIS = 32  # bits; narrower ones save nothing


def axis_width(slot: int, elements: int, interval: int) -> int:
    """Narrowest bus that moves ``elements`` slots within ``interval`` cycles."""
    for width in AXIS_WIDTHS:
        words = -(-elements * slot // width)
        if width >= max(slot, LEAST_AXIS) and stage_cycles((words, stream.AXIS_DEPTH)) <= interval:
            return width
    return AXIS_WIDTHS[-1]


def axis_widths(graph: Graph, interval: int) -> tuple[int, int]:
    """Bits of the buses in and out that keep up with ``interval``."""
    slots = [(stream.slot_bits(graph.tensors[t].quant), size(graph, t)) for t in ("input", graph.output)]
    return axis_width(*slots[0], interval), axis_width(*slots[1], interval)


class _Builder:
    """Accumulates processes and streams; the only mutable thing here, and it does not leave the module."""

    def __init__(self) -> None:
        self.processes: list[Process] = []
        self.streams: list[Stream] = []

    def add(self, process: Process) -> Process:
        self.processes.append(process)
        return process

    def join(self, source: tuple[str, int], sink: tuple[str, int], port: Port) -> None:
        self.streams.append(Stream(f"s{len(self.streams)}", source, sink, port))

    def connect(self, source: tuple[str, int], port: Port, sink: Process, index: int, total: int) -> None:
        """A stream, with a width converter when the ends differ. ``total`` elements an image."""
        want = sink.inputs[index]
        assert (port.bits, port.signed) == (want.bits, want.signed), f"{source} and {sink.id} differ in element type"
        if port.lanes != want.lanes:
            gear = self.add(stream.gearbox(f"{sink.id}_gear{index}", sink.node, port, want.lanes, total))
            self.join(source, (gear.id, 0), gear.inputs[0])
            source, port = (gear.id, 0), gear.outputs[0]
        assert port.beats == want.beats, f"{source} sends {port.beats} beats, {sink.id} takes {want.beats}"
        self.join(source, (sink.id, index), want)


def netlist(
    graph: Graph, foldings: Mapping[str, Folding], board: Board, interval: int, ends: tuple[int, int] | None = None
) -> Netlist:
    """All processes and streams; ``interval`` (cycles) sizes the AXI ends. FIFO depths are left at their default.

    ``ends``: bits of the AXI ends, in and out, where something else than the interval decides them.
    """
    widths = ends or axis_widths(graph, interval)
    b = _Builder()
    readers = Counter(t for node in graph.nodes for t in node.inputs)
    open_ends: dict[str, list[tuple[tuple[str, int], Port]]] = {}

    def offer(tensor: str, source: tuple[str, int], port: Port) -> None:
        """Make one end per reader of a tensor, forking as needed."""
        need = max(1, readers[tensor])
        found = [(source, port)]
        while len(found) < need:
            (last, p) = found.pop()
            split = b.add(stream.fork(f"{tensor}_fork{len(found)}", tensor, p))
            b.join(last, (split.id, 0), p)
            found += [((split.id, 0), p), ((split.id, 1), p)]
        open_ends[tensor] = found

    first = graph.tensors["input"]
    elements = size(graph, "input")
    source = b.add(stream.from_axis(first.quant, elements, widths[0]))
    offer("input", (source.id, 0), source.outputs[0])
    for node in graph.nodes:
        chain = blocks.lower(graph, node, foldings[node.id], board)
        for index, tensor in enumerate(node.inputs):
            end, port = open_ends[tensor].pop(0)
            b.connect(end, port, chain[0], index, size(graph, tensor))
        b.processes += chain
        for up, down in itertools.pairwise(chain):
            b.connect((up.id, 0), up.outputs[0], down, 0, up.outputs[0].lanes * up.outputs[0].beats)
        offer(node.id, (chain[-1].id, 0), chain[-1].outputs[0])
    last = graph.tensors[graph.output]
    elements = size(graph, graph.output)
    sink = stream.to_axis(last.quant, elements, widths[1])
    end, port = open_ends[graph.output].pop(0)
    b.connect(end, port, sink, 0, elements)
    b.add(sink)
    return Netlist(ordered(b), tuple(b.streams))


def size(graph: Graph, tensor: str) -> int:
    c, h, w = graph.tensors[tensor].shape
    return c * h * w


def ordered(b: _Builder) -> tuple[Process, ...]:
    """Producers before consumers, as a dataflow region and C simulation need; else in the order they were made."""
    place = {p.id: i for i, p in enumerate(b.processes)}
    waiting = [0] * len(b.processes)
    readers: list[list[int]] = [[] for _ in b.processes]
    for s in b.streams:
        waiting[place[s.sink[0]]] += 1
        readers[place[s.source[0]]].append(place[s.sink[0]])
    ready = [i for i, n in enumerate(waiting) if n == 0]
    out: list[Process] = []
    while ready:
        first = heapq.heappop(ready)
        out.append(b.processes[first])
        for i in readers[first]:
            waiting[i] -= 1
            if waiting[i] == 0:
                heapq.heappush(ready, i)
    assert len(out) == len(b.processes), "the netlist has a cycle"
    return tuple(out)
