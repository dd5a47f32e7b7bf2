"""What limits a design, layer by layer, and what a little more of each resource would buy.

Three limits are kept apart: the board's arithmetic bound (products a cycle that its DSPs and LUTs can hold, nothing
else counted), the proved bound of the design space (``Design.bound``), and what the design reaches. A marginal value is
found by solving again with more of one resource ("re-solved"); where one solution takes long, by the lower bound of the
larger budget ("relaxation"), which says at most how much can be gained. Foldings
are divisors, so a little more often buys nothing: ``step`` says at least how much of one resource, the others as they
are, the next smaller interval needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from flow import blocks, elaborate, layout, mapping, timing
from flow import estimate as cost
from flow.blocks import mac
from flow.blocks.requant import signed_bits
from flow.board import KINDS, Board, Resources
from flow.cost import laws
from flow.design import Design, Option, Process, Report
from flow.ir.graph import Graph, Node
from flow.mapping import Goal
from flow.mapping.reach import Stages
from flow.mapping.task import floor_cycles
from flow.pipeline import System
from flow.platform import Platform

MORE = 0.1  # share of a budget that is added to ask what more would buy
STEP = 0.98  # of an interval: less is a step, more is only another pipeline depth
MOST = 3.0  # times a budget: a step that needs more of one resource is not to be had by it alone
SLOW_S = 3.0  # a design that took longer to solve is not solved again for every resource

# What a slowest process stands for: which resource of the stage its iterations count.
MEANING = {
    "matvec": "products",
    "matvec_pixels": "products",
    "depthwise": "products",
    **{f"window_{mode}{buffer}": "window" for mode in ("serial", "parallel") for buffer in ("", "_uram")},
    "gearbox": "stream width",
    "fork": "stream width",
}


class Products(NamedTuple):
    """A layer's multiplications: how many, how many of them one DSP makes a cycle, LUTs of one made in logic."""

    macs: int
    per_dsp: float
    lut: int


def products(graph: Graph, node: Node, board: Board) -> Products | None:
    """None for a layer without weights."""
    weight = getattr(node.op, "weight", None)
    if weight is None:
        return None
    quant = graph.tensors[node.inputs[0]].quant
    weights, x = mac.weight_range(weight >> mac.common_shift(weight)), (quant.lo, quant.hi)
    wide = mac.wide_port(board.ultrascale)
    bits = signed_bits(*weights), quant.bits
    tiles = laws.multiplier(*bits, "dsp").dsp
    pack = mac.packing(weights, x, wide, mac.MAX_ROWS)
    each = float(pack.rows) if pack is not None else 1.0 / max(1, tiles)
    return Products(graph.macs(node), each, laws.multiplier(*bits, "lut").lut)


def arithmetic_cycles(found: Sequence[Products], dsp: int, lut: int) -> int:
    """Cycles an image below which the multipliers alone do not fit: the fractional optimum of DSPs and LUTs.

    DSPs go to the products that would cost most LUTs for each DSP they leave free.
    """
    ordered = sorted(found, key=lambda p: -p.lut * p.per_dsp)

    def fits(cycles: float) -> bool:
        dsps, luts = dsp * cycles, lut * cycles
        for p in ordered:
            in_dsp = min(p.macs, dsps * p.per_dsp)
            dsps -= in_dsp / p.per_dsp
            luts -= (p.macs - in_dsp) * p.lut
        return luts >= 0

    low, high = 0.0, 1.0
    if not ordered:
        return 1
    while not fits(high):
        low, high = high, 2 * high
        if high > 1e18:
            raise ValueError("the budget holds no multiplier at all")
    for _ in range(60):
        mid = (low + high) / 2
        low, high = (low, mid) if fits(mid) else (mid, high)
    return max(1, math.ceil(high - 1e-6))


def limits(design: Design | System) -> dict[str, Any]:
    """The ``limits`` of ``flow estimate --json``."""
    if isinstance(design, System):
        return _system_limits(design)
    reached = timing.slowest(design.netlist)
    layers = [_layer(design, n, reached) for n in design.graph.nodes]
    return {
        "limited_by": design.bound.limit,
        "slowest": [x["id"] for x in layers if x["interval_cycles"] >= reached],
        "reached_cycles": reached,
        "proved_bound_cycles": design.bound.interval_cycles,
        **arithmetic(design.graph, design.board, design.available),
        **_memory(design, reached),
        "roofs": roofs(design),
        "layers": layers,
    }


