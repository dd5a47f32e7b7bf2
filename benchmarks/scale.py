"""A run of ten thousand candidates, and a thousand nodes: does the search itself keep up?

``flow bench scale [--candidates N] [--nodes N]``

The first table drives the real search - strategy, promotion, journal, resume, report - over real networks of the
default space. Only the three expensive steps are answered by formulas at once (latency and utilisation from work and
weights, accuracy from size and a network's own digest), so that what is measured is the search. The second plays what
that search asked of its workers to simulated ones, which take as long as trainings do: see docs/scale.md.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flow import explore, results, tasks
from flow.archive import Archive
from flow.config import Config
from flow.report import html
from flow.space.network import NetSpec, from_json
from flow.study import Study
from flow.workers import Done, Failed, Task

Row = dict[str, Any]


def luck(spec: NetSpec) -> float:
    """-1 to 1, a network's own."""
    return int(spec.digest[:8], 16) / 2**31 - 1


def estimated(spec_json: str, clock_mhz: float, budget: float, settings: dict[str, Any]) -> Row:
    spec = from_json(spec_json)
    utilisation = max(0.9 * budget * (1 + 0.05 * luck(spec)), spec.weight_bits / 3e8)
    latency = spec.macs / (2500 * utilisation * clock_mhz * 1e3)
    fits = utilisation < 0.8
    violations = [] if fits else [{"resource": "bram18", "used": int(1824 * utilisation), "available": 1459}]
    objectives = {"latency_ms": latency, "fps": 1e3 / latency, "utilisation": utilisation} if fits else {}
    return {"feasible": fits, "violation": 0.0 if fits else utilisation, "violations": violations,
            "objectives": objectives, "gap": 0.0, "seconds": 0.0}  # fmt: skip


def accuracy(spec: NetSpec, recipe: str) -> float:
    best = 1 - 0.55 * math.exp(-math.log10(spec.params) / 2.2) - 0.02 * luck(spec)
    return max(0.1, best * {"few": 0.6, "short": 0.85, "full": 1.0}[recipe])


def trained(spec_json: str, settings: dict[str, Any], how: dict[str, Any], checkpoint: str) -> Row:
    spec = from_json(spec_json)
    return {"diverged": False, "seconds": spec.macs * 1e-7, "epochs": 4, "curve": [], "images": 4000,
            "val_accuracy": accuracy(spec, how["recipe"])}  # fmt: skip


def scored(spec_json: str, settings: dict[str, Any]) -> Row:
    spec = from_json(spec_json)
    value = accuracy(spec, "full")
    names = ("nwot", "synflow", "jacov", "snip", "grad_norm", "zen", "params", "flops")
    return {"scores": {n: value + 0.01 * k * luck(spec) for k, n in enumerate(names)}, "seconds": 0.01}


ANSWERS = {tasks.estimate_candidate: estimated, tasks.train_candidate: trained, tasks.score_network: scored}


SECONDS = {tasks.estimate_candidate: 0.4, tasks.score_network: 0.3}  # of one core, CIFAR-10: measured means
IMAGE_S = 4.8e-11  # of one core a multiply-accumulate, forward and backward: 45 s for 45,000 images of 20.7 million
IMAGES = {"few": 2_000, "short": 16_000, "epoch": 56_000, "full": 13 * 45_000}
SPREAD = 0.3  # deviation of the logarithm of a task's time: what shared machines add
DISPATCH_S = 0.002  # of the head a task
FULL = 96  # candidates for each that is trained fully
LARGE = 384  # candidates of a generation for many nodes
LAGS = (1, 4, 16, 64)  # generations at work at once
NODES = (1, 2, 8, 32, 128, 1000)


def seconds(task: Task) -> float:
    """Of one core, the mean."""
    base = SECONDS.get(task.function)
    return base or from_json(task.arguments[0]).macs * IMAGE_S * IMAGES[task.arguments[2]["recipe"]]


@dataclass
class Generation:
    """What one generation of a search asked for. ``rungs``: seconds of the tasks of each, which need the results of
    the one before; ``head``: the search's own processor seconds; ``full``: of full trainings that can begin after it
    and that no later generation waits for."""

    rungs: list[list[float]]
    head: float = 0.0
    full: list[float] = field(default_factory=list)


