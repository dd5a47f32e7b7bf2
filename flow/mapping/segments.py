"""Segments of a network on the boards of a platform: what fits within a time, what is proved not to, remembered."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from flow import blocks, elaborate, timing
from flow import estimate as cost
from flow.blocks import stream
from flow.blocks.link import word_cycles
from flow.board import Board, Resources
from flow.design import Design, excess
from flow.ir.graph import Graph
from flow.mapping import cuts
from flow.mapping.reach import Stages
from flow.mapping.solve import solve
from flow.mapping.task import Goal, NoFit, Task
from flow.platform import Platform


@dataclass
class Problem:
    """What a partition is sought for, and what has been found out about segments; lives within one call."""

    graph: Graph
    platform: Platform
    goal: Goal
    clock_mhz: float | None
    ends: np.ndarray = field(init=False)
    stages: dict[int, Stages] = field(init=False)
    kept: dict[tuple[int, int, Board], Design] = field(default_factory=dict)  # smallest interval found
    failed: dict[tuple[int, int, Board], float] = field(default_factory=dict)  # largest time (us) that does not fit
    floors: dict[tuple[int, int, Board], float] = field(default_factory=dict)  # proved least time (us)

    def times(self) -> np.ndarray:
        """Every interval (us) that a stage or a link can set, ascending."""
        found = [s.times_us() for s in {id(s): s for s in self.stages.values()}.values()]
        links = {self.link_us(int(e), k.source, k.sink) for k in self.platform.links for e in self.ends[:-1]}
        return np.unique(np.concatenate([*found, np.array(sorted(links))]))

    def __post_init__(self) -> None:
        self.ends = np.array(cuts.boundaries(self.graph)[1:])
        by_board: dict[Board, Stages] = {}
        self.stages = {}
        for b, board in enumerate(self.platform.boards):
            if board not in by_board:
                options = [blocks.options(self.graph, n, board) for n in self.graph.nodes]
                by_board[board] = Stages(options, self.budget(b), self.clock(b))
            self.stages[b] = by_board[board]

    def wish(self, objective: str, min_fps: float | None = None) -> Goal:
        """What one board's mapper is asked for: the goal's budget, not its limits on the whole."""
        return Goal(objective, self.goal.max_utilisation, min_fps, decision=self.goal.decision)

    def clock(self, b: int) -> float:
        return self.clock_mhz or self.platform.boards[b].clock_mhz

    def budget(self, b: int) -> Resources:
        return cost.share(self.platform.boards[b], self.goal.max_utilisation, self.goal.decision)

    def open_ends(self, source: int, sink: int | None, time_us: float) -> np.ndarray:
        """Boundaries whose tensor passes the link within the time, and the end of the network."""
        if sink is None:
            return self.ends[-1:]
        return np.array([e for e in self.ends[:-1] if self.link_us(int(e), source, sink) <= time_us] + [self.ends[-1]])

    def link_us(self, end: int, source: int, sink: int) -> float:
        """Time of one image's tensor on a link, three cycles of the stages at its ends included."""
        link = self.platform.link(source, sink)
        assert link is not None
        tensor = self.graph.tensors[self.graph.nodes[end - 1].id]
        clock = self.clock(source)
        size = elaborate.size(self.graph, self.graph.nodes[end - 1].id)
        widest = elaborate.AXIS_WIDTHS[-1]
        words = -(-size // (widest // stream.slot_bits(tensor.quant)))
        least = size * stream.slot_bits(tensor.quant) / 8 / (link.bandwidth_gb_s * 1e3)
        return max(least, word_cycles(words, 8, 1e9, clock) / clock) + 3 / clock

    def floor_us(self, first: int, end: int, b: int) -> float:
        """The one-board mapper's proved least interval of a segment; infinite where nothing fits."""
        key = first, end, self.platform.boards[b]
        if key not in self.floors:
            task = Task(cuts.segment(self.graph, first, end), key[2], self.wish("throughput"), self.clock(b))
            self.floors[key] = math.inf if task.bound is None else task.bound / self.clock(b)
        return self.floors[key]

    def fits(self, first: int, end: int, b: int, time_us: float) -> Design | None:
        """A design of a segment within the time, the smallest that the mapper finds; remembered both ways."""
        board = self.platform.boards[b]
        key = (first, end, board)
        known = self.kept.get(key)
        if known is not None and timing.slowest(known.netlist) / self.clock(b) <= time_us:
            return known
        if time_us <= self.failed.get(key, -1.0):
            return None
        goal = self.wish("area", 1e6 / time_us * (1 - 1e-12))
        found = solve(cuts.segment(self.graph, first, end), board, goal, self.clock(b))
        if isinstance(found, NoFit) or excess(cost.resources(found.netlist), self.budget(b)):
            # What a segment needs, every longer one needs too.
            for e in (int(e) for e in self.ends if e >= end):
                self.failed[first, e, board] = max(time_us, self.failed.get((first, e, board), -1.0))
            return None
        self.kept[key] = found
        return found
