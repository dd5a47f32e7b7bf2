"""The matrix-vector unit: what a layer asks of it, and what it costs (``hls/matvec.h``)."""

from __future__ import annotations

from dataclasses import dataclass

from flow.blocks import mac, window
from flow.blocks.control import control
from flow.blocks.requant import Rounding, rounder
from flow.board import Resources
from flow.cost import laws
from flow.design import Folding, Multiplier, Storage
from flow.fixed import Quant, bits_for
from flow.ir.graph import Graph, Node, once
from flow.ir.ops import Conv, Dense


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
        return Layer(None, c * size, 1, op.weight.shape[0], 1, 1, c * size, weights, x.quant, rounding)
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
