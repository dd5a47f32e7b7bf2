"""Builds a network layer by layer for the spaces: keeps the last layer, its shape, and the usual blocks."""

from __future__ import annotations

from typing import TypeAlias

from flow.ir.ops import Shape, window_extent
from flow.space.network import INPUT, Layer, NetSpec, same

Bits: TypeAlias = tuple[int, int]  # of weights and of activations
EDGE: Bits = (8, 8)  # of the first and the last layer, as in the default space
LEAST_MAP = 4  # ``fit`` downsamples no map to fewer pixels a side


class Stack:
    """``tip`` is the last layer's index and ``shape`` its output's (C, H, W)."""

    def __init__(self, input_shape: Shape) -> None:
        self.layers: list[Layer] = []
        self.shapes: list[Shape] = []
        self.input_shape = input_shape
        self.tip = INPUT

    @property
    def shape(self) -> Shape:
        return self.shape_of(self.tip)

    def shape_of(self, index: int) -> Shape:
        """Output shape of layer ``index``."""
        return self.input_shape if index == INPUT else self.shapes[index]

    def fit(self, stride: int) -> int:
        """``stride``, or 1 where the map would fall below ``LEAST_MAP``: networks for large images on small ones."""
        return stride if min(self.shape[1:]) >= stride * LEAST_MAP else 1

    def add(self, layer: Layer) -> int:
        """Append; the new layer is the tip."""
        c, h, w = self.shape_of(layer.inputs[0])
        if layer.kind in ("conv", "maxpool", "avgpool"):
            top, left, bottom, right = layer.padding
            h = window_extent(h, layer.kernel, layer.stride, top, bottom)
            w = window_extent(w, layer.kernel, layer.stride, left, right)
        if layer.weighted:
            c = layer.out_channels
        if layer.kind in ("gap", "dense"):
            h = w = 1
        self.layers.append(layer)
        self.shapes.append((c, h, w))
        self.tip = len(self.layers) - 1
        return self.tip

    def conv(
        self,
        channels: int,
        kernel: int,
        stride: int = 1,
        bits: Bits = EDGE,
        relu: bool = True,
        groups: int = 1,
        source: int | None = None,
    ) -> int:
        """Convolution with "same" padding, batch normalisation folded in."""
        inputs = (self.tip if source is None else source,)
        return self.add(Layer("conv", inputs, channels, kernel, stride, same(kernel), groups, relu, *bits))

    def sum(self, a: int, b: int, bits: Bits, relu: bool = False) -> int:
        """Layers ``a`` and ``b`` added."""
        return self.add(Layer("add", (a, b), relu=relu, activation_bits=bits[1]))

    def inverted(
        self,
        channels: int,
        kernel: int,
        stride: int,
        wide: int,
        bits: Bits,
        groups: int = 1,
        fused: bool = False,
        always: bool = False,
    ) -> int:
        """Inverted bottleneck of ``wide`` channels: 1x1, depthwise, linear 1x1, residual where the shape stays.

        ``fused``: one full convolution in place of the first two.  ``groups``: of the 1x1 convolutions, or of the
        fused one.  Where ``wide`` is the input's channels there is nothing to expand and no first 1x1, unless
        ``always``.
        """
        source, before = self.tip, self.shape
        if fused:
            self.conv(wide, kernel, stride, bits, groups=groups)
        else:
            if always or wide != before[0]:
                self.conv(wide, 1, 1, bits, groups=groups)
            self.conv(wide, kernel, stride, bits, groups=wide)
        tip = self.conv(channels, 1, 1, bits, relu=False, groups=1 if fused else groups)
        return self.sum(source, tip, bits) if self.shape == before else tip

    def finish(self, classes: int) -> NetSpec:
        """Global average and dense layer."""
        if min(self.shape[1:]) > 1 or self.shape[1] != self.shape[2]:
            self.add(Layer("gap", (self.tip,)))
        self.add(Layer("dense", (self.tip,), classes, weight_bits=EDGE[0], activation_bits=EDGE[1]))
        return NetSpec(self.input_shape, classes, tuple(self.layers))


def rounded(channels: float, step: int = 8) -> int:
    """``channels`` to the nearest multiple of ``step``, at least one."""
    return max(step, int(channels / step + 0.5) * step)
