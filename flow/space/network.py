"""A quantised CNN as a small frozen list of layers: from it the torch module and the integer graph are made."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from flow.fixed import IntArray
from flow.ir.graph import Graph
from flow.ir.ops import Pads, Shape, window_extent
from flow.space.lower import IntegerOp, Integers, Site, assembled, operator

INPUT = -1
"""The reference to the network's input image."""

KINDS = ("conv", "dense", "maxpool", "avgpool", "gap", "add")
LEAST_BITS, MOST_BITS = 2, 8


class SpecError(ValueError):
    """A network description that means no network; one line."""


@dataclass(frozen=True)
class Layer:
    """One layer. ``inputs`` are indices of earlier layers or ``INPUT``; windows are square, ``padding`` is top, left,
    bottom, right.

    ``conv`` and ``dense`` have weights of ``weight_bits``.  ``dense`` reads the whole map, ``gap`` averages it to 1x1.
    Outputs have ``activation_bits``: unsigned after ``relu``, signed otherwise; pools keep their input's signedness
    and ``maxpool`` its whole format.  An average's divisor counts the padding.
    """

    kind: str
    inputs: tuple[int, ...]
    out_channels: int = 0
    kernel: int = 1
    stride: int = 1
    padding: Pads = (0, 0, 0, 0)
    groups: int = 1
    relu: bool = False
    weight_bits: int = 8
    activation_bits: int = 8

    @property
    def weighted(self) -> bool:
        """True for layers that carry weights and a bias."""
        return self.kind in ("conv", "dense")

    @property
    def per_channel(self) -> bool:
        """True where each output channel has its own weight scale; elsewhere the layer has one (one shift for all)."""
        return self.kind == "conv" and self.groups > 1


LAYER_FIELDS = tuple(f.name for f in fields(Layer))


def same(kernel: int) -> Pads:
    """Padding that keeps the map's size at stride 1, odd and even windows."""
    before = (kernel - 1) // 2
    return before, before, kernel - 1 - before, kernel - 1 - before


@dataclass(frozen=True)
class NetSpec:
    """A network for images ``input_shape`` (C, H, W); the last layer gives ``classes`` logits, shape (classes, 1, 1).

    The input is unsigned 8-bit with scale 2**-8.  Any ``NetSpec`` is valid: the constructor raises ``SpecError``.
    """

    input_shape: Shape
    classes: int
    layers: tuple[Layer, ...]
    digest: str = field(default="", init=False, compare=False)
    _shapes: tuple[Shape, ...] = field(default=(), init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.input_shape) != 3 or min(self.input_shape) < 1:
            raise SpecError(f"input shape {self.input_shape}: three positive sizes (C, H, W) are needed")
        if not self.layers:
            raise SpecError("a network needs at least one layer")
        shapes: list[Shape] = []
        for i, layer in enumerate(self.layers):
            _check(i, layer)
            shapes.append(
                _SHAPES[layer.kind](f"layer {i} ({layer.kind})", layer, [self._source(j, shapes) for j in layer.inputs])
            )
        if shapes[-1] != (self.classes, 1, 1):
            raise SpecError(f"the last layer gives {shapes[-1]}, {self.classes} classes need ({self.classes}, 1, 1)")
        used = {j for layer in self.layers for j in layer.inputs}
        loose = [i for i in range(len(self.layers) - 1) if i not in used]
        if loose:
            raise SpecError(f"layer {loose[0]} ({self.layers[loose[0]].kind}) is read by no layer")
        object.__setattr__(self, "_shapes", tuple(shapes))
        object.__setattr__(self, "digest", hashlib.sha256(self.json().encode()).hexdigest()[:16])

    def _source(self, index: int, shapes: Sequence[Shape]) -> Shape:
        return self.input_shape if index == INPUT else shapes[index]

    def shapes(self) -> tuple[Shape, ...]:
        """Each layer's output shape (C, H, W)."""
        return self._shapes

    def in_shapes(self, index: int) -> list[Shape]:
        """Shapes of what layer ``index`` reads."""
        return [self._source(j, self._shapes) for j in self.layers[index].inputs]

    def weight_shape(self, index: int) -> tuple[int, int, int, int]:
        """(OC, IC/groups, K, K) of a convolution, (OC, C, H, W) of a dense layer."""
        layer, (c, h, w) = self.layers[index], self.in_shapes(index)[0]
        if layer.kind == "dense":
            return layer.out_channels, c, h, w
        return layer.out_channels, c // layer.groups, layer.kernel, layer.kernel

    def formats(self) -> tuple[tuple[int, bool], ...]:
        """Each layer's output format ``(bits, signed)``."""
        out: list[tuple[int, bool]] = []
        for layer in self.layers:
            source = (8, False) if layer.inputs[0] == INPUT else out[layer.inputs[0]]
            rule = {"maxpool": source, "avgpool": (layer.activation_bits, source[1])}
            rule["gap"] = rule["avgpool"]
            out.append(rule.get(layer.kind, (layer.activation_bits, not layer.relu)))
        return tuple(out)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return sum(
            math.prod(self.weight_shape(i)) * self._shapes[i][1] * self._shapes[i][2]
            for i, layer in enumerate(self.layers)
            if layer.weighted
        )

    @cached_property
    def params(self) -> int:
        """Weights and biases."""
        return sum(
            math.prod(self.weight_shape(i)) + layer.out_channels
            for i, layer in enumerate(self.layers)
            if layer.weighted
        )

    @property
    def weight_bits(self) -> int:
        """Bits of all weights together (biases not counted)."""
        return sum(
            math.prod(self.weight_shape(i)) * layer.weight_bits for i, layer in enumerate(self.layers) if layer.weighted
        )

    def json(self) -> str:
        """One compact line; ``from_json`` reads it back."""
        return self._json

    @cached_property
    def _json(self) -> str:
        rows = [[getattr(layer, name) for name in LAYER_FIELDS] for layer in self.layers]
        layers = [[int(x) if isinstance(x, bool) else x for x in row] for row in rows]
        return json.dumps({"input": self.input_shape, "classes": self.classes, "layers": layers}, separators=(",", ":"))


