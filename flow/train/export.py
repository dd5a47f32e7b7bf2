"""From a trained network to exact integers, their accuracy, and checkpoints on disk."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flow.fixed import IntArray
from flow.ir.graph import Graph
from flow.space.lower import Integers, lower
from flow.space.network import INPUT, SpecError, from_json
from flow.train.formats import Images, Labels
from flow.train.model import INPUT_EXPONENT, weight_range
from flow.train.trainer import Epoch, Recipe, Trained

MAGIC = b"coexplore-checkpoint 1 "
MAX_CHECKPOINT_BYTES = 1 << 30


class CheckpointError(ValueError):
    """A checkpoint that cannot be read; one line."""


def to_graph(trained: Trained) -> Graph:
    """The integer network: what ``trained.net()`` simulates, bit for bit."""
    spec, integers = trained.spec, {}
    for i, layer in enumerate(spec.layers):
        if not layer.weighted:
            continue
        exponents = trained.weight_exponents[i]
        source = INPUT_EXPONENT if layer.inputs[0] == INPUT else trained.exponents[layer.inputs[0]]
        scale = np.exp2(np.array(exponents, np.float32))
        lo, hi = weight_range(layer.weight_bits)
        weight = np.clip(np.rint(trained.weights[f"{i}.weight"] / scale[:, None, None, None]), lo, hi)
        bias = np.rint(trained.weights[f"{i}.bias"] / (scale * np.float32(2.0**source)))
        shared = exponents if layer.per_channel else exponents[:1]
        integers[i] = Integers(weight.astype(np.int64), bias.astype(np.int64), shared)
    return lower(spec, integers, trained.exponents)


def logits(graph: Graph, x: Images, batch: int = 64) -> IntArray:
    """Integer outputs (N, classes) of uint8 images, by the reference interpreter."""
    parts = [graph.evaluate(x[k : k + batch].astype(np.int64))[graph.output] for k in range(0, len(x), batch)]
    return np.concatenate(parts).reshape(len(x), -1)


def accuracy(graph: Graph, x: Images, y: Labels, batch: int = 64) -> float:
    """Fraction of images whose first largest output is their label."""
    return float(np.mean(logits(graph, x, batch).argmax(1) == y))


def save(path: str | Path, trained: Trained) -> None:
    """Write a checkpoint, whole or not at all.  Raises OSError."""
    meta = {
        "spec": trained.spec.json(),
        "weight_exponents": trained.weight_exponents,
        "exponents": trained.exponents,
        "recipe": asdict(trained.recipe),
        "seed": trained.seed,
        "val_accuracy": trained.val_accuracy,
        "history": [asdict(e) for e in trained.history],
        "seconds": trained.seconds,
    }
    buffer = io.BytesIO()
    weights = {k: torch.from_numpy(np.array(v)) for k, v in trained.weights.items()}
    torch.save({"meta": json.dumps(meta), "weights": weights}, buffer)
    body, target = buffer.getvalue(), Path(path)
    handle, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        os.replace(name, target)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def load(path: str | Path) -> Trained:
    """Read what ``save`` wrote; the content is checked against its sha256.  Raises ``CheckpointError``."""
    try:
        raw = Path(path).read_bytes()
    except OSError as e:
        raise CheckpointError(f"{path}: cannot be read: {e.strerror}") from e
    header, _, body = raw.partition(b"\n")
    if not header.startswith(MAGIC) or len(raw) > MAX_CHECKPOINT_BYTES:
        raise CheckpointError(f"{path}: not a checkpoint of this program")
    if hashlib.sha256(body).hexdigest().encode() != header[len(MAGIC) :]:
        raise CheckpointError(f"{path}: damaged (its sha256 does not match); train this network again")
    # The checksum says it is what was written; weights_only keeps a forged file from running code.
    try:
        data = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
        return _trained(json.loads(data["meta"]), {k: v.numpy() for k, v in data["weights"].items()})
    except (KeyError, TypeError, AttributeError, RuntimeError, json.JSONDecodeError, SpecError) as e:
        raise CheckpointError(f"{path}: not a checkpoint of this version: {type(e).__name__}: {e}") from e


def _trained(meta: dict[str, Any], weights: dict[str, Any]) -> Trained:
    return Trained(
        from_json(meta["spec"]),
        weights,
        tuple(tuple(e) for e in meta["weight_exponents"]),
        tuple(meta["exponents"]),
        Recipe(**meta["recipe"]),
        meta["seed"],
        meta["val_accuracy"],
        tuple(Epoch(**e) for e in meta["history"]),
        meta["seconds"],
    )
