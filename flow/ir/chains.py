"""Chains of element-wise nodes that make one function of one tensor: SiLU as Sigmoid and Mul, GELU as five nodes.

They become one table, so nothing inside them is quantised and nothing inside them is folded into a convolution of its
own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnx import ModelProto, NodeProto

from flow.ir import operators
from flow.ir.importer import ROLES

ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Neg", "BatchNormalization")  # affine as long as one operand is constant


@dataclass
class Chains:
    """``ends``: tensors that hold a whole function; ``inside``: the other tensors of its nodes."""

    ends: set[str] = field(default_factory=set)
    inside: set[str] = field(default_factory=set)


def chains(model: ModelProto) -> Chains:
    """Every chain with at least one function that is not affine."""
    operators.load()
    graph = model.graph
    sizes = {t.name: _size(t.dims) for t in graph.initializer}
    shapes = {
        v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
        for v in [*graph.input, *graph.value_info, *graph.output]
    }
    roots: dict[str, str] = {}
    makers: dict[str, NodeProto] = {}
    for node in graph.node:
        root = _root(node, roots, sizes, shapes)
        if root is not None:
            roots[node.output[0]], makers[node.output[0]] = root, node
    found = Chains()
    readers = [(i, node.output[0]) for node in graph.node for i in node.input]
    outputs = {o.name for o in graph.output}
    for name, root in roots.items():
        ends = name in outputs or any(i == name and roots.get(out) != root for i, out in readers)
        if not ends:
            continue
        members = _above(name, makers)
        if any(_bends(makers[m], sizes) for m in members):
            found.ends.add(name)
            found.inside |= members
    found.inside -= found.ends
    return found


def _size(dims: object) -> int:
    out = 1
    for d in dims:  # type: ignore[attr-defined]
        out *= d
    return out


def _root(
    node: NodeProto, roots: Mapping[str, str], sizes: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]
) -> str | None:
    """The tensor that the node's output is a function of, element by element; None for other nodes."""
    if ROLES.get(node.op_type) not in ("curve", "limit") and node.op_type not in ARITHMETIC:
        return None
    maps = [i for i in node.input if i and i not in sizes]
    above = {roots.get(i, i) for i in maps}
    wide = [i for i in node.input if sizes.get(i, 1) > 1]
    if len(above) != 1 or (wide and node.op_type != "PRelu"):
        return None
    root: str = above.pop()
    if shapes.get(root) != shapes.get(node.output[0]):
        return None
    starts = all(i not in roots for i in maps)
    if starts and (ROLES.get(node.op_type) == "limit" or (len(maps) > 1 and node.op_type in ARITHMETIC)):
        return None  # limits of the operator in front; a sum or product of a tensor with itself
    return root


def _above(name: str, makers: Mapping[str, NodeProto]) -> set[str]:
    """The tensor and those of its chain that it is computed from."""
    found: set[str] = set()
    stack = [name]
    while stack:
        top = stack.pop()
        if top in makers and top not in found:
            found.add(top)
            stack.extend(makers[top].input)
    return found


def _bends(node: NodeProto, sizes: Mapping[str, int]) -> bool:
    """True for a function that is neither affine nor a limit."""
    if ROLES.get(node.op_type) == "limit":
        return False
    inverse = node.op_type == "Div" and node.input[0] in sizes
    return inverse or node.op_type not in ARITHMETIC or sum(i not in sizes for i in node.input) > 1
