"""A network on one or several tiled engines: what the search gives, the compiler takes and reports show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flow.board import Board, Resources
from flow.cost import energy, targets
from flow.cost.targets import CSYNTH, Decision
from flow.design import Bound, LayerReport, Report, Violation, excess
from flow.estimate import implementation, share
from flow.ir.graph import Graph, digest_of
from flow.tiled import place, tilings
from flow.tiled.engine import Engine, port_bytes, port_count, resources
from flow.tiled.layout import jobs
from flow.tiled.nest import Job, Tiling
from flow.tiled.steps import Steps, lower
from flow.tiled.tilings import Choice

# Share of a memory's peak bandwidth that long bursts of mixed reads and writes get once refresh and turnaround are
# paid: an assumption, stated with every report.
MEMORY_EFFICIENCY = 0.8
LEAST = 1e9  # cycles a byte: a price at which only traffic counts


@dataclass(frozen=True)
class Rates:
    """What memory gives one engine, in bytes a cycle: its share of the board's bandwidth, and its ports."""

    memory: float
    port: float


@dataclass(frozen=True)
class Room:
    """What a design may use of its board: resources, a share of the memory's bandwidth, memory ports."""

    resources: Resources
    memory: float
    ports: int


def room(board: Board, max_utilisation: float, decision: Decision = CSYNTH) -> Room:
    """The whole board within a utilisation: the estimates that fit it as ``decision`` judges."""
    return Room(share(board, max_utilisation, decision), 1.0, port_count(board))


def rates(board: Board, clock_mhz: float, engine: Engine, copies: int, memory: float = 1.0) -> Rates:
    """All engines run at once and share evenly what they have of the memory (``memory``: a share). A board without a
    stated bandwidth is limited by its ports."""
    whole = board.memory_gb_s * 1e3 * MEMORY_EFFICIENCY / clock_mhz * memory
    ports = engine.ports * port_bytes(board)
    return Rates(whole / copies if whole else 2.0 * ports, ports)


@dataclass(frozen=True, eq=False)
class TiledDesign:
    """``copies`` engines alike, each computing batches of ``batch`` images, all layers in turn.

    ``choices``: tiling and cost of every step.  ``interval_cycles`` counts from image to image over all engines.
    """

    graph: Graph
    board: Board
    clock_mhz: float
    engine: Engine
    copies: int
    batch: int
    steps: Steps
    choices: tuple[Choice, ...]
    bound: Bound
    available: Resources
    memory: float = 1.0  # share of the board's bandwidth
    decision: Decision = CSYNTH  # which target must fit, and how surely
    allowed: Resources | None = None  # the share of the board that it may use, where ``available`` is a budget for it

    @cached_property
    def digest(self) -> str:
        parts = [self.graph.digest, self.board.name, self.clock_mhz, self.engine.json(), self.copies, self.batch]
        parts += [self.steps.entry.json()] if self.steps.entry else []
        return digest_of([*parts, [tuple(c.tiling) for c in self.choices]])

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        return jobs(self.steps, self.engine)

    @property
    def rates(self) -> Rates:
        return rates(self.board, self.clock_mhz, self.engine, self.copies, self.memory)

    @property
    def batch_cycles(self) -> int:
        """Cycles of one engine for one batch."""
        return sum(c.cycles for c in self.choices)

    @property
    def interval_cycles(self) -> int:
        return -(-self.batch_cycles // (self.batch * self.copies))

    @property
    def latency_cycles(self) -> int:
        """From the start of a batch to its last result."""
        return self.batch_cycles

    @cached_property
    def resources(self) -> Resources:
        features = self.jobs[0].features
        return resources(self.engine, features, self.board.ultrascale).times(self.copies)

    @property
    def traffic_bytes(self) -> int:
        """Bytes between engine and memory for one batch."""
        return sum(c.moved for c in self.choices)

    @property
    def compulsory_bytes(self) -> int:
        """Lower bound of the traffic of a batch (docs/tiled-engine.md has the argument)."""
        return sum(sum(tilings.compulsory(j, self.batch)) for j in self.jobs)

    @cached_property
    def least_bytes(self) -> int:
        """The least traffic of a batch that any tiling of every step has with these buffers, however slow."""
        pace = self.rates
        found = [tilings.best(j, self.batch, pace.memory, pace.port, price=LEAST) for j in self.jobs]
        return sum(c.moved for c in found if c is not None)

    def violations(self) -> tuple[Violation, ...]:
        over = excess(self.resources, self.available)
        ports = self.copies * self.engine.ports
        have = port_count(self.board)
        return over + ((Violation("ports", ports, have),) if ports > have else ())

    def report(self) -> Report:
        """The estimate, in the form of every other design's."""
        used, placed = self.resources, targets.implementation(self.resources)
        watts = energy.power(placed, placed, self.board, self.clock_mhz)
        low, mean, high = watts.energy_mj(self.interval_cycles / (self.clock_mhz * 1e6))
        return Report(
            fidelity="estimate",
            board=self.board.name,
            clock_mhz=self.clock_mhz,
            latency_cycles=self.latency_cycles,
            interval_cycles=self.interval_cycles,
            energy_mj=mean,
            resources=used,
            available=self.available,
            violations=self.violations(),
            bound=self.bound,
            macs=self.steps.macs,
            layers=tuple(self._layers()),
            parameters=self.parameters,
            intervals={**targets.interval("csynth", used), "energy_mj": (low, high)},
            implementation=implementation(used),
            decision=self.decision.judge(used, self.allowed or self.available),
            power={
                "static_w": watts.static_w,
                "dynamic_w": watts.dynamic_w,
                "p10_w": watts.low_w,
                "p90_w": watts.high_w,
            },
            kind="tiled",
        )

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            **self.engine.json(),
            "copies": self.copies,
            "batch": self.batch,
            "traffic_bytes": self.traffic_bytes,
            "least_bytes": self.least_bytes,
            "compulsory_bytes": self.compulsory_bytes,
            "memory_efficiency": MEMORY_EFFICIENCY,
            "memory_share": self.memory,
        }

    def _layers(self) -> list[LayerReport]:
        return [
            LayerReport(
                s.name, s.out, "+".join(self.graph.node(n).op.kind for n in s.nodes) or "Add", s.macs,
                -(-c.cycles // (self.batch * self.copies)), c.tiling._asdict(), Resources(),
            )
            for s, c in zip(self.steps.steps, self.choices, strict=True)
        ]  # fmt: skip


def rebuild(graph: Graph, board: Board, view: Mapping[str, Any]) -> TiledDesign:
    """The design that ``design.json`` (``view``) describes. Raises ValueError when it is not this network's."""
    entry = place.from_json(view["entry"]) if view.get("entry") else None
    steps, engine, memory = lower(graph, entry), Engine(**view["parameters"]), float(view.get("memory", 1.0))
    if len(view["tilings"]) != len(steps.steps):
        raise ValueError(f"{len(view['tilings'])} recorded tilings for {len(steps.steps)} steps: compile it again")
    pace = rates(board, view["clock_mhz"], engine, view["copies"], memory)
    choices = tuple(
        tilings.measured(job, Tiling(*t), view["batch"], pace.memory, pace.port)
        for job, t in zip(jobs(steps, engine), view["tilings"], strict=True)
    )
    return TiledDesign(
        graph, board, float(view["clock_mhz"]), engine, int(view["copies"]), int(view["batch"]), steps, choices,
        Bound(**view["bound"]), Resources(**view["available"]), memory, Decision(**view.get("decision", {})),
        Resources(**view["allowed"]) if view.get("allowed") else None,
    )  # fmt: skip
