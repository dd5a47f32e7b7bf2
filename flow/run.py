"""The straight line of a search: ask, estimate, train what promises most, tell; then train fully, compile and prove.

    genotype -> space.network -> NetSpec -> tasks.estimate_candidate -> measures     (every candidate)
      -> tasks.train_candidate("short") -> accuracy                                  (promoted)
      -> archive -> strategy.tell
    best networks -> tasks.train_candidate("full") -> tasks.refine (true weights, all hardware points)
      -> front -> tasks.finish: compile, C simulation against onnxruntime            (every front point)
      -> vendor.synthesise when a tool is installed -> tell -> front.json, report.html

Every result is journalled before it is used, and every decision depends on the journal, the configuration and the seed
alone: resuming is replaying.
"""

from __future__ import annotations

import math
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from flow import __version__, search, space, tasks
from flow import board as boards
from flow.archive import Archive
from flow.config import OBJECTIVES, Config
from flow.front import write_front
from flow.search import pareto
from flow.search.predictor import Predictor, fit
from flow.space.network import NetSpec
from flow.workers import Done, Failed, Pool, Task

Say = Callable[[str], None]
GENERATION = 24
PROMOTED = 4  # networks trained shortly in each generation
FINALISTS = 12  # networks trained fully at most
EXPLORE, FULL = 0.3, 0.5  # shares of the time limit; the rest is for compiling and proving


class RunError(ValueError):
    """A run that cannot start or found nothing; one line."""


@dataclass
class Candidate:
    """A joint candidate: network, hardware and what is known of both."""

    number: int
    genotype: Any
    spec: NetSpec
    clock_mhz: float
    budget: float
    result: dict[str, Any]

    @property
    def feasible(self) -> bool:
        return bool(self.result["feasible"])


@dataclass
class State:
    """Everything the search knows, rebuilt from the journal on resume."""

    candidates: dict[int, Candidate] = field(default_factory=dict)
    short: dict[str, float] = field(default_factory=dict)  # network digest -> validation accuracy
    pace: dict[str, float] = field(default_factory=dict)  # network digest -> seconds per image and epoch
    full: dict[str, float] = field(default_factory=dict)
    specs: dict[str, NetSpec] = field(default_factory=dict)


class TextSpace:
    """A space with genotypes as text keys, as strategies compare them."""

    def __init__(self, inner: space.Space) -> None:
        self.inner = inner
        self.sample, self.mutate, self.crossover = inner.sample, inner.mutate, inner.crossover
        self.features = inner.features

    def dumps(self, genotype: Any) -> str:
        import json

        return json.dumps(self.inner.dumps(genotype), sort_keys=True, separators=(",", ":"))

    def loads(self, text: str) -> Any:
        import json

        return self.inner.loads(json.loads(text))


