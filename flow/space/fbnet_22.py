"""FBNet's space: 22 layers in seven stages, nine blocks each. 9^22, about 9.8e20.

Source: Wu et al., "FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural Architecture Search", CVPR
2019: stages of 1, 4, 4, 4, 4, 4, 1 layers with 16, 24, 32, 64, 112, 184, 352 channels; inverted bottlenecks of kernel 3
or 5 and expansion 1 (also with two groups), 3 or 6, or skip; stem 3x3x16, head 1x1x1504. Bit widths per layer as EDD
searches them (Li et al., "EDD: Efficient Differentiable DNN Architecture and Implementation Co-search for Embedded AI
Solutions", DAC 2020), from the options' choices instead of 4, 8 and 16; stem, head and dense layer 8 bits.

What differs: grouped 1x1 convolutions have no channel shuffle between them (this IR has none); skip in a layer that
changes the shape is a 1x1 convolution, as in the source. On images below 224 pixels strides that would take the map
below 4 pixels are 1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from flow.ir.ops import Shape
from flow.space import Options
from flow.space.genes import Gene, GeneSpace
from flow.space.network import NetSpec
from flow.space.stack import Stack

DEPTHS = (1, 4, 4, 4, 4, 4, 1)
CHANNELS = (16, 24, 32, 64, 112, 184, 352)
STRIDES = (1, 2, 2, 2, 1, 2, 1)
STEM, HEAD = 16, 1504
BLOCKS: dict[str, tuple[int, int, int]] = {  # kernel, expansion, groups
    "k3_e1": (3, 1, 1),
    "k3_e1_g2": (3, 1, 2),
    "k3_e3": (3, 3, 1),
    "k3_e6": (3, 6, 1),
    "k5_e1": (5, 1, 1),
    "k5_e1_g2": (5, 1, 2),
    "k5_e3": (5, 3, 1),
    "k5_e6": (5, 6, 1),
}
LAYERS = tuple(
    (f"{stage}.{k}", channels, stride if k == 0 else 1)
    for stage, (depth, channels, stride) in enumerate(zip(DEPTHS, CHANNELS, STRIDES, strict=True))
    for k in range(depth)
)


class Fbnet(GeneSpace):
    """See the module."""

    name = "fbnet-22"

    def __init__(self, options: Options) -> None:
        genes = [Gene(f"block{name}", (*BLOCKS, "skip")) for name, _, _ in LAYERS]
        super().__init__(genes, options, [name for name, _, _ in LAYERS])

    def idle(self, genes: Mapping[str, Any]) -> Collection[str]:
        """A skipped layer that keeps the shape has no bits."""
        plain = [n for n, _, _ in LAYERS if n == "0.0" or not n.endswith(".0")]
        gone = [n for n in plain if genes[f"block{n}"] == "skip"]
        return [f"{what}@{n}" for n in gone for what in ("weight_bits", "activation_bits")]

    def build(self, genes: Mapping[str, Any], input_shape: Shape, classes: int) -> NetSpec:
        stack = Stack(input_shape)
        stack.conv(STEM, 3, stack.fit(2))
        for name, channels, stride in LAYERS:
            block, inside = genes[f"block{name}"], stack.shape[0]
            if block != "skip":
                kernel, expansion, groups = BLOCKS[block]
                bits, wide = self.bits(genes, name), inside * expansion
                stack.inverted(channels, kernel, stack.fit(stride), wide, bits, groups, always=True)
            elif name != "0.0" and name.endswith(".0"):
                stack.conv(channels, 1, stack.fit(stride), self.bits(genes, name))
        stack.conv(HEAD, 1)
        return stack.finish(classes)


def space(options: Options) -> Fbnet:
    """What ``flow.space.load`` calls."""
    return Fbnet(options)
