"""Where feature maps lie in memory: blocks of channels, pixels in rows, a pixel's channels of a block together.

    tensor = [image][block][row][column][words of the block][granule channels]

A block is what one output tile writes (up to ``tm`` channels), so tiles of whole rows are one burst.  A concatenation
is its operands' blocks behind one another: they are written in place.  Channels that fill no whole word leave holes,
which weights meet with zeros.  The network's input may instead be ``[row][column][4 bytes]`` (see ``Shape.gathers``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from flow.blocks import UnsupportedError
from flow.ir.graph import Graph
from flow.tiled.engine import GATHER, LINE_WORDS, PIXEL, Engine
from flow.tiled.nest import Job
from flow.tiled.place import Place
from flow.tiled.steps import CONV, Step, Steps


def regular(channels: int, tm: int, granule: int, element: int = 1) -> tuple[int, ...]:
    """Blocks of ``tm`` channels, the last one as narrow as it can be."""
    return tuple(-(-min(tm, channels - c) * element // granule) for c in range(0, channels, tm))


def places(steps: Steps, engine: Engine) -> Mapping[str, Place]:
    """Place of every tensor. Raises UnsupportedError where a tensor would have to lie in two places."""
    return _places(steps, engine.tm, engine.granule, gathered(steps, engine))


@lru_cache(maxsize=128)
def _places(steps: Steps, tm: int, granule: int, gathers: bool) -> Mapping[str, Place]:
    """The same: engines of a search differ in little that matters here."""
    graph, found = steps.graph, {"input": image_place(steps, tm, granule, gathers)}
    parents: dict[str, str] = {}
    results = {s.out: s for s in steps.steps}
    for node in graph.nodes:
        if node.id in steps.joins:
            for part in steps.joins[node.id]:
                if part == "input" or part in parents:
                    raise UnsupportedError(
                        f"Concat {node.name!r}: its operand {part} would have to lie in two places at once; the tiled "
                        "engine joins without copying: put an operator in between"
                    )
                parents[part] = node.id
            found[node.id] = joined([found[p] for p in steps.joins[node.id]], granule)
        if node.id in results:
            found[node.id] = made(results[node.id], found, tm, granule)
    for s in steps.steps:
        other = found[s.residual] if s.residual else None
        mine = found[s.out]
        if other is not None and (other.blocks, other.slots) != (mine.blocks, mine.slots):
            raise UnsupportedError(
                f"{s.name!r}: the second operand of its addition comes from a concatenation whose parts are no "
                f"multiples of {tm} channels; choose other channel counts"
            )
    return found


def image_place(steps: Steps, tm: int, granule: int, gathers: bool) -> Place:
    if steps.entry is not None:
        return steps.entry
    c, h, w = steps.graph.tensors["input"].shape
    if gathers:
        return Place(h, w, (), tuple(range(c)), -(-w * PIXEL // granule))
    return Place(h, w, regular(c, tm, granule), tuple(range(c)))


def gathered(steps: Steps, engine: Engine) -> bool:
    """Whether the network's input is read by gathering steps only, each with a row of windows that fits the buffers."""
    readers = [s for s in steps.steps if "input" in (s.source, s.residual)]
    if steps.entry is not None or "input" in {p for parts in steps.joins.values() for p in parts}:
        return False
    return all(
        s.shape.gathers
        and s.residual != "input"
        and s.shape.kernel[1] <= GATHER
        and s.shape.c <= engine.acc_depth
        and s.shape.stride[1] <= min(s.shape.kernel[1], engine.granule // PIXEL)
        and s.shape.kernel[0] * -(-s.shape.w * PIXEL // engine.granule) <= LINE_WORDS
        and s.shape.kernel[0] * s.shape.c * -(-s.shape.kernel[1] * PIXEL // engine.tn) <= engine.in_depth
        for s in readers
    )


def joined(parts: list[Place], granule: int) -> Place:
    slots: list[int] = []
    at = 0
    for p in parts:
        slots += [at + s for s in p.slots]
        at += p.words * granule
    return replace(parts[0], blocks=tuple(b for p in parts for b in p.blocks), slots=tuple(slots))


def made(s: Step, found: Mapping[str, Place], tm: int, granule: int) -> Place:
    """Place of a step's output: fresh blocks, or for windows the input's own."""
    if s.shape.kind == CONV:
        return Place(s.shape.r, s.shape.c, regular(s.shape.m, tm, granule, s.shape.out_bytes), tuple(range(s.shape.m)))
    source = found[s.source]
    if max(source.blocks) * granule > tm:
        raise UnsupportedError(
            f"{s.name!r}: its input comes in blocks of {max(source.blocks) * granule} channels, an output tile "
            f"has {tm}: cut the network elsewhere"
        )
    blocks = tuple(b * s.shape.out_bytes for b in source.blocks)
    return Place(s.shape.r, s.shape.c, blocks, source.slots)


def jobs(steps: Steps, engine: Engine, found: Mapping[str, Place] | None = None) -> tuple[Job, ...]:
    """Every step as the search and the compiler see it."""
    found = found or places(steps, engine)
    features = steps.features if gathered(steps, engine) else replace(steps.features, gather=False)
    out = []
    for s in steps.steps:
        source = found[s.source]
        words = max(1, source.words)
        out.append(Job(engine, features, s.shape, words, max(1, len(source.blocks)), found[s.out].blocks))
    return tuple(out)


def tensor_bytes(graph: Graph, found: Mapping[str, Place], engine: Engine, tensor: str) -> int:
    """Bytes of one image of a tensor in memory."""
    return found[tensor].image_words * engine.granule
