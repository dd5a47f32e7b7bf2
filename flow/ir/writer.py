"""What operators share when a graph is written as QDQ ONNX: the file so far, formats, the table of emitters.

Each node becomes: DequantizeLinear of its inputs, the float operator, Relu or Clip, QuantizeLinear.  Weights are int8
(int16, int32 where needed) and the bias int32 initializers, each with its DequantizeLinear.  A format narrower than
its storage is a Clip in front of the QuantizeLinear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from flow.fixed import IntArray, Quant
from flow.ir import scales
from flow.ir.graph import Graph, Node
from flow.ir.ops import Pool, Range

NAME_KEY = "coexplore.name"  # metadata key under which a node carries its outside name
STORAGE: tuple[tuple[type[np.integer[Any]], type[np.integer[Any]]], ...] = ((np.int8, np.uint8), (np.int16, np.uint16))


@dataclass
class Writer:
    """What has been written so far; lives within one call of `model`."""

    graph: Graph
    nodes: list[NodeProto] = field(default_factory=list)
    initializers: dict[str, TensorProto] = field(default_factory=dict)
    stored: dict[str, str] = field(default_factory=dict)  # tensor id -> name of its quantised ONNX tensor
    floats: dict[str, str] = field(default_factory=dict)  # tensor id -> name of its float value when never quantised
    flat: set[str] = field(default_factory=set)  # tensors that are (N, C) in ONNX

    def add(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=f"{output}_{op_type}", **attributes))
        return output

    def constant(self, name: str, values: NDArray[Any] | np.generic) -> str:
        self.initializers[name] = numpy_helper.from_array(np.asarray(values), name)
        return name

    def dequantised(self, tensor: str, reader: str = "output") -> str:
        """A DequantizeLinear of a feature map, one per reader."""
        inputs = [self.stored[tensor], f"{tensor}_scale", f"{tensor}_zero"]
        return self.add("DequantizeLinear", inputs, f"{tensor}_real_{reader}")

    def quantised(self, tensor: str, real: str, lo: int, hi: int, relu: bool) -> None:
        """Clip to ``lo..hi`` where the storage type does not, then QuantizeLinear.

        ``relu``: show a limit at zero as Relu even where an unsigned type implies it, as other tools expect.
        """
        quant = self.graph.tensors[tensor].quant
        dtype = storage(quant, tensor)
        info = np.iinfo(dtype)
        if hi < info.max or (lo > info.min and lo != quant.zero):
            bounds = [(np.float32(v - quant.zero) * np.float32(quant.scale)) for v in (lo, hi)]
            names = [self.constant(f"{tensor}_{k}", b) for k, b in zip(("min", "max"), bounds, strict=True)]
            real = self.add("Clip", [real, *names], f"{tensor}_clipped")
        elif lo == quant.zero and (relu or lo > info.min):
            real = self.add("Relu", [real], f"{tensor}_rectified")
        scale = self.constant(f"{tensor}_scale", np.float32(quant.scale))
        zero = self.constant(f"{tensor}_zero", dtype(quant.zero))
        self.stored[tensor] = self.add("QuantizeLinear", [real, scale, zero], f"{tensor}_stored")

    def parameter(self, name: str, values: IntArray, scale: list[float], axis: int = 0) -> str:
        """Integers with their scale (one, or one for each index of ``axis``) and DequantizeLinear."""
        stored = self.constant(name, values)
        per_channel = len(scale) > 1
        real = np.asarray(scale if per_channel else scale[0], np.float32)
        scale_name = self.constant(f"{name}_scale", real)
        along = {"axis": axis} if per_channel else {}
        return self.add("DequantizeLinear", [stored, scale_name], f"{name}_real", **along)


def storage(quant: Quant, tensor: str) -> type[np.integer[Any]]:
    """The narrowest ONNX type that holds the format and its zero point, of the format's own signedness if possible."""
    for signed, unsigned in STORAGE:
        for dtype in (signed, unsigned) if quant.signed else (unsigned, signed):
            info = np.iinfo(dtype)
            if all(info.min <= v <= info.max for v in (quant.lo, quant.hi, quant.zero)):
                return dtype
    raise ValueError(f"tensor {tensor} has {quant.bits} bits; ONNX stores activations of at most 16, narrow its format")


