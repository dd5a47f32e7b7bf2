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


def squeezenet(size: int = 224, classes: int = 1000) -> Draft:
    """SqueezeNet 1.0: fire modules squeeze, then expand by 1x1 and 3x3 side by side."""
    d = Draft((3, size, size), seed=10)
    x = d.conv("input", 96, 7, stride=(2, 2), pads=(0, 0, 0, 0))
    for squeeze in (0, 16, 16, 32, 0, 32, 48, 48, 64, 0, 64):
        if not squeeze:
            x = d.pool(x, "MaxPool", (3, 3), (2, 2), (0, 0, 1, 1))
            continue
        s = d.conv(x, squeeze, 1)
        x = d.concat(d.conv(s, 4 * squeeze, 1), d.conv(s, 4 * squeeze, 3))
    d.global_average(d.conv(x, classes, 1))
    return d


def densenet121(size: int = 224, classes: int = 1000) -> Draft:
    """Every layer reads all before it in its block; normalisation before a convolution is a 1x1 depthwise one."""
    d = Draft((3, size, size), seed=121)
    x = d.conv("input", 64, 7, stride=(2, 2), pads=(3, 3, 3, 3))
    x = d.pool(x, "MaxPool", (3, 3), (2, 2), (1, 1, 1, 1))

    def normalised(x: str) -> str:
        c = d.tensors[x].shape[0]
        return d.conv(x, c, 1, groups=c, per_channel=True)

    for k, layers in enumerate((6, 12, 24, 16)):
        for _ in range(layers):
            x = d.concat(x, d.conv(normalised(d.conv(normalised(x), 128, 1)), 32, 3))
        x = normalised(x)
        if k < 3:
            x = d.pool(d.conv(x, d.tensors[x].shape[0] // 2, 1), "AveragePool")
    d.dense(d.global_average(x), classes)
    return d


INCEPTION_V1 = (
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    (),
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    (),
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)


def inception_v1(size: int = 224, classes: int = 1000) -> Draft:
    """Four branches a module: 1x1, 3x3, 5x5 and pooled; local response normalisation left out."""
    d = Draft((3, size, size), seed=11)
    x = d.conv("input", 64, 7, stride=(2, 2), pads=(3, 3, 3, 3))
    x = d.pool(x, "MaxPool", (3, 3), (2, 2), (0, 0, 1, 1))
    x = d.pool(d.conv(d.conv(x, 64, 1), 192, 3), "MaxPool", (3, 3), (2, 2), (0, 0, 1, 1))
    for module in INCEPTION_V1:
        if not module:
            x = d.pool(x, "MaxPool", (3, 3), (2, 2), (0, 0, 1, 1))
            continue
        one, three_in, three, five_in, five, pooled = module
        left = d.concat(d.conv(x, one, 1), d.conv(d.conv(x, three_in, 1), three, 3))
        pool = d.conv(d.pool(x, "MaxPool", (3, 3), (1, 1), (1, 1, 1, 1)), pooled, 1)
        x = d.concat(left, d.concat(d.conv(d.conv(x, five_in, 1), five, 5), pool))
    d.dense(d.global_average(x), classes)
    return d
