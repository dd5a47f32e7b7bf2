"""``flow train``: one network trained by itself with a recipe that the command line states, ready to compile.

network or genotype -> NetSpec -> trainer.train -> checkpoint, model.onnx, training.json
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flow import project, space, tasks
from flow.files import write_atomic
from flow.ir import emit, onnx_file
from flow.space.network import NetSpec, SpecError, from_json

MODEL, CHECKPOINT, RECORD = "model.onnx", "checkpoint.npz", "training.json"


@dataclass(frozen=True)
class Order:
    """What is to be trained and how. ``overrides``: fields of ``trainer.Recipe`` in the place of ``recipe``'s."""

    data: str
    data_dir: str
    recipe: str
    overrides: dict[str, Any]
    seeds: tuple[int, ...]
    device: str
    precision: str
    test: bool


def network(path: Path, space_name: str, shape: tuple[int, int, int], classes: int) -> NetSpec:
    """A JSON file's network: a network description as journals hold them, or a genotype of the space.

    Raises SpecError, SpaceError or OSError.
    """
    text = path.read_text(encoding="utf-8")
    try:
        found = json.loads(text)
    except json.JSONDecodeError as e:
        raise SpecError(f"{path}: not JSON: {e}") from None
    if isinstance(found, dict) and set(found) == {"input", "classes", "layers"}:
        return from_json(text)
    return _of_genotype(space.load(space_name), found, shape, classes)


def _of_genotype(known: space.Space, found: object, shape: tuple[int, int, int], classes: int) -> NetSpec:
    return known.network(known.loads(found), shape, classes)


def train(path: Path, space_name: str, order: Order, out: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Train once per seed; the best on the validation split is written to ``out`` and returned as ``training.json``.

    Raises DataError, DeviceError, SpecError, SpaceError, or ValueError when no seed converges.
    """
    from flow.train import device, export, trainer

    place = device.pick(order.device)
    images = tasks.dataset(order.data, order.data_dir)
    spec = network(path, space_name, images.input_shape, len(images.classes))
    known = trainer.recipe(order.recipe, len(images.train_x), device.bfloat16(order.precision, place))
    how = replace(known, **order.overrides)
    say(f"{spec.params:,} parameters, {spec.macs:,} products, {len(images.train_x):,} images, on {place}: {how}")

    def one(seed: int) -> trainer.Trained | trainer.Diverged | trainer.Stopped:
        def progress(epoch: trainer.Epoch, epochs: int) -> None:
            say(_line(seed, epoch))

        return trainer.train(spec, images, how, seed, progress, device=place)

    runs = [one(seed) for seed in order.seeds]
    good = [r for r in runs if isinstance(r, trainer.Trained)]
    if not good:
        raise ValueError(f"the training diverged with every seed ({', '.join(map(str, order.seeds))}): lower --lr")
    best = max(good, key=lambda r: (r.val_accuracy, -r.seed))
    graph = export.to_graph(best)
    model = onnx_file.checked(emit.model(graph))
    record = _record(spec, order, place, runs, best)
    record["test_accuracy"] = _tested(model, graph, images) if order.test else None
    out.mkdir(parents=True, exist_ok=True)
    export.save(out / CHECKPOINT, best)
    write_atomic(out / MODEL, model.SerializeToString())
    write_atomic(out / RECORD, json.dumps(record, indent=1).encode() + b"\n")
    return record


def _record(spec: NetSpec, order: Order, device: str, runs: list[Any], best: Any) -> dict[str, Any]:
    """``training.json`` but for the test split's accuracy; a diverged run has no accuracy."""
    each = [{"seed": r.seed, "val_accuracy": getattr(r, "val_accuracy", None), "seconds": r.seconds} for r in runs]
    accuracies = [r["val_accuracy"] for r in each if r["val_accuracy"] is not None]
    return {
        "network": spec.digest,
        "parameters": spec.params,
        "macs": spec.macs,
        "data": order.data,
        "device": device,
        "recipe": asdict(best.recipe),
        "runs": each,
        "seed": best.seed,
        "val_accuracy": best.val_accuracy,
        "val_mean": float(np.mean(accuracies)),
        "val_deviation": float(np.std(accuracies)),
        "history": [asdict(e) for e in best.history],
    }


def _tested(model: Any, graph: Any, images: Any) -> float:
    """Accuracy that onnxruntime has on the test split."""
    outputs = project.runtime_outputs(model, graph, images.test_x.astype(np.int64))
    return float(np.mean(outputs.reshape(len(outputs), -1).argmax(1) == images.test_y))


def _line(seed: int, epoch: Any) -> str:
    return (
        f"seed {seed}, {epoch.phase} epoch {epoch.number + 1}: loss {epoch.loss:.4f}, validation "
        f"{epoch.val_accuracy:.4f}, {epoch.seconds:.1f} s"
    )
