"""The space of hardware/software co-exploration for CIFAR-10: 1 to 14 convolutions. (32^15 - 32) / 31, about 1.2e21.

Source: Jiang et al., "Hardware/Software Co-Exploration of Neural Architectures", TCAD 39(12), 2020: kernels
{1, 3, 5, 7}, filters {24, 36, 48, 64}, strides {1, 2}, convolutions with batch normalisation and ReLU. ``PUBLISHED``
holds the three networks the paper reports, each layer as (kernel, filters, stride).

What differs: 16-bit fixed point there, 2 to 8 bits here, one pair of widths for the whole network (first and last layer
8 bits). Their hardware half, partition over several FPGAs, is the mapper's work here. Sampling takes stride 2 in one of
five layers: taken as often as stride 1, maps of one pixel would fill the space.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from flow.ir.ops import Shape
from flow.space import Options
from flow.space.genes import Gene, GeneSpace, Genotype
from flow.space.network import NetSpec
from flow.space.stack import EDGE, Stack

MOST = 14
KERNELS = (1, 3, 5, 7)
FILTERS = (24, 36, 48, 64)
STRIDES = (1, 2)
PARTS = ("kernel", "filters", "stride")

PUBLISHED: dict[str, tuple[tuple[int, int, int], ...]] = {
    "opt-hw": ((3, 36, 1), (5, 36, 1), (1, 64, 1), (3, 48, 2), (7, 24, 1), (1, 64, 1)),
    "opt-sw": (
        *((1, 24, 1), (7, 64, 1), (1, 64, 1), (5, 48, 2), (5, 48, 1), (7, 24, 1), (7, 64, 1)),
        *((5, 24, 2), (1, 48, 1), (5, 36, 1), (1, 48, 1), (7, 24, 2), (1, 64, 1), (7, 36, 1)),
    ),
    "fixed-stride": (
        *((5, 24, 1), (1, 64, 1), (5, 48, 1), (7, 24, 1), (5, 36, 1)),
        *((1, 24, 1), (5, 48, 1), (3, 24, 1), (7, 24, 1), (3, 36, 1)),
    ),
}


class CoExploreCifar(GeneSpace):
    """See the module."""

    name = "co-explore-cifar"

    def __init__(self, options: Options) -> None:
        genes = [Gene("depth", tuple(range(1, MOST + 1)))]
        for i in range(MOST):
            genes += [Gene(f"kernel{i}", KERNELS), Gene(f"filters{i}", FILTERS)]
            genes += [Gene(f"stride{i}", STRIDES, (0.8, 0.2))]
        super().__init__(genes, options)

    def idle(self, genes: Mapping[str, Any]) -> Collection[str]:
        return [f"{part}{i}" for i in range(genes["depth"], MOST) for part in PARTS]

    def topologies(self) -> int:
        each = len(KERNELS) * len(FILTERS) * len(STRIDES)
        return sum(each**depth for depth in range(1, MOST + 1))

    def published(self) -> dict[str, Genotype]:
        """The paper's networks, with the widest bit widths and the largest hardware of the options."""
        return {name: self.of(layers) for name, layers in PUBLISHED.items()}

    def of(self, layers: tuple[tuple[int, int, int], ...]) -> Genotype:
        """The genotype of layers (kernel, filters, stride). Raises SpaceError for one that is not in the space."""
        genes: dict[str, Any] = {"depth": len(layers)}
        for i, layer in enumerate(layers):
            genes |= {f"{part}{i}": value for part, value in zip(PARTS, layer, strict=True)}
        return self.genotype(genes)

    def build(self, genes: Mapping[str, Any], input_shape: Shape, classes: int) -> NetSpec:
        stack = Stack(input_shape)
        for i in range(genes["depth"]):
            kernel, filters, stride = (genes[f"{part}{i}"] for part in PARTS)
            stack.conv(filters, kernel, stride, self.bits(genes) if i else EDGE)
        return stack.finish(classes)


def space(options: Options) -> CoExploreCifar:
    """What ``flow.space.load`` calls."""
    return CoExploreCifar(options)
