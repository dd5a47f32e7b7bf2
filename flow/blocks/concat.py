"""Two maps behind one another (``hls/concat.h``): beats of the one, then of the other, or whole pixels side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from flow.blocks.beats import Beats, every, loops
from flow.blocks.control import control
from flow.blocks.pareto import Options, divisors, undominated
from flow.blocks.requant import beat
from flow.board import Board, Resources
from flow.cost import laws
from flow.design import Folding, Option, Port, Process, stage_cycles
from flow.fixed import Quant
from flow.ir.graph import Graph, Node
from flow.ir.ops import Concat, Op, Shape

DEPTH = 3  # read, choose, write
WIDEST = 4096  # bits of a beat


def serves(op: Op) -> bool:
    return isinstance(op, Concat)


@dataclass(frozen=True)
class Layer:
    """What cost and legality depend on."""

    shapes: tuple[Shape, Shape]
    axis: int
    x: tuple[Quant, Quant]
    out: Quant

    @property
    def lanes(self) -> int:
        """What the number of lanes must divide."""
        return math.gcd(*(s[0] for s in self.shapes)) if self.axis == 0 else self.shapes[0][0]

    @property
    def repeats(self) -> int:
        _, h, w = self.shapes[0]
        return {0: h * w, 1: 1, 2: h}[self.axis]

    @property
    def sizes(self) -> tuple[int, int]:
        a, b = (math.prod(s) for s in self.shapes)
        return a, b

    @property
    def channels(self) -> int:
        return self.shapes[0][0] + self.shapes[1][0]

    def iterations(self, f: Folding) -> int:
        return self.repeats if f.window == "parallel" else sum(self.sizes) // f.lanes


def layer(graph: Graph, node: Node) -> Layer:
    op = node.op
    assert isinstance(op, Concat)
    a, b = (graph.tensors[i] for i in node.inputs)
    return Layer((a.shape, b.shape), op.axis, (a.quant, b.quant), graph.tensors[node.id].quant)


def cost(la: Layer, f: Folding) -> Resources:
    if f.window == "parallel":
        return control(1) + laws.register(la.channels * la.out.bits)
    return control(2) + (laws.select(la.out.bits) + laws.register(la.out.bits)).times(f.lanes)


@lru_cache(maxsize=16384)
def layer_options(la: Layer) -> Options:
    found = [Folding(pe=n, lanes=n) for n in divisors(la.lanes)]
    if la.axis == 0 and la.channels * la.out.bits <= WIDEST:
        found.append(Folding(pe=la.channels, lanes=la.shapes[0][0], window="parallel"))
    return undominated(
        Option(
            f, stage_cycles((la.iterations(f), DEPTH)), cost(la, f), second=0 if f.window == "none" else la.shapes[1][0]
        )
        for f in found
    )


def options(graph: Graph, node: Node, board: Board) -> Options:
    return layer_options(layer(graph, node))


def lower(graph: Graph, node: Node, f: Folding, board: Board) -> list[Process]:
    la = layer(graph, node)
    n, wide = la.iterations(f), f.window == "parallel"
    lanes = [s[0] if wide else f.lanes for s in la.shapes]
    a, b = (Port(k, q.bits, q.signed, s // k) for k, q, s in zip(lanes, la.x, la.sizes, strict=True))
    out = Port(f.pe, la.out.bits, la.out.signed, n)
    constants = {"LANES0": a.lanes, "LANES1": b.lanes} if wide else {
        "FIRST": a.beats // la.repeats, "SECOND": b.beats // la.repeats, "LANES": f.lanes,
    }  # fmt: skip
    ports = zip(("In0", "In1", "Out"), (a, b, out), strict=True)
    return [
        Process(
            id=f"{node.id}_concat",
            node=node.id,
            header="concat.h",
            function="concat_wide" if wide else "concat",
            constants=(("ITERATIONS", n), *constants.items()),
            types=tuple((name, beat(p.bits, p.signed, p.lanes)) for name, p in ports),
            inputs=(a, b),
            outputs=(out,),
            iterations=n,
            depth=DEPTH,
            resources=cost(la, f),
        )
    ]


def schedule(p: Process) -> tuple[list[Beats], list[Beats]]:
    """The inputs take turns."""
    first, second = p.constant("FIRST"), p.constant("SECOND")
    repeats, period = p.iterations // (first + second), first + second
    turns = [Beats((loops(start, (repeats, period), (n, 1)),)) for start, n in ((0, first), (first, second))]
    return turns, [every(p.iterations)]


def schedule_wide(p: Process) -> tuple[list[Beats], list[Beats]]:
    return [every(p.iterations), every(p.iterations)], [every(p.iterations)]


SCHEDULES = {"concat": schedule, "concat_wide": schedule_wide}
