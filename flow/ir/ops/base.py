"""What every integer operator offers, and the windows that several of them share."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from flow.fixed import IntArray, Requant

Shape = tuple[int, int, int]
Range = tuple[int, int]
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

    def accumulator(self, ranges: list[Range]) -> Range:
        """Range of the integer before requantisation, given each input's ``(lo, hi)``."""


def frozen(array: IntArray) -> IntArray:
    """A read-only int64 copy, or the array itself where nothing can write to it."""
    if array.dtype == np.int64 and not _writable(array):
        return array
    out = np.array(array, np.int64)
    out.setflags(write=False)
    return out


def _writable(array: object) -> bool:
    """Whether an array or what it is a view of can be written to."""
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return True
        array = array.base
    return array is not None


def window_extent(size: int, kernel: int, stride: int, before: int, after: int, dilation: int = 1) -> int:
    """Number of window positions along one axis."""
    return (size + before + after - dilation * (kernel - 1) - 1) // stride + 1


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
