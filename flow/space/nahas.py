"""NAHAS's space: 17 blocks, each an inverted bottleneck or a fused one, with filter scaling and groups. 72^17, 3.8e31.

Source: Zhou et al., "Rethinking Co-design of Neural Architectures and Hardware Accelerators", 2021, after MobileNetV2
(Sandler et al., CVPR 2018): kernel {3, 5, 7}, expansion {3, 6}, the fused bottleneck's single full convolution in place
of expansion and depthwise convolution. Stages of 1, 2, 3, 4, 3, 3, 1 blocks, 16 to 320 channels, stem 32, head 1280.

What differs: the paper's choices of filter scaling and groups are not restated from it; {0.5, 0.75, 1} of the width, to
a multiple of 8, and {1, 2} groups of the 1x1 or fused convolution are this space's. The scaled width is the block's
output, so a block has a residual where its neighbour's width is equal. 8-bit integers there; 2 to 8 bits here, one pair
of widths for the whole network (stem, head and dense layer 8 bits). The hardware half is clock and budget, and the
mapper's foldings, in place of the paper's grid of processing elements, lanes, memory and bandwidth. Small images: no
stride that takes the map below 4 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flow.ir.ops import Shape
from flow.space import Options
from flow.space.genes import Gene, GeneSpace
from flow.space.network import NetSpec
from flow.space.stack import Stack, rounded

STEM, HEAD = 32, 1280
DEPTHS = (1, 2, 3, 4, 3, 3, 1)
CHANNELS = (16, 24, 32, 64, 96, 160, 320)
STRIDES = (1, 2, 2, 2, 1, 2, 1)
KINDS = ("inverted", "fused")
KERNELS = (3, 5, 7)
EXPANSIONS = (3, 6)
SCALES = (0.5, 0.75, 1.0)
GROUPS = (1, 2)
BLOCKS = tuple(
    (f"{stage}.{k}", channels, stride if k == 0 else 1)
    for stage, (depth, channels, stride) in enumerate(zip(DEPTHS, CHANNELS, STRIDES, strict=True))
    for k in range(depth)
)


class Nahas(GeneSpace):
    """See the module."""

    name = "nahas"

    def __init__(self, options: Options) -> None:
        genes = []
        for at, _, _ in BLOCKS:
            genes += [Gene(f"kind{at}", KINDS), Gene(f"kernel{at}", KERNELS), Gene(f"expansion{at}", EXPANSIONS)]
            genes += [Gene(f"scale{at}", SCALES), Gene(f"groups{at}", GROUPS)]
        super().__init__(genes, options)

    def build(self, genes: Mapping[str, Any], input_shape: Shape, classes: int) -> NetSpec:
        stack, bits = Stack(input_shape), self.bits(genes)
        stack.conv(STEM, 3, stack.fit(2))
        for at, channels, stride in BLOCKS:
            stack.inverted(
                rounded(channels * genes[f"scale{at}"]),
                genes[f"kernel{at}"],
                stack.fit(stride),
                stack.shape[0] * genes[f"expansion{at}"],
                bits,
                genes[f"groups{at}"],
                genes[f"kind{at}"] == "fused",
            )
        stack.conv(HEAD, 1)
        return stack.finish(classes)


def space(options: Options) -> Nahas:
    """What ``flow.space.load`` calls."""
    return Nahas(options)