def arithmetic(graph: Graph, board: Board, available: Resources) -> dict[str, int]:
    """The arithmetic bound of a budget: DSPs and LUTs together, and DSPs alone."""
    found = [p for n in graph.nodes if (p := products(graph, n, board))]
    out = {"arithmetic_bound_cycles": arithmetic_cycles(found, available.dsp, available.lut)}
    if available.dsp:
        out["arithmetic_bound_dsp_only_cycles"] = arithmetic_cycles(found, available.dsp, 0)
    return out


def _memory(design: Design, reached: int) -> dict[str, float]:
    need = cost.bandwidth_gb_s(layout.of(design.netlist), reached, design.clock_mhz)
    return {"memory_gb_s": need, "memory_available_gb_s": design.board.memory_gb_s}


def roofs(design: Design) -> dict[str, float]:
    """GOP/s that the budget's multipliers allow (two operations a product), and the memory's GB/s."""
    operations = 2 * sum(design.graph.macs(n) for n in design.graph.nodes)
    bound = arithmetic(design.graph, design.board, design.available)
    rate = {k: operations * design.clock_mhz / 1e3 / v for k, v in bound.items()}
    found = {"gops": rate["arithmetic_bound_cycles"], "memory_gb_s": design.board.memory_gb_s}
    if "arithmetic_bound_dsp_only_cycles" in rate:
        found["gops_dsp_only"] = rate["arithmetic_bound_dsp_only_cycles"]
    return found


def _layer(design: Design, node: Node, reached: int) -> dict[str, Any]:
    own = [p for p in design.netlist.processes if p.node == node.id]
    slowest = max(own, key=lambda p: p.cycles)
    cycles = slowest.cycles + 1
    macs = design.graph.macs(node)
    faster = _faster(design, node, cycles)
    return {
        "id": node.id,
        "name": node.name,
        "interval_cycles": cycles,
        "busy": cycles / reached,
        "limited_by": MEANING.get(slowest.function, "elements") if faster else "fully unrolled",
        "faster": faster,
        "gops": 2 * macs * design.clock_mhz / 1e3 / cycles,
        "ops_per_byte": 2 * macs / _bytes(design.graph, node),
        "multipliers": _multipliers(slowest, design, node),
    }


def _multipliers(slowest: Process, design: Design, node: Node) -> int:
    folding = design.foldings[node.id]
    return folding.pe * folding.simd if design.graph.macs(node) and slowest else 0


def _bytes(graph: Graph, node: Node) -> float:
    """What a layer reads and writes when its maps and weights lie in memory: inputs, weights, output."""
    maps = sum(elaborate.size(graph, t) * graph.tensors[t].quant.bits for t in (*node.inputs, node.id))
    weight = getattr(node.op, "weight", None)
    bits = 0 if weight is None else weight.size * signed_bits(*mac.weight_range(weight))
    return (maps + bits) / 8


def _faster(design: Design, node: Node, cycles: int) -> dict[str, Any] | None:
    """The next faster folding of least additional resources, and which of them the budget does not have left."""
    options = [o for o in blocks.options(design.graph, node, design.board) if o.cycles <= STEP * cycles]
    if not options:
        return None
    now = cost.by_node(design.netlist)[node.id]
    left = Resources(*(a - b for a, b in zip(design.available, cost.resources(design.netlist), strict=True)))
    nearest = max(o.cycles for o in options)
    # Of the next steps, within a tenth of the nearest, the one that overdraws least and then costs least.
    steps = [o for o in options if o.cycles >= 0.9 * nearest]
    best = min(steps, key=lambda o: _overdraw(o, now, left))
    more = {k: b - a for k, a, b in zip(KINDS, now, best.resources, strict=True) if b > a}
    short = [k for k in more if more[k] > getattr(left, k)]
    return {"interval_cycles": best.cycles, "more": more, "short_of": short}


