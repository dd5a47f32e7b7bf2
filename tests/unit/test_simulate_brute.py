"""A second cycle simulation, written apart from the first: every cycle, every process, explicit pipeline registers.

It shares only ``blocks.schedule`` (which iteration moves which beat) with flow/simulate.py. Other tests import it from
here; the tests in this file check it by hand-counted cycles, so that agreement of the two means something.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from flow import blocks
from flow.board import Resources
from flow.design import Netlist, Port, Process, Stream


@dataclass
class Fifo:
    """Beats that can be read now, and what this cycle adds and takes; both take effect at its end."""

    depth: int
    beats: int = 0
    added: int = 0
    taken: int = 0
    most: int = 0

    def end_of_cycle(self) -> None:
        self.most = max(self.most, self.beats + self.added)
        self.beats += self.added - self.taken
        self.added = self.taken = 0


@dataclass
class Worker:
    """A process: iterations in flight stand in ``pipe`` (None: a bubble), entry first."""

    id: str
    iterations: int
    depth: int
    reads: list[set[int]]
    writes: list[set[int]]
    sources: list[tuple[str, Fifo] | None]
    sinks: list[tuple[str, Fifo] | None]
    pipe: list[int | None] = field(default_factory=list)
    next_iteration: int = 0
    left: int = 0  # iterations of this image that are through
    image: int = 0
    wait: int = 0  # cycles until the image's first iteration may fire
    moved: bool = False
    transferred: bool = False

    def empty(self, iteration: int) -> list[str]:
        """Inputs of an iteration that hold no beat."""
        ends = [e for e, when in zip(self.sources, self.reads, strict=True) if e and iteration in when]
        return [name for name, fifo in ends if fifo.beats == 0]

    def full(self, iteration: int) -> list[str]:
        ends = [e for e, when in zip(self.sinks, self.writes, strict=True) if e and iteration in when]
        return [name for name, fifo in ends if fifo.beats >= fifo.depth]

    def enter(self, iteration: int) -> None:
        for end, when in zip(self.sources, self.reads, strict=True):
            if iteration in when:
                self.transferred = True
                if end:
                    end[1].taken += 1
        self.next_iteration += 1
        self.moved = True

    def leave(self, iteration: int) -> None:
        for end, when in zip(self.sinks, self.writes, strict=True):
            if iteration in when:
                self.transferred = True
                if end:
                    end[1].added += 1
        self.left += 1
        self.moved = True

    def next_image(self) -> None:
        self.image += 1
        self.next_iteration = self.left = 0
        self.pipe = [None] * (self.depth - 1)
        self.wait = 2 if self.depth > 1 else 3

    def cycle(self, stalling: bool) -> None:
        self.moved = self.transferred = False
        if self.wait > 0:
            self.wait -= 1
            self.moved = True
        elif stalling or self.depth == 1:
            self.cycle_stalling()
        else:
            self.cycle_flushing()

    def cycle_stalling(self) -> None:
        """All stages move, or none."""
        due = self.next_iteration if self.next_iteration < self.iterations else None
        last = self.pipe[-1] if self.pipe else due
        if (due is not None and self.empty(due)) or (last is not None and self.full(last)):
            return
        self.moved = True
        if due is not None:
            self.enter(due)
        if last is not None:
            self.leave(last)
        self.pipe = [due, *self.pipe][: self.depth - 1]

    def cycle_flushing(self) -> None:
        """From exit to entry, every stage moves into the next when that one is free."""
        last = self.pipe[-1]
        if last is not None and not self.full(last):
            self.leave(last)
            self.pipe[-1] = None
        for stage in range(self.depth - 2, 0, -1):
            if self.pipe[stage] is None and self.pipe[stage - 1] is not None:
                self.pipe[stage], self.pipe[stage - 1] = self.pipe[stage - 1], None
                self.moved = True
        if self.pipe[0] is None and self.next_iteration < self.iterations and not self.empty(self.next_iteration):
            self.pipe[0] = self.next_iteration
            self.enter(self.next_iteration)

    def waiting(self, stalling: bool) -> list[tuple[str, str, str]]:
        """Where it stands once nothing moves."""
        due = self.next_iteration if self.next_iteration < self.iterations else None
        rigid = stalling or self.depth == 1
        last = self.pipe[-1] if self.pipe else due
        enters = due is not None and (rigid or self.pipe[0] is None)
        found = [(self.id, "reads", s) for s in self.empty(due)] if enters and due is not None else []
        return found + ([(self.id, "writes", s) for s in self.full(last)] if last is not None else [])


@dataclass
class Outcome:
    """What the brute-force simulation saw; ``ends``: per image the cycle after it is complete."""

    ends: list[int]
    most: dict[str, int]
    deadlock: tuple[int, tuple[tuple[str, str, str], ...]] | None


def workers(net: Netlist, fifos: dict[str, Fifo]) -> list[Worker]:
    into = {s.sink: (s.name, fifos[s.name]) for s in net.streams}
    out_of = {s.source: (s.name, fifos[s.name]) for s in net.streams}
    made = []
    for p in net.processes:
        reads, writes = ([{int(i) for i in port} for port in side] for side in blocks.schedule(p))
        sources = [into.get((p.id, k)) for k in range(len(reads))]
        sinks = [out_of.get((p.id, k)) for k in range(len(writes))]
        made.append(Worker(p.id, p.iterations, p.depth, reads, writes, sources, sinks, [None] * (p.depth - 1)))
    return made


def brute(net: Netlist, images: int, stalling: bool = False) -> Outcome:
    """Step cycle by cycle until all images are through or nothing moves any more."""
    fifos = {s.name: Fifo(s.depth) for s in net.streams}
    crew = workers(net, fifos)
    ends = [0] * images
    cycle, last_transfer = 0, -1
    while any(w.image < images for w in crew):
        active = [w for w in crew if w.image < images]
        for w in active:
            w.cycle(stalling)
        for f in fifos.values():
            f.end_of_cycle()
        for w in active:
            if w.transferred:
                last_transfer = cycle
            if w.left == w.iterations:
                ends[w.image] = max(ends[w.image], cycle + 2)
                w.next_image()
        if not any(w.moved for w in active):
            found = tuple(x for w in active for x in w.waiting(stalling))
            return Outcome(ends, {s: f.most for s, f in fifos.items()}, (last_transfer + 1, found))
        cycle += 1
    return Outcome(ends, {s: f.most for s, f in fifos.items()}, None)


def copy(ident: str, beats: int, depth: int, inputs: int = 1, outputs: int = 1) -> Process:
    """A process that moves one beat an iteration on every port."""
    port = Port(1, 8, False, beats)
    kind = {(1, 1): "to_axis", (1, 2): "fork", (2, 1): "add"}[inputs, outputs]
    return Process(
        ident, ident, "x.h", kind, (), (), (port,) * inputs, (port,) * outputs, beats, depth, Resources()
    )  # fmt: skip


def chain(beats: int, depths: tuple[int, ...], fifo: int) -> Netlist:
    """Copies one after another."""
    ps = tuple(copy(f"p{i}", beats, d) for i, d in enumerate(depths))
    port = ps[0].inputs[0]
    streams = (Stream(f"s{i}", (f"p{i}", 0), (f"p{i + 1}", 0), port, fifo) for i in range(len(ps) - 1))
    return Netlist(ps, tuple(streams))


def diamond(beats: int, slow: int, skip: int, depth: int = 2) -> Netlist:
    """A fork, a process of pipeline depth ``slow`` on one branch, a FIFO of ``skip`` beats on the other, an adder."""
    ps = (
        copy("split", beats, depth, outputs=2),
        copy("slow", beats, slow),
        copy("join", beats, depth, inputs=2),
    )
    port = ps[0].inputs[0]
    return Netlist(
        ps,
        (
            Stream("a", ("split", 0), ("slow", 0), port, 2),
            Stream("b", ("slow", 0), ("join", 0), port, 2),
            Stream("skip", ("split", 1), ("join", 1), port, skip),
        ),
    )


def test_one_process_by_hand() -> None:
    # Fires in cycles 0..4, depth 3: the last beat leaves in 4 + 2, two cycles on the image is complete; the next image
    # starts process_cycles + 1 = (5 - 1 + 2 + 2) + 1 = 9 cycles after the first.
    net = chain(5, (3,), 2)
    assert net.processes[0].cycles == 8
    assert brute(net, 3).ends == [8, 17, 26]
    assert brute(net, 3, stalling=True).ends == [8, 17, 26]


@pytest.mark.parametrize("stalling", [False, True])
def test_two_processes_by_hand(stalling: bool) -> None:
    # p0 writes in cycles 1..5 (depth 2); p1 reads one later, in 2..6, and writes 2 later still, in 4..8.
    seen = brute(chain(5, (2, 3), 2), 2, stalling)
    assert seen.ends == [10, 10 + 9] and seen.most == {"s0": 2} and seen.deadlock is None


def test_one_place_halves_the_rate() -> None:
    # A place freed in t takes a beat in t + 1, which can be read in t + 2.
    seen = brute(chain(5, (2, 2), 1), 2)
    assert seen.ends[0] == (1 + 2 * 4) + 1 + 1 + 2


def test_flushing_keeps_going_where_stalling_deadlocks() -> None:
    # The branch holds up to 9 beats in its pipeline; a skip FIFO of 4 stops the fork, and only a flushing pipeline
    # hands out what it has without further input.
    net = diamond(20, 10, 4)
    assert brute(net, 2).deadlock is None
    stop = brute(net, 2, stalling=True).deadlock
    assert stop is not None
    assert stop[1] == (("split", "writes", "skip"), ("slow", "reads", "a"), ("join", "reads", "b"))
    assert brute(diamond(20, 10, 14), 2, stalling=True).deadlock is None
