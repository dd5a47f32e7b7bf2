"""Rows and columns by index (``hls/sample.h``): crops and pads without a buffer, everything else out of some rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from flow.blocks.beats import Beats, loops
from flow.blocks.control import control
from flow.blocks.pareto import Options, divisors, undominated
from flow.blocks.requant import beat
from flow.blocks.window import HAZARD
from flow.board import Board, Resources
from flow.cost import laws
from flow.design import Folding, Memory, Option, Port, Process, stage_cycles
from flow.fixed import IntArray, Quant, bits_for
from flow.ir.graph import Graph, Node
from flow.ir.ops import Op, Sample, Shape

DEPTH = {"frame": 3, "sample": 5}  # counters, (address, memory,) choose, write


def serves(op: Op) -> bool:
    return isinstance(op, Sample)


@dataclass(frozen=True)
class Layer:
    """What cost and legality depend on."""

    shape: Shape
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    quant: Quant


@dataclass(frozen=True)
class Box:
    """One axis of ``frame``: its length, and where input and output lie in it."""

    length: int
    inside: tuple[int, int]
    outside: tuple[int, int]


def box(places: tuple[int, ...], size: int) -> Box | None:
    """The walk along an axis when its places are consecutive and filled where the input has none; else None."""
    k = next((k for k, p in enumerate(places) if p >= 0), 0)
    first, n = places[k] - k, len(places)
    if list(places) != [p if 0 <= p < size else -1 for p in range(first, first + n)]:
        return None
    low, high = min(0, first), max(size, first + n)
    return Box(high - low, (-low, size - low), (first - low, first + n - low))


def boxes(la: Layer) -> tuple[Box, Box] | None:
    y, x = box(la.rows, la.shape[1]), box(la.columns, la.shape[2])
    return (y, x) if y is not None and x is not None else None


@dataclass(frozen=True)
class Plan:
    """Counters of ``sample``: rows kept, phases (beats stored, iterations, row address), iterations in all."""

    slots: int
    first_stores: int
    first_length: int
    phases: tuple[tuple[int, int, int], ...]
    iterations: int


@lru_cache(maxsize=65536)
def plan(la: Layer, lanes: int) -> Plan:
    (_, h, w), cf = la.shape, la.shape[0] // lanes
    row, emit, oh = w * cf, len(la.columns) * cf, len(la.rows)
    need = np.maximum.accumulate(np.array(la.rows) + 1)  # input rows stored before each output row
    oldest = np.minimum.accumulate(np.array([r if r >= 0 else h for r in la.rows])[::-1])[::-1]
    following = np.append(need[1:], need[-1])
    slots = int(max(1, (need - np.minimum(oldest, need)).max(), (following - np.minimum(oldest, following)).max()))

    def length(stores: int, emitted: int) -> int:
        return max(1, emitted, stores + HAZARD - 1 if stores else 0)

    first = int(need[0]) * row
    phases = []
    for y in range(oh):
        stores = int(following[y] - need[y]) * row
        at = la.rows[y] % slots * row if la.rows[y] >= 0 else -1
        phases.append((stores, length(stores, emit), at))
    rest = (h - int(need[-1])) * row
    phases.append((rest, max(1, rest), -1))
    total = length(first, 0) + sum(n for _, n, _ in phases[:-1]) + rest
    return Plan(slots, first, length(first, 0), tuple(phases), total)


def iterations(la: Layer, lanes: int) -> int:
    found = boxes(la)
    if found is None:
        return plan(la, lanes).iterations
    return found[0].length * found[1].length * (la.shape[0] // lanes)


def cost(la: Layer, lanes: int) -> Resources:
    bits = lanes * la.quant.bits
    if boxes(la) is not None:
        return control(3) + laws.comparator(16).times(8) + laws.select(bits) + laws.register(2 * bits)
    p, cf = plan(la, lanes), la.shape[0] // lanes
    wide = max(int(n).bit_length() + 1 for ph in p.phases for n in ph)
    tables = laws.memory(len(p.phases), 3 * wide, kind="lutram")
    if len(la.columns) > 1:
        tables += laws.memory(len(la.columns), (la.shape[2] * cf).bit_length() + 1, kind="lutram")
    rows = laws.memory(p.slots * la.shape[2] * cf, bits, rom=False)
    return rows + tables + control(6) + laws.select(bits) + laws.register(2 * bits)


@lru_cache(maxsize=16384)
def layer_options(la: Layer) -> Options:
    deep = DEPTH["frame" if boxes(la) is not None else "sample"]
    return undominated(
        Option(Folding(pe=n, lanes=n), stage_cycles((iterations(la, n), deep)), cost(la, n))
        for n in divisors(la.shape[0])
    )


def layer(graph: Graph, node: Node) -> Layer:
    op, x = node.op, graph.tensors[node.inputs[0]]
    assert isinstance(op, Sample)
    return Layer(x.shape, op.rows, op.columns, x.quant)


def options(graph: Graph, node: Node, board: Board) -> Options:
    return layer_options(layer(graph, node))


def lower(graph: Graph, node: Node, f: Folding, board: Board) -> list[Process]:
    op = node.op
    assert isinstance(op, Sample)
    return [process(f"{node.id}_sample", node.id, layer(graph, node), f.pe, op.fill)]


def process(ident: str, node: str, la: Layer, lanes: int, fill: int) -> Process:
    """The unit as a dataflow process."""
    cf, q, found = la.shape[0] // lanes, la.quant, boxes(la)
    n = iterations(la, lanes)
    memories: tuple[Memory, ...] = ()
    if found is not None:
        y, x = found
        constants = {
            "ROWS": y.length, "COLUMNS": x.length, "IN_T": y.inside[0], "IN_B": y.inside[1], "IN_L": x.inside[0],
            "IN_R": x.inside[1], "OUT_T": y.outside[0], "OUT_B": y.outside[1], "OUT_L": x.outside[0],
            "OUT_R": x.outside[1],
        }  # fmt: skip
    else:
        p = plan(la, lanes)
        constants = {
            "OH": len(la.rows), "OW": len(la.columns), "SLOTS": p.slots, "ROW": la.shape[2] * cf,
            "FIRST_STORES": p.first_stores, "FIRST_LENGTH": p.first_length, "ITERATIONS": n,
        }  # fmt: skip
        phases = np.array(p.phases, np.int64)
        columns = np.array([c * cf if c >= 0 else -1 for c in la.columns], np.int64)
        memories = (table("phases", phases), table("columns", columns))
    constants |= {"CF": cf, "LANES": lanes, "FILL": fill}
    pixels = [la.shape[1] * la.shape[2], len(la.rows) * len(la.columns)]
    ports = [Port(lanes, q.bits, q.signed, k * cf) for k in pixels]
    function = "frame" if found is not None else "sample"
    return Process(
        id=ident,
        node=node,
        header="sample.h",
        function=function,
        constants=tuple(constants.items()),
        types=(("Beat", beat(q.bits, q.signed, lanes)),),
        inputs=(ports[0],),
        outputs=(ports[1],),
        iterations=n,
        depth=DEPTH[function],
        resources=cost(la, lanes),
        memories=memories,
    )


def table(name: str, data: IntArray) -> Memory:
    bits, signed = bits_for(min(-1, int(data.min())), int(data.max()))
    return Memory(name, data, bits, signed, "lutram" if len(data) > 1 else "registers")


def schedule_frame(p: Process) -> tuple[list[Beats], list[Beats]]:
    """Iterations at which each input beat is read and each output beat written."""
    c = dict(p.constants)
    row = c["COLUMNS"] * c["CF"]
    found = []
    for kind in ("IN", "OUT"):
        first = c[f"{kind}_T"] * row + c[f"{kind}_L"] * c["CF"]
        wide = (c[f"{kind}_R"] - c[f"{kind}_L"]) * c["CF"]
        found.append([Beats((loops(first, (c[f"{kind}_B"] - c[f"{kind}_T"], row), (wide, 1)),))])
    return found[0], found[1]


def schedule_sample(p: Process) -> tuple[list[Beats], list[Beats]]:
    """Stores come first in a phase; the row is emitted without a pause."""
    c = dict(p.constants)
    phases = next(m for m in p.memories if m.name == "phases").data.tolist()
    reads, writes, start = [loops(0, (c["FIRST_STORES"], 1))], [], c["FIRST_LENGTH"]
    for y, (stores, length, _) in enumerate(phases):
        reads.append(loops(start, (stores, 1)))
        if y < c["OH"]:
            writes.append(loops(start, (c["OW"] * c["CF"], 1)))
        start += length
    return [Beats(tuple(r for r in reads if r[-2] > 0))], [Beats(tuple(writes))]


SCHEDULES = {"frame": schedule_frame, "sample": schedule_sample}
