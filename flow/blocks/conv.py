"""Convolution and dense layers: window unit -> matrix-vector unit (``hls/matvec.h``).

A stage computes PE output channels x SIMD inputs a cycle; one output vector takes NF * SF cycles with NF = OC / PE and
SF = IC * KH * KW / SIMD. Grouped convolutions run their groups one after another on the same unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from flow.blocks import foldings, mac, window
from flow.blocks.beats import Beats, every, loops
from flow.blocks.control import control
from flow.blocks.pareto import Options
from flow.blocks.piece import Piece, piece
from flow.blocks.requant import Rounder, Rounding, beat, ctype, rounder
from flow.board import Board, Resources
from flow.cost import laws
from flow.design import Contents, Folding, Memory, Multiplier, Port, Process, Storage
from flow.fixed import IntArray, Quant, bits_for
from flow.ir.graph import Graph, Node, once
from flow.ir.ops import Conv, Dense, Op


def serves(op: Op) -> bool:
    return isinstance(op, Dense) or (isinstance(op, Conv) and not op.depthwise)


@dataclass(frozen=True)
class Layer:
    """What cost and legality depend on; equal layers share their options."""

    geometry: window.Geometry | None  # None: the input stream is the vector (dense, pointwise)
    inputs: int  # channels per group (for dense: all inputs)
    kernel: int  # kernel positions
    outputs: int  # per group
    groups: int
    vectors: int  # output pixels
    lanes_of: int  # what the number of lanes must divide
    weights: tuple[int, int]
    x: Quant
    rounding: Rounding

    @property
    def x_range(self) -> tuple[int, int]:
        return self.x.lo, self.x.hi


@once
def layer(graph: Graph, node: Node) -> Layer:
    op = node.op
    assert isinstance(op, Conv | Dense)
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.id]
    weights, rounding = mac.weights_of(graph, node).range, rounder(op.requant, graph.accumulator(node)).summary
    if isinstance(op, Dense):
        c = x.shape[0]
        size = x.shape[1] * x.shape[2]
        return Layer(None, c * size, 1, op.weight.shape[0], 1, 1, c, weights, x.quant, rounding)
    oc, icg, kh, kw = op.weight.shape
    g = window.Geometry(
        x.shape[0], x.shape[1], x.shape[2], (kh, kw), op.stride, op.pads, op.dilation, op.groups
    )  # fmt: skip
    pixels = out.shape[1] * out.shape[2]
    shape = None if g.trivial else g
    return Layer(shape, icg, kh * kw, oc // op.groups, op.groups, pixels, icg, weights, x.quant, rounding)


@dataclass(frozen=True)
class Folds:
    """Loop counts of a folding."""

    nf: int
    sf: int
    sub: int
    beat: int  # elements of an input beat
    iterations: int


def folds(la: Layer, f: Folding) -> Folds:
    beat_size = f.lanes * (la.kernel if f.window == "parallel" else 1)
    sf, nf = la.inputs * la.kernel // f.simd, la.outputs // f.pe
    return Folds(nf, sf, beat_size // f.simd, beat_size, la.vectors * la.groups * nf * sf)


def depth(la: Layer, pe: int, simd: int, mult: Multiplier, ultra: bool) -> int:
    """Pipeline depth: read, weights, products, accumulate, round, write."""
    pack = mac.packing(la.weights, la.x_range, mac.wide_port(ultra), pe) if mult == "packed" else None
    return 2 + mac.latency(simd, mult, pack.chain if pack else 1) + 1 + la.rounding.latency + 1


def lane_cost(la: Layer, pe: int) -> Resources:
    """What ``pe`` output lanes need whatever feeds them: bias and rounding tables, accumulators, rounding, control."""
    r, rows = la.rounding, la.groups * (la.outputs // pe)
    lane = r.cost + laws.adder(r.acc_bits) + laws.select(r.acc_bits) + laws.register(r.acc_bits)
    tables = laws.memory(rows, pe * r.table_bits, kind="lutram") if rows > 1 else Resources()
    return lane.times(pe) + tables + control(6)


def weight_cost(la: Layer, products: int, memory: Storage) -> Resources:
    """Weight memory, read whole every cycle (``products`` a cycle), and the register behind it; constants when there is
    one word only."""
    words = la.groups * la.outputs * la.inputs * la.kernel // products
    width = products * bits_for(*la.weights)[0]
    return laws.memory(words, width, kind=memory) + laws.register(width) if words > 1 else Resources()


def feed_cost(la: Layer, pe: int, simd: int, beat_size: int) -> Resources:
    """Input beat register, the vector kept for later output folds, slices of SIMD inputs out of a wider beat."""
    bits = beat_size * la.x.bits
    total = laws.register(bits)
    if la.outputs > pe:
        beats = la.inputs * la.kernel // beat_size
        total += laws.memory(beats, bits, rom=False) if beats > 1 else laws.register(bits)
        total += laws.select(bits)
    if beat_size > simd:
        total += laws.mux(beat_size // simd, simd * la.x.bits)
    return total


def unit_cost(la: Layer, f: Folding, beat_size: int, ultra: bool) -> Resources:
    """The matrix-vector unit."""
    dots = mac.dot_cost(f.pe, f.simd, la.weights, la.x_range, la.rounding.acc_bits, f.mult, ultra)
    parts = lane_cost(la, f.pe) + weight_cost(la, f.pe * f.simd, f.memory)
    return dots + parts + feed_cost(la, f.pe, f.simd, beat_size)


@lru_cache(maxsize=16384)
def layer_options(la: Layer, ultra: bool) -> Options:
    """Every undominated legal folding."""
    counts = la.inputs, la.kernel, la.outputs, la.groups, la.vectors, la.lanes_of
    return foldings.enumerated("dense", foldings.packed_unit(la.geometry, counts, la.x, la.weights, la.rounding, ultra))


def options(graph: Graph, node: Node, board: Board) -> Options:
    return layer_options(layer(graph, node), board.ultrascale)


def arranged(op: Conv | Dense, mode: str, lanes: int) -> IntArray:
    """Weights as (groups, outputs, columns), columns in the order in which the input stream brings them."""
    if isinstance(op, Dense):
        return op.weight.transpose(0, 2, 3, 1).reshape(1, op.weight.shape[0], -1)
    oc, icg, kh, kw = op.weight.shape
    w = op.weight.reshape(op.groups, oc // op.groups, icg // lanes, lanes, kh, kw)
    order = (0, 1, 2, 4, 5, 3) if mode == "parallel" else (0, 1, 4, 5, 2, 3)
    return w.transpose(order).reshape(op.groups, oc // op.groups, -1)


@lru_cache(maxsize=65536)
def unit_piece(la: Layer, bits: int, signed: bool, f: Folding, ultra: bool) -> Piece:
    """The matrix-vector unit as time and area see it; ``bits``, ``signed``: of its output."""
    k = folds(la, f)
    inputs = Port(k.beat, la.x.bits, la.x.signed, la.vectors * la.groups * k.sf // k.sub)
    outputs = Port(f.pe, bits, signed, la.vectors * la.groups * k.nf)
    cost = unit_cost(la, f, k.beat, ultra)
    moves = matvec_beats(la.vectors * la.groups, k.nf, k.sf, k.sub)
    return piece(k.iterations, depth(la, f.pe, f.simd, f.mult, ultra), cost, (inputs,), (outputs,), moves)


def outline(graph: Graph, node: Node, f: Folding, board: Board) -> tuple[Piece, ...]:
    """What ``lower`` makes, as time and area see it."""
    la, out = layer(graph, node), graph.tensors[node.id].quant
    unit = unit_piece(la, out.bits, out.signed, f, board.ultrascale)
    if la.geometry is None:
        return (unit,)
    return window.unit(la.geometry, f.lanes, f.window, la.x.bits, la.x.signed), unit


def lower(graph: Graph, node: Node, f: Folding, board: Board) -> list[Process]:
    """Window unit (when the layer needs one) and matrix-vector unit."""
    la, op = layer(graph, node), node.op
    assert isinstance(op, Conv | Dense)
    k, r = folds(la, f), rounder(op.requant, graph.accumulator(node))
    out = graph.tensors[node.id].quant
    raised, (mults, shifts) = mac.weights_of(graph, node).raised, r.rows(f.pe)
    ultra = board.ultrascale
    seen = unit_piece(la, out.bits, out.signed, f, ultra)
    (inputs,), (outputs,) = seen.inputs, seen.outputs
    constants = {
        "VECTORS": la.vectors * la.groups, "GROUPS": la.groups, "NF": k.nf, "SF": k.sf, "SUB": k.sub, "PE": f.pe,
        "SIMD": f.simd, "RAISE": raised, "MULTS": mults, "SHIFTS": shifts,
    }  # fmt: skip
    unit = Process(
        id=f"{node.id}_matvec",
        node=node.id,
        header="matvec.h",
        function="matvec",
        constants=(*constants.items(), *mac.constants(la.weights, la.x_range, f.mult, ultra, f.pe), *r.constants),
        types=(
            ("In", beat(inputs.bits, inputs.signed, inputs.lanes)),
            ("Out", beat(outputs.bits, outputs.signed, outputs.lanes)),
            ("T", ctype(la.x.bits, la.x.signed)),
            *r.types(out),
            *mac.types(la.weights, la.x_range, f.mult, ultra, f.pe),
        ),
        inputs=(inputs,),
        outputs=(outputs,),
        iterations=seen.iterations,
        depth=seen.depth,
        resources=seen.resources,
        memories=Contents(lambda: contents(la, op, f, raised, r)),
    )
    if la.geometry is None:
        return [unit]
    pad = op.pad_value if isinstance(op, Conv) else 0
    return [window.process(f"{node.id}_window", node.id, la.geometry, f.lanes, f.window, la.x, pad), unit]


def contents(la: Layer, op: Conv | Dense, f: Folding, raised: int, r: Rounder) -> tuple[Memory, ...]:
    """Weights, biases and rounding constants of the matrix-vector unit."""
    k = folds(la, f)
    rows = la.groups * k.nf
    data = arranged(op, f.window, f.lanes) >> raised
    weights = data.reshape(rows, f.pe, k.sf, f.simd).transpose(0, 2, 1, 3).reshape(rows * k.sf, f.pe, f.simd)
    b_bits, b_signed = bits_for(int(op.bias.min()), int(op.bias.max()))
    return (
        Memory("weights", weights, *bits_for(*la.weights), f.memory if rows * k.sf > 1 else "registers"),
        Memory("bias", op.bias.reshape(rows, f.pe), b_bits, b_signed, "lutram" if rows > 1 else "registers"),
        *r.tables(f.pe),
    )


def schedule_matvec(p: Process) -> tuple[list[Beats], list[Beats]]:
    """Iterations at which each input beat is read and each output beat written."""
    c = dict(p.constants)
    return matvec_beats(c["VECTORS"], c["NF"], c["SF"], c["SUB"])


def matvec_beats(vectors: int, nf: int, sf: int, sub: int) -> tuple[list[Beats], list[Beats]]:
    return [Beats((loops(0, (vectors, nf * sf), (sf // sub, sub)),))], [every(vectors * nf, sf, sf - 1)]


SCHEDULES = {"matvec": schedule_matvec}
