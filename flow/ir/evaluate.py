"""ONNX nodes run on arrays by ONNX Runtime: the meaning of operators that are read by what they do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray
from onnx import NodeProto, helper

from flow.ir.messages import ModelError, one_line
from flow.ir.onnx_file import RUNTIME_IR, runtime_errors


def evaluate(
    nodes: Sequence[NodeProto], feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str], opset: int
) -> list[NDArray[Any]]:
    """Values of ``outputs`` when ``nodes`` read ``feeds``; one thread, nothing optimised.  Raises ModelError."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.inter_op_num_threads = 1, 1
    options.log_severity_level = 4
    graph = helper.make_graph(
        list(nodes),
        "nodes",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for name, a in feeds.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    model = helper.make_model(graph, ir_version=RUNTIME_IR, opset_imports=[helper.make_opsetid("", opset)])
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found: list[NDArray[Any]] = session.run(list(outputs), dict(feeds))
    except runtime_errors() as e:
        raise ModelError(f"ONNX Runtime refuses it: {one_line(str(e), 200)}; export the model again") from None
    return found
