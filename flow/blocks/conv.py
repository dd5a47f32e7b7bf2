"""Convolution and dense layers: window unit -> matrix-vector unit (``hls/matvec.h``).

A stage computes PE output channels x SIMD inputs a cycle; one output vector takes NF * SF cycles with NF = OC / PE and
SF = IC * KH * KW / SIMD. Grouped convolutions run their groups one after another on the same unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from flow.blocks import mac, window
from flow.blocks.control import control
from flow.blocks.pareto import divisors, undominated
from flow.blocks.requant import Rounding, beat, ctype, rounder
from flow.board import Board, Resources
from flow.cost import laws
from flow.design import Folding, Memory, Multiplier, Option, Port, Process, Storage, stage_cycles
from flow.fixed import IntArray, Quant, bits_for
from flow.ir.graph import Graph, Node
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


def layer(graph: Graph, node: Node) -> Layer:
    op = node.op
    assert isinstance(op, Conv | Dense)
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.id]
    weights, rounding = mac.weight_range(op.weight), rounder(op.requant, graph.accumulator(node)).summary
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


def depth(la: Layer, f: Folding) -> int:
    """Pipeline depth: read, weights, products, accumulate, round, write."""
    chain = 1
    if f.mult == "packed":
        pack = mac.packing(la.weights, la.x_range, 27)
        chain = pack.chain if pack else 1
    return 2 + mac.latency(f.simd, f.mult, chain) + 1 + la.rounding.latency + 1


@lru_cache(maxsize=65536)
def unit_cost(la: Layer, pe: int, simd: int, beats_kept: int, beat_bits: int, mult: Multiplier, memory: Storage, ultra: bool) -> Resources:  # fmt: skip
    """Matrix-vector unit: products, weights, bias and rounding tables, the kept vector, accumulators, control."""
    nf, sf = la.outputs // pe, la.inputs * la.kernel // simd
    words, wb = la.groups * nf * sf, max(bits_for(*la.weights)[0], 1)
    r = la.rounding
    total = mac.dot_cost(pe, simd, la.weights, la.x_range, r.acc_bits, mult, ultra)
    if words > 1:
        total += laws.memory(words, pe * simd * wb, kind=memory) + laws.register(pe * simd * wb)
    rows = la.groups * nf
    if rows > 1:
        total += laws.memory(rows, pe * r.table_bits, kind="lutram")
    if nf > 1:
        kept = laws.memory(beats_kept, beat_bits, rom=False) if beats_kept > 1 else laws.register(beat_bits)
        total += kept + laws.select(beat_bits)
    if beat_bits > simd * la.x.bits:  # SIMD slices out of a wide beat
        total += laws.mux(beat_bits // (simd * la.x.bits), simd * la.x.bits)
    per_lane = r.cost + laws.adder(r.acc_bits) + laws.select(r.acc_bits) + laws.register(r.acc_bits)
    return total + per_lane.times(pe) + control(6) + laws.register(beat_bits)


@lru_cache(maxsize=16384)
def layer_options(la: Layer, ultra: bool, uram: bool) -> tuple[Option, ...]:
    """Every undominated legal folding."""
    modes = ["none"] if la.geometry is None else ["serial"]
    if la.geometry is not None and window.parallel_legal(la.geometry):
        modes.append("parallel")
    found: list[Option] = []
    for mode in modes:
        for lanes in divisors(la.lanes_of):
            beat_size = lanes * (la.kernel if mode == "parallel" else 1)
            simds = [d for d in divisors(beat_size) if d >= lanes] if mode == "parallel" else [lanes]
            for simd in simds:
                for pe in divisors(la.outputs):
                    found += unit_options(la, mode, lanes, simd, pe, beat_size, ultra, uram)
    return undominated(found)


def unit_options(
    la: Layer, mode: str, lanes: int, simd: int, pe: int, beat_size: int, ultra: bool, uram: bool
) -> list[Option]:
    """The multiplier and memory choices of one folding."""
    mults: list[Multiplier] = ["lut", "dsp"]
    if pe % 2 == 0 and mac.packing(la.weights, la.x_range, mac.wide_port(ultra)):
        mults.append("packed")
    words = la.groups * (la.outputs // pe) * (la.inputs * la.kernel // simd)
    memories: list[Storage] = ["lutram"] if words <= 16 else ["lutram", "bram", "uram"] if uram else ["lutram", "bram"]
    out = []
    for mult in mults:
        f = Folding(pe, simd, lanes, mode, mult, "lutram")
        k = folds(la, f)
        cycles, extra = stage_cycles((k.iterations, depth(la, f))), Resources()
        if la.geometry is not None:
            cycles = max(cycles, stage_cycles((window.iterations(la.geometry, lanes, mode), window.DEPTH[mode])))
            extra = window.cost(la.geometry, lanes, mode, la.x.bits)
        for memory in memories:
            args = (la, pe, simd, k.sf // k.sub, beat_size * la.x.bits, mult, memory, ultra)
            folding = Folding(pe, simd, lanes, mode, mult, memory)
            out.append(Option(folding, cycles, unit_cost(*args) + extra))
    return out


def options(graph: Graph, node: Node, board: Board) -> tuple[Option, ...]:
    return layer_options(layer(graph, node), board.ultrascale, board.available.uram > 0)


def arranged(op: Conv | Dense, mode: str, lanes: int) -> IntArray:
    """Weights as (groups, outputs, columns), columns in the order in which the input stream brings them."""
    if isinstance(op, Dense):
        return op.weight.transpose(0, 2, 3, 1).reshape(1, op.weight.shape[0], -1)
    oc, icg, kh, kw = op.weight.shape
    w = op.weight.reshape(op.groups, oc // op.groups, icg // lanes, lanes, kh, kw)
    order = (0, 1, 2, 4, 5, 3) if mode == "parallel" else (0, 1, 4, 5, 2, 3)
    return w.transpose(order).reshape(op.groups, oc // op.groups, -1)


def lower(graph: Graph, node: Node, f: Folding, board: Board) -> list[Process]:
    """Window unit (when the layer needs one) and matrix-vector unit."""
    la, op = layer(graph, node), node.op
    assert isinstance(op, Conv | Dense)
    k, r = folds(la, f), rounder(op.requant, graph.accumulator(node))
    out = graph.tensors[node.id].quant
    rows = la.groups * k.nf
    data = arranged(op, f.window, f.lanes)
    weights = data.reshape(rows, f.pe, k.sf, f.simd).transpose(0, 2, 1, 3).reshape(rows * k.sf, f.pe, f.simd)
    w_bits, w_signed = bits_for(*la.weights)
    b_bits, b_signed = bits_for(int(op.bias.min()), int(op.bias.max()))
    impl = f.memory if rows * k.sf > 1 else "registers"
    mult, shift = r.tables(f.pe)
    ultra = board.ultrascale
    inputs = Port(k.beat, la.x.bits, la.x.signed, la.vectors * la.groups * k.sf // k.sub)
    outputs = Port(f.pe, out.bits, out.signed, la.vectors * rows)
    constants = {
        "VECTORS": la.vectors * la.groups, "GROUPS": la.groups, "NF": k.nf, "SF": k.sf, "SUB": k.sub, "PE": f.pe,
        "SIMD": f.simd, "MULTS": len(mult.data), "SHIFTS": len(shift.data),
    }  # fmt: skip
    unit = Process(
        id=f"{node.id}_matvec",
        node=node.id,
        header="matvec.h",
        function="matvec",
        constants=(*constants.items(), *mac.constants(la.weights, la.x_range, f.mult, ultra), *r.constants),
        types=(
            ("In", beat(inputs.bits, inputs.signed, inputs.lanes)),
            ("Out", beat(outputs.bits, outputs.signed, outputs.lanes)),
            ("T", ctype(la.x.bits, la.x.signed)),
            *r.types(out),
            *mac.types(la.weights, la.x_range, f.mult, ultra),
        ),
        inputs=(inputs,),
        outputs=(outputs,),
        iterations=k.iterations,
        depth=depth(la, f),
        resources=unit_cost(la, f.pe, f.simd, k.sf // k.sub, inputs.width, f.mult, f.memory, ultra),
        memories=(
            Memory("weights", weights, w_bits, w_signed, impl),
            Memory("bias", op.bias.reshape(rows, f.pe), b_bits, b_signed, "lutram" if rows > 1 else "registers"),
            mult,
            shift,
        ),
    )
    if la.geometry is None:
        return [unit]
    pad = op.pad_value if isinstance(op, Conv) else 0
    return [window.process(f"{node.id}_window", node.id, la.geometry, f.lanes, f.window, la.x, pad), unit]


def schedule_matvec(p: Process) -> tuple[list[IntArray], list[IntArray]]:
    """Iterations at which each input beat is read and each output beat written."""
    c = dict(p.constants)
    vector = np.arange(c["VECTORS"])[:, None] * (c["NF"] * c["SF"])
    reads = vector + np.arange(c["SF"] // c["SUB"])[None, :] * c["SUB"]
    writes = vector + (np.arange(c["NF"])[None, :] + 1) * c["SF"] - 1
    return [reads.reshape(-1)], [writes.reshape(-1)]


SCHEDULES = {
    "matvec": schedule_matvec,
    "window_serial": window.schedule_serial,
    "window_parallel": window.schedule_parallel,
}
