"""Training on the digits that come with the set-up: it learns, repeats itself, and its export is what runs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flow.ir import emit, onnx_file, qdq
from flow.space.network import INPUT, Layer, NetSpec, same
from flow.train.data import Dataset, load
from flow.train.export import CheckpointError, accuracy, logits, save, to_graph
from flow.train.export import load as load_checkpoint
from flow.train.trainer import Diverged, Epoch, Recipe, Trained, predict, recipe, scaled, score, train

QUICK = Recipe(3, 1, subset=2000, batch=32, lr=0.02, augment=False)


def network(width: int = 8) -> NetSpec:
    layers = (
        Layer("conv", (INPUT,), width, 5, 2, same(5), relu=True),
        Layer("conv", (0,), width, 3, 1, same(3), groups=width, relu=True, weight_bits=6, activation_bits=6),
        Layer("conv", (1,), 2 * width, 1, relu=True, weight_bits=4, activation_bits=6),
        Layer("conv", (2,), 2 * width, 3, 1, same(3), weight_bits=4, activation_bits=6),
        Layer("add", (2, 3), relu=True, activation_bits=6),
        Layer("maxpool", (4,), kernel=2, stride=2),
        Layer("avgpool", (5,), kernel=3, stride=3),
        Layer("dense", (6,), 10),
    )
    return NetSpec((1, 28, 28), 10, layers)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COEXPLORE_CACHE", str(tmp_path_factory.mktemp("cache")))
        return load("digits")


@pytest.fixture(scope="module")
def trained(data: Dataset) -> Trained:
    result = train(network(), data, QUICK, seed=1)
    assert isinstance(result, Trained)
    return result


def test_it_learns(trained: Trained, data: Dataset) -> None:
    assert trained.val_accuracy > 0.8  # chance is 0.1
    assert [e.phase for e in trained.history] == ["float"] * 3 + ["qat"]
    assert trained.history[-1].loss < trained.history[0].loss
    assert trained.history[-1].val_accuracy == trained.val_accuracy == score(trained.net(), data.val_x, data.val_y)


def test_the_exported_integers_are_what_was_scored(trained: Trained, data: Dataset) -> None:
    graph = to_graph(trained)
    simulated = predict(trained.net(), data.val_x) / np.float32(2.0 ** trained.exponents[-1])
    assert np.array_equal(simulated, logits(graph, data.val_x))
    assert accuracy(graph, data.val_x, data.val_y) == trained.val_accuracy


def test_onnxruntime_computes_the_same_from_the_emitted_model(trained: Trained, data: Dataset) -> None:
    graph = to_graph(trained)
    model = onnx_file.checked(emit.model(graph))
    assert qdq.load(model).digest == graph.digest
    x = data.test_x[:500]
    (outputs,) = onnx_file.run(model, x.astype(np.float32) / np.float32(256))
    quant = graph.tensors[graph.output].quant
    steps = outputs.reshape(len(x), -1) / np.float32(quant.scale)
    assert np.array_equal(steps, logits(graph, x))
    assert np.mean(steps.argmax(1) == data.test_y[:500]) == accuracy(graph, x, data.test_y[:500])


def test_the_seed_decides_and_the_test_split_does_not(trained: Trained, data: Dataset) -> None:
    """The test split replaced by nothing at all, and another torch thread count outside."""
    blind = replace(data, test_x=data.test_x[:0], test_y=data.test_y[:0])
    again = train(network(), blind, QUICK, seed=1)
    assert isinstance(again, Trained)
    assert all(np.array_equal(again.weights[k], v) for k, v in trained.weights.items())
    assert again.exponents == trained.exponents and again.weight_exponents == trained.weight_exponents
    other = train(network(), blind, replace(QUICK, epochs_float=1), seed=2)
    assert isinstance(other, Trained) and not np.array_equal(other.weights["0.weight"], trained.weights["0.weight"])


def test_progress_hears_every_epoch(data: Dataset) -> None:
    heard: list[tuple[Epoch, int]] = []
    how = Recipe(1, 1, subset=256)
    result = train(network(4), data, how, 0, lambda epoch, total: heard.append((epoch, total)))
    assert tuple(e for e, _ in heard) == result.history and {n for _, n in heard} == {2}


def test_divergence_is_a_value(data: Dataset) -> None:
    result = train(network(4), data, Recipe(2, 1, subset=512, lr=1e30), 0)
    assert isinstance(result, Diverged) and result.phase == "float" and result.epoch <= 1


def test_data_that_does_not_fit_is_refused(data: Dataset) -> None:
    spec = NetSpec((3, 28, 28), 10, (Layer("gap", (INPUT,)), Layer("dense", (0,), 10)))
    with pytest.raises(ValueError, match=r"images \(1, 28, 28\) of 10 classes, the network takes \(3, 28, 28\)"):
        train(spec, data, QUICK, 0)


def test_recipes_by_name() -> None:
    small, large = recipe("full", 3000), recipe("full", 55000)
    assert small.epochs_float > large.epochs_float and recipe("short", 3000).subset <= 3000
    assert scaled(small, 0.01).epochs_float == scaled(small, 0.01).epochs_qat == 1
    with pytest.raises(ValueError, match="short"):
        recipe("long", 1)


def test_a_checkpoint_reads_back_and_damage_is_seen(trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    save(path, trained)
    back = load_checkpoint(path)
    assert to_graph(back).digest == to_graph(trained).digest
    assert (back.spec, back.recipe, back.history, back.seed) == (trained.spec, trained.recipe, trained.history, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]
    good = path.read_bytes()
    for position in (3, 60, len(good) // 2, len(good) - 1):
        bad = bytearray(good)
        bad[position] ^= 1
        path.write_bytes(bad)
        with pytest.raises(CheckpointError) as e:
            load_checkpoint(path)
        assert str(path) in str(e.value) and "\n" not in str(e.value)
    path.write_bytes(good[:-100])
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path / "none")


@pytest.mark.slow
def test_the_full_recipe_reaches_97_percent_in_8_bits(data: Dataset) -> None:
    result = train(network(16), data, recipe("full", len(data.train_x)), seed=0)
    assert isinstance(result, Trained)
    assert score(result.net(), data.test_x, data.test_y) >= 0.97