def real_input(writer: Writer, node: Node, position: int, flat: bool = False) -> str:
    """The dequantised input of a node as (N, C, H, W), or (N, C*H*W) when ``flat``."""
    tensor = node.inputs[position]
    real = writer.dequantised(tensor, f"{node.id}_{position}")
    if flat == (tensor in writer.flat):
        return real
    if flat:
        return writer.add("Flatten", [real], f"{real}_flat", axis=1)
    axes = writer.constant("axes_hw", np.array([2, 3], np.int64))
    return writer.add("Unsqueeze", [real, axes], f"{real}_map")


def finish(writer: Writer, node: Node, op_type: str, inputs: list[str], passed: int = 0, **attributes: Any) -> None:
    """The float operator of a node and what follows it up to QuantizeLinear.

    The last node's raw accumulators stay float: they may be wider than any type that ONNX quantises to.
    ``passed``: the part of the output's zero point that the accumulator already holds.
    """
    zero = writer.graph.tensors[node.id].quant.zero
    if node.op.requant.zero != zero - passed:
        raise ValueError(f"node {node.id}: adds {node.op.requant.zero}, its tensor's zero point is {zero}")
    real = writer.add(op_type, inputs, f"{node.id}_float", **attributes)
    if node.name:
        writer.nodes[-1].metadata_props.add(key=NAME_KEY, value=node.name)
    graph, req = writer.graph, node.op.requant
    if node.id == graph.output and is_raw(graph):
        lo, hi = graph.accumulator(node)
        if req.lo == 0 and lo < 0:
            real = writer.add("Relu", [real], f"{node.id}_rectified")
        elif req.lo > lo or req.hi < hi:
            raise ValueError(
                f"node {node.id}: {req.lo}..{req.hi} clips a {graph.tensors[node.id].quant.bits}-bit output"
            )
        writer.floats[node.id] = real
    else:
        writer.quantised(node.id, real, req.lo, req.hi, relu=op_type not in ("MaxPool", "AveragePool"))


def finish_real(writer: Writer, node: Node, real: str) -> None:
    """What follows a float tensor already written whose integers keep their input's zero point, or have it inside."""
    if node.name:
        writer.nodes[-1].metadata_props.add(key=NAME_KEY, value=node.name)
    req = node.op.requant
    writer.quantised(node.id, real, req.lo, req.hi, relu=False)


def is_raw(graph: Graph) -> bool:
    """True when the output is an accumulator that was never requantised: float logits straight from the operator."""
    op, quant = graph.nodes[-1].op, graph.tensors[graph.output].quant
    averaged = isinstance(op, Pool) and op.kind == "AveragePool" and op.kernel != (1, 1) and not op.exclude
    return quant.bits > 16 or (averaged and op.requant.div == 1 and scales.ratio(op.requant) == 1)


def agree(node: Node, want: Fraction) -> None:
    """An operator without weights must requantise by what the scales of its tensors say."""
    req = node.op.requant
    have = scales.ratio(req) / req.div
    if abs(have - want) > want / 2**21 or len(req.shift) > 1 or len(req.mult) > 1:
        raise ValueError(
            f"node {node.id} ({node.op.kind}): requantises by {float(have):g}, its tensors' scales say {float(want):g}"
        )


@dataclass(frozen=True)
class Emitter:
    """How an operator is written, and the range of its zero-centred sums (None: its accumulator's)."""

    write: Callable[[Writer, Node], None]
    reach: Callable[[Node, list[Range], list[Quant]], Range] | None


EMITTERS: dict[type[object], Emitter] = {}


def emitter(
    op: type[object], reach: Callable[[Node, list[Range], list[Quant]], Range] | None = None
) -> Callable[[Callable[[Writer, Node], None]], Callable[[Writer, Node], None]]:
    """Registers how nodes of an operator are written.

    ``reach(node, ranges, quants)``: the sums that ONNX Runtime forms, given each input's range with its zero point
    subtracted; float32 is exact while they stay below 2**24.
    """

    def register(write: Callable[[Writer, Node], None]) -> Callable[[Writer, Node], None]:
        EMITTERS[op] = Emitter(write, reach)
        return write

    return register
