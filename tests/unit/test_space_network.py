"""Network descriptions: shapes, counts, JSON, refusals, and the untrained integer graph."""

from dataclasses import replace

import numpy as np
import pytest

from flow.ir.ops import Add, Conv, Dense, Pool
from flow.space.network import INPUT, Layer, NetSpec, SpecError, from_json, random_graph, same


def small() -> NetSpec:
    return NetSpec(
        (1, 28, 28),
        10,
        (
            Layer("conv", (INPUT,), 8, 5, 2, same(5), relu=True),
            Layer("conv", (0,), 8, 3, 1, same(3), groups=8, relu=True, weight_bits=4, activation_bits=6),
            Layer("conv", (1,), 8, 1, weight_bits=4, activation_bits=4),
            Layer("add", (0, 2), relu=True, activation_bits=4),
            Layer("maxpool", (3,), kernel=3, stride=2, padding=(1, 1, 1, 1)),
            Layer("gap", (4,)),
            Layer("dense", (5,), 10),
        ),
    )


def test_shapes_follow_the_window_formula() -> None:
    assert small().shapes() == ((8, 14, 14), (8, 14, 14), (8, 14, 14), (8, 14, 14), (8, 7, 7), (8, 1, 1), (10, 1, 1))


def test_counts_by_hand() -> None:
    spec = small()
    assert spec.params == (8 * 25 + 8) + (8 * 9 + 8) + (64 + 8) + (80 + 10)
    assert spec.macs == 8 * 25 * 196 + 8 * 9 * 196 + 64 * 196 + 80
    assert spec.weight_bits == 8 * 200 + 4 * 72 + 4 * 64 + 8 * 80


def test_formats_are_unsigned_after_relu_and_kept_by_max_pools() -> None:
    unsigned = [(8, False), (6, False), (4, True), (4, False), (4, False), (8, False), (8, True)]
    assert list(small().formats()) == unsigned


def test_even_windows_keep_the_size() -> None:
    layers = (Layer("conv", (INPUT,), 4, 14, 1, same(14)), Layer("gap", (0,)), Layer("dense", (1,), 2))
    assert NetSpec((1, 20, 20), 2, layers).shapes()[0] == (4, 20, 20)


def test_json_reads_back_equal_and_the_digest_tells_networks_apart() -> None:
    spec = small()
    assert from_json(spec.json()) == spec and from_json(spec.json()).digest == spec.digest
    other = NetSpec(spec.input_shape, 10, (*spec.layers[:-1], replace(spec.layers[-1], weight_bits=6)))
    assert other.digest != spec.digest


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Layer("flatten", (0,)), "unknown kind"),
        (Layer("conv", (3,), 8), "not an earlier one"),
        (Layer("conv", (0,), 8, 31), "does not fit into 14x14"),
        (Layer("conv", (0,), 8, groups=3), "3 groups do not divide"),
        (Layer("conv", (0,), 8, weight_bits=1), "2 to 8 are served"),
        (Layer("conv", (0,)), "needs out_channels"),
        (Layer("add", (0,)), "1 inputs"),
        (Layer("add", (0, INPUT)), "must be equal"),
        (Layer("gap", (0,), relu=True), "no ReLU"),
        (Layer("maxpool", (0,), kernel=2, padding=(2, 2, 2, 2)), "as wide as the window"),
    ],
)
def test_a_layer_that_means_nothing_is_named(layer: Layer, message: str) -> None:
    first = Layer("conv", (INPUT,), 8, 5, 2, same(5), relu=True)
    with pytest.raises(SpecError, match=message) as e:
        NetSpec((1, 28, 28), 10, (first, layer, Layer("dense", (1,), 10)))
    assert "layer 1" in str(e.value) and "\n" not in str(e.value)


def test_a_layer_that_nothing_reads_and_a_wrong_end_are_refused() -> None:
    conv = Layer("conv", (INPUT,), 8)
    with pytest.raises(SpecError, match=r"layer 0 .* read by no layer"):
        NetSpec((1, 8, 8), 10, (conv, Layer("dense", (INPUT,), 10)))
    with pytest.raises(SpecError, match="10 classes need"):
        NetSpec((1, 8, 8), 10, (conv, Layer("dense", (0,), 9)))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"input":[1,8],"classes":2,"layers":[]}', '{"input":[1,8,8],"classes":2,"layers":[[1]]}']
)
def test_text_that_is_no_network_is_one_line(text: str) -> None:
    with pytest.raises(ValueError) as e:
        from_json(text)
    assert "\n" not in str(e.value)


def test_random_graph_has_the_spec_s_layers_and_ids() -> None:
    spec = small()
    graph = random_graph(spec, seed=3)
    assert [n.id for n in graph.nodes] == [f"L{i}" for i in range(7)]
    assert [type(n.op) for n in graph.nodes] == [Conv, Conv, Conv, Add, Pool, Pool, Dense]
    assert tuple(graph.tensors[n.id].shape for n in graph.nodes) == spec.shapes()
    assert sum(graph.macs(n) for n in graph.nodes) == spec.macs
    depthwise = graph.node("L1").op
    assert isinstance(depthwise, Conv) and depthwise.depthwise and np.abs(depthwise.weight).max() == 7
    assert len(depthwise.requant.shift) == 8 and len(graph.node("L0").op.requant.shift) == 1  # per channel, per layer
    assert graph.digest == random_graph(spec, seed=3).digest != random_graph(spec, seed=4).digest


def test_random_graph_s_activations_neither_vanish_nor_saturate() -> None:
    graph = random_graph(small())
    x = np.random.default_rng(0).integers(0, 256, (4, 1, 28, 28))
    for node, values in graph.evaluate(x, every=True).items():
        quant = graph.tensors[node].quant
        assert values.std() > 0, node
        assert np.mean((values == quant.hi) | (quant.signed & (values == quant.lo))) < 0.5, node
