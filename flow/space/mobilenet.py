"""Once-for-all's space of MobileNets: five stages of 2 to 4 inverted bottlenecks. 7,371^5, about 2.2e19.

Source: Cai et al., "Once-for-All: Train One Network and Specialize It for Efficient Deployment", ICLR 2020: kernel {3,
5, 7} and expansion {3, 4, 6} of each block, depth {2, 3, 4} of each stage; stem 3x3x16, a first block of 16 channels
without expansion, stages of 24, 40, 80, 112 and 160 channels with strides 2, 2, 2, 1, 2, head 1x1x960. Bit widths per
stage, as mixed precision for these networks is searched (Wang et al., "HAQ: Hardware-Aware Automated Quantization with
Mixed Precision", CVPR 2019, per layer there); stem, first block, head and dense layer 8 bits.

What differs: ReLU in place of h-swish, no squeeze-and-excitation, no second 1x1 after the global average, input images
of the data set's size instead of 128 to 224 pixels, where strides that would take the map below 4 pixels are 1. These
networks are trained one by one; there is no shared supernet in this module.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from flow.ir.ops import Shape
from flow.space import Options
from flow.space.genes import Gene, GeneSpace
from flow.space.network import NetSpec
from flow.space.stack import EDGE, Stack

STEM, HEAD = 16, 960
CHANNELS = (24, 40, 80, 112, 160)
STRIDES = (2, 2, 2, 1, 2)
KERNELS = (3, 5, 7)
EXPANSIONS = (3, 4, 6)
DEPTHS = (2, 3, 4)


class Mobilenet(GeneSpace):
    """See the module."""

    name = "mobilenet"

    def __init__(self, options: Options) -> None:
        genes = []
        for s in range(len(CHANNELS)):
            genes += [Gene(f"depth{s}", DEPTHS)]
            for b in range(max(DEPTHS)):
                genes += [Gene(f"kernel{s}.{b}", KERNELS), Gene(f"expansion{s}.{b}", EXPANSIONS)]
        super().__init__(genes, options, [str(s) for s in range(len(CHANNELS))])

    def idle(self, genes: Mapping[str, Any]) -> Collection[str]:
        gone = [f"{s}.{b}" for s in range(len(CHANNELS)) for b in range(genes[f"depth{s}"], max(DEPTHS))]
        return [f"{what}{at}" for at in gone for what in ("kernel", "expansion")]

    def topologies(self) -> int:
        each = len(KERNELS) * len(EXPANSIONS)
        stage = sum(each**depth for depth in DEPTHS)
        return int(stage ** len(CHANNELS))

    def build(self, genes: Mapping[str, Any], input_shape: Shape, classes: int) -> NetSpec:
        stack = Stack(input_shape)
        stack.conv(STEM, 3, stack.fit(2))
        stack.inverted(STEM, 3, 1, STEM, EDGE)
        for s, (channels, stride) in enumerate(zip(CHANNELS, STRIDES, strict=True)):
            bits = self.bits(genes, str(s))
            for b in range(genes[f"depth{s}"]):
                wide = stack.shape[0] * genes[f"expansion{s}.{b}"]
                stack.inverted(channels, genes[f"kernel{s}.{b}"], stack.fit(stride if b == 0 else 1), wide, bits)
        stack.conv(HEAD, 1)
        return stack.finish(classes)


def space(options: Options) -> Mobilenet:
    """What ``flow.space.load`` calls."""
    return Mobilenet(options)
