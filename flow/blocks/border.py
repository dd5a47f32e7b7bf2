"""Averages over the pixels inside the map (``hls/border.h``): window unit -> sum, division by a table of divisors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from flow.blocks import pool, window
from flow.blocks.control import control
from flow.blocks.pareto import Options, divisors, undominated
from flow.blocks.requant import beat, ctype, lane_cost, signed_bits
from flow.board import Board, Resources
from flow.cost import laws
from flow.design import Folding, Memory, Option, Port, Process, stage_cycles
from flow.fixed import IntArray, Quant, Requant, bits_for
from flow.ir.graph import Graph, Node
from flow.ir.ops import Op, Pool, Range


def serves(op: Op) -> bool:
    return isinstance(op, Pool) and op.exclude


@dataclass(frozen=True)
class Layer:
    """What cost and legality depend on. ``counts``: pixels inside the map by output row, and by output column."""

    geometry: window.Geometry
    counts: tuple[tuple[int, ...], tuple[int, ...]]
    offset: int
    x: Quant
    requant: Requant
    acc: Range
    out: Quant

    @property
    def kernel(self) -> int:
        return self.geometry.kernel[0] * self.geometry.kernel[1]

    @property
    def pixels(self) -> int:
        return len(self.counts[0]) * len(self.counts[1])

    @property
    def divider(self) -> Divider:
        return divider(self.counts, self.requant, self.acc)


@dataclass(frozen=True)
class Divider:
    """Reciprocals of every divisor at a common precision, exact for every sum (see ``requant.division``)."""

    kinds: tuple[tuple[int, ...], tuple[int, ...]]  # different counts of rows, and of columns
    table: tuple[tuple[int, int], ...]  # divisor, reciprocal
    constants: tuple[tuple[str, int], ...]
    acc_bits: int
    wide_bits: int
    cost: Resources  # of one lane


@lru_cache(maxsize=4096)
def divider(counts: tuple[tuple[int, ...], tuple[int, ...]], requant: Requant, acc: Range) -> Divider:
    """Raises ValueError for scales that are no powers of two."""
    if set(requant.mult) != {1} or len(requant.shift) > 1:
        raise ValueError("an average with several divisors needs scales that are powers of two")
    up, down = max(0, -requant.shift[0]), max(0, requant.shift[0])
    lo, hi = acc[0] << up, acc[1] << up
    kinds = tuple(sorted(set(counts[0]))), tuple(sorted(set(counts[1])))
    wanted = [(a * b) << down for a in kinds[0] for b in kinds[1]]
    offset = max(max(0, -(lo // d)) for d in wanted)
    for p in range(64):
        table = [(d, -(-(1 << p) // d)) for d in wanted]
        if all((m * d - (1 << p)) * (hi + offset * d + 1) <= 1 << p for d, m in table):
            break
    else:
        raise ValueError(f"no reciprocals of {wanted} are exact up to {hi}")
    limits = (requant.lo, requant.hi, requant.zero, requant.zero - 1, requant.zero + 1)
    acc_bits = signed_bits(min(lo, *limits), max(hi, *limits))
    span = max((hi + offset * d + 1) * m for d, m in table)
    wide = signed_bits(-2 * max(wanted), max(span, 2 * (hi + offset * max(wanted)), 2 * max(wanted)))
    factor = max(m for _, m in table).bit_length()
    cost = lane_cost(acc_bits, 0, 1, requant) + laws.multiplier(acc_bits, factor, "auto")
    cost += laws.multiplier(acc_bits, max(wanted).bit_length(), "lut") + laws.adder(acc_bits).times(4)
    constants = {
        "DIV_P": p, "DIV_OFFSET": offset, "UP": up, "LO": requant.lo, "HI": requant.hi, "ZERO": requant.zero,
    }  # fmt: skip
    return Divider(kinds, tuple(table), tuple(constants.items()), acc_bits, wide, cost)


LATENCY = 9  # reciprocal product 4, remainder 3, comparison and limits 2


def layer(graph: Graph, node: Node) -> Layer:
    op = node.op
    assert isinstance(op, Pool)
    x, out = graph.tensors[node.inputs[0]], graph.tensors[node.id]
    g = window.Geometry(*x.shape, op.kernel, op.stride, op.pads, op.dilation, 0)
    return Layer(g, op.counts(x.shape), op.offset, x.quant, op.requant, graph.accumulator(node), out.quant)


def iterations(la: Layer, f: Folding) -> int:
    return la.pixels * (la.geometry.channels // f.pe) * (la.kernel // f.simd)


def depth(f: Folding) -> int:
    return 2 + max(1, f.simd - 1).bit_length() + LATENCY + 1


def unit_cost(la: Layer, pe: int, unroll: int, beat_bits: int) -> Resources:
    """Adders, running sums, division, tables, control."""
    d = la.divider
    lane = (laws.adder(d.acc_bits) + laws.register(d.acc_bits)).times(unroll) + laws.register(d.acc_bits) + d.cost
    total = lane.times(pe) + control(5) + laws.register(beat_bits)
    for counts in la.counts:
        total += laws.memory(len(counts), 2, kind="lutram") if len(counts) > 1 else Resources()
    width = sum(max(v[k] for v in d.table).bit_length() for k in (0, 1))
    total += laws.memory(max(2, len(d.table)), width, kind="lutram")
    if beat_bits > pe * unroll * la.x.bits:
        total += laws.mux(beat_bits // (pe * unroll * la.x.bits), pe * unroll * la.x.bits)
    return total


@lru_cache(maxsize=16384)
def layer_options(la: Layer) -> Options:
    """Every undominated legal folding."""
    found, g = [], la.geometry
    for mode in ["serial", "parallel"] if window.parallel_legal(g) else ["serial"]:
        for pe in divisors(g.channels):
            for unroll in divisors(la.kernel) if mode == "parallel" else [1]:
                f = Folding(pe, unroll, pe, mode)
                slide = window.iterations(g, pe, mode), window.DEPTH[mode]
                beat_bits = pe * la.x.bits * (la.kernel if mode == "parallel" else 1)
                cost = unit_cost(la, pe, unroll, beat_bits) + window.cost(g, pe, mode, la.x.bits)
                found.append(Option(f, stage_cycles((iterations(la, f), depth(f)), slide), cost, beat_bits))
    return undominated(found)


def options(graph: Graph, node: Node, board: Board) -> Options:
    return layer_options(layer(graph, node))


def lower(graph: Graph, node: Node, f: Folding, board: Board) -> list[Process]:
    """Window unit and averaging unit."""
    la, op = layer(graph, node), node.op
    assert isinstance(op, Pool)
    d, g, n = la.divider, la.geometry, iterations(la, f)
    cf, sub = g.channels // f.pe, la.kernel // f.simd if f.window == "parallel" else 1
    inputs = Port(f.pe * f.simd * sub, la.x.bits, la.x.signed, n // sub)
    outputs = Port(f.pe, la.out.bits, la.out.signed, la.pixels * cf)
    constants = {
        "ITERATIONS": n, "CF": cf, "OH": len(la.counts[0]), "OW": len(la.counts[1]), "COLUMN_KINDS": len(d.kinds[1]),
        "KINDS": len(d.table), "KERNEL": la.kernel, "UNROLL": f.simd, "SUB": sub, "PE": f.pe, "OFFSET": la.offset,
    }  # fmt: skip
    places = [np.array([d.kinds[k].index(c) for c in la.counts[k]], np.int64) for k in (0, 1)]
    tables = zip(("rows", "columns", "divisors"), (*places, np.array(d.table, np.int64)), strict=True)
    unit = Process(
        id=f"{node.id}_average",
        node=node.id,
        header="border.h",
        function="average_border",
        constants=(*constants.items(), *d.constants),
        types=(
            ("In", beat(inputs.bits, inputs.signed, inputs.lanes)),
            ("Out", beat(outputs.bits, outputs.signed, outputs.lanes)),
            ("Acc", ctype(d.acc_bits, True)),
            ("Wide", ctype(d.wide_bits, True)),
            ("OutT", ctype(la.out.bits, la.out.signed)),
        ),
        inputs=(inputs,),
        outputs=(outputs,),
        iterations=n,
        depth=depth(f),
        resources=unit_cost(la, f.pe, f.simd, inputs.width),
        memories=tuple(table(name, data) for name, data in tables),
    )
    return [window.process(f"{node.id}_window", node.id, g, f, la.x, op.pad_value), unit]


def table(name: str, data: IntArray) -> Memory:
    bits, signed = bits_for(int(data.min()), int(data.max()))
    return Memory(name, data, bits, signed, "lutram" if len(data) > 1 else "registers")


SCHEDULES = {"average_border": pool.schedule}
