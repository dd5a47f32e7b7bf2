"""Design -> Report of fidelity "estimate": what C synthesis will report, by the blocks' models and component laws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from flow import layout, timing
from flow.board import KINDS, Board, Resources
from flow.cost import energy, targets
from flow.cost.targets import CSYNTH, Decision
from flow.design import Bound, Design, Folding, LayerReport, Netlist, Report, Violation, excess
from flow.ir.graph import Graph
from flow.layout import Layout


def resources(netlist: Netlist) -> Resources:
    """Of everything (``layout.resources``)."""
    return layout.resources(layout.of(netlist))


def by_node(netlist: Netlist) -> dict[str, Resources]:
    """Resources of each graph node's stage: its processes and the FIFOs that they read."""
    return stages(layout.of(netlist))


def stages(found: Layout) -> dict[str, Resources]:
    """The same of a layout."""
    parts: dict[str, list[Resources]] = {}
    for owner, p in zip(found.owners, found.pieces, strict=True):
        parts.setdefault(owner, []).append(p.resources)
    for sink, f in zip(found.sinks, found.fifos, strict=True):
        parts[found.owners[sink]].append(layout.fifo_cost(f))
    return {owner: Resources(*map(sum, zip(*each, strict=True))) for owner, each in parts.items()}


def layers(graph: Graph, found: Layout, foldings: Mapping[str, Folding]) -> tuple[LayerReport, ...]:
    """One entry per graph node, in order."""
    used, cycles = stages(found), dict.fromkeys(found.owners, 0)
    for owner, p in zip(found.owners, found.pieces, strict=True):
        cycles[owner] = max(cycles[owner], p.cycles + 1)
    return tuple(
        LayerReport(n.name, n.id, n.op.kind, graph.macs(n), cycles[n.id], foldings[n.id].json(), used[n.id])
        for n in graph.nodes
    )


def bandwidth_gb_s(found: Layout, interval: int, clock_mhz: float) -> float:
    """Memory traffic of the AXI streams: every word of every image, once."""
    words = (found.pieces[0].inputs[0], found.pieces[-1].outputs[0])
    size = sum(port.beats * port.width // 8 for port in words)
    return size * clock_mhz * 1e6 / interval / 1e9


def power(found: Layout, used: Resources, interval: int, board: Board, clock_mhz: float) -> energy.Power:
    """Power of an implementation at full rate: a process is busy for its iterations, what joins them as a mean of it.

    ``used``: of the whole netlist, as C synthesis reports it.
    """
    placed = targets.implementation(used)
    columns = list(zip(*(p.resources for p in found.pieces), strict=True))
    shares = [min(1.0, p.iterations / interval) for p in found.pieces]
    busy = [sum(n * s for n, s in zip(column, shares, strict=True)) for column in columns]
    own = [sum(column) for column in columns]
    means = [b / n if n else 0.0 for b, n in zip(busy, own, strict=True)]
    means = [s or means[0] for s in means]  # a kind that only FIFOs use is as busy as the logic
    return energy.power(placed, tuple(n * s for n, s in zip(placed, means, strict=True)), board, clock_mhz)


def intervals(processes: int, used: Resources, latency: int, interval: int) -> dict[str, tuple[float, float]]:
    """p10 and p90 of what C synthesis will report.

    Resources by the residuals of module totals (targets.toml). A region's interval is its slowest process's + 1, or + 0
    (3 of 43 reports); a process around one loop is a cycle off at most in 80 of 81 (docs/evidence-dataflow.md).
    """
    n = processes
    cycles = {"latency_cycles": (latency - n, latency + n), "interval_cycles": (interval - 1, interval)}
    return {**cycles, **targets.interval("csynth", used)}


def latency_cycles(found: Layout) -> int:
    """Cycles of one image alone. Where branches meet, with FIFOs as deep as they are: deep enough for the interval is
    not deep enough for the first image, which can wait for room (up to a quarter longer in random designs)."""
    finite = timing.finite_latency(found) if found.joined else None
    return timing.latency_of(found) if finite is None else finite


def implementation(used: Resources) -> dict[str, Any]:
    """What an implementation will use, by the ratios of real designs: median, p10 and p90."""
    middle = dict(zip(KINDS, map(round, targets.implementation(used)), strict=True))
    return {"resources": middle, "intervals": {k: list(v) for k, v in targets.interval("impl", used).items()}}


def estimate(design: Design, decision: Decision | None = None, allowed: Resources | None = None) -> Report:
    """Latency and interval by cycle-level schedule, resources by component laws, violations against the budget.

    ``decision``: which target must fit how surely, as the design was mapped for; ``allowed``: the share of the board
    that it may use, its budget without.
    """
    d, names = design, [s.name for s in design.netlist.streams]
    place = Place(d.board, d.clock_mhz, d.available, decision or CSYNTH, allowed or d.available)
    found = report(d.graph, d.foldings, layout.of(d.netlist), place, d.bound)
    depths = dict(zip(names, found.parameters["fifo_depths"].values(), strict=True))
    return replace(found, parameters={"fifo_depths": depths})


class Place(NamedTuple):
    """Where a design goes and what it may use (``estimate``)."""

    board: Board
    clock_mhz: float
    available: Resources
    decision: Decision
    allowed: Resources


def report(graph: Graph, foldings: Mapping[str, Folding], found: Layout, place: Place, bound: Bound) -> Report:
    """The estimate of a layout; its streams are named as ``elaborate`` names them."""
    used, interval, latency = layout.resources(found), found.interval, latency_cycles(found)
    watts = power(found, used, interval, place.board, place.clock_mhz)
    low, energy_mj, high = watts.energy_mj(interval / (place.clock_mhz * 1e6))
    each = layers(graph, found, foldings)
    return Report(
        fidelity="estimate",
        board=place.board.name,
        clock_mhz=place.clock_mhz,
        latency_cycles=latency,
        interval_cycles=interval,
        energy_mj=energy_mj,
        resources=used,
        available=place.available,
        violations=excess(used, place.available) + traffic(found, interval, place),
        bound=bound,
        macs=sum(layer.macs for layer in each),
        layers=each,
        parameters={"fifo_depths": {f"s{i}": f.depth for i, f in enumerate(found.fifos)}},
        power={"static_w": watts.static_w, "dynamic_w": watts.dynamic_w, "p10_w": watts.low_w, "p90_w": watts.high_w},
        intervals={**intervals(len(found.pieces), used, latency, interval), "energy_mj": (low, high)},
        implementation=implementation(used),
        decision=place.decision.judge(used, place.allowed),
    )


def traffic(found: Layout, interval: int, place: Place) -> tuple[Violation, ...]:
    need = bandwidth_gb_s(found, interval, place.clock_mhz)
    have = place.board.memory_gb_s
    return (Violation("bandwidth_gb_s", need, have),) if have and need > have else ()


def share(board: Board, fraction: float, decision: Decision | None = None) -> Resources:
    """The part of a board's resources that a design may use; with a decision, the estimates that fit it."""
    part = Resources(*(int(n * fraction) for n in board.available.tuple))
    return decision.budget(part) if decision else part
