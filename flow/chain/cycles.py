"""One step of a chain simulated: all parts of a board at work at once on one memory, nobody with a share of his own.

Engines run their programs as in ``flow.tiled.cycles``; streaming stages move their words at the pace of their schedule
and fall behind when memory does.  Boards are simulated one by one; a link takes its time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flow import timing
from flow.chain.design import Chain, Part, ends, part_images
from flow.design import Design
from flow.tiled import TiledDesign
from flow.tiled.cycles import Loop, Machine, Process, Queue, Server
from flow.tiled.design import MEMORY_EFFICIENCY
from flow.tiled.nest import WAIT_BYTES, WRITE_LATENCY
from flow.tiled.program import Program, compile_program

PROCESSES = 6  # of an engine


@dataclass(frozen=True)
class ChainSimulation:
    """``step_cycles``: of the first part's clock; ``busy``: share of the step that each part works."""

    latency_cycles: int
    interval_cycles: int
    images: int
    deadlock: str
    busy: tuple[float, ...]
    traffic_bytes: int
    seconds: float

    def text(self) -> str:
        """For people."""
        if self.deadlock:
            return f"deadlock: {self.deadlock} wait for each other"
        parts = ", ".join(f"part {k} {100 * b:.1f} %" for k, b in enumerate(self.busy))
        return (
            f"latency {self.latency_cycles} cycles, interval {self.interval_cycles} cycles, {self.images} images a "
            f"step; busy: {parts}; {self.traffic_bytes / 1e6:.2f} MB to and from memory a step, no deadlock, "
            f"simulated in {self.seconds:.2f} s"
        )

    def json(self) -> dict[str, Any]:
        return {
            "latency_cycles": self.latency_cycles,
            "interval_cycles": self.interval_cycles,
            "images": self.images,
            "deadlock": bool(self.deadlock),
            "busy": [round(b, 4) for b in self.busy],
            "traffic_bytes": self.traffic_bytes,
            "seconds": round(self.seconds, 3),
        }


def simulate(chain: Chain) -> ChainSimulation:
    """A step of the chain in full flow."""
    started = time.perf_counter()
    end_us: dict[int, float] = {}
    stuck, moved = "", 0
    for place in dict.fromkeys(chain.places):
        numbers = [k for k, b in enumerate(chain.places) if b == place]
        board = _Board(chain, numbers)
        stuck = stuck or board.run()
        moved += board.memory.moved
        end_us |= {k: t / chain.parts[k].clock_mhz for k, t in board.ended.items()}
    step_us = max(*end_us.values(), *chain.link_us(), 0.0)
    stages = len(chain.parts) + sum(k is not None for k in chain.links())
    delay = sum(k.latency_us for k in chain.links() if k)
    return ChainSimulation(
        round((stages * step_us + delay) * chain.clock_mhz),
        -(-round(step_us * chain.clock_mhz) // chain.images),
        chain.images,
        stuck,
        tuple(end_us.get(k, 0.0) / step_us for k in range(len(chain.parts))),
        moved,
        time.perf_counter() - started,
    )


class _Board:
    """The parts of one board in one loop."""

    def __init__(self, chain: Chain, numbers: list[int]) -> None:
        first = chain.parts[numbers[0]]
        rate = first.board.memory_gb_s * 1e3 * MEMORY_EFFICIENCY / first.clock_mhz
        self.loop, self.memory = Loop(), Server(rate or 1e9)
        self.ended: dict[int, float] = {}
        for k in numbers:
            part: Part = chain.parts[k]
            if isinstance(part, TiledDesign):
                program, rounds = compile_program(part), chain.images // part_images(part)
                runs = {f"part {k} engine {c}": self.engine(k, program, rounds, c) for c in range(part.copies)}
                self.loop.start(runs)
            else:
                self.loop.start({f"part {k}": self.stream(k, part, chain.images)})

    def run(self) -> str:
        return self.loop.run()[1]

    def engine(self, k: int, program: Program, rounds: int, copy: int) -> Process:
        """One engine's batches of a step, one after another."""
        done = Queue("done", PROCESSES)
        for _ in range(rounds):
            machine = Machine(program, self.loop, self.memory)
            named = {f"part {k} engine {copy} {n}": _then(p, done) for n, p in machine.processes().items()}
            self.loop.start(named)
            yield "get", done, PROCESSES
        self.ended[k] = max(self.ended.get(k, 0.0), self.loop.now)

    def stream(self, k: int, part: Design, images: int) -> Process:
        """The words of a step by the schedule of the stages, later by what memory is behind."""
        late = 0.0
        for planned, size, room in _transfers(part, images):
            yield "until", planned + late, 0
            end = self.memory.take(self.loop.now, size)
            late += max(0.0, end - self.loop.now - room)
        last = timing.analyse(part.netlist).latency_cycles + (images - 1) * timing.slowest(part.netlist)
        yield "until", last + late + WRITE_LATENCY, 0
        self.ended[k] = self.loop.now


def _then(p: Process, done: Queue) -> Process:
    yield from p
    yield "put", done, 1


def _transfers(part: Design, images: int) -> Iterator[tuple[float, int, float]]:
    """When which bytes move, in order, and how long they may take before the stages wait."""
    interval, latency = timing.slowest(part.netlist), timing.analyse(part.netlist).latency_cycles
    first, last = ends(part)
    found = []
    for joint, delay in ((first, 0.0), (last, float(max(0, latency - interval)))):
        pieces = -(-joint.image_bytes // WAIT_BYTES)
        gap = interval / pieces
        # The DMA keeps a few bursts under way in front of the stages and behind them.
        found += [(n * interval + delay + j * gap, WAIT_BYTES, 4 * gap) for n in range(images) for j in range(pieces)]
    return iter(sorted(found))
