"""Element-wise sum or difference of two maps (``hls/add.h``)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from flow.blocks.beats import Beats, every
from flow.blocks.control import control
from flow.blocks.pareto import Options, beat_sizes, undominated
from flow.blocks.piece import Piece, piece
from flow.blocks.requant import Rounder, beat, rounder
from flow.board import Board, Resources
from flow.cost import laws
from flow.design import Folding, Option, Port, Process, stage_cycles
from flow.fixed import Quant, Requant
from flow.ir.graph import Graph, Node, once
from flow.ir.ops import Add, Op, Shape


def serves(op: Op) -> bool:
    return isinstance(op, Add)


@dataclass(frozen=True)
class Layer:
    """What cost and legality depend on."""

    shape: Shape
    x: tuple[Quant, Quant]
    requant: Requant
    acc: tuple[int, int]

    @property
    def rounder(self) -> Rounder:
        return rounder(self.requant, self.acc)

    def iterations(self, lanes: int) -> int:
        c, h, w = self.shape
        return c * h * w // lanes


@once
def layer(graph: Graph, node: Node) -> Layer:
    a, b = (graph.tensors[i].quant for i in node.inputs)
    return Layer(graph.tensors[node.id].shape, (a, b), node.op.requant, graph.accumulator(node))


def depth(la: Layer) -> int:
    return 1 + 1 + la.rounder.latency + 1


def unit_cost(la: Layer, lanes: int) -> Resources:
    """Adder and rounding of each lane, input registers, control."""
    r = la.rounder
    lane = laws.adder(r.acc_bits) + laws.register(r.acc_bits + la.x[0].bits + la.x[1].bits) + r.cost
    return lane.times(lanes) + control(1)


@lru_cache(maxsize=16384)
def layer_options(la: Layer) -> Options:
    return undominated(
        Option(Folding(pe=n, lanes=n), stage_cycles((la.iterations(n), depth(la))), unit_cost(la, n))
        for n in beat_sizes(la.shape)
    )


def options(graph: Graph, node: Node, board: Board) -> Options:
    return layer_options(layer(graph, node))


@lru_cache(maxsize=65536)
def unit_piece(la: Layer, bits: int, signed: bool, lanes: int) -> Piece:
    """The stage as time and area see it; ``bits``, ``signed``: of its output."""
    n = la.iterations(lanes)
    a, b = (Port(lanes, q.bits, q.signed, n) for q in la.x)
    out = Port(lanes, bits, signed, n)
    return piece(n, depth(la), unit_cost(la, lanes), (a, b), (out,), ([every(n)] * 2, [every(n)]))


def outline(graph: Graph, node: Node, f: Folding, board: Board) -> tuple[Piece, ...]:
    out = graph.tensors[node.id].quant
    return (unit_piece(layer(graph, node), out.bits, out.signed, f.pe),)


def lower(graph: Graph, node: Node, f: Folding, board: Board) -> list[Process]:
    la, op = layer(graph, node), node.op
    assert isinstance(op, Add)
    n, out = la.iterations(f.pe), graph.tensors[node.id].quant
    ports = [Port(f.pe, q.bits, q.signed, n) for q in (*la.x, out)]
    names = ("In0", "In1", "Out")
    return [
        Process(
            id=f"{node.id}_add",
            node=node.id,
            header="add.h",
            function="add",
            constants=(
                ("ITERATIONS", n),
                ("LANES", f.pe),
                ("LEFT0", op.left_shift[0]),
                ("LEFT1", op.left_shift[1]),
                ("OFFSET", op.offset),
                ("SIGN", op.sign),
                *la.rounder.constants,
            ),
            types=(
                *((name, beat(p.bits, p.signed, p.lanes)) for name, p in zip(names, ports, strict=True)),
                *la.rounder.types(out),
            ),
            inputs=(ports[0], ports[1]),
            outputs=(ports[2],),
            iterations=n,
            depth=depth(la),
            resources=unit_cost(la, f.pe),
        )
    ]


def schedule(p: Process) -> tuple[list[Beats], list[Beats]]:
    each = every(p.iterations)
    return [each, each], [each]


SCHEDULES = {"add": schedule}
