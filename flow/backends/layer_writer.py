"""Layers for hls4ml, collected one by one, with the ap_fixed types of integer formats."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flow.fixed import Quant, is_power_of_two
from flow.ir.graph import Graph, Node

ROUNDED = ",RND_CONV,SAT"
SYMMETRIC = ",RND_CONV,SAT_SYM"


class BackendError(ValueError):
    """A network that the other compiler cannot express exactly: one line with node, reason and way out."""


def fixed(bits: int, signed: bool, exponent: int, cast: str = "") -> str:
    """The hls4ml type of ``bits`` wide integers times ``2**exponent``."""
    return f"{'' if signed else 'u'}fixed<{bits},{bits + exponent}{cast}>"


def refusal(node: Node, reason: str) -> BackendError:
    return BackendError(f"node {node.name!r} ({node.op.kind}): {reason}")


def exponent(quant: Quant, where: str) -> int:
    """k of a scale 2**k. Raises BackendError for any other format that ap_fixed cannot be."""
    if not is_power_of_two(quant.scale):
        raise BackendError(f"{where}: scale {quant.scale:g} is no power of two, as ap_fixed needs; quantise so")
    if quant.zero:
        raise BackendError(f"{where}: zero point {quant.zero}; ap_fixed has none, quantise symmetrically or unsigned")
    return round(math.log2(quant.scale))


@dataclass
class Writer:
    """Layers written so far; lives within one call of `layers`."""

    graph: Graph
    parallel: Mapping[str, int]
    layers: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, dict[str, Any]] = field(default_factory=dict)
    flat: set[str] = field(default_factory=set)  # tensors that are one-dimensional in hls4ml

    def add(self, name: str, kind: str, inputs: list[str], precision: dict[str, str], **attributes: Any) -> str:
        self.layers.append({"class_name": kind, "name": name, "inputs": inputs, **attributes})
        self.config[name] = {"Precision": precision}
        return name

    def entry(self) -> None:
        c, h, w = self.graph.tensors["input"].shape
        shape = [c] if h == w == 1 else [h, w, c]
        self.add("input_1", "InputLayer", [], {"result": self.type("input")}, input_shape=shape)
        if len(shape) == 1:
            self.flat.add("input")

    def type(self, tensor: str, cast: str = "") -> str:
        q = self.graph.tensors[tensor].quant
        return fixed(q.bits, q.signed, self.exponent(tensor), cast)

    def exponent(self, tensor: str) -> int:
        where = "the network's input" if tensor == "input" else f"node {self.graph.node(tensor).name!r}"
        return exponent(self.graph.tensors[tensor].quant, where)

    def result(self, node: Node) -> str:
        """The type of a node's output, with the cast that its requantisation means."""
        q, req = self.graph.tensors[node.id].quant, node.op.requant
        if set(req.mult) != {1}:
            raise refusal(node, "its scale ratio is no power of two, as ap_fixed needs; quantise so")
        if (req.lo, req.hi) == (q.lo, q.hi):
            return self.type(node.id, ROUNDED)
        if q.signed and (req.lo, req.hi) == (-q.hi, q.hi):
            return self.type(node.id, SYMMETRIC)
        limits = f"{req.lo}..{req.hi} of {q.bits} bits"
        raise refusal(node, f"is limited to {limits}; hls4ml's streams saturate at whole formats only, widen its Clip")

    def name(self, tensor: str) -> str:
        return "input_1" if tensor == "input" else tensor

    def source(self, node: Node, flat: bool, position: int = 0) -> list[str]:
        """The layer that gives an input, reshaped when it is flat and a map is wanted, or the other way round."""
        tensor = node.inputs[position]
        name = self.name(tensor)
        if flat == (tensor in self.flat):
            return [name]
        c, h, w = self.graph.tensors[tensor].shape
        reshaped = f"{node.id}_shape{position}"
        shape = [c * h * w] if flat else [h, w, c]
        self.add(reshaped, "Reshape", [name], {"result": self.type(tensor)}, target_shape=shape)
        return [reshaped]


def agree(w: Writer, node: Node, accumulator: int) -> None:
    """An operator without weights must scale by what its tensors' scales say: hls4ml knows real values only."""
    if {w.exponent(node.id) - s for s in node.op.requant.shift} != {accumulator}:
        raise refusal(node, "requantises by another ratio than its tensors' scales say; quantise again")
