"""ImageNet classifiers in torch with random weights, exported to ONNX: what users bring to the tiled engine."""

from __future__ import annotations

import io
import math
import warnings

import numpy as np
import onnx
import torch
from torch import nn


def conv(n: int, m: int, kernel: int, stride: int = 1, groups: int = 1, relu: nn.Module | None = None) -> nn.Sequential:
    """Convolution, batch norm and perhaps an activation."""
    layers = [nn.Conv2d(n, m, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(m)]
    return nn.Sequential(*layers, *([relu] if relu else []))


class Block(nn.Module):
    """ResNet's basic block."""

    def __init__(self, n: int, m: int, stride: int) -> None:
        super().__init__()
        self.a, self.b = conv(n, m, 3, stride, relu=nn.ReLU()), conv(m, m, 3)
        self.skip = conv(n, m, 1, stride) if stride > 1 or n != m else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.b(self.a(x)) + self.skip(x))


def resnet18(classes: int = 1000) -> nn.Module:
    layers: list[nn.Module] = [conv(3, 64, 7, 2, relu=nn.ReLU()), nn.MaxPool2d(3, 2, 1)]
    n = 64
    for k in range(4):
        layers += [Block(n, 64 << k, 1 if k == 0 else 2), Block(64 << k, 64 << k, 1)]
        n = 64 << k
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))


class Inverted(nn.Module):
    """MobileNetV2's inverted residual."""

    def __init__(self, n: int, m: int, expand: int, stride: int) -> None:
        super().__init__()
        wide = n * expand
        grow = [conv(n, wide, 1, relu=nn.ReLU6())] if expand > 1 else []
        self.body = nn.Sequential(*grow, conv(wide, wide, 3, stride, wide, nn.ReLU6()), conv(wide, m, 1))
        self.same = stride == 1 and n == m

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.same else self.body(x)


def mobilenet_v2(classes: int = 1000) -> nn.Module:
    layers: list[nn.Module] = [conv(3, 32, 3, 2, relu=nn.ReLU6())]
    n = 32
    for expand, m, repeat, stride in (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    ):
        for k in range(repeat):
            layers.append(Inverted(n, m, expand, stride if k == 0 else 1))
            n = m
    layers += [conv(n, 1280, 1, relu=nn.ReLU6()), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, classes)]
    return nn.Sequential(*layers)


class Fire(nn.Module):
    """SqueezeNet's fire module."""

    def __init__(self, n: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(n, squeeze, 1)
        self.one, self.three = nn.Conv2d(squeeze, expand, 1), nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.one(x)), torch.relu(self.three(x))], 1)


def squeezenet(classes: int = 1000) -> nn.Module:
    """SqueezeNet 1.1."""
    pool = nn.MaxPool2d(3, 2)
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool, Fire(64, 16, 64), Fire(128, 16, 64), pool,
        Fire(128, 32, 128), Fire(256, 32, 128), pool, Fire(256, 48, 192), Fire(384, 48, 192),
        Fire(384, 64, 256), Fire(512, 64, 256), nn.Conv2d(512, classes, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


MODELS = {"resnet18": resnet18, "mobilenet_v2": mobilenet_v2, "squeezenet": squeezenet}


def exported(name: str, size: int = 224, classes: int = 1000, seed: int = 0) -> onnx.ModelProto:
    """A network by name as float ONNX, batch norm with plausible statistics."""
    torch.manual_seed(seed)
    net = MODELS[name](classes).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.2)
            nn.init.normal_(module.running_mean, 0.0, 0.1)
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, 0.0, math.sqrt(2 / module.weight[0].numel()))
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, torch.zeros(1, 3, size, size), file, dynamo=False, opset_version=17)
    return onnx.load_from_string(file.getvalue())


def images(n: int, size: int = 224, seed: int = 0) -> np.ndarray:
    """Smooth random pictures in 0..1."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((n, 3, size // 8, size // 8), dtype=np.float32)
    return np.repeat(np.repeat(coarse, 8, 2), 8, 3)[:, :, :size, :size]
