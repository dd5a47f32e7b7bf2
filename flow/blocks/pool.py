"""Max and average pooling over windows, and over whole maps (``hls/pool.h``)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from flow.blocks import foldings, window
from flow.blocks.beats import Beats, every
from flow.blocks.control import control
from flow.blocks.pareto import Options
from flow.blocks.piece import Piece, piece
from flow.blocks.requant import Rounder, beat, rounder
from flow.board import Board, Resources
from flow.cost import laws
from flow.design import Folding, Port, Process
from flow.fixed import Quant, Requant
from flow.ir.graph import Graph, Node, once
from flow.ir.ops import Op, Pool


def serves(op: Op) -> bool:
    return isinstance(op, Pool) and not op.exclude


@dataclass(frozen=True)
class Layer:
    """What cost and legality depend on."""

    geometry: window.Geometry
    maximum: bool
    offset: int
    x: Quant
    requant: Requant
    acc: tuple[int, int]
    out: Quant

    @property
    def kernel(self) -> int:
        return self.geometry.kernel[0] * self.geometry.kernel[1]

    @property
    def whole(self) -> bool:
        """One window, the whole map, summed as it arrives."""
        g = self.geometry
        return not self.maximum and g.out == (1, 1) and g.kernel == (g.height, g.width) and not any(g.pads)

    @property
    def pixels(self) -> int:
        oh, ow = self.geometry.out
        return oh * ow

    @property
    def rounder(self) -> Rounder:
        return rounder(self.requant, self.acc)


@once
def layer(graph: Graph, node: Node) -> Layer:
    op = node.op
    assert isinstance(op, Pool)
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.id]
    g = window.Geometry(*x.shape, op.kernel, op.stride, op.pads, op.dilation, 0)
    acc = graph.accumulator(node)
    return Layer(g, op.kind == "MaxPool", op.offset, x.quant, op.requant, acc, out.quant)


def iterations(la: Layer, f: Folding) -> int:
    g = la.geometry
    if la.whole:
        return g.height * g.width * g.channels // f.pe
    return la.pixels * g.channels // f.pe * (la.kernel // f.simd)


def depth(la: Layer, f: Folding) -> int:
    return 2 + max(1, f.simd - 1).bit_length() + la.rounder.latency + 1


@lru_cache(maxsize=65536)
def unit_cost(la: Layer, pe: int, unroll: int, beat_bits: int) -> Resources:
    """Comparators or adders, running values, rounding, control."""
    bits = la.rounder.acc_bits
    one = laws.comparator(bits) + laws.select(bits) if la.maximum else laws.adder(bits)
    lane = (one + laws.register(bits)).times(unroll) + laws.register(bits) + la.rounder.cost
    total = lane.times(pe) + control(3) + laws.register(beat_bits)
    if la.whole:
        total += laws.register(bits * pe * (la.geometry.channels // pe - 1))
    elif beat_bits > pe * unroll * la.x.bits:
        total += laws.mux(beat_bits // (pe * unroll * la.x.bits), pe * unroll * la.x.bits)
    return total


@lru_cache(maxsize=16384)
def layer_options(la: Layer, uram: bool = False) -> Options:
    """Every undominated legal folding."""
    channels = la.geometry.channels
    counts = 1, la.kernel, channels, 1, la.pixels, channels
    formats = foldings.formats(la.x, (0, 1), la.rounder.summary, True)  # no weights
    found = foldings.enumerated("pool", foldings.packed_unit(la.geometry, counts, formats, la.whole, la.maximum))
    return window.everywhere(found, la.geometry if uram else None, la.x.bits)


def options(graph: Graph, node: Node, board: Board) -> Options:
    return layer_options(layer(graph, node), board.available.uram > 0)


@lru_cache(maxsize=65536)
def pieces_of(la: Layer, f: Folding) -> tuple[Piece, ...]:
    """What ``lower`` makes, as time and area see it."""
    g, n = la.geometry, iterations(la, f)
    folds = la.kernel // f.simd
    sub = folds if f.window == "parallel" else 1
    lanes = f.pe if la.whole else f.pe * f.simd * sub
    inputs = Port(lanes, la.x.bits, la.x.signed, n if la.whole else n // sub)
    outputs = Port(f.pe, la.out.bits, la.out.signed, la.pixels * g.channels // f.pe)
    moves = global_beats(n, outputs.beats) if la.whole else unit_beats(n, folds, sub)
    cost = unit_cost(la, f.pe, f.simd, inputs.width)
    unit = piece(n, depth(la, f), cost, (inputs,), (outputs,), moves)
    return (unit,) if f.window == "none" else (window.unit(g, f, la.x.bits, la.x.signed), unit)


def outline(graph: Graph, node: Node, f: Folding, board: Board) -> tuple[Piece, ...]:
    return pieces_of(layer(graph, node), f)


def lower(graph: Graph, node: Node, f: Folding, board: Board) -> list[Process]:
    """Window unit (unless the whole map is one window) and reduction unit."""
    la, op = layer(graph, node), node.op
    assert isinstance(op, Pool)
    r, g = la.rounder, la.geometry
    seen = pieces_of(la, f)[-1]
    (inputs,), (outputs,) = seen.inputs, seen.outputs
    constants: dict[str, int] = {"OFFSET": la.offset}
    if la.whole:
        constants |= {"PIXELS": g.height * g.width, "CF": outputs.beats, "LANES": f.pe}
    else:
        sub = la.kernel // f.simd if f.window == "parallel" else 1
        constants |= {
            "ITERATIONS": seen.iterations, "KERNEL": la.kernel, "UNROLL": f.simd, "SUB": sub, "PE": f.pe,
            "MAXIMUM": int(la.maximum),
        }  # fmt: skip
    unit = Process(
        id=f"{node.id}_pool",
        node=node.id,
        header="pool.h",
        function="pool_global" if la.whole else "pool",
        constants=(*constants.items(), *r.constants),
        types=(
            ("In", beat(inputs.bits, inputs.signed, inputs.lanes)),
            ("Out", beat(outputs.bits, outputs.signed, outputs.lanes)),
            *r.types(la.out),
        ),
        inputs=(inputs,),
        outputs=(outputs,),
        iterations=seen.iterations,
        depth=seen.depth,
        resources=seen.resources,
    )
    if f.window == "none":
        return [unit]
    return [window.process(f"{node.id}_window", node.id, g, f, la.x, op.pad_value), unit]


def schedule(p: Process) -> tuple[list[Beats], list[Beats]]:
    """Iterations at which each input beat is read and each output beat written."""
    c = dict(p.constants)
    return unit_beats(p.iterations, c["KERNEL"] // c["UNROLL"], c["SUB"])


def unit_beats(iterations: int, folds: int, sub: int) -> tuple[list[Beats], list[Beats]]:
    return [every(iterations // sub, sub)], [every(iterations // folds, folds, folds - 1)]


def schedule_global(p: Process) -> tuple[list[Beats], list[Beats]]:
    """Reads every iteration, writes during the last pixel."""
    return global_beats(p.iterations, p.constant("CF"))


def global_beats(iterations: int, cf: int) -> tuple[list[Beats], list[Beats]]:
    return [every(iterations)], [every(cf, 1, iterations - cf)]


SCHEDULES = {"pool": schedule, "pool_global": schedule_global}
