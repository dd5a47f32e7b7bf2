"""Convolutions of the networks that published results are given for, by the symbols of the papers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """``m`` output and ``n`` input channels (per group), ``r`` x ``c`` output pixels, kernel ``k``, stride, padding.

    ``batch``: images; ``depthwise``: each output channel reads one input channel, ``n`` is 1.
    """

    m: int
    n: int
    r: int
    c: int
    k: int
    stride: int = 1
    padding: int = 0
    batch: int = 1
    depthwise: bool = False

    @property
    def macs(self) -> int:
        return self.batch * self.m * self.n * self.r * self.c * self.k * self.k


def square(m: int, n: int, size: int, k: int, stride: int = 1) -> Layer:
    """A square map with "same" padding."""
    return Layer(m, n, size, size, k, stride, k // 2)


# torchvision's AlexNet (one column): first padding 2, not 5.
ALEXNET = (
    Layer(64, 3, 55, 55, 11, 4, 2),
    square(192, 64, 27, 5),
    square(384, 192, 13, 3),
    square(256, 384, 13, 3),
    square(256, 256, 13, 3),
)

# One of the two groups of the original AlexNet, as FPGA'15 counts it.
ALEXNET_GROUP = (
    Layer(48, 3, 55, 55, 11, 4),
    square(128, 48, 27, 5),
    square(192, 256, 13, 3),
    square(192, 192, 13, 3),
    square(128, 192, 13, 3),
)


def vgg16() -> tuple[Layer, ...]:
    """The 13 convolutions of VGG-16 at 224 x 224."""
    out, n = [], 3
    for size, widths in ((224, (64,) * 2), (112, (128,) * 2), (56, (256,) * 3), (28, (512,) * 3), (14, (512,) * 3)):
        for m in widths:
            out.append(square(m, n, size, 3))
            n = m
    return tuple(out)


def resnet18(in_sequence: bool = False) -> tuple[Layer, ...]:
    """The 20 convolutions of ResNet-18 at 224 x 224.

    ``in_sequence``: with the sizes that HotNAS's tracing gives, which runs each 1x1 projection of a stage on the map
    behind the stage's first block instead of the map in front of it, so every later map is half as large as it is.
    """
    out = [Layer(64, 3, 112, 112, 7, 2, 3)]
    n, size = 64, 56
    for m in (64, 128, 256, 512):
        for block in range(2):
            stride = 2 if m > 64 and block == 0 else 1
            size = -(-size // stride)
            out += [square(m, n, size, 3, stride), square(m, m, size, 3)]
            if stride == 2:
                size = -(-size // 2) if in_sequence else size
                out.append(square(m, n, size, 1, 2))
            n = m
    return tuple(out)
