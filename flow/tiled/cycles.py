"""The program simulated cycle by cycle, in chunks: six processes, their queues, the ports and memory between them.

Finer than the estimate: bursts wait for their first word, chunks queue for the port and for memory's bandwidth, weights
run ahead as far as their queue, results as far as theirs, iterations overlap only as buffers and instruction queues
let them.  All engines of a design run alike, so one is simulated with its share of memory.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flow.tiled import instruction
from flow.tiled.engine import RECORD, queue_depth
from flow.tiled.nest import DEPTH, READ_LATENCY, START, WRITE_LATENCY
from flow.tiled.program import Numbers, Program
from flow.tiled.render import SECOND_DEPTH

CHUNK = 64  # words that move as one
AHEAD = 4  # chunks under way at once: the adapters allow 16 bursts, of 16 words at the least


@dataclass(eq=False)
class Queue:
    """Entries between two processes; who waits to put or get."""

    name: str
    depth: int
    held: int = 0
    most: int = 0
    putting: list[tuple[int, Any]] = field(default_factory=list)
    getting: list[tuple[int, Any]] = field(default_factory=list)


@dataclass(eq=False)
class Server:
    """A port or the memory: ``rate`` bytes a cycle, one transfer after another."""

    rate: float
    free: float = 0.0
    moved: int = 0

    def take(self, now: float, size: int) -> float:
        """When a transfer asked for now is complete."""
        self.free = max(now, self.free) + size / self.rate
        self.moved += size
        return self.free


Action = tuple[str, Any, int]
Process = Generator[Action, None, None]


@dataclass(frozen=True)
class TiledSimulation:
    """``latency_cycles``: a batch from start to last result; ``interval_cycles``: image to image, over all engines."""

    latency_cycles: int
    interval_cycles: int
    images: int
    deadlock: str
    occupancy: dict[str, tuple[int, int]]  # queue -> depth, most entries held
    traffic_bytes: int
    busy: float  # share of the time in which the array computes
    seconds: float

    def text(self) -> str:
        """For people."""
        if self.deadlock:
            return f"deadlock: {self.deadlock} wait for each other"
        rows = [f"  {n:8} {d:>6} deep, most {m}" for n, (d, m) in self.occupancy.items()]
        head = (
            f"latency {self.latency_cycles} cycles for a batch of {self.images}, interval {self.interval_cycles} "
            f"cycles over all engines, array busy {100 * self.busy:.1f} %, {self.traffic_bytes / 1e6:.2f} MB to and "
            f"from memory, no deadlock, simulated in {self.seconds:.2f} s"
        )
        return "\n".join([head, *rows])

    def json(self) -> dict[str, Any]:
        return {
            "latency_cycles": self.latency_cycles,
            "interval_cycles": self.interval_cycles,
            "images": self.images,
            "deadlock": bool(self.deadlock),
            "fifos": [{"name": n, "depth": d, "max_occupancy": m} for n, (d, m) in self.occupancy.items()],
            "traffic_bytes": self.traffic_bytes,
            "array_busy": round(self.busy, 4),
            "seconds": round(self.seconds, 3),
        }


class Loop:
    """Runs processes in the order of time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.heap: list[tuple[float, int, Process]] = []
        self.count = 0
        self.waiting: dict[int, str] = {}

    def start(self, processes: Mapping[str, Process]) -> None:
        for name, p in processes.items():
            self.waiting[id(p)] = name
            self.wake(self.now, p)

    def run(self) -> tuple[float, str]:
        """The time of the last event, and who is stuck (empty when nobody is)."""
        while self.heap:
            self.now, _, p = heapq.heappop(self.heap)
            try:
                self.act(p, next(p))
            except StopIteration:
                del self.waiting[id(p)]
        return self.now, ", ".join(self.waiting.values())

    def wake(self, at: float, p: Process) -> None:
        self.count += 1
        heapq.heappush(self.heap, (at, self.count, p))

    def act(self, p: Process, action: Action) -> None:
        kind, what, n = action
        if kind == "until":
            self.wake(max(self.now, what), p)
            return
        q: Queue = what
        (q.putting if kind == "put" else q.getting).append((n, p))
        self.settle(q)

    def settle(self, q: Queue) -> None:
        """Serve whoever can go on."""
        moving = True
        while moving:
            moving = False
            if q.putting and q.held + q.putting[0][0] <= max(q.depth, q.putting[0][0]):
                n, p = q.putting.pop(0)
                q.held += n
                q.most = max(q.most, q.held)
                self.wake(self.now, p)
                moving = True
            if q.getting and q.held >= q.getting[0][0]:
                n, p = q.getting.pop(0)
                q.held -= n
                self.wake(self.now, p)
                moving = True


