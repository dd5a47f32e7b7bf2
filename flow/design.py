"""Designs as values: a folded network on a board, the processes and streams it becomes, and reports about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, overload

from flow.board import Board, Resources
from flow.fixed import IntArray, Quant
from flow.ir.graph import Graph, digest_of

Multiplier = Literal["lut", "dsp", "packed"]
Storage = Literal["lutram", "bram"]
Buffer = Literal["auto", "uram"]


class Folding(NamedTuple):
    """How a node is spread over hardware: the parameters a mapper chooses for a block.

    ``pe`` output lanes, ``simd`` inputs a cycle for each of them, ``lanes`` channels a beat of the input window (more
    than there are: the channels of several pixels of a row, and ``pe`` those of several output pixels),
    ``window`` "none", "serial" (one kernel position a beat) or "parallel" (the whole window a beat), ``mult`` where
    multipliers go ("lut", "dsp" or "packed": two to four products a DSP), ``memory`` where weights go ("lutram" or
    "bram"), ``buffer`` where the window unit's rows go ("uram", or "auto": as the tool decides by size).
    """

    pe: int = 1
    simd: int = 1
    lanes: int = 1
    window: str = "none"
    mult: Multiplier = "lut"
    memory: Storage = "lutram"
    buffer: Buffer = "auto"

    def json(self) -> dict[str, Any]:
        return self._asdict()


class Option(NamedTuple):
    """A legal folding with its cost: ``cycles`` between images and the resources of the stage's processes.

    ``inner``: bits a beat of the stream between its two processes, 0 for a stage of one. A stage takes and gives beats
    of the folding's ``lanes`` and ``pe`` elements; ``second``: lanes of its second input where they are others, else 0.
    """

    folding: Folding
    cycles: int
    resources: Resources
    inner: int = 0
    second: int = 0


@dataclass(frozen=True)
class Port:
    """A stream end: ``lanes`` elements of ``bits`` a beat, ``beats`` an image."""

    lanes: int
    bits: int
    signed: bool
    beats: int

    @property
    def width(self) -> int:
        """Bits of one beat."""
        return self.lanes * self.bits


@dataclass(frozen=True, eq=False)
class Memory:
    """A constant array of a process. Dimension 0 is the depth, the others are read together in one cycle.

    ``banked``: dimension 0 counts memories instead, each with addresses of its own, and dimension 1 is their depth.
    """

    name: str
    data: IntArray
    bits: int
    signed: bool
    impl: str  # lutram | bram | registers
    banked: bool = False


class Contents(Sequence[Memory]):
    """Memories of a process, made when somebody looks: designs are compared in thousands before one is written."""

    def __init__(self, make: Callable[[], tuple[Memory, ...]]) -> None:
        self._make = make

    @cached_property
    def _made(self) -> tuple[Memory, ...]:
        return self._make()

    @overload
    def __getitem__(self, at: int) -> Memory: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Memory]: ...
    def __getitem__(self, at: int | slice) -> Memory | Sequence[Memory]:
        return self._made[at]

    def __len__(self) -> int:
        return len(self._made)


@dataclass(frozen=True, eq=False)
class Process:
    """One HLS dataflow process: a call of ``function`` (a template in ``hls/<header>``) with a configuration.

    ``constants`` and ``types`` become the configuration struct. ``iterations`` at II = 1 and pipeline ``depth`` cycles
    are its schedule; which iteration moves which beat is known to the block (``blocks.schedule``).
    """

    id: str
    node: str  # id of the graph node it serves; "input", "output" or a tensor's id for plumbing
    header: str
    function: str
    constants: tuple[tuple[str, int], ...]
    types: tuple[tuple[str, str], ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    iterations: int
    depth: int
    resources: Resources
    memories: Sequence[Memory] = ()

    def constant(self, name: str) -> int:
        return dict(self.constants)[name]

    @property
    def cycles(self) -> int:
        """Cycles from start to ready for the next image."""
        return process_cycles(self.iterations, self.depth)


def process_cycles(iterations: int, depth: int) -> int:
    """A function around one loop with II = 1: the loop takes ``trip - 1 + max(depth - 1, 1)``, the function 2 more.

    Laws read off real reports: flow/cost/laws.py.
    """
    return iterations - 1 + max(depth - 1, 1) + 2


def stage_cycles(*processes: tuple[int, int]) -> int:
    """Interval that processes (iterations, depth) of a dataflow region allow: the slowest's, plus one."""
    return max(process_cycles(i, d) for i, d in processes) + 1


@dataclass(frozen=True)
class Stream:
    """A FIFO from one process's output port to another's input port; ``depth`` in beats.

    ``storage``: "auto", as the tool decides by size, or "srl", bound to shift registers.
    """

    name: str
    source: tuple[str, int]
    sink: tuple[str, int]
    port: Port
    depth: int = 2
    storage: Literal["auto", "srl"] = "auto"


