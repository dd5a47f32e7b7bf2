"""A simulated vendor with hidden biases: the true front of a search that learns from reports and of one that does not.

The task is image classification of MLPerf Tiny (CIFAR-10, quality target 85 %) on Pynq-Z2, the board of its FPGA
submissions: networks that reach the target press against the board, as they do where a board is chosen for a product.
(With networks that take a tenth of the board no correction can matter: an arm that knew the vendor's factors exactly
won nothing there, so such a task cannot tell whether feedback works.) Accuracy is a function of the network's size:
here only the accelerator's numbers are in question.

Both arms are the search as ``flow search`` runs it, with its defaults (240 candidates in generations of 24, one report
a generation, at most 10 designs handed over) and its own steps: strategy, mapping, estimate, choice of what is
synthesised, correction, mapping anew (flow/explore.py), then the finalists' networks at every size of accelerator
(flow/conclude.py). They have the same seeds and vendors; only one of them takes reports as evidence about other
candidates, and has its front reported on before it is handed over, smaller designs in the place of those too large. The
vendor multiplies a design's estimate, block kind by block kind, with factors that the search never sees, and adds
noise. What an arm hands over, its believed front, is scored by the truth: designs that truly exceed the limit count for
nothing, as when each is synthesised once and what does not fit is dropped.

``--seeds N`` (10), ``--first N`` (0: the first seed), ``--trials N`` (240), ``--oracle 1``: a third arm that knows the
vendor's factors, but not its noise, from the start: the most that reports could win.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu, wilcoxon

from flow import board as boards
from flow import conclude, feedback, plan, search, space, tasks
from flow.config import Config
from flow.cost import calibrate
from flow.cost.calibrate import Observation
from flow.search import Floats, Trial, pareto
from flow.search.encoded import TextSpace
from flow.space.network import NetSpec, random_graph

Rows = list[dict[str, Any]]
Json = dict[str, Any]
Key = tuple[str, float, str]
BOARD, SHAPE, CLASSES, CLOCK = "pynq-z2", (3, 32, 32), 10, 100.0
TARGET = 0.85
CONFIG = Config(board=BOARD, min_accuracy=TARGET)
REFERENCE = (-TARGET, 2.0, 1.0)  # 100 ms, the whole board
NOISE = 0.03
# Of the logarithm of reported / estimated: its mean over all blocks and its spread between kinds of blocks.
BIAS = {"lut": (0.25, 0.2), "ff": (0.1, 0.2), "dsp": (0.05, 0.05), "bram18": (0.1, 0.15)}
SLOWER = {"latency_ms": 0.08, "interval_cycles": 0.05}
OPS = ("Conv", "AveragePool", "MaxPool", "Gemm", "Add")  # kinds of blocks of the space
ARMS = ("without feedback", "with feedback", "oracle")


class Vendor:
    """Hidden factors of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def _normal(self, *key: object) -> float:
        digest = hashlib.sha256(repr((self.seed, *key)).encode()).digest()
        return float(np.random.default_rng(int.from_bytes(digest[:8], "big")).normal())

    def factor(self, kind: str, op: str) -> float:
        mean, deviation = BIAS[kind]
        return math.exp(mean + deviation * self._normal(kind, op))

    def report(self, raw: Json, shares: Json) -> Json:
        """What the tool says of a mapped design, the same whenever it is asked."""
        key, out = round(raw["lut"]), {}
        for kind in BIAS:
            factor = sum(s * self.factor(kind, op) for op, s in shares.get(kind, {}).items()) or 1.0
            out[kind] = raw[kind] * factor * math.exp(NOISE * self._normal(kind, key))
        for name, mean in SLOWER.items():
            out[name] = raw[name] * math.exp(mean + NOISE * self._normal(name, key))
        out["fps"] = raw["fps"] * raw["interval_cycles"] / out["interval_cycles"]
        available = boards.load(BOARD).available.json()
        out["utilisation"] = max(out[k] / n for k, n in available.items() if n and k in out)
        return {"objectives": out, "tool": "simulated 1", "fidelity": "csynth"}

    def secrets(self, family: str) -> list[Observation]:
        """Reports of designs of one kind of block each, without noise: with enough of them the correction is exact."""
        found = [Observation(k, "simulated 1", family, 1.0, self.factor(k, op), {op: 1.0}) for k in BIAS for op in OPS]
        found += [
            Observation(feedback.TIMES[n], "simulated 1", family, 1.0, math.exp(mean))
            for n, mean in SLOWER.items() for _ in OPS
        ]  # fmt: skip
        return found * 4


