"""``flow train``: the model that it writes is what it scored, and other seeds are told apart."""

import json
from pathlib import Path

import numpy as np
import pytest

from flow import project
from flow.cli import main
from flow.ir import onnx_file, qdq
from flow.train.data import load

STAGE = {"block": "plain", "kernel": 3, "channels": 8, "depth": 1, "expansion": 1, "down": "stride"}
GENOTYPE = {
    "network": {
        "stem_kernel": 3,
        "stem_channels": 8,
        "stem_stride": 2,
        "stages": [STAGE | {"weight_bits": 4, "activation_bits": 4}] * 2,
        "head": "gap",
    },
    "hardware": {"clock_mhz": 100.0, "budget": 0.5},
}


def test_the_best_seed_is_written_and_is_what_was_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.json").write_text(json.dumps(GENOTYPE))
    order = ["train", str(tmp_path / "net.json"), "--out", str(tmp_path / "out"), "--epochs", "2+1", "--seeds", "2"]
    assert main([*order, "--test", "--device", "cpu", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record == json.loads((tmp_path / "out" / "training.json").read_text())
    runs = {r["seed"]: r["val_accuracy"] for r in record["runs"]}
    assert len(runs) == 2 and record["val_accuracy"] == max(runs.values()) == runs[record["seed"]]
    model = onnx_file.read(tmp_path / "out" / "model.onnx")
    graph, data = qdq.load(model), load("digits")
    for x, y, said in ((data.val_x, data.val_y, "val_accuracy"), (data.test_x, data.test_y, "test_accuracy")):
        outputs = project.runtime_outputs(model, graph, x.astype(np.int64)).reshape(len(x), -1)
        assert np.mean(outputs.argmax(1) == y) == pytest.approx(record[said])


def test_without_a_rate_for_muon_adamw_trains_convolutions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.json").write_text(json.dumps(GENOTYPE))
    losses = []
    for rate in ("0.03", "0"):
        order = ["train", str(tmp_path / "net.json"), "--out", str(tmp_path / rate), "--epochs", "1+1"]
        assert main([*order, "--lr-muon", rate, "--device", "cpu", "--json"]) == 0
        record = json.loads(capsys.readouterr().out)
        assert record["recipe"]["lr_muon"] == float(rate)
        losses.append(record["history"][0]["loss"])
    assert losses[0] != losses[1]


def test_bad_orders_are_one_line_and_write_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.json").write_text("{]")
    (tmp_path / "other.json").write_text('{"network": {}}')
    for file, extra, said in (
        ("net.json", [], "not JSON"),
        ("other.json", [], "keys network, hardware"),
        ("other.json", ["--epochs", "3"], "for example 26+10"),
    ):
        assert main(["train", str(tmp_path / file), "--out", str(tmp_path / "out"), *extra]) == 1
        said_now = capsys.readouterr().err
        assert said in said_now and said_now.count("\n") == 1
    assert not (tmp_path / "out").exists()