def from_json(text: str) -> NetSpec:
    """Read what ``NetSpec.json`` wrote.  Raises ``SpecError``."""
    try:
        data = json.loads(text)
        c, h, w = (_integer(x) for x in data["input"])
        layers = tuple(_layer(row) for row in data["layers"])
        return NetSpec((c, h, w), _integer(data["classes"]), layers)
    except (json.JSONDecodeError, KeyError, TypeError, IndexError) as e:
        raise SpecError(f"not a network description: {e!r}") from e


def _layer(row: list[object]) -> Layer:
    if not isinstance(row, list) or len(row) != len(LAYER_FIELDS):
        raise SpecError(f"a layer is a list of {len(LAYER_FIELDS)} values ({', '.join(LAYER_FIELDS)})")
    kind, inputs, channels, kernel, stride, padding, groups, relu, weight_bits, activation_bits = row
    if not isinstance(inputs, list) or not isinstance(padding, list) or len(padding) != 4:
        raise SpecError("a layer's inputs and padding are lists, the padding of 4")
    top, left, bottom, right = (_integer(x) for x in padding)
    return Layer(
        str(kind),
        tuple(_integer(x) for x in inputs),
        _integer(channels),
        _integer(kernel),
        _integer(stride),
        (top, left, bottom, right),
        _integer(groups),
        bool(_integer(relu)),
        _integer(weight_bits),
        _integer(activation_bits),
    )


def _integer(x: object) -> int:
    if not isinstance(x, int):
        raise SpecError(f"{x!r} is not an integer")
    return int(x)


def _check(i: int, layer: Layer) -> None:
    where = f"layer {i} ({layer.kind})"
    if layer.kind not in KINDS:
        raise SpecError(f"{where}: unknown kind, one of {', '.join(KINDS)} is needed")
    if len(layer.inputs) != (2 if layer.kind == "add" else 1):
        raise SpecError(f"{where}: {len(layer.inputs)} inputs")
    if any(not INPUT <= j < i for j in layer.inputs):
        raise SpecError(f"{where}: reads layer {max(layer.inputs, key=abs)}, which is not an earlier one")
    if layer.kernel < 1 or layer.stride < 1 or layer.groups < 1 or min(layer.padding) < 0:
        raise SpecError(f"{where}: kernel, stride and groups are at least 1, padding at least 0")
    if max(layer.padding) >= max(layer.kernel, 2):
        raise SpecError(f"{where}: padding {max(layer.padding)} is as wide as the window")
    if not all(LEAST_BITS <= b <= MOST_BITS for b in (layer.weight_bits, layer.activation_bits)):
        raise SpecError(
            f"{where}: {layer.weight_bits}/{layer.activation_bits} bits, {LEAST_BITS} to {MOST_BITS} are served"
        )
    if layer.relu and layer.kind not in ("conv", "dense", "add"):
        raise SpecError(f"{where}: a pool has no ReLU")
    if layer.weighted and layer.out_channels < 1:
        raise SpecError(f"{where}: needs out_channels")


