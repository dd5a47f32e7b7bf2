"""A network on several boards: one design a board, joined by links, as one value; its estimate as one report."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any, Literal

from flow import estimate as cost
from flow import timing
from flow.blocks.link import link as link_process
from flow.blocks.link import word_cycles
from flow.board import Resources
from flow.cost.targets import Decision
from flow.design import Bound, Design, LayerReport, Netlist, Port, Process, Report, Stream, Violation
from flow.ir.graph import Graph, digest_of
from flow.platform import Link, Platform

Mode = Literal["pipeline", "sequence"]


@dataclass(frozen=True, eq=False)
class System:
    """Segments of a network in order, each a design on a board.

    ``places``: board of each part, an index into the platform's. ``boundaries``: part i holds nodes
    ``boundaries[i]`` up to ``boundaries[i + 1]``. ``fastest``: the smallest interval (cycles of its own clock) found
    for each part on its board; parts that are not the slowest are made smaller instead. ``mode`` "pipeline": all
    boards at work at once; "sequence": one board loaded with one part after another for ``batch`` images each.
    """

    graph: Graph
    platform: Platform
    places: tuple[int, ...]
    boundaries: tuple[int, ...]
    parts: tuple[Design, ...]
    fastest: tuple[int, ...]
    bound: Bound
    mode: Mode = "pipeline"
    batch: int = 1
    digest: str = field(default="", init=False)

    def __post_init__(self) -> None:
        places, parts = list(self.places), [p.digest for p in self.parts]
        object.__setattr__(self, "digest", digest_of([self.platform.name, self.mode, self.batch, places, parts]))

    @property
    def clock_mhz(self) -> float:
        """Cycles of the whole are counted in the first part's clock."""
        return self.parts[0].clock_mhz

    @property
    def available(self) -> Resources:
        """Sum over the boards in use; limits hold on each board by itself."""
        return sum((p.available for p in self.parts), Resources())

    def links(self) -> tuple[Link, ...]:
        """The link behind each part but the last; none in a sequence, where the board's memory keeps the images."""
        if self.mode == "sequence":
            return ()
        found = [self.platform.link(a, b) for a, b in itertools.pairwise(self.places)]
        assert all(found), "a part's board has no link to the next one's"
        return tuple(k for k in found if k is not None)

    def link_cycles(self) -> tuple[int, ...]:
        """Cycles of the first part's clock that one image takes on each link."""
        ends = [p.netlist.processes[-1].outputs[0] for p in self.parts[:-1]]
        return tuple(
            word_cycles(e.beats, e.width, k.bandwidth_gb_s, self.clock_mhz)
            for e, k in zip(ends, self.links(), strict=bool(self.links()))
        )


def netlist(system: System) -> Netlist:
    """The parts' netlists and the links between them as one, for a pipeline of boards of one clock.

    Raises ValueError when the clocks differ: cycles of different boards cannot be counted together.
    """
    clocks = {p.clock_mhz for p in system.parts}
    if len(clocks) > 1:
        raise ValueError(
            f"boards at {', '.join(f'{c:g}' for c in sorted(clocks))} MHz: compile with --clock-mhz, one clock for all"
        )
    processes: list[Process] = []
    streams: list[Stream] = []
    for i, part in enumerate(system.parts):
        processes += [replace(p, id=f"board{i}_{p.id}") for p in part.netlist.processes]
        for s in part.netlist.streams:
            ends = [(f"board{i}_{e[0]}", e[1]) for e in (s.source, s.sink)]
            streams.append(replace(s, name=f"board{i}_{s.name}", source=ends[0], sink=ends[1]))
        if i + 1 < len(system.parts):
            processes.append(_wire(system, i))
            streams += _joints(i, processes[-2], processes[-1], system.parts[i + 1].netlist.processes[0])
    return Netlist(tuple(processes), tuple(streams))


def _wire(system: System, i: int) -> Process:
    port = system.parts[i].netlist.processes[-1].outputs[0]
    return link_process(f"link{i}", port, system.links()[i].bandwidth_gb_s, system.clock_mhz)


