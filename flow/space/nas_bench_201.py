"""NAS-Bench-201: a cell of four nodes and six edges, five operations an edge, stacked fifteen times. 15,625 genotypes.

Source: Dong and Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", ICLR 2020.
Stem 3x3x16; stages of 16, 32 and 64 channels, five cells each; residual reduction blocks of stride 2 between them
(two 3x3 convolutions, shortcut of a 2x2 average and a 1x1 convolution); global average, dense. ``cell`` and ``of_cell``
translate to and from the benchmark's text, ``|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|``, for tables of its
trained accuracies.

What differs, so that tabulated accuracies are those of the paper's networks, not of these:

* Convolutions are convolution, batch normalisation (folded in), ReLU; the paper's are ReLU, convolution, batch
  normalisation. This IR has the ReLU after a layer. Multiply-accumulates and parameters are the same.
* The 3x3 average divides by 9 at the border too; the paper's leaves the padding out of the count.
* The batch normalisation after a cell's average in the paper's reduction shortcut, and the last one before the global
  average, have no counterpart where no convolution precedes them to be folded into.
* ``none`` is an absent edge, ``skip_connect`` a wire. Edges that reach no output, or that nothing reaches, build
  nothing: of the 15,625 genotypes many make one network. A cell whose output is always zero (``disconnected``) cannot
  be built from layers that read each other: the smallest network of this IR, the image's average and the dense layer,
  stands for it (the paper's ignores the image altogether, so that this one can be a little better).
* 2 to 8 bits, one pair of widths for the whole network (first and last layer 8 bits).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flow.ir.ops import Shape
from flow.space import Options, SpaceError
from flow.space.genes import Gene, GeneSpace, Genotype
from flow.space.network import Layer, NetSpec
from flow.space.stack import Bits, Stack

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))  # (to, from), in the order of the benchmark's text
OUT = 3
STAGES = (16, 32, 64)
CELLS = 5


def live_edges(ops: Sequence[str]) -> list[tuple[int, int, str]]:
    """(to, from, operation) of the edges on a path from node 0 to the output; empty where there is no path."""
    edges = [(j, i, op) for (j, i), op in zip(EDGES, ops, strict=True) if op != "none"]
    reached, wanted = {0}, {OUT}
    for j, i, _ in edges:  # in the order of j, so one pass is enough
        if i in reached:
            reached.add(j)
    for j, i, _ in reversed(edges):
        if j in wanted:
            wanted.add(i)
    return [(j, i, op) for j, i, op in edges if i in reached and j in wanted]


class NasBench201(GeneSpace):
    """See the module."""

    name = "nas-bench-201"

    def __init__(self, options: Options) -> None:
        super().__init__([Gene(f"{j}<-{i}", OPS) for j, i in EDGES], options)

    def ops(self, genes: Mapping[str, Any]) -> list[str]:
        """Operations in the order of ``EDGES``."""
        return [genes[f"{j}<-{i}"] for j, i in EDGES]

    def disconnected(self, g: Genotype) -> bool:
        """True where the cell's output is zero whatever its input."""
        return not live_edges(self.ops(self.named(g)))

    def cell(self, g: Genotype) -> str:
        """The benchmark's text of the cell."""
        found = self.named(g)
        nodes = [[f"{found[f'{j}<-{i}']}~{i}" for k, i in EDGES if k == j] for j in range(1, OUT + 1)]
        return "+".join(f"|{'|'.join(n)}|" for n in nodes)

    def of_cell(self, text: str) -> Genotype:
        """The genotype of the benchmark's text, widest bits and largest hardware. Raises SpaceError."""
        parts = [p.split("~") for node in text.split("+") for p in node.strip("|").split("|")]
        if [p[1:] for p in parts] != [[str(i)] for _, i in EDGES]:
            raise SpaceError(f"{text!r} is no cell of space {self.name}: |op~0|+|op~0|op~1|+|op~0|op~1|op~2|")
        return self.genotype({f"{j}<-{i}": p[0] for (j, i), p in zip(EDGES, parts, strict=True)})

    def build(self, genes: Mapping[str, Any], input_shape: Shape, classes: int) -> NetSpec:
        edges, bits = live_edges(self.ops(genes)), self.bits(genes)
        stack = Stack(input_shape)
        if not edges:
            return stack.finish(classes)
        stack.conv(STAGES[0], 3)
        for stage, channels in enumerate(STAGES):
            if stage:
                reduce(stack, channels, bits)
            for _ in range(CELLS):
                _cell(stack, edges, bits)
        return stack.finish(classes)


def _cell(stack: Stack, edges: Sequence[tuple[int, int, str]], bits: Bits) -> None:
    nodes = {0: stack.tip}
    for j, i, op in edges:
        term = operation(stack, op, nodes[i], bits)
        # Several inputs are a chain of additions; all terms are at least 0, so the ReLU only keeps the sum unsigned.
        nodes[j] = stack.sum(nodes[j], term, bits, relu=True) if j in nodes else term
    stack.tip = nodes[OUT]


def operation(stack: Stack, op: str, source: int, bits: Bits) -> int:
    """An edge's operation on layer ``source``; the layer that it becomes."""
    if op == "skip_connect":
        return source
    if op == "avg_pool_3x3":
        return stack.add(Layer("avgpool", (source,), kernel=3, padding=(1, 1, 1, 1), activation_bits=bits[1]))
    channels = stack.shape_of(source)[0]
    return stack.conv(channels, 3 if op == "nor_conv_3x3" else 1, bits=bits, source=source)


def reduce(stack: Stack, channels: int, bits: Bits) -> None:
    """The residual reduction block after the tip."""
    source, stride = stack.tip, stack.fit(2)
    stack.conv(channels, 3, stride, bits)
    main = stack.conv(channels, 3, 1, bits, relu=False)
    if stride > 1:
        _, h, w = stack.shape_of(source)
        pad = (0, 0, h % 2, w % 2)  # as many positions as the strided convolution has
        source = stack.add(Layer("avgpool", (source,), kernel=2, stride=2, padding=pad, activation_bits=bits[1]))
    shortcut = stack.conv(channels, 1, 1, bits, relu=False, source=source)
    stack.sum(main, shortcut, bits, relu=True)


def space(options: Options) -> NasBench201:
    """What ``flow.space.load`` calls."""
    return NasBench201(options)
