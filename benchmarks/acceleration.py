"""What each acceleration of the search saves, on networks that were really trained: a replay with many seeds.

``flow bench acceleration [--pool FILE.jsonl[,FILE.jsonl...] ...] [--seeds N]``; files joined by commas are one pool

A pool is a set of networks with their trained accuracies, learning curves, scores and what each took; an arm decides
with the product's own code (``flow.expect``, ``flow.search.curves``, hypervolume gains) which network is trained next
and how far, and is charged what that training took. Nothing is trained here, so seeds are cheap: each takes four
fifths of the pool and another order. Pools: ``acceleration_pool`` records one (digits, this project's trainer);
../shared/data/nas holds 725 networks of NAS-Bench-201 with published trainings (12 and 200 epochs on CIFAR-10),
published scores, and tabulated latencies.

The cost of an arm is what it spends until the networks that it has trained fully reach 95 % and 99 % of the
hypervolume of all of the pool trained fully, which is also what it is divided into: "saving".
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flow import expect, space
from flow.search import curves, pareto
from flow.space.network import NetSpec, from_json
from flow.train import ranking

NAS = Path(os.environ.get("COEXPLORE_DATA", Path(__file__).parents[2] / "shared" / "data")) / "nas"
FIRST = 4  # networks trained fully before anything is predicted
LOOKS = 3  # cheap trainings for each full one
PROXY_EPOCHS = 0.02  # of NAS-Bench-201's: a few passes over one batch of 781
TARGETS = (0.95, 0.99)
KEPT = 0.8  # of the pool, a seed


@dataclass(frozen=True, eq=False)
class Entry:
    """A network of the pool. ``points``: (log10 latency, second cost); ``cheap``: rung -> (accuracy, seconds)."""

    spec: NetSpec
    points: np.ndarray
    full: tuple[float, float]
    curve: tuple[float, ...]
    cheap: dict[str, tuple[float, float]]
    scores: dict[str, float]
    score_seconds: float


@dataclass(frozen=True)
class Pool:
    name: str
    entries: list[Entry]
    reference: tuple[float, float, float]
    upfront: dict[str, float] = field(default_factory=dict)  # rung -> seconds before its first look


@dataclass(frozen=True)
class Arm:
    """Which accelerations are on. ``look``: the cheap rung; ``shorter``: full training begun with short weights."""

    name: str
    predict: bool = True
    scores: bool = False
    look: str = ""
    bounds: bool = False
    curves: bool = False
    shorter: bool = False


class Replay:
    """One arm on one seed's part of a pool."""

    def __init__(self, pool: Pool, arm: Arm, seed: int) -> None:
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(pool.entries))[: round(KEPT * len(pool.entries))]
        self.entries = [pool.entries[i] for i in order]
        self.pool, self.arm = pool, arm
        self.cost = pool.upfront.get(arm.look, 0.0)
        self.known = expect.Known(specs={e.spec.digest: e.spec for e in self.entries})
        if arm.scores:
            self.known.scores = {e.spec.digest: e.scores for e in self.entries}
            self.cost += sum(e.score_seconds for e in self.entries)
        self.left = set(range(len(self.entries)))
        self.ended: list[curves.Ended] = []
        self.front = np.empty((0, 3))
        whole = np.vstack([self.points(e, e.full[0]) for e in self.entries])
        self.most = pareto.hypervolume(whole, pool.reference)
        self.every = sum(e.full[1] for e in self.entries)
        self.trail: list[tuple[float, float]] = []
        self.trained = self.given_up = 0

    def points(self, e: Entry, accuracy: float) -> np.ndarray:
        return np.column_stack([np.full(len(e.points), -accuracy), e.points])

    def run(self) -> None:
        for _ in range(FIRST):
            self.train(min(self.left))
        # With bounds it ends by itself; without, nothing is learnt by going on once the last target is reached.
        while self.left and (self.arm.bounds or not self.trail or self.trail[-1][1] < TARGETS[-1]):
            if self.arm.look:
                for i in self.best(LOOKS, self.left - self.seen()):
                    accuracy, seconds = self.entries[i].cheap[self.arm.look]
                    self.known.few[self.entries[i].spec.digest] = accuracy
                    self.cost += seconds
            chosen = self.best(1, self.left)
            if not chosen:
                break
            self.train(chosen[0])

    def seen(self) -> set[int]:
        return {i for i in self.left if self.entries[i].spec.digest in self.known.few}

    def best(self, count: int, among: set[int]) -> list[int]:
        """The most promising ones, as the ladder ranks them; those that promise nothing only without bounds."""
        order = sorted(among)
        if not order or not self.arm.predict:
            return order[:count]
        mean, deviation = expect.accuracies(self.known, [self.entries[i].spec for i in order])
        hopeful = np.minimum(mean + deviation, 1.0)
        each = [self.points(self.entries[i], a) for i, a in zip(order, hopeful, strict=True)]
        all_gains = pareto.gains(np.vstack(each), self.front, self.pool.reference)
        ends = np.cumsum([len(p) for p in each])[:-1]
        gains = [g.max(initial=0.0) for g in np.split(all_gains, ends)]
        worth = np.array(gains) / np.sqrt([self.entries[i].spec.macs for i in order])
        ranked = np.lexsort((-mean, -worth))[:count]
        return [order[k] for k in ranked if worth[k] > 0 or not self.arm.bounds]

    def train(self, i: int) -> None:
        """Fully, or until its curve says that it will not get to the front."""
        e = self.entries[i]
        self.left.discard(i)
        accuracy, seconds = e.cheap["full_inherited"] if self.arm.shorter else e.full
        if self.arm.shorter and self.arm.look != "short":
            seconds += e.cheap["short"][1]  # the weights that it begins with
        if self.arm.curves and not self.arm.shorter and (stopped := self.hopeless_after(e)):
            self.given_up += 1
            self.cost += seconds * stopped / len(e.curve)
            self.known.short[e.spec.digest] = e.curve[stopped - 1]
            return
        self.trained += 1
        self.cost += seconds
        self.known.short[e.spec.digest] = accuracy
        self.ended.append(curves.Ended(e.curve, accuracy))
        self.front = np.vstack([self.front, self.points(e, accuracy)])
        self.front = self.front[pareto.nondominated(self.front)]
        self.trail.append((self.cost, pareto.hypervolume(self.front, self.pool.reference) / self.most))

    def hopeless_after(self, e: Entry) -> int:
        """Epochs after which its training is given up; 0 for never."""
        needed = min(self.needed(p) for p in e.points)
        for k in range(1, len(e.curve)):
            if curves.hopeless(e.curve[:k], self.ended, needed):
                return k
        return 0

    def needed(self, point: np.ndarray) -> float:
        better = self.front[(self.front[:, 1:] <= point).all(axis=1)]
        return float(-better[:, 0].min()) if len(better) else 0.0

    def saving(self, target: float) -> float:
        """How many times dearer training every network is than reaching ``target``; 0 where it is not reached."""
        return next((self.every / cost for cost, share in self.trail if share >= target - 1e-12), 0.0)