@dataclass
class Candidate:
    number: int
    genotype: Any
    spec: NetSpec
    accuracy: float
    budget: float
    result: Json


def accuracy(params: int, macs: int) -> float:
    """Of CIFAR-10, by size: within 0.3 points of ResNet-8 of MLPerf Tiny (0.87) and ResNet-20 to ResNet-110 (He et al.,
    CVPR 2016: 0.9125, 0.9249, 0.9283, 0.9303, 0.9357), which have 160 products a weight."""
    return max(0.1, 0.945 - 0.075 * (math.sqrt(macs * 160 * params) / 12.5e6) ** -0.7)


_rows: dict[str, Rows] = {}  # corrections by their digest: what is estimated is kept by it


def keyed(observed: Sequence[Observation]) -> str:
    """The key under which a correction is kept."""
    key = hashlib.sha256(repr(observed).encode()).hexdigest() if observed else ""
    if key not in _rows:
        _rows[key] = calibrate.plain(observed)
    return key


@lru_cache(maxsize=2**16)
def _estimated(spec: NetSpec, budget: float, key: str) -> Json:
    return tasks.estimate_candidate(spec.json(), CLOCK, budget, {**CONFIG.dict(), "calibration": _rows[key]})


@lru_cache(maxsize=2**10)
def _sizes(spec: NetSpec, budgets: tuple[float, ...], key: str) -> list[Json]:
    return tasks.sizes(random_graph(spec), CLOCK, budgets, {**CONFIG.dict(), "calibration": _rows[key]})


