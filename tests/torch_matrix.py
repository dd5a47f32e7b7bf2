"""Small torch models, one operator or idiom of convolutional networks each."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

Shape = tuple[int, ...]


class Calls(nn.Module):
    """A function of submodules and the input."""

    def __init__(self, function: Callable[..., torch.Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self.parts, x)


def conv(i: int, o: int, k: int | tuple[int, int] = 3, **more: object) -> nn.Module:
    return nn.Conv2d(i, o, k, **more)  # type: ignore[arg-type]


def behind(*parts: nn.Module) -> nn.Module:
    return nn.Sequential(conv(3, 4), *parts)


def squeezed(m: nn.ModuleList, x: torch.Tensor) -> torch.Tensor:
    y = m[0](x)
    return y * torch.sigmoid(m[2](torch.relu(m[1](y.mean((2, 3), keepdim=True)))))


def squeezed_dense(m: nn.ModuleList, x: torch.Tensor) -> torch.Tensor:
    y = m[0](x)
    return y * torch.sigmoid(m[2](torch.relu(m[1](y.mean((2, 3)))))).view(-1, 8, 1, 1)


def halves(m: nn.ModuleList, x: torch.Tensor) -> torch.Tensor:
    a, b = m[0](x).chunk(2, 1)
    return m[1](a) + b


def shuffled(m: nn.ModuleList, x: torch.Tensor) -> torch.Tensor:
    y = m[0](x)
    return m[1](y.view(-1, 2, 4, *y.shape[2:]).transpose(1, 2).reshape(-1, 8, *y.shape[2:]))


def focus(m: nn.ModuleList, x: torch.Tensor) -> torch.Tensor:
    parts = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
    return m[0](torch.cat(parts, 1))


def spatial(m: nn.ModuleList, x: torch.Tensor) -> torch.Tensor:
    y = m[0](x)
    return y * torch.sigmoid(m[1](torch.cat([y.mean(1, keepdim=True), y.amax(1, keepdim=True)], 1)))


def by_pixel(m: nn.ModuleList, x: torch.Tensor) -> torch.Tensor:
    y = m[0](x)
    return y + (m[2](F.gelu(m[1](y.permute(0, 2, 3, 1)))) * m[3].weight).permute(0, 3, 1, 2)


def attention(m: nn.ModuleList, x: torch.Tensor) -> torch.Tensor:
    y = x.flatten(2)
    return torch.softmax(y @ y.transpose(1, 2), -1) @ y


MODELS: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: conv(3, 8),
    "conv 5x1": lambda: conv(3, 8, (5, 1), padding=(2, 0)),
    "stride": lambda: conv(3, 8, 3, stride=2, padding=1),
    "dilation": lambda: conv(3, 8, 3, dilation=2, padding=2),
    "groups": lambda: nn.Sequential(conv(3, 4, 1), conv(4, 8, 3, groups=2, padding=1)),
    "depthwise": lambda: nn.Sequential(conv(3, 4, 1), conv(4, 4, 3, groups=4, padding=1)),
    "channel multiplier": lambda: conv(3, 6, 3, groups=3),
    "asymmetric padding": lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), conv(3, 8, 3, stride=2)),
    "transposed 2x2": lambda: nn.ConvTranspose2d(3, 8, 2, stride=2),
    "transposed 4x4": lambda: nn.ConvTranspose2d(3, 8, 4, stride=2, padding=1),
    "transposed with output padding": lambda: nn.ConvTranspose2d(3, 8, 3, stride=2, padding=1, output_padding=1),
    "transposed depthwise": lambda: nn.ConvTranspose2d(3, 3, 4, stride=2, padding=1, groups=3),
    "dense": lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 4)),
    "matmul": lambda: Calls(lambda m, x: x.flatten(1) @ m[0].weight.T, nn.Linear(192, 5)),
    "max pool": lambda: behind(nn.MaxPool2d(3, 2, 1)),
    "max pool, ceil": lambda: behind(nn.MaxPool2d(3, 2, ceil_mode=True)),
    "average pool": lambda: behind(nn.AvgPool2d(2)),
    "average pool, padded": lambda: behind(nn.AvgPool2d(3, 1, 1)),
    "average pool, padding left out": lambda: behind(nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
    "average pool, ceil": lambda: behind(nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False)),
    "global average": lambda: behind(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)),
    "global maximum": lambda: behind(nn.AdaptiveMaxPool2d(1)),
    "mean": lambda: Calls(lambda m, x: m[0](x).mean((2, 3)), conv(3, 4)),
    "add": lambda: Calls(lambda m, x: m[0](x) + m[1](x), conv(3, 4), conv(3, 4)),
    "sub": lambda: Calls(lambda m, x: m[0](x) - m[1](x), conv(3, 4), conv(3, 4)),
    "mul": lambda: Calls(lambda m, x: m[0](x) * m[1](x), conv(3, 4), conv(3, 4)),
    "mul by channel": lambda: Calls(lambda m, x: m[0](x).relu() * torch.arange(1.0, 5).view(1, 4, 1, 1), conv(3, 4)),
    "squeeze-excite": lambda: Calls(squeezed, conv(3, 8), conv(8, 2, 1), conv(2, 8, 1)),
    "squeeze-excite, dense": lambda: Calls(squeezed_dense, conv(3, 8), nn.Linear(8, 2), nn.Linear(2, 8)),
    "concat": lambda: Calls(lambda m, x: m[2](torch.cat([m[0](x), m[1](x)], 1)), conv(3, 4), conv(3, 6), conv(10, 4)),
    "concat with the input": lambda: Calls(lambda m, x: torch.cat([m[0](x), x], 1), conv(3, 4, 3, padding=1)),
    "concat of rows": lambda: Calls(lambda m, x: torch.cat([m[0](x), m[1](x)], 2), conv(3, 4), conv(3, 4)),
    "split": lambda: Calls(halves, conv(3, 8), conv(4, 4, 1)),
    "slice": lambda: Calls(lambda m, x: m[0](x)[:, :, 1:-1, ::2], conv(3, 4)),
    "pad": lambda: behind(nn.ConstantPad2d((1, 2, 3, 0), 0.5)),
    "reflect": lambda: nn.Sequential(nn.ReflectionPad2d(1), conv(3, 4)),
    "resize": lambda: behind(nn.Upsample(scale_factor=2, mode="nearest"), conv(4, 2)),
    "bilinear": lambda: behind(nn.Upsample(scale_factor=2, mode="bilinear")),
    "bilinear by 3": lambda: behind(nn.Upsample(scale_factor=3, mode="bilinear"), conv(4, 2)),
    "resize to a size": lambda: Calls(lambda m, x: F.interpolate(m[0](x), size=(9, 7), mode="nearest"), conv(3, 4)),
    "channel shuffle": lambda: Calls(shuffled, conv(3, 8), conv(8, 4, 1)),
    "pixel shuffle": lambda: nn.Sequential(conv(3, 8), nn.PixelShuffle(2)),
    "pixel unshuffle": lambda: nn.Sequential(nn.PixelUnshuffle(2), conv(12, 4)),
    "focus": lambda: Calls(focus, conv(12, 4, 1)),
    "relu6": lambda: behind(nn.ReLU6()),
    "leaky relu": lambda: behind(nn.LeakyReLU(0.1)),
    "prelu by channel": lambda: behind(nn.PReLU(4)),
    "sigmoid": lambda: behind(nn.Sigmoid()),
    "hard sigmoid": lambda: behind(nn.Hardsigmoid()),
    "hard swish": lambda: behind(nn.Hardswish(), conv(4, 2)),
    "silu": lambda: behind(nn.SiLU(), conv(4, 2)),
    "tanh": lambda: behind(nn.Tanh()),
    "gelu": lambda: behind(nn.GELU(), conv(4, 3)),
    "gelu by tanh": lambda: behind(nn.GELU("tanh")),
    "erf": lambda: Calls(lambda m, x: torch.erf(m[0](x)), conv(3, 4)),
    "elu": lambda: behind(nn.ELU()),
    "softplus": lambda: behind(nn.Softplus()),
    "mish": lambda: behind(nn.Mish()),
    "softmax at the end": lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.Softmax(1)),
    "argmax at the end": lambda: Calls(lambda m, x: m[0](x.flatten(1)).argmax(1), nn.Linear(192, 5)),
    "batch norm alone": lambda: nn.BatchNorm2d(3),
    "conv, batch norm": lambda: nn.Sequential(conv(3, 4, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
    "relu, batch norm": lambda: behind(nn.ReLU(), nn.BatchNorm2d(4), conv(4, 3)),
    "dropout, squeeze": lambda: behind(nn.Dropout2d(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout()),
    "channels last, flattened": lambda: Calls(
        lambda m, x: m[1](m[0](x).permute(0, 2, 3, 1).flatten(1)), conv(3, 4), nn.Linear(144, 3)
    ),
    "vector to map": lambda: Calls(
        lambda m, x: m[1](m[0](x.flatten(1)).view(-1, 4, 3, 3)), nn.Linear(192, 36), conv(4, 2)
    ),
    "maximum": lambda: Calls(lambda m, x: torch.maximum(m[0](x), m[1](x)), conv(3, 4), conv(3, 4)),
    "minimum of halves": lambda: Calls(lambda m, x: torch.min(*m[0](x).chunk(2, 1)), conv(3, 8)),
    "spatial attention": lambda: Calls(spatial, conv(3, 4), conv(2, 1, 3, padding=1)),
    "mean of rows": lambda: Calls(lambda m, x: m[0](x).mean(3), conv(3, 4)),
    "dense layers by pixel": lambda: Calls(by_pixel, conv(3, 4), nn.Linear(4, 8), nn.Linear(8, 4), nn.LayerNorm(4)),
    "bilinear to half": lambda: behind(nn.Upsample(scale_factor=0.5, mode="bilinear")),
    "bilinear from one pixel": lambda: behind(nn.AdaptiveAvgPool2d(1), nn.Upsample(size=(3, 5), mode="bilinear")),
    "detector head": lambda: Calls(lambda m, x: m[0](x).view(-1, 2, 5, 6, 6).permute(0, 1, 3, 4, 2), conv(3, 10)),
    "conv 1d": lambda: Calls(lambda m, x: m[1](torch.relu(m[0](x.flatten(2)))), nn.Conv1d(3, 4, 3), nn.Conv1d(4, 2, 3)),
}
REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "bilinear, corners aligned": (
        lambda: behind(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)),
        "interpolates",
    ),
    "instance norm": (lambda: behind(nn.InstanceNorm2d(4)), "InstanceNormalization"),
    "layer norm": (lambda: nn.Sequential(nn.Flatten(), nn.LayerNorm(192)), "LayerNormalization"),
    "attention": (lambda: Calls(attention), "Softmax"),
}
SHAPE = (3, 8, 8)
