"""What the FIFOs of a realised design hold: what the next choice of foldings counts on.

How much waits where follows from the network and the interval more than from the foldings: rows in front of a window,
the short way round a block while the long one fills. So the elements that one design's FIFOs hold, as beats of other
lanes, are good estimates of the next design's depths.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache

from flow.ir.graph import Graph
from flow.layout import Fifo
from flow.mapping.choose import Contents, Problem

STEP = 1.06  # contents are rounded up to a power of it, so that what joins stages is remembered


def held(graph: Graph, problem: Problem, picks: Sequence[int], fifos: Sequence[Fifo]) -> Contents:
    """``fifos``: of the picks' layout (``layout.compose``), in its order."""
    at: Iterator[Fifo] = iter(fifos)
    made = {"input": 0, **{n.id: k for k, n in enumerate(graph.nodes, 1)}}
    readers = Counter(t for node in graph.nodes for t in node.inputs)
    edges: list[int] = []
    inner: list[int] = [0]
    skip(at, max(1, readers["input"]) - 1)
    for stage, inputs in enumerate([*(n.inputs for n in graph.nodes), (graph.output,)], 1):
        t, pick = problem.tables[stage], picks[stage]
        for k, tensor in enumerate(inputs):
            giver = problem.tables[made[tensor]].options.numbers[picks[made[tensor]], 0]
            taker = int(t.options.second[pick]) if k and t.options.second[pick] else int(t.options.numbers[pick, 2])
            lanes, fifo = int(giver), next(at)
            if lanes != taker:
                lanes, fifo = taker, next(at)
            edges.append(rounded(fifo.depth * lanes) if fifo.depth > 2 else 0)
        own = next(at) if t.options.inner[pick] else None
        inner.append(rounded(own.depth * own.width) if own and own.depth > 2 else 0)
        if stage <= len(graph.nodes):
            skip(at, max(1, readers[graph.nodes[stage - 1].id]) - 1)
    assert next(at, None) is None
    return Contents(tuple(edges), tuple(inner))


def skip(at: Iterator[Fifo], count: int) -> None:
    """Streams between forks hold two beats."""
    for _ in range(count):
        next(at)


@cache
def rounded(n: int) -> int:
    power = 1.0
    while power < n:
        power *= STEP
    return int(power)
