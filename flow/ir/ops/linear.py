"""Operators with weights: convolution, transposed convolution and dense layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flow.fixed import IntArray, Requant
from flow.ir.ops.base import Pads, Shape, frozen, window_extent, windows


@dataclass(frozen=True, eq=False)
class Weighted:
    """An operator whose ``weight`` and ``bias`` are its own and never change."""

    weight: IntArray
    bias: IntArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", frozen(self.weight))
        object.__setattr__(self, "bias", frozen(self.bias))


@dataclass(frozen=True, eq=False)
class Convolution(Weighted):
    """``weight``: (OC, IC/groups, KH, KW)."""

    @property
    def kernel(self) -> tuple[int, int]:
        return int(self.weight.shape[2]), int(self.weight.shape[3])


@dataclass(frozen=True, eq=False)
class Conv(Convolution):
    """2-D convolution. ``weight``: (OC, IC/groups, KH, KW); ``bias``: (OC,) at accumulator scale.

    ``pad_value`` is the integer that padding stands for: the input's zero point.
    """

    requant: Requant
    stride: tuple[int, int] = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    pad_value: int = 0
    kind: str = field(default="Conv", init=False)

    @property
    def depthwise(self) -> bool:
        return self.groups > 1 and self.weight.shape[1] == 1 and self.weight.shape[0] == self.groups

    def shape(self, inputs: list[Shape]) -> Shape:
        (c, h, w), (kh, kw) = inputs[0], self.kernel
        oc, icg = self.weight.shape[:2]
        if icg * self.groups != c or oc % self.groups:
            raise ValueError(f"weights {self.weight.shape} with {self.groups} groups do not fit {c} input channels")
        top, left, bottom, right = self.pads
        oh = window_extent(h, kh, self.stride[0], top, bottom, self.dilation[0])
        ow = window_extent(w, kw, self.stride[1], left, right, self.dilation[1])
        if oh < 1 or ow < 1:
            raise ValueError(f"window {kh}x{kw} does not fit into {h}x{w}")
        return oc, oh, ow

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        x = inputs[0]
        n, c = x.shape[:2]
        oc, oh, ow = self.shape([(c, x.shape[2], x.shape[3])])
        cols = windows(x, self.kernel, self.stride, self.pads, self.dilation, self.pad_value)  # n c kh kw oh ow
        g, icg = self.groups, c // self.groups
        # float64 products are exact below 2**53, and accumulators are far smaller: BLAS instead of integer loops.
        a = cols.reshape(n, g, icg * self.kernel[0] * self.kernel[1], oh * ow).astype(np.float64)
        b = self.weight.reshape(g, oc // g, -1).astype(np.float64)
        acc = np.matmul(b[None], a).reshape(n, oc, oh, ow).astype(np.int64)
        return self.requant.apply(acc + self.bias.reshape(1, -1, 1, 1))

    def macs(self, inputs: list[Shape]) -> int:
        _, oh, ow = self.shape(inputs)
        return int(self.weight.size) * oh * ow

    def accumulator(self, ranges: list[tuple[int, int]]) -> tuple[int, int]:
        lo, hi = ranges[0]
        if any(self.pads):
            lo, hi = min(lo, self.pad_value), max(hi, self.pad_value)
        return dot_range(self.weight, self.bias, lo, hi)


@dataclass(frozen=True, eq=False)
class Dense(Weighted):
    """Fully connected layer over the whole input. ``weight``: (OC, C, H, W); ``bias``: (OC,)."""

    requant: Requant
    kind: str = field(default="Gemm", init=False)

    def shape(self, inputs: list[Shape]) -> Shape:
        if tuple(self.weight.shape[1:]) != tuple(inputs[0]):
            raise ValueError(f"weights {self.weight.shape} do not fit an input of {inputs[0]}")
        return int(self.weight.shape[0]), 1, 1

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        x = inputs[0]
        flat = self.weight.reshape(self.weight.shape[0], -1).astype(np.float64)
        acc = (x.reshape(x.shape[0], -1).astype(np.float64) @ flat.T).astype(np.int64) + self.bias
        return self.requant.apply(acc).reshape(*acc.shape, 1, 1)

    def macs(self, inputs: list[Shape]) -> int:
        return int(self.weight.size)

    def accumulator(self, ranges: list[tuple[int, int]]) -> tuple[int, int]:
        return dot_range(self.weight, self.bias, *ranges[0])


@dataclass(frozen=True, eq=False)
class ConvTranspose(Convolution):
    """Transposed convolution: input pixel i adds ``weight[..., t] * x[i]`` to pixel ``i * stride + t * dilation`` of a
    map whose first ``pads`` rows and columns are cut off.

    ``weight``: (OC, IC/groups, KH, KW); ``bias``: (OC,) at accumulator scale, as if every output pixel met every
    weight; ``size``: of the output, height and width; ``pad_value``: the input's zero point, which stands between
    pixels.
    """

    requant: Requant
    size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)  # top, left
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    pad_value: int = 0
    kind: str = field(default="ConvTranspose", init=False)

    def shape(self, inputs: list[Shape]) -> Shape:
        c, oc = inputs[0][0], int(self.weight.shape[0])
        if self.weight.shape[1] * self.groups != c or oc % self.groups:
            raise ValueError(f"weights {self.weight.shape} with {self.groups} groups do not fit {c} input channels")
        if min(self.size) < 1:
            raise ValueError(f"an output of {self.size[0]}x{self.size[1]} is empty")
        return oc, *self.size

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        """Pixels spread out over zero points, then an ordinary convolution with the kernel turned round."""
        x = inputs[0]
        spread = np.full((*x.shape[:2], *((n - 1) * s + 1 for n, s in zip(x.shape[2:], self.stride, strict=True))), 0)
        spread += self.pad_value
        spread[:, :, :: self.stride[0], :: self.stride[1]] = x
        reach = [d * (k - 1) for k, d in zip(self.kernel, self.dilation, strict=True)]
        before = [r - p for r, p in zip(reach, self.pads, strict=True)]
        after = [o + r - b - n for o, r, b, n in zip(self.size, reach, before, spread.shape[2:], strict=True)]
        grow = [(0, 0), (0, 0), *((max(0, b), max(0, a)) for b, a in zip(before, after, strict=True))]
        padded = np.pad(spread, grow, constant_values=self.pad_value)
        y, z = (max(0, -b) for b in before)
        padded = padded[:, :, y : y + self.size[0] + reach[0], z : z + self.size[1] + reach[1]]
        turned = self.weight[:, :, ::-1, ::-1]
        plain = Conv(turned, self.bias, self.requant, dilation=self.dilation, groups=self.groups)
        return plain.evaluate([padded])

    def macs(self, inputs: list[Shape]) -> int:
        _, h, w = inputs[0]
        return int(self.weight.size) * h * w

    def accumulator(self, ranges: list[tuple[int, int]]) -> tuple[int, int]:
        lo, hi = ranges[0]
        return dot_range(self.weight, self.bias, min(lo, self.pad_value), max(hi, self.pad_value))


def turned(weight: NDArray[Any], groups: int) -> NDArray[Any]:
    """A transposed convolution's weight from ONNX's (IC, OC/groups, ..) to (OC, IC/groups, ..), and back."""
    first, second = weight.shape[:2]
    cube = weight.reshape(groups, first // groups, second, *weight.shape[2:]).swapaxes(1, 2)
    return cube.reshape(groups * second, first // groups, *weight.shape[2:])


def dot_range(weight: IntArray, bias: IntArray, lo: int, hi: int) -> tuple[int, int]:
    """Exact range of every partial sum of ``weight . x + bias`` over all x in ``lo..hi``, the worst channel counted.

    Zero is included: partial sums start there.
    """
    flat = weight.reshape(weight.shape[0], -1)
    rows = max(1, (1 << 16) // max(1, flat.shape[1]))  # at a time: what stays in the processor's cache
    up = np.concatenate([np.maximum(flat[at : at + rows], 0).sum(1) for at in range(0, len(flat), rows)])
    down = flat.sum(1) - up
    most = up * max(hi, 0) + down * min(lo, 0)
    least = up * min(lo, 0) + down * max(hi, 0)
    return int(min(0, least.min(), (least + np.minimum(bias, 0)).min())), int(
        max(0, most.max(), (most + np.maximum(bias, 0)).max())
    )
