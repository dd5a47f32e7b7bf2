"""The torch module of a network description: float with batch normalisation, then folded with simulated integers.

In quantised mode every tensor lies on the grid of its power-of-two scale, so float32 arithmetic is exact (sums stay
below 2**24 steps) and the outputs equal those of the integer graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from flow.space.network import INPUT, Layer, NetSpec

INPUT_EXPONENT = -8
FINER_STEPS = 4  # how many halvings below the range-covering scale are tried when a scale is fitted
MAX_BIAS_STEPS = 1 << 20  # bias and products together must stay below 2**24 accumulator steps
CONSTANT = 1e-3  # of normalisation's epsilon: a channel with less variance leaves it with under 4 % of its scale
MAX_CHANNEL_SPREAD = 6  # a channel's scale is at most this many halvings finer than the layer's coarsest


def weight_range(bits: int) -> tuple[int, int]:
    """Symmetric: the most negative integer is left out."""
    most = (1 << (bits - 1)) - 1
    return -most, most


def activation_range(bits: int, signed: bool) -> tuple[int, int]:
    """All integers of the format."""
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def fit_exponents(rows: Tensor, lo: int, hi: int) -> Tensor:
    """For each row of (R, N) the exponent e whose grid ``q * 2**e``, q in lo..hi, has the least squared error.

    Returns int64 (R,).  A row of zeros gets an exponent as for a range of one.
    """
    peak = torch.maximum(rows.amax(1) / max(hi, 1), rows.amin(1) / min(lo, -1)).clamp(min=0)
    peak = torch.where(peak > 0, peak, torch.full_like(peak, 1.0 / max(hi, 1)))
    coarsest = torch.ceil(torch.log2(peak))
    best, error = coarsest.clone(), torch.full_like(coarsest, math.inf)
    for step in range(FINER_STEPS + 1):
        scale = torch.exp2(coarsest - step)[:, None]
        now = (torch.clamp(torch.round(rows / scale), lo, hi) * scale - rows).square().sum(1)
        better = now < error
        best, error = torch.where(better, coarsest - step, best), torch.where(better, now, error)
    return best.to(torch.int64)


def near(rows: Tensor, exponents: Tensor, lo: int, hi: int) -> Tensor:
    """Exponents (R,) of the rows of (R, N), moved to at most MAX_CHANNEL_SPREAD apart.

    Where they are further apart, to those of the least squared errors of all rows, each relative to its row: a single
    row of huge weights, whose inputs are tiny, is clipped, and does not round all others to zero.
    """
    low, high = int(exponents.min()), int(exponents.max()) - MAX_CHANNEL_SPREAD
    if low >= high:
        return exponents
    size, best, least = rows.square().sum(1).clamp(min=1e-30), exponents, math.inf
    for base in range(high, low - 1, -1):
        moved = exponents.clamp(base, base + MAX_CHANNEL_SPREAD)
        scale = torch.exp2(moved.to(rows.dtype))[:, None]
        error = (torch.clamp(torch.round(rows / scale), lo, hi) * scale - rows).square().sum(1)
        now = float((error / size).clamp(max=1.0).sum())
        if now < least:
            best, least = moved, now
    return best


def round_through(x: Tensor) -> Tensor:
    """Round to nearest even; the gradient passes straight through."""
    rounded: Tensor = x + (torch.round(x) - x).detach()
    return rounded


class _Snap(torch.autograd.Function):
    """Clamp to lo..hi steps and round to the grid; the gradient passes inside the range.

    Adding and subtracting 1.5 * 2**23 steps makes float32 addition itself round to nearest even: three passes over
    memory where torch's own fake quantisation takes several times as long.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: float, lo: int, hi: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.limits = lo * step, hi * step
        magic = 1.5 * 2.0**23 * step
        return x.clamp(lo * step, hi * step).add_(magic).sub_(magic)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(grads[0], x, *ctx.limits), None, None, None


