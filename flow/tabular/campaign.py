"""Many searches of one problem, each journalled when it is done: an interrupted benchmark goes on where it stopped.

A line of the journal is one search (arm and seed) with its scores; it counts only for the very problem and the very
code that made it, of which it carries a digest.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from flow import search
from flow.tabular import optimum
from flow.tabular.arms import Arm, Truth, scores
from flow.tabular.optimum import Optimum
from flow.tabular.problem import Problem

Task = tuple[Arm, int, tuple[int, ...]]  # seed, budgets


@dataclass(frozen=True)
class Outcome:
    """One search: (hypervolume ratio, IGD+) at each budget up to the arm's most, and the processor's seconds."""

    scores: list[tuple[float, float]]
    seconds: float


class Journal:
    """``path``: a JSON object a line; None keeps everything in memory. A torn last line is what a killed process
    leaves; it is cut off."""

    def __init__(self, path: Path | None = None) -> None:
        self.path, self.known = path, dict[str, Outcome]()
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        data = path.read_bytes() if path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.truncate(path, len(whole))
        for line in whole.splitlines():
            r = json.loads(line)
            rows = [(a, float("inf") if b is None else b) for a, b in r["scores"]]
            self.known[r["key"]] = Outcome(rows, r["seconds"])

    def add(self, key: str, found: Outcome, **said: Any) -> None:
        self.known[key] = found
        if self.path is not None:
            rows = [[a, None if b == float("inf") else b] for a, b in found.scores]
            line = json.dumps({**said, "scores": rows, "seconds": found.seconds, "key": key})
            with self.path.open("a", encoding="utf-8") as f:
                f.write(line + "\n")
                f.flush()
                os.fsync(f.fileno())


def compare(
    truth: Truth,
    arms: Sequence[Arm],
    seeds: int,
    budgets: Sequence[int],
    workers: int = 1,
    journal: Journal | None = None,
) -> list[list[Outcome]]:
    """Outcomes by arm and seed, the same on any number of workers; those that the journal knows are not run again."""
    kept = Journal() if journal is None else journal
    same = digest(truth.problem, search)
    keys = {(i, seed): key(same, arm, seed, budgets) for i, arm in enumerate(arms) for seed in range(seeds)}
    missing = {k: (arms[i], seed, tuple(budgets)) for (i, seed), k in keys.items() if k not in kept.known}
    for k, found in _results(truth, missing, workers):
        arm, seed, _ = missing[k]
        kept.add(k, found, problem=truth.problem.name, arm=asdict(arm), seed=seed, budgets=list(budgets))
    return [[kept.known[keys[i, seed]] for seed in range(seeds)] for i in range(len(arms))]


def key(same: str, arm: Arm, seed: int, budgets: Sequence[int]) -> str:
    text = json.dumps([same, asdict(arm), seed, list(budgets)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _results(truth: Truth, tasks: dict[str, Task], workers: int) -> Iterator[tuple[str, Outcome]]:
    global _truth
    _truth = truth
    if workers == 1:
        yield from ((k, _outcome(t)) for k, t in tasks.items())
        return
    # Linux: a fork shares the tables, which are too large to send.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork")) as pool:
        waiting = {pool.submit(_outcome, t): k for k, t in tasks.items()}
        for done in as_completed(waiting):
            yield waiting[done], done.result()


_truth: Truth  # of the comparison under way, for forked processes


def _outcome(task: Task) -> Outcome:
    began = time.process_time()
    return Outcome(scores(_truth, *task), time.process_time() - began)


# ------------------------------------------------------------ what results depend on


def digest(problem: Problem, *packages: ModuleType) -> str:
    """Of the problem's numbers and of the code: these packages and this one."""
    total = hashlib.sha256()
    for part in (*_arrays(problem), problem.accuracies.early, problem.accuracies.late):
        total.update(part.tobytes())
    for folder in (*(Path(str(p.__file__)).parent for p in packages), Path(__file__).parent):
        for file in sorted(folder.glob("*.py")):
            total.update(file.read_bytes())
    return total.hexdigest()


def _arrays(problem: Problem) -> Iterable[np.ndarray]:
    c = problem.costs
    for stage in c.stages:
        yield from (stage.work, stage.cycles, stage.delay, stage.lag, stage.add, stage.fork, stage.lanes, stage.beats)
    yield from (*c.reduction, *c.reduction_cycles, *c.reduction_lag, c.stem, c.stem_cycles, c.stem_lag)
    yield from (c.head, c.head_cycles, c.head_lag, c.fifo, problem.budget, problem.body_of)


def solved(problem: Problem, workers: int = 1) -> Optimum:
    """Every network's best accelerator, kept in the user's cache."""
    folder = Path(os.environ.get("COEXPLORE_CACHE", Path.home() / ".cache" / "coexplore")) / "tabular"
    path = folder / f"{digest(problem)[:24]}.npz"
    if path.is_file():
        with np.load(path, allow_pickle=False) as z:
            return Optimum(z["latency"], z["hardware"])
    found = optimum.solve(problem, workers)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    np.savez(temporary, latency=found.latency, hardware=found.hardware)
    os.replace(temporary, path)
    return found
