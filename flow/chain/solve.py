"""The best chain of a board: streaming stages at either end, one engine or two between, cuts and budgets together.

A candidate says where the cuts are.  At an interval T its streaming parts are the smallest that keep T, and the
engines share what they leave of every resource and of the memory's bandwidth: the first of two is the smallest that
keeps T with its share of the bandwidth, the last takes all the rest.  So one test decides a candidate at T, and a
candidate that fails at T fails at any smaller one.  Each candidate in turn is asked for something better than the
best so far; only where it has it, bisection finds how much better.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from flow import estimate, timing
from flow.board import Board, Resources
from flow.chain.design import Chain, ChainError, Part, bytes_share, linear, part_images, stream_share, used
from flow.design import Bound, Design, Violation, excess
from flow.ir.graph import Graph
from flow.mapping import Goal, NoFit, cuts
from flow.mapping import solve as map_stages
from flow.platform import Platform
from flow.tiled import Grid, TiledDesign, UnsupportedError, grid, lower
from flow.tiled import solve as solve_engine
from flow.tiled.design import Room
from flow.tiled.engine import Features, port_count, resources
from flow.tiled.layout import jobs, places
from flow.tiled.place import Place
from flow.tiled.solve import arrays
from flow.tiled.steps import BITS

STEP = 0.995  # ratio of the intervals that are tried
SLOWEST_US = 1e7  # ten seconds an image: slower chains are not sought
SHARES = (0.25, 0.5, 0.75)  # of the engines' bandwidth for the first of two
FILL = 0.01  # share of a step that filling the stages may take
MOST_IMAGES = 64  # of a step


@dataclass(frozen=True)
class Cut:
    """A candidate. Boundaries: stages before ``head``, engines up to ``middle`` and ``tail``, stages behind it.

    ``middle`` is ``tail`` with one engine; ``share``: the first engine's part of the bandwidth.
    """

    head: int
    middle: int
    tail: int
    share: float = 1.0


@dataclass(eq=False)
class Search:
    """One question; what was found out lives within one call."""

    graph: Graph
    board: Board
    goal: Goal
    clock_mhz: float
    space: Grid
    entry: Place | None = None  # of the network's input, where another board writes it
    plain: bool = False  # the network's output is read pixel after pixel
    passed: int = 0  # bytes an image that links move to and from this board's memory
    stages: dict[tuple[int, int, int], Design | None] = field(default_factory=dict)
    floors: dict[tuple[int, int, float, int], list[tuple[float, int]]] = field(default_factory=dict)
    tests: int = 0

    @cached_property
    def budget(self) -> Resources:
        return estimate.share(self.board, self.goal.max_utilisation, self.goal.decision)

    @cached_property
    def ends(self) -> tuple[int, ...]:
        return cuts.boundaries(self.graph)

    def cycles(self, level: int) -> float:
        """The interval of a level: 0 is the slowest that is looked at."""
        return SLOWEST_US * self.clock_mhz * STEP**level

    def level(self, cycles: float) -> int:
        """The last level that an interval keeps."""
        return max(0, math.floor(math.log(cycles / self.cycles(0) * (1 - 1e-12)) / math.log(STEP)))

    def readable(self, end: int) -> bool:
        """Whether an engine and a stream can pass the tensor at a boundary to each other."""
        t = self.graph.tensors[self.graph.nodes[end - 1].id]
        return t.quant.bits <= BITS and t.shape[0] % self.space.granule == 0

    def candidates(self, most_engines: int) -> Iterator[Cut]:
        """Fewest parts first."""
        n = self.ends[-1]
        heads = [e for e in self.ends[1:-1] if self.readable(e)]
        yield Cut(0, n, n)
        yield from (Cut(h, n, n) for h in heads)
        yield from (Cut(0, t, t) for t in heads[::-1])
        if most_engines > 1:
            for m, s in itertools.product(self.ends[1:-1], SHARES):
                yield Cut(0, m, n, s)
        yield from (Cut(h, t, t) for h in heads for t in heads if h < t)

    def staged(self, first: int, end: int, level: int) -> Design | None:
        """The smallest stages of a segment that keep a level's interval, the filling at the begin of every step
        included; None where there are none."""
        key = first, end, level
        if key not in self.stages:
            found = self._stages(first, end, self.cycles(level) / (1 + FILL))
            if found is not None and self._fill(found) / MOST_IMAGES > FILL:
                found = self._stages(first, end, self.cycles(level) / (1 + self._fill(found) / MOST_IMAGES))
            self.stages[key] = found
        return self.stages[key]

    def _stages(self, first: int, end: int, cycles: float) -> Design | None:
        fps = self.clock_mhz * 1e6 / cycles
        goal = Goal("area", self.goal.max_utilisation, fps, decision=self.goal.decision)
        found = map_stages(cuts.segment(self.graph, first, end), self.board, goal, self.clock_mhz)
        return None if isinstance(found, NoFit) else found

    def at(self, cut: Cut, level: int) -> tuple[Part, ...] | None:
        """The parts of a candidate that keep a level's interval."""
        self.tests += 1
        n = self.ends[-1]
        outer: list[Design] = []
        for first, end in ((0, cut.head), (cut.tail, n)):
            if first < end:
                part = self.staged(first, end, level)
                if part is None:
                    return None
                outer.append(part)
        left = self._less(self.budget, [used(p) for p in outer])
        # Stages may run ahead of the level: they never move more than at their own interval.
        memory = 1.0 - sum(stream_share(p, timing.slowest(p.netlist) / p.clock_mhz) for p in outer)
        engines = None if left is None else self._within(cut, left, memory, level)
        if engines is None:
            return None
        head, tail = outer[: cut.head > 0], outer[cut.head > 0 :]
        return (*head, *engines, *tail)

    def _within(self, cut: Cut, left: Resources, memory: float, level: int) -> tuple[TiledDesign, ...] | None:
        """The engines beside what links move; faster ones than asked for make links move more."""
        pace = self.cycles(level)
        while True:
            kept = memory - bytes_share(self.passed, self.board, pace / self.clock_mhz)
            if kept <= 0:
                return None
            found = self._engines(cut, Room(left, kept, port_count(self.board)), level)
            reached = max(e.interval_cycles for e in found) if found else 0
            if found is None or not self.passed or reached >= pace:
                return found
            pace = min(reached, pace * STEP)

    @staticmethod
    def _less(budget: Resources, taken: list[Resources]) -> Resources | None:
        total = sum(taken, Resources())
        if excess(total, budget):
            return None
        return Resources(*(b - u for b, u in zip(budget, total, strict=True)))

    def _engines(self, cut: Cut, room: Room, level: int) -> tuple[TiledDesign, ...] | None:
        if cut.middle == cut.tail:
            one = self.engine(cut.head, cut.tail, room, level, None)
            return None if one is None else (one,)
        ports = max(1, min(room.ports - 1, round(room.ports * cut.share)))
        if room.ports < 2:
            return None
        mine = Room(room.resources, room.memory * cut.share, ports)
        other = Room(room.resources, room.memory * (1 - cut.share), room.ports - ports)
        least = self.least_dsp(cut.head, cut.middle, mine, level) + self.least_dsp(cut.middle, cut.tail, other, level)
        if least > room.resources.dsp:
            return None
        first = self.engine(cut.head, cut.middle, mine, level, None, "area")
        left = None if first is None else self._less(room.resources, [first.resources])
        if first is None or left is None:
            return None
        rest = Room(left, room.memory * (1 - cut.share), room.ports - first.copies * first.engine.ports)
        second = self.engine(cut.middle, cut.tail, rest, level, first)
        return None if second is None else (first, second)

    def least_dsp(self, first: int, end: int, room: Room, level: int) -> float:
        """DSPs that any engines need for a segment at a level, by the bounds that no buffers beat."""
        key = first, end, room.memory, room.ports
        if key not in self.floors:
            goal, whole = Goal("throughput", self.goal.max_utilisation), replace(room, resources=self.budget)
            try:
                steps = lower(cuts.segment(self.graph, first, end))
                found = list(arrays(steps, self.board, goal, self.clock_mhz, self.space, whole))
                features = jobs(steps, found[0].engine)[0].features if found else Features()
            except UnsupportedError:
                found = []
            up = self.board.ultrascale
            self.floors[key] = [(a.floor, resources(a.engine, features, up).dsp * a.copies) for a in found]
        cycles = self.cycles(level)
        return min((float(dsp) for floor, dsp in self.floors[key] if floor <= cycles), default=math.inf)

    def engine(
        self, first: int, end: int, room: Room, level: int, before: TiledDesign | None, objective: str = "throughput"
    ) -> TiledDesign | None:
        """The best engines for a segment that keep a level's interval; ``before``: whose maps they read."""
        if room.ports < 1:
            return None
        fps = self.clock_mhz * 1e6 / self.cycles(level)
        goal = Goal(objective, self.goal.max_utilisation, fps, decision=self.goal.decision)
        entry, space = self.entry, self.space
        if first > 0:
            shape = self.graph.tensors[self.graph.nodes[first - 1].id].shape
            entry = (
                places(before.steps, before.engine)[before.graph.output] if before else linear(*shape, space.granule)
            )
        last = end == self.ends[-1]
        if (self.plain or not last) and objective == "throughput":  # read pixel after pixel
            c, h, w = self.graph.tensors[self.graph.nodes[end - 1].id].shape
            kept = tuple(a for a in space.arrays if h * w == 1 or a[0] >= c)
            space = replace(space, arrays=kept)
        try:
            found = solve_engine(
                cuts.segment(self.graph, first, end), self.board, goal, self.clock_mhz, space, room, entry
            )
        except UnsupportedError:
            return None
        return None if isinstance(found, NoFit) else found

    def chain(self, cut: Cut, parts: tuple[Part, ...], level: int) -> Chain | None:
        """The value, with as many images a step as keep the stages' filling short."""
        whole = math.lcm(*(part_images(p) for p in parts))
        fill = max((self._fill(p) for p in parts if isinstance(p, Design)), default=0.0)
        images = whole * max(1, min(MOST_IMAGES // whole, math.ceil(fill / FILL / whole)))
        at = (0, cut.head, cut.middle, cut.tail, self.ends[-1])
        bounds = tuple(dict.fromkeys(at))
        platform = Platform(self.board.name, (self.board,), ())
        bound = Bound(1, "chain", 0.0, False, 0.0)
        try:
            found = Chain(self.graph, platform, (0,) * len(parts), bounds, parts, images, bound)
        except ChainError:
            return None
        return None if found.violations() else found

    @staticmethod
    def _fill(part: Design) -> float:
        """Intervals that pass before a stream's first image is through."""
        return timing.analyse(part.netlist).latency_cycles / timing.slowest(part.netlist) - 1

    def best(self, most_engines: int) -> Chain | None:
        """The fastest chain of all candidates."""
        best, level = None, -1
        for cut in self.candidates(most_engines):
            found = self.improved(cut, level)
            if found is not None:
                best = found
                level = self.level(found.interval_cycles)
        return best

    def improved(self, cut: Cut, level: int) -> Chain | None:
        """A candidate's fastest chain if it keeps more than ``level``: in growing steps, then bisected."""
        best, low, high, step = None, level, None, 1
        while high is None or high - low > 1:
            trial = low + step if high is None else (low + high) // 2
            parts = self.at(cut, trial)
            found = None if parts is None else self.chain(cut, parts, trial)
            if found is None:
                high, step = trial, 1
                continue
            if best is None or found.interval_cycles < best.interval_cycles:
                best = found
            low = max(trial, min(self.level(found.interval_cycles), trial + 4 * step))
            step *= 2
        return best if best is not None and self.level(best.interval_cycles) > level else None


def solve(
    graph: Graph, board: Board, goal: Goal | None = None, clock_mhz: float | None = None, space: Grid | None = None,
    most_engines: int = 2, entry: Place | None = None, plain: bool = False,
    passed: int = 0,
) -> Chain | NoFit:  # fmt: skip
    """The fastest chain on one board within the goal's limits; NoFit says which are missed.

    ``entry``: how the input lies in memory where another board writes it; ``plain``: the output must lie pixel after
    pixel, as another board's stages or engines read it; ``passed``: bytes an image that links move.  Raises
    UnsupportedError where no block serves a node.
    """
    goal, started = goal or Goal(), time.perf_counter()
    search = Search(graph, board, goal, clock_mhz or board.clock_mhz, space or grid(board), entry, plain, passed)
    found = search.best(most_engines)
    if found is None:
        return short(search)
    reached = found.interval_cycles
    bound = Bound(math.ceil(reached * STEP), "chain", 1 / STEP - 1, False, time.perf_counter() - started)
    found = replace(found, bound=bound)
    missed = limits(found, goal)
    return NoFit(missed) if missed else found


def short(search: Search) -> NoFit:
    """What the simplest chain lacks: one engine or, where the engine cannot compute everything, a stage per layer."""
    try:
        alone: object = solve_engine(search.graph, search.board, search.goal, search.clock_mhz, search.space)
    except UnsupportedError:
        alone = map_stages(search.graph, search.board, search.goal, search.clock_mhz)
    return alone if isinstance(alone, NoFit) else NoFit((Violation("engines of a chain", 1, 0),))


def limits(chain: Chain, goal: Goal) -> tuple[Violation, ...]:
    """The goal's limits that a chain misses."""
    r, found = chain.report(), []
    if goal.min_fps and r.fps < goal.min_fps:
        found.append(Violation("fps", goal.min_fps, round(r.fps, 3)))
    if goal.max_latency_ms and r.latency_ms > goal.max_latency_ms:
        found.append(Violation("latency_ms", round(r.latency_ms, 6), goal.max_latency_ms))
    if goal.max_energy_mj and (r.energy_mj or 0.0) > goal.max_energy_mj:
        found.append(Violation("energy_mj", round(r.energy_mj or 0.0, 6), goal.max_energy_mj))
    return tuple(found)
