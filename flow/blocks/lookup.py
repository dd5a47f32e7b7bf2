"""A function of each element by table (``hls/lookup.h``): one memory a lane."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from flow.blocks.beats import Beats, every
from flow.blocks.control import control
from flow.blocks.pareto import Options, beat_sizes, undominated
from flow.blocks.requant import beat
from flow.board import Board, Resources
from flow.cost import laws
from flow.design import Folding, Memory, Option, Port, Process, Storage, stage_cycles
from flow.fixed import Quant
from flow.ir.graph import Graph, Node
from flow.ir.ops import Lookup, Op, Shape

DEPTH = 5  # read, address, memory, its register, write


def serves(op: Op) -> bool:
    return isinstance(op, Lookup)


@dataclass(frozen=True)
class Layer:
    """What cost and legality depend on."""

    shape: Shape
    x: Quant
    out: Quant
    own: bool  # a table for each channel

    def groups(self, lanes: int) -> int:
        return max(1, self.shape[0] // lanes) if self.own else 1

    def iterations(self, lanes: int) -> int:
        c, h, w = self.shape
        return c * h * w // lanes


def layer(graph: Graph, node: Node) -> Layer:
    op = node.op
    assert isinstance(op, Lookup)
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.id]
    return Layer(x.shape, x.quant, out.quant, len(op.table) > 1)


def cost(la: Layer, lanes: int, kind: Storage) -> Resources:
    table = laws.memory(la.groups(lanes) << la.x.bits, la.out.bits, kind=kind)
    return (table + laws.register(la.x.bits + la.out.bits)).times(lanes) + control(1 + la.own)


@lru_cache(maxsize=16384)
def layer_options(la: Layer) -> Options:
    kinds: list[Storage] = ["lutram", "bram"] if la.x.bits > 5 or la.own else ["lutram"]
    return undominated(
        Option(Folding(pe=n, lanes=n, memory=m), stage_cycles((la.iterations(n), DEPTH)), cost(la, n, m))
        for n in beat_sizes(la.shape)
        for m in kinds
    )


def options(graph: Graph, node: Node, board: Board) -> Options:
    return layer_options(layer(graph, node))


def lower(graph: Graph, node: Node, f: Folding, board: Board) -> list[Process]:
    la, op = layer(graph, node), node.op
    assert isinstance(op, Lookup)
    n, groups, entries = la.iterations(f.pe), la.groups(f.pe), 1 << la.x.bits
    source, out = Port(f.pe, la.x.bits, la.x.signed, n), Port(f.pe, la.out.bits, la.out.signed, n)
    channels = np.arange(f.pe * groups) % len(op.table)
    rows = op.table[channels].reshape(groups, f.pe, entries)
    data = np.ascontiguousarray(rows.transpose(1, 0, 2).reshape(f.pe, groups * entries))
    constants = {"ITERATIONS": n, "LANES": f.pe, "GROUPS": groups, "ENTRIES": entries, "LOW": op.low}
    return [
        Process(
            id=f"{node.id}_lookup",
            node=node.id,
            header="lookup.h",
            function="lookup",
            constants=tuple(constants.items()),
            types=(("In", beat(la.x.bits, la.x.signed, f.pe)), ("Out", beat(la.out.bits, la.out.signed, f.pe))),
            inputs=(source,),
            outputs=(out,),
            iterations=n,
            depth=DEPTH,
            resources=cost(la, f.pe, f.memory),
            memories=(Memory("table", data, la.out.bits, la.out.signed, f.memory, banked=True),),
        )
    ]


def schedule(p: Process) -> tuple[list[Beats], list[Beats]]:
    return [every(p.iterations)], [every(p.iterations)]


SCHEDULES = {"lookup": schedule}
