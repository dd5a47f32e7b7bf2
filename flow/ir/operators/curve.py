"""Functions of one element: activations, arithmetic with constants, and any chain of them, read as one table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from flow.ir import curves
from flow.ir.graph import Node
from flow.ir.importer import Importer, attributes, label, operator, refusal
from flow.ir.ops import Lookup
from flow.ir.values import Constant, Curve, Parameter, Real, Value
from flow.ir.writer import Writer, emitter, finish_real, real_input

FUNCTIONS = (
    *("Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Erf", "Gelu", "Elu", "Selu", "Celu", "Softplus", "Softsign"),
    *("Mish", "LeakyRelu", "ThresholdedRelu", "Shrink", "Exp", "Log", "Sqrt", "Reciprocal", "Abs", "Neg"),
    *("Sign", "Floor", "Ceil", "Round", "Sin", "Cos", "Atan", "Sinh", "Cosh", "Asinh"),
    *("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "Not", "And", "Or", "Where"),
)


@operator(*FUNCTIONS, "PRelu", "Pow", "Div", "Min", "Max", "BatchNormalization", role="curve")
def function(importer: Importer, node: NodeProto) -> Value:
    found = curve(importer, node)
    if found is None:
        raise refusal(node, "combines two different maps; only a map with constants, or with itself, is supported")
    return found


def curve(importer: Importer, node: NodeProto) -> Curve | None:
    """The node as a function of one map; None when it reads two."""
    if node.op_type == "BatchNormalization" and (len([o for o in node.output if o]) > 1):
        raise refusal(node, "a BatchNormalization in training mode; export the network for inference")
    values = [importer.value(node, k) if name else None for k, name in enumerate(node.input)]
    settled = [v if isinstance(v, Curve) else importer.settled(node, v) if v is not None else None for v in values]
    maps = [v for v in settled if isinstance(v, Curve | Real)]
    stored = [v for v in settled if isinstance(v, Constant | Parameter)]
    if not maps or len(maps) + len(stored) != len([v for v in values if v is not None]):
        wrong = next(k for k, v in enumerate(settled) if not isinstance(v, Curve | Real | Constant | Parameter | None))
        importer.real(node, wrong)  # says what is missing
        raise refusal(node, f"input {wrong} is not supported; fold it into a neighbouring operator")
    if len({v.tensor for v in maps}) > 1:
        return None
    first = maps[0]
    channels, rank = importer.tensors[first.tensor].shape[0], first.rank
    nodes: list[NodeProto] = []
    constants: dict[str, NDArray[Any]] = {}
    copy = NodeProto()
    copy.CopyFrom(node)
    for k, value in enumerate(settled):
        if isinstance(value, Curve):
            inner = opened(value)
            nodes += [n for n in inner.nodes if n not in nodes]
            constants |= inner.constants
            copy.input[k] = inner.result
        elif isinstance(value, Real):
            copy.input[k] = "x"
        elif isinstance(value, Constant | Parameter):
            constants[node.input[k]] = _constant(node, value, channels, rank)
    name = label(node)
    return Curve(name, first.tensor, rank, (*nodes, copy), constants, node.output[0])


def opened(value: Curve) -> Curve:
    """``value`` with its limits as nodes, so that more can follow."""
    nodes, constants, result = list(value.nodes), dict(value.constants), value.result
    for kind, limit in (("Max", value.lo), ("Min", value.hi)):
        if np.isfinite(limit):
            out = f"{result}_{kind.lower()}"
            constants[f"{out}_limit"] = np.array(limit, np.float32)
            nodes.append(helper.make_node(kind, [result, f"{out}_limit"], [out]))
            result = out
    return replace(value, nodes=tuple(nodes), constants=constants, result=result, lo=-np.inf, hi=np.inf)


def _constant(node: NodeProto, value: Constant | Parameter, channels: int, rank: int) -> NDArray[Any]:
    """A scalar, or one number per channel as (C, 1, 1): how ONNX broadcasts it over (N, C, H, W)."""
    if isinstance(value, Parameter):
        if len(value.scale) != 1:
            raise refusal(node, "a constant with several scales is not supported; quantise it per tensor")
        array: NDArray[Any] = (value.values * float(value.scale[0])).astype(np.float32)
    else:
        array = value.values
    if array.size == 1:
        return array.reshape(())
    if node.op_type == "BatchNormalization":
        return array
    full = array.reshape((1,) * (rank - array.ndim) + array.shape) if array.ndim <= rank else array
    if full.shape != (1, channels, *(1,) * (rank - 2)):
        raise refusal(node, f"a constant of shape {array.shape} varies along more than the channels; use one a channel")
    return full.reshape(channels, 1, 1)


@emitter(Lookup)
def _lookup(writer: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Lookup)
    graph = curves.parsed(op.curve)
    names = {"x": real_input(writer, node, 0), "": ""}
    for t in graph.initializer:
        names[t.name] = f"{node.id}_{t.name}"
        copy = type(t)()
        copy.CopyFrom(t)
        copy.name = names[t.name]
        writer.initializers[copy.name] = copy
    for n in graph.node:
        names[n.output[0]] = f"{node.id}_float" if n.output[0] == "y" else f"{node.id}_{n.output[0]}"
        writer.add(n.op_type, [names[i] for i in n.input], names[n.output[0]], **attributes(n))
    finish_real(writer, node, names["y"])
