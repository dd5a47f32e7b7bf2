"""Trains a pool of candidates in every way once, so that accelerations can be compared by replay; writes a .jsonl.

``flow bench acceleration_pool OUT.jsonl [--candidates N] [--data D] [--seed S] [--board B]`` takes minutes to hours;
started again it goes on where it was.  One line a network:

    few, short, full    accuracy and seconds of each rung from scratch; full with its validation curve
    few_inherited       the few steps begun with the weights of the most alike network before it
    full_inherited      a third of the full recipe's epochs, begun with the network's own short weights
    proxies             zero-cost scores and seconds
    points              estimated latency and utilisation at several shares of the board

Seconds are those of one core's own time.  The rungs keep the proportions of a search on a larger data set in small:
the full recipe reads 24,000 images, the short one 3,000, the few steps 320.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from flow import space, tasks
from flow.config import Config
from flow.space import summary
from flow.space.network import NetSpec, from_json
from flow.train import data, device, inherit, proxies, supernet, trainer

BUDGETS = (0.05, 0.2, 0.8)
BATCH = 32  # images of a proxy
PARENTS = 8  # networks that are trained before the first one inherits
SUPERNET_STEPS = 600
MOST_MACS = 2_000_000  # larger networks are left out, so that a hundred are trained in an hour
FULL = trainer.Recipe(9, 3, subset=2000, batch=64)
RECIPES = {
    "few": replace(FULL, epochs_float=1, epochs_qat=0, subset=320, batch=32),
    "short": replace(FULL, epochs_float=2, epochs_qat=1, subset=1000, batch=32),
    "full": FULL,
}


def candidates(count: int, seed: int, images: data.Dataset) -> list[NetSpec]:
    """The first ``count`` different networks that random sampling of the default space gives."""
    found: dict[str, NetSpec] = {}
    known = space.load("default")
    rng = np.random.default_rng(seed)
    while len(found) < count:
        spec = known.network(known.sample(rng), images.input_shape, len(images.classes))
        if spec.macs <= MOST_MACS:
            found.setdefault(spec.digest, spec)
    return list(found.values())


class Pool:
    def __init__(self, out: Path, config: Config) -> None:
        self.images = tasks.dataset(config.data, config.data_dir)
        self.config, self.out = config, out
        self.native = device.bfloat16("auto", "cpu")
        self.known: list[tuple[NetSpec, Any]] = []

    def fit(self, spec: NetSpec, how: trainer.Recipe, start: Any = None) -> tuple[dict[str, Any], Any]:
        began = time.process_time()  # the machine may be shared
        result = trainer.train(spec, self.images, how, self.config.seed, start=start)
        row: dict[str, Any] = {"seconds": round(time.process_time() - began, 3)}
        if not isinstance(result, trainer.Trained):
            return row | {"accuracy": 1 / len(self.images.classes), "curve": []}, None
        row |= {"accuracy": round(result.val_accuracy, 5), "curve": [round(e.val_accuracy, 4) for e in result.history]}
        return row, result

    def row(self, spec: NetSpec) -> dict[str, Any]:
        recipes = {n: replace(how, bfloat16=self.native) for n, how in RECIPES.items()}
        row: dict[str, Any] = {"spec": spec.json(), "points": self.points(spec)}
        began = time.process_time()
        row["proxies"] = proxies.scores(spec, self.images.train_x[:BATCH], self.images.train_y[:BATCH])
        row["proxy_seconds"] = round(time.process_time() - began, 3)
        trained = None
        for name, how in recipes.items():
            row[name], result = self.fit(spec, how)
            trained = result if name == "short" else trained
        if len(self.known) >= PARENTS:
            parent, weights = self.nearest(spec)
            row["few_inherited"], _ = self.fit(spec, recipes["few"], inherit.start(spec, parent, weights, 0))
        if trained is not None:
            own = inherit.start(spec, spec, trained.weights, 0)
            row["full_inherited"], _ = self.fit(spec, trainer.scaled(recipes["full"], 1 / 3), own)
            self.known.append((spec, trained.weights))
        return row

    def points(self, spec: NetSpec) -> list[dict[str, float]]:
        found = []
        for budget in BUDGETS:
            r = tasks.estimate_candidate(spec.json(), 200.0, budget, self.config.dict())
            if r["feasible"]:
                o = r["objectives"]
                found.append({"latency_ms": o["latency_ms"], "utilisation": o["utilisation"], "seconds": r["seconds"]})
        return found

    def nearest(self, spec: NetSpec) -> tuple[NetSpec, Any]:
        rows = summary.features([s for s, _ in self.known] + [spec])
        scaled = (rows - rows.mean(0)) / np.maximum(rows.std(0), 1e-9)
        return self.known[int(np.argmin(((scaled[:-1] - scaled[-1]) ** 2).sum(1)))]

    def supernet(self, specs: list[NetSpec]) -> dict[str, Any]:
        began = time.process_time()
        shared = supernet.Supernet(specs, self.config.seed)
        shared.train(specs, self.images, SUPERNET_STEPS)
        middle = time.process_time()
        found = [shared.score(s, self.images) for s in specs]
        each = (time.process_time() - middle) / len(specs)
        return {"supernet": found, "train_seconds": round(middle - began, 2), "score_seconds": round(each, 4)}


def tables(arguments: list[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    p = argparse.ArgumentParser(prog="flow bench acceleration_pool")
    p.add_argument("out", type=Path)
    p.add_argument("--candidates", type=int, default=100)
    p.add_argument("--data", default="digits")
    p.add_argument("--data-dir", default="")
    p.add_argument("--board", default="zcu102")
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args(arguments)
    pool = Pool(a.out, Config(board=a.board, data=a.data, data_dir=a.data_dir, seed=a.seed))
    specs = candidates(a.candidates, a.seed, pool.images)
    done = [json.loads(line) for line in a.out.read_text().splitlines()] if a.out.is_file() else []
    have = {from_json(r["spec"]).digest for r in done if "spec" in r}
    with a.out.open("a") as f:
        for spec in specs:
            if spec.digest not in have:
                f.write(json.dumps(pool.row(spec)) + "\n")
                f.flush()
        if not any("supernet" in r for r in done):
            f.write(json.dumps(pool.supernet(specs)) + "\n")
    yield "Pool", [{"networks": len(specs), "file": str(a.out)}]
