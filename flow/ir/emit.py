"""Graph to QDQ ONNX, written with onnx.helper alone.

Each node becomes: DequantizeLinear of its inputs, the float operator, Relu or Clip, QuantizeLinear.  Weights are int8
(int16, int32 where needed) and the bias int32 initializers, each with its DequantizeLinear.  A format narrower than
its storage is a Clip in front of the QuantizeLinear.  With power-of-two scales and accumulators below 2**24, ONNX
Runtime's float32 arithmetic is exact, so the file is an independent oracle of the integers: see `exact_in_float32`.
"""

from __future__ import annotations

import onnx
from onnx import ModelProto, TensorProto, helper

from flow.fixed import Quant, is_power_of_two
from flow.ir import emit_layers, emit_moves
from flow.ir.emit_layers import real_bias
from flow.ir.emit_writer import EXACT, IR_VERSION, KIND_KEY, NAME_KEY, OPSET, Writer, is_raw, storage
from flow.ir.graph import Graph, Node
from flow.ir.ops import Add, Conv, Dense, Pool, dot_range

__all__ = ["EXACT", "IR_VERSION", "KIND_KEY", "NAME_KEY", "OPSET", "exact_in_float32", "is_raw", "model", "storage"]

EMITTERS = {**emit_layers.EMITTERS, **emit_moves.EMITTERS}


def model(graph: Graph) -> ModelProto:
    """QDQ ONNX of ``graph``: float32 (N, C, H, W) in; float32 (N, C, H, W) out, or (N, C) when H = W = 1.

    Names in it are generated.  Raises ValueError naming the node that ONNX cannot express: activations of more than 16
    bits inside the network, scales that contradict the requantisation, padding that is not neutral.
    """
    writer = Writer(graph)
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
        return dot_range(op.weight, real_bias(op, quants[0].zero), min(0, ranges[0][0]), max(0, ranges[0][1]))
    if isinstance(op, Pool) and op.kind == "AveragePool":
        n = op.kernel[0] * op.kernel[1]
        return n * min(0, ranges[0][0]), n * max(0, ranges[0][1])
    if isinstance(op, Add):
        size = sum(max(-lo, hi) << s for (lo, hi), s in zip(ranges, op.left_shift, strict=True))
        return -size, size
    return op.accumulator(ranges)


def _entry(writer: Writer) -> None:
    quant = writer.graph.tensors["input"].quant
    writer.quantised("input", "input", quant.lo, quant.hi, relu=False)
