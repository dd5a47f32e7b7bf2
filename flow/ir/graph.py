"""The graph of integer operators: what is mapped, costed, rendered and interpreted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property, wraps
from types import MappingProxyType
from typing import Any, TypeVar

import networkx as nx
import numpy as np

from flow.fixed import IntArray, Quant
from flow.ir.ops import Op, Shape


@dataclass(frozen=True)
class Tensor:
    """A feature map: ``shape`` is (C, H, W), ``quant`` the integers' format."""

    shape: Shape
    quant: Quant


@dataclass(frozen=True, eq=False)
class Node:
    """One operator. ``id`` is generated (``L0``, ...) and safe in code; ``name`` is outside text, for people only."""

    id: str
    name: str
    op: Op
    inputs: tuple[str, ...]  # ids of producing nodes, or "input"


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in topological order; a node's output tensor bears its id; the network's input tensor is ``"input"``.

    One input, one output: the last node.
    """

    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))
        seen = {"input"}
        for node in self.nodes:
            missing = [i for i in node.inputs if i not in seen]
            if missing:
                raise ValueError(f"node {node.id} ({node.name!r}) reads {missing[0]}, which comes later or nowhere")
            if node.id in seen:
                raise ValueError(f"node id {node.id} occurs twice")
            seen.add(node.id)
            want = node.op.shape([self.tensors[i].shape for i in node.inputs])
            if want != self.tensors[node.id].shape:
                raise ValueError(f"node {node.id} ({node.name!r}) gives {want}, declared {self.tensors[node.id].shape}")

    @cached_property
    def digest(self) -> str:
        """Of everything but the names that people gave."""
        return digest_of([(n.id, n.op, n.inputs) for n in self.nodes], dict(self.tensors))

    @property
    def output(self) -> str:
        return self.nodes[-1].id

    def node(self, node_id: str) -> Node:
        return next(n for n in self.nodes if n.id == node_id)

    def in_shapes(self, node: Node) -> list[Shape]:
        return [self.tensors[i].shape for i in node.inputs]

    def macs(self, node: Node) -> int:
        return node.op.macs(self.in_shapes(node))

    def consumers(self, tensor: str) -> list[tuple[Node, int]]:
        """Readers of a tensor, each with the position among its inputs."""
        return [(n, k) for n in self.nodes for k, i in enumerate(n.inputs) if i == tensor]

    def network(self) -> nx.MultiDiGraph:
        """The same as a networkx graph; edges carry the reader's input position as ``port``."""
        g = nx.MultiDiGraph()
        g.add_node("input")
        for node in self.nodes:
            g.add_node(node.id)
            for port, source in enumerate(node.inputs):
                g.add_edge(source, node.id, port=port)
        return g

    @cached_property
    def derived(self) -> dict[tuple[str, str, str], Any]:
        """What was computed from this graph and is kept as long as it (``once``)."""
        return {}

    def accumulator(self, node: Node) -> tuple[int, int]:
        """Range of the node's accumulator for inputs anywhere in their formats."""
        return _accumulator(self, node)

    def evaluate(self, x: IntArray, every: bool = False) -> dict[str, IntArray]:
        """Run integers ``x`` (N, C, H, W) through the network.

        Returns the output under its id; with ``every``, each tensor's.
        """
        if tuple(x.shape[1:]) != self.tensors["input"].shape:
            raise ValueError(f"images are {x.shape[1:]}, the network takes {self.tensors['input'].shape}")
        values = {"input": np.asarray(x, np.int64)}
        uses = {i: len(self.consumers(i)) for i in self.tensors}
        for node in self.nodes:
            values[node.id] = node.op.evaluate([values[i] for i in node.inputs])
            for i in node.inputs:
                uses[i] -= 1
                if not every and uses[i] == 0:
                    values.pop(i, None)
        return values


Value = TypeVar("Value")


def once(compute: Callable[[Graph, Node], Value]) -> Callable[[Graph, Node], Value]:
    """A function of a node's operator and of the tensors around it, computed once for them.

    Candidates of a search share operators; what was found out about one is kept with it.
    """
    name = compute.__module__, compute.__qualname__

    @wraps(compute)
    def remembered(graph: Graph, node: Node) -> Value:
        key = *name, node.id
        if key not in graph.derived:
            known: dict[tuple[object, ...], Any] = vars(node.op).setdefault("_known", {})
            around = *name, graph.tensors[node.id], *(graph.tensors[t] for t in node.inputs)
            if around not in known:
                known[around] = compute(graph, node)
            graph.derived[key] = known[around]
        value: Value = graph.derived[key]
        return value

    return remembered


@once
def _accumulator(graph: Graph, node: Node) -> tuple[int, int]:
    quants = [graph.tensors[i].quant for i in node.inputs]
    return node.op.accumulator([(q.lo, q.hi) for q in quants])


def digest_of(*parts: object) -> str:
    """Stable sha256 (16 hex digits) of nested values: dataclasses, arrays, mappings, sequences, plain scalars."""
    h = hashlib.sha256()

    def feed(x: object) -> None:
        if isinstance(x, np.ndarray):
            h.update(f"a{x.shape}{x.dtype}".encode())
            h.update(np.ascontiguousarray(x).tobytes())
        elif isinstance(x, Mapping):
            for k in sorted(x, key=str):
                feed(k)
                feed(x[k])
        elif isinstance(x, list | tuple):
            h.update(f"s{len(x)}".encode())
            for y in x:
                feed(y)
        elif hasattr(x, "__dataclass_fields__"):
            h.update(type(x).__name__.encode())
            for f in fields(x):  # type: ignore[arg-type]
                feed(f.name)
                feed(getattr(x, f.name))
        else:
            h.update(f"{type(x).__name__}:{x!r};".encode())

    feed(list(parts))
    return h.hexdigest()[:16]