def _overdraw(o: Option, now: Resources, left: Resources) -> tuple[float, float]:
    more = [max(0, b - a) for a, b in zip(now, o.resources, strict=True)]
    over = sum(max(0, m - x) / max(1, x) for m, x in zip(more, left, strict=True))
    return over, sum(m / max(1, x) for m, x in zip(more, left, strict=True))


def _system_limits(system: System) -> dict[str, Any]:
    """Each board by itself, then what holds the whole back: a board or a link."""
    boards = [limits(p) for p in system.parts]
    names = iter(n.id for n in system.graph.nodes)
    for view in boards:
        renamed = {x["id"]: next(names) for x in view["layers"]}
        view["slowest"] = [renamed[i] for i in view["slowest"]]
        view["layers"] = [{**x, "id": renamed[x["id"]]} for x in view["layers"]]
    us = [b["reached_cycles"] / p.clock_mhz for b, p in zip(boards, system.parts, strict=True)]
    return {
        "limited_by": system.bound.limit,
        "slowest_board": system.places[us.index(max(us))],
        "proved_bound_cycles": system.bound.interval_cycles,
        "arithmetic_bound_cycles": max(b["arithmetic_bound_cycles"] for b in boards),
        "boards": boards,
        "layers": [x for b in boards for x in b["layers"]],
    }


@dataclass(frozen=True)
class Marginal:
    """What ``more`` of a resource buys. ``how``: "re-solved", "relaxation" (at most that), or "not limiting".

    ``step``: the next smaller interval and how much more it needs at least (proved); None where this resource
    alone does not get there, or is not proved to be short.
    """

    resource: str
    more: float
    interval_cycles: int
    fps: float
    gain_fps: float
    how: str
    step: dict[str, float] | None = None

    def json(self) -> dict[str, Any]:
        each = self.gain_fps / self.more if self.more else 0.0
        return {**asdict(self), "gain_fps_each": each}


def marginal(design: Design, goal: Goal) -> list[Marginal]:
    """A tenth more of each resource and of the memory's bandwidth, one at a time, for the smallest interval."""
    wish = Goal("throughput", goal.max_utilisation, decision=goal.decision)
    reached = timing.slowest(design.netlist)
    slow = design.bound.seconds > SLOW_S
    found = []
    step, base = next_step(design), _least_cycles(design, design.board, goal) if slow else reached
    for kind in (k for k in KINDS if getattr(design.available, k)):
        more = max(1, round(MORE * getattr(design.available, kind)))
        board = _with_more(design.board, kind, math.ceil(more / goal.max_utilisation))
        cycles = _least_cycles(design, board, goal) if slow else _solved_cycles(design, board, wish)
        gain = _gain(design.clock_mhz, kind, more, base, min(base, cycles), "relaxation" if slow else "re-solved")
        found.append(replace(gain, step=None if step is None else _step_needs(design, kind, step, goal)))
    if design.board.memory_gb_s:
        # A streaming design moves images only: more bandwidth helps when they are what it waits for.
        floor = floor_cycles(design.graph, design.board, design.clock_mhz)
        how = "re-solved" if floor >= reached else "not limiting"
        more_gb_s = MORE * design.board.memory_gb_s
        board = replace(design.board, memory_gb_s=design.board.memory_gb_s + more_gb_s)
        cycles = _solved_cycles(design, board, wish) if floor >= reached else reached
        found.append(_gain(design.clock_mhz, "memory_gb_s", more_gb_s, reached, min(reached, cycles), how))
    return found


def next_step(design: Design) -> int | None:
    """The next interval below the design's: all its slowest layers in their next faster foldings; None for the last."""
    reached = timing.slowest(design.netlist)
    steps = []
    for node in design.graph.nodes:
        cycles = [o.cycles for o in blocks.options(design.graph, node, design.board)]
        own = max(p.cycles for p in design.netlist.processes if p.node == node.id) + 1
        if own > STEP * reached:
            steps.append(max((c for c in cycles if c <= STEP * reached), default=None))
    if not steps or None in steps:
        return None
    return max(s for s in steps if s is not None)


