"""Graph to QDQ ONNX, written with onnx.helper alone; the operators write themselves (`flow.ir.operators`).

With power-of-two scales and accumulators below 2**24, ONNX Runtime's float32 arithmetic is exact, so the file is an
independent oracle of the integers: see `exact_in_float32`.
"""

from __future__ import annotations

import onnx
from onnx import ModelProto, TensorProto, helper

from flow.fixed import is_power_of_two
from flow.ir import operators
from flow.ir.graph import Graph, Node
from flow.ir.ops import Pool
from flow.ir.writer import EMITTERS, NAME_KEY, Writer, is_raw, storage

__all__ = ["EXACT", "IR_VERSION", "NAME_KEY", "OPSET", "exact_in_float32", "is_raw", "model", "storage"]

OPSET, IR_VERSION = 21, 10
EXACT = 1 << 24  # float32 holds every integer up to here


def model(graph: Graph) -> ModelProto:
    """QDQ ONNX of ``graph``: float32 (N, C, H, W) in; float32 (N, C, H, W) out, or (N, C) when H = W = 1.

    Names in it are generated.  Raises ValueError naming the node that ONNX cannot express: activations of more than 16
    bits inside the network, scales that contradict the requantisation, padding that is not neutral.
    """
    operators.load()
    writer = Writer(graph)
    _entry(writer)
    for node in graph.nodes:
        EMITTERS[type(node.op)].write(writer, node)
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
    operators.load()
    return [n.id for n in graph.nodes if not _exact(graph, n)]


def _exact(graph: Graph, node: Node) -> bool:
    quants = [graph.tensors[i].quant for i in node.inputs]
    req, out = node.op.requant, graph.tensors[node.id].quant
    if set(req.mult) != {1} or not all(is_power_of_two(q.scale) for q in quants):
        return False
    ranges = [(q.lo - q.zero, q.hi - q.zero) for q in quants]
    reach = EMITTERS[type(node.op)].reach
    lo, hi = reach(node, ranges, quants) if reach else node.op.accumulator(ranges)
    if max(-lo, hi) >= EXACT:
        return False
    div = node.op.kernel[0] * node.op.kernel[1] if isinstance(node.op, Pool) and node.op.exclude else req.div
    if div < 3 or (div & (div - 1) == 0 and div == req.div):
        return is_power_of_two(out.scale)
    # The quotient n/d is at least 1/(2d) from a tie when it is none; it is rounded by at most 2**-24 of its size.
    steps = div * 2 ** max(req.shift[0], 0)
    limit = max(abs(req.lo - req.zero), abs(req.hi - req.zero))
    size = min(limit, max(-lo, hi) * 2 ** max(-req.shift[0], 0) // steps) + 1
    return is_power_of_two(out.scale) and 2 * steps * size < EXACT


def _entry(writer: Writer) -> None:
    quant = writer.graph.tensors["input"].quant
    writer.quantised("input", "input", quant.lo, quant.hi, relu=False)
