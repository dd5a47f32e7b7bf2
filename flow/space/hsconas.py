"""HSCoNAS's space: 20 layers, five operators and ten channel scaling factors each. 50^20 choices, 9.5e33.

Source: Luo et al., "HSCoNAS: Hardware-Software Co-Design of Efficient DNNs via Neural Architecture Search", DATE 2021;
its layers are those of Guo et al., "Single Path One-Shot Neural Architecture Search with Uniform Sampling", ECCV 2020:
stages of 4, 4, 8 and 4 layers with 64, 160, 320 and 640 channels, each beginning with stride 2; shuffle blocks of
kernel 3, 5 or 7, an Xception-like block of three depthwise convolutions, or skip. The factor, 0.1 to 1, scales the
channels inside a block. For its progressive shrinking take the strategy ``shrinking``.

What differs: shuffle blocks split, concatenate and shuffle channels, which this IR has no operators for; here a block
is 1x1, depthwise, 1x1 with the scaled width inside (to a multiple of 4) and a residual where the shape stays. Skip in a
layer that changes the shape is a 1x1 convolution. A skipped layer has no factor, so 41^20 = 1.8e32 genotypes are
different. 2 to 8 bits, one pair of widths for the whole network (stem, head and dense layer 8 bits). Small images: no
stride that takes the map below 4 pixels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from flow.ir.ops import Shape
from flow.space import Options
from flow.space.genes import Gene, GeneSpace
from flow.space.network import NetSpec
from flow.space.stack import Bits, Stack, rounded

STEM, HEAD = 16, 1024
DEPTHS = (4, 4, 8, 4)
CHANNELS = (64, 160, 320, 640)
KERNELS = {"k3": 3, "k5": 5, "k7": 7}
OPS = (*KERNELS, "xception", "skip")
FACTORS = tuple(i / 10 for i in range(1, 11))
LAYERS = tuple(
    (f"{stage}.{k}", channels, 2 if k == 0 else 1)
    for stage, (depth, channels) in enumerate(zip(DEPTHS, CHANNELS, strict=True))
    for k in range(depth)
)


class Hsconas(GeneSpace):
    """See the module."""

    name = "hsconas"

    def __init__(self, options: Options) -> None:
        genes = []
        for at, _, _ in LAYERS:
            genes += [Gene(f"op{at}", OPS), Gene(f"factor{at}", FACTORS)]
        super().__init__(genes, options)

    def idle(self, genes: Mapping[str, Any]) -> Collection[str]:
        return [f"factor{at}" for at, _, _ in LAYERS if genes[f"op{at}"] == "skip"]

    def topologies(self) -> int:
        return int(((len(OPS) - 1) * len(FACTORS) + 1) ** len(LAYERS))

    def build(self, genes: Mapping[str, Any], input_shape: Shape, classes: int) -> NetSpec:
        stack, bits = Stack(input_shape), self.bits(genes)
        stack.conv(STEM, 3, stack.fit(2))
        for at, channels, stride in LAYERS:
            op = genes[f"op{at}"]
            if op != "skip":
                _block(stack, op, channels, stack.fit(stride), rounded(channels * genes[f"factor{at}"], 4), bits)
            elif at.endswith(".0"):
                stack.conv(channels, 1, stack.fit(stride), bits)
        stack.conv(HEAD, 1)
        return stack.finish(classes)


def _block(stack: Stack, op: str, channels: int, stride: int, inside: int, bits: Bits) -> None:
    if op in KERNELS:
        stack.inverted(channels, KERNELS[op], stride, inside, bits, always=True)
        return
    source, before = stack.tip, stack.shape
    for i in range(3):
        stack.conv(stack.shape[0], 3, stride if i == 0 else 1, bits, groups=stack.shape[0])
        stack.conv(inside if i < 2 else channels, 1, 1, bits, relu=i < 2)
    if stack.shape == before:
        stack.sum(source, stack.tip, bits)


def space(options: Options) -> Hsconas:
    """What ``flow.space.load`` calls."""
    return Hsconas(options)