def _step_needs(design: Design, kind: str, cycles: int, goal: Goal) -> dict[str, float] | None:
    """The least more of one resource with which the interval is not proved impossible."""
    now = getattr(design.available, kind)
    options = [blocks.options(design.graph, n, design.board) for n in design.graph.nodes]
    end, us = len(options), cycles / design.clock_mhz

    def possible(more: int) -> bool:
        stages = Stages(options, design.available._replace(**{kind: now + more}), design.clock_mhz)
        return stages.furthest(0, us, np.array([end])) == end

    low, high = 0, math.ceil(MOST * now)
    if possible(0) or not possible(high):
        return None
    while high - low > max(1, now // 500):
        mid = (low + high) // 2
        low, high = (low, mid) if possible(mid) else (mid, high)
    rate = design.clock_mhz * 1e6
    gain = rate / cycles - rate / timing.slowest(design.netlist)
    return {"interval_cycles": cycles, "fps": rate / cycles, "more": high, "gain_fps_each": gain / high}


def _with_more(board: Board, kind: str, more: int) -> Board:
    return replace(board, available=board.available._replace(**{kind: getattr(board.available, kind) + more}))


def _gain(clock_mhz: float, kind: str, more: float, before: float, after: float, how: str) -> Marginal:
    """From an interval, or a bound of it, to another one (cycles)."""
    rate = clock_mhz * 1e6
    return Marginal(kind, more, math.ceil(after - 1e-6), rate / after, rate / after - rate / before, how)


def marginal_platform(system: System, goal: Goal) -> list[Marginal]:
    """A tenth more of each resource on every board, of every link's bandwidth, and one more board like the last.

    By the relaxation's lower bounds before and after: for a platform every solution is a search of its own.
    """
    place, clock = system.platform, system.clock_mhz
    one = clock if len({p.clock_mhz for p in system.parts}) == 1 else None
    bound = mapping.least_us(system.graph, place, goal, one) * clock
    wishes: list[tuple[str, float, Platform]] = []
    for kind in KINDS:
        more = max(1, round(MORE * max(getattr(b.available, kind) for b in place.boards)))
        if any(getattr(b.available, kind) for b in place.boards):
            wishes.append((kind, more, replace(place, boards=tuple(_with_more(b, kind, more) for b in place.boards))))
    if place.links:
        wider = tuple(replace(k, bandwidth_gb_s=k.bandwidth_gb_s * (1 + MORE)) for k in place.links)
        least = min(k.bandwidth_gb_s for k in place.links)
        wishes.append(("link_gb_s", MORE * least, replace(place, links=wider)))
        last, count = place.links[-1], len(place.boards)
        longer = (*place.links, replace(last, source=last.sink, sink=count))
        wishes.append(("boards", 1, replace(place, boards=(*place.boards, place.boards[last.sink]), links=longer)))
    found = []
    for kind, amount, wish in wishes:
        after = mapping.least_us(system.graph, wish, goal, one) * clock
        found.append(_gain(clock, kind, amount, bound, min(bound, after), "relaxation"))
    return found


def _solved_cycles(design: Design, board: Board, goal: Goal) -> int:
    found = mapping.solve(design.graph, board, goal, design.clock_mhz)
    return timing.slowest(found.netlist) if isinstance(found, Design) else timing.slowest(design.netlist)


def _least_cycles(design: Design, board: Board, goal: Goal) -> int:
    """The proved lower bound with the larger budget."""
    options = [blocks.options(design.graph, n, board) for n in design.graph.nodes]
    stages = Stages(options, cost.share(board, goal.max_utilisation, goal.decision), design.clock_mhz)
    return math.ceil(stages.least_us(0, len(options)) * design.clock_mhz - 1e-6)


def explained(report: Report, design: Design | System, goal: Goal) -> Report:
    """The report with ``limits`` and ``marginal`` among its JSON; a sequence on one board has only the first."""
    extra = {**report.extra, "limits": limits(design)}
    if isinstance(design, Design):
        extra["marginal"] = [m.json() for m in marginal(design, goal)]
    elif design.mode == "pipeline":
        extra["marginal"] = [m.json() for m in marginal_platform(design, goal)]
    return replace(report, extra=extra)
