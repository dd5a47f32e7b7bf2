"""A simulated vendor with hidden biases: the true front of a search that learns from reports and of one that does not.

Both arms run the search's own steps (strategy, mapping, estimate, feedback) with the same seeds and one synthesis a
generation. The vendor multiplies a design's estimate, block kind by block kind, with factors that the search never
sees, and adds noise. What an arm hands over, its believed front, is scored by the truth: designs that truly exceed the
limit count for nothing. Accuracy is a smooth function of the network's size: here only the accelerator's numbers are in
question. ``--seeds N`` (10), ``--trials N`` (60).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu

from flow import board as boards
from flow import feedback, search, space, tasks
from flow.config import Config
from flow.cost import calibrate
from flow.search import Trial, pareto
from flow.study import TextSpace

Rows = list[dict[str, Any]]
Json = dict[str, Any]
BOARD, SHAPE, CLASSES, GENERATION = "pynq-z2", (1, 8, 8), 10, 12
REFERENCE = (-0.5, 2.0, 1.0)  # accuracy 0.5, 100 ms, the whole board
NOISE = 0.03
# Of the logarithm of reported / estimated: its mean over all blocks and its spread between kinds of blocks.
BIAS = {"lut": (0.25, 0.2), "ff": (0.1, 0.2), "dsp": (0.05, 0.05), "bram18": (0.1, 0.15)}
SLOWER = {"latency_ms": 0.08, "interval_cycles": 0.05}


class Vendor:
    """Hidden factors of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def _normal(self, *key: object) -> float:
        digest = hashlib.sha256(repr((self.seed, *key)).encode()).digest()
        return float(np.random.default_rng(int.from_bytes(digest[:8], "big")).normal())

    def report(self, result: Json) -> Json:
        """What the tool says of a mapped design, the same whenever it is asked."""
        raw, key = result["raw"], round(result["raw"]["lut"])
        out = {}
        for kind, (mean, deviation) in BIAS.items():
            blocks = result["shares"].get(kind, {})
            factor = sum(s * math.exp(mean + deviation * self._normal(kind, op)) for op, s in blocks.items()) or 1.0
            out[kind] = raw[kind] * factor * math.exp(NOISE * self._normal(kind, key))
        for name, mean in SLOWER.items():
            out[name] = raw[name] * math.exp(mean + NOISE * self._normal(name, key))
        out["fps"] = raw["fps"] * raw["interval_cycles"] / out["interval_cycles"]
        available = boards.load(BOARD).available.json()
        out["utilisation"] = max(out[k] / n for k, n in available.items() if n and k in out)
        return {"objectives": out, "tool": "simulated 1", "fidelity": "csynth"}


@dataclass
class Candidate:
    number: int
    genotype: Any
    accuracy: float
    budget: float
    result: Json
    told: bool = False


def accuracy(params: int, macs: int) -> float:
    """A stand-in that grows with size and saturates."""
    return 0.98 - 0.35 * math.exp(-math.log10(params) / 2.5) - 0.25 * math.exp(-math.log10(macs) / 3)


@lru_cache(maxsize=4096)
def _estimated(spec: str, clock: float, budget: float, calibration: str) -> Json:
    settings = Config(board=BOARD).dict()
    rows = _rows.get(calibration)
    return tasks.estimate_candidate(spec, clock, budget, {**settings, "calibration": rows} if rows else settings)


_rows: dict[str, Rows] = {}


