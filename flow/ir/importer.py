"""The state of reading one ONNX graph into integers: values, pending operators, and the table of operators.

An operator's importer gets the `Importer` and the ONNX node, and returns the value of the node's first output.
Float operators become `Pending`; the QuantizeLinear that follows turns one into a graph node.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from flow.fixed import IntArray, Quant, Requant, bits_for
from flow.ir import curves, moves, scales
from flow.ir.graph import Node, Tensor, digest_of
from flow.ir.onnx_file import ModelError, node_label, shown
from flow.ir.ops import Concat, Op, Permute, Pool, Shape
from flow.ir.values import (
    Codes,
    Constant,
    Curve,
    Feature,
    Image,
    Joined,
    Moved,
    Parameter,
    Pending,
    Real,
    Stored,
    Value,
)
from flow.ir.writer import NAME_KEY

__all__ = [
    "OPERATORS",
    "ROLES",
    "Codes",
    "Constant",
    "Curve",
    "Feature",
    "Image",
    "Importer",
    "Joined",
    "Moved",
    "Operator",
    "Parameter",
    "Pending",
    "Real",
    "Role",
    "Stored",
    "Value",
    "attributes",
    "bound",
    "label",
    "limited",
    "operator",
    "refusal",
]

# A real bias is kept to half of this part of an output unit; of an accumulator unit where that is the output.
BIAS_PRECISION, RAW_PRECISION = 1 << 15, 1 << 6
MAX_SUM_BITS = 16  # of a feature map: what ONNX stores

Operator = Callable[["Importer", NodeProto], Value | tuple[Value, ...]]
Limited = TypeVar("Limited", bound=Image | Pending | Curve)

Role = Literal["measured", "passed", "limit", "curve", "quantiser"]
OPERATORS: dict[str, Operator] = {}
ROLES: dict[str, Role] = {}


def operator(*names: str, role: Role = "measured") -> Callable[[Operator], Operator]:
    """Registers a reader of ONNX operators of the standard domain.

    ``role`` tells quantisation after training what their outputs are: "measured" (a format of their own), "passed" (the
    input's format), "limit" (limits of the operator in front) or "curve" (a function of one element).
    """

    def register(function: Operator) -> Operator:
        for name in names:
            OPERATORS[name], ROLES[name] = function, role
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
    _made: dict[tuple[str, tuple[str, ...], Tensor], str] = field(default_factory=dict)

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
        value = self.settled(node, self.value(node, k))
        if not isinstance(value, Real):
            value = self.settled(node, self.summed(node, value))
        if isinstance(value, Real):
            if rank is not None and value.rank != rank:
                raise refusal(node, f"its input has rank {value.rank}, {rank} is supported; add or drop a Flatten")
            return value, self.tensors[value.tensor]
        while isinstance(value, Moved | Joined):
            value = value.source if isinstance(value, Moved) else value.parts[0]
        what = {
            Image: "is the float network input: put QuantizeLinear and DequantizeLinear behind it",
            Stored: "is integer: put a DequantizeLinear in front",
            **dict.fromkeys(
                (Pending, Curve, Real), "is float: put QuantizeLinear and DequantizeLinear between the two operators"
            ),
        }.get(type(value), "is a constant where a feature map is expected; fold it into a neighbouring operator")
        raise refusal(node, f"input {k} {what}, or compile the float model with calibration images")

    def summed(self, node: NodeProto, value: Value) -> Value:
        """A mean that nothing quantised as its window's integer sum, which is exact, where 16 bits hold it."""
        if isinstance(value, Moved):
            inner = self.summed(node, value.source)
            return replace(value, source=inner) if isinstance(inner, Real) else value
        if not isinstance(value, Pending) or value.div == 1 or value.source is not None:
            return value
        scale = float(np.float32(float(min(value.step) / value.div)))
        whole = replace(value, div=1, step=(scales.fraction(scale),))
        probe = whole.build(Requant((0,), 0, 0))
        lo, hi = probe.accumulator([(q.lo, q.hi) for q in (self.tensors[i].quant for i in value.inputs)])
        if bits_for(lo, hi)[0] > MAX_SUM_BITS:
            return value
        quant = Quant(*bits_for(lo, hi), scale)
        return Real(self.quantised(node, whole, scale, 0, quant.lo, quant.hi), value.rank)

    def feature(self, node: NodeProto, k: int) -> tuple[Real, Tensor]:
        """`real` of a map (C, H, W), or of one row (C, W)."""
        value, tensor = self.real(node, k)
        if value.rank == 2:
            raise refusal(node, "its input has rank 2, 4 is supported; add or drop a Flatten")
        return value, tensor

    def dims(self, value: Feature) -> tuple[int, ...]:
        """ONNX's shape of a feature map, batch first."""
        if isinstance(value, Moved):
            return value.index.shape
        c, h, w = self.shape_of(value)
        return {2: (1, c * h * w), 3: (1, c, w), 4: (1, c, h, w)}[value.rank]

    def positions(self, value: Feature) -> IntArray:
        """Flat (C, H, W) positions of a map's elements (of its source's, where it is moved) in ONNX's shape."""
        if isinstance(value, Moved):
            return value.index
        dims = self.dims(value)
        return np.arange(math.prod(dims), dtype=np.int64).reshape(dims)

    def shape_of(self, value: Image | Stored | Real | Pending | Curve | Joined) -> Shape:
        return value.shape if isinstance(value, Image | Pending | Joined) else self.tensors[value.tensor].shape

    def settled(self, node: NodeProto, value: Value) -> Value:
        """``value`` as a tensor of the graph when its format is known without a quantiser; else as it is."""
        if isinstance(value, Pending) and value.natural is not None:
            q = value.natural
            return Real(self.quantised(node, value, q.scale, q.zero, q.lo, q.hi), value.rank)
        if isinstance(value, Moved):
            inner = self.settled(node, value.source)
            return self.placed(node, replace(value, source=inner)) if isinstance(inner, Real) else value
        if isinstance(value, Joined):
            parts = [self.settled(node, p) for p in value.parts]
            reals = [p for p in parts if isinstance(p, Real)]
            formats = {(self.tensors[p.tensor].quant.scale, self.tensors[p.tensor].quant.zero) for p in reals}
            if len(reals) == len(parts) and len(formats) == 1:
                return Real(self.concatenated(value, [p.tensor for p in reals]), value.rank)
        return value

    def stored(self, node: NodeProto, value: Feature, scale: float, zero: int, lo: int, hi: int) -> Stored | Moved:
        """``value`` in integers ``lo..hi`` of ``scale``: what QuantizeLinear makes of it."""
        if isinstance(value, Joined):
            parts = [self.stored(node, p, scale, zero, lo, hi) for p in value.parts]
            tensors = [(self.placed(node, p) if isinstance(p, Moved) else p).tensor for p in parts]
            return Stored(self.concatenated(value, tensors), value.rank)
        if isinstance(value, Moved):
            moved = replace(value, source=self.stored(node, value.source, scale, zero, lo, hi))
            return self.placed(node, moved, keep=moved.passing)
        if isinstance(value, Curve):
            return Stored(self.tabulated(node, value, scale, zero, lo, hi), value.rank)
        if isinstance(value, Real):
            quant = self.tensors[value.tensor].quant
            if (quant.scale, quant.zero) == (scale, zero) and lo <= quant.lo and quant.hi <= hi:
                return Stored(value.tensor, value.rank)
            value = self.identity(node, value)
        if isinstance(value, Pending):
            return Stored(self.quantised(node, value, scale, zero, lo, hi), value.rank)
        raise refusal(node, "its input is quantised already; remove the second QuantizeLinear")

    def concatenated(self, value: Joined, tensors: list[str]) -> str:
        """The graph tensor of several behind one another, two at a time; equal beginnings are shared."""
        total = tensors[0]
        for part in tensors[1:]:
            a, b = (self.tensors[t] for t in (total, part))
            lo, hi = min(a.quant.lo, b.quant.lo), max(a.quant.hi, b.quant.hi)
            op = Concat(Requant((0,), lo, hi), value.axis)
            quant = Quant(*bits_for(lo, hi), a.quant.scale, a.quant.zero)
            total = self.shared(value.name, op, (total, part), Tensor(op.shape([a.shape, b.shape]), quant))
        return total

    def shared(self, name: str, op: Op, inputs: tuple[str, ...], tensor: Tensor) -> str:
        """The graph node of an operator, made once."""
        key = (digest_of([op]), inputs, tensor)
        if key not in self._made:
            self._made[key] = self.appended(name, op, inputs, tensor)
        return self._made[key]

    def appended(self, name: str, op: Op, inputs: tuple[str, ...], tensor: Tensor) -> str:
        ident = f"L{len(self.nodes)}"
        self.nodes.append(Node(ident, name, op, inputs))
        self.tensors[ident] = tensor
        return ident

    @overload
    def placed(self, node: NodeProto, moved: Moved) -> Real: ...

    @overload
    def placed(self, node: NodeProto, moved: Moved, keep: bool) -> Stored | Moved: ...

    def placed(self, node: NodeProto, moved: Moved, keep: bool = False) -> Real | Stored | Moved:
        """``moved`` as a graph tensor.  With ``keep``, left as it is when that would need a buffer of the whole map."""
        assert isinstance(moved.source, Stored | Real | Moved)
        source = moved.source
        if isinstance(source, Moved):
            raise refusal(node, f"movements {moved.name!r} and {source.name!r} do not join; put no quantiser between")
        given, dims = self.tensors[source.tensor], moved.index.shape
        rank = len(dims)
        if dims[0] != 1 or rank not in (2, 3, 4):
            if keep:
                return moved
            raise refusal(node, f"its input has shape {list(dims)} after {moved.name!r}; (1, C, H, W) is supported")
        cube = moved.index.reshape(dims[1], dims[2] if rank == 4 else 1, 1 if rank == 2 else dims[-1])
        if rank == 2 and np.array_equal(cube.reshape(-1), np.arange(np.prod(given.shape))):
            return replace(source, rank=2)
        quant = given.quant
        fills = {self._filler(quant, moved.fill[-1 - k]) for k in np.unique(cube).tolist() if k < 0}
        if len(fills) > 1:
            raise refusal(node, f"{moved.name!r} and its inputs pad with different values; pad with one")
        ops = moves.factor(cube, given.shape, Requant((0,), quant.lo, quant.hi), fills.pop() if fills else 0)
        if keep and any(isinstance(o, Permute) for o in ops):
            return moved
        tensor = source.tensor
        for op in ops:
            made = Tensor(op.shape([self.tensors[tensor].shape]), quant)
            tensor = self.shared(moved.name, op, (tensor,), made)
        return replace(source, tensor=tensor, rank=rank)

    def _filler(self, quant: Quant, value: float) -> int:
        return int(quant.quantise(np.array([value], np.float32))[0])

    def tabulated(self, node: NodeProto, curve: Curve, scale: float, zero: int, lo: int, hi: int) -> str:
        """The graph tensor of a function by table, in integers ``lo..hi`` of ``scale``."""
        s = scales.fraction(scale)
        lo, hi = max(lo, bound(curve.lo, s, zero, lo)), min(hi, bound(curve.hi, s, zero, hi))
        source = self.tensors[curve.tensor]
        if lo > hi:
            raise refusal(
                node, f"its limits {curve.lo:g}..{curve.hi:g} are outside the quantised range; recalibrate it"
            )
        full = Quant(*bits_for(lo, hi), scale, zero)
        op = curves.tabulate(node, curve.nodes, curve.constants, curve.result, source, full, (lo, hi), self.opset)
        quant = Quant(*bits_for(op.requant.lo, op.requant.hi), scale, zero)
        return self.shared(curve.name, op, (curve.tensor,), Tensor(source.shape, quant))

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
        made, p = p, refined(p, out / BIAS_PRECISION)
        try:
            requant = scales.requant([s / out for s in p.step], lo, hi, p.div, quant.zero - p.passed)
        except ValueError as e:
            raise refusal(node, str(e)) from None
        op = p.build(requant)
        if set(requant.mult) != {1}:
            self.notes.append(
                f"{p.name}: scale ratio is no power of two; approximated to {scales.MULTIPLIER_BITS} bits"
            )
            reach = op.accumulator([(q.lo, q.hi) for q in (self.tensors[i].quant for i in p.inputs)])
            if max(map(abs, reach)) * max(requant.mult) >= 1 << 62:
                raise refusal(node, "its accumulator times the scale's multiplier exceeds 62 bits; use fewer bits")
        name = f"L{len(self.nodes)}"
        self.nodes.append(Node(name, p.name, op, p.inputs))
        self.tensors[name] = Tensor(p.shape, quant)
        self._done[key] = (made, name)  # holds it, so that its identity stays its own
        return name

    def raw(self, node: NodeProto, p: Pending) -> str:
        """The graph tensor of ``p`` left unquantised: accumulators at the finest channel's scale."""
        if p.source is not None:
            raise refusal(node, "a float MaxPool at the output is not supported; quantise the output")
        p = refined(p, min(p.step, default=Fraction(1)) / RAW_PRECISION)
        scale = float(np.float32(float(min(p.step) / p.div)))
        if p.div > 1:
            p = replace(p, div=1, step=(scales.fraction(scale),))
        up = max(Fraction(1), *(s / scales.fraction(scale) for s in p.step))
        probe = p.build(Requant((0,), 0, 0))
        if isinstance(probe, Pool) and probe.exclude:
            raise refusal(node, "an average with several divisors at the output; quantise the output")
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


def refined(p: Pending, unit: Fraction) -> Pending:
    """``p`` with an accumulator fine enough for its bias, when it has one that needs it."""
    finer = p.refine(unit) if p.refine is not None else None
    return p if finer is None else replace(p, step=finer.step, build=finer.build)


def bound(limit: float, scale: Fraction, zero: int, default: int) -> int:
    """The integer that a real limit rounds to; ``default`` when there is none."""
    return default if np.isinf(limit) else round(Fraction(float(limit)) / scale) + zero


def label(node: NodeProto) -> str:
    """Name of an ONNX node for people: what `emit` kept of the first model, or the node's own."""
    kept = next((m.value for m in node.metadata_props if m.key == NAME_KEY), "")
    return kept or node.name or (node.output[0] if node.output else node.op_type)