@dataclass(frozen=True, eq=False)
class Netlist:
    """Processes in dataflow order and the streams between them. External ports have no stream."""

    processes: tuple[Process, ...]
    streams: tuple[Stream, ...]

    def process(self, process_id: str) -> Process:
        return next(p for p in self.processes if p.id == process_id)

    def with_depths(self, depths: Mapping[str, int]) -> Netlist:
        return replace(self, streams=tuple(replace(s, depth=depths.get(s.name, s.depth)) for s in self.streams))


@dataclass(frozen=True)
class Violation:
    """A limit that a design misses. A value, not an exception: searches learn from it."""

    resource: str
    used: float
    available: float

    def json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.resource}: {self.used:g} needed, {self.available:g} available"


@dataclass(frozen=True)
class Bound:
    """Proved lower bound of the interval over all foldings, and what limits it. ``gap`` = interval / bound - 1."""

    interval_cycles: int
    limit: str
    gap: float
    proved: bool
    seconds: float


@dataclass(frozen=True, eq=False)
class Design:
    """A network with a folding for every node, on a board at a clock."""

    graph: Graph
    board: Board
    clock_mhz: float
    foldings: Mapping[str, Folding]
    netlist: Netlist
    bound: Bound
    available: Resources  # the share of the board that the design may use

    def __post_init__(self) -> None:
        object.__setattr__(self, "foldings", MappingProxyType(dict(self.foldings)))

    @cached_property
    def digest(self) -> str:
        """Of all that the generated code follows from."""
        parts = [self.graph.digest, self.board.name, self.clock_mhz, dict(self.foldings)]
        parts += [(s.name, s.source, s.sink, s.depth, s.storage) for s in self.netlist.streams]
        return digest_of(parts)

    @property
    def input_quant(self) -> Quant:
        return self.graph.tensors["input"].quant


@dataclass(frozen=True)
class LayerReport:
    """One stage's numbers."""

    name: str
    id: str
    op: str
    macs: int
    interval_cycles: int
    parameters: Mapping[str, Any]
    resources: Resources

    def json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "id": self.id,
            "op": self.op,
            "macs": self.macs,
            "interval_cycles": self.interval_cycles,
            "parameters": dict(self.parameters),
            "resources": self.resources.json(),
        }


@dataclass(frozen=True)
class Report:
    """Performance and resources of a design, with where the numbers come from (``fidelity``).

    Estimates predict what C synthesis will report (fidelity "estimate"); reports of tools carry "csynth" or "impl".
    """

    fidelity: str
    board: str
    clock_mhz: float
    latency_cycles: int
    interval_cycles: int
    energy_mj: float | None
    resources: Resources
    available: Resources
    violations: tuple[Violation, ...]
    bound: Bound | None
    macs: int
    layers: tuple[LayerReport, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    power: Mapping[str, float] = field(default_factory=dict)  # watts of the programmable logic at full rate
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # p10 and p90 of what is estimated
    implementation: Mapping[str, Any] = field(default_factory=dict)  # what implementation will use of what is estimated
    decision: Mapping[str, Any] = field(default_factory=dict)  # which target fits how surely (flow/cost/targets.py)
    kind: str = "stream"  # of the accelerator: "stream" or "tiled"
    parts: tuple[Report, ...] = ()  # of a design on several boards: one a board
    extra: Mapping[str, Any] = field(default_factory=dict)  # further keys of the JSON, by their producers

    @property
    def latency_ms(self) -> float:
        return self.latency_cycles / (self.clock_mhz * 1e3)

    @property
    def fps(self) -> float:
        return self.clock_mhz * 1e6 / self.interval_cycles

    @property
    def fits(self) -> bool:
        return not self.violations

    def json(self) -> dict[str, Any]:
        """The layout of ``flow estimate --json``."""
        return {
            "fidelity": self.fidelity,
            "board": self.board,
            "clock_mhz": self.clock_mhz,
            "fits": self.fits,
            "latency_cycles": self.latency_cycles,
            "interval_cycles": self.interval_cycles,
            "latency_ms": self.latency_ms,
            "fps": self.fps,
            "energy_mj": self.energy_mj,
            "resources": self.resources.json(),
            "available": self.available.json(),
            "violations": [v.json() for v in self.violations],
            "bound": asdict(self.bound) if self.bound else None,
            "macs": self.macs,
            "power": dict(self.power),
            "intervals": {k: list(v) for k, v in self.intervals.items()},
            "implementation": dict(self.implementation),
            "decision": dict(self.decision),
            "engines": [r.engine() for r in self.parts or (self,)],
            "layers": [layer.json() for layer in self.layers],
            **self.extra,
        }

    def engine(self) -> dict[str, Any]:
        """The entry of one board's design among ``engines``."""
        return {
            "board": self.board,
            "kind": self.kind,
            "layers": [layer.name for layer in self.layers],
            "interval_cycles": self.interval_cycles,
            "resources": self.resources.json(),
            "parameters": dict(self.parameters),
        }


def excess(used: Resources, available: Resources) -> tuple[Violation, ...]:
    """Violations of a resource budget."""
    pairs = zip(used.json().items(), available.json().items(), strict=True)
    return tuple(Violation(k, u, a) for (k, u), (_, a) in pairs if u > a)
