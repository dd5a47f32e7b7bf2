"""Element-wise product of two maps (``hls/mul.h``)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from flow.blocks.beats import Beats, every
from flow.blocks.control import control
from flow.blocks.mac import MULT, latency
from flow.blocks.pareto import Options, beat_sizes, undominated
from flow.blocks.requant import Rounder, beat, ctype, rounder, signed_bits
from flow.board import Board, Resources
from flow.cost import laws
from flow.design import Folding, Multiplier, Option, Port, Process, stage_cycles
from flow.fixed import Quant, Requant
from flow.ir.graph import Graph, Node
from flow.ir.ops import Mul, Op, Range, Shape

MULTIPLIERS: tuple[Multiplier, ...] = ("lut", "dsp")


def serves(op: Op) -> bool:
    return isinstance(op, Mul)


@dataclass(frozen=True)
class Layer:
    """What cost and legality depend on."""

    shape: Shape
    x: tuple[Quant, Quant]
    zero: tuple[int, int]
    requant: Requant
    acc: Range

    @property
    def rounder(self) -> Rounder:
        return rounder(self.requant, self.acc)

    @property
    def widths(self) -> tuple[int, int]:
        """Signed bits of the two factors, zero points subtracted."""
        a, b = (signed_bits(q.lo - z, q.hi - z) for q, z in zip(self.x, self.zero, strict=True))
        return a, b

    def iterations(self, lanes: int) -> int:
        c, h, w = self.shape
        return c * h * w // lanes


def layer(graph: Graph, node: Node) -> Layer:
    op = node.op
    assert isinstance(op, Mul)
    a, b = (graph.tensors[i].quant for i in node.inputs)
    return Layer(graph.tensors[node.id].shape, (a, b), op.zero, op.requant, graph.accumulator(node))


def depth(la: Layer, mult: Multiplier) -> int:
    return 2 + latency(1, mult) + la.rounder.latency + 1


def unit_cost(la: Layer, lanes: int, mult: Multiplier) -> Resources:
    """Multiplier and rounding of each lane, zero points, registers, control."""
    r, (a, b) = la.rounder, la.widths
    lane = laws.multiplier(a, b, "lut" if mult == "lut" else "dsp") + r.cost + laws.register(r.acc_bits + a + b)
    for bits, zero in zip(la.widths, la.zero, strict=True):
        lane += laws.adder(bits) if zero else Resources()
    return lane.times(lanes) + control(1)


@lru_cache(maxsize=16384)
def layer_options(la: Layer) -> Options:
    return undominated(
        Option(Folding(pe=n, lanes=n, mult=m), stage_cycles((la.iterations(n), depth(la, m))), unit_cost(la, n, m))
        for n in beat_sizes(la.shape)
        for m in MULTIPLIERS
    )


def options(graph: Graph, node: Node, board: Board) -> Options:
    return layer_options(layer(graph, node))


def lower(graph: Graph, node: Node, f: Folding, board: Board) -> list[Process]:
    la = layer(graph, node)
    n, out = la.iterations(f.pe), graph.tensors[node.id].quant
    ports = [Port(f.pe, q.bits, q.signed, n) for q in (*la.x, out)]
    a, b = la.widths
    names = zip(("In0", "In1", "Out"), ports, strict=True)
    constants = {"ITERATIONS": n, "LANES": f.pe, "ZERO0": la.zero[0], "ZERO1": la.zero[1], "MULT": MULT[f.mult]}
    return [
        Process(
            id=f"{node.id}_mul",
            node=node.id,
            header="mul.h",
            function="mul",
            constants=(*constants.items(), *la.rounder.constants),
            types=(
                *((name, beat(p.bits, p.signed, p.lanes)) for name, p in names),
                ("X0", ctype(a if a + b <= 32 else 33, True)),  # native products are as wide as their operands
                ("X1", ctype(b, True)),
                ("Product", ctype(a + b, True)),
                *la.rounder.types(out),
            ),
            inputs=(ports[0], ports[1]),
            outputs=(ports[2],),
            iterations=n,
            depth=depth(la, f.mult),
            resources=unit_cost(la, f.pe, f.mult),
        )
    ]


def schedule(p: Process) -> tuple[list[Beats], list[Beats]]:
    each = every(p.iterations)
    return [each, each], [each]


SCHEDULES = {"mul": schedule}
