"""Hardware blocks, found by looking into this package: a module that defines ``serves`` is a block.

A block module offers ``serves(op)``, ``options(graph, node, board)`` (every undominated legal folding with cycles and
resources), ``lower(graph, node, folding, board)`` (the processes, first to last) and ``SCHEDULES`` (function name ->
which iteration moves which beat, as ``flow.blocks.beats`` or arrays). Its C++ is the header of the same name in
``hls/``. See docs/add-a-block.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType

from flow import extensions
from flow.blocks.beats import Beats
from flow.blocks.pareto import Options
from flow.blocks.piece import Piece, piece
from flow.board import Board
from flow.design import Folding, Process
from flow.fixed import IntArray
from flow.ir.graph import Graph, Node
from flow.ir.ops import Op

Schedule = Callable[[Process], tuple[Sequence[Beats | IntArray], Sequence[Beats | IntArray]]]


class UnsupportedError(ValueError):
    """A node that no block serves."""


@cache
def modules() -> tuple[ModuleType, ...]:
    """All modules of the package and of its extensions, blocks and plumbing."""
    return extensions.modules_of(__name__) + extensions.modules()


@cache
def _schedules() -> dict[str, Schedule]:
    return {name: f for m in modules() for name, f in getattr(m, "SCHEDULES", {}).items()}


def block(op: Op, where: str = "") -> ModuleType:
    """The block that serves an operator, asked for once an operator. Raises UnsupportedError."""
    kept, every = vars(op), modules()
    if kept.get("_block", (0, 0))[0] != id(every):
        kept["_block"] = id(every), next((i for i, m in enumerate(every) if hasattr(m, "serves") and m.serves(op)), -1)
    at: int = kept["_block"][1]
    if at >= 0:
        return every[at]
    raise UnsupportedError(f"{where or op.kind}: no hardware block serves operator {op.kind}")


def options(graph: Graph, node: Node, board: Board) -> Options:
    """Foldings of a node worth keeping on a board, by ascending cycles; mappers ask again and again."""
    key = __name__, "options", node.id
    kept = graph.derived.get(key)
    if kept is None or kept[0] is not board:
        kept = graph.derived[key] = board, block(node.op, f"node {node.name!r}").options(graph, node, board)
    found: Options = kept[1]
    return found


def lower(graph: Graph, node: Node, folding: Folding, board: Board) -> list[Process]:
    """The processes of a node, first to last; each feeds the next."""
    found: list[Process] = block(node.op, f"node {node.name!r}").lower(graph, node, folding, board)
    return found


def outline(graph: Graph, node: Node, folding: Folding, board: Board) -> tuple[Piece, ...]:
    """The same as time and area see them; a block that says them by itself (``outline``) is some times faster."""
    m = block(node.op, f"node {node.name!r}")
    if hasattr(m, "outline"):
        found: tuple[Piece, ...] = m.outline(graph, node, folding, board)
        return found
    return tuple(piece_of(p) for p in m.lower(graph, node, folding, board))


def piece_of(process: Process) -> Piece:
    """A process as time and area see it."""
    p = process
    return piece(p.iterations, p.depth, p.resources, p.inputs, p.outputs, beats(p))


def schedule(process: Process) -> tuple[list[IntArray], list[IntArray]]:
    """Iterations (0-based) at which each beat of each input port is read and of each output port is written."""
    reads, writes = beats(process)
    return [_array(port) for port in reads], [_array(port) for port in writes]


def beats(process: Process) -> tuple[Sequence[Beats | IntArray], Sequence[Beats | IntArray]]:
    """The same in the short form that the block gives; asked for again and again, so kept with the process."""
    kept = vars(process)
    if "_beats" not in kept:
        kept["_beats"] = _schedules()[process.function](process)
    found: tuple[Sequence[Beats | IntArray], Sequence[Beats | IntArray]] = kept["_beats"]
    return found


def _array(port: Beats | IntArray) -> IntArray:
    return port.array() if isinstance(port, Beats) else port
