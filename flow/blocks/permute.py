"""Elements in another order (``hls/permute.h``): channels rewired, channels dropped, or chunks through a buffer.

A chunk is the shortest piece of the stream whose order repeats: a pixel for a channel shuffle, a row for depth to
space, the whole map at worst.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from flow.blocks.beats import Beats, every, loops
from flow.blocks.control import control
from flow.blocks.pareto import Options, divisors, undominated
from flow.blocks.requant import beat
from flow.blocks.window import HAZARD
from flow.board import Board, Resources
from flow.cost import laws
from flow.design import Folding, Memory, Option, Port, Process, Storage, stage_cycles
from flow.fixed import IntArray, Quant, bits_for
from flow.ir.graph import Graph, Node
from flow.ir.ops import DepthToSpace, Op, Permute, Select, Shape

DEPTH = {"permute": 5, "slice": 3, "select": 3}
WIDEST = 4096  # bits of a beat


def serves(op: Op) -> bool:
    return isinstance(op, Select | Permute | DepthToSpace)


@dataclass(frozen=True)
class Layer:
    """What cost and legality depend on. ``order``: a chunk's places in the stream's own order, as bytes of int64."""

    chunks: int
    inputs: int  # elements of a chunk
    order: bytes
    quant: Quant
    channels: bool  # a chunk is a pixel

    @property
    def places(self) -> IntArray:
        return np.frombuffer(self.order, np.int64)


def streamed(index: IntArray, source: Shape) -> IntArray:
    """Places in the input's stream of the output's stream, channels innermost in both; -1 stays."""
    (_, h, w), flat = source, index.transpose(1, 2, 0).reshape(-1)
    channel, pixel = flat // (h * w), flat % (h * w)
    return np.where(flat < 0, -1, pixel * source[0] + channel)


def chunked(order: IntArray, size: int, pixels: int) -> tuple[int, IntArray]:
    """(chunks, order of one): the most pieces, whole pixels, in which every one repeats the first.

    ``size``: elements of the input; ``pixels``: greatest common divisor of the input's and the output's pixels.
    """
    for n in reversed(divisors(pixels)):
        parts, steps = order.reshape(n, -1), np.arange(n)[:, None] * (size // n)
        first = parts[0]
        want = np.where(first < 0, -1, first + steps)
        if first.max() < size // n and np.array_equal(want[:, 0], parts[:, 0]) and np.array_equal(want, parts):
            return n, first
    raise AssertionError("one chunk always does")


@lru_cache(maxsize=1024)
def pieces(index: bytes, shape: Shape, source: Shape) -> tuple[int, bytes]:
    """`chunked` of an index array (C, H, W) given as bytes."""
    order = streamed(np.frombuffer(index, np.int64).reshape(shape), source)
    pixels = math.gcd(source[1] * source[2], shape[1] * shape[2])
    n, first = chunked(order, math.prod(source), pixels)
    return n, np.ascontiguousarray(first, np.int64).tobytes()


def layer(graph: Graph, node: Node) -> Layer:
    op, x = node.op, graph.tensors[node.inputs[0]]
    if isinstance(op, Select):
        order = np.array(op.channels, np.int64).tobytes()
        return Layer(x.shape[1] * x.shape[2], x.shape[0], order, x.quant, True)
    if isinstance(op, Permute):
        index = op.index
    else:
        index = op.evaluate([np.arange(math.prod(x.shape), dtype=np.int64).reshape(1, *x.shape)])[0]
    return rows(np.ascontiguousarray(index), x.shape, x.quant)


def rows(index: IntArray, source: Shape, quant: Quant) -> Layer:
    """A layer whose output holds the ``source`` places of ``index`` (C, H, W)."""
    c, h, w = index.shape
    n, order = pieces(index.tobytes(), (c, h, w), source)
    return Layer(n, math.prod(source) // n, order, quant, False)


def blocked(la: Layer, lanes: int) -> IntArray | None:
    """The order in beats of ``lanes``; None when a beat would be torn."""
    if la.inputs % lanes or len(la.places) % lanes:
        return None
    groups = la.places.reshape(-1, lanes)
    first = groups[:, 0]
    whole = np.where(first[:, None] < 0, -1, first[:, None] + np.arange(lanes))
    fits = np.array_equal(whole, groups) and not (first[first >= 0] % lanes).any()
    return np.where(first < 0, -1, first // lanes) if fits else None


def sliced(order: IntArray) -> bool:
    """True for consecutive beats without fillers."""
    return bool(order[0] >= 0 and np.array_equal(order, np.arange(order[0], order[0] + len(order))))


def length(order: IntArray, inputs: int) -> int:
    """Iterations of a chunk: its stores, its loads, and the distance between a store and the load of the next chunk."""
    at = np.flatnonzero(order >= 0)
    # Beat w is stored in iteration w of a chunk and loaded in iteration k of the next, LENGTH - w + k later.
    late = int((order[at] - at).max(initial=0)) + HAZARD
    return max(inputs, len(order), late)


def iterations(la: Layer, f: Folding) -> int:
    if f.window == "parallel":
        return la.chunks
    order = blocked(la, f.lanes)
    assert order is not None, "illegal lanes"
    beats = la.inputs // f.lanes
    return la.chunks * beats if sliced(order) else (la.chunks + 1) * length(order, beats)


def function(la: Layer, f: Folding) -> str:
    if f.window == "parallel":
        return "select"
    order = blocked(la, f.lanes)
    assert order is not None, "illegal lanes"
    return "slice" if sliced(order) else "permute"


def cost(la: Layer, f: Folding) -> Resources:
    bits, kind = la.quant.bits, function(la, f)
    if kind == "select":
        return control(1) + laws.register((la.inputs + len(la.places)) * bits)
    if kind == "slice":
        return control(1) + laws.register(f.lanes * bits)
    beats, out = la.inputs // f.lanes, len(la.places) // f.lanes
    kept = laws.memory(2 * beats, f.lanes * bits, rom=False)
    order = laws.memory(out, beats.bit_length() + 1, kind=f.memory) if out > 1 else Resources()
    return kept + order + control(3) + laws.register(2 * f.lanes * bits)


@lru_cache(maxsize=16384)
def layer_options(la: Layer) -> Options:
    """Every undominated legal folding."""
    found = []
    for lanes in divisors(math.gcd(la.inputs, len(la.places))):
        order = blocked(la, lanes)
        if order is None or lanes * la.quant.bits > WIDEST:
            continue
        deep = len(order) > 64 and not sliced(order)
        memories: list[Storage] = ["lutram", "bram"] if deep else ["lutram"]
        found += [Folding(pe=lanes, lanes=lanes, memory=m) for m in memories]
    wide = max(la.inputs, len(la.places))
    if la.channels and wide * la.quant.bits <= WIDEST:
        found.append(Folding(pe=len(la.places), lanes=la.inputs, window="parallel"))
    return undominated(Option(f, stage_cycles((iterations(la, f), DEPTH[function(la, f)])), cost(la, f)) for f in found)


def options(graph: Graph, node: Node, board: Board) -> Options:
    return layer_options(layer(graph, node))


def lower(graph: Graph, node: Node, f: Folding, board: Board) -> list[Process]:
    fill = getattr(node.op, "fill", 0)
    return [process(f"{node.id}_permute", node.id, layer(graph, node), f, fill)]


def process(ident: str, node: str, la: Layer, f: Folding, fill: int) -> Process:
    """The unit as a dataflow process."""
    q, kind, n = la.quant, function(la, f), iterations(la, f)
    memories: tuple[Memory, ...] = ()
    types = [("Beat", beat(q.bits, q.signed, f.lanes))]
    if kind == "select":
        constants = {"PIXELS": la.chunks, "LANES": f.pe, "FILL": fill}
        types = [("In", beat(q.bits, q.signed, f.lanes)), ("Out", beat(q.bits, q.signed, f.pe))]
        memories = (table(la.places, "registers"),)
    else:
        order = blocked(la, f.lanes)
        assert order is not None, "illegal lanes"
        beats = la.inputs // f.lanes
        if kind == "slice":
            constants = {"PIXELS": la.chunks, "IN": beats, "FROM": int(order[0]), "TO": int(order[0]) + len(order)}
        else:
            constants = {
                "CHUNKS": la.chunks, "IN": beats, "OUT": len(order), "LENGTH": length(order, beats), "FILL": fill,
                "LANES": f.lanes,
            }  # fmt: skip
            memories = (table(order, f.memory if len(order) > 1 else "registers"),)
    elements = la.chunks * la.inputs, la.chunks * len(la.places)
    inputs, outputs = (Port(k, q.bits, q.signed, e // k) for k, e in zip((f.lanes, f.pe), elements, strict=True))
    return Process(
        id=ident,
        node=node,
        header="permute.h",
        function=kind,
        constants=tuple(constants.items()),
        types=tuple(types),
        inputs=(inputs,),
        outputs=(outputs,),
        iterations=n,
        depth=DEPTH[kind],
        resources=cost(la, f),
        memories=memories,
    )


def table(order: IntArray, impl: str) -> Memory:
    bits, signed = bits_for(min(-1, int(order.min())), int(order.max()))
    return Memory("order", order, bits, signed, impl)


def schedule_permute(p: Process) -> tuple[list[Beats], list[Beats]]:
    """A chunk is read while the one before it is written."""
    c = dict(p.constants)
    chunks, step = c["CHUNKS"], c["LENGTH"]
    return [Beats((loops(0, (chunks, step), (c["IN"], 1)),))], [Beats((loops(step, (chunks, step), (c["OUT"], 1)),))]


def schedule_slice(p: Process) -> tuple[list[Beats], list[Beats]]:
    c = dict(p.constants)
    return [every(p.iterations)], [Beats((loops(c["FROM"], (c["PIXELS"], c["IN"]), (c["TO"] - c["FROM"], 1)),))]


def schedule_select(p: Process) -> tuple[list[Beats], list[Beats]]:
    return [every(p.iterations)], [every(p.iterations)]


SCHEDULES = {"permute": schedule_permute, "slice": schedule_slice, "select": schedule_select}
