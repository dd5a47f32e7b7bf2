"""Models of other quantisers, rewritten as QDQ in standard ONNX before anything else looks at them.

`standard` replaces operators of other domains and integer operators: ONNX Runtime's QOperator format (QLinearConv and
its relatives) and QONNX (Quant, BipolarQuant, Trunc of Brevitas and qonnx).  `folded` prepares a QDQ graph for the
importer: Brevitas's integer Clip between QuantizeLinear and DequantizeLinear, and per-channel arithmetic behind a
convolution with quantised weights (BatchNormalization, Mul, Add by constants).  Both leave other models as they are.
"""

from __future__ import annotations

from functools import partial

from onnx import ModelProto, shape_inference, version_converter

from flow.ir.dialects import fold, qonnx, qoperator
from flow.ir.dialects.rewriter import Rewriter, fitting
from flow.ir.messages import ModelError, one_line

QDQ_OPSET = 13  # DequantizeLinear per channel
WIDE_OPSET = 21  # QuantizeLinear to 16 bits


def standard(model: ModelProto) -> ModelProto:
    """``model`` without operators of the two dialects.  Raises ModelError naming a node that has no QDQ form."""
    nodes = model.graph.node
    rewrites = {**qoperator.REWRITES, **qonnx.REWRITES}
    if not any(n.op_type in rewrites and (n.domain or n.op_type in qoperator.STANDARD) for n in nodes):
        return model
    work = Rewriter(model)
    for node in nodes:
        rewrite = rewrites.get(node.op_type, qoperator.passing)
        fitting(partial(rewrite, work, node), node)
    return upgraded(work.finished({"", "ai.onnx"}), WIDE_OPSET if work.wide else QDQ_OPSET)


def folded(model: ModelProto) -> ModelProto:
    """A QDQ model with integer Clips and per-channel arithmetic folded into quantisers and weight scales."""
    return fold.folded(model)


def upgraded(model: ModelProto, opset: int) -> ModelProto:
    """``model`` in at least ``opset``.  Raises ModelError when ONNX cannot convert it."""
    own = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if own >= opset:
        return model
    try:
        converted: ModelProto = version_converter.convert_version(model, opset)
    except (RuntimeError, ValueError, shape_inference.InferenceError) as e:
        text = one_line(str(e), 120)
        raise ModelError(f"its quantisers need opset {opset} and the model has {own}: {text}; export it anew") from None
    return converted