class AtOnce:
    """Workers whose answers are there at once; what they are asked is kept."""

    def __init__(self) -> None:
        self.trace: list[Generation] = []
        self.shorts: list[tuple[float, int]] = []  # accuracy and work of shortly trained networks not yet trained fully
        self.asked, self.left = 0, time.process_time()  # not the wall clock: the machine may be shared

    def run(self, work: list[Task]) -> Iterator[Done | Failed]:
        if work and work[0].function is tasks.estimate_candidate:
            self.generation(len(work))
        if self.trace:
            self.trace[-1].head += time.process_time() - self.left
            self.trace[-1].rungs.append([seconds(t) for t in work])
        self.shorts += [
            (accuracy(spec, "full"), spec.macs)
            for spec in (from_json(t.arguments[0]) for t in work if t.trains and t.arguments[2]["recipe"] == "short")
        ]
        answers = [Done(t.key, ANSWERS[t.function](*t.arguments), 0.0) for t in work]
        self.left = time.process_time()
        yield from answers

    def generation(self, count: int) -> None:
        self.asked += count
        while self.shorts and self.asked >= FULL:
            self.asked -= FULL
            best = max(self.shorts)
            self.shorts.remove(best)
            self.trace[-1].full.append(best[1] * IMAGE_S * IMAGES["full"])
        self.trace.append(Generation([]))


class Cluster:
    """``nodes`` single workers and one head in virtual time; ``lag`` generations are at work at once, each decided
    when the one ``lag`` before it is told: on results that do not depend on who was fast, so the search stays
    reproducible. Earlier generations first, the longest task first; one task in a thousand is lost half-way."""

    def __init__(self, trace: list[Generation], nodes: int, lag: int) -> None:
        self.trace, self.nodes, self.lag, self.rng = trace, nodes, lag, np.random.default_rng(0)
        self.now = self.head = 0.0
        self.free, self.count = nodes, itertools.count()
        self.events: list[tuple[float, int, int, bool]] = []  # time, number, generation, whether of a rung
        self.ready: list[tuple[float, float, int, int]] = []  # priority, -seconds, number, generation
        self.rung, self.open = [0] * len(trace), [0] * len(trace)
        self.spans: list[tuple[float, float]] = []

    def run(self) -> tuple[float, float]:
        """Seconds until the last generation is told, and seconds of all workers' work within them."""
        for g in range(min(self.lag, len(self.trace))):
            self.ask(g)
        while self.events and self.rung[-1] <= len(self.trace[-1].rungs):
            self.now, _, g, waited = heapq.heappop(self.events)
            self.free += 1
            if waited:
                self.open[g] -= 1
                if not self.open[g]:
                    self.ask(g)
            self.dispatch()
        return self.now, sum(min(end, self.now) - begin for begin, end in self.spans if begin < self.now)

    def ask(self, g: int) -> None:
        """The next rung of a generation, after the head has thought; after the last one it is told."""
        rungs = self.trace[g].rungs
        while self.rung[g] <= len(rungs):
            self.head = max(self.head, self.now) + self.trace[g].head / (len(rungs) + 1)
            k, self.rung[g] = self.rung[g], self.rung[g] + 1
            if k == len(rungs):
                for s in self.trace[g].full:
                    heapq.heappush(self.ready, (math.inf, -s, next(self.count), g))
                if g + self.lag < len(self.trace):
                    self.ask(g + self.lag)
            elif rungs[k]:
                self.open[g] = len(rungs[k])
                for s in rungs[k]:
                    heapq.heappush(self.ready, (g, -s, next(self.count), g))
                break
        self.dispatch()

    def dispatch(self) -> None:
        while self.ready and self.free:
            priority, negative, _, g = heapq.heappop(self.ready)
            self.head = max(self.head, self.now) + DISPATCH_S
            took = -negative * float(self.rng.lognormal(0.0, SPREAD)) * (1.5 if self.rng.random() < 1e-3 else 1.0)
            self.free -= 1
            self.spans.append((self.head, self.head + took))
            heapq.heappush(self.events, (self.head + took, next(self.count), g, priority != math.inf))