def recorded(names: str) -> Pool:
    """A pool that ``acceleration_pool`` has written, or several, joined by commas, as one."""
    parts = [part(Path(name)) for name in names.split(",")]
    entries = [e for found, _ in parts for e in found]
    upfront = sum(seconds for _, seconds in parts)
    title = ", ".join(Path(name).stem for name in names.split(","))
    return Pool(
        f"{title}, {len(entries)} networks", entries, (-0.1, 2.0, 1.0), {"supernet": upfront} if upfront else {}
    )


def part(path: Path) -> tuple[list[Entry], float]:
    """The networks of one file, and the seconds that its supernet took to train."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    last = next((r for r in rows if "supernet" in r), None)
    entries = []
    nets = [r for r in rows if "spec" in r]
    for k, r in enumerate(nets):
        cheap = {n: (r[n]["accuracy"], r[n]["seconds"]) for n in ("few", "short", "full_inherited") if n in r}
        cheap["few_inherited"] = cheap["few"]
        if "few_inherited" in r:
            cheap["few_inherited"] = r["few_inherited"]["accuracy"], r["few_inherited"]["seconds"]
        if last:
            cheap["supernet"] = last["supernet"][k], last["score_seconds"]
        if r["points"] and "full_inherited" in cheap:
            points = np.array([(math.log10(p["latency_ms"]), p["utilisation"]) for p in r["points"]])
            full = r["full"]["accuracy"], r["full"]["seconds"]
            own = from_json(r["spec"]), points, full, tuple(r["full"]["curve"]), cheap
            entries.append(Entry(*own, r["proxies"], r["proxy_seconds"]))
    return entries, last["train_seconds"] if last else 0.0


def published() -> Pool:
    """NAS-Bench-201 on CIFAR-10: accuracy, latency (HW-NAS-Bench's FPGA column) and parameters; costs in epochs."""
    table, scored = (np.load(NAS / n, allow_pickle=False) for n in ("nb201_acc_hw.npz", "nb201_zc_subset.npz"))
    known, entries, seen = space.load("nas-bench-201"), [], set()
    short, full = table["test_acc_12ep_cifar10"] / 100, table["test_acc_200ep_mean_cifar10"] / 100
    for k, i in enumerate(scored["cifar10_idx"]):
        genotype = known.of_cell(str(table["arch_str"][i]))
        spec = known.network(genotype, (3, 32, 32), 10)
        if known.disconnected(genotype) or spec.digest in seen or not np.isfinite(short[i] + full[i]):
            continue
        seen.add(spec.digest)
        scores = {n: float(scored[f"cifar10_{n}"][k]) for n in ranking.INFORMATIVE if f"cifar10_{n}" in scored.files}
        scores["zen"] = scores["nwot"]  # not published: counted once more
        cost = np.array([[math.log10(table["latency_ms_fpga"][i]), math.log10(spec.params)]])
        cheap = {"short": (float(short[i]), 12.0)}
        curve = (float(short[i]), float(full[i]))
        entries.append(Entry(spec, cost, (float(full[i]), 200.0), curve, cheap, scores, PROXY_EPOCHS))
    reference = (-0.1, max(float(e.points[0, 0]) for e in entries) + 0.1, 6.3)
    return Pool(f"NAS-Bench-201, {len(entries)} networks, published trainings", entries, reference)


def arms(pool: Pool) -> list[Arm]:
    rungs = set.intersection(*(set(e.cheap) for e in pool.entries))
    on = {"scores": True, "bounds": True}
    found = [
        Arm("every network, in random order", predict=False),
        Arm("predictor"),
        Arm("predictor, scores", scores=True),
        Arm("predictor, bounds", bounds=True),
        *(Arm(f"predictor, {rung} first", look=rung) for rung in sorted(rungs - {"full_inherited"})),
    ]
    if any(len(e.curve) > 2 for e in pool.entries):
        found.append(Arm("predictor, curves", curves=True))
    if "full_inherited" in rungs:
        found.append(Arm("predictor, inherited weights", shorter=True))
        found.append(Arm("all, few inherited first, curves", look="few_inherited", curves=True, **on))
        found.append(Arm("all, few inherited first, inherited weights", look="few_inherited", shorter=True, **on))
    return [*found, Arm("scores, bounds, short first", look="short", **on)]


def effects(pool: Pool, seeds: int) -> Iterator[dict[str, Any]]:
    for arm in arms(pool):
        runs = [Replay(pool, arm, seed) for seed in range(seeds)]
        for r in runs:
            r.run()
        row: dict[str, Any] = {"arm": arm.name}
        for target in TARGETS:
            found = [r.saving(target) for r in runs if r.saving(target)]
            low, middle, high = np.quantile(found, (0.25, 0.5, 0.75)) if found else (0.0, 0.0, 0.0)
            missed = f", {seeds - len(found)} missed" if len(found) < seeds else ""
            row[f"saving at {target:.0%}"] = f"{middle:.1f}x ({low:.1f} to {high:.1f}{missed})"
        row["trained fully"] = round(float(np.mean([r.trained for r in runs])), 1)
        row["given up"] = round(float(np.mean([r.given_up for r in runs])), 1)
        row["front at the end"] = f"{np.mean([r.trail[-1][1] for r in runs]):.1%}"
        row["saving at the end"] = f"{np.mean([r.every / r.cost for r in runs]):.1f}x"
        yield row


def rankings(pool: Pool) -> Iterator[dict[str, Any]]:
    """Spearman's rank correlation with the fully trained accuracy."""
    truth = [e.full[0] for e in pool.entries]

    def row(name: str, values: list[float], seconds: float) -> dict[str, Any]:
        rho = ranking.correlation(values, truth)
        mean_full = float(np.mean([e.full[1] for e in pool.entries]))
        return {"ranking": name, "rank correlation": None if rho is None else round(rho, 3),
                "cost, full trainings": f"{seconds / mean_full:.5f}"}  # fmt: skip

    score_s = float(np.mean([e.score_seconds for e in pool.entries]))
    for name in ranking.INFORMATIVE:
        yield row(name, [e.scores[name] for e in pool.entries], score_s)
    yield row("ensemble", ranking.ensemble([e.scores for e in pool.entries], ranking.INFORMATIVE).tolist(), score_s)
    yield row("params (baseline)", [float(e.spec.params) for e in pool.entries], 0.0)
    yield row("flops (baseline)", [float(e.spec.macs) for e in pool.entries], 0.0)
    for name in sorted(set.intersection(*(set(e.cheap) for e in pool.entries))):
        cost = float(np.mean([e.cheap[name][1] for e in pool.entries])) + pool.upfront.get(name, 0) / len(pool.entries)
        yield row(name, [e.cheap[name][0] for e in pool.entries], cost)


def tables(arguments: list[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    p = argparse.ArgumentParser(prog="flow bench acceleration")
    p.add_argument("--pool", nargs="*", default=[])
    p.add_argument("--seeds", type=int, default=10)
    a = p.parse_args(arguments)
    pools = [recorded(names) for names in a.pool]
    if (NAS / "nb201_zc_subset.npz").is_file():
        pools.append(published())
    for pool in pools:
        yield f"How well each ranking foresees full training: {pool.name}", list(rankings(pool))
        yield (
            f"What each acceleration saves: {pool.name}, {a.seeds} seeds, median (quartiles)",
            list(effects(pool, a.seeds)),
        )
