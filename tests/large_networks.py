"""ImageNet-size integer networks with random weights, for the tiled engine."""

from __future__ import annotations

from tests.networks import Draft


def resnet18(size: int = 224, classes: int = 1000, width: int = 64) -> Draft:
    d = Draft((3, size, size), seed=18)
    x = d.conv("input", width, 7, stride=(2, 2), pads=(3, 3, 3, 3))
    x = d.pool(x, "MaxPool", (3, 3), (2, 2), (1, 1, 1, 1))
    for k in range(4):
        for block in range(2):
            channels, stride = width << k, (2, 2) if k and not block else (1, 1)
            y = d.conv(d.conv(x, channels, stride=stride, pads=(1, 1, 1, 1)), channels, per_channel=True)
            skip = d.conv(x, channels, 1, stride=stride, pads=(0, 0, 0, 0)) if stride == (2, 2) else x
            x = d.residual(y, skip)
    d.dense(d.global_average(x), classes)
    return d


MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(size: int = 224, classes: int = 1000) -> Draft:
    d = Draft((3, size, size), seed=2)
    x = d.conv("input", 32, 3, stride=(2, 2), pads=(1, 1, 1, 1))
    for expand, out, repeat, stride in MOBILENET_V2:
        for k in range(repeat):
            c = d.tensors[x].shape[0]
            s = (stride, stride) if k == 0 else (1, 1)
            y = d.conv(x, c * expand, 1) if expand > 1 else x
            y = d.conv(y, c * expand, 3, stride=s, pads=(1, 1, 1, 1), groups=c * expand, per_channel=True)
            y = d.conv(y, out, 1)
            x = d.residual(y, x) if s == (1, 1) and c == out else y
    d.dense(d.global_average(d.conv(x, 1280, 1)), classes)
    return d


VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)


def vgg16(size: int = 224, classes: int = 1000, hidden: int = 4096) -> Draft:
    d = Draft((3, size, size), seed=16)
    x = "input"
    for channels in VGG16:
        x = d.conv(x, channels) if channels else d.pool(x)
    d.dense(d.dense(d.dense(x, hidden), hidden), classes)
    return d
