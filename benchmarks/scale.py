"""A run of ten thousand candidates, and a thousand nodes: does the search itself keep up?

``flow bench scale [--candidates N] [--nodes N]``

The first table drives the real search - strategy, promotion, journal, resume, report - over real networks of the
default space. Only the three expensive steps are answered by formulas at once (latency and utilisation from work and
weights, accuracy from size and a network's own digest), so that what is measured is the search. The second simulates
workers that take as long as trainings do, with the real promotion policy deciding what they get: see docs/scale.md.
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


class AtOnce:
    """Workers whose answers are there at once."""

    def run(self, work: list[Task]) -> Iterator[Done | Failed]:
        for task in work:
            yield Done(task.key, ANSWERS[task.function](*task.arguments), 0.0)


SECONDS = {tasks.estimate_candidate: 0.4, tasks.score_network: 0.3}  # of one core, CIFAR-10: measured means
IMAGE_S = 4.8e-11  # of one core a multiply-accumulate, forward and backward: 45 s for 45,000 images of 20.7 million
IMAGES = {"few": 2_000, "short": 16_000, "full": 13 * 45_000}
SPREAD = 0.3  # deviation of the logarithm of a task's time: what shared machines add
DISPATCH_S = 0.002  # of the head a task


class Virtual:
    """``nodes`` single workers in virtual time, tasks in order to whichever is free first; the head's own work is real
    time in which all of them wait. One task in a thousand is lost half-way and done again."""

    def __init__(self, nodes: int, seed: int = 0) -> None:
        self.nodes, self.rng = nodes, np.random.default_rng(seed)
        self.clock = self.busy = self.head = 0.0
        self.left = time.process_time()  # not the wall clock: the machine may be shared

    def seconds(self, task: Task) -> float:
        base = SECONDS.get(task.function)
        if base is None:
            base = from_json(task.arguments[0]).macs * IMAGE_S * IMAGES[task.arguments[2]["recipe"]]
        mean = base * float(self.rng.lognormal(0.0, SPREAD))
        return mean * 1.5 if self.rng.random() < 1e-3 else mean

    def run(self, work: list[Task]) -> Iterator[Done | Failed]:
        self.head += time.process_time() - self.left
        self.clock += time.process_time() - self.left
        free = [self.clock] * self.nodes
        ends = []
        for k, task in enumerate(work):
            start = max(heapq.heappop(free), self.clock + k * DISPATCH_S)
            took = self.seconds(task)
            heapq.heappush(free, start + took)
            self.busy += took
            ends.append((start + took, k))
        self.clock = max(ends, default=(self.clock, 0))[0]
        answers = [Done(work[k].key, ANSWERS[work[k].function](*work[k].arguments), 0.0) for _, k in sorted(ends)]
        self.left = time.process_time()
        yield from answers


def simulated(folder: Path, nodes: int, generation: int, generations: int) -> Row:
    config = Config(trials=generation * generations, time_s=1e7, toolchain="none", generation=generation)
    pool = Virtual(nodes)
    with Archive.create(folder, config.dict(), {}) as archive:
        explore.explore(Study(config, archive, lambda text: None), pool)
    return {
        "nodes": nodes,
        "generation": generation,
        "utilisation": f"{pool.busy / (pool.clock * nodes):.1%}",
        "candidates an hour": round(3600 * config.trials / pool.clock),
        "speed-up": round(pool.busy / pool.clock, 1),
        "head's share of the time": f"{pool.head / pool.clock:.1%}",
    }


def megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def search(folder: Path, count: int, strategy: str) -> Iterator[Row]:
    """Seconds that the search itself takes per generation, early and late, then resume and report."""
    config = Config(trials=count, time_s=1e6, strategy=strategy, toolchain="none")
    marks: list[float] = []
    with Archive.create(folder, config.dict(), {}) as archive:
        study = Study(config, archive, lambda text: marks.append(time.perf_counter()))
        marks.append(time.perf_counter())
        explore.explore(study, AtOnce())
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
        rows = list(search(a.keep or Path(scratch) / "run", a.candidates, a.strategy))
        yield f"{a.candidates:,} candidates, {a.strategy}", rows
        rows = []
        for nodes in [n for n in (1, 10, 100, 1000, 10_000) if n <= a.nodes]:
            for generation in sorted({24, 4 * nodes, 12 * nodes}):
                if generation >= 24:
                    rows.append(simulated(Path(scratch) / f"{nodes}-{generation}", nodes, generation, 2))
        yield "Exploring on many nodes, two generations, simulated", rows
