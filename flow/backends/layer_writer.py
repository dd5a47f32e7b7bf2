"""Layers for hls4ml, collected one by one, with the ap_fixed types of integer formats."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flow.fixed import Quant, bits_for, is_power_of_two
from flow.ir.graph import Graph, Node
from flow.ir.ops import Shape

ROUNDED = ",RND_CONV,SAT"
SYMMETRIC = ",RND_CONV,SAT_SYM"
SATURATED = ",TRN,SAT"


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
        return fixed(*bits_for(*self.wide(node)), self.exponent(node.id), ROUNDED)

    def limited(self, node: Node) -> bool:
        """True when the output is clipped inside its format, as by ReLU6: hls4ml's casts saturate at formats only."""
        q, req = self.graph.tensors[node.id].quant, node.op.requant
        return (req.lo, req.hi) != (q.lo, q.hi) and not (q.signed and (req.lo, req.hi) == (-q.hi, q.hi))

    def wide(self, node: Node) -> tuple[int, int]:
        """Range of the rounded output before it is clipped, negative values left out where a Relu cuts them off."""
        lo, hi = self.graph.accumulator(node)
        shift, req = min(node.op.requant.shift), node.op.requant
        low, high = ((v << max(-shift, 0)) >> max(shift, 0) for v in (lo, hi))
        return 0 if req.lo == 0 else min(low - 1, req.lo), max(high + 1, req.hi)

    def clip(self, node: Node) -> None:
        """The last layer's output clipped: shifted so that a format ends where the limit is, cast, shifted back.

        Each shift is a depthwise 1x1 convolution by one with a bias.
        """
        req, e, shape = node.op.requant, self.exponent(node.id), self.graph.tensors[node.id].shape
        _, high = self.wide(node)
        last = self.layers[-1]
        name = last["name"] = f"{node.id}_wide"
        self.config[name] = self.config.pop(node.id)
        if node.id in self.flat:
            self.flat.discard(node.id)
            wide = self.config[name]["Precision"]["result"]
            name = self.add(f"{node.id}_map", "Reshape", [name], {"result": wide}, target_shape=[1, 1, shape[0]])
        top = (1 << max(1, (req.hi - req.lo).bit_length())) - 1
        steps = [(-req.lo, bits_for(0, high - req.lo))] if req.lo else []
        steps += [(top - (req.hi - req.lo), bits_for(0, top))]
        for k, (bias, bits) in enumerate(steps):
            name = self.shifted(f"{node.id}_clip{k}", name, shape, bias, e, fixed(*bits, e, SATURATED))
        self.shifted(node.id, name, shape, -sum(bias for bias, _ in steps), e, self.type(node.id))

    def shifted(self, name: str, source: str, shape: Shape, bias: int, e: int, result: str) -> str:
        """``x + bias * 2**e`` for every element, cast to ``result``."""
        c, h, w = shape
        width = 64  # wider than any clipped value and its shift
        types = {"weight": fixed(1, False, 0), "bias": fixed(width, True, e), "accum": fixed(width, True, e)}
        added = self.add(
            name, "DepthwiseConv2D", [source], types | {"result": result}, in_height=h, in_width=w, out_height=h,
            out_width=w, n_chan=c, n_filt=c, depth_multiplier=1, filt_height=1, filt_width=1, stride_height=1,
            stride_width=1, pad_top=0, pad_bottom=0, pad_left=0, pad_right=0, data_format="channels_last",
            depthwise_data=np.ones((1, 1, c, 1)), bias_data=np.full(c, bias * 2.0**e),
        )  # fmt: skip
        self.config[name] |= {"ReuseFactor": 1, "Strategy": "Resource"}
        return added

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