snap: Callable[[Tensor, float, int, int], Tensor] = _Snap.apply
"""``snap(x, step, lo, hi)``: x on the grid of integers lo..hi times ``step`` (a power of two)."""


class Net(nn.Module):
    """``spec`` as a module: images float32 (N, C, H, W) in steps of 2**-8 to logits (N, classes).

    ``mode`` is "float" (batch normalisation live) until ``fold``, then "folded" until ``calibrate``, then "qat".
    """

    def __init__(self, spec: NetSpec, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.spec, self.mode = spec, "float"
        self.formats = spec.formats()
        self.exponents: list[int] = [0] * len(spec.layers)
        self.weight_exponents: dict[int, Tensor] = {}
        self.weights, self.biases, self.norms = nn.ParameterDict(), nn.ParameterDict(), nn.ModuleDict()
        for i, layer in enumerate(spec.layers):
            if not layer.weighted:
                continue
            shape = spec.weight_shape(i)
            weight = torch.empty(shape)
            gain = math.sqrt(2.0) if layer.relu else 1.0
            nn.init.normal_(weight, 0.0, gain / math.sqrt(math.prod(shape[1:])), generator=generator)
            self.weights[str(i)] = nn.Parameter(weight)
            if layer.kind == "conv":
                self.norms[str(i)] = nn.BatchNorm2d(layer.out_channels)
            else:
                self.biases[str(i)] = nn.Parameter(torch.zeros(layer.out_channels))

    @torch.no_grad()
    def begin_with(self, arrays: Mapping[str, NDArray[np.float32]], x: Tensor) -> None:
        """Take folded weights ``<i>.weight`` and ``<i>.bias`` of the module's shapes.

        Normalisation is set so that on images ``x`` each such layer gives what its folded weights give: its scale is
        their outputs' deviation, its offset their mean.
        """
        values: list[Tensor] = []
        for i, layer in enumerate(self.spec.layers):
            inputs = [x if j == INPUT else values[j] for j in layer.inputs]
            given = f"{i}.weight" in arrays
            if given:
                self.weights[str(i)].copy_(torch.from_numpy(arrays[f"{i}.weight"]))
                bias = torch.from_numpy(arrays[f"{i}.bias"])
                if str(i) in self.norms:
                    norm = self.norms.pop(str(i))
                    _undo(norm, _FORWARD[layer.kind](self, i, layer, inputs), bias)
                    self.norms[str(i)] = norm
                else:
                    self.biases[str(i)].copy_(bias)
            values.append(self._activate(i, layer, _FORWARD[layer.kind](self, i, layer, inputs)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes)."""
        return self.tensors(x)[-1].flatten(1)

    def tensors(self, x: Tensor) -> list[Tensor]:
        """Every layer's output, real values."""
        values: list[Tensor] = []
        for i, layer in enumerate(self.spec.layers):
            inputs = [x if j == INPUT else values[j] for j in layer.inputs]
            raw = _FORWARD[layer.kind](self, i, layer, inputs)
            values.append(self._activate(i, layer, raw))
        return values

    def _activate(self, i: int, layer: Layer, raw: Tensor) -> Tensor:
        if self.mode != "qat":
            return F.relu(raw) if layer.relu else raw
        if layer.kind == "maxpool":
            return raw  # on its source's grid already
        lo, hi = activation_range(*self.formats[i])  # for ReLU lo is 0: clamping is the ReLU
        return snap(raw.float(), 2.0 ** self.exponents[i], lo, hi)  # bfloat16 cannot count the steps

    def source_exponent(self, i: int) -> int:
        """Exponent of the scale of what layer ``i`` reads first."""
        j = self.spec.layers[i].inputs[0]
        return INPUT_EXPONENT if j == INPUT else self.exponents[j]

    def parameters_of(self, i: int) -> tuple[Tensor, Tensor | None]:
        """Weight and bias as layer ``i`` uses them: on their grids in qat mode."""
        weight, bias = self.weights[str(i)], self.biases[str(i)] if str(i) in self.biases else None
        if self.mode != "qat":
            return weight, bias
        scale = torch.exp2(self.weight_exponents[i].to(weight.device, weight.dtype))
        lo, hi = weight_range(self.spec.layers[i].weight_bits)
        zero = torch.zeros_like(scale, dtype=torch.int32)
        weight = torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, lo, hi)
        assert bias is not None  # folding gave every layer one
        step = scale * 2.0 ** self.source_exponent(i)
        return weight, round_through(bias / step) * step

    @torch.no_grad()
    def fold(self) -> None:
        """Batch normalisation with its running statistics becomes part of weight and bias."""
        for key, module in self.norms.items():
            assert isinstance(module, nn.BatchNorm2d) and module.running_var is not None
            assert module.running_mean is not None
            factor = module.weight / torch.sqrt(module.running_var + module.eps)
            # What hardly varies is a constant: multiplied by its huge factor, it would spoil the layer's scales.
            factor = torch.where(module.running_var < CONSTANT * module.eps, 0.0, factor)
            self.weights[key].mul_(factor[:, None, None, None])
            self.biases[key] = nn.Parameter(module.bias - module.running_mean * factor)
        self.norms = nn.ModuleDict()
        self.mode = "folded"

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """Fit all scales: weights from their values, activations from what images ``x`` give with the layers before
        them already quantised.  Needs a folded module; leaves it in qat mode."""
        if self.mode == "float":
            raise ValueError("fold the batch normalisation before calibrating")
        self.mode = "qat"
        values: list[Tensor] = []
        for i, layer in enumerate(self.spec.layers):
            if layer.weighted:
                self.fit_weight(i)
            inputs = [x if j == INPUT else values[j] for j in layer.inputs]
            raw = _FORWARD[layer.kind](self, i, layer, inputs)
            if layer.kind == "maxpool":
                self.exponents[i] = self.source_exponent(i)
            else:
                seen = F.relu(raw) if layer.relu else raw
                self.exponents[i] = int(fit_exponents(seen.reshape(1, -1), *activation_range(*self.formats[i])))
            values.append(self._activate(i, layer, raw))

    @torch.no_grad()
    def fit_weights(self) -> None:
        """Fit the weights' scales anew; activations keep theirs."""
        for i, layer in enumerate(self.spec.layers):
            if layer.weighted:
                self.fit_weight(i)

    def fit_weight(self, i: int) -> None:
        """Scale exponents (OC,) of layer ``i``: one per channel, or the same for all."""
        weight, layer = self.weights[str(i)], self.spec.layers[i]
        lo, hi = weight_range(layer.weight_bits)
        rows = weight.reshape(weight.shape[0], -1)
        fitted = fit_exponents(rows if layer.per_channel else rows.reshape(1, -1), lo, hi).expand(weight.shape[0])
        # A dead channel's tiny scale would make its bias, counted in accumulator steps, enormous.
        room = self.biases[str(i)].abs() / (MAX_BIAS_STEPS * 2.0 ** self.source_exponent(i))
        least = torch.ceil(torch.log2(room.clamp(min=1e-30))).to(torch.int64)
        if not layer.per_channel:
            least = least.amax().expand_as(least)
        fitted = torch.maximum(near(rows, fitted, lo, hi), least)
        self.weight_exponents[i] = torch.maximum(fitted, fitted.amax() - MAX_CHANNEL_SPREAD)

    def state(self) -> tuple[dict[str, NDArray[np.float32]], tuple[tuple[int, ...], ...], tuple[int, ...]]:
        """Latent arrays ``<i>.weight``, ``<i>.bias``; each layer's weight exponents; activation exponents."""
        if self.mode != "qat":
            raise ValueError("only a calibrated module has scales")
        arrays = {}
        for name, group in (("weight", self.weights), ("bias", self.biases)):
            for key, value in group.items():
                arrays[f"{key}.{name}"] = value.detach().cpu().numpy().astype(np.float32).copy()
        layers = range(len(self.spec.layers))
        scales = tuple(tuple(self.weight_exponents[i].tolist()) if i in self.weight_exponents else () for i in layers)
        return arrays, scales, tuple(self.exponents)

    @classmethod
    def restore(
        cls,
        spec: NetSpec,
        arrays: Mapping[str, NDArray[np.float32]],
        weight_exponents: tuple[tuple[int, ...], ...],
        exponents: tuple[int, ...],
    ) -> Net:
        """The module, in qat mode, whose ``state`` this is."""
        net = cls(spec)
        net.norms, net.mode, net.exponents = nn.ModuleDict(), "qat", list(exponents)
        for i, layer in enumerate(spec.layers):
            if layer.weighted:
                net.weights[str(i)] = nn.Parameter(torch.tensor(arrays[f"{i}.weight"]))
                net.biases[str(i)] = nn.Parameter(torch.tensor(arrays[f"{i}.bias"]))
                net.weight_exponents[i] = torch.tensor(weight_exponents[i], dtype=torch.int64)
        return net.eval()


def _undo(norm: nn.Module, raw: Tensor, bias: Tensor) -> None:
    """Normalisation of a convolution's outputs ``raw`` (N, C, H, W) that only adds ``bias``."""
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.copy_(raw.mean((0, 2, 3)))
    norm.running_var.copy_(raw.var((0, 2, 3)))
    norm.weight.copy_(torch.sqrt(norm.running_var + norm.eps))
    norm.bias.copy_(norm.running_mean + bias)


def _pad(x: Tensor, layer: Layer, value: float = 0.0) -> Tensor:
    top, left, bottom, right = layer.padding
    return F.pad(x, (left, right, top, bottom), value=value) if any(layer.padding) else x


def _conv(net: Net, i: int, layer: Layer, inputs: list[Tensor]) -> Tensor:
    weight, bias = net.parameters_of(i)
    top, left, bottom, right = layer.padding
    symmetric = (top, left) == (bottom, right)
    x = inputs[0] if symmetric else _pad(inputs[0], layer)
    out = F.conv2d(x, weight, bias, layer.stride, (top, left) if symmetric else 0, 1, layer.groups)
    normed: Tensor = net.norms[str(i)](out) if str(i) in net.norms else out
    return normed


def _dense(net: Net, i: int, layer: Layer, inputs: list[Tensor]) -> Tensor:
    weight, bias = net.parameters_of(i)
    return F.linear(inputs[0].flatten(1), weight.flatten(1), bias)[:, :, None, None]


def _maxpool(net: Net, i: int, layer: Layer, inputs: list[Tensor]) -> Tensor:
    return F.max_pool2d(_pad(inputs[0], layer, -math.inf), layer.kernel, layer.stride)


def _avgpool(net: Net, i: int, layer: Layer, inputs: list[Tensor]) -> Tensor:
    return F.avg_pool2d(_pad(inputs[0], layer), layer.kernel, layer.stride)


def _gap(net: Net, i: int, layer: Layer, inputs: list[Tensor]) -> Tensor:
    # An exact sum and one division, correctly rounded: a mean by a rounded reciprocal could miss a tie.
    x = inputs[0]
    return x.sum((2, 3), keepdim=True) / float(x.shape[2] * x.shape[3])


def _add(net: Net, i: int, layer: Layer, inputs: list[Tensor]) -> Tensor:
    return inputs[0] + inputs[1]


_FORWARD: dict[str, Callable[[Net, int, Layer, list[Tensor]], Tensor]] = {
    "conv": _conv,
    "dense": _dense,
    "maxpool": _maxpool,
    "avgpool": _avgpool,
    "gap": _gap,
    "add": _add,
}
