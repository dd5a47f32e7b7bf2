"""Graph to QDQ ONNX, written with onnx.helper alone.

Each node becomes: DequantizeLinear of its inputs, the float operator, Relu or Clip, QuantizeLinear.  Weights are int8
(int16, int32 where needed) and the bias int32 initializers, each with its DequantizeLinear.  A format narrower than
its storage is a Clip in front of the QuantizeLinear.  With power-of-two scales and accumulators below 2**24, ONNX
Runtime's float32 arithmetic is exact, so the file is an independent oracle of the integers: see `exact_in_float32`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from flow.fixed import IntArray, Quant, is_power_of_two
from flow.ir import scales
from flow.ir.graph import Graph, Node
from flow.ir.ops import Add, Conv, Dense, Pool, dot_range

OPSET, IR_VERSION = 21, 10
NAME_KEY = "coexplore.name"  # metadata key under which a node carries its outside name
EXACT = 1 << 24  # float32 holds every integer up to here
STORAGE: tuple[tuple[type[np.integer[Any]], type[np.integer[Any]]], ...] = ((np.int8, np.uint8), (np.int16, np.uint16))


def model(graph: Graph) -> ModelProto:
    """QDQ ONNX of ``graph``: float32 (N, C, H, W) in; float32 (N, C, H, W) out, or (N, C) when H = W = 1.

    Names in it are generated.  Raises ValueError naming the node that ONNX cannot express: activations of more than 16
    bits inside the network, scales that contradict the requantisation, padding that is not neutral.
    """
    writer = _Writer(graph)
    _entry(writer)
    for node in graph.nodes:
        EMITTERS[type(node.op)](writer, node)
    last = graph.tensors[graph.output]
    real = writer.floats.get(graph.output) or writer.dequantised(graph.output)
    flat = last.shape[1:] == (1, 1)
    writer.add("Flatten" if flat and graph.output not in writer.flat else "Identity", [real], "output")
    shape: list[str | int | None] = ["N", last.shape[0]] if flat else ["N", *last.shape]
    body = helper.make_graph(
        writer.nodes,
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", *graph.tensors["input"].shape])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        list(writer.initializers.values()),
    )
    out = helper.make_model(
        body, producer_name="coexplore", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    out = onnx.shape_inference.infer_shapes(out, check_type=True, strict_mode=True)
    onnx.checker.check_model(out, full_check=True)
    return out


def exact_in_float32(graph: Graph) -> list[str]:
    """Ids of nodes for which float32 arithmetic is not provably exact, whatever the images; empty is the proof.

    Exact needs: power-of-two scales, sums of real (zero-centred) products below 2**24 in magnitude whatever their
    order, and averages whose float32 quotient cannot round onto a tie.
    """
    return [n.id for n in graph.nodes if not _exact(graph, n)]


def _exact(graph: Graph, node: Node) -> bool:
    quants = [graph.tensors[i].quant for i in node.inputs]
    req, out = node.op.requant, graph.tensors[node.id].quant
    if set(req.mult) != {1} or not all(is_power_of_two(q.scale) for q in quants):
        return False
    ranges = [(q.lo - q.zero, q.hi - q.zero) for q in quants]
    lo, hi = _centred(node, ranges, quants)
    if max(-lo, hi) >= EXACT:
        return False
    if req.div & (req.div - 1) == 0:
        return is_power_of_two(out.scale)
    # The quotient n/d is at least 1/(2d) from a tie when it is none; it is rounded by at most 2**-24 of its size.
    steps = req.div * 2 ** max(req.shift[0], 0)
    limit = max(abs(req.lo - req.zero), abs(req.hi - req.zero))
    size = min(limit, max(-lo, hi) * 2 ** max(-req.shift[0], 0) // steps) + 1
    return is_power_of_two(out.scale) and 2 * steps * size < EXACT


def _centred(node: Node, ranges: list[tuple[int, int]], quants: list[Quant]) -> tuple[int, int]:
    """Accumulator range of the real network: zero points subtracted before, not folded into the bias."""
    op = node.op
    if isinstance(op, (Conv, Dense)):
        return dot_range(op.weight, _real_bias(op, quants[0].zero), min(0, ranges[0][0]), max(0, ranges[0][1]))
    if isinstance(op, Pool) and op.kind == "AveragePool":
        n = op.kernel[0] * op.kernel[1]
        return n * min(0, ranges[0][0]), n * max(0, ranges[0][1])
    if isinstance(op, Add):
        size = sum(max(-lo, hi) << s for (lo, hi), s in zip(ranges, op.left_shift, strict=True))
        return -size, size
    return op.accumulator(ranges)


def _real_bias(op: Conv | Dense, zero: int) -> IntArray:
    out: IntArray = op.bias + zero * op.weight.reshape(op.weight.shape[0], -1).sum(1)
    return out


@dataclass
class _Writer:
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

    def parameter(self, name: str, values: IntArray, scale: list[float]) -> str:
        """Integers with their scale (one, or one per output channel on axis 0) and DequantizeLinear."""
        stored = self.constant(name, values)
        per_channel = len(scale) > 1
        real = np.asarray(scale if per_channel else scale[0], np.float32)
        scale_name = self.constant(f"{name}_scale", real)
        axis = {"axis": 0} if per_channel else {}
        return self.add("DequantizeLinear", [stored, scale_name], f"{name}_real", **axis)


def storage(quant: Quant, tensor: str) -> type[np.integer[Any]]:
    """The narrowest ONNX type that holds the format and its zero point, of the format's own signedness if possible."""
    for signed, unsigned in STORAGE:
        for dtype in (signed, unsigned) if quant.signed else (unsigned, signed):
            info = np.iinfo(dtype)
            if all(info.min <= v <= info.max for v in (quant.lo, quant.hi, quant.zero)):
                return dtype
    raise ValueError(f"tensor {tensor} has {quant.bits} bits; ONNX stores activations of at most 16, narrow its format")


