"""The state of reading one ONNX graph into integers: values, pending operators, and the table of operators.

An operator's importer gets the `Importer` and the ONNX node, and returns the value of the node's first output.
Float operators become `Pending`; the QuantizeLinear that follows turns one into a graph node.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from flow.fixed import IntArray, Quant, Requant, bits_for
from flow.ir import scales
from flow.ir.graph import Node, Tensor
from flow.ir.onnx_file import ModelError, node_label, shown
from flow.ir.ops import Op, Pool, Shape
from flow.ir.writer import NAME_KEY


@dataclass(frozen=True, eq=False)
class Constant:
    """A stored array, as in the file."""

    values: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Codes:
    """Stored integers that bear a scale: a QuantizeLinear of a constant."""

    values: IntArray


@dataclass(frozen=True, eq=False)
class Parameter:
    """Dequantised constant: ``values`` (zero point subtracted) times ``scale`` (one, or one per index of ``axis``)."""

    values: IntArray
    scale: tuple[Fraction, ...]
    axis: int = 0


@dataclass(frozen=True)
class Image:
    """The network's float input before its QuantizeLinear, limited to ``lo..hi``."""

    shape: Shape
    rank: int
    lo: float = -np.inf
    hi: float = np.inf


@dataclass(frozen=True)
class Stored:
    """Integers of a graph tensor: the output of QuantizeLinear.  ``rank`` is 4, or 2 after a flatten."""

    tensor: str
    rank: int


@dataclass(frozen=True)
class Real:
    """Real values of a graph tensor: the output of DequantizeLinear."""

    tensor: str
    rank: int


