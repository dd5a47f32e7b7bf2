"""Integer operators: each is a frozen value with its own meaning (``evaluate``), shape rule and work (``macs``).

Tensors are ``(C, H, W)``; ``evaluate`` takes and gives batches ``(N, C, H, W)`` of int64.  These definitions are the
specification that the HLS blocks are judged by, and they are themselves judged by ONNX Runtime.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from flow.fixed import IntArray, Requant

Shape = tuple[int, int, int]
Pads = tuple[int, int, int, int]  # top, left, bottom, right: ONNX order for two dimensions


@runtime_checkable
class Op(Protocol):
    """What every operator offers."""

    @property
    def requant(self) -> Requant:
        """How the accumulator becomes the output."""

    @property
    def kind(self) -> str:
        """ONNX operator name shown to users."""

    def shape(self, inputs: list[Shape]) -> Shape:
        """Output shape; raises ValueError when the inputs do not fit the operator."""

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        """Integer semantics."""

    def macs(self, inputs: list[Shape]) -> int:
        """Multiply-accumulates for one image."""

    def accumulator(self, ranges: list[tuple[int, int]]) -> tuple[int, int]:
        """Range of the integer before requantisation, given each input's ``(lo, hi)``."""


def frozen(array: IntArray) -> IntArray:
    """A read-only int64 copy."""
    out = np.array(array, np.int64)
    out.setflags(write=False)
    return out


def window_extent(size: int, kernel: int, stride: int, before: int, after: int, dilation: int = 1) -> int:
    """Number of window positions along one axis."""
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


@dataclass(frozen=True, eq=False)
class Conv:
    """2-D convolution. ``weight``: (OC, IC/groups, KH, KW); ``bias``: (OC,) at accumulator scale.

    ``pad_value`` is the integer that padding stands for: the input's zero point.
    """

    weight: IntArray
    bias: IntArray
    requant: Requant
    stride: tuple[int, int] = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    pad_value: int = 0
    kind: str = field(default="Conv", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", frozen(self.weight))
        object.__setattr__(self, "bias", frozen(self.bias))

    @property
    def kernel(self) -> tuple[int, int]:
        return int(self.weight.shape[2]), int(self.weight.shape[3])

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
class Dense:
    """Fully connected layer over the whole input. ``weight``: (OC, C, H, W); ``bias``: (OC,)."""

    weight: IntArray
    bias: IntArray
    requant: Requant
    kind: str = field(default="Gemm", init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", frozen(self.weight))
        object.__setattr__(self, "bias", frozen(self.bias))

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


@dataclass(frozen=True)
class Pool:
    """Max or average pooling. ``kind``: "MaxPool" or "AveragePool".

    An average's divisor is ``requant.div`` (padding counted: the zero point stands for zero); ``offset`` is added to
    the sum (minus the window's share of the input's zero point).
    """

    kind: str
    kernel: tuple[int, int]
    requant: Requant
    stride: tuple[int, int] = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    pad_value: int = 0
    offset: int = 0

    def shape(self, inputs: list[Shape]) -> Shape:
        c, h, w = inputs[0]
        top, left, bottom, right = self.pads
        oh = window_extent(h, self.kernel[0], self.stride[0], top, bottom)
        ow = window_extent(w, self.kernel[1], self.stride[1], left, right)
        if oh < 1 or ow < 1:
            raise ValueError(f"window {self.kernel[0]}x{self.kernel[1]} does not fit into {h}x{w}")
        return c, oh, ow

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        cols = windows(inputs[0], self.kernel, self.stride, self.pads, (1, 1), self.pad_value)
        return self.requant.apply(cols.max((2, 3)) if self.kind == "MaxPool" else cols.sum((2, 3)) + self.offset)

    def macs(self, inputs: list[Shape]) -> int:
        return 0

    def accumulator(self, ranges: list[tuple[int, int]]) -> tuple[int, int]:
        lo, hi = ranges[0]
        if any(self.pads):
            lo, hi = min(lo, self.pad_value), max(hi, self.pad_value)
        n = 1 if self.kind == "MaxPool" else self.kernel[0] * self.kernel[1]
        return min(0, n * lo) + min(0, self.offset), max(0, n * hi) + max(0, self.offset)


@dataclass(frozen=True)
class Add:
    """``a * 2**left_shift[0] + b * 2**left_shift[1] + offset``, requantised: both at their common finest scale."""

    requant: Requant
    left_shift: tuple[int, int] = (0, 0)
    offset: int = 0
    kind: str = field(default="Add", init=False)

    def shape(self, inputs: list[Shape]) -> Shape:
        if inputs[0] != inputs[1]:
            raise ValueError(f"shapes {inputs[0]} and {inputs[1]} differ")
        return inputs[0]

    def evaluate(self, inputs: list[IntArray]) -> IntArray:
        a, b = inputs
        return self.requant.apply((a << self.left_shift[0]) + (b << self.left_shift[1]) + self.offset)

    def macs(self, inputs: list[Shape]) -> int:
        return 0

    def accumulator(self, ranges: list[tuple[int, int]]) -> tuple[int, int]:
        (a0, a1), (b0, b1) = ranges
        s, t = self.left_shift
        return (a0 << s) + (b0 << t) + self.offset, (a1 << s) + (b1 << t) + self.offset


def dot_range(weight: IntArray, bias: IntArray, lo: int, hi: int) -> tuple[int, int]:
    """Exact range of every partial sum of ``weight . x + bias`` over all x in ``lo..hi``, the worst channel counted.

    Zero is included: partial sums start there.
    """
    flat = weight.reshape(weight.shape[0], -1)
    up, down = np.maximum(flat, 0).sum(1), np.minimum(flat, 0).sum(1)
    most = up * max(hi, 0) + down * min(lo, 0)
    least = up * min(lo, 0) + down * max(hi, 0)
    return int(min(0, least.min(), (least + np.minimum(bias, 0)).min())), int(
        max(0, most.max(), (most + np.maximum(bias, 0)).max())
    )


def windows(
    x: IntArray,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pads: Pads,
    dilation: tuple[int, int],
    pad_value: int,
) -> IntArray:
    """(N, C, H, W) -> (N, C, KH, KW, OH, OW)."""
    top, left, bottom, right = pads
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=pad_value)
    kh, kw = kernel
    oh = window_extent(x.shape[2], kh, stride[0], top, bottom, dilation[0])
    ow = window_extent(x.shape[3], kw, stride[1], left, right, dilation[1])
    out = np.empty((*x.shape[:2], kh, kw, oh, ow), np.int64)
    for i in range(kh):
        for j in range(kw):
            y, z = i * dilation[0], j * dilation[1]
            out[:, :, i, j] = padded[:, :, y : y + stride[0] * oh : stride[0], z : z + stride[1] * ow : stride[1]][
                :, :, :oh, :ow
            ]
    return out
