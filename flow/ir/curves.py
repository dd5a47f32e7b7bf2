"""Functions of one element by table: what ONNX Runtime computes for every integer of the input's format.

So every activation of ONNX is exact by construction, whatever the floating-point kernels behind it: there are at most
2**16 different inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from flow.fixed import Quant
from flow.ir.evaluate import evaluate
from flow.ir.graph import Tensor
from flow.ir.messages import ModelError, node_label
from flow.ir.ops import Lookup

MAX_BITS = 16
LIMITS = ("Relu", "Clip")
ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Pow", "Neg", "Min", "Max", *LIMITS)
KNOWN = {
    frozenset({"Sigmoid", "Mul"}): "SiLU",
    frozenset({"HardSigmoid", "Mul"}): "HardSwish",
    frozenset({"Softplus", "Tanh", "Mul"}): "Mish",
}


def tabulate(
    node: NodeProto,
    nodes: Sequence[NodeProto],
    constants: Mapping[str, NDArray[Any]],
    result: str,
    source: Tensor,
    out: Quant,
    limits: tuple[int, int],
    opset: int,
) -> Lookup:
    """The operator of ``nodes`` ("x" to ``result``) over a tensor, its values quantised to ``out`` within ``limits``.

    Raises ModelError naming ``node`` when the input is too wide or a value is NaN.
    """
    if source.quant.bits > MAX_BITS:
        raise ModelError(f"{node_label(node)}: a table of {source.quant.bits} bits; quantise its input to 16 or fewer")
    curve = serialised(nodes, constants, result)
    x = np.arange(source.quant.lo, source.quant.hi + 1, dtype=np.int64)
    many = any(v.size > 1 for v in constants.values())
    real = _values(curve, source.quant.real(x).tobytes(), source.shape[0] if many else 1, opset)
    if np.isnan(real).any():
        raise ModelError(f"{node_label(node)}: is not a number for some inputs; limit its input first")
    most = np.float32(out.scale) * np.float32(1 << 30)  # beyond every format; keeps infinities out of the division
    table = np.clip(out.quantise(np.clip(real, -most, most)), *limits)
    if (table == table[:1]).all():
        table = table[:1]
    return Lookup(table, source.quant.lo, curve, kind(nodes))


@lru_cache(maxsize=256)
def _values(curve: bytes, reals: bytes, channels: int, opset: int) -> NDArray[np.float32]:
    """(channels, entries): the function of each real input."""
    graph = parsed(curve)
    x = np.frombuffer(reals, np.float32)
    feeds = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    feeds["x"] = np.broadcast_to(x, (channels, len(x))).reshape(1, channels, 1, -1)
    (found,) = evaluate(graph.node, feeds, ["y"], opset)
    out: NDArray[np.float32] = found.reshape(channels, len(x))
    return out


def serialised(nodes: Sequence[NodeProto], constants: Mapping[str, NDArray[Any]], result: str) -> bytes:
    """``nodes`` as a graph from "x" to "y" with generated names: equal functions give equal bytes."""
    names = {"x": "x", "": ""}
    stored: list[TensorProto] = []
    made: list[NodeProto] = []
    for k, node in enumerate(nodes):
        for name in node.input:
            if name not in names:
                names[name] = f"c{len(stored)}"
                stored.append(numpy_helper.from_array(np.ascontiguousarray(constants[name]), names[name]))
        names[node.output[0]] = "y" if node.output[0] == result else f"t{k}"
        copy = helper.make_node(node.op_type, [names[i] for i in node.input], [names[node.output[0]]])
        copy.attribute.extend(sorted(node.attribute, key=lambda a: a.name))
        made.append(copy)
    out: bytes = helper.make_graph(made, "curve", [], [], stored).SerializeToString(deterministic=True)
    return out


def parsed(curve: bytes) -> GraphProto:
    out = GraphProto()
    out.ParseFromString(curve)
    return out


def kind(nodes: Sequence[NodeProto]) -> str:
    """What people call the function."""
    types = [n.op_type for n in nodes]
    if len(types) == 1:
        return types[0]
    if frozenset(types) in KNOWN:
        return KNOWN[frozenset(types)]
    if "Erf" in types:
        return "Gelu"
    return next((t for t in types if t not in ARITHMETIC), types[0])
