"""Depthwise convolution: window unit -> one product per channel and kernel position (``hls/depthwise.h``).

PE channels and UNROLL kernel positions a cycle: an output pixel takes (C / PE) * (KH * KW / UNROLL) cycles. PE above C:
several pixels a cycle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from flow.blocks import foldings, mac, window
from flow.blocks.beats import Beats, every
from flow.blocks.control import control
from flow.blocks.pareto import Options
from flow.blocks.piece import Piece, piece
from flow.blocks.requant import Rounder, Rounding, beat, rounder
from flow.board import Board, Resources
from flow.cost import laws
from flow.design import Contents, Folding, Memory, Multiplier, Port, Process, Storage
from flow.fixed import Quant, bits_for
from flow.ir.graph import Graph, Node, once
from flow.ir.ops import Conv, Op


def serves(op: Op) -> bool:
    return isinstance(op, Conv) and op.depthwise


@dataclass(frozen=True)
class Layer:
    """What cost and legality depend on."""

    geometry: window.Geometry
    weights: tuple[int, int]
    x: Quant
    rounding: Rounding

    @property
    def kernel(self) -> int:
        return self.geometry.kernel[0] * self.geometry.kernel[1]

    @property
    def pixels(self) -> int:
        oh, ow = self.geometry.out
        return oh * ow

    @property
    def x_range(self) -> tuple[int, int]:
        return self.x.lo, self.x.hi


@once
def layer(graph: Graph, node: Node) -> Layer:
    op = node.op
    assert isinstance(op, Conv)
    x = graph.tensors[node.inputs[0]]
    # groups = 0: each beat of channels is its own group, whatever its lanes
    g = window.Geometry(*x.shape, op.kernel, op.stride, op.pads, op.dilation, 0)
    weights = mac.weights_of(graph, node).range
    return Layer(g, weights, x.quant, rounder(op.requant, graph.accumulator(node)).summary)


def iterations(la: Layer, f: Folding) -> int:
    return la.pixels * la.geometry.channels // f.pe * (la.kernel // f.simd)


def depth(la: Layer, f: Folding) -> int:
    """Pipeline depth: read, weights, products, accumulate, round, write."""
    return 2 + mac.latency(f.simd, f.mult) + 1 + la.rounding.latency + 1


@lru_cache(maxsize=65536)
def unit_cost(
    la: Layer, pe: int, unroll: int, beat_bits: int, mult: Multiplier, memory: Storage, ultra: bool
) -> Resources:
    """Products, weights, tables, accumulators, control. SIMD means kernel positions a cycle here."""
    r = la.rounding
    nf, folds = max(1, la.geometry.channels // pe), la.kernel // unroll
    wb = bits_for(*la.weights)[0]
    total = mac.dot_cost(pe, unroll, la.weights, la.x_range, r.acc_bits, mult, ultra)
    if nf * folds > 1:
        total += laws.memory(nf * folds, pe * unroll * wb, kind=memory) + laws.register(pe * unroll * wb)
    if nf > 1:
        total += laws.memory(nf, pe * r.table_bits, kind="lutram")
    if beat_bits > pe * unroll * la.x.bits:
        total += laws.mux(beat_bits // (pe * unroll * la.x.bits), pe * unroll * la.x.bits)
    per_lane = r.cost + laws.adder(r.acc_bits) + laws.select(r.acc_bits) + laws.register(r.acc_bits)
    return total + per_lane.times(pe) + control(4) + laws.register(beat_bits)


@lru_cache(maxsize=16384)
def layer_options(la: Layer, ultra: bool, uram: bool = False) -> Options:
    """Every undominated legal folding."""
    channels = la.geometry.channels
    counts = 1, la.kernel, channels, 1, la.pixels, channels
    formats = foldings.formats(la.x, la.weights, la.rounding, ultra)
    found = foldings.enumerated("depthwise", foldings.packed_unit(la.geometry, counts, formats))
    return window.everywhere(found, la.geometry if uram else None, la.x.bits)


def options(graph: Graph, node: Node, board: Board) -> Options:
    return layer_options(layer(graph, node), board.ultrascale, board.available.uram > 0)


@lru_cache(maxsize=65536)
def unit_piece(la: Layer, bits: int, signed: bool, f: Folding, ultra: bool) -> Piece:
    """The multiply-accumulate unit as time and area see it; ``bits``, ``signed``: of its output."""
    folds, n = la.kernel // f.simd, iterations(la, f)
    sub = folds if f.window == "parallel" else 1
    inputs = Port(f.pe * f.simd * sub, la.x.bits, la.x.signed, n // sub)
    outputs = Port(f.pe, bits, signed, n // folds)
    cost = unit_cost(la, f.pe, f.simd, inputs.width, f.mult, f.memory, ultra)
    return piece(n, depth(la, f), cost, (inputs,), (outputs,), unit_beats(n, folds, sub))


def outline(graph: Graph, node: Node, f: Folding, board: Board) -> tuple[Piece, ...]:
    """What ``lower`` makes, as time and area see it."""
    la, out = layer(graph, node), graph.tensors[node.id].quant
    unit = unit_piece(la, out.bits, out.signed, f, board.ultrascale)
    if f.window == "none":
        return (unit,)
    return window.unit(la.geometry, f, la.x.bits, la.x.signed), unit


def lower(graph: Graph, node: Node, f: Folding, board: Board) -> list[Process]:
    """Window unit (unless the kernel is 1x1) and multiply-accumulate unit."""
    la, op = layer(graph, node), node.op
    assert isinstance(op, Conv)
    r, c = rounder(op.requant, graph.accumulator(node)), la.geometry.channels
    out = graph.tensors[node.id].quant
    nf = max(1, c // f.pe)
    sub = la.kernel // f.simd if f.window == "parallel" else 1
    raised, (mults, shifts) = mac.weights_of(graph, node).raised, r.rows(min(f.pe, c))
    seen = unit_piece(la, out.bits, out.signed, f, board.ultrascale)
    (inputs,), (outputs,) = seen.inputs, seen.outputs
    constants = {
        "PIXELS": outputs.beats // nf, "NF": nf, "KERNEL": la.kernel, "UNROLL": f.simd, "SUB": sub, "PE": f.pe,
        "RAISE": raised, "MULTS": mults, "SHIFTS": shifts,
    }  # fmt: skip
    unit = Process(
        id=f"{node.id}_depthwise",
        node=node.id,
        header="depthwise.h",
        function="depthwise",
        constants=(
            *constants.items(),
            *mac.constants(la.weights, la.x_range, f.mult, board.ultrascale, f.pe),
            *r.constants,
        ),
        types=(
            ("In", beat(inputs.bits, inputs.signed, inputs.lanes)),
            ("Out", beat(outputs.bits, outputs.signed, outputs.lanes)),
            *r.types(out),
            *mac.types(la.weights, la.x_range, f.mult, board.ultrascale, f.pe),
        ),
        inputs=(inputs,),
        outputs=(outputs,),
        iterations=seen.iterations,
        depth=seen.depth,
        resources=seen.resources,
        memories=Contents(lambda: contents(la, op, f, raised, r)),
    )
    if f.window == "none":
        return [unit]
    return [window.process(f"{node.id}_window", node.id, la.geometry, f, la.x, op.pad_value), unit]


def contents(la: Layer, op: Conv, f: Folding, raised: int, r: Rounder) -> tuple[Memory, ...]:
    """Weights, biases and rounding constants."""
    c, folds = la.geometry.channels, la.kernel // f.simd
    pe, nf, pixels = min(f.pe, c), max(1, c // f.pe), max(1, f.pe // c)
    # (C, kernel) -> (nf, fold, position, pe)
    w = (op.weight >> raised).reshape(nf, pe, folds, f.simd).transpose(0, 2, 3, 1).reshape(nf * folds, f.simd, pe)
    b_bits, b_signed = bits_for(int(op.bias.min()), int(op.bias.max()))
    return (
        Memory("weights", np.tile(w, pixels), *bits_for(*la.weights), f.memory if nf * folds > 1 else "registers"),
        Memory("bias", np.tile(op.bias.reshape(nf, pe), pixels), b_bits, b_signed, "lutram" if nf > 1 else "registers"),
        *(replace(m, data=np.tile(m.data, pixels)) for m in r.tables(pe)),
    )


def schedule(p: Process) -> tuple[list[Beats], list[Beats]]:
    """Iterations at which each input beat is read and each output beat written."""
    c = dict(p.constants)
    return unit_beats(p.iterations, c["KERNEL"] // c["UNROLL"], c["SUB"])


def unit_beats(iterations: int, folds: int, sub: int) -> tuple[list[Beats], list[Beats]]:
    return [every(iterations // sub, sub)], [every(iterations // folds, folds, folds - 1)]


SCHEDULES = {"depthwise": schedule}