def curve(trace: list[Generation], generation: int, most: int) -> Iterator[Row]:
    """Utilisation by nodes, one generation after the other as built, and with several at once."""
    for nodes in [n for n in NODES if n <= most]:
        row: Row = {"nodes": nodes, "generation": generation}
        for lag in LAGS:
            took, busy = Cluster(trace, nodes, lag).run() if lag < len(trace) else (math.inf, 0.0)
            row[f"{lag} at once"] = f"{busy / (took * nodes):.1%}" if busy else None
            if lag == 1:
                row["candidates an hour"] = round(3600 * generation * len(trace) / took)
        yield row


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def traced(folder: Path, count: int, strategy: str, generation: int) -> list[Generation]:
    """What a search of ``count`` candidates asks of its workers."""
    config = Config(trials=count, time_s=1e7, strategy=strategy, toolchain="none", generation=generation)
    pool = AtOnce()
    with Archive.create(folder, config.dict(), {}) as archive:
        explore.explore(Study(config, archive, lambda text: None), pool)
    return pool.trace


def search(folder: Path, count: int, strategy: str, pool: AtOnce) -> Iterator[Row]:
    """Seconds that the search itself takes per generation, early and late, then resume and report."""
    config = Config(trials=count, time_s=1e6, strategy=strategy, toolchain="none")
    marks: list[float] = []
    with Archive.create(folder, config.dict(), {}) as archive:
        study = Study(config, archive, lambda text: marks.append(time.perf_counter()))
        marks.append(time.perf_counter())
        explore.explore(study, pool)
    steps = [b - a for a, b in itertools.pairwise(marks)]
    tenth = max(1, len(steps) // 10)
    yield {"what": "first tenth, s a generation of 24", "value": round(sum(steps[:tenth]) / tenth, 3)}
    yield {"what": "last tenth, s a generation of 24", "value": round(sum(steps[-tenth:]) / tenth, 3)}
    yield {"what": "whole run, s", "value": round(marks[-1] - marks[0], 1)}
    yield {"what": "journal, MB", "value": round((folder / "journal.jsonl").stat().st_size / 1e6, 1)}
    began = time.perf_counter()
    with Archive.open(folder) as archive:
        study = Study(config, archive, lambda text: None)
        study.replay()
        yield {"what": "resume, s", "value": round(time.perf_counter() - began, 1)}
        began = time.perf_counter()
        every = [c for _, c in sorted(study.state.candidates.items())]
        seen = [results.shown(study, c, study.state.short.get(c.spec.digest)) for c in every]
        front = {"objectives": ["accuracy", "latency_ms", "utilisation"], "reference": [0.1, 1000.0, 1.0]}
        front |= {"hypervolume": 0.0, "trials": count, "points": []}
        page = html.render(front, seen, results.meta(study, []))
        yield {"what": "report, s", "value": round(time.perf_counter() - began, 1)}
        yield {"what": "report, MB", "value": round(len(page) / 1e6, 1)}
    yield {"what": "memory of the process, MB", "value": round(megabytes())}


def tables(arguments: list[str]) -> Iterator[tuple[str, list[Row]]]:
    p = argparse.ArgumentParser(prog="flow bench scale")
    p.add_argument("--candidates", type=int, default=10_000)
    p.add_argument("--nodes", type=int, default=1000)
    p.add_argument("--strategy", default="nsga2")
    p.add_argument("--keep", type=Path, help="folder for the run")
    a = p.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="coexplore-") as scratch:
        pool = AtOnce()
        rows = list(search(a.keep or Path(scratch) / "run", a.candidates, a.strategy, pool))
        yield f"{a.candidates:,} candidates, {a.strategy}", rows
        rows = list(curve(pool.trace, Config().generation, a.nodes))
        if a.candidates >= 4 * LARGE:
            large = traced(Path(scratch) / "large", a.candidates, a.strategy, LARGE)
            rows += curve(large, LARGE, a.nodes)
        yield "Workers' utilisation, simulated: generations at once", rows
