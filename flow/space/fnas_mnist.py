"""FNAS's space for MNIST: four convolutions, then a global average and a dense layer. 9^4 = 6,561 networks.

Source: Jiang et al., "Accuracy vs. Efficiency: Achieving Both through FPGA-Implementation Aware Neural Architecture
Search", DAC 2019: kernels {5, 7, 14}, filters {9, 18, 36}.

What differs: 16-bit fixed point there, 2 to 8 bits here, one pair of widths for the whole network (first and last layer
8 bits); with one weight and one activation width in the options, the networks are the 6,561 of the paper. An even
window is padded by one more at the bottom and right. Any image of at least 8x8 is served.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flow.ir.ops import Shape
from flow.space import Options
from flow.space.genes import Gene, GeneSpace
from flow.space.network import NetSpec
from flow.space.stack import EDGE, Stack

LAYERS = 4
KERNELS = (5, 7, 14)
FILTERS = (9, 18, 36)


class FnasMnist(GeneSpace):
    """See the module."""

    name = "fnas-mnist"
    reference = (1, 28, 28)

    def __init__(self, options: Options) -> None:
        pairs = [(Gene(f"kernel{i}", KERNELS), Gene(f"filters{i}", FILTERS)) for i in range(LAYERS)]
        super().__init__([g for pair in pairs for g in pair], options)

    def build(self, genes: Mapping[str, Any], input_shape: Shape, classes: int) -> NetSpec:
        stack = Stack(input_shape)
        for i in range(LAYERS):
            stack.conv(genes[f"filters{i}"], genes[f"kernel{i}"], bits=self.bits(genes) if i else EDGE)
        return stack.finish(classes)


def space(options: Options) -> FnasMnist:
    """What ``flow.space.load`` calls."""
    return FnasMnist(options)