class Run:
    """One search of ``trials`` candidates with a simulated vendor."""

    def __init__(self, seed: int, trials: int, learns: bool) -> None:
        self.vendor, self.trials, self.learns = Vendor(seed), trials, learns
        self.board, self.settings = boards.load(BOARD), Config(board=BOARD).dict()
        self.space = space.load("default", space.Options(clocks_mhz=(100.0,), max_clock_mhz=100.0))
        self.strategy = search.load("nsga2", TextSpace(self.space), seed, 3, batch=GENERATION)
        self.candidates: list[Candidate] = []
        self.observed: list[calibrate.Observation] = []

    def trial(self, c: Candidate) -> Trial:
        if not c.result["feasible"]:
            return Trial(c.number, c.genotype, (math.inf,) * 3, max(c.result["violation"], 1e-9))
        return Trial(c.number, c.genotype, point(c, c.result["objectives"]))

    def go(self) -> float:
        while len(self.candidates) < self.trials:
            fresh = [self.estimate(g) for g in self.strategy.ask(min(GENERATION, self.trials - len(self.candidates)))]
            again = self.synthesise(fresh)
            for c in fresh:
                c.told = True
            self.strategy.tell([self.trial(c) for c in (*again, *fresh)])
        return self.true_front()

    def estimate(self, genotype: Any) -> Candidate:
        spec, hardware = self.space.network(genotype, SHAPE, CLASSES), self.space.hardware(genotype)
        rows = calibrate.plain(self.observed) if self.learns else []
        key = hashlib.sha256(repr(rows).encode()).hexdigest() if rows else ""
        _rows[key] = rows
        result = dict(_estimated(spec.json(), hardware.clock_mhz, hardware.budget, key))
        c = Candidate(len(self.candidates), genotype, accuracy(spec.params, spec.macs), hardware.budget, result)
        self.candidates.append(c)
        return c

    def synthesise(self, fresh: list[Candidate]) -> list[Candidate]:
        """Report on the most promising one of a generation; returns earlier candidates that it changes."""
        good = [c for c in fresh if c.result["feasible"]]
        if not good:
            return []
        best = max(good, key=lambda c: pareto.hypervolume(np.array([point(c, c.result["objectives"])]), REFERENCE))
        said = self.vendor.report(best.result)
        record = {"estimated": best.result["objectives"], "reported": said}
        record |= {k: best.result[k] for k in ("raw", "shares")}
        self.observed += feedback.observations(record, feedback.family(self.board))
        over = said["objectives"]["utilisation"] > self.settings["max_utilisation"]
        objectives = {**best.result["objectives"], **said["objectives"]}
        best.result |= {"objectives": objectives, "tool": said["tool"], "feasible": not over, "violation": float(over)}
        if not self.learns:
            return []
        settings = {**self.settings, "calibration": calibrate.plain(self.observed)}
        for c in self.candidates:
            c.result = feedback.judged(c.result, settings, self.board)
        return [c for c in self.candidates if c.told]

    def true_front(self) -> float:
        """Hypervolume of what is handed over, by the truth."""
        good = [c for c in self.candidates if c.result["feasible"]]
        believed = np.array([point(c, c.result["objectives"]) for c in good]).reshape(-1, 3)
        chosen = [c for c, keep in zip(good, pareto.nondominated(believed), strict=True) if keep]
        truth = [(c, self.vendor.report(c.result)["objectives"]) for c in chosen]
        fits = [point(c, o) for c, o in truth if o["utilisation"] <= self.settings["max_utilisation"]]
        return float(pareto.hypervolume(np.array(fits), REFERENCE)) if fits else 0.0


def point(c: Candidate, objectives: Json) -> tuple[float, float, float]:
    """Minimised: accuracy, decimal logarithm of the latency, utilisation."""
    return -c.accuracy, math.log10(objectives["latency_ms"]), objectives["utilisation"]


def options(arguments: list[str]) -> dict[str, int]:
    found = {"--seeds": 10, "--trials": 60}
    for name, value in zip(arguments[::2], arguments[1::2], strict=False):
        if name not in found or not value.isdigit() or int(value) < 1:
            raise ValueError(f"bench feedback: {name} {value}: --seeds N or --trials N")
        found[name] = int(value)
    return found


def tables(arguments: list[str]) -> Iterator[tuple[str, Rows]]:
    """Hypervolume of the true front, seed by seed, and the test."""
    given = options(arguments)
    rows, arms = [], ([], [])
    for seed in range(given["--seeds"]):
        values = [Run(seed, given["--trials"], learns).go() for learns in (False, True)]
        for arm, v in zip(arms, values, strict=True):
            arm.append(v)
        rows.append({"seed": seed, "without feedback": f"{values[0]:.4f}", "with feedback": f"{values[1]:.4f}",
                     "change": f"{values[1] / values[0] - 1:+.1%}" if values[0] else "from nothing"})  # fmt: skip
    yield "Hypervolume of the true front (simulated vendor)", rows
    p = float(mannwhitneyu(arms[1], arms[0], alternative="greater").pvalue)
    yield "Mann-Whitney, with feedback greater than without", [{
        "seeds": len(rows), "median without": f"{np.median(arms[0]):.4f}", "median with": f"{np.median(arms[1]):.4f}",
        "p": f"{p:.2g}", "p < 0.05": "yes" if p < 0.05 else "NO",
    }]  # fmt: skip
