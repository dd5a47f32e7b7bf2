"""ONNX's own single-operator cases: each is computed bit-exactly after quantisation or refused in one line."""

import warnings

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from flow.ir import onnx_file, qdq, quantise
from flow.ir.onnx_file import ModelError

EXPECTED = {
    "Conv": 6,
    "Gemm": 8,
    "MatMul": 1,
    "MaxPool": 10,
    "AveragePool": 6,
    "GlobalAveragePool": 2,
    "BatchNormalization": 2,
}
OPERATORS = [
    *EXPECTED,
    *("ReduceMean", "Add", "Mul", "Relu", "Clip", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Dropout", "Pad"),
    *("Softmax", "ConvTranspose", "Concat", "Resize", "Sigmoid", "Transpose", "GlobalMaxPool", "LRN", "PRelu"),
]


@pytest.fixture(scope="module")
def cases():
    """ONNX's cases of one node each, by operator."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    single = [c for c in found if len(c.model.graph.node) == 1]
    return {op: [c for c in single if c.model.graph.node[0].op_type == op] for op in OPERATORS}


def with_constants(case):
    """The case's model with every input but the first stored, as in a network, and a batch of one image."""
    model, inputs = ModelProto(), case.data_sets[0][0]
    model.CopyFrom(case.model)
    for value, data in zip(list(model.graph.input)[1:], inputs[1:], strict=True):
        if not isinstance(data, np.ndarray):
            raise ModelError("takes a sequence")
        model.graph.initializer.append(numpy_helper.from_array(data, value.name))
        model.graph.input.remove(value)
    for opset in model.opset_import:
        opset.version = min(opset.version, onnx_file.MAX_OPSET)
    dims = model.graph.input[0].type.tensor_type.shape.dim
    if len(dims) in (2, 4):
        dims[0].dim_value = 1
    return onnx_file.checked(model)


def exact(model):
    """Quantises and compares; True when bit-exact and near the float model."""
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    images = np.random.default_rng(0).normal(size=(6, *shape)).astype(np.float32)
    result = quantise.quantise(model, images)
    graph = qdq.load(result)
    (want,), (got,) = onnx_file.run(model, images), onnx_file.run(result, images)
    tensor = graph.tensors["input"]
    integers = graph.evaluate(tensor.quant.quantise(images).reshape(6, *tensor.shape))[graph.output]
    real = graph.tensors[graph.output].quant.real(integers).reshape(got.shape)
    scale = np.abs(want).max() + 1e-9
    return np.array_equal(real, got) and np.abs(got.reshape(want.shape) - want).max() < 0.1 * scale


@pytest.mark.parametrize("op_type", OPERATORS)
def test_cases_are_exact_or_refused(op_type, cases):
    done, refused = [], []
    for case in cases[op_type]:
        try:
            assert exact(with_constants(case)), case.name
            done.append(case.name)
        except ModelError as e:
            assert "\n" not in str(e)
            refused.append((case.name, str(e)))
    assert len(done) >= EXPECTED.get(op_type, 0), refused
    assert done or refused
