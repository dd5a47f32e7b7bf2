"""Convolution and dense layers: window unit -> matrix-vector unit (``hls/matvec.h``).

A stage computes PE output channels x SIMD inputs a cycle; one output vector takes NF * SF cycles with NF = OC / PE and
SF = IC * KH * KW / SIMD. Grouped convolutions run their groups one after another on the same unit; several pixels a
cycle: ``pixels.py``.
"""

from __future__ import annotations

from functools import lru_cache

from flow.blocks import foldings, mac, pixels, window
from flow.blocks.beats import Beats, every, loops
from flow.blocks.matvec import Layer, depth, folds, layer, unit_cost
from flow.blocks.pareto import Options
from flow.blocks.piece import Piece, piece
from flow.blocks.requant import Rounder, beat, ctype, rounder
from flow.board import Board
from flow.design import Contents, Folding, Memory, Port, Process
from flow.fixed import IntArray, Quant, bits_for
from flow.ir.graph import Graph, Node
from flow.ir.ops import Conv, Dense, Op


def serves(op: Op) -> bool:
    return isinstance(op, Dense) or (isinstance(op, Conv) and not op.depthwise)


@lru_cache(maxsize=16384)
def layer_options(la: Layer, ultra: bool, uram: bool = False) -> Options:
    """Every undominated legal folding."""
    counts = la.inputs, la.kernel, la.outputs, la.groups, la.vectors, la.lanes_of
    formats = foldings.formats(la.x, la.weights, la.rounding, ultra)
    found = foldings.enumerated("dense", foldings.packed_unit(la.geometry, counts, formats))
    return window.everywhere(found, la.geometry if uram else None, la.x.bits)


def options(graph: Graph, node: Node, board: Board) -> Options:
    return layer_options(layer(graph, node), board.ultrascale, board.available.uram > 0)


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
    if pixels.gives(la, f):
        return pixels.unit_piece(la, bits, signed, f, ultra)
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
    return window.unit(la.geometry, f, la.x.bits, la.x.signed), unit


def lower(graph: Graph, node: Node, f: Folding, board: Board) -> list[Process]:
    """Window unit (when the layer needs one) and matrix-vector unit."""
    la, op = layer(graph, node), node.op
    assert isinstance(op, Conv | Dense)
    r, out = rounder(op.requant, graph.accumulator(node)), graph.tensors[node.id].quant
    pad, raised = op.pad_value if isinstance(op, Conv) else 0, mac.weights_of(graph, node).raised
    if pixels.gives(la, f):
        columns = arranged(op, "parallel", la.lanes_of)[0] >> raised
        unit = pixels.unit(node.id, la, f, columns, op.bias, raised, r, out, board.ultrascale)
    else:
        unit = single(node.id, la, f, op, raised, r, out, board.ultrascale)
    if la.geometry is None:
        return [unit]
    return [window.process(f"{node.id}_window", node.id, la.geometry, f, la.x, pad), unit]


def single(
    node: str, la: Layer, f: Folding, op: Conv | Dense, raised: int, r: Rounder, out: Quant, ultra: bool
) -> Process:
    """The matrix-vector unit of one pixel a beat as a dataflow process."""
    k, seen = folds(la, f), unit_piece(la, out.bits, out.signed, f, ultra)
    (inputs,), (outputs,) = seen.inputs, seen.outputs
    mults, shifts = r.rows(f.pe)
    constants = {
        "VECTORS": la.vectors * la.groups, "GROUPS": la.groups, "NF": k.nf, "SF": k.sf, "SUB": k.sub, "PE": f.pe,
        "SIMD": f.simd, "RAISE": raised, "MULTS": mults, "SHIFTS": shifts,
    }  # fmt: skip
    return Process(
        id=f"{node}_matvec",
        node=node,
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
