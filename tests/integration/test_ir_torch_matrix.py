"""Small models exported from torch by both exporters: each is exact end to end, or refused in one line."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import operators
from flow import blocks, board
from flow.ir import emit, onnx_file, qdq, quantise

torch = pytest.importorskip("torch")

from tests import torch_matrix  # noqa: E402


def exported(make: Callable, dynamo: bool, path: Path) -> onnx_file.ModelProto:
    torch.manual_seed(0)
    network = make()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 2)
    network.eval()
    quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with warnings.catch_warnings(), quiet[0], quiet[1]:
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.randn(1, *torch_matrix.SHAPE),), str(path), dynamo=dynamo, verbose=False)
    return onnx_file.read(path)


def check(name: str, dynamo: bool, folder: Path) -> None:
    model = exported(torch_matrix.MODELS[name], dynamo, folder / "m.onnx")
    assert operators.judge(model, 24) == "exact"
    images = np.random.default_rng(0).normal(size=(24, *torch_matrix.SHAPE)).astype(np.float32)
    result = quantise.quantise(model, images)
    graph = qdq.load(result)
    assert qdq.notes(result) == ()
    assert qdq.load(emit.model(graph)).digest == graph.digest
    for node in graph.nodes:
        assert len(blocks.options(graph, node, board.load("zcu102")))


@pytest.mark.parametrize("name", torch_matrix.MODELS)
def test_torchscript_exports(name: str, tmp_path: Path) -> None:
    check(name, False, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", torch_matrix.MODELS)
def test_dynamo_exports(name: str, tmp_path: Path) -> None:
    check(name, True, tmp_path)


@pytest.mark.parametrize("name", torch_matrix.REFUSED)
def test_the_rest_is_refused_by_name(name: str, tmp_path: Path) -> None:
    make, words = torch_matrix.REFUSED[name]
    model = exported(make, False, tmp_path / "m.onnx")
    with pytest.raises(onnx_file.ModelError, match=words) as caught:
        quantise.quantise(model, np.zeros((2, *torch_matrix.SHAPE), np.float32))
    assert "\n" not in str(caught.value) and "node '" in str(caught.value)
