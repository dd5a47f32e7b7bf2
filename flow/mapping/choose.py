"""One option for every stage, with all that joins the stages, within a budget of several resources.

For an interval T every stage may use its options of at most T cycles. A design costs its stages' resources and, for
every tensor, forks, streams and the converters between beats of unlike lanes: costs of pairs of neighbours. FIFOs count
as shallow as they can be, in shift registers or in block RAM, whichever is cheaper: deeper ones come on top, and are
known only when a design's schedule is.

Lagrangian duality decides most cases: for weights w >= 0 with sum 1 over resources measured as fractions of the budget,
no design uses less than the cheapest one under w, so a value above 1 proves that T is infeasible; and the cheapest
designs themselves are often feasible. Networks are nearly chains, so dynamic programming over the lanes of the tensors
alive finds that design (tables that would grow beyond CAP are cut by forgetting lanes, which keeps a bound a bound).
Cutting planes move w towards what is short: the cheapest designs so far span a small linear programme whose solution,
mixed with the best weights so far, is asked next (Kelley 1960; smoothed as Wentges 1997 has it). An option through
which even the cheapest design under w needs more than 1 is in no design that fits: it is left out, lanes that no
option has any more shrink the tables, and the weights move on. From the mixture of cheapest designs exchanges of one
or two options look for one that fits; what is still open, branch and bound decides, a stage's options split in two
where the mixed designs differ most. ``kernel.cpp`` does it all.
"""

from __future__ import annotations

import ctypes
import weakref
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flow import blocks, elaborate, native
from flow.blocks import stream
from flow.blocks.control import control
from flow.blocks.pareto import Options, collected, labels
from flow.board import KINDS, Board, Resources
from flow.cost import laws
from flow.design import Folding, Option, process_cycles
from flow.fixed import IntArray, Quant
from flow.ir.graph import Graph

Floats = NDArray[np.float64]
CAP = ctypes.c_int64(1024)  # entries of a table
ROUNDS = 40  # updates of the weights
EFFORT = 6_000_000  # sums of branch and bound
INPUT, READ, STAGE = range(3)  # what the kernel visits


@cache
def _library() -> ctypes.CDLL:
    lib = native.library("mapping/kernel.cpp")
    for name in ("layer", "joint", "problem", "relaxed"):
        getattr(lib, f"flow_map_{name}").restype = ctypes.c_void_p
    for name in ("floor", "next"):
        getattr(lib, f"flow_map_{name}").restype = ctypes.c_int64
    return lib


