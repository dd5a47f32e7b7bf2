"""Damaged, hostile and unsupported ONNX files: each gives exactly one printable line that names file and place."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from flow.ir import onnx_file, qdq, quantise
from flow.ir.onnx_file import ModelError


def network(nodes=None, weights=None, shape=(1, 2, 6, 6), outputs=("y",), opset=17):
    """A small float network; by default one 3x3 convolution."""
    if weights is None:
        weights = {"w": np.ones((3, 2, 3, 3), np.float32)}
    nodes = nodes or [helper.make_node("Conv", ["x", "w"], ["y"], name="first")]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])


def saved(tmp_path, model, name="m.onnx"):
    path = tmp_path / name
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return path


def refused(path, *words):
    with pytest.raises(ModelError) as caught:
        onnx_file.read(path)
    line = str(caught.value)
    assert "\n" not in line and line.isprintable() and line.isascii() and len(line) < 700
    assert path.name in line
    for word in words:
        assert word in line, line
    return line


def test_a_good_file_reads_and_runs(tmp_path):
    model = onnx_file.read(saved(tmp_path, network()))
    (y,) = onnx_file.run(model, np.ones((5, 2, 6, 6), np.float32))
    assert y.shape == (5, 3, 4, 4) and (y == 18).all()


def test_a_dynamic_batch_becomes_one_and_other_symbols_are_refused(tmp_path):
    model = onnx_file.read(saved(tmp_path, network(shape=("batch", 2, 6, 6))))
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [1, 2, 6, 6]
    assert [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim] == [1, 3, 4, 4]
    refused(saved(tmp_path, network(shape=(1, 2, "height", 6))), "'x'", "dimension 2", "'height'", "export")
    refused(saved(tmp_path, network(shape=(8, 2, 6, 6))), "batch 8", "export with batch 1")
    refused(saved(tmp_path, network(shape=(1, 2, 0, 6))), "dimension 2 is 0")
    refused(saved(tmp_path, network(shape=(1, 2, -3, 6))), "dimension 2 is -3")


def test_a_symbolic_batch_runs_in_one_call_as_image_by_image():
    free = network(shape=("batch", 2, 6, 6))
    images = np.random.default_rng(0).normal(size=(5, 2, 6, 6)).astype(np.float32)
    (together,) = onnx_file.run(free, images, batch=2)
    (single,) = onnx_file.run(network(), images)
    assert np.array_equal(together, single)


def test_every_truncation_gives_one_line(tmp_path):
    data = network().SerializeToString()
    for size in range(0, len(data) - 1, 7):
        refused(saved(tmp_path, data[:size]))


def test_empty_garbage_and_missing(tmp_path):
    refused(saved(tmp_path, b""), "empty")
    refused(saved(tmp_path, os.urandom(2000)))
    refused(saved(tmp_path, b"\x00" * 100))
    refused(tmp_path / "nowhere.onnx", "No such file")
    refused(tmp_path, "not a regular file")


def test_flipped_bytes_never_crash(tmp_path):
    data = bytearray(network().SerializeToString())
    rng = np.random.default_rng(0)
    for _ in range(150):
        bad = bytearray(data)
        bad[rng.integers(len(bad))] ^= 1 << rng.integers(8)
        path = saved(tmp_path, bytes(bad))
        try:
            onnx_file.read(path)
        except ModelError as e:
            assert "\n" not in str(e)


def test_size_limits(tmp_path, monkeypatch):
    path = saved(tmp_path, network())
    monkeypatch.setattr(onnx_file, "MAX_BYTES", 100)
    refused(path, "the limit is 100")
    monkeypatch.undo()
    many = [helper.make_node("Relu", ["x" if k == 0 else f"t{k}"], [f"t{k + 1}"]) for k in range(10_001)]
    refused(saved(tmp_path, network(many, {}, outputs=("t10001",))), "10000", "nodes")


def test_a_function_bomb_is_counted_not_expanded(tmp_path):
    model = network([helper.make_node("f0", ["x"], ["y"], domain="bomb")], {})
    for k in range(40):
        body = [helper.make_node(f"f{k + 1}", ["a"], ["b"], domain="bomb")] * 2 if k < 39 else []
        body = [helper.make_node(n.op_type, ["a"], [f"b{i}"], domain=n.domain) for i, n in enumerate(body)]
        body += [helper.make_node("Relu", ["a"], ["c"])]
        model.functions.append(
            helper.make_function(
                "bomb", f"f{k}", ["a"], ["c"], body, [helper.make_opsetid("", 17), helper.make_opsetid("bomb", 1)]
            )
        )
    model.opset_import.append(helper.make_opsetid("bomb", 1))
    refused(saved(tmp_path, model), "more than 10000 nodes")


def test_constants_too_large_to_exist(tmp_path):
    model = network()
    model.graph.initializer[0].dims[:] = [200_000, 200_000]
    refused(saved(tmp_path, model), "'w'", "limit")
    shape = numpy_helper.from_array(np.array([200_000, 200_000]), "s")
    model = network([helper.make_node("ConstantOfShape", ["s"], ["y"], name="huge")], {}, opset=17)
    model.graph.initializer.append(shape)
    refused(saved(tmp_path, model), "'y'", "elements")


@pytest.mark.parametrize("opset", [0, 6, 9999, -1])
def test_opset_range(tmp_path, opset):
    refused(saved(tmp_path, network(opset=opset)), "opset")


def test_domains_operators_and_control_flow(tmp_path):
    alien = helper.make_node("Gelu", ["x"], ["y"], name="n1", domain="com.microsoft")
    refused(saved(tmp_path, network([alien], {})), "'n1'", "com.microsoft")
    refused(saved(tmp_path, network([helper.make_node("Frobnicate", ["x"], ["y"], name="n2")], {})), "Frobnicate")
    body = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["z"])], "b", [], [helper.make_tensor_value_info("z", 1, None)]
    )
    branch = helper.make_node("If", ["c"], ["y"], name="n3", then_branch=body, else_branch=body)
    refused(saved(tmp_path, network([branch], {"c": np.array(True)})), "'n3'", "control flow")


def test_cycles_undefined_and_duplicate_names(tmp_path):
    loop = [helper.make_node("Add", ["x", "b"], ["a"], name="n1"), helper.make_node("Relu", ["a"], ["b"], name="n2")]
    refused(saved(tmp_path, network(loop, {}, outputs=("b",))), "'n1'", "'b'")
    refused(saved(tmp_path, network([helper.make_node("Relu", ["ghost"], ["y"], name="n1")], {})), "'ghost'")
    twice = [helper.make_node("Relu", ["x"], ["y"], name="n1"), helper.make_node("Relu", ["x"], ["y"], name="n2")]
    refused(saved(tmp_path, network(twice, {})), "'n2'", "second time")
    refused(saved(tmp_path, network(outputs=("z",))), "'z'")


@pytest.mark.parametrize(
    "attribute",
    [{"strides": [0, 1]}, {"group": 0}, {"dilations": [0, 0]}, {"pads": [0, -1, 0, 0]}, {"strides": [1 << 40, 1]}],
)
def test_attributes_out_of_range(tmp_path, attribute):
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="first", **attribute)
    refused(saved(tmp_path, network([node])), "'first'", next(iter(attribute)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_must_be_finite(tmp_path, value):
    weights = np.ones((3, 2, 3, 3), np.float32)
    weights[1, 0, 2, 2] = value
    refused(saved(tmp_path, network(weights={"w": weights})), "'w'", "NaN")


def test_weights_that_do_not_fit(tmp_path):
    wrong = onnx_file.read(saved(tmp_path, network(weights={"w": np.ones((3, 5, 3, 3), np.float32)})))
    with pytest.raises(ModelError, match="channels"):
        quantise.quantise(wrong, np.zeros((1, 2, 6, 6), np.float32))
    model = network()
    model.graph.initializer[0].raw_data = b"\0" * 12
    refused(saved(tmp_path, model), "'w'", "do not fit")


def test_hostile_names_are_escaped(tmp_path):
    evil = 'a"; */ [exec rm -rf]\n\x1b[2J\u202e../..' + "x" * 500
    node = helper.make_node("Softmax", ["x"], ["y"], name=evil)
    model = network([node], {})
    checked = onnx_file.read(saved(tmp_path, model))
    for attempt in (lambda: quantise.quantise(checked, np.zeros((1, 2, 6, 6))), lambda: qdq.load(checked)):
        with pytest.raises(ModelError) as caught:
            attempt()
        assert str(caught.value).isprintable() and "\\n" in str(caught.value) and "Softmax" in str(caught.value)
    node.attribute.append(helper.make_attribute("axis", 99))
    refused(saved(tmp_path, network([node], {})))


class TestExternalData:
    """Weights outside the file: a plain file in the model's folder is welcome, every trick is refused."""

    size = 3 * 2 * 3 * 3 * 4

    def external(self, tmp_path, entries, data=None):
        folder = tmp_path / "folder"
        folder.mkdir(exist_ok=True)
        if data is not None:
            (folder / "w.bin").write_bytes(data)
        model = network()
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))
        return saved(folder, model)

    @pytest.mark.parametrize("extra", [{}, {"offset": 0, "length": size}, {"offset": 8}])
    def test_plain_files_work(self, tmp_path, extra):
        data = b"\0" * int(extra.get("offset", 0)) + np.full(54, 2, np.float32).tobytes()
        model = onnx_file.read(self.external(tmp_path, {"location": "w.bin", **extra}, data))
        (y,) = onnx_file.run(model, np.ones((1, 2, 6, 6), np.float32))
        assert (y == 36).all()

    @pytest.mark.parametrize(
        "location",
        ["../secret", "/etc/passwd", "a/../../secret", "..", "", "C:\\x", "\\\\host\\x", "..\\secret", "w\0x"],
    )
    def test_paths_outside_the_folder(self, tmp_path, location):
        (tmp_path / "secret").write_bytes(b"s" * self.size)
        refused(self.external(tmp_path, {"location": location}), "'w'", "own folder")

    @pytest.mark.parametrize(
        "entries",
        [{"offset": -4}, {"offset": 1 << 62}, {"length": 1 << 50}, {"length": -1}, {"length": 4}, {"offset": "abc"}],
    )
    def test_offsets_and_lengths(self, tmp_path, entries):
        refused(self.external(tmp_path, {"location": "w.bin", **entries}, b"\0" * self.size), "'w'")

    def test_too_short_and_missing(self, tmp_path):
        refused(self.external(tmp_path, {"location": "w.bin"}, b"\0" * (self.size - 1)), "needed")
        (tmp_path / "folder" / "w.bin").unlink()
        refused(self.external(tmp_path, {"location": "w.bin"}), "No such file")

    def test_links_and_other_files(self, tmp_path):
        (tmp_path / "secret").write_bytes(b"\0" * self.size)
        path = self.external(tmp_path, {"location": "w.bin"})
        place = tmp_path / "folder" / "w.bin"
        place.symlink_to(tmp_path / "secret")
        refused(path, "is a link")
        place.unlink()
        os.link(tmp_path / "secret", place)
        refused(path, "one name")
        place.unlink()
        os.mkfifo(place)
        refused(path, "plain file")
        place.unlink()
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "w.bin").write_bytes(b"\0" * self.size)
        (tmp_path / "folder" / "sub").symlink_to(tmp_path / "elsewhere")
        refused(self.external(tmp_path, {"location": "sub/w.bin"}), "is a link")


def test_the_runtime_errors_are_one_line():
    model = network()
    with pytest.raises(ModelError) as caught:
        onnx_file.run(model, np.ones((1, 2, 9, 6), np.float32))
    assert "\n" not in str(caught.value)


def test_newer_file_formats_are_brought_to_what_the_runtime_reads(tmp_path):
    model = network()
    model.ir_version = onnx.IR_VERSION
    assert onnx_file.read(saved(tmp_path, model)).ir_version == onnx_file.RUNTIME_IR
