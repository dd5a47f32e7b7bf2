"""A training step with several seeds keeps the best, and says how all of them did."""

from __future__ import annotations

from pathlib import Path

import pytest

from flow import tasks
from flow.config import Config
from flow.space.network import INPUT, Layer, NetSpec, same
from flow.train import export

SPEC = NetSpec((1, 28, 28), 10, (Layer("conv", (INPUT,), 4, 3, 4, same(3), relu=True), Layer("dense", (0,), 10)))


def test_the_best_of_several_seeds_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COEXPLORE_CACHE", str(tmp_path / "cache"))
    settings = Config(device="cpu", seed=5).dict()

    def train(seeds: int) -> dict[str, object]:
        how = {"recipe": "few", "share": 1.0, "seeds": seeds}
        return tasks.train_candidate(SPEC.json(), settings, how, str(tmp_path / f"{seeds}.npz"))

    one, three = train(1), train(3)
    assert "seeds" not in one
    each = three["seeds"]
    assert isinstance(each, dict) and list(each) == ["5", "6", "7"] and len(set(each.values())) > 1
    assert each["5"] == one["val_accuracy"] and three["val_accuracy"] == max(each.values())
    kept = export.load(tmp_path / "3.npz")
    assert kept.val_accuracy == three["val_accuracy"] and each[str(kept.seed)] == three["val_accuracy"]