def _entry(writer: _Writer) -> None:
    quant = writer.graph.tensors["input"].quant
    writer.quantised("input", "input", quant.lo, quant.hi, relu=False)


def _input(writer: _Writer, node: Node, position: int, flat: bool = False) -> str:
    """The dequantised input of a node as (N, C, H, W), or (N, C*H*W) when ``flat``."""
    tensor = node.inputs[position]
    real = writer.dequantised(tensor, f"{node.id}_{position}")
    if flat == (tensor in writer.flat):
        return real
    if flat:
        return writer.add("Flatten", [real], f"{real}_flat", axis=1)
    axes = writer.constant("axes_hw", np.array([2, 3], np.int64))
    return writer.add("Unsqueeze", [real, axes], f"{real}_map")


def _finish(writer: _Writer, node: Node, op_type: str, inputs: list[str], passed: int = 0, **attributes: Any) -> None:
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


def is_raw(graph: Graph) -> bool:
    """True when the output is an accumulator that was never requantised: float logits straight from the operator."""
    op, quant = graph.nodes[-1].op, graph.tensors[graph.output].quant
    averaged = isinstance(op, Pool) and op.kind == "AveragePool" and op.kernel != (1, 1)
    return quant.bits > 16 or (averaged and op.requant.div == 1 and scales.ratio(op.requant) == 1)


def _weights(writer: _Writer, node: Node, op: Conv | Dense, weight: IntArray) -> list[str]:
    """Dequantised weight and bias; the weight scales follow from the requantisation."""
    source, out = (writer.graph.tensors[i].quant for i in (node.inputs[0], node.id))
    sx, sy = scales.fraction(source.scale), scales.fraction(out.scale)
    channels = max(len(op.requant.shift), len(op.requant.mult))
    scale = [float(sy / sx * scales.ratio(op.requant, c) / op.requant.div) for c in range(channels)]
    bias = _real_bias(op, source.zero)
    if np.abs(bias).max(initial=0) >= 1 << 31:
        raise ValueError(f"node {node.id}: a bias exceeds 32 bits; quantise with closer scales")
    for dtype in (np.int8, np.int16, np.int32):
        info = np.iinfo(dtype)
        if info.min <= weight.min(initial=0) and weight.max(initial=0) <= info.max:
            break
    else:
        raise ValueError(f"node {node.id}: a weight exceeds 32 bits")
    acc = [float(sx * Fraction(float(np.float32(s)))) for s in scale]
    return [
        writer.parameter(f"{node.id}_weight", weight.astype(dtype), scale),
        writer.parameter(f"{node.id}_bias", bias.astype(np.int32), acc),
    ]


