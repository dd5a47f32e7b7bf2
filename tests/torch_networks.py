"""Networks of the field as torch modules with random weights, small enough to be compiled and simulated in a test."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


def block(
    i: int, o: int, k: int | tuple[int, int] = 3, stride: int | tuple[int, int] = 1, groups: int = 1
) -> nn.Module:
    """Convolution, batch normalisation, ReLU, padded to keep the size."""
    pads = k // 2 if isinstance(k, int) else (k[0] // 2, k[1] // 2)
    made = nn.Conv2d(i, o, k, stride, pads, groups=groups, bias=False)
    return nn.Sequential(made, nn.BatchNorm2d(o), nn.ReLU())


def head(channels: int, classes: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class Residual(nn.Module):
    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(block(i, o, 3, stride), nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o))
        self.skip = nn.Identity() if i == o else nn.Conv2d(i, o, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.skip(x))


def resnet8() -> nn.Module:
    """MLPerf Tiny: 32x32x3, three residual stages."""
    return nn.Sequential(block(3, 16), Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2), head(64, 10))


def mobilenet() -> nn.Module:
    """MobileNetV1, width 0.25 (visual wake words): 96x96x3, 13 depthwise separable layers."""
    layers, i = [block(3, 8, 3, 2)], 8
    outputs = (16, 32, 32, 64, 64, *(128,) * 6, 256, 256)
    for k, o in enumerate(outputs):
        s = 2 if k in (1, 3, 5, 11) else 1
        layers += [block(i, i, 3, s, groups=i), block(i, o, 1)]
        i = o
    return nn.Sequential(*layers, head(256, 2))


def lenet5() -> nn.Module:
    convolutions = [nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), nn.Tanh()]
    dense = [nn.Linear(400, 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)]
    return nn.Sequential(*convolutions, nn.AvgPool2d(2), nn.Flatten(), *dense)


def dscnn() -> nn.Module:
    """Keyword spotting (MLPerf Tiny): 49x10 coefficients, four depthwise separable layers of 64 channels."""
    layers = [block(1, 64, (10, 4), 2)]
    for _ in range(4):
        layers += [block(64, 64, 3, 1, groups=64), block(64, 64, 1)]
    return nn.Sequential(*layers, nn.Dropout(), head(64, 12), nn.Softmax(1))


class UNet(nn.Module):
    """Two levels down and up: Resize on one, ConvTranspose on the other, Concat with the way down."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = block(3, 8), block(8, 16), block(16, 32)
        self.up = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.d, self.e, self.out = block(32, 16), block(24, 8), nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.a(x)
        b = self.b(torch.max_pool2d(a, 2))
        c = self.c(torch.max_pool2d(b, 2))
        d = self.d(torch.cat([self.up(c), b], 1))
        larger = nn.functional.interpolate(d, scale_factor=2.0, mode="nearest")
        return self.out(self.e(torch.cat([larger, a], 1)))


class Shuffle(nn.Module):
    """ShuffleNetV2's unit: half the channels pass, half are convolved, then all are shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.half = half
        self.body = nn.Sequential(
            block(half, half, 1),
            nn.Conv2d(half, half, 3, 1, 1, groups=half),
            nn.BatchNorm2d(half),
            block(half, half, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.split([self.half, self.half], 1)
        y = torch.cat([a, self.body(b)], 1)
        _, c, h, w = y.shape
        return y.reshape(1, 2, c // 2, h, w).transpose(1, 2).reshape(1, c, h, w)


def shufflenet() -> nn.Module:
    down = nn.MaxPool2d(3, 2, 1)
    return nn.Sequential(
        block(3, 24, 3, 2), down, Shuffle(24), block(24, 48, 1), Shuffle(48), Shuffle(48), head(48, 10)
    )


class Fire(nn.Module):
    def __init__(self, i: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(i, squeeze, 1)
        self.one, self.three = nn.Conv2d(squeeze, expand, 1), nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.one(y)), torch.relu(self.three(y))], 1)


def squeezenet() -> nn.Module:
    """SqueezeNet 1.1, whole, on 64x64 images."""
    fires = [Fire(64, 16, 64), Fire(128, 16, 64), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(128, 32, 128)]
    fires += [Fire(256, 32, 128), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(256, 48, 192), Fire(384, 48, 192)]
    fires += [Fire(384, 64, 256), Fire(512, 64, 256), nn.Dropout(), nn.Conv2d(512, 10, 1), nn.ReLU()]
    stem = [nn.Conv2d(3, 64, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)]
    return nn.Sequential(*stem, *fires, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Softmax(1))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "LeNet-5": (lenet5, (1, 28, 28)),
    "ResNet-8": (resnet8, (3, 32, 32)),
    "MobileNetV1-0.25": (mobilenet, (3, 96, 96)),
    "DS-CNN": (dscnn, (1, 49, 10)),
    "U-Net": (UNet, (3, 32, 32)),
    "ShuffleNet": (shufflenet, (3, 48, 48)),
    "SqueezeNet": (squeezenet, (3, 64, 64)),
}