@dataclass(frozen=True, eq=False)
class Pending:
    """A float operator whose output is not quantised yet.

    ``step``: the real value of one accumulator unit, before ``div`` (one, or one per output channel).
    ``passed``: zero point that the accumulator still holds.  ``natural``: the format in which the values already are
    exact integers, if any.  ``source``: the pending operator in front of a MaxPool, which is quantised first (exact
    because rounding and limits are monotone); ``after`` then gives the MaxPool of that tensor.  ``rebias``: the same
    operator with a bias added.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    shape: Shape
    rank: int
    step: tuple[Fraction, ...]
    build: Callable[[Requant], Op]
    div: int = 1
    passed: int = 0
    lo: float = -np.inf
    hi: float = np.inf
    natural: Quant | None = None
    source: Pending | None = None
    after: Callable[[str], Pending] | None = None
    rebias: Callable[[Constant | Parameter], Pending] | None = None


Value = Constant | Codes | Parameter | Image | Stored | Real | Pending
Operator = Callable[["Importer", NodeProto], Value]
Limited = TypeVar("Limited", Image, Pending)

OPERATORS: dict[str, Operator] = {}


def operator(*names: str) -> Callable[[Operator], Operator]:
    """Registers an importer for ONNX operators of the standard domain."""

    def register(function: Operator) -> Operator:
        for name in names:
            OPERATORS[name] = function
        return function

    return register


def refusal(node: NodeProto, reason: str) -> ModelError:
    """A ModelError naming ``node``; ``reason`` ends with the way out."""
    return ModelError(f"{node_label(node)}: {reason}")


def attributes(node: NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def limited(value: Limited, lo: float, hi: float) -> Limited:
    """``value`` clipped further."""
    return replace(value, lo=min(max(value.lo, lo), hi), hi=max(min(value.hi, hi), lo))


@dataclass
class Importer:
    """Values by ONNX name, and the graph built so far; lives within one load."""

    values: dict[str, Value]
    opset: int
    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _done: dict[tuple[int, Quant, int, int], tuple[Pending, str]] = field(default_factory=dict)

    def optional(self, node: NodeProto, k: int) -> Value | None:
        """Input ``k`` of ``node``, None when absent."""
        if k >= len(node.input) or not node.input[k]:
            return None
        value = self.values.get(node.input[k])
        if value is None:
            raise refusal(node, f"reads {shown(node.input[k])}, a second output that is not supported; do not use it")
        return value

    def value(self, node: NodeProto, k: int) -> Value:
        found = self.optional(node, k)
        if found is None:
            raise refusal(node, f"input {k} is missing; export the model again")
        return found

    def array(self, node: NodeProto, k: int) -> NDArray[Any] | None:
        """A constant input as stored; None when absent."""
        value = self.optional(node, k)
        if value is None:
            return None
        if not isinstance(value, Constant):
            raise refusal(node, f"input {k} is computed, not constant; export a static graph with fixed shapes")
        return value.values

    def real(self, node: NodeProto, k: int, rank: int | None = None) -> tuple[Real, Tensor]:
        """A feature-map input, which must be quantised, and its tensor."""
        value = self.value(node, k)
        if isinstance(value, Pending) and value.natural is not None:
            q = value.natural
            value = Real(self.quantised(node, value, q.scale, q.zero, q.lo, q.hi), value.rank)
        if isinstance(value, Real):
            if rank is not None and value.rank != rank:
                raise refusal(node, f"its input has rank {value.rank}, {rank} is supported; add or drop a Flatten")
            return value, self.tensors[value.tensor]
        what = {
            Pending: "is float: put QuantizeLinear and DequantizeLinear between the two operators",
            Image: "is the float network input: put QuantizeLinear and DequantizeLinear behind it",
            Stored: "is integer: put a DequantizeLinear in front",
        }.get(type(value), "is a constant where a feature map is expected; fold it into a neighbouring operator")
        raise refusal(node, f"input {k} {what}, or compile the float model with calibration images")

    def shape_of(self, value: Image | Stored | Real | Pending) -> Shape:
        return self.tensors[value.tensor].shape if isinstance(value, (Stored, Real)) else value.shape

    def identity(self, node: NodeProto, value: Real) -> Pending:
        """``value`` as a pending operator without work, to be limited or requantised."""
        tensor = self.tensors[value.tensor]

        def build(requant: Requant) -> Op:
            return Pool("AveragePool", (1, 1), requant, pad_value=tensor.quant.zero, offset=-tensor.quant.zero)

        step = (scales.fraction(tensor.quant.scale),)
        return Pending(
            label(node), "Rescale", (value.tensor,), tensor.shape, value.rank, step, build, natural=tensor.quant
        )

    def quantised(self, node: NodeProto, p: Pending, scale: float, zero: int, lo: int, hi: int) -> str:
        """The graph tensor of ``p`` in integers ``lo..hi`` of ``scale``: id of the node that computes it."""
        s = scales.fraction(scale)
        lo, hi = max(lo, bound(p.lo, s, zero, lo)), min(hi, bound(p.hi, s, zero, hi))
        if lo > hi:
            raise refusal(node, f"its limits {p.lo:g}..{p.hi:g} are outside the quantised range; recalibrate its scale")
        if p.source is not None and p.after is not None:
            inner = self.quantised(node, limited(p.source, p.lo, p.hi), scale, zero, lo, hi)
            p = limited(p.after(inner), p.lo, p.hi)
        if p.passed and p.natural is not None and p.natural.scale != scale:
            q = p.natural
            whole = Real(self.quantised(node, p, q.scale, q.zero, q.lo, q.hi), p.rank)
            p = self.identity(node, whole)
        if p.natural is not None and (p.natural.scale, p.natural.zero) == (scale, zero):
            lo, hi = max(lo, p.natural.lo), min(hi, p.natural.hi)
        quant = Quant(*bits_for(lo, hi), scale, zero)
        return self.finished(node, p, quant, lo, hi)

    def finished(self, node: NodeProto, p: Pending, quant: Quant, lo: int, hi: int) -> str:
        """Appends the graph node of ``p``, once for each format asked of it."""
        key = (id(p), quant, lo, hi)
        if key in self._done:
            return self._done[key][1]
        out = scales.fraction(quant.scale)
        try:
            requant = scales.requant([s / out for s in p.step], lo, hi, p.div, quant.zero - p.passed)
        except ValueError as e:
            raise refusal(node, str(e)) from None
        if set(requant.mult) != {1}:
            self.notes.append(
                f"{p.name}: scale ratio is no power of two; approximated to {scales.MULTIPLIER_BITS} bits"
            )
        name = f"L{len(self.nodes)}"
        self.nodes.append(Node(name, p.name, p.build(requant), p.inputs))
        self.tensors[name] = Tensor(p.shape, quant)
        self._done[key] = (p, name)  # holds p, so that its identity stays its own
        return name

    def raw(self, node: NodeProto, p: Pending) -> str:
        """The graph tensor of ``p`` left unquantised: accumulators at the finest channel's scale."""
        if p.source is not None:
            raise refusal(node, "a float MaxPool at the output is not supported; quantise the output")
        scale = float(np.float32(float(min(p.step) / p.div)))
        if p.div > 1:
            p = replace(p, div=1, step=(scales.fraction(scale),))
        up = max(Fraction(1), *(s / scales.fraction(scale) for s in p.step))
        probe = p.build(Requant((0,), 0, 0))
        lo, hi = probe.accumulator([(q.lo, q.hi) for q in (self.tensors[i].quant for i in p.inputs)])
        lo, hi = math.floor(lo * up), math.ceil(hi * up)
        if p.hi < np.inf:
            raise refusal(node, "a Clip at the output without QuantizeLinear; quantise the output or drop the Clip")
        if p.lo > -np.inf:
            if p.lo != 0:
                raise refusal(node, "a Clip at the output without QuantizeLinear; quantise the output or drop the Clip")
            lo = 0
        bits, signed = bits_for(lo, hi)
        quant = Quant(bits, signed, scale)
        return self.finished(node, p, quant, quant.lo, quant.hi)


def bound(limit: float, scale: Fraction, zero: int, default: int) -> int:
    """The integer that a real limit rounds to; ``default`` when there is none."""
    return default if np.isinf(limit) else round(Fraction(float(limit)) / scale) + zero


def label(node: NodeProto) -> str:
    """Name of an ONNX node for people: what `emit` kept of the first model, or the node's own."""
    kept = next((m.value for m in node.metadata_props if m.key == NAME_KEY), "")
    return kept or node.name or (node.output[0] if node.output else node.op_type)
