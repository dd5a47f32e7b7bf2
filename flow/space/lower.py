"""From a network description and its integers to the integer graph: scales become shifts, ReLU becomes a lower limit.

All scales are powers of two: a tensor's real value is ``q * 2**exponent``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flow.fixed import IntArray, Quant, Requant
from flow.ir.graph import Graph, Node, Tensor
from flow.ir.ops import Add, Conv, Dense, Pool

if TYPE_CHECKING:
    from flow.space.network import Layer, NetSpec

IntegerOp = Conv | Dense | Pool | Add

INPUT_QUANT = Quant(8, False, 2.0**-8)
"""Pixel byte q stands for q / 256."""


@dataclass(frozen=True, eq=False)
class Integers:
    """A layer's parameters: ``weight`` as ``NetSpec.weight_shape``, ``bias`` (OC,) at accumulator scale.

    ``exponent`` has one entry, or one per output channel: the real weight is ``weight * 2**exponent``.
    """

    weight: IntArray
    bias: IntArray
    exponent: tuple[int, ...]


@dataclass(frozen=True)
class Site:
    """A layer in its place: exponents of what it reads and writes, formats, shapes."""

    layer: Layer
    sources: tuple[int, ...]
    target: int
    source: Quant
    quant: Quant
    height: int
    width: int

    def requant(self, shifts: Sequence[int], div: int = 1) -> Requant:
        same = len(set(shifts)) == 1
        return Requant(tuple(shifts[:1]) if same else tuple(shifts), self.quant.lo, self.quant.hi, div=div)


def _weighted(site: Site, integers: Integers | None) -> tuple[IntArray, IntArray, Requant]:
    if integers is None:
        raise ValueError(f"no weights for a {site.layer.kind} layer")
    shifts = [site.target - site.sources[0] - e for e in integers.exponent]
    return integers.weight, integers.bias, site.requant(shifts)


def _conv(site: Site, integers: Integers | None) -> IntegerOp:
    layer = site.layer
    return Conv(*_weighted(site, integers), (layer.stride, layer.stride), layer.padding, groups=layer.groups)


def _dense(site: Site, integers: Integers | None) -> IntegerOp:
    return Dense(*_weighted(site, integers))


def _maxpool(site: Site, integers: Integers | None) -> IntegerOp:
    k, s, layer = site.layer.kernel, site.layer.stride, site.layer
    # Padding must never win: the least integer of the format stands for minus infinity.
    return Pool("MaxPool", (k, k), site.requant([0]), (s, s), layer.padding, pad_value=site.source.lo)


def _avgpool(site: Site, integers: Integers | None) -> IntegerOp:
    k, s, layer = site.layer.kernel, site.layer.stride, site.layer
    requant = site.requant([site.target - site.sources[0]], k * k)
    return Pool("AveragePool", (k, k), requant, (s, s), layer.padding)


def _gap(site: Site, integers: Integers | None) -> IntegerOp:
    window = (site.height, site.width)
    return Pool("AveragePool", window, site.requant([site.target - site.sources[0]], site.height * site.width))


def _add(site: Site, integers: Integers | None) -> IntegerOp:
    finest = min(site.sources)
    a, b = (e - finest for e in site.sources)
    return Add(site.requant([site.target - finest]), (a, b))


_OPS: dict[str, Callable[[Site, Integers | None], IntegerOp]] = {
    "conv": _conv,
    "dense": _dense,
    "maxpool": _maxpool,
    "avgpool": _avgpool,
    "gap": _gap,
    "add": _add,
}


def lower(spec: NetSpec, integers: Mapping[int, Integers], exponents: Sequence[int]) -> Graph:
    """The integer graph of ``spec``: node ``L<i>`` is layer i.

    ``integers`` by layer index for conv and dense layers, ``exponents`` of each layer's output scale (a max pool's
    must equal its source's).  Raises ValueError when they do not fit the layers.
    """
    return assembled(spec, exponents, lambda i, site: operator(site, integers.get(i)))


def operator(site: Site, integers: Integers | None) -> IntegerOp:
    """A layer's operator in its place. Raises ValueError for a weighted layer without integers."""
    return _OPS[site.layer.kind](site, integers)


def assembled(spec: NetSpec, exponents: Sequence[int], make: Callable[[int, Site], IntegerOp]) -> Graph:
    """The graph with the operators that ``make`` gives for each layer's index and place."""
    tensors = {"input": Tensor(spec.input_shape, INPUT_QUANT)}
    nodes, names = [], ["input"]  # names[j + 1] is layer j's tensor, names[0] the input's
    for i, (layer, (bits, signed)) in enumerate(zip(spec.layers, spec.formats(), strict=True)):
        sources = tuple(-8 if j < 0 else exponents[j] for j in layer.inputs)
        if layer.kind == "maxpool" and exponents[i] != sources[0]:
            raise ValueError(f"layer {i} (maxpool): scale 2**{exponents[i]} differs from its source's 2**{sources[0]}")
        quant = Quant(bits, signed, 2.0 ** exponents[i])
        inputs = tuple(names[j + 1] for j in layer.inputs)
        first = tensors[inputs[0]]
        site = Site(layer, sources, exponents[i], first.quant, quant, *first.shape[1:])
        nodes.append(Node(f"L{i}", f"{layer.kind}_{i}", make(i, site), inputs))
        tensors[f"L{i}"] = Tensor(spec.shapes()[i], quant)
        names.append(f"L{i}")
    return Graph(tuple(nodes), tensors)
