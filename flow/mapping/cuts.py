"""Where a network can be cut into consecutive segments: after a node whose output is all that the rest reads."""

from __future__ import annotations

from dataclasses import replace

from flow.ir.graph import Graph, Node


def boundaries(graph: Graph) -> tuple[int, ...]:
    """Numbers of nodes after which a segment may end: 0, every single-tensor cut, and all nodes.

    Branches stay together: where two paths are open, two tensors are live and there is no cut. Any topological order
    gives the same cuts: a tensor that every path passes has only its ancestors before it and its descendants after.
    """
    last_use = {"input": -1}
    for k, node in enumerate(graph.nodes):
        last_use[node.id] = k
        for tensor in node.inputs:
            last_use[tensor] = k
    found, live_until = [0], last_use["input"]
    for k, node in enumerate(graph.nodes[:-1]):
        if live_until <= k:  # nothing older than this node's output is read later
            found.append(k + 1)
        live_until = max(live_until, last_use[node.id])
    return (*found, len(graph.nodes))


def segment(graph: Graph, first: int, last: int) -> Graph:
    """Nodes ``first`` up to ``last`` (two boundaries) as a network of their own, ids counted anew, names kept."""
    if (first, last) == (0, len(graph.nodes)):
        return graph
    entry = "input" if first == 0 else graph.nodes[first - 1].id
    ids = {entry: "input", **{n.id: f"L{k}" for k, n in enumerate(graph.nodes[first:last])}}
    nodes = tuple(_renamed(n, ids) for n in graph.nodes[first:last])
    return Graph(nodes, {new: graph.tensors[old] for old, new in ids.items()})


def _renamed(node: Node, ids: dict[str, str]) -> Node:
    return replace(node, id=ids[node.id], inputs=tuple(ids[i] for i in node.inputs))