def _window_shape(where: str, layer: Layer, inputs: list[Shape]) -> Shape:
    c, h, w = inputs[0]
    if layer.kind == "conv" and (c % layer.groups or layer.out_channels % layer.groups):
        raise SpecError(f"{where}: {layer.groups} groups do not divide {c} -> {layer.out_channels} channels")
    top, left, bottom, right = layer.padding
    oh = window_extent(h, layer.kernel, layer.stride, top, bottom)
    ow = window_extent(w, layer.kernel, layer.stride, left, right)
    if min(oh, ow) < 1:
        raise SpecError(f"{where}: a {layer.kernel}x{layer.kernel} window does not fit into {h}x{w}")
    return (layer.out_channels if layer.kind == "conv" else c), oh, ow


def _add_shape(where: str, layer: Layer, inputs: list[Shape]) -> Shape:
    if inputs[0] != inputs[1]:
        raise SpecError(f"{where}: adds {inputs[0]} and {inputs[1]}, the shapes must be equal")
    return inputs[0]


_SHAPES: dict[str, Callable[[str, Layer, list[Shape]], Shape]] = {
    "conv": _window_shape,
    "maxpool": _window_shape,
    "avgpool": _window_shape,
    "dense": lambda where, layer, inputs: (layer.out_channels, 1, 1),
    "gap": lambda where, layer, inputs: (inputs[0][0], 1, 1),
    "add": _add_shape,
}


def random_graph(spec: NetSpec, seed: int = 0) -> Graph:
    """The integer graph with random weights over their full range: what an untrained network costs.

    Shifts are chosen so that activations neither vanish nor all saturate.  Equal layers in equal places share one
    operator, whose weights are a slice of one buffer: candidates cost little to make and compare.
    """
    exponents: list[int] = []
    for layer, (bits, signed) in zip(spec.layers, spec.formats(), strict=True):
        source = -8 if layer.inputs[0] == INPUT else exponents[layer.inputs[0]]
        # Every tensor spans about -8..8, as after batch normalisation, so that the two sides of an add are alike.
        exponents.append(source if layer.kind == "maxpool" else 3 - bits + signed)

    def stand_in(i: int, site: Site) -> IntegerOp:
        genes = tuple(getattr(site.layer, name) for name in LAYER_FIELDS if name != "inputs")
        place = site.sources, site.target, site.source, site.quant, site.height, site.width
        return _stand_in(genes, place, spec.weight_shape(i) if site.layer.weighted else (), seed)

    return assembled(spec, exponents, stand_in)


@lru_cache(maxsize=1 << 14)
def _stand_in(genes: tuple[Any, ...], place: tuple[Any, ...], shape: tuple[int, ...], seed: int) -> IntegerOp:
    """A layer's operator with random weights; ``genes``: the layer without its inputs, ``place``: the rest of Site."""
    at = LAYER_FIELDS.index("inputs")
    layer = Layer(**dict(zip(LAYER_FIELDS, (*genes[:at], (), *genes[at:]), strict=True)))
    site = Site(layer, *place)
    return operator(site, _random_integers(site, shape, seed * 7919) if shape else None)


def _random_integers(site: Site, shape: tuple[int, ...], start: int) -> Integers:
    layer, source = site.layer, site.source
    most = (1 << (layer.weight_bits - 1)) - 1
    spread = math.sqrt(math.prod(shape[1:])) * (most / 2 + 0.5) * (1 << (source.bits - source.signed)) / 3
    shift = round(math.log2(spread)) - (site.quant.bits - site.quant.signed) + 2
    bias = _noise(8, layer.out_channels, start + 1) * max(1, int(spread) >> 7)
    weight = _noise(layer.weight_bits, math.prod(shape), start).reshape(shape)
    # Trained channels' scales lie one or two halvings apart; only that they differ matters to the hardware.
    spread_of = _noise(2, layer.out_channels, start + 2).tolist() if layer.per_channel else (0,)
    coarse = site.target - site.sources[0] - shift
    return Integers(weight, bias, tuple(coarse + s for s in spread_of))


@lru_cache(maxsize=16)
def _buffer(bits: int) -> IntArray:
    most = (1 << (bits - 1)) - 1
    found = np.random.default_rng([2024, bits]).integers(-most, most, 1 << 17, dtype=np.int64, endpoint=True)
    found.setflags(write=False)
    return found


def _noise(bits: int, count: int, start: int) -> IntArray:
    """``count`` reproducible integers of symmetric ``bits``-bit range."""
    buffer = _buffer(bits)
    if count >= len(buffer):
        return np.resize(buffer, count)
    first = start % (len(buffer) - count)
    return buffer[first : first + count]
