"""Design -> Report of fidelity "estimate": what C synthesis will report, by the blocks' models and component laws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flow import simulate, timing
from flow.blocks.control import control
from flow.board import KINDS, Board, Resources
from flow.cost import energy, laws, targets
from flow.cost.targets import CSYNTH, Decision
from flow.design import Design, LayerReport, Netlist, Report, Violation, excess
from flow.ir.graph import Graph


def resources(netlist: Netlist) -> Resources:
    """Sum of all processes and FIFOs, and the control interface: a module's total is the sum of its rows (100 % of
    1,651 real reports)."""
    total = control(2)  # start/done logic and the batch register behind AXI4-Lite
    for p in netlist.processes:
        total += p.resources
    for s in netlist.streams:
        total += laws.fifo(s.depth, s.port.width, storage=s.storage)
    return total


def by_node(netlist: Netlist) -> dict[str, Resources]:
    """Resources of each graph node's stage: its processes and the FIFOs that they read."""
    owner = {p.id: p.node for p in netlist.processes}
    out: dict[str, Resources] = {}
    for p in netlist.processes:
        out[p.node] = out.get(p.node, Resources()) + p.resources
    for s in netlist.streams:
        node = owner[s.sink[0]]
        out[node] = out.get(node, Resources()) + laws.fifo(s.depth, s.port.width, storage=s.storage)
    return out


def layers(graph: Graph, netlist: Netlist, parameters: Mapping[str, Mapping[str, object]]) -> tuple[LayerReport, ...]:
    """One entry per graph node, in order."""
    stages = by_node(netlist)
    found = []
    for node in graph.nodes:
        cycles = max(p.cycles for p in netlist.processes if p.node == node.id) + 1
        found.append(
            LayerReport(
                node.name, node.id, node.op.kind, graph.macs(node), cycles, parameters[node.id], stages[node.id]
            )
        )
    return tuple(found)


def bandwidth_gb_s(netlist: Netlist, interval: int, clock_mhz: float) -> float:
    """Memory traffic of the AXI streams: every word of every image, once."""
    words = [p for p in netlist.processes if p.function in ("from_axis", "to_axis")]
    size = sum(p.constant("WORDS") * p.constant("WIDTH") // 8 for p in words)
    return size * clock_mhz * 1e6 / interval / 1e9


def power(netlist: Netlist, used: Resources, interval: int, board: Board, clock_mhz: float) -> energy.Power:
    """Power of an implementation at full rate: a process is busy for its iterations, what joins them as a mean of it.

    ``used``: of the whole netlist, as C synthesis reports it.
    """
    placed = targets.implementation(used)
    own = sum((p.resources for p in netlist.processes), Resources())
    busy = [sum(p.resources.tuple[k] * min(1.0, p.iterations / interval) for p in netlist.processes) for k in range(5)]
    shares = [b / n if n else 0.0 for b, n in zip(busy, own.tuple, strict=True)]
    shares = [s or shares[0] for s in shares]  # a kind that only FIFOs use is as busy as the logic
    return energy.power(placed, tuple(n * s for n, s in zip(placed, shares, strict=True)), board, clock_mhz)


def intervals(netlist: Netlist, used: Resources, latency: int, interval: int) -> dict[str, tuple[float, float]]:
    """p10 and p90 of what C synthesis will report.

    Resources by the residuals of module totals (targets.toml). A region's interval is its slowest process's + 1, or + 0
    (3 of 43 reports); a process around one loop is a cycle off at most in 80 of 81 (docs/evidence-dataflow.md).
    """
    n = len(netlist.processes)
    cycles = {"latency_cycles": (latency - n, latency + n), "interval_cycles": (interval - 1, interval)}
    return {**cycles, **targets.interval("csynth", used)}


def latency_cycles(netlist: Netlist, t: timing.Timing) -> int:
    """Cycles of one image alone. Where branches meet, with FIFOs as deep as they are: deep enough for the interval is
    not deep enough for the first image, which can wait for room (up to a quarter longer in random designs)."""
    joined = any(len(p.inputs) > 1 for p in netlist.processes)
    found = simulate.latency(netlist) if joined else None
    return t.latency_cycles if found is None else found


def implementation(used: Resources) -> dict[str, Any]:
    """What an implementation will use, by the ratios of real designs: median, p10 and p90."""
    middle = dict(zip(KINDS, map(round, targets.implementation(used)), strict=True))
    return {"resources": middle, "intervals": {k: list(v) for k, v in targets.interval("impl", used).items()}}


def estimate(design: Design, decision: Decision | None = None, allowed: Resources | None = None) -> Report:
    """Latency and interval by cycle-level schedule, resources by component laws, violations against the budget.

    ``decision``: which target must fit how surely, as the design was mapped for; ``allowed``: the share of the board
    that it may use, its budget without.
    """
    t = timing.analyse(design.netlist)
    latency = latency_cycles(design.netlist, t)
    judged = (decision or CSYNTH).judge(resources(design.netlist), allowed or design.available)
    used = resources(design.netlist)
    watts = power(design.netlist, used, t.interval_cycles, design.board, design.clock_mhz)
    low, energy_mj, high = watts.energy_mj(t.interval_cycles / (design.clock_mhz * 1e6))
    return Report(
        fidelity="estimate",
        board=design.board.name,
        clock_mhz=design.clock_mhz,
        latency_cycles=latency,
        interval_cycles=t.interval_cycles,
        energy_mj=energy_mj,
        resources=used,
        available=design.available,
        violations=excess(used, design.available) + traffic(design.netlist, t.interval_cycles, design),
        bound=design.bound,
        macs=sum(design.graph.macs(n) for n in design.graph.nodes),
        layers=layers(design.graph, design.netlist, {k: f.json() for k, f in design.foldings.items()}),
        parameters={"fifo_depths": {s.name: s.depth for s in design.netlist.streams}},
        power={"static_w": watts.static_w, "dynamic_w": watts.dynamic_w, "p10_w": watts.low_w, "p90_w": watts.high_w},
        intervals={**intervals(design.netlist, used, latency, t.interval_cycles), "energy_mj": (low, high)},
        implementation=implementation(used),
        decision=judged,
    )


def traffic(netlist: Netlist, interval: int, design: Design) -> tuple[Violation, ...]:
    need = bandwidth_gb_s(netlist, interval, design.clock_mhz)
    have = design.board.memory_gb_s
    return (Violation("bandwidth_gb_s", need, have),) if have and need > have else ()


def share(board: Board, fraction: float, decision: Decision | None = None) -> Resources:
    """The part of a board's resources that a design may use; with a decision, the estimates that fit it."""
    part = Resources(*(int(n * fraction) for n in board.available.tuple))
    return decision.budget(part) if decision else part