class Run:
    """One search in one folder."""

    def __init__(self, config: Config, archive: Archive, say: Say) -> None:
        self.config, self.archive, self.say = config, archive, say
        self.folder = archive.run_dir
        self.board = boards.load(config.board)
        self.settings = config.dict()
        clock = config.clock_mhz or self.board.clock_mhz
        options = space.Options(
            weight_bits=config.weight_bits,
            activation_bits=config.activation_bits,
            max_clock_mhz=clock,
            clocks_mhz=(clock,),
        )
        self.space = space.load(config.space, options)
        data = tasks.dataset(config.data, config.data_dir)
        self.shape, self.classes = data.input_shape, len(data.classes)
        self.images = len(data.train_x)
        self.text = TextSpace(self.space)
        self.strategy = search.load(config.strategy, self.text, config.seed, len(OBJECTIVES))
        self.state = State()
        self.started = time.monotonic()
        self.spent = sum(float(r.get("elapsed", 0)) for r in archive.of("session"))

    # ------------------------------------------------------------------ time and progress

    def elapsed(self) -> float:
        """Seconds worked on this run, earlier sessions counted."""
        return self.spent + time.monotonic() - self.started

    def note(self, text: str) -> None:
        self.say(f"[{self.elapsed():6.1f} s] {text}")

    # ------------------------------------------------------------------ explore

    def explore(self, pool: Pool) -> None:
        """Generations of joint candidates until the trials or the time for exploring are used up."""
        self.replay()
        while len(self.state.candidates) < self.config.trials:
            if self.elapsed() > EXPLORE * self.config.time_s and self.state.short:
                self.note("time for exploring is used up")
                break
            taken = set(self.state.candidates)
            count = min(GENERATION, self.config.trials - len(taken))
            try:
                genotypes = self.strategy.ask(count)
            except search.Exhausted:
                self.note("the space is exhausted")
                break
            numbers = search.free_numbers(taken)
            batch = [self.candidate(n, g) for n, g in zip(numbers, genotypes, strict=False)]
            self.estimate(pool, batch)
            self.promote(pool, batch)
            self.tell(batch)
            self.progress()

    def candidate(self, number: int, genotype: Any) -> Candidate:
        spec = self.space.network(genotype, self.shape, self.classes)
        self.state.specs[spec.digest] = spec
        hardware = self.space.hardware(genotype)
        return Candidate(number, genotype, spec, hardware.clock_mhz, hardware.budget, {})

    def estimate(self, pool: Pool, batch: list[Candidate]) -> None:
        work = [
            Task(str(c.number), tasks.estimate_candidate, (c.spec.json(), c.clock_mhz, c.budget, self.settings), 300)
            for c in batch
        ]
        by_key = {str(c.number): c for c in batch}
        for outcome in pool.run(work):
            c = by_key[outcome.key]
            if isinstance(outcome, Failed):
                c.result = {"feasible": False, "violation": 1e6, "violations": [], "objectives": {}, "seconds": 0.0,
                            "failure": outcome.reason}  # fmt: skip
                self.note(f"candidate {c.number} failed: {outcome.reason}")
            else:
                c.result = outcome.value
            self.state.candidates[c.number] = c

    def features(self, specs: list[NetSpec]) -> np.ndarray:
        """Per network: logarithms of work and size, depth, widths and bit widths; the genotype itself is not needed."""
        rows = []
        for s in specs:
            weighted = [layer for layer in s.layers if layer.weighted]
            bits = [(layer.weight_bits, layer.activation_bits) for layer in weighted]
            wide = [layer.out_channels for layer in weighted]
            shapes = s.shapes()
            rows.append([
                math.log(s.macs), math.log(s.params), len(weighted), sum(layer.groups > 1 for layer in weighted),
                float(np.mean([b[0] for b in bits])), float(np.mean([b[1] for b in bits])), min(b[0] for b in bits),
                min(b[1] for b in bits), math.log(max(wide)), math.log(min(wide)),
                math.log(max(1, shapes[max(0, len(shapes) - 3)][1])), sum(layer.kernel for layer in weighted),
                sum(layer.kind == "add" for layer in s.layers),
            ])  # fmt: skip
        return np.array(rows, float)

    def predictor(self) -> Predictor | None:
        known = sorted(self.state.short)
        if len(known) < 3:
            return None
        return fit(self.features([self.state.specs[d] for d in known]), np.array([self.state.short[d] for d in known]))

    def accuracies(self, specs: list[NetSpec]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and uncertainty of each network's short-training accuracy; measured ones have none."""
        model = self.predictor()
        if model is None:
            # Before anything is trained, size stands in: the field's baseline proxy.
            size = np.array([math.log(s.params) for s in specs])
            return 0.5 + 0.02 * size, np.full(len(specs), 0.1)
        mean, deviation = model.predict(self.features(specs))
        for i, s in enumerate(specs):
            if s.digest in self.state.short:
                mean[i], deviation[i] = self.state.short[s.digest], 0.0
        return np.clip(mean, 0.0, 1.0), deviation

    def points(self, candidates: list[Candidate], accuracy: np.ndarray) -> np.ndarray:
        """Minimised (-accuracy, log10 latency, utilisation)."""
        rows = [
            (-a, math.log10(c.result["objectives"]["latency_ms"]), c.result["objectives"]["utilisation"])
            for c, a in zip(candidates, accuracy, strict=True)
        ]
        return np.array(rows, float).reshape(-1, 3)

    def reference(self) -> tuple[float, float, float]:
        """Chance accuracy, 1 s, the whole board."""
        return (-1.0 / self.classes, 3.0, 1.0)

    def promote(self, pool: Pool, batch: list[Candidate]) -> None:
        """Train the networks whose optimistic point would add most to the hypervolume, the most promising first."""
        feasible = [c for c in self.state.candidates.values() if c.feasible]
        chosen: list[NetSpec] = []
        for _ in range(PROMOTED):
            done = set(self.state.short) | {s.digest for s in chosen}
            fresh = [c for c in feasible if c.spec.digest not in done]
            if not fresh:
                break
            mean, deviation = self.accuracies([c.spec for c in fresh])
            optimistic = self.points(fresh, np.minimum(mean + deviation, 1.0))
            known = [c for c in feasible if c.spec.digest in done]
            have = self.points(known, self.accuracies([c.spec for c in known])[0]) if known else np.empty((0, 3))
            base = pareto.hypervolume(have, self.reference()) if len(have) else 0.0
            gains = [
                pareto.hypervolume(np.vstack([have, p[None]]), self.reference()) - base for p in optimistic
            ]
            best = max(range(len(fresh)), key=lambda i: (gains[i], float(mean[i]), -fresh[i].number))
            chosen.append(fresh[best].spec)
        self.train(pool, chosen, "short", {s.digest: 1.0 for s in chosen})

    def train(self, pool: Pool, specs: list[NetSpec], recipe: str, shares: dict[str, float]) -> None:
        """Train networks in parallel; accuracies and paces go to the state and the journal."""
        work = []
        for s in specs:
            arguments = (s.json(), self.settings, recipe, shares[s.digest], str(self.checkpoint(s.digest, recipe)))
            work.append(Task(s.digest, tasks.train_candidate, arguments, 4 * self.config.time_s + 600))
        for outcome in pool.run(work):
            record: dict[str, Any] = {"kind": "train", "network": outcome.key, "recipe": recipe}
            if isinstance(outcome, Failed):
                record |= {"diverged": True, "reason": outcome.reason, "seconds": outcome.seconds}
            else:
                record |= outcome.value
            record["spec"] = self.state.specs[outcome.key].json()
            self.archive.append(record)
            self.learn(record)
            if recipe == "full":
                got = record.get("val_accuracy")
                said = f"validation accuracy {got:.4f}" if got is not None else "diverged"
                self.note(f"trained {outcome.key[:8]} fully in {record['seconds']:.0f} s: {said}")

    def learn(self, record: dict[str, Any]) -> None:
        """Take a training record into the state. A diverged network counts as a guess."""
        digest = record["network"]
        accuracy = float(record.get("val_accuracy", 1.0 / self.classes))
        (self.state.short if record["recipe"] == "short" else self.state.full)[digest] = accuracy
        if not record["diverged"] and record["recipe"] == "short":
            self.state.pace[digest] = record["seconds"] / max(1, record["epochs"] * record["images"])

    def checkpoint(self, digest: str, recipe: str) -> Path:
        folder = self.folder / "networks"
        folder.mkdir(exist_ok=True)
        return folder / f"{digest}-{recipe}.npz"

    def tell(self, batch: list[Candidate]) -> None:
        """Journal the generation and tell the strategy."""
        feasible = [c for c in batch if c.feasible]
        accuracy = dict(zip(
            (c.number for c in feasible), self.accuracies([c.spec for c in feasible])[0] if feasible else [], strict=True
        ))  # fmt: skip
        told = []
        for c in batch:
            record = {
                "kind": "trial",
                "trial": c.number,
                "genotype": self.space.dumps(c.genotype),
                "network": c.spec.digest,
                "clock_mhz": c.clock_mhz,
                "budget": c.budget,
                "accuracy": float(accuracy[c.number]) if c.feasible else None,
                "trained": c.spec.digest in self.state.short,
                **c.result,
            }
            self.archive.append(record)
            told.append(self.trial(c, record["accuracy"]))
        self.strategy.tell(told)

    def trial(self, c: Candidate, accuracy: float | None) -> search.Trial:
        if accuracy is None or not c.feasible:
            return search.Trial(c.number, c.genotype, (math.inf,) * 3, max(c.result["violation"], 1e-9))
        o = c.result["objectives"]
        return search.Trial(c.number, c.genotype, (-accuracy, math.log10(o["latency_ms"]), o["utilisation"]))

    def replay(self) -> None:
        """Rebuild state and strategy from the journal."""
        told = []
        for record in self.archive.records:
            if record["kind"] == "train":
                if record["network"] not in self.state.specs:
                    from flow.space.network import from_json

                    self.state.specs[record["network"]] = from_json(record["spec"])
                self.learn(record)
            elif record["kind"] == "trial":
                c = self.candidate(record["trial"], self.space.loads(record["genotype"]))
                keys = ("feasible", "violation", "violations", "objectives", "seconds", "failure", "gap")
                c.result = {k: record[k] for k in keys if k in record}
                self.state.candidates[c.number] = c
                told.append(self.trial(c, record["accuracy"]))
        if told:
            self.strategy.tell(told)
            self.note(f"resumed with {len(told)} candidates and {len(self.state.short)} trained networks")

    def progress(self) -> None:
        done = list(self.state.candidates.values())
        good = [c for c in done if c.feasible]
        best = max(self.state.short.values(), default=0.0)
        fastest = min((c.result["objectives"]["latency_ms"] for c in good), default=math.nan)
        self.note(
            f"{len(done)}/{self.config.trials} candidates estimated, {len(good)} fit; {len(self.state.short)} networks "
            f"trained shortly, best {best:.4f}; lowest latency {fastest:.4g} ms (estimate)"
        )

    # ------------------------------------------------------------------ train fully, prove

    def finalists(self) -> tuple[list[NetSpec], float]:
        """Networks for full training that fit the time left, by hypervolume of their short accuracies; and the share.

        Journalled: a resumed run trains the same ones.
        """
        for record in self.archive.of("finalists"):
            return [self.state.specs[d] for d in record["networks"]], float(record["share"])
        from flow.train import trainer

        good = [c for c in self.state.candidates.values() if c.feasible and c.spec.digest in self.state.pace]
        if not good:
            raise RunError(self.nothing_fits())
        how = trainer.recipe("full", self.images)
        images = (how.epochs_float + how.epochs_qat) * (how.subset or self.images)
        left = max(self.config.time_s * (EXPLORE + FULL) - self.elapsed(), 0.1 * self.config.time_s)
        budget = left * self.config.workers * 0.9
        chosen: list[NetSpec] = []
        cost = 0.0
        for spec in self.ranked(good):
            price = self.state.pace[spec.digest] * images
            if len(chosen) >= FINALISTS:
                break
            if chosen and cost + price > budget:
                continue
            chosen.append(spec)
            cost += price
        share = min(1.0, max(0.1, budget / cost))
        record = {"kind": "finalists", "networks": [s.digest for s in chosen], "share": round(share, 3)}
        self.archive.append(record)
        return chosen, record["share"]

    def ranked(self, good: list[Candidate]) -> list[NetSpec]:
        """Trained networks, most accurate first, then by what each adds to the hypervolume of those before."""
        best: dict[str, list[Candidate]] = {}
        for c in good:
            best.setdefault(c.spec.digest, []).append(c)
        accuracy = {d: self.state.short[d] for d in best}
        order = [max(sorted(best), key=lambda d: accuracy[d])]
        while len(order) < len(best):
            have = self.points(
                [c for d in order for c in best[d]], np.array([accuracy[d] for d in order for _ in best[d]])
            )
            base = pareto.hypervolume(have, self.reference())

            def gain(d: str, have: np.ndarray = have, base: float = base) -> float:
                extra = self.points(best[d], np.full(len(best[d]), accuracy[d]))
                return pareto.hypervolume(np.vstack([have, extra]), self.reference()) - base

            rest = [d for d in sorted(best) if d not in order]
            order.append(max(rest, key=lambda d: (gain(d), accuracy[d])))
        return [best[d][0].spec for d in order]

    def nothing_fits(self) -> str:
        short: dict[str, tuple[float, float]] = {}
        for c in self.state.candidates.values():
            for v in c.result.get("violations", []):
                now = short.get(v["resource"])
                if now is None or v["used"] < now[0]:
                    short[v["resource"]] = (v["used"], v["available"])
        said = "; ".join(f"{k}: at least {u:g} needed, {a:g} available" for k, (u, a) in sorted(short.items()))
        return (
            f"no candidate fits {self.board.name} within the limits ({said or 'none was estimated'}): raise "
            "--max-utilisation, relax --max-latency-ms or --min-fps, or take a larger board"
        )

    def conclude(self, pool: Pool) -> dict[str, Any]:
        """Full training, true weights at every hardware point, the front, its proof."""
        specs, share = self.finalists()
        fresh = [s for s in specs if s.digest not in self.state.full]
        self.note(f"training {len(fresh)} networks fully" + (f", epochs cut to {share:.0%} by time" if share < 1 else ""))
        self.train(pool, fresh, "full", {s.digest: share for s in fresh})
        points = self.refined(pool, specs)
        if not points:
            raise RunError(self.nothing_fits())
        finished = self.prove(pool, points)
        return self.write(finished)

    def refined(self, pool: Pool, specs: list[NetSpec]) -> list[dict[str, Any]]:
        """Every fully trained network at every hardware point of the space."""
        clock = self.config.clock_mhz or self.board.clock_mhz
        seen = {(c.clock_mhz, c.budget) for c in self.state.candidates.values()}
        grid = sorted(seen | {(clock, min(b, self.config.max_utilisation)) for b in space.hardware.BUDGETS})
        done = {r["network"]: r for r in self.archive.of("refine")}
        wanted = [s for s in specs if s.digest not in done and self.checkpoint(s.digest, "full").exists()]
        work = [
            Task(s.digest, tasks.refine, (str(self.checkpoint(s.digest, "full")), grid, self.settings), 600)
            for s in wanted
        ]
        for outcome in pool.run(work):
            if isinstance(outcome, Failed):
                self.note(f"network {outcome.key[:8]} failed: {outcome.reason}")
                continue
            record = {"kind": "refine", "network": outcome.key, "grid": grid, "results": outcome.value}
            self.archive.append(record)
            done[outcome.key] = record
        found = []
        for s in specs:
            record = done.get(s.digest)
            for (clock_mhz, budget), o in zip(record["grid"], record["results"], strict=True) if record else []:
                if o is not None:
                    found.append({
                        "network": s.digest, "clock_mhz": clock_mhz, "budget": budget, "objectives": o,
                        "accuracy": self.state.full[s.digest],
                    })  # fmt: skip
        return found

    def front(self, points: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Undominated points; when too many, those that keep most of the hypervolume."""
        def values(ps: list[dict[str, Any]]) -> np.ndarray:
            return np.array([
                (-p["accuracy"], math.log10(p["objectives"]["latency_ms"]), p["objectives"]["utilisation"]) for p in ps
            ])  # fmt: skip

        points = [p for p, keep in zip(points, pareto.nondominated(values(points)), strict=True) if keep]
        unique = {tuple(v): p for v, p in zip(values(points).tolist(), points, strict=True)}
        points = list(unique.values())
        while len(points) > self.config.front_size:
            loss = pareto.contributions(values(points), self.reference())
            # The most accurate and the fastest point stay whatever they contribute.
            v = values(points)
            loss[[int(v[:, 0].argmin()), int(v[:, 1].argmin())]] = math.inf
            points.pop(int(np.argmin(loss)))
        return sorted(points, key=lambda p: p["objectives"]["latency_ms"])

    def prove(self, pool: Pool, points: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Compile and C-simulate every front point; one that fails is replaced by the next best."""
        finished: dict[tuple[str, float, float], dict[str, Any]] = {
            (r["network"], r["clock_mhz"], r["budget"]): r for r in self.archive.of("proof")
        }
        pool_points = list(points)
        while True:
            front = self.front(pool_points)
            todo = [p for p in front if self.key(p) not in finished or not self.at(p).is_dir()]
            if not todo:
                break
            self.note(f"compiling and C-simulating {len(todo)} front points")
            by_key = {str(self.key(p)): p for p in todo}
            work = [
                Task(k, tasks.finish, (
                    str(self.checkpoint(p["network"], "full")), p["clock_mhz"], p["budget"], self.settings, str(self.at(p))
                ), 1800)
                for k, p in by_key.items()
            ]  # fmt: skip
            for outcome in pool.run(work):
                p = by_key[outcome.key]
                good = isinstance(outcome, Done) and outcome.value["fits"] and outcome.value["csim"]["bit_exact"]
                if not good:
                    reason = outcome.reason if isinstance(outcome, Failed) else str(outcome.value)
                    self.note(f"front point {p['network'][:8]} at {p['budget']:g} is dropped: {reason[:300]}")
                    pool_points.remove(p)
                    continue
                assert isinstance(outcome, Done)
                record = {"kind": "proof", **p, "result": outcome.value, "directory": str(self.at(p).relative_to(self.folder))}
                self.archive.append(record)
                finished[self.key(p)] = record
                exact = outcome.value["csim"]
                self.note(
                    f"{record['directory']}: test accuracy {outcome.value['test_accuracy']:.4f}, "
                    f"{outcome.value['objectives']['latency_ms']:.4g} ms (estimate), bit-exact on {exact['images']} images"
                )
            if not pool_points:
                raise RunError("no front point could be compiled and proved; the journal says why")
        return [finished[self.key(p)] for p in front]

    def key(self, p: dict[str, Any]) -> tuple[str, float, float]:
        return p["network"], p["clock_mhz"], p["budget"]

    def at(self, p: dict[str, Any]) -> Path:
        """Folder of a front point: trial number of the candidate it came from (or the next), and the network."""
        same = [
            c.number for c in self.state.candidates.values()
            if (c.spec.digest, c.clock_mhz, c.budget) == self.key(p)
        ]  # fmt: skip
        number = min(same) if same else len(self.state.candidates) + round(1000 * p["budget"])
        return self.folder / "trials" / f"{number:04d}-{p['network'][:10]}"

    # ------------------------------------------------------------------ results

    def write(self, proofs: list[dict[str, Any]]) -> dict[str, Any]:
        """front.json and report.html."""
        from flow.report import html

        points = [self.point(p) for p in proofs]
        reference = {"accuracy": 1.0 / self.classes, "latency_ms": 1000.0, "utilisation": 1.0}
        front = write_front(
            self.folder, list(OBJECTIVES), [reference[k] for k in OBJECTIVES], points, self.evaluated()
        )
        trials = [self.shown(c) for c in sorted(self.state.candidates.values(), key=lambda c: c.number)]
        page = html.render(front, trials, self.meta(points))
        from flow.files import write_atomic

        write_atomic(self.folder / "report.html", page.encode())
        return front

    def evaluated(self) -> int:
        """Joint candidates estimated: asked ones, and the hardware points of fully trained networks."""
        return len(self.state.candidates) + sum(len(r["results"]) for r in self.archive.of("refine"))

    def point(self, p: dict[str, Any]) -> dict[str, Any]:
        result = p["result"]
        name = Path(p["directory"]).name
        fidelity = {k: "estimate" for k in result["objectives"]}
        fidelity |= {"accuracy": "onnxruntime, validation split", "test_accuracy": "onnxruntime, test split"}
        return {
            "trial": int(name.split("-")[0]),
            "objectives": {"accuracy": p["accuracy"], "test_accuracy": result["test_accuracy"], **result["objectives"]},
            "fidelity": fidelity,
            "directory": p["directory"],
            "network": p["network"],
            "clock_mhz": p["clock_mhz"],
            "budget": p["budget"],
            "csim": result["csim"],
            "bound": result["bound"],
            "layers": result["layers"],
        }

    def shown(self, c: Candidate) -> dict[str, Any]:
        trained = c.spec.digest in self.state.short
        accuracy = float(self.accuracies([c.spec])[0][0]) if c.feasible else None
        objectives = dict(c.result["objectives"])
        if accuracy is not None:
            objectives["accuracy"] = accuracy
        kinds = {k: "estimate" for k in objectives}
        kinds["accuracy"] = "short training, validation split" if trained else "predicted"
        weighted = sum(layer.weighted for layer in c.spec.layers)
        return {
            "trial": c.number,
            "objectives": objectives,
            "fidelity": kinds,
            "feasible": c.feasible,
            "violations": c.result.get("violations", []),
            "summary": f"{weighted} layers with weights, {c.spec.params} parameters, {c.spec.macs} products, "
            f"{c.budget:g} of the board",
            "trained": trained,
            "seconds": c.result.get("seconds", 0.0),
        }

    def meta(self, points: list[dict[str, Any]]) -> dict[str, Any]:
        first = max(points, key=lambda p: p["objectives"]["accuracy"])["directory"]
        return {
            "board": self.board.name,
            "data": self.config.data,
            "space": self.config.space,
            "strategy": self.config.strategy,
            "seed": self.config.seed,
            "version": __version__,
            "commands": [f"flow csim {self.folder / first}", f"flow synth {self.folder / first}"],
            "config": self.settings,
            "environment": self.archive.environment,
            "started": self.archive.environment.get("started", ""),
            "seconds": self.elapsed(),
        }


def environment() -> dict[str, Any]:
    """What the run ran on."""
    packages = ("torch", "onnx", "onnxruntime", "numpy", "hls4ml", "networkx", "jinja2")
    return {
        "coexplore": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cores": os.cpu_count() or 1,
        "packages": {p: metadata.version(p) for p in packages},
        "started": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def start(config: Config, folder: Path, say: Say) -> dict[str, Any]:
    """A new run in ``folder``. Raises RunError, ArchiveError, BoardError, SpaceError, SearchError or DataError."""
    boards.load(config.board)
    archive = Archive.create(folder, config.dict(), environment())
    return carry_out(config, archive, say)


def resume(folder: Path, say: Say) -> dict[str, Any]:
    """Go on with an interrupted run, or do nothing but write its results again when it is complete."""
    from flow.config import from_dict

    archive = Archive.open(folder)
    return carry_out(from_dict(archive.config), archive, say)


def carry_out(config: Config, archive: Archive, say: Say) -> dict[str, Any]:
    """Explore and conclude, with workers ended and the lock released whatever happens."""
    with archive, Pool(config.workers) as pool:
        run = Run(config, archive, say)
        began = time.monotonic()
        try:
            run.explore(pool)
            front = run.conclude(pool)
        finally:
            archive.append({"kind": "session", "elapsed": time.monotonic() - began})
        run.note(f"{len(front['points'])} points on the front, hypervolume {front['hypervolume']:.4f}")
        return front


def generations(state: State) -> Iterator[list[Candidate]]:
    """Candidates in groups as they were asked."""
    ordered = [state.candidates[n] for n in sorted(state.candidates)]
    for i in range(0, len(ordered), GENERATION):
        yield ordered[i : i + GENERATION]


def clear(folder: Path) -> None:
    """Remove a run folder that holds nothing but an empty start."""
    if folder.is_dir() and not any(folder.iterdir()):
        shutil.rmtree(folder)
