"""The best engine of a grid for a network and a board, proved by looking at all of it.

Cycles fall when a buffer grows (every tiling that fits still fits), so an engine with the grid's largest buffers bounds
all engines of its array, and the array alone bounds those (`nest.ideal`).  Arrays are taken in the order of that bound;
the search stops when the next one's is no better than what is in hand.  Within an array the buffers that fit and that
no other fitting choice contains are evaluated one by one.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from flow.blocks import UnsupportedError
from flow.board import Board, Resources
from flow.design import Bound, Violation, excess
from flow.estimate import share
from flow.ir.graph import Graph
from flow.mapping import Goal, NoFit
from flow.tiled import tilings
from flow.tiled.design import Rates, Room, TiledDesign, rates, room
from flow.tiled.engine import Buffers, Engine, Features, port_bytes, port_count, resources
from flow.tiled.layout import jobs
from flow.tiled.place import Place
from flow.tiled.steps import Steps, lower
from flow.tiled.tilings import Choice

PATIENCE = 0.01  # share of the time that may be given for less traffic once the engine is chosen


@dataclass(frozen=True)
class Grid:
    """Values of every parameter; the search's answer is the best of their product that fits."""

    arrays: tuple[tuple[int, int], ...]  # (tm, tn)
    granule: int
    wp: tuple[int, ...]
    acc_depth: tuple[int, ...] = (256, 512, 1024)
    in_depth: tuple[int, ...] = (1024, 2048, 4096, 8192)
    cache: tuple[int, ...] = (0, 2048, 8192, 16384)
    taps: tuple[int, ...] = (3,)
    copies: tuple[int, ...] = (1, 2, 3, 4)
    batch: tuple[int, ...] = (1, 2, 4)

    def points(self) -> int:
        """How many designs the grid holds."""
        sizes = (self.wp, self.acc_depth, self.in_depth, self.cache, self.taps, self.copies, self.batch)
        out = len(self.arrays)
        for values in sizes:
            out *= len(values)
        return out


@cache
def grid(board: Board) -> Grid:
    """The default grid: words as wide as the board's ports, arrays up to its DSPs, one engine a port at most."""
    granule = min(16, port_bytes(board))
    sides = [granule * k for k in (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16)]
    most = board.available.dsp * 2
    arrays = tuple((m, n) for m in sides for n in sides if max(m, n) % min(m, n) == 0 and m * n <= most and n <= 128)
    copies = tuple(range(1, port_count(board) + 1))
    return Grid(arrays, granule, (granule, 2 * granule), copies=copies)


@dataclass(frozen=True)
class Array:
    """An engine but for its buffers, how often it is there, and what no choice of buffers can beat."""

    engine: Engine
    copies: int
    batch: int
    floor: float  # cycles: of an image, or of a batch for latency