def _joints(i: int, source: Process, wire: Process, sink: Process) -> Iterator[Stream]:
    """Streams into and out of a link; boards agree on the words, see mapping.partition."""
    port: Port = wire.inputs[0]
    assert sink.inputs[0].width == port.width and sink.inputs[0].beats == port.beats, "the ends of a link differ"
    yield Stream(f"link{i}_in", (source.id, 0), (wire.id, 0), port)
    yield Stream(f"link{i}_out", (wire.id, 0), (f"board{i + 1}_{sink.id}", 0), port)


def latency_cycles(system: System) -> int:
    """One image through all boards, in cycles of the first part's clock.

    Boards of one clock: the joint schedule, words passing on as they come, and the links' latencies. Otherwise, and in
    a sequence, one part after another: the sum of their latencies and of the transfers.
    """
    clock = system.clock_mhz
    delay = sum(k.latency_us * clock for k in system.links())
    if system.mode == "pipeline" and len({p.clock_mhz for p in system.parts}) == 1:
        return timing.analyse(netlist(system)).latency_cycles + ceil(delay)
    own = (timing.analyse(p.netlist).latency_cycles * clock / p.clock_mhz for p in system.parts)
    return ceil(sum(own) + sum(system.link_cycles()) + delay)


def interval_cycles(system: System) -> int:
    """Cycles (first part's clock) an image: the slowest part or link; in a sequence the batch's time by its images."""
    clock = system.clock_mhz
    each = [timing.slowest(p.netlist) * clock / p.clock_mhz for p in system.parts]
    if system.mode == "pipeline":
        return ceil(max(*each, *(c + 3 for c in system.link_cycles()), 1) - 1e-9)
    again = system.platform.reconfiguration_ms * clock * 1e3
    fill = [timing.analyse(p.netlist).latency_cycles * clock / p.clock_mhz for p in system.parts]
    return ceil(sum(again + f + (system.batch - 1) * e for f, e in zip(fill, each, strict=True)) / system.batch)


def utilisations(system: System) -> tuple[float, ...]:
    """U_i = Lat_i / II of Co-Exploration: what each board's fastest design of its part would take of the interval."""
    whole = interval_cycles(system) / system.clock_mhz
    return tuple(f / p.clock_mhz / whole for f, p in zip(system.fastest, system.parts, strict=True))


def estimate(system: System, decision: Decision | None = None, max_utilisation: float | None = None) -> Report:
    """Of the whole, with one report a part; limits hold on every resource of every board.

    ``decision`` and ``max_utilisation``: as the parts were mapped for (``estimate.estimate``).
    """
    reports = [
        cost.estimate(p, decision, cost.share(p.board, max_utilisation) if max_utilisation else None)
        for p in system.parts
    ]
    energies = [r.energy_mj for r in reports]
    violations = [
        Violation(f"{v.resource} of board {b}", v.used, v.available)
        for b, r in zip(system.places, reports, strict=True)
        for v in r.violations
    ]
    return Report(
        fidelity="estimate",
        board=system.platform.name,
        clock_mhz=system.clock_mhz,
        latency_cycles=latency_cycles(system),
        interval_cycles=interval_cycles(system),
        energy_mj=None if None in energies else sum(e for e in energies if e is not None),
        resources=sum((r.resources for r in reports), Resources()),
        available=system.available,
        violations=tuple(violations),
        bound=system.bound,
        macs=sum(r.macs for r in reports),
        layers=_layers(system, reports),
        parts=tuple(reports),
        extra=_extra(system),
    )


def _layers(system: System, reports: list[Report]) -> tuple[LayerReport, ...]:
    """All layers under their ids in the whole network."""
    ids = [n.id for n in system.graph.nodes]
    every = [layer for r in reports for layer in r.layers]
    return tuple(replace(layer, id=i) for i, layer in zip(ids, every, strict=True))


def _extra(system: System) -> dict[str, Any]:
    shares = utilisations(system)
    links = [
        {"from": k.source, "to": k.sink, "bandwidth_gb_s": k.bandwidth_gb_s, "latency_us": k.latency_us, "cycles": c}
        for k, c in zip(system.links(), system.link_cycles(), strict=True)
    ]
    return {
        "platform": {"name": system.platform.name, "mode": system.mode, "batch": system.batch,
                     "places": list(system.places), "boundaries": list(system.boundaries), "links": links},
        "pipeline": {"utilisations": list(shares), "efficiency": sum(shares) / len(shares)},
    }  # fmt: skip