class Run:
    """One search of ``trials`` candidates with a simulated vendor."""

    def __init__(self, seed: int, trials: int, arm: str) -> None:
        self.vendor, self.trials, self.learns = Vendor(seed), trials, arm == "with feedback"
        self.board = boards.load(BOARD)
        self.candidates: list[Candidate] = []
        self.front: list[Json] = []  # what it hands over in the end
        self.space = space.load("default", space.Options(clocks_mhz=(CLOCK,), max_clock_mhz=CLOCK))
        self.strategy = search.load("nsga2", TextSpace(self.space), seed, 3, batch=CONFIG.generation)
        self.observed = self.vendor.secrets(feedback.family(self.board)) if arm == "oracle" else []

    @property
    def settings(self) -> Json:
        return {**CONFIG.dict(), "calibration": _rows[keyed(self.observed)]}

    def go(self) -> float:
        while (start := len(self.candidates)) < self.trials:
            asked = self.strategy.ask(min(CONFIG.generation, self.trials - start))
            fresh = [self.candidate(n, g) for n, g in enumerate(asked, start)]
            self.candidates += fresh
            before = [c.result for c in self.candidates[:start]]
            self.synthesise(fresh)
            if self.learns:
                for c in self.candidates:
                    c.result = feedback.judged(c.result, self.settings, self.board)
                self.remap()
            again = [c for c, old in zip(self.candidates, before, strict=False) if c.result != old]
            self.strategy.tell([self.trial(c) for c in (*again, *fresh)])
        self.front = self.handed_over()
        return self.true_front(self.front)

    def candidate(self, number: int, genotype: Any) -> Candidate:
        spec, budget = self.space.network(genotype, SHAPE, CLASSES), self.space.hardware(genotype).budget
        result = _estimated(spec, budget, keyed(self.observed))
        return Candidate(number, genotype, spec, accuracy(spec.params, spec.macs), budget, result)

    def synthesise(self, fresh: list[Candidate]) -> None:
        """A report on the one of a generation that tells most."""
        good = [c for c in fresh if c.result["feasible"]]
        if not good:
            return
        good = [c for c in good if c.accuracy >= TARGET] or good
        c = good[feedback.telling([c.result for c in good], points(good), self.settings, self.board)]
        said = self.reported(c.result)
        over = said["objectives"]["utilisation"] - CONFIG.max_utilisation
        objectives = {**c.result["objectives"], **said["objectives"]}
        c.result = {**c.result, "objectives": objectives, "tool": said["tool"]}
        if over > 0:
            missed = [{"resource": "lut", "used": objectives["utilisation"], "available": CONFIG.max_utilisation}]
            c.result |= {"feasible": False, "violation": over, "violations": missed}

    def reported(self, design: Json) -> Json:
        """The vendor's report on a design, learned from by an arm that learns."""
        said = self.vendor.report(design["raw"], design["shares"])
        if self.learns:
            record = {"reported": said, "estimated": design["objectives"]}
            record |= {k: design[k] for k in ("raw", "shares")}
            self.observed = [*self.observed, *feedback.observations(record, feedback.family(self.board))]
        return said

    def remap(self) -> None:
        """As explore.remap does."""
        hopes = [(c, feedback.hope(c.result, c.budget, self.settings)) for c in self.candidates]
        hopeful = [replace(c, result={**c.result, "objectives": o}) for c, o in hopes if o is not None]
        good = points([c for c in self.candidates if c.result["feasible"]])
        for i in feedback.outdated(points(hopeful), good, REFERENCE, CONFIG.generation):
            c = self.candidates[hopeful[i].number]
            new = _estimated(c.spec, c.budget, keyed(self.observed))
            c.result = new if feedback.replaces(new, c.result) else c.result

    def trial(self, c: Candidate) -> Trial:
        if not c.result["feasible"]:
            return Trial(c.number, c.genotype, (math.inf,) * 3, max(c.result["violation"], 1e-9))
        if c.accuracy < TARGET:
            return Trial(c.number, c.genotype, (math.inf,) * 3, TARGET - c.accuracy)
        return Trial(c.number, c.genotype, tuple(points([c])[0]))

    def handed_over(self) -> list[Json]:
        """The finalists' networks at every size, and the believed front of that."""
        budgets = sorted({c.budget for c in self.candidates})
        found = []
        for c in self.finalists():
            for p in _sizes(c.spec, tuple(budgets), keyed(self.observed)):
                found.append({**p, "accuracy": c.accuracy, "spec": c.spec})
        return self.settled(found) if self.learns else conclude.front(found, CONFIG.front_size, REFERENCE)

    def settled(self, designs: list[Json]) -> list[Json]:
        """As conclude.prove does: the front's designs are reported on, and what is too large is mapped anew, smaller,
        until every design of the front has its report."""
        known: dict[Key, Json] = {}  # reported measures
        followed: set[Key] = set()  # those in whose place smaller designs came
        while True:
            for p in designs:
                p["objectives"] = known.get(key(p)) or feedback.corrected(
                    p["raw"], p["shares"], self.settings, self.board
                )
            designs = list({key(p): p for p in (*designs, *self.smaller(designs, known, followed))}.values())
            fitting = [p for p in designs if p["objectives"]["utilisation"] <= CONFIG.max_utilisation]
            chosen = conclude.front(fitting, CONFIG.front_size, REFERENCE) if fitting else []
            fresh = [p for p in chosen if key(p) not in known]
            if not fresh:
                return chosen
            for p in fresh:
                known[key(p)] = p["objectives"] | self.reported(p)["objectives"]

    def smaller(self, designs: list[Json], known: dict[Key, Json], followed: set[Key]) -> list[Json]:
        """As conclude.smaller does."""
        limit, found = CONFIG.max_utilisation, []
        for p in designs:
            used, share, own = p["objectives"]["utilisation"], p["budget"], {k: p[k] for k in ("accuracy", "spec")}
            if used <= limit or p["objective"] != "throughput":
                continue
            if key(p) in known:
                if p.get("smaller", 0) >= conclude.SMALLER or key(p) in followed:
                    continue
                followed.add(key(p))
                believed = feedback.corrected(p["raw"], p["shares"], self.settings, self.board)["utilisation"]
                share = conclude.lesser(share, limit, used, believed)
                own["smaller"] = p.get("smaller", 0) + 1
            again = tasks.sizes(random_graph(p["spec"]), CLOCK, [share], self.settings, 0)
            found += [{**q, **own} for q in again]
        return found

    def finalists(self) -> list[Candidate]:
        """One candidate a network: those that together keep most of the hypervolume."""
        good = [c for c in self.candidates if c.result["feasible"]]
        chosen: list[Candidate] = []
        while good and len(chosen) < plan.FINALISTS:
            have = points([c for c in self.candidates if c.result["feasible"] and c.spec in {x.spec for x in chosen}])
            gain = pareto.gains(points(good), have, REFERENCE)
            if gain.max() <= 0:
                break
            chosen.append(good[int(np.argmax(gain))])
            good = [c for c in good if c.spec != chosen[-1].spec]
        return chosen

    def true_front(self, designs: list[Json]) -> float:
        """Hypervolume of what is handed over, by the truth."""
        truth = [(p, self.vendor.report(p["raw"], p["shares"])["objectives"]) for p in designs]
        fits = [point(p["accuracy"], o) for p, o in truth if o["utilisation"] <= CONFIG.max_utilisation]
        return float(pareto.hypervolume(np.array(fits), REFERENCE)) if fits else 0.0