def _pointer(a: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(a.ctypes.data)  # callers keep the array


class _Handle:
    """Something that lives in the kernel until nobody needs it; ``made``: by which function."""

    def __init__(self, kind: str, *arguments: object, made: str = "") -> None:
        self.pointer = ctypes.c_void_p(getattr(_library(), f"flow_map_{made or kind}")(*arguments))
        weakref.finalize(self, getattr(_library(), f"flow_map_{kind}_free"), self.pointer)


@dataclass(frozen=True, eq=False)
class Table:
    """A layer's options in the kernel, by the lanes of the beats they take and give."""

    options: Options
    takes: tuple[tuple[int, ...], ...]  # for each input of two
    gives: tuple[int, ...]
    streams: frozenset[int]  # inside its stages
    handle: _Handle = field(repr=False)


def _inner(options: Options) -> IntArray:
    """The number of each option's stream between its processes."""
    unique, back = labels(options.inner)
    return np.array([_stream(bits) for bits in unique], np.int64)[back]


@lru_cache(maxsize=4096)
def table(options: Options, exclusive: bool = False) -> Table:
    """Options objects are remembered by their blocks, so this one is too.

    ``exclusive``: an interval allows only the slowest option that keeps it.
    """
    first = options.numbers[:, 2]
    both = first << 32 | np.where(options.second, options.second, first)
    (takes, into), (gives, out_of) = labels(both), labels(options.numbers[:, 0])
    arrays = (options.cycles, options.resources, into, out_of, _inner(options))
    columns = [np.ascontiguousarray(a, np.int64) for a in arrays]
    counts = (ctypes.c_int64(n) for n in (len(options), len(takes), len(gives), exclusive))
    handle = _Handle("layer", *counts, *(_pointer(a) for a in columns))
    inputs = tuple(t >> 32 for t in takes), tuple(t & 0xFFFFFFFF for t in takes)
    return Table(options, inputs, tuple(gives), frozenset(columns[-1].tolist()), handle)


class Contents(NamedTuple):
    """What FIFOs are expected to hold: elements for each tensor read, bits for each stage's own stream."""

    edges: tuple[int, ...]
    inner: tuple[int, ...]


def _depth(beats: int) -> int:
    """The largest depth that costs what so many beats cost."""
    if beats <= 16:
        return 2 if beats <= 2 else 16
    return -(-beats // 32) * 32 if beats <= 1024 else 1024 << (-(-beats // 1024) - 1).bit_length()


def _streams() -> IntArray:
    if len(_TABLE[0]) < len(_STREAMS):
        _TABLE[0] = np.delete(np.array(_STREAMS, np.int64), 1, axis=1)
    return _TABLE[0]


@lru_cache(maxsize=16384)
def _joint(gives: tuple[int, ...], takes: tuple[int, ...], bits: int, held: int) -> tuple[_Handle, frozenset[int]]:
    """What joins beats of ``gives`` lanes to beats of ``takes`` lanes and holds ``held`` elements; and its streams."""
    pairs = [(a, b) for a in gives for b in takes]
    gear = [Resources() if a == b else stream.gearbox_cost(a, b, bits) for a, b in pairs]
    last = {n: _stream(n * bits, _depth(-(-held // n))) for n in (*gives, *takes)}
    near = [last[a] if a == b else _stream(a * bits) for a, b in pairs]
    far = [last[b] if a != b else 0 for a, b in pairs]
    arrays = [np.array(x, np.int64) for x in (gear, near, far)]
    counts = ctypes.c_int64(len(gives)), ctypes.c_int64(len(takes))
    return _Handle("joint", *counts, *(_pointer(a) for a in arrays)), frozenset(near + far)


_TABLE: list[IntArray] = [np.zeros((0, 11), np.int64)]  # number and costs of each stream, as an array
_STREAMS: list[tuple[int, ...]] = [(0,) * 12]  # by number: bits of a beat, what a stream costs at least


@cache
def _stream(bits: int, depth: int = 2) -> int:
    """The number of a stream that is ``depth`` beats deep at least; 0 for none (no bits).

    It goes to shift registers, or to block RAM when it is deep enough or made so.
    """
    if not bits:
        return 0
    shallow = next(d for d in range(2, 1 << 20) if laws.fifo_in_bram(d, bits))
    costs = *laws.fifo(depth, bits, storage="srl"), *laws.fifo(max(depth, shallow), bits)
    _STREAMS.append((len(_STREAMS), bits, *costs))
    return len(_STREAMS) - 1


@lru_cache(maxsize=1024)
def _end(quant: Quant, elements: int, writes: bool) -> tuple[Table, Table]:
    """An AXI end as a stage: a folding a width. ``writes``: it feeds the network.

    Designs have the narrowest one that keeps the interval, the first table says so; bounds that hold for all smaller
    intervals need the second.
    """
    slot, found = stream.slot_bits(quant), []
    for width in elaborate.AXIS_WIDTHS:
        if width >= max(slot, elaborate.LEAST_AXIS):
            p = (stream.from_axis if writes else stream.to_axis)(quant, elements, width)
            lanes = width // slot
            folding = Folding(pe=lanes if writes else 1, lanes=1 if writes else lanes)
            found.append(Option(folding, process_cycles(p.iterations, p.depth) + 1, p.resources))
    options = collected(found)
    return table(options, True), table(options)


@dataclass(frozen=True, eq=False)
class Problem:
    """A network's stages, its AXI ends first and last, and what joins them. ``tables``: one a stage."""

    tables: tuple[Table, ...]
    handle: _Handle = field(repr=False)
    relaxed: _Handle = field(repr=False)  # with AXI ends of any width
    parts: tuple[_Handle, ...] = field(repr=False)  # kept alive

    def options(self, picks: Sequence[int]) -> list[Option]:
        """The picked options of the network's nodes."""
        return [t.options[k] for t, k in zip(self.tables[1:-1], picks[1:-1], strict=True)]

    def floor(self, low: int, budget: Floats, weights: Floats) -> int | None:
        """Smallest interval of at least ``low`` that is not proved infeasible; None: none is left.

        ``weights`` becomes what proved the last one infeasible.
        """
        found = _library().flow_map_floor(
            self.relaxed.pointer, ctypes.c_int64(low), _pointer(budget), ROUNDS, _pointer(weights)
        )
        return None if found < 0 else int(found)

    def proves(self, interval: int, budget: Floats, weights: Floats, effort: int = EFFORT) -> bool:
        """Whether no design of at most ``interval`` can fit."""
        return self.fit(interval, budget, weights, effort, self.relaxed)[0] == 0

    def fit(
        self, interval: int, budget: Floats, weights: Floats, effort: int = EFFORT, handle: _Handle | None = None
    ) -> tuple[int, list[int]]:
        """1 and picks that fit as far as costs are known here, 0: proved that nothing fits, or -1: neither."""
        picks = np.zeros(len(self.tables), np.int32)
        state = _library().flow_map_fit(
            (handle or self.handle).pointer, ctypes.c_int64(interval), _pointer(budget), ROUNDS, ctypes.c_int64(effort),
            _pointer(weights), _pointer(picks),
        )  # fmt: skip
        return state, picks.tolist()

    def cheapest(self, interval: int, budget: Floats, weights: Floats) -> list[int] | None:
        """Picks of least weighted cost, if they fit."""
        picks = np.zeros(len(self.tables), np.int32)
        fits = _library().flow_map_cheapest(
            self.handle.pointer, ctypes.c_int64(interval), _pointer(budget), _pointer(weights), _pointer(picks)
        )
        return picks.tolist() if fits else None

    def cost(self, budget: Floats, weights: Floats, picks: Sequence[int]) -> Floats:
        """What the picks cost as far as costs are known here."""
        chosen, total = np.array(picks, np.int32), np.zeros(len(KINDS))
        _library().flow_map_cost(
            self.handle.pointer, _pointer(budget), _pointer(weights), _pointer(chosen), _pointer(total)
        )
        return total

    def next(self, interval: int) -> int | None:
        """The smallest interval of at least ``interval`` that some option has."""
        found = int(_library().flow_map_next(self.handle.pointer, ctypes.c_int64(interval)))
        return found if found < np.iinfo(np.int64).max else None


def even() -> Floats:
    """Equal weights."""
    return np.full(len(KINDS), 1.0 / len(KINDS))


def problem(graph: Graph, board: Board, contents: Contents | None = None) -> Problem:
    """Raises UnsupportedError when no block serves a node. ``contents``: FIFOs are as deep as these ask for; without,
    as shallow as can be."""
    reads = Counter(t for node in graph.nodes for t in node.inputs) + Counter([graph.output])
    left = Counter(reads)
    visits: list[tuple[int, ...]] = [(INPUT, 0, 0, 0)]
    ends = {t: graph.tensors[t] for t in ("input", graph.output)}
    source = _end(ends["input"].quant, elaborate.size(graph, "input"), True)
    stages = [source[0]]
    made = {"input": 0}
    joints: list[tuple[_Handle, frozenset[int]]] = []
    pairs: list[tuple[int, int]] = []

    def connect(tensor: str, takes: tuple[int, ...], joined: bool) -> None:
        left[tensor] -= 1
        visits.append((READ, len(joints), joined, left[tensor] == 0))
        held = contents.edges[len(joints)] if contents else 0
        joints.append(_joint(stages[made[tensor]].gives, takes, graph.tensors[tensor].quant.bits, held))
        pairs.append((made[tensor], len(stages)))

    for node in graph.nodes:
        t = table(blocks.options(graph, node, board))
        for k, tensor in enumerate(node.inputs):
            connect(tensor, t.takes[min(k, 1)], k > 0)
        visits.append((STAGE, len(stages), 0, 0))
        made[node.id] = len(stages)
        stages.append(t)
    last = _end(ends[graph.output].quant, elaborate.size(graph, graph.output), False)
    connect(graph.output, last[0].takes[0], False)
    visits.append((STAGE, len(stages), 0, 0))
    stages.append(last[0])
    names = ["input", *(n.id for n in graph.nodes), ""]
    deep = _deeper(stages, contents.inner) if contents else []
    return _problem(stages, (source[1], last[1]), _forks(graph, names, stages, reads), joints, pairs, visits, deep)


def _deeper(stages: list[Table], inner: Sequence[int]) -> list[tuple[int, int, int]]:
    """Stage, number of its own stream as shallow as can be, and as deep as it is expected to be."""
    rows = [(s, n, _STREAMS[n][1]) for s, t in enumerate(stages) for n in t.streams if n and inner[s]]
    return [(s, n, _stream(bits, _depth(-(-inner[s] // bits)))) for s, n, bits in rows]


def _forks(graph: Graph, names: list[str], stages: list[Table], reads: Counter[str]) -> IntArray:
    """For each stage and width it gives: cost of the forks behind it, how many streams, which."""
    places = [(t.gives, graph.tensors[n].quant.bits, reads[n] - 1) for n, t in zip(names[:-1], stages, strict=False)]
    return np.concatenate([*(_fork(*place) for place in places), np.zeros((len(stages[-1].gives), 7), np.int64)])


@lru_cache(maxsize=4096)
def _fork(gives: tuple[int, ...], bits: int, more: int) -> IntArray:
    """Rows of one stage; ``more``: readers of its tensor beside the first."""
    if more < 1:
        return np.zeros((len(gives), 7), np.int64)
    costs = [(control(1) + laws.register(lanes * bits)).times(more) for lanes in gives]
    return np.array([(*c, more, _stream(lanes * bits)) for c, lanes in zip(costs, gives, strict=True)], np.int64)


def _problem(
    stages: list[Table], ends: tuple[Table, Table], forks: IntArray,
    joints: list[tuple[_Handle, frozenset[int]]], pairs: list[tuple[int, int]], visits: list[tuple[int, ...]],
    deep: list[tuple[int, int, int]],
) -> Problem:  # fmt: skip
    used: set[int] = set(forks[:, -1].tolist())
    used.update(*(found for _, found in joints), *(t.streams for t in (*stages, *ends)), (n for _, _, n in deep))
    fifos = _streams()[sorted(used - {0})]
    arrays = [np.ascontiguousarray(x, np.int64) for x in (forks, pairs, visits, fifos, control(2), deep)]
    n = [ctypes.c_int64(len(x)) for x in (stages, joints, visits, fifos, deep)]
    p = [_pointer(a) for a in arrays]

    layers = (ctypes.c_void_p * len(stages))(*(t.handle.pointer for t in stages))
    joined = (ctypes.c_void_p * len(joints))(*(h.pointer for h, _ in joints))
    own = _Handle("problem", n[0], layers, p[0], n[1], joined, p[1], n[2], p[2], n[3], p[3], p[4], CAP, n[4], p[5])
    parts = tuple(h for h, _ in joints) + tuple(t.handle for t in (*stages, *ends))
    # Bounds are asked for without contents alone.
    wide = own.pointer, ends[0].handle.pointer, ends[1].handle.pointer
    return Problem(tuple(stages), own, own if deep else _Handle("problem", *wide, made="relaxed"), parts)


def limits(budget: Resources, reserve: Floats | IntArray | None = None) -> Floats:
    """A budget for the kernel, less a reserve."""
    return np.array(budget, np.float64) - (0 if reserve is None else np.asarray(reserve, np.float64))
