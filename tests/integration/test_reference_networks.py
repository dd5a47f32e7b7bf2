"""Networks of the field from torch to C simulation: compiled, and every output equal to ONNX Runtime's."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
import pytest

from flow import board, mapping, project
from flow.ir import onnx_file, quantise
from flow.toolchain import gpp

torch = pytest.importorskip("torch")

from tests import torch_networks  # noqa: E402

QUICK = ("LeNet-5",)


def exported(name: str, path: Path) -> tuple[onnx_file.ModelProto, tuple[int, int, int]]:
    """The network as ONNX, batch normalisation with statistics of its own."""
    torch.manual_seed(0)
    make, shape = torch_networks.NETWORKS[name]
    network = make()
    network.train()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.weight, 0.7, 1.5)
            torch.nn.init.normal_(part.bias, 0, 0.3)
    with torch.no_grad():
        network(torch.randn(16, *shape)) if name != "ShuffleNet" else None
    network.eval()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.randn(1, *shape),), str(path), dynamo=False, verbose=False)
    return onnx_file.read(path), shape


def check(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = gpp.flags
    monkeypatch.setattr(gpp, "flags", lambda native: ["-O1" if o == "-O3" else o for o in options(native)])
    monkeypatch.setenv("COEXPLORE_CACHE", str(folder / "cache"))
    model, shape = exported(name, folder / "m.onnx")
    images = np.random.default_rng(0).normal(size=(12, *shape)).astype(np.float32)
    result = quantise.quantise(model, images)
    compiled = project.compile_model(result, board.load("u250"), mapping.Goal(objective="throughput"))
    assert isinstance(compiled, project.Compiled), str(compiled)
    project.write(compiled.files, folder / "p")
    loaded = project.load(folder / "p")
    x = loaded.graph.tensors["input"].quant.quantise(images[:3])
    found = project.csim(loaded, np.concatenate([x, project.random_images(loaded.graph, 1, 5)]))
    assert found.bit_exact and found.images == 4 and found.mismatches == 0


@pytest.mark.parametrize("name", QUICK)
def test_reference_networks_quick(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(name, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in torch_networks.NETWORKS if n not in QUICK])
def test_reference_networks(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(name, tmp_path, monkeypatch)
