"""Models of other quantisers: read, rewritten as QDQ, and right by ONNX Runtime's and qonnx's own executors."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from flow import cli, project
from flow.ir import onnx_file, qdq
from flow.ir.onnx_file import ModelError

SHAPE = (3, 12, 12)
DOMAIN = "qonnx.custom_op.general"


class Net:
    """An ONNX graph with random constants."""

    def __init__(self, seed: int = 3) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.stored: list[Any] = []

    def add(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], domain=domain, **attributes))
        return name

    def const(self, values: Any) -> str:
        name = f"c{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def normal(self, *shape: int) -> str:
        return self.const(self.rng.normal(size=shape) * np.sqrt(2 / max(1, np.prod(shape[1:]))))

    def quant(self, x: str, scale: Any, bits: float, zero: float = 0, signed: int = 1, narrow: int = 0) -> str:
        parameters = [self.const(scale), self.const(zero), self.const(bits)]
        return self.add("Quant", x, *parameters, domain=DOMAIN, signed=signed, narrow=narrow, rounding_mode="ROUND")

    def model(self, output: str, opset: int = 17) -> onnx.ModelProto:
        ends = [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *SHAPE]),
            helper.make_tensor_value_info(output, TensorProto.FLOAT, None),
        ]
        graph = helper.make_graph(self.nodes, "g", ends[:1], ends[1:], self.stored)
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
        return helper.make_model(graph, ir_version=9, opset_imports=opsets)


def float_network() -> onnx.ModelProto:
    n = Net()
    a = n.add("Relu", n.add("Conv", "x", n.normal(8, 3, 3, 3), n.normal(8), pads=[1] * 4))
    b = n.add("Relu", n.add("Conv", a, n.normal(8, 1, 3, 3), n.normal(8), pads=[1] * 4, group=8))
    c = n.add("Add", a, n.add("Conv", b, n.normal(8, 8, 1, 1), n.normal(8)))
    d = n.add("MaxPool", n.add("Relu", c), kernel_shape=[2, 2], strides=[2, 2])
    e = n.add("Conv", d, n.normal(12, 8, 3, 3), n.normal(12), strides=[2, 2])
    f = n.add("Flatten", n.add("GlobalAveragePool", e))
    model = n.model(n.add("Gemm", f, n.normal(5, 12), n.normal(5), transB=1))
    del model.opset_import[1]
    return model


def quantised(folder: Path, **options: Any) -> Path:
    """The float network through ONNX Runtime's own static quantiser."""
    from onnxruntime import quantization as q

    class Images(q.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = list(np.random.default_rng(5).normal(size=(16, 1, *SHAPE)).astype(np.float32))

        def get_next(self) -> dict[str, Any] | None:
            return {"x": self.left.pop()} if self.left else None

    onnx.save(float_network(), folder / "float.onnx")
    logging.disable(logging.WARNING)
    q.quantize_static(folder / "float.onnx", folder / "q.onnx", Images(), **options)
    logging.disable(logging.NOTSET)
    return folder / "q.onnx"


def options(**more: Any) -> dict[str, Any]:
    from onnxruntime.quantization import QuantFormat, QuantType

    kinds = {"qdq": QuantFormat.QDQ, "qop": QuantFormat.QOperator}
    types = {"u8": QuantType.QUInt8, "s8": QuantType.QInt8, "s16": QuantType.QInt16}
    return {
        "quant_format": kinds[more.pop("format")],
        "activation_type": types[more.pop("act")],
        "weight_type": types[more.pop("weight")],
        **more,
    }


CASES = [
    {"format": "qdq", "act": "u8", "weight": "s8", "per_channel": True},
    {"format": "qdq", "act": "u8", "weight": "u8"},
    {"format": "qdq", "act": "s16", "weight": "s8", "per_channel": True},
    {"format": "qdq", "act": "s8", "weight": "s8", "extra_options": {"ActivationSymmetric": True}},
    {"format": "qop", "act": "u8", "weight": "s8", "per_channel": True},
    {"format": "qop", "act": "s8", "weight": "s8"},
]


@pytest.mark.parametrize("case", CASES)
def test_static_quantiser(case: dict[str, Any], tmp_path: Path) -> None:
    """Asymmetric activations, float scales, scales per channel, 16 bits, both formats: within one unit of the runtime.

    Against the file as the quantiser wrote it, not against our rewriting.
    """
    path = quantised(tmp_path, **options(**dict(case)))
    graph = qdq.load(onnx_file.read(path))
    quant, out = graph.tensors["input"].quant, graph.tensors[graph.output]
    images = quant.quantise(np.random.default_rng(9).normal(size=(60, *SHAPE)).astype(np.float32))
    real = np.concatenate([runtime(onnx.load(path), x[None]) for x in quant.real(images)])
    want = np.rint(real / out.quant.scale) + out.quant.zero
    away = np.abs(graph.evaluate(images)[graph.output].reshape(want.shape) - want)
    allowed = 1 if out.quant.bits <= 8 else 1 + 2 ** (out.quant.bits - 8) // 16
    assert away.max() <= allowed + (case["format"] == "qop") and (away == 0).mean() > 0.5, (away.max(), away.mean())


def runtime(model: onnx.ModelProto, x: Any) -> Any:
    """A model of any domain, by ONNX Runtime without optimisations."""
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def test_float_scales_compile_to_the_integer_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """C simulation equals the integers exactly; the distance to float32 is reported beside it."""
    path = quantised(tmp_path, **options(format="qop", act="u8", weight="s8", per_channel=True))
    out = tmp_path / "p"
    assert cli.main(["compile", str(path), "--board", "zcu102", "--objective", "area", "--out", str(out)]) == 0
    capsys.readouterr()
    assert cli.main(["csim", str(out), "--images", "300", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bit_exact"] and found["mismatches"] == 0
    if found["reference"] != "onnxruntime":
        assert 0.5 < found["runtime_equal"] < 1 and found["runtime_max_abs_diff"] >= 1
    loaded = project.load(out)
    assert not any(n.domain for n in loaded.model.graph.node)  # the specification is standard QDQ


def qonnx_network(bits: tuple[int, int], power: bool, seed: int, mean: int = 1) -> onnx.ModelProto:
    """Brevitas's pattern: quantised weights, float bias, BatchNormalization in between, unsigned activations.

    ``mean``: window of an average that nothing quantises before the last layer.
    """
    n = Net(seed)
    wb, ab = bits

    def scale(real: float) -> float:
        return float(2.0 ** np.round(np.log2(real))) if power else real

    def weight(*shape: int) -> str:
        values = n.rng.normal(size=shape).astype(np.float32)
        each = np.abs(values).max(axis=tuple(range(1, len(shape))), keepdims=True) / max(1, 2 ** (wb - 1) - 1)
        steps = np.array([scale(float(s)) for s in each.reshape(-1)]).reshape(each.shape)
        return n.quant(n.const(values), steps, wb, narrow=1)

    x = n.quant("x", scale(0.031), 8)
    x = n.add("Conv", x, weight(6, 3, 3, 3), n.normal(6), pads=[1] * 4)
    signs = n.rng.choice([-1.0, 1.0], 6) * n.rng.uniform(0.1, 0.5, 6)
    x = n.add("BatchNormalization", x, n.const(signs), n.normal(6), n.normal(6), n.const(n.rng.uniform(0.5, 2, 6)))
    x = n.quant(n.add("Relu", x), scale(3.0 / 2**ab), ab, signed=0)
    x = n.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = n.add("Conv", x, weight(6, 1, 3, 3), pads=[1] * 4, group=6)
    x = n.add("Add", n.add("Mul", x, n.const([[[0.25]]] * 6)), n.normal(6, 1, 1))
    x = n.quant(x, scale(4.0 / 2**ab), ab, narrow=1)
    if mean > 1:
        x = n.add("AveragePool", x, kernel_shape=[mean, mean], strides=[mean, mean])
    binary = n.add("BipolarQuant", n.normal(10, 216 // mean**2), n.const(0.125), domain=DOMAIN)
    return n.model(n.add("Gemm", n.add("Flatten", x), binary, n.normal(10), transB=1))


@pytest.mark.parametrize("power", [True, False])
@pytest.mark.parametrize(("bits", "mean"), [((2, 2), 1), ((3, 5), 3), ((4, 4), 2), ((8, 7), 6)])
def test_qonnx_against_its_own_executor(bits: tuple[int, int], mean: int, power: bool) -> None:
    execution = pytest.importorskip("qonnx.core.onnx_exec", reason="qonnx is not installed")
    wrapper = pytest.importorskip("qonnx.core.modelwrapper").ModelWrapper
    model = qonnx_network(bits, power, sum(bits), mean)
    graph = qdq.load(onnx_file.checked(model))
    quant, out = graph.tensors["input"].quant, graph.tensors[graph.output].quant
    images = quant.quantise(np.random.default_rng(1).normal(size=(6, *SHAPE)).astype(np.float32))
    make = execution.qonnx_make_model

    def readable(*arguments: Any, **named: Any) -> Any:
        made = make(*arguments, **named)
        made.ir_version = 10  # newer onnx writes files that no ONNX Runtime reads yet
        return made

    shapes = pytest.importorskip("qonnx.transformation.infer_shapes").InferShapes()
    wrapped = wrapper(model).transform(shapes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "qonnx_make_model", readable)
        name = model.graph.output[0].name
        want = np.concatenate([execution.execute_onnx(wrapped, {"x": x[None]})[name] for x in quant.real(images)])
    got = graph.evaluate(images)[graph.output].reshape(want.shape) * out.scale
    close = np.abs(got - want) <= 0.125 / 64 + 1e-5  # the output's bias is kept to 1/64 of an accumulator unit
    assert close.mean() > (0.99 if power else 0.9), np.abs(got - want).max()


def test_a_low_bit_network_compiles(tmp_path: Path) -> None:
    """Biases finer than the accumulator, per channel, in hardware."""
    model = tmp_path / "m.onnx"
    onnx.save(qonnx_network((2, 3), power=True, seed=1, mean=3), model)
    assert cli.main(["compile", str(model), "--board", "pynq-z2", "--out", str(tmp_path / "p")]) == 0
    assert cli.main(["csim", str(tmp_path / "p"), "--images", "60"]) == 0


def refused(model: onnx.ModelProto) -> str:
    with pytest.raises(ModelError) as e:
        qdq.load(onnx_file.checked(model))
    text = str(e.value)
    assert "\n" not in text
    return text


def test_what_has_no_integers_is_refused_by_name() -> None:
    n = Net()
    assert "two bits" in refused(n.model(n.add("BipolarQuant", "x", n.const(1.0), domain=DOMAIN)))
    n = Net()
    assert "per tensor" in refused(n.model(n.quant("x", np.ones((1, 3, 1, 1)), 8)))
    n = Net()
    assert "16" in refused(n.model(n.quant("x", 1.0, 20)))
    n = Net()
    assert "integer" in refused(n.model(n.quant("x", 1.0, 8, zero=0.5)))
    n = Net()
    assert "whole numbers" in refused(n.model(n.quant("x", 1.0, 3.5)))
    n = Net()
    parameters = [n.const(v) for v in (1.0, 0.0, 8.0)]
    floor = n.add("Quant", "x", *parameters, domain=DOMAIN, signed=1, narrow=0, rounding_mode="FLOOR")
    assert "FLOOR" in refused(n.model(floor))
    n = Net()
    n.nodes.append(helper.make_node("DynamicQuantizeLinear", ["x"], ["a", "b", "c"]))
    assert "run time" in refused(n.model(n.add("DequantizeLinear", "a", "b", "c")))
    n = Net()
    assert "no known" not in refused(n.model(n.add("FloatQuant", "x", domain=DOMAIN)))


def damaged(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    """A copy with one to three inputs dropped, constants replaced or operators exchanged."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    nodes, stored = out.graph.node, out.graph.initializer
    for _ in range(rng.integers(1, 4)):
        node, what = nodes[rng.integers(len(nodes))], rng.integers(4)
        if what == 0 and node.input:
            del node.input[rng.integers(len(node.input))]
        elif what == 1:
            shape = [(), (0,), (1,), (3,), (6, 1, 1, 1), (2, 3), (1, 6, 1, 1)][rng.integers(7)]
            kind = [np.float32, np.int8, np.uint8, np.int32, np.int64, np.uint16][rng.integers(6)]
            k = rng.integers(len(stored))
            stored[k].CopyFrom(numpy_helper.from_array(rng.integers(-3, 4, shape).astype(kind), stored[k].name))
        elif what == 2:
            node.attribute.append(helper.make_attribute(["axis", "signed", "transB"][rng.integers(3)], 5))
        else:
            node.op_type = ["Quant", "Trunc", "QLinearConv", "QGemm", "QLinearConcat", "Clip", "Mul"][rng.integers(7)]
            node.domain = ["", "com.microsoft", DOMAIN][rng.integers(3)]
    return out


def test_damaged_models_are_refused_in_one_line(tmp_path: Path) -> None:
    """Whatever is wrong, nothing but a ModelError of one line comes out."""
    quantised_file = quantised(tmp_path, **options(format="qop", act="u8", weight="s8", per_channel=True))
    models, refusals = [onnx.load(quantised_file), qonnx_network((3, 4), True, 1)], 0
    for seed in range(400):
        try:
            qdq.load(onnx_file.checked(damaged(models[seed % 2], np.random.default_rng(seed))))
        except ModelError as e:
            refusals += 1
            assert "\n" not in str(e)
    assert refusals > 200