class Machine:
    """One engine: its processes, queues and ports; ``memory`` may be shared with others of the same loop."""

    def __init__(self, program: Program, loop: Loop, memory: Server) -> None:
        e, f = program.design.engine, program.design.jobs[0].features
        self.program, self.engine, self.loop, self.memory = program, e, loop, memory
        each = program.design.rates.port / e.ports
        self.ports = [Server(each) for _ in range(e.ports)]
        self.out = Server(each)
        self.busy = 0
        self.posted: deque[float] = deque()
        self.queues = {p: Queue(p, 1) for p in instruction.PARTS}
        sizes = (
            ("words", queue_depth(e)), ("post", 2 * e.post_words(f)), ("second", SECOND_DEPTH), ("sums", e.acc_depth),
            ("tiles", 2 if e.double_buffer else 1), ("loaded", 2),
        )  # fmt: skip
        self.queues |= {n: Queue(n, d) for n, d in sizes}
        self.pixels = max(1, min(CHUNK, e.acc_depth // 2))  # results that move as one

    @property
    def now(self) -> float:
        return self.loop.now

    def processes(self) -> dict[str, Process]:
        return {
            "fetch": self.fetch(), "load": self.load(), "weights": self.weights(), "residual": self.residual(),
            "compute": self.compute(), "store": self.store(),
        }  # fmt: skip

    # ----- transfers

    def burst(self, words: int, size: int, port: Server, latency: int) -> Iterable[tuple[int, float]]:
        """Chunks of a read burst: words, and when each is there. AHEAD of them are asked for before the first comes."""
        asked, at = 0, self.now + latency
        coming: deque[tuple[int, float]] = deque()
        while asked < words or coming:
            while asked < words and len(coming) < AHEAD:
                n = min(CHUNK, words - asked)
                asked += n
                ready = max(port.take(self.now, n * size), self.memory.take(self.now, n * size))
                coming.append((n, ready + latency))
            n, ready = coming.popleft()
            at = max(at + n, ready)
            yield n, at

    def write(self, words: int, size: int) -> float:
        """Hand a chunk over: when the next may follow. Writes are posted, AHEAD of them may be under way."""
        self.posted.append(max(self.out.take(self.now, words * size), self.memory.take(self.now, words * size)))
        room = self.posted.popleft() if len(self.posted) > AHEAD else 0.0
        return max(self.now + words, room)

    def records(self, part: str) -> Iterable[Numbers]:
        return (instruction.decode(r, part) for r in self.program.records)

    # ----- processes

    def fetch(self) -> Process:
        for _ in self.program.records:
            yield "until", self.now + READ_LATENCY + RECORD, 0
            for part in instruction.PARTS:
                yield "put", self.queues[part], 1

    def load(self) -> Process:
        e = self.engine
        for f in self.records("load"):
            yield "get", self.queues["load"], 1
            yield "until", self.now + START, 0
            yield "put", self.queues["tiles"], 1
            if f["mode"] == 2:
                for _ in range(f["images"]):
                    for _, at in self.burst(f["rows"] * f["row_words"], e.granule, self.ports[0], READ_LATENCY):
                        yield "until", at, 0
                    yield "until", self.now + f["rows"] * (f["cols"] * f["depth"] + f["kernel"]), 0
            elif f["mode"] == 1:
                for words in load_bursts(f):
                    for _, at in self.burst(words, e.granule, self.ports[0], READ_LATENCY):
                        yield "until", at, 0
            yield "put", self.queues["loaded"], 1

    def weights(self) -> Process:
        port = self.ports[1 % len(self.ports)]
        for f in self.records("weights"):
            yield "get", self.queues["weights"], 1
            yield "until", self.now + START, 0
            total, at, latency = f["tiles"] * f["words"], 0, READ_LATENCY
            while at < total:
                inside = at % f["words"]
                edge = f["post"] if inside < f["post"] else f["words"]
                n = min(CHUNK, edge - inside, self.engine.weight_words)
                if at < f["cached"]:
                    n = min(n, f["cached"] - at)
                    yield "until", self.now + n, 0
                else:
                    for _, end in self.burst(n, self.engine.wp, port, latency):
                        yield "until", end, 0
                    latency = 0
                yield "put", self.queues["post" if inside < f["post"] else "words"], n
                at += n

    def residual(self) -> Process:
        port = self.ports[2 % len(self.ports)]
        for f in self.records("residual"):
            yield "get", self.queues["residual"], 1
            yield "until", self.now + START, 0
            for words, _ in area_bursts(f):
                for n, at in self.burst(words, self.engine.granule, port, READ_LATENCY):
                    yield "until", at, 0
                    yield "put", self.queues["second"], n

    def compute(self) -> Process:
        for f in self.records("compute"):
            yield "get", self.queues["compute"], 1
            yield "get", self.queues["loaded"], 1
            yield "until", self.now + START, 0
            if f["mode"]:
                yield from self.positions(f)
                yield "until", self.now + DEPTH, 0
            yield "get", self.queues["tiles"], 1

    def positions(self, f: Numbers) -> Process:
        size, words = f["position_words"], self.queues["words"]
        inner = f["kh"] * f["kw"] * (f["depth"] if f["mode"] == 1 else f["slices"])
        pixels = f["images"] * f["rows"] * f["cols"]
        if size:
            yield "get", words, size
            yield "until", self.now + size, 0
        for k in range(inner * f["tiles"]):
            end = self.now + f["length"]
            self.busy += f["steps"]
            if size and k < inner * f["tiles"] - 1:
                yield "get", words, size
            if (k + 1) % inner == 0 and f["last"]:
                for done in range(0, pixels, self.pixels):
                    n = min(self.pixels, pixels - done)
                    yield "until", self.now + n * f["steps"] // pixels, 0
                    yield "put", self.queues["sums"], n
            yield "until", end, 0

    def store(self) -> Process:
        e, f0 = self.engine, self.program.design.jobs[0].features
        for f in self.records("store"):
            yield "get", self.queues["store"], 1
            yield "until", self.now + START, 0
            tile = -1
            for words, number in area_bursts(f):
                if number != tile:
                    tile = number
                    yield "get", self.queues["post"], e.post_words(f0)
                    yield "until", self.now + e.post_words(f0), 0
                groups = f["groups_last"] if number == f["tiles"] - 1 else f["groups"]
                for done in range(0, words // groups, self.pixels):
                    n = min(self.pixels, words // groups - done)
                    yield "get", self.queues["sums"], n
                    for part in range(0, n * groups, CHUNK):
                        m = min(CHUNK, n * groups - part)
                        if f["add"]:
                            yield "get", self.queues["second"], m
                        yield "until", self.write(m, e.granule), 0
                yield "until", max(self.posted) + WRITE_LATENCY, 0


def load_bursts(f: Numbers) -> Iterable[int]:
    """Words of every burst of a load."""
    if f["whole"]:
        return [f["whole"]]
    lines = f["cols"] == f["width"]
    rows = 1 if lines else f["rows"]
    found = []
    for k in range(f["runs"]):
        words = f[f"words{k}"] * f["cols"] * (f["rows"] if lines else 1)
        found += [words] * (f[f"count{k}"] * rows)
    return found * f["images"]


def area_bursts(f: Numbers) -> Iterable[tuple[int, int]]:
    """Words and output tile of every burst of a store or residual."""
    lines = f["cols"] == f["width"]
    pixels, rows = (f["rows"] * f["cols"], 1) if lines else (f["cols"], f["rows"])
    for t in range(f["tiles"]):
        groups = f["groups_last"] if t == f["tiles"] - 1 else f["groups"]
        for _ in range(f["images"] * rows):
            yield pixels * groups, t


def simulate(program: Program) -> TiledSimulation:
    """One batch through the engine."""
    started = time.perf_counter()
    loop = Loop()
    machine = Machine(program, loop, Server(program.design.rates.memory))
    loop.start(machine.processes())
    end, stuck = loop.run()
    design, latency = program.design, int(end) + 1
    names = ("words", "post", "second", "sums")
    return TiledSimulation(
        latency,
        -(-latency // (design.batch * design.copies)),
        design.batch,
        stuck,
        {n: (q.depth, q.most) for n in names if (q := machine.queues[n]).most},
        machine.memory.moved,
        machine.busy / latency,
        time.perf_counter() - started,
    )
