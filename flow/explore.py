"""Exploring: generations of joint candidates, each estimated, the most promising networks trained shortly.

genotype -> space.network -> NetSpec -> tasks.estimate_candidate -> measures     (every candidate)
  -> ladder.climb: zero-cost scores, a few steps, short training -> accuracy     (promoted)
  -> tasks.synthesise -> reported measures             (one a generation, when a vendor's tool is installed)
  -> archive -> strategy.tell
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from flow import feedback, ladder, search, tasks
from flow.board import Board
from flow.study import Candidate, Study
from flow.workers import Failed, Task, Workers

LIMIT = 0.35  # of the time limit for exploring in all
SYNTHESIS_S = 7200.0  # time limit of one synthesis


def explore(study: Study, pool: Workers) -> None:
    """Generations of joint candidates until the trials or the time for exploring are used up."""
    study.replay()
    while (start := complete(study)) < study.config.trials:
        if study.elapsed() > LIMIT * study.config.time_s and study.state.short:
            study.note("time for exploring is used up")
            break
        numbers = range(start, min(start + study.config.generation, study.config.trials))
        missing = [n for n in numbers if n not in study.state.candidates]
        try:
            genotypes = study.strategy.ask(len(missing))
        except search.Exhausted:
            study.note("the space is exhausted")
            break
        fresh = [study.candidate(n, g) for n, g in zip(missing, genotypes, strict=False)]
        estimate(study, pool, fresh, start)
        ladder.climb(study, pool, start)
        verify(study, pool, start)
        study.recalibrate(start)
        remap(study, pool, start)
        tell(study, fresh)
        progress(study)


def complete(study: Study) -> int:
    """First number of the generation to work on: all before it are told."""
    told, size = len(study.state.candidates), study.config.generation
    while told and told - 1 not in study.state.candidates:
        told -= 1
    return told if told >= study.config.trials else told // size * size


def estimate(study: Study, pool: Workers, batch: list[Candidate], start: int) -> None:
    settings = study.settings_at(start)
    work = [
        Task(str(c.number), tasks.estimate_candidate, (c.spec.json(), c.clock_mhz, c.budget, settings), 300)
        for c in batch
    ]
    by_key = {str(c.number): c for c in batch}
    for outcome in pool.run(work):
        c = by_key[outcome.key]
        if isinstance(outcome, Failed):
            c.result = {"feasible": False, "violation": 1e6, "violations": [], "objectives": {}, "seconds": 0.0,
                        "failure": outcome.reason}  # fmt: skip
            study.note(f"candidate {c.number} failed: {outcome.reason}")
        else:
            c.result = outcome.value
        study.state.candidates[c.number] = c


def verify(study: Study, pool: Workers, start: int) -> None:
    """With a vendor's tool: synthesise the trained candidate of the generation whose report teaches most, and believe
    it."""
    batch = [c for n, c in sorted(study.state.candidates.items()) if n >= start]
    ready = [c for c in batch if c.feasible and c.spec.digest in study.state.pace]
    if study.tool is None or not ready or any("tool" in c.result for c in batch):
        return
    ready = [c for c in ready if not study.lacking(study.state.short[c.spec.digest])] or ready
    values = study.points(ready, np.array([study.state.short[c.spec.digest] for c in ready]))
    assert isinstance(study.board, Board)  # a search over several has no tool
    c = ready[feedback.telling([c.result for c in ready], values, study.settings_at(start), study.board)]
    name = f"candidate {c.number}"
    if known := study.judgement(name):
        study.believe(known, c.result)
        return
    folder = study.folder / "synthesis" / f"{c.number:04d}"
    arguments = (
        str(study.checkpoint(c.spec.digest, "short")),
        c.clock_mhz,
        c.budget,
        "throughput",
        study.settings_at(start),
        str(folder),
    )
    for outcome in pool.run([Task(str(c.number), tasks.synthesise, arguments, SYNTHESIS_S)]):
        study.judged(outcome, c.result, name)


def remap(study: Study, pool: Workers, start: int) -> None:
    """Map candidates anew that reports say do not fit or leave room, where that may add to the front.

    Once a generation and journalled, like the calibration that it follows; candidates of the generation itself are
    journalled with their trials.
    """
    known = study.archive.of("remapped")
    if not study.calibrations or study.calibrations[-1][0] != start or not isinstance(study.board, Board):
        return
    settings = study.settings_at(math.inf)
    before = [c for c in study.state.candidates.values() if c.number < start]
    now = [c for n, c in sorted(study.state.candidates.items()) if n >= start]
    for group in (before, now):
        if group is before and any(r["start"] == start for r in known):
            continue
        chosen = outdated(study, group, settings)
        results = mapped_anew(study, pool, chosen, settings)
        if group is before and results:
            record = {"kind": "remapped", "start": start, "results": {str(n): r for n, r in results.items()}}
            study.archive.append(record)
            study.strategy.tell(study.remapped(record))
            study.note(f"{len(results)} earlier candidates mapped anew")
        for c in now:
            c.result = results.get(c.number, c.result)


def outdated(study: Study, group: list[Candidate], settings: dict[str, Any]) -> list[Candidate]:
    """Those whose accelerators could be better by what the reports say, the most promising ones first."""
    hopes = [(c, feedback.hope(c.result, c.budget, settings)) for c in group]
    hopeful = [replace(c, result={**c.result, "objectives": o}) for c, o in hopes if o is not None]
    good = [c for c in study.state.candidates.values() if c.feasible]
    if not hopeful:
        return []
    values = [
        study.points(cs, study.accuracies([c.spec for c in cs])[0]) if cs else np.empty((0, 3))
        for cs in (hopeful, good)
    ]
    best = feedback.outdated(values[0], values[1], study.reference(), study.config.generation)
    return [study.state.candidates[hopeful[i].number] for i in best]


def mapped_anew(
    study: Study, pool: Workers, chosen: list[Candidate], settings: dict[str, Any]
) -> dict[int, dict[str, Any]]:
    """Results of those that fit now; the others stay what they are."""
    by_key = {str(c.number): c for c in chosen}
    work = [
        Task(k, tasks.estimate_candidate, (c.spec.json(), c.clock_mhz, c.budget, settings), 300)
        for k, c in by_key.items()
    ]
    done = [o for o in pool.run(work) if not isinstance(o, Failed)]
    kept = [o for o in done if feedback.replaces(o.value, by_key[o.key].result)]
    return {int(o.key): o.value for o in sorted(kept, key=lambda o: int(o.key))}


def tell(study: Study, batch: list[Candidate]) -> None:
    """Journal the generation and tell the strategy."""
    feasible = [c for c in batch if c.feasible]
    accuracy = dict(zip(
        (c.number for c in feasible), study.accuracies([c.spec for c in feasible])[0] if feasible else [], strict=True
    ))  # fmt: skip
    told, records = [], []
    for c in batch:
        record = {
            "kind": "trial",
            "trial": c.number,
            "genotype": study.space.dumps(c.genotype),
            "network": c.spec.digest,
            "clock_mhz": c.clock_mhz,
            "budget": c.budget,
            "accuracy": float(accuracy[c.number]) if c.feasible else None,
            "trained": c.spec.digest in study.state.short,
            **c.result,
        }
        records.append(record)
        told.append(study.trial(c, record["accuracy"]))
    study.archive.append(*records)
    study.strategy.tell(told)


def progress(study: Study) -> None:
    done = list(study.state.candidates.values())
    good = [c for c in done if c.feasible]
    best = max(study.state.short.values(), default=0.0)
    fastest = min((c.result["objectives"]["latency_ms"] for c in good), default=math.nan)
    study.note(
        f"{len(done)}/{study.config.trials} candidates estimated, {len(good)} fit; {len(study.state.short)} networks "
        f"trained shortly, best {best:.4f}; lowest latency {fastest:.4g} ms (estimate)"
    )
