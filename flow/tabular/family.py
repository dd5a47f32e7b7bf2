"""The accelerators of the benchmark: pipelines whose streams have as many lanes as the stage they lie in.

A stage of the network (16, 32 or 64 channels) has four genes. ``lanes`` L: every stream carries L channels a beat and
every convolution has PE = L. ``unroll`` k: positions of a 3x3 window that are multiplied at once; SIMD = k L, out of
the serial window unit for k = 1 and the parallel one for 3 and 9. ``mult``: where multipliers go. ``memory``: where
weights go. Reductions take the lanes of the stage before them and give those of the stage after. So no width
converter is needed between the image and the classifier, and the costs of stages add up.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from flow.design import Folding, Multiplier, Storage
from flow.ir.graph import Graph, Node
from flow.ir.ops import Add, Conv, Dense, Pool
from flow.space.nas_bench_201 import STAGES

UNROLLS = (1, 3, 9)
MULTS: tuple[Multiplier, ...] = ("lut", "dsp", "packed")
MEMORIES: tuple[Storage, ...] = ("lutram", "bram")
HEAD_CYCLES = 1024  # the dense layer gets enough outputs at once to take no longer


@dataclass(frozen=True)
class Choice:
    """One stage's hardware."""

    lanes: int
    unroll: int
    mult: Multiplier
    memory: Storage

    def key(self) -> list[int | str]:
        return [self.lanes, self.unroll, self.mult, self.memory]


@cache
def lanes(stage: int) -> tuple[int, ...]:
    """Powers of two up to the stage's channels; 64 lanes of 64 channels fit no board."""
    return tuple(n for n in (1, 2, 4, 8, 16, 32) if n <= STAGES[stage])


@cache
def choices(stage: int) -> tuple[Choice, ...]:
    """All hardware of a stage, in the order of the genes lanes, unroll, mult, memory."""
    return tuple(Choice(*c) for c in itertools.product(lanes(stage), UNROLLS, MULTS, MEMORIES))


def first(stage: int, choice: Choice) -> Choice:
    """The first choice with the same lanes and unrolling."""
    return next(c for c in choices(stage) if (c.lanes, c.unroll) == (choice.lanes, choice.unroll))


@cache
def steps(stage: int) -> tuple[tuple[tuple[bool, int], ...], ...]:
    """For each choice those one gene away that may need less, and whether they are slower: fewer lanes or less
    unrolling by one place, another kind of multiplier or of memory."""
    counts = len(lanes(stage)), len(UNROLLS), len(MULTS), len(MEMORIES)
    found = []
    for genes in itertools.product(*(range(n) for n in counts)):
        own = []
        for at, n in enumerate(counts):
            others = [genes[at] - 1] if at < 2 else [v for v in range(n) if v != genes[at]]
            for v in others:
                if v >= 0:
                    step = (*genes[:at], v, *genes[at + 1 :])
                    own.append((at < 2, int(np.ravel_multi_index(step, counts))))
        found.append(tuple(own))
    return tuple(found)


def stage_of(channels: int) -> int:
    return STAGES.index(channels)


def folding(graph: Graph, node: Node, hardware: Mapping[int, Choice]) -> Folding:
    """A node's folding under the three stages' hardware."""
    op, source = node.op, graph.tensors[node.inputs[0]].shape
    if isinstance(op, Dense):
        have = hardware[stage_of(source[0])]
        return _dense(op.weight.shape[0], source[0], have)
    if isinstance(op, Add):
        n = hardware[stage_of(source[0])].lanes
        return Folding(pe=n, lanes=n)
    if isinstance(op, Pool):
        return _pool(op, source, hardware[stage_of(source[0])])
    assert isinstance(op, Conv)
    out, inputs, kernel, _ = op.weight.shape
    after = hardware[stage_of(out)]
    before = inputs if inputs not in STAGES else hardware[stage_of(inputs)].lanes
    mult = after.mult if after.mult != "packed" or after.lanes % 2 == 0 else "dsp"
    # A weight memory of one word is constants; one of few words is never block RAM (flow/blocks/conv.py).
    words = (out // after.lanes) * (inputs * kernel * kernel // (before * (after.unroll if kernel > 1 else 1)))
    memory: Storage = after.memory if words > 16 else "lutram"
    if kernel == 1:
        return Folding(after.lanes, before, before, "none", mult, memory)
    mode = "serial" if after.unroll == 1 else "parallel"
    return Folding(after.lanes, before * after.unroll, before, mode, mult, memory)


def _pool(op: Pool, source: tuple[int, int, int], have: Choice) -> Folding:
    if op.kernel == source[1:]:
        return Folding(have.lanes, 1, have.lanes, "none")
    if have.unroll == 1:
        return Folding(have.lanes, 1, have.lanes, "serial")
    # The 2x2 average of a reduction is unrolled whole, the 3x3 one as the convolutions are.
    size = op.kernel[0] * op.kernel[1]
    return Folding(have.lanes, have.unroll if size % have.unroll == 0 else size, have.lanes, "parallel")


def _dense(classes: int, inputs: int, have: Choice) -> Folding:
    work = classes * inputs // have.lanes
    pe = next(n for n in range(1, classes + 1) if classes % n == 0 and work // n <= HEAD_CYCLES)
    memory: Storage = "bram" if have.memory == "bram" and work // pe > 16 else "lutram"
    return Folding(pe, have.lanes, have.lanes, "none", "lut" if have.mult == "lut" else "dsp", memory)
