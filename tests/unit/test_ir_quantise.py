"""Passes and post-training quantisation on models written by hand; ONNX Runtime judges both."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from flow.fixed import Quant
from flow.ir import emit, onnx_file, passes, qdq, quantise
from flow.ir.onnx_file import ModelError

RNG = np.random.default_rng(3)
SHAPE = (1, 3, 9, 10)


def weights(*shape):
    return (RNG.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def norm(c):
    return [RNG.uniform(0.5, 2, c), RNG.normal(size=c), RNG.normal(size=c), RNG.uniform(0.3, 2, c)]


def chain(*steps, shape=SHAPE, opset=17):
    """A float model of operators in a row: (operator, [constants], {attributes}); "$k" reads the output of step k."""
    nodes, stored, last = [], [], "x"
    for k, (op, constants, attributes) in enumerate(steps):
        names, source = [], last
        for j, c in enumerate(constants):
            if isinstance(c, str):
                names.append(f"t{c[1:]}" if c[1:] else "x")
                continue
            c = np.asarray(c)
            stored.append(numpy_helper.from_array(c.astype(np.float32) if c.dtype == np.float64 else c, f"c{k}_{j}"))
            names.append(f"c{k}_{j}")
        before = attributes.pop("before", 0)
        inputs = [*names[:before], source, *names[before:]]
        nodes.append(helper.make_node(op, inputs, [f"t{k}"], name=f"layer {k}", **attributes))
        last = f"t{k}"
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, None)],
        stored,
    )
    return onnx_file.checked(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)]))


def conv(oc, ic, k=3, **attributes):
    return ("Conv", [weights(oc, ic, k, k), RNG.normal(size=oc)], attributes)


def kinds(model):
    return [n.op_type for n in model.graph.node]


@pytest.fixture
def own_passes_only(monkeypatch):
    """Our passes must stand alone: the libraries are optional helpers in front of them."""

    def absent(model):
        raise RuntimeError("library absent")

    monkeypatch.setattr(passes, "_onnxscript", absent)
    monkeypatch.setattr(passes, "_onnxslim", absent)


@pytest.mark.usefixtures("own_passes_only")
class TestPasses:
    @pytest.mark.parametrize(
        ("steps", "left"),
        [
            ([conv(4, 3), ("BatchNormalization", norm(4), {"epsilon": 1e-3})], ["Conv"]),
            ([("Conv", [weights(4, 3, 3, 3)], {}), ("BatchNormalization", norm(4), {})], ["Conv"]),
            ([("BatchNormalization", norm(3), {}), conv(4, 3, pads=[1, 1, 1, 1])], ["Conv", "Conv"]),
            ([conv(4, 3), ("Relu", [], {}), ("BatchNormalization", norm(4), {})], ["Conv", "Relu", "Conv"]),
            (
                [("Sub", [np.full((1, 3, 1, 1), 0.4)], {}), ("Div", [np.full((3, 1, 1), 0.2)], {}), conv(2, 3)],
                ["Conv", "Conv"],
            ),
            ([conv(4, 3), ("Mul", [np.array(0.5)], {}), ("Add", [RNG.normal(size=(4, 1, 1))], {})], ["Conv"]),
            ([conv(4, 3), ("Sub", [RNG.normal(size=(1, 4, 1, 1))], {"before": 1})], ["Conv"]),
            ([conv(4, 3), ("Identity", [], {}), ("Dropout", [], {}), ("Relu", [], {})], ["Conv", "Relu"]),
            ([("Pad", [np.array([0, 0, 1, 2, 0, 0, 0, 3])], {}), conv(4, 3, pads=[1, 0, 0, 0])], ["Conv"]),
            (
                [("Flatten", [], {}), ("MatMul", [weights(270, 5)], {}), ("Add", [RNG.normal(size=5)], {})],
                ["Flatten", "Gemm"],
            ),
            (
                [
                    ("Flatten", [], {}),
                    ("Gemm", [weights(270, 5), np.ones((1, 5))], {"alpha": 0.5, "beta": 2.0}),
                    ("BatchNormalization", norm(5), {}),
                ],
                ["Flatten", "Gemm"],
            ),
        ],
    )
    def test_folding_keeps_the_function(self, steps, left):
        model = chain(*steps)
        simple = passes.simplify(model)
        assert kinds(simple) == left
        images = RNG.normal(size=(3, *SHAPE[1:])).astype(np.float32)
        (a,), (b,) = onnx_file.run(model, images), onnx_file.run(simple, images)
        assert np.allclose(a, b, rtol=1e-4, atol=1e-5)

    def test_what_must_not_fold_stays(self):
        shared = chain(conv(4, 3), ("BatchNormalization", norm(4), {}), ("Add", ["$0"], {}))
        assert kinds(passes.simplify(shared)) == ["Conv", "Conv", "Add"]
        mirrored = chain(("Pad", [np.array([0, 0, 1, 1, 0, 0, 1, 1])], {"mode": "reflect"}), conv(4, 3))
        assert kinds(passes.simplify(mirrored)) == ["Pad", "Conv"]
        ones = chain(("Pad", [np.array([0, 0, 1, 1, 0, 0, 1, 1]), np.array(1.0)], {}), conv(4, 3))
        assert kinds(passes.simplify(ones)) == ["Pad", "Conv"]
        plane = chain(conv(4, 3), ("Add", [RNG.normal(size=(1, 1, 7, 8))], {}))
        assert kinds(passes.simplify(plane)) == ["Conv", "Add"]
        inverse = chain(conv(4, 3), ("Div", [np.ones((1, 4, 1, 1))], {"before": 1}))
        assert kinds(passes.simplify(inverse)) == ["Conv", "Div"]

    def test_a_pass_that_changes_the_function_is_caught(self, monkeypatch):
        def broken(model):
            model.graph.node[0].attribute.append(helper.make_attribute("pads", [1, 1, 1, 1]))
            return model

        def scaled(model):
            w = numpy_helper.to_array(model.graph.initializer[0]) * np.float32(1.01)
            model.graph.initializer[0].CopyFrom(numpy_helper.from_array(w, model.graph.initializer[0].name))
            return model

        model = chain(conv(4, 3))
        for bad in (broken, scaled):
            monkeypatch.setattr(passes, "OWN", (bad,))
            with pytest.raises(ModelError, match="changed the outputs"):
                passes.simplify(model)
            monkeypatch.setattr(passes, "OWN", ())
            monkeypatch.setattr(passes, "_onnxslim", bad)
            assert passes.simplify(model).SerializeToString() == onnx_file.checked(model).SerializeToString()


def quantised(model, **bits):
    """Quantises; demands that integers, ONNX Runtime and the proof agree; gives the signal-to-noise ratio in dB."""
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    calibration = RNG.normal(size=(40, *shape)).astype(np.float32)
    images = RNG.normal(size=(24, *shape)).astype(np.float32)
    result = quantise.quantise(model, calibration, **bits)
    graph = qdq.load(result)
    assert qdq.notes(result) == () and qdq.is_quantised(result) and not qdq.is_quantised(model)
    (float_out,), (got,) = onnx_file.run(model, images), onnx_file.run(result, images)
    quant = graph.tensors["input"].quant
    integers = quant.quantise(images).reshape(len(images), *graph.tensors["input"].shape)
    out = graph.tensors[graph.output].quant
    want = out.real(graph.evaluate(integers)[graph.output]).reshape(got.shape)
    proved = bits.get("weight_bits", 8) + bits.get("activation_bits", 8) <= 16
    assert np.abs(want - got).max() <= (0 if proved else out.scale)
    noise = np.square(got.reshape(float_out.shape) - float_out).sum()
    return graph, result, 10 * np.log10(np.square(float_out).sum() / noise)


RESIDUAL = [
    conv(6, 3, pads=[1, 1, 1, 1]),
    ("BatchNormalization", norm(6), {}),
    ("Relu", [], {}),
    conv(6, 6, pads=[1, 1, 1, 1]),
    ("Add", ["$2"], {}),
    ("Relu", [], {}),
    ("MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("Clip", [np.array(0.0), np.array(2.0)], {}),
    ("GlobalAveragePool", [], {}),
    ("Flatten", [], {}),
    ("Gemm", [weights(6, 10), RNG.normal(size=10)], {}),
]


def copied(steps):
    return [(op, list(c), dict(a)) for op, c, a in steps]


@pytest.mark.parametrize(
    ("weight_bits", "activation_bits", "decibels"), [(8, 8, 30), (4, 8, 12), (8, 4, 12), (6, 6, 20), (16, 16, 50)]
)
def test_quantised_networks_are_exact_and_close(weight_bits, activation_bits, decibels):
    graph, _, ratio = quantised(chain(*copied(RESIDUAL)), weight_bits=weight_bits, activation_bits=activation_bits)
    assert ratio > decibels
    for node in graph.nodes:
        if node.id != graph.output:
            assert graph.tensors[node.id].quant.bits <= activation_bits
        if hasattr(node.op, "weight"):
            assert node.op.weight.max() < 1 << (weight_bits - 1) and node.op.weight.min() >= -1 << (weight_bits - 1)
    if weight_bits + activation_bits <= 16:
        assert emit.exact_in_float32(graph) == []
    assert "layer 3" in [n.name for n in graph.nodes]


def test_more_bits_are_never_much_worse():
    ratios = [quantised(chain(*copied(RESIDUAL)), weight_bits=b, activation_bits=b)[2] for b in (3, 5, 8)]
    assert ratios[0] + 3 < ratios[1] and ratios[1] + 3 < ratios[2]


def test_relu_outputs_are_unsigned_and_sums_take_differing_scales():
    graph, _, _ = quantised(chain(*copied(RESIDUAL)))
    by_kind = {n.op.kind: n for n in graph.nodes}
    assert not graph.tensors[by_kind["Add"].id].quant.signed
    inputs = [graph.tensors[i].quant for i in by_kind["Add"].inputs]
    assert {q.signed for q in inputs} == {True, False}


def test_one_dimensional_networks():
    model = chain(
        ("Gemm", [weights(20, 16), RNG.normal(size=16)], {}),
        ("Relu", [], {}),
        ("Gemm", [weights(16, 4), RNG.normal(size=4)], {}),
        shape=(1, 20),
    )
    graph, _, ratio = quantised(model)
    assert graph.tensors["input"].shape == (20, 1, 1) and ratio > 30


def test_dead_channels_and_large_biases():
    w = weights(4, 3, 3, 3)
    w[1] = 0
    w[2] *= 1e-6
    model = chain(("Conv", [w, np.array([0.1, 50.0, 3.0, 0.0])], {}), conv(2, 4))
    graph, _, ratio = quantised(model)
    assert ratio > 30 and emit.exact_in_float32(graph) == []


def test_wide_layers_stay_provably_exact():
    weight = np.ones((2, 600, 3, 3), np.float32)
    model = chain(conv(600, 3, 1), ("Relu", [], {}), ("Conv", [weight, np.zeros(2)], {}))
    graph, _, _ = quantised(model)
    assert emit.exact_in_float32(graph) == []


def test_weight_scales_follow_the_error_not_the_maximum():
    row = np.concatenate([RNG.normal(size=2000), [9.0]])[None]
    q, scale = quantise.weight_integers(row, np.zeros(1), Quant(8, False, 2.0**-8), 3, True)
    greatest = 2.0 ** np.ceil(np.log2(9.0 / 3))
    assert scale[0] < greatest
    assert np.square(q * scale - row).sum() < np.square(np.clip(np.rint(row / greatest), -4, 3) * greatest - row).sum()


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([conv(4, 3), ("Softmax", [], {"axis": 1}), conv(2, 4)], "'layer 1' (Softmax)"),
        ([conv(4, 3), ("LRN", [], {"size": 3})], "'layer 1' (LRN)"),
        ([conv(4, 3), ("Resize", ["$9", np.ones(0), np.array([1.0, 1, 2, 2])], {})], "reads"),
        ([conv(4, 3), ("Add", [RNG.normal(size=(1, 1, 7, 8))], {})], "'layer 1' (Add)"),
    ],
)
def test_unsupported_networks_are_refused_by_name(steps, words):
    with pytest.raises(ModelError) as caught:
        quantise.quantise(chain(*copied(steps)), RNG.normal(size=(4, 3, 9, 10)).astype(np.float32))
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((0, 3, 9, 10)), "calibration images are"),
        (np.zeros((4, 3, 9, 9)), "calibration images are"),
        (np.full((4, 3, 9, 10), np.nan), "NaN"),
        (np.full((4, 3, 9, 10), 3e38), "infinite"),
    ],
)
def test_calibration_images_are_checked(images, words):
    with pytest.raises(ModelError, match=words):
        quantise.quantise(chain(conv(4, 3)), images.astype(np.float32))


def test_bit_widths_are_checked():
    with pytest.raises(ModelError, match="1 bits for weights"):
        quantise.quantise(chain(conv(4, 3)), np.zeros((1, 3, 9, 10), np.float32), weight_bits=1)