def key(design: Json) -> Key:
    """What makes a design: network, share of the board, objective of its mapping."""
    return design["spec"].digest, design["budget"], design["objective"]


def point(accuracy: float, objectives: Json) -> tuple[float, float, float]:
    """Minimised: accuracy, decimal logarithm of the latency, utilisation."""
    return -accuracy, math.log10(objectives["latency_ms"]), objectives["utilisation"]


def points(candidates: Sequence[Candidate]) -> Floats:
    return np.array([point(c.accuracy, c.result["objectives"]) for c in candidates], float).reshape(-1, 3)


def options(arguments: list[str]) -> dict[str, int]:
    found = {"--seeds": 10, "--first": 0, "--trials": CONFIG.trials, "--oracle": 0}
    if len(arguments) % 2:
        raise ValueError(f"bench feedback: {arguments[-1]} without a number")
    for name, value in zip(arguments[::2], arguments[1::2], strict=True):
        if name not in found or not value.isdigit() or int(value) < (name in ("--seeds", "--trials")):
            raise ValueError(f"bench feedback: {name} {value}: {' N, '.join(found)} N")
        found[name] = int(value)
    return found


def tables(arguments: list[str]) -> Iterator[tuple[str, Rows]]:
    """Hypervolume of the true front, seed by seed, and the test."""
    given = options(arguments)
    arms = ARMS[: 3 if given["--oracle"] else 2]
    rows, found = [], []
    for seed in range(given["--first"], given["--first"] + given["--seeds"]):
        values = [Run(seed, given["--trials"], arm).go() for arm in arms]
        _estimated.cache_clear()
        found.append(values)
        rows.append({"seed": seed, **{a: f"{v:.4f}" for a, v in zip(arms, values, strict=True)},
                     "change": f"{values[1] / values[0] - 1:+.1%}" if values[0] else "from nothing"})  # fmt: skip
    yield "Hypervolume of the true front (simulated vendor)", rows
    without, *others = np.array(found).T
    yield (
        "Greater than without feedback",
        [compared(a, with_, without) for a, with_ in zip(arms[1:], others, strict=True)],
    )


def compared(arm: str, values: Floats, without: Floats) -> Json:
    """One-sided tests: of the arms as two samples (Mann-Whitney), and of pairs of equal seeds (Wilcoxon)."""
    p = float(mannwhitneyu(values, without, alternative="greater").pvalue)
    pairs = float(wilcoxon(values, without, alternative="greater").pvalue) if (values != without).any() else 1.0
    return {
        "arm": arm, "seeds": len(values), "better on": int((values > without).sum()),
        "median without": f"{np.median(without):.4f}", "median": f"{np.median(values):.4f}",
        "Mann-Whitney p": f"{p:.2g}", "p < 0.05": "yes" if p < 0.05 else "NO", "Wilcoxon p": f"{pairs:.2g}",
    }  # fmt: skip
