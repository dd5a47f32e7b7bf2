"""A grid's engines one by one: the hardware half of a co-search that chooses the engine itself.

``solve`` finds the best point of a grid for a given network; a search that changes network and engine together takes
the grid's parameters as genes, makes a point of their values and has the pair evaluated.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flow.board import Board
from flow.design import Bound, Violation
from flow.estimate import share
from flow.ir.graph import Graph
from flow.mapping import Goal, NoFit
from flow.tiled import tilings
from flow.tiled.design import TiledDesign, rates
from flow.tiled.engine import Engine, EngineError, port_count
from flow.tiled.layout import jobs
from flow.tiled.solve import Grid
from flow.tiled.steps import lower

GENES = ("arrays", "wp", "acc_depth", "in_depth", "cache", "taps", "copies", "batch")  # of a Grid, in this order


@dataclass(frozen=True)
class Point:
    """One design of a grid: ``copies`` engines that each compute ``batch`` images at a time."""

    engine: Engine
    copies: int
    batch: int


def genes(space: Grid) -> dict[str, tuple[Any, ...]]:
    """The grid's parameters and the values of each: what a genotype's hardware half is made of."""
    return {name: getattr(space, name) for name in GENES}


def point(space: Grid, board: Board, values: Mapping[str, Any]) -> Point:
    """The point of one value of every gene. Raises EngineError where the values contradict each other or are not the
    grid's."""
    for name, choices in genes(space).items():
        if values.get(name) not in choices:
            raise EngineError(f"{name} is {values.get(name)!r}: one of {', '.join(map(str, choices))}")
    tm, tn = values["arrays"]
    copies = values["copies"]
    engine = Engine(
        tm, tn, space.granule, values["wp"], values["acc_depth"], values["in_depth"], values["cache"],
        taps=values["taps"], ports=max(1, port_count(board) // copies),
    )  # fmt: skip
    return Point(engine, copies, values["batch"])


def points(space: Grid, board: Board) -> Iterator[Point]:
    """Every point of a grid whose values go together."""
    for values in itertools.product(*genes(space).values()):
        try:
            yield point(space, board, dict(zip(GENES, values, strict=True)))
        except EngineError:
            continue


def evaluate(
    graph: Graph, board: Board, chosen: Point, goal: Goal | None = None, clock_mhz: float | None = None
) -> TiledDesign | NoFit:
    """A network on a given point, every step with its fastest tiling: ``.report()`` has cycles, resources, violations.

    NoFit where some step has no tiling that the buffers hold. Raises UnsupportedError naming a node.
    """
    goal, clock, engine = goal or Goal(), clock_mhz or board.clock_mhz, chosen.engine
    steps, pace = lower(graph), rates(board, clock, engine, chosen.copies)
    choices = []
    for step, job in zip(steps.steps, jobs(steps, engine), strict=True):
        choice = tilings.best(job, chosen.batch, pace.memory, pace.port)
        if choice is None:
            return NoFit((Violation(f"input buffer of {step.name!r}", engine.in_depth + 1, engine.in_depth),))
        choices.append(choice)
    interval = -(-sum(c.cycles for c in choices) // (chosen.batch * chosen.copies))
    budget = share(board, goal.max_utilisation, goal.decision)
    bound = Bound(interval, "engine", 0.0, True, 0.0)
    return TiledDesign(
        graph, board, clock, engine, chosen.copies, chosen.batch, steps, tuple(choices), bound, budget, 1.0,
        goal.decision, share(board, goal.max_utilisation),
    )  # fmt: skip
