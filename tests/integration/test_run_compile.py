"""A user's own network, trained and exported with torch, through the command line: compiled, simulated, synthesised."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from flow import cli
from flow.ir import onnx_file
from tests.mock_tools import fixture


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that tells apart where a bright patch lies, with batch normalisation and a residual; its data."""
    folder = tmp_path_factory.mktemp("float")
    torch.manual_seed(0)
    torch.set_num_threads(1)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(1, 6, 3, 1, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU())
            self.body = nn.Sequential(nn.Conv2d(6, 6, 3, 1, 1, groups=6, bias=False), nn.BatchNorm2d(6))
            self.head = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(6, 8, 1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4))

        def forward(self, x: torch.Tensor) -> Any:
            x = self.stem(x)
            return self.head(torch.relu(x + self.body(x)))

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 600)
    images = rng.normal(0, 0.4, (600, 1, 8, 8)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        row, column = 4 * (label // 2), 4 * (label % 2)
        image[0, row : row + 3, column : column + 3] += 0.8
    net = Net()
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    for _ in range(5):
        for k in range(0, 400, 40):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[k : k + 40]), y[k : k + 40]).backward()
            optimiser.step()
    net.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (x[:1],), str(folder / "m.onnx"), dynamo=False, input_names=["x"])
    np.save(folder / "calibration.npy", images[:100])
    np.save(folder / "test.npy", images[400:])
    np.save(folder / "labels.npy", labels[400:])
    return folder


def flow(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.main([str(a) for a in arguments])
    return code, *capsys.readouterr()


@pytest.mark.parametrize(("place", "bits"), [("zcu102", "8"), ("pynq-z2", "6|8")])
def test_float_model_to_bit_exact_project(
    place: str, bits: str, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("COEXPLORE_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "p"
    options = ["--board", place, "--calibration", exported / "calibration.npy", "--bits", bits]
    code, text, err = flow(capsys, "compile", exported / "m.onnx", *options, "--out", out)
    assert code == 0 and err == "" and f"flow csim {out}" in text
    text = "".join(p.read_text() for p in (out / "hls").iterdir() if p.suffix in (".h", ".cpp"))
    assert all(f'#include "{p.name}"' in text for p in (out / "hls").glob("*.h")), "a header that nothing includes"
    code, text, _ = flow(capsys, "csim", out, "--inputs", exported / "test.npy", "--json")
    result = json.loads(text)
    assert code == 0 and result["bit_exact"] and result["images"] == 200 and result["outputs"] == 4
    images, labels = np.load(exported / "test.npy"), np.load(exported / "labels.npy")
    accuracy = [
        float((onnx_file.run(onnx_file.read(p), images)[0].reshape(200, -1).argmax(1) == labels).mean())
        for p in (exported / "m.onnx", out / "model.onnx")
    ]
    assert accuracy[0] > 0.9 and accuracy[1] > accuracy[0] - 0.03
    code, text, _ = flow(capsys, "estimate", exported / "m.onnx", *options, "--json")
    written = json.loads((out / "report" / "estimate_network_performance.json").read_text())
    again = json.loads(text)
    for found in (written, again):
        found["bound"].pop("seconds")
    assert code == 0 and again == written


def test_without_calibration_it_warns(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, err = flow(capsys, "estimate", exported / "m.onnx", "--board", "zcu102", "--json")
    assert code == 0 and json.loads(text)["fits"] and "no --calibration is given" in err and len(err.splitlines()) == 1


def test_synth_with_a_tool(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each vendor tool takes the project; its report comes back as JSON; a failing tool is one line, quoted."""
    out = tmp_path / "p"
    options = ["--board", "zcu102", "--calibration", exported / "calibration.npy", "--out", out]
    assert flow(capsys, "compile", exported / "m.onnx", *options)[0] == 0
    for name in ("vitis_hls", "vivado_hls", "vitis-run"):
        fixture.mock_path(monkeypatch, [name])
        code, text, _ = flow(capsys, "synth", out, "--toolchain", name, "--json")
        top = json.loads(text)[0]
        assert code == 0 and top["kind"] == "csynth" and top["top"] == "accel" and top["resources"]["lut"] > 0
        performance = json.loads((out / "report" / "estimate_network_performance.json").read_text())
        assert top["latency_max"] == performance["latency_cycles"]
    fixture.mock_path(monkeypatch, ["vitis_hls"])
    monkeypatch.setenv("COEXPLORE_MOCK_FAIL", "licence")
    (out / "synth" / "done.json").unlink()
    code, text, err = flow(capsys, "synth", out)
    assert code == 1 and text == "" and len(err.splitlines()) == 1 and "A valid license was not found" in err
