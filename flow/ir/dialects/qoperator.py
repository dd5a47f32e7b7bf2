"""ONNX Runtime's QOperator format: each integer operator becomes DequantizeLinear, the float operator, QuantizeLinear.

What the integers mean is the same; ONNX Runtime's own integer kernels round the requantisation in float32, so its
results for the original file may differ by one unit where a value lies within float32 rounding of a tie.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from flow.ir.dialects.rewriter import Rewriter, refusal

PASSING = (
    *("MaxPool", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity", "Slice", "Dropout"),
    *("DepthToSpace", "SpaceToDepth", "Resize", "Upsample"),
)  # operators that stay in the integer domain of their first input
STANDARD = ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")


def given(node: NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def operand(work: Rewriter, node: NodeProto, k: int, axis: int | None = None) -> str:
    """Inputs k, k + 1, k + 2 (values, scale, zero point) as real values."""
    names = [node.input[i] if i < len(node.input) else "" for i in (k, k + 1, k + 2)]
    work.array(node, k + 1)
    return work.dequantised(names[0], names[1], names[2], axis)


def result(work: Rewriter, node: NodeProto, op_type: str, inputs: list[str], k: int, **attributes: Any) -> None:
    """The float operator; its output quantised by inputs k (scale) and k + 1 (zero point)."""
    real = work.add(op_type, inputs, work.fresh(f"{node.output[0]}_real"), node.name, **attributes)
    work.array(node, k)
    work.quantised(real, node.input[k], node.input[k + 1] if k + 1 < len(node.input) else "", node.output[0])


def bias(work: Rewriter, node: NodeProto, k: int, scale: Any) -> list[str]:
    """An int32 bias at the accumulator's ``scale``, dequantised; nothing when there is none."""
    if k >= len(node.input) or not node.input[k]:
        return []
    work.array(node, k)
    name = work.constant(f"{node.input[k]}_scale", np.asarray(scale, np.float32).reshape(-1).squeeze())
    return [work.dequantised(node.input[k], name, "", 0)]


def conv(work: Rewriter, node: NodeProto) -> None:
    inputs = [operand(work, node, 0), operand(work, node, 3, axis=0)]
    inputs += bias(work, node, 8, work.array(node, 1) * work.array(node, 4))
    result(work, node, "Conv", inputs, 6, **given(node))


def matmul(work: Rewriter, node: NodeProto) -> None:
    result(work, node, "MatMul", [operand(work, node, 0), operand(work, node, 3, axis=1)], 6)


def gemm(work: Rewriter, node: NodeProto) -> None:
    """com.microsoft QGemm: float output when it has no output scale."""
    a = given(node)
    axis = 0 if a.get("transB") else 1
    inputs = [operand(work, node, 0), operand(work, node, 3, axis=axis)]
    inputs += bias(work, node, 6, work.array(node, 1) * work.array(node, 4) * a.get("alpha", 1.0))
    attributes = {k: v for k, v in a.items() if k in ("alpha", "transA", "transB")}
    if len(node.input) > 7 and node.input[7]:
        result(work, node, "Gemm", inputs, 7, **attributes)
    else:
        work.add("Gemm", inputs, node.output[0], node.name, **attributes)


def binary(op_type: str) -> Callable[[Rewriter, NodeProto], None]:
    def rewrite(work: Rewriter, node: NodeProto) -> None:
        result(work, node, op_type, [operand(work, node, 0), operand(work, node, 3)], 6)

    return rewrite


def unary(op_type: str) -> Callable[[Rewriter, NodeProto], None]:
    def rewrite(work: Rewriter, node: NodeProto) -> None:
        attributes = given(node)
        if attributes.pop("channels_last", 0):
            raise refusal(node, "channels lie last; export channels first")
        attributes.pop("opset", None)
        inputs = [operand(work, node, 0)]
        if op_type == "ReduceMean" and work.opset >= 18:
            inputs.append(work.constant(f"{node.output[0]}_axes", np.array(attributes.pop("axes"), np.int64)))
        result(work, node, op_type, inputs, 3, **attributes)

    return rewrite


def concat(work: Rewriter, node: NodeProto) -> None:
    """Output scale and zero point come first, then three inputs for each part."""
    parts = [operand(work, node, k) for k in range(2, len(node.input), 3)]
    result(work, node, "Concat", parts, 0, **given(node))


def dynamic(work: Rewriter, node: NodeProto) -> None:
    raise refusal(node, "its scales are computed at run time; quantise statically, with calibration data")


def passing(work: Rewriter, node: NodeProto) -> None:
    """Any other node; one that moves integers does so between a DequantizeLinear and a QuantizeLinear."""
    copy = NodeProto()
    copy.CopyFrom(node)
    source = node.input[0] if node.input else ""
    if node.op_type == "QuantizeLinear":
        work.formats[node.output[0]] = (node.input[1], node.input[2] if len(node.input) > 2 else "")
    elif source in work.formats and node.op_type in PASSING:
        scale, zero = work.formats[source]
        copy.input[0] = work.dequantised(source, scale, zero)
        copy.output[0] = work.fresh(f"{node.output[0]}_real")
        work.nodes.append(copy)
        work.quantised(copy.output[0], scale, zero, node.output[0])
        return
    work.nodes.append(copy)


REWRITES: dict[str, Callable[[Rewriter, NodeProto], None]] = {
    "QLinearConv": conv,
    "QLinearMatMul": matmul,
    "QGemm": gemm,
    "QLinearAdd": binary("Add"),
    "QLinearMul": binary("Mul"),
    "QLinearConcat": concat,
    "QLinearAveragePool": unary("AveragePool"),
    "QLinearGlobalAveragePool": unary("GlobalAveragePool"),
    "QLinearReduceMean": unary("ReduceMean"),
    "QLinearSigmoid": unary("Sigmoid"),
    "QLinearLeakyRelu": unary("LeakyRelu"),
    "QLinearSoftmax": unary("Softmax"),
    "ConvInteger": dynamic,
    "MatMulInteger": dynamic,
    "DynamicQuantizeLinear": dynamic,
}
