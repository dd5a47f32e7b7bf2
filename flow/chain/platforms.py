"""A chain over several boards: on each board the best chain of its segment, cuts where the slowest board is fastest.

A longer segment takes no less time, so at an interval T the furthest boundary that each board of a route keeps T to is
the best one to cut at, and bisection over T finds the smallest that reaches the end.  Segments are solved once and
remembered: what is known of one bounds those that hold it and those that it holds.
"""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import dataclass, field, replace

from flow.board import Board
from flow.chain.design import Chain, ChainError, Part, linear, part_images
from flow.chain.solve import MOST_IMAGES, limits
from flow.chain.solve import solve as solve_board
from flow.design import Bound, Violation
from flow.ir.graph import Graph
from flow.mapping import Goal, NoFit, cuts
from flow.platform import Platform
from flow.tiled import UnsupportedError, grid
from flow.tiled.place import Place
from flow.tiled.steps import BITS

STEP = 0.99  # ratio of the intervals that are tried
Path = tuple[tuple[int, int, int], ...]  # (first node, end, board)


@dataclass(eq=False)
class Problem:
    """What was found out about segments; lives within one call. Times are microseconds an image."""

    graph: Graph
    platform: Platform
    goal: Goal
    clock_mhz: float | None
    known: dict[tuple[int, int, Board, bool], Chain | None] = field(default_factory=dict)

    def open_ends(self, source: int, sink: int | None, time_us: float) -> list[int]:
        """Boundaries where one board may hand over to the next: a stream's bytes can be read by either engine and pass
        the link in time."""
        ends = cuts.boundaries(self.graph)
        if sink is None:
            return [ends[-1]]
        link = self.platform.link(source, sink)
        assert link is not None
        words = math.lcm(*(grid(self.platform.boards[b]).granule for b in (source, sink)))
        found = []
        for e in ends[1:-1]:
            t = self.graph.tensors[self.graph.nodes[e - 1].id]
            size = math.prod(t.shape)
            if t.quant.bits <= BITS and t.shape[0] % words == 0 and size / (link.bandwidth_gb_s * 1e3) <= time_us:
                found.append(e)
        return [*found, ends[-1]]

    def chain(self, first: int, end: int, b: int) -> Chain | None:
        """The best chain of a segment on a board; its ends lie as a stream's bytes do."""
        board, last = self.platform.boards[b], end == len(self.graph.nodes)
        key = first, end, board, last
        if key not in self.known:
            goal = Goal("throughput", self.goal.max_utilisation, decision=self.goal.decision)
            entry = self.entry(first, board)
            try:
                found = solve_board(
                    cuts.segment(self.graph, first, end), board, goal, self.clock_mhz, entry=entry, plain=not last,
                    passed=self.passed(first, end),
                )  # fmt: skip
            except UnsupportedError:
                found = NoFit(())
            self.known[key] = None if isinstance(found, NoFit) else found
        return self.known[key]

    def passed(self, first: int, end: int) -> int:
        """Bytes an image that come and go over links."""
        tensors = [self.graph.nodes[e - 1].id for e in (first, end) if 0 < e < len(self.graph.nodes)]
        return sum(math.prod(self.graph.tensors[t].shape) for t in tensors)

    def entry(self, first: int, board: Board) -> Place | None:
        if not first:
            return None
        shape = self.graph.tensors[self.graph.nodes[first - 1].id].shape
        return linear(*shape, grid(board).granule)

    def time_us(self, first: int, end: int, b: int) -> float:
        found = self.chain(first, end, b)
        return math.inf if found is None else found.step_us / found.images

    def walk(self, route: tuple[int, ...], time_us: float) -> Path | None:
        """The furthest segment on each board in turn; None when the end is not reached."""
        at, path = 0, []
        for b, after in itertools.zip_longest(route, route[1:]):
            ends = [e for e in self.open_ends(b, after, time_us) if e > at]
            low, high = -1, len(ends)
            while high - low > 1:
                mid = (low + high) // 2
                low, high = (mid, high) if self.time_us(at, ends[mid], b) <= time_us else (low, mid)
            if low < 0:
                return None
            path.append((at, ends[low], b))
            at = ends[low]
            if at == len(self.graph.nodes):
                return tuple(path)
        return None

    def best(self) -> Path | None:
        """The path of the smallest interval, to a percent."""
        best: Path | None = None
        most = math.inf
        for route in self.platform.routes():
            alone = self.time_us(0, len(self.graph.nodes), route[0])
            if alone < most:
                best, most = ((0, len(self.graph.nodes), route[0]),), alone
            low = math.log((alone if math.isfinite(alone) else 1e7) / len(route) / 4)
            high = math.log(min(most, 1e7) * STEP)
            while high - low > 1 - STEP:
                mid = (low + high) / 2
                path = self.walk(route, math.exp(mid))
                if path is None:
                    low = mid
                    continue
                best, most = path, max(self.time_us(*part) for part in path)
                high = min(mid, math.log(most))
        return best


def solve_platform(
    graph: Graph, platform: Platform, goal: Goal | None = None, clock_mhz: float | None = None
) -> Chain | NoFit:
    """The fastest chain over a platform's boards within the goal's limits; NoFit says which are missed."""
    goal, started = goal or Goal(), time.perf_counter()
    p = Problem(graph, platform, goal, clock_mhz)
    path = p.best()
    found = None if path is None else assembled(p, path)
    if found is None:
        return NoFit((Violation("chain", 1, 0),))
    bound = Bound(math.ceil(found.interval_cycles * STEP), "chain", 1 / STEP - 1, False, time.perf_counter() - started)
    found = replace(found, bound=bound)
    missed = limits(found, goal)
    return NoFit(missed) if missed else found


def assembled(p: Problem, path: Path) -> Chain | None:
    """The boards' chains as one. Boards agree on the images of a step: whole batches of all of them."""
    chains = [p.chain(*part) for part in path]
    parts: list[Part] = []
    places: list[int] = []
    bounds = [0]
    for (first, _, b), own in zip(path, chains, strict=True):
        assert own is not None
        parts += own.parts
        places += [b] * len(own.parts)
        bounds += [first + e for e in own.boundaries[1:]]
    whole = math.lcm(*(part_images(x) for x in parts))
    images = max(whole, min(max(c.images for c in chains if c), MOST_IMAGES) // whole * whole)
    try:
        return Chain(
            p.graph, p.platform, tuple(places), tuple(bounds), tuple(parts), images, Bound(1, "", 0.0, False, 0.0)
        )
    except ChainError:
        return None