def _conv(writer: _Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Conv)
    zero = writer.graph.tensors[node.inputs[0]].quant.zero
    if any(op.pads) and op.pad_value != zero:
        raise ValueError(f"node {node.id}: padding with {op.pad_value}, but only the zero point {zero} stands for zero")
    inputs = [_input(writer, node, 0), *_weights(writer, node, op, op.weight)]
    shape: dict[str, Any] = {"kernel_shape": op.kernel, "strides": op.stride, "pads": op.pads, "dilations": op.dilation}
    _finish(writer, node, "Conv", inputs, group=op.groups, **shape)


def _dense(writer: _Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Dense)
    inputs = [_input(writer, node, 0, flat=True), *_weights(writer, node, op, op.weight.reshape(len(op.weight), -1))]
    _finish(writer, node, "Gemm", inputs, transB=1)
    writer.flat.add(node.id)


def _pool(writer: _Writer, node: Node) -> None:
    op, source = node.op, writer.graph.tensors[node.inputs[0]].quant
    assert isinstance(op, Pool)
    size = op.kernel[0] * op.kernel[1]
    average = op.kind == "AveragePool"
    neutral = source.zero if average else source.lo
    if any(op.pads) and (op.pad_value != neutral if average else op.pad_value > neutral):
        raise ValueError(f"node {node.id}: {op.kind} pads with {op.pad_value}, ONNX with {neutral}")
    out = writer.graph.tensors[node.id].quant
    want = scales.fraction(source.scale) / scales.fraction(out.scale) / (size if average else 1)
    if average and op.offset != -size * source.zero:
        raise ValueError(f"node {node.id}: offset {op.offset} is not the zero point's share")
    _agree(node, want)
    attributes: dict[str, Any] = {"kernel_shape": op.kernel, "strides": op.stride, "pads": op.pads}
    if average:
        attributes["count_include_pad"] = 1
    # A maximum has no offset: its input's zero point passes through, so it must be zero or the scale unchanged.
    if not average and source.zero and want != 1:
        raise ValueError(f"node {node.id}: a MaxPool cannot rescale an input with zero point {source.zero}")
    _finish(writer, node, op.kind, [_input(writer, node, 0)], passed=0 if average else source.zero, **attributes)


def _add(writer: _Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Add)
    a, b = (writer.graph.tensors[i].quant for i in node.inputs)
    finest = [scales.fraction(q.scale) / 2**s for q, s in zip((a, b), op.left_shift, strict=True)]
    if finest[0] != finest[1]:
        raise ValueError(f"node {node.id}: shifts {op.left_shift} do not align the scales {a.scale} and {b.scale}")
    if op.offset != -(a.zero << op.left_shift[0]) - (b.zero << op.left_shift[1]):
        raise ValueError(f"node {node.id}: offset {op.offset} is not the zero points' share")
    out = scales.fraction(writer.graph.tensors[node.id].quant.scale)
    _agree(node, finest[0] / out)
    flat = all(i in writer.flat for i in node.inputs)
    _finish(writer, node, "Add", [_input(writer, node, 0, flat), _input(writer, node, 1, flat)])
    if flat:
        writer.flat.add(node.id)


def _agree(node: Node, want: Fraction) -> None:
    """An operator without weights must requantise by what the scales of its tensors say."""
    req = node.op.requant
    have = scales.ratio(req) / req.div
    if abs(have - want) > want / 2**21 or len(req.shift) > 1 or len(req.mult) > 1:
        raise ValueError(
            f"node {node.id} ({node.op.kind}): requantises by {float(have):g}, its tensors' scales say {float(want):g}"
        )


EMITTERS: dict[type[object], Callable[[_Writer, Node], None]] = {Conv: _conv, Dense: _dense, Pool: _pool, Add: _add}
