"""QDQ graphs as other tools write them: what is read bit-exactly, what approximately and said so, what is refused."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from flow.fixed import Quant
from flow.ir import emit, importer, onnx_file, qdq
from flow.ir.onnx_file import ModelError

RNG = np.random.default_rng(7)


class Writer:
    """A QDQ model by hand, node by node."""

    def __init__(self, shape=(1, 3, 8, 8), opset=21):
        self.nodes, self.weights, self.shape, self.opset = [], {}, shape, opset

    def node(self, op, *inputs, **attributes):
        out = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [out], name=f"{op.lower()}_{len(self.nodes)}", **attributes))
        return out

    def const(self, values):
        name = f"c{len(self.weights)}"
        self.weights[name] = values if isinstance(values, TensorProto) else numpy_helper.from_array(np.asarray(values))
        self.weights[name].name = name
        return name

    def q(self, x, scale, zero=0, dtype=np.uint8):
        return self.node("QuantizeLinear", x, self.const(np.float32(scale)), self.const(dtype(zero)))

    def dq(self, x, scale, zero=0, dtype=np.uint8, **kw):
        return self.node("DequantizeLinear", x, self.const(np.float32(scale)), self.const(dtype(zero)), **kw)

    def qdq(self, x, scale, zero=0, dtype=np.uint8):
        return self.dq(self.q(x, scale, zero, dtype), scale, zero, dtype)

    def param(self, values, scale, axis=0):
        scale = np.asarray(scale, np.float32)
        return self.node(
            "DequantizeLinear", self.const(values), self.const(scale), **({"axis": axis} if scale.ndim else {})
        )

    def model(self, output):
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            list(self.weights.values()),
        )
        return onnx_file.checked(
            helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", self.opset)])
        )


def int8(*shape, lo=-128, hi=128):
    return RNG.integers(lo, hi, shape).astype(np.int8)


def compare(model, exact=True, n=8):
    """Loads, runs both, returns the graph; with ``exact`` every real output must be equal."""
    graph = qdq.load(model)
    tensor = graph.tensors["input"]
    real = RNG.normal(scale=40 * tensor.quant.scale, size=(n, *tensor.shape)).astype(np.float32)
    (want,) = onnx_file.run(model, real)
    out = graph.tensors[graph.output].quant
    got = out.real(graph.evaluate(tensor.quant.quantise(real))[graph.output]).reshape(want.shape)
    if exact:
        assert np.array_equal(got, want)
        assert qdq.notes(model) == ()
        again = qdq.load(onnx_file.checked(emit.model(graph)))
        assert again.digest == graph.digest
    else:
        assert np.abs(got - want).max() <= 1.001 * out.scale
        assert (np.abs(got - want) > 0.5 * out.scale).mean() < 0.02
    assert len(np.unique(want)) > 3, "the comparison must see different values"
    return graph


def conv(w, x, **kw):
    return w.node(
        "Conv",
        x,
        w.param(int8(4, 3, 3, 3), 2.0**-7),
        w.param(RNG.integers(-999, 999, 4).astype(np.int32), 2.0**-11),
        **kw,
    )


def start(**kw):
    w = Writer(**kw)
    return w, w.qdq("x", 2.0**-4, 0, np.int8)


def test_relu_and_maxpool_in_front_of_the_quantiser():
    w, x = start()
    y = w.node("MaxPool", w.node("Relu", conv(w, x, pads=[1, 1, 1, 1])), kernel_shape=[2, 2], strides=[2, 2])
    graph = compare(w.model(w.qdq(y, 2.0**-2)))
    assert [n.op.kind for n in graph.nodes] == ["Conv", "MaxPool"]
    assert graph.tensors["L0"].quant == graph.tensors["L1"].quant == Quant(8, False, 0.25)


def test_relu_behind_the_pool_and_int8_storage_give_a_seven_bit_format():
    w, x = start()
    y = w.node("Relu", w.node("MaxPool", conv(w, x), kernel_shape=[3, 3]))
    graph = compare(w.model(w.qdq(y, 2.0**-1, 0, np.int8)))
    assert graph.tensors["L0"].quant == Quant(7, False, 0.5)


def test_max_pool_between_equal_quantisers_and_without_one():
    w, x = start()
    y = w.qdq(w.node("MaxPool", x, kernel_shape=[3, 3], pads=[1, 0, 2, 1]), 2.0**-4, 0, np.int8)
    y = w.node("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    graph = compare(w.model(w.qdq(conv(w, y), 1.0, 0, np.int8)))
    assert [n.op.kind for n in graph.nodes] == ["MaxPool", "MaxPool", "Conv"]
    assert graph.nodes[0].op.pad_value == -128


@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize("pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])
def test_max_pool_auto_pad_and_ceil_mode(pad, ceil):
    w, x = start(shape=(1, 2, 7, 9))
    extra = {"ceil_mode": 1} if ceil and pad == "NOTSET" else {}
    y = w.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 3], auto_pad=pad, **extra)
    compare(w.model(w.qdq(y, 2.0**-4, 0, np.int8)))


@pytest.mark.parametrize("size", range(5, 9))
def test_max_pool_ceil_mode_with_pads(size):
    w, x = start(shape=(1, 2, size, size))
    y = w.node("MaxPool", x, kernel_shape=[3, 3], strides=[3, 2], pads=[1, 1, 1, 1], ceil_mode=1)
    compare(w.model(w.qdq(y, 2.0**-4, 0, np.int8)))


@pytest.mark.parametrize("pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_convolution_auto_pad(pad):
    w, x = start()
    compare(w.model(w.qdq(conv(w, x, auto_pad=pad, strides=[2, 3]), 1.0, 0, np.int8)))


def test_zero_points_of_activations_and_weights():
    w = Writer()
    x = w.qdq("x", 2.0**-4, 100)
    stored = RNG.integers(0, 256, (4, 3, 3, 3)).astype(np.uint8)
    weight = w.dq(w.const(stored), 2.0**-7, 128)
    y = w.qdq(w.node("Conv", x, weight, pads=[1, 2, 0, 1]), 2.0**-1, 37)
    y = w.qdq(w.node("MaxPool", y, kernel_shape=[2, 2], pads=[1, 1, 0, 0]), 2.0**-1, 37)
    y = w.qdq(w.node("AveragePool", y, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1), 2.0**-2, 99)
    graph = compare(w.model(y))
    assert graph.nodes[0].op.pad_value == 100 and graph.nodes[0].op.weight.min() < 0


def test_max_pool_that_changes_scale_and_zero_point():
    w = Writer()
    y = w.node("MaxPool", w.qdq("x", 2.0**-4, 101), kernel_shape=[2, 2])
    compare(w.model(w.qdq(y, 2.0**-3, 60)))


def test_a_fork_shares_one_tensor_and_repeats_are_free():
    w, x = start()
    a = w.q(w.node("Relu", conv(w, x, pads=[1, 1, 1, 1])), 2.0**-1)
    shared = w.dq(a, 2.0**-1)
    other = w.dq(a, 2.0**-1)
    again = w.qdq(other, 2.0**-1)
    weight, bias = w.param(int8(4, 4, 1, 1), 2.0**-6), w.const(np.float32([1.5, -3, 0.25, 8]))
    b = w.qdq(w.node("Conv", shared, weight, bias), 2.0**1, 0, np.int8)
    graph = compare(w.model(w.qdq(w.node("Relu", w.node("Add", b, again)), 2.0**0)))
    assert [n.inputs for n in graph.nodes] == [("input",), ("L0",), ("L1", "L0")]
    assert graph.nodes[2].op.left_shift == (2, 0)


def test_dense_layers_of_every_spelling():
    w, x = start(shape=(1, 2, 3, 3))
    flat = w.node("Flatten", x)
    y = w.node(
        "Add",
        w.node("MatMul", flat, w.param(int8(18, 5), 2.0 ** -RNG.integers(5, 9, 5), 1)),
        w.const(np.ones(5, np.float32)),
    )
    y = w.qdq(w.node("Relu", y), 2.0**-1)
    turned = w.node("Transpose", w.param(int8(4, 5), 2.0**-6), perm=[1, 0])
    y = w.qdq(w.node("Gemm", y, turned), 2.0**1, 0, np.int8)
    y = w.node(
        "Gemm",
        y,
        w.param(int8(6, 4), 2.0 ** -RNG.integers(5, 9, 6)),
        w.param(np.arange(6, dtype=np.int32), 2.0**-3),
        transB=1,
    )
    graph = compare(w.model(w.qdq(y, 2.0**2, 0, np.int16)))
    assert [n.op.weight.shape for n in graph.nodes] == [(5, 2, 3, 3), (4, 5, 1, 1), (6, 4, 1, 1)]


def test_global_average_mean_and_squeeze():
    for kind in ("GlobalAveragePool", "ReduceMean", "keepdims"):
        w, x = start(shape=(1, 5, 4, 6))
        axes = {} if kind == "GlobalAveragePool" else {"keepdims": int(kind == "keepdims")}
        more = [] if kind == "GlobalAveragePool" else [w.const(np.array([-1, 2]))]
        y = w.qdq(w.node(kind if "keep" not in kind else "ReduceMean", x, *more, **axes), 2.0**-5, 0, np.int8)
        if kind != "ReduceMean":
            y = w.node("Squeeze", y, w.const(np.array([3, 2])))
        y = w.node("Gemm", y, w.param(int8(5, 3), 2.0**-6))
        compare(w.model(w.qdq(y, 2.0**-1, 0, np.int8)))


def test_a_sum_of_two_is_an_addition():
    w, x = start()
    assert compare(w.model(w.qdq(w.node("Sum", x, x), 2.0**-3, 0, np.int8))).nodes[0].op.kind == "Add"


def test_float_logits_stay_accumulators():
    w, x = start()
    scales = 2.0 ** -np.array([6, 8, 7, 7])
    y = w.node("Gemm", w.node("Reshape", x, w.const(np.array([1, -1]))), w.param(int8(192, 4), scales, 1))
    graph = compare(w.model(y))
    assert graph.tensors["L0"].quant.scale == 2.0**-12 and graph.tensors["L0"].quant.bits > 16
    assert graph.nodes[0].op.requant.shift == (-2, 0, -1, -1)


def test_float_outputs_of_other_operators():
    w, x = start()
    compare(w.model(w.node("Relu", conv(w, x))))
    w, x = start()
    compare(w.model(w.node("Add", x, x)))
    w, x = start()
    assert compare(w.model(w.node("GlobalAveragePool", x))).nodes[0].op.requant.div == 1


@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4])
def test_four_bit_storage(kind):
    w, x = start()
    values = RNG.integers(-8, 8, 108) if kind == TensorProto.INT4 else RNG.integers(0, 16, 108)
    y = w.node("Conv", x, w.param(helper.make_tensor("", kind, (4, 3, 3, 3), values), 2.0**-3), kernel_shape=[3, 3])
    zero = w.const(helper.make_tensor("", kind, (), [2]))
    scale = w.const(np.float32(2.0))
    y = w.node("DequantizeLinear", w.node("QuantizeLinear", y, scale, zero), scale, zero)
    graph = compare(w.model(y))
    assert graph.tensors["L0"].quant == Quant(4, kind == TensorProto.INT4, 2.0, 2)


def test_sixteen_bits_and_clips():
    w = Writer()
    x = w.node("Clip", "x", w.const(np.float32(-8 * 0.0625)), w.const(np.float32(7 * 0.0625)))
    x = w.qdq(x, 2.0**-4, 0, np.int8)
    y = w.node("Clip", conv(w, x), w.const(np.float32(0)), w.const(np.float32(6)))
    y = w.qdq(y, 2.0**-9, 0, np.uint16)
    graph = compare(w.model(y))
    assert graph.tensors["input"].quant.bits == 4
    assert graph.tensors["L0"].quant == Quant(12, False, 2.0**-9) and graph.nodes[0].op.requant.hi == 6 << 9


def test_weights_quantised_in_the_graph():
    w, x = start()
    weight = w.qdq(w.const(RNG.normal(size=(4, 3, 3, 3)).astype(np.float32)), 2.0**-6, 0, np.int8)
    compare(w.model(w.qdq(w.node("Conv", x, weight), 1.0, 0, np.int8)))


def test_limits_on_a_shared_tensor_are_operators_of_their_own():
    w, x = start()
    shared = w.qdq(conv(w, x), 1.0, 0, np.int8)
    graph = compare(w.model(w.qdq(w.node("Add", w.node("Relu", shared), shared), 2.0, 0, np.int8)))
    assert len(graph.nodes) == 3


def test_dead_nodes_are_dropped_even_unsupported_ones():
    w, x = start()
    w.node("Softmax", x)
    w.qdq(conv(w, x), 1.0, 0, np.int8)
    y = w.qdq(conv(w, x), 1.0, 0, np.int8)
    assert [n.id for n in compare(w.model(y)).nodes] == ["L0"]


def test_arbitrary_scales_are_approximated_and_said_so():
    w = Writer()
    x = w.qdq("x", 0.0371, 117)
    scales = RNG.uniform(0.001, 0.02, 4)
    y = w.node("Conv", x, w.param(int8(4, 3, 3, 3), scales), w.const(RNG.normal(size=4).astype(np.float32)))
    y = w.qdq(w.node("Relu", y), 0.173)
    z = w.node("Conv", y, w.param(int8(4, 4, 1, 1), 0.0061))
    z = w.qdq(w.node("Add", w.qdq(z, 0.291, 121), y), 0.337, 88)
    model = w.model(z)
    graph = compare(model, exact=False, n=16)
    said = " ".join(qdq.notes(model))
    assert "scale ratio" in said and "bias rounded" in said
    assert [n.op.kind for n in graph.nodes].count("AveragePool") == 1  # the rescaled operand of the addition
    assert max(m for n in graph.nodes for m in n.op.requant.mult) < 1 << 22
    assert qdq.load(onnx_file.checked(emit.model(graph))).digest == graph.digest


@pytest.mark.parametrize("per_channel", [False, True])
def test_models_of_the_onnxruntime_quantiser(tmp_path, per_channel):
    from onnxruntime import quantization as ortq

    w = Writer(opset=17)
    f32 = lambda *s: w.const((RNG.normal(size=s) / np.sqrt(np.prod(s[1:]))).astype(np.float32))  # noqa: E731
    y = w.node("Relu", w.node("Conv", "x", f32(8, 3, 3, 3), f32(8), pads=[1, 1, 1, 1]))
    z = w.node("Conv", y, f32(8, 8, 3, 3), f32(8), pads=[1, 1, 1, 1])
    y = w.node("MaxPool", w.node("Relu", w.node("Add", y, z)), kernel_shape=[2, 2], strides=[2, 2])
    y = w.node("Flatten", w.node("GlobalAveragePool", y))
    y = w.node("Gemm", y, f32(10, 8), f32(10), transB=1)
    images = RNG.normal(size=(32, 1, 3, 8, 8)).astype(np.float32)

    class Reader(ortq.CalibrationDataReader):
        def __init__(self):
            self.left = list(images)

        def get_next(self):
            return {"x": self.left.pop()} if self.left else None

    (tmp_path / "f.onnx").write_bytes(w.model(y).SerializeToString())
    ortq.quantize_static(
        tmp_path / "f.onnx", tmp_path / "q.onnx", Reader(), quant_format=ortq.QuantFormat.QDQ, per_channel=per_channel
    )
    model = onnx_file.read(tmp_path / "q.onnx")
    graph = qdq.load(model)
    (want,) = onnx_file.run(model, images[:, 0])
    quant = graph.tensors["input"].quant
    got = graph.tensors[graph.output].quant.real(graph.evaluate(quant.quantise(images[:, 0]))[graph.output])
    assert np.abs(got.reshape(want.shape) - want).max() <= 1.001 * graph.tensors[graph.output].quant.scale
    assert (got.reshape(want.shape).argmax(1) == want.argmax(1)).mean() > 0.9


def test_an_operator_is_added_by_one_function(monkeypatch):
    monkeypatch.setattr(importer, "OPERATORS", importer.OPERATORS)
    monkeypatch.setitem(importer.OPERATORS, "Abs", None)

    def rectified(state, node):
        return importer.limited(state.identity(node, state.real(node, 0)[0]), 0.0, np.inf)

    importer.operator("Abs")(rectified)
    w, x = start()
    graph = qdq.load(w.model(w.qdq(w.node("Abs", x), 2.0**-4)))
    assert graph.evaluate(np.full((1, 3, 8, 8), -5))["L0"].max() == 0


def late_float(w, x):
    return w.qdq(w.node("Conv", conv(w, x), w.param(int8(4, 4, 1, 1), 2.0**-6)), 1.0, 0, np.int8)


def wrong_dq(w, x):
    return w.dq(w.q(conv(w, x), 1.0, 0, np.int8), 2.0, 0, np.int8)


REFUSALS = {
    "Softmax": lambda w, x: w.node("Softmax", w.qdq(conv(w, x), 1.0)),
    "input 0 is float": late_float,
    "differs from its QuantizeLinear": wrong_dq,
    "its weight is float": lambda w, x: w.qdq(w.node("Conv", x, w.const(np.ones((4, 3, 3, 3), np.float32))), 1.0),
    "is the float network input": lambda w, x: w.qdq(w.node("Relu", conv(w, "x")), 1.0),
    "two inputs": lambda w, x: w.qdq(w.node("Sum", x, x, x), 1.0),
    "has shape [3, 1, 8, 8]": lambda w, x: w.qdq(conv(w, w.node("Reshape", x, w.const(np.array([3, 1, 8, 8])))), 1.0),
    "interpolates": lambda w, x: w.qdq(w.node("Resize", x, "", w.const(np.float32([1, 1, 2, 2])), mode="linear"), 1.0),
    "has rank 4": lambda w, x: w.qdq(w.node("MatMul", x, w.param(int8(8, 8), 2.0**-6)), 1.0),
    "along the input channels": lambda w, x: w.qdq(
        w.node("Gemm", w.node("Flatten", x), w.param(int8(192, 4), np.full(192, 0.5))), 1.0
    ),
    "alpha": lambda w, x: w.qdq(w.node("Gemm", w.node("Flatten", x), w.param(int8(192, 4), 0.5), alpha=0.5), 1.0),
    "other axes": lambda w, x: w.qdq(w.node("ReduceMean", x, w.const(np.array([1]))), 1.0),
    "one scale each": lambda w, x: w.dq(
        w.node("QuantizeLinear", x, w.const(np.ones(3, np.float32)), w.const(np.zeros(3, np.int8))), 1.0, 0, np.int8
    ),
    "float MaxPool at the output": lambda w, x: w.node("MaxPool", conv(w, x), kernel_shape=[2, 2]),
    "too far": lambda w, x: w.qdq(w.node("Relu", conv(w, x)), 2.0**50),
    "more than the channels": lambda w, x: w.qdq(w.node("Add", x, w.const(np.ones((8, 8), np.float32))), 1.0),
    "bias behind": lambda w, x: w.qdq(
        w.node(
            "Add", w.node("Relu", w.node("Conv", x, w.param(int8(4, 3, 1, 1), 0.5))), w.const(np.float32([[[1]]] * 4))
        ),
        1.0,
    ),
    "scales are": lambda w, x: w.qdq(conv(w, x), -1.0),
    "32 bits": lambda w, x: w.qdq(
        w.node("Conv", x, w.param(int8(4, 3, 3, 3), 2.0**-30), w.const(np.full(4, 1e3, np.float32))), 1.0
    ),
}


@pytest.mark.parametrize("words", REFUSALS)
def test_refusals_are_one_line_naming_the_node(words):
    w, x = start()
    model = w.model(REFUSALS[words](w, x))
    with pytest.raises(ModelError) as caught:
        qdq.load(model)
    line = str(caught.value)
    assert words in line and line.startswith("node '") and "\n" not in line
    assert ";" in line or ":" in line[5:], "the line says the way out"