def solve(
    graph: Graph, board: Board, goal: Goal | None = None, clock_mhz: float | None = None, space: Grid | None = None,
    within: Room | None = None, entry: Place | None = None,
) -> TiledDesign | NoFit:  # fmt: skip
    """The best tiled design for a goal. Raises UnsupportedError when the engine cannot compute a node.

    ``within``: what of the board it may use, if not all; ``entry``: how its input lies in memory, where its maker
    decides that. NoFit says what is short.
    """
    goal, clock, space = goal or Goal(), clock_mhz or board.clock_mhz, space or grid(board)
    started = time.perf_counter()
    allowed = share(board, goal.max_utilisation) if within is None else None
    steps, within = lower(graph, entry), within or room(board, goal.max_utilisation, goal.decision)
    budget = within.resources
    best: tuple[tuple[float, ...], Array, Engine, tuple[Choice, ...]] | None = None
    smallest: tuple[Violation, ...] = ()
    for array in arrays(steps, board, goal, clock, space, within):
        if best is not None and goal.objective != "area" and array.floor >= best[0][0]:
            break
        if goal.min_fps and goal.objective == "throughput" and array.floor > clock * 1e6 / goal.min_fps:
            break
        each = Resources(*(n // array.copies for n in budget.tuple))
        found = fitting(array.engine, jobs(steps, array.engine)[0].features, board, each, space)
        if not found:
            smallest = smallest or _short(array, steps, board, budget, space)
            continue
        pace = rates(board, clock, array.engine, array.copies, within.memory)
        most = _limit_cycles(goal, array, best[0]) if best else None
        if _cycles(steps, array.engine.sized(_most(found)), array.batch, pace, most) is None:
            continue
        for buffers in found:
            engine = array.engine.sized(buffers)
            most = _limit_cycles(goal, array, best[0]) if best else None
            choices = _cycles(steps, engine, array.batch, pace, most)
            if choices is None or not _meets(goal, clock, array, choices):
                continue
            key = _key(goal, array, choices, engine, board)
            if best is None or key < best[0]:
                best = key, array, engine, choices
    if best is None:
        return NoFit(smallest or _limits(goal))
    _, array, engine, choices = best
    pace, images = rates(board, clock, engine, array.copies, within.memory), array.batch * array.copies
    proved = -(-sum(c.cycles for c in choices) // images)
    choices = _thrifty(goal, clock, steps, engine, array, choices, pace)
    limit = _limit(steps, engine, array, choices, pace)
    gap = -(-sum(c.cycles for c in choices) // images) / proved - 1
    bound = Bound(proved, limit, gap, True, time.perf_counter() - started)
    return TiledDesign(
        graph, board, clock, engine, array.copies, array.batch, steps, choices, bound, budget, within.memory,
        goal.decision, allowed,
    )  # fmt: skip


def arrays(steps: Steps, board: Board, goal: Goal, clock: float, space: Grid, within: Room) -> Iterator[Array]:
    """Arrays of the grid whose DSPs and LUTs fit, the most promising first.

    Raises UnsupportedError where none can read the network's maps as they lie.
    """
    budget, refused = within.resources, None
    least = Buffers(min(space.acc_depth), min(space.in_depth), min(space.cache))
    most = Buffers(max(space.acc_depth), max(space.in_depth), max(space.cache))
    found, readable = [], False
    for tm, tn in space.arrays:
        for wp, taps in itertools.product(space.wp, space.taps):
            if tm % wp:
                continue
            engine = Engine(tm, tn, space.granule, wp, *least, taps=taps)
            try:
                each = Counter(jobs(steps, engine.sized(most)))
                count = np.array(list(each.values()))
                needed = tilings.least(list(each))
                floors = {batch: tilings.floors(needed, batch) for batch in space.batch}
            except UnsupportedError as e:
                refused = e
                continue
            readable = True
            used = resources(engine, next(iter(each)).features, board.ultrascale)
            for copies, batch in itertools.product(space.copies, space.batch):
                if used.dsp * copies > budget.dsp or used.lut * copies > budget.lut or copies > within.ports:
                    continue
                placed = replace(engine, ports=within.ports // copies)
                pace = rates(board, clock, placed, copies, within.memory)
                work = int((count * floors[batch].cycles(pace.memory, pace.port)).sum())
                floor = work / (batch * copies) if goal.objective != "latency" else float(work)
                found.append(Array(placed, copies, batch, floor))
    if refused is not None and not readable:
        raise refused
    found.sort(key=lambda a: (a.floor, a.copies, a.batch))
    return iter(found)


def fitting(engine: Engine, features: Features, board: Board, room: Resources, space: Grid) -> list[Buffers]:
    """Buffer sizes that fit and are contained in no other fitting choice, largest first."""
    found: list[Buffers] = []
    for acc in sorted(space.acc_depth, reverse=True):
        for words in sorted(space.in_depth, reverse=True):
            for kept in sorted(space.cache, reverse=True):
                trial = Buffers(acc, words, kept)
                if any(all(a >= b for a, b in zip(f, trial, strict=True)) for f in found):
                    break
                e = engine.sized(trial)
                if not excess(resources(e, features, board.ultrascale), room):
                    found.append(trial)
    return found


def _most(found: list[Buffers]) -> Buffers:
    return Buffers(*(max(sizes) for sizes in zip(*found, strict=True)))


def _cycles(
    steps: Steps, engine: Engine, batch: int, pace: Rates, most: float | None = None, price: float = 0.0
) -> tuple[Choice, ...] | None:
    """The best tiling of every step; None when one has none, or when all together need ``most`` cycles or more."""
    each = jobs(steps, engine)
    least = tilings.floors(tilings.least(each), batch).cycles(pace.memory, pace.port)
    known: dict[int, Choice] = {}
    total = int(least.sum())
    for k in np.argsort(-least, kind="stable").tolist():  # the longest first: they decide
        choice = tilings.best(each[k], batch, pace.memory, pace.port, price)
        if choice is None:
            return None
        known[k] = choice
        total += choice.cycles - int(least[k])
        if most is not None and total > most:
            return None
    return tuple(known[k] for k in range(len(each)))


def _thrifty(
    goal: Goal, clock: float, steps: Steps, engine: Engine, array: Array, choices: tuple[Choice, ...], pace: Rates
) -> tuple[Choice, ...]:
    """Tilings of least traffic that together take at most PATIENCE longer: one price of a byte in cycles for all steps,
    the highest that the time allows (bisection)."""
    most = sum(c.cycles for c in choices) * (1 + PATIENCE)
    low, high, found = 0.0, 4.0 / pace.memory, choices
    for _ in range(12):
        price = (low + high) / 2
        trial = _cycles(steps, engine, array.batch, pace, price=price)
        fits = trial is not None and sum(c.cycles for c in trial) <= most and _meets(goal, clock, array, trial)
        if fits and trial is not None:
            low, found = price, trial
        else:
            high = price
    return found


def _limit_cycles(goal: Goal, array: Array, key: tuple[float, ...]) -> float | None:
    """Cycles of a batch above which an array is no better than what is in hand."""
    if goal.objective == "area":
        return None
    return key[0] if goal.objective == "latency" else key[0] * array.batch * array.copies


def _key(goal: Goal, array: Array, choices: tuple[Choice, ...], engine: Engine, board: Board) -> tuple[float, ...]:
    """What is minimised, in order."""
    cycles = sum(c.cycles for c in choices)
    interval, moved = cycles / (array.batch * array.copies), sum(c.moved for c in choices) / array.batch
    if goal.objective == "latency":
        return float(cycles), interval, moved
    if goal.objective == "area":
        used = array.copies * engine.macs + engine.in_depth * engine.tn / 64 + engine.acc_depth * engine.tm / 64
        return used, interval, moved
    return interval, float(cycles), moved


def _meets(goal: Goal, clock: float, array: Array, choices: tuple[Choice, ...]) -> bool:
    cycles = sum(c.cycles for c in choices)
    fps = clock * 1e6 * array.batch * array.copies / cycles
    return fps >= (goal.min_fps or 0) and cycles / (clock * 1e3) <= (goal.max_latency_ms or float("inf"))


def _short(array: Array, steps: Steps, board: Board, budget: Resources, space: Grid) -> tuple[Violation, ...]:
    used = resources(array.engine, jobs(steps, array.engine)[0].features, board.ultrascale).times(array.copies)
    return excess(used, budget)


def _limits(goal: Goal) -> tuple[Violation, ...]:
    """No engine of the grid keeps the goal's limits."""
    if goal.min_fps:
        return (Violation("fps", goal.min_fps, 0),)
    if goal.max_latency_ms:
        return (Violation("latency_ms", 0, goal.max_latency_ms),)
    return (Violation("in_depth", 1, 0),)


def _limit(steps: Steps, engine: Engine, array: Array, choices: tuple[Choice, ...], pace: Rates) -> str:
    """What most of the time is spent on: the array, or memory."""
    work = array.batch * sum(tilings.ideal(j) for j in jobs(steps, engine))
    moved = sum(c.moved for c in choices) / pace.memory
    return "dsp" if work >= moved else "bandwidth"
