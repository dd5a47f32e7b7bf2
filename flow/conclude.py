"""Concluding: the best networks trained fully, mapped with their true weights, and every front point proved.

plan.narrow: one epoch -> plan.finalists -> tasks.train_candidate("full")
  -> tasks.refine (all hardware points of the space)
  -> front -> tasks.finish: compile, C simulation against onnxruntime -> tasks.synthesise (with a tool)
  -> what a report says is too large: mapped anew, smaller, by what the reports teach
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flow import explore, feedback, place, plan, space, tasks
from flow.board import Board
from flow.search import pareto
from flow.space.network import NetSpec
from flow.study import RunError, Study
from flow.workers import Done, Failed, Task, Workers

SMALLER = 2  # times that a design whose report exceeds the board is mapped anew
LESS = 0.999  # of the share that it should need: another one than that of the design it replaces
AFTER = 10**9  # calibrations after exploring: no generation begins later


def conclude(study: Study, pool: Workers) -> list[dict[str, Any]]:
    """Full training, true weights at every hardware point, the front, its proof.

    Returns the journal's records of the front's points.
    """
    plan.narrow(study, pool)
    finals = plan.finalists(study)
    specs = finals.specs
    said = ", ".join(f"{s.digest[:8]} {finals.shares[s.digest]:.0%}" for s in specs)
    often = f", {finals.seeds} seeds each" if finals.seeds > 1 else ""
    study.note(f"training {len(specs)} networks fully{often}, with these shares of the epochs: {said}")
    train(study, pool, finals)
    if study.config.mode in ("nas", "sequential"):  # one network goes on: the most accurate
        specs = [max(specs, key=lambda s: (study.state.full.get(s.digest, 0.0), s.digest))]
    points = refined(study, pool, specs)
    if not points:
        raise RunError(study.nothing_fits())
    best, least = max(p["accuracy"] for p in points), study.config.min_accuracy
    if best < least:
        raise RunError(
            f"the most accurate network reaches {best:.4f} on the validation split, --min-accuracy asks for {least:g}: "
            "give the search more --time, or ask for less"
        )
    return prove(study, pool, points)


def train(study: Study, pool: Workers, finals: plan.Finals) -> None:
    """The finalists' full training. With ``curves``, those after the first few are given up once their curve says
    that they stay below what the first ones' accelerators already give; the parting does not depend on the workers."""
    specs, shares = finals.specs, finals.shares
    done: list[NetSpec] = []
    for part in plan.parts({s.digest: shares[s.digest] for s in specs}, plan.curves(study)):
        known = study.state.full.keys() | study.state.given_up
        fresh = [s for s in specs if s.digest in part and s.digest not in known]
        alike = [s for s in fresh if shares[s.digest] == min(shares.values())]
        needed = least_accuracies(study, pool, done, alike) if done and alike else {}
        study.train(pool, fresh, "full", shares, plan.own_weights(study, fresh), needed, done, finals.seeds)
        done += [s for s in specs if s.digest in part]


def least_accuracies(study: Study, pool: Workers, done: list[NetSpec], fresh: list[NetSpec]) -> dict[str, float]:
    """Network -> the accuracy above which one of its accelerators is on the front, the points of ``done`` given."""
    points = refined(study, pool, done)
    found: dict[str, float] = {}
    for s in fresh:
        own = [c.result["objectives"] for c in study.state.candidates.values() if c.spec.digest == s.digest]
        found[s.digest] = min((best_within(points, o) for o in own if o), default=0.0)
    return found


def best_within(points: list[dict[str, Any]], o: dict[str, float]) -> float:
    """The best accuracy among points no slower and no larger than ``o``; 0 without any."""
    better = [
        p["accuracy"]
        for p in points
        if p["objectives"]["latency_ms"] <= o["latency_ms"] and p["objectives"]["utilisation"] <= o["utilisation"]
    ]
    return max(better, default=0.0)


def refined(study: Study, pool: Workers, specs: list[NetSpec]) -> list[dict[str, Any]]:
    """Every fully trained network at every size of accelerator."""
    clock = study.config.clock_mhz or place.clock_mhz(study.board)
    given = study.config.mode == "hw-aware"
    shipped = set() if given else set(space.hardware.BUDGETS)
    budgets = sorted({c.budget for c in study.state.candidates.values()} | shipped)
    done = {r["network"]: r["points"] for r in study.archive.of("refine")}
    wanted = [s for s in specs if s.digest not in done and study.checkpoint(s.digest, "full").exists()]
    settings = study.settings_at(math.inf)
    more = 0 if given else tasks.SIZES  # hw-aware: the accelerator's share is given
    work = [
        Task(s.digest, tasks.refine, (str(study.checkpoint(s.digest, "full")), clock, budgets, settings, more), 600)
        for s in wanted
    ]
    for outcome in pool.run(work):
        if isinstance(outcome, Failed):
            study.note(f"network {outcome.key[:8]} failed: {outcome.reason}")
            continue
        study.archive.append({"kind": "refine", "network": outcome.key, "points": outcome.value})
        done[outcome.key] = outcome.value
    known = {(c.spec.digest, c.clock_mhz, c.budget, "throughput"): n for n, c in study.state.candidates.items()}
    found, number = [], len(study.state.candidates)
    for s in sorted(specs, key=lambda s: s.digest):  # the finalists' order depends on measured times
        for p in done.get(s.digest, []):
            p = {**p, "network": s.digest, "accuracy": study.state.full[s.digest]}
            found.append({**p, "trial": known.get(key(p), number)})
            number += 1
    return found


def front(points: list[dict[str, Any]], size: int, reference: tuple[float, float, float]) -> list[dict[str, Any]]:
    """Undominated points; when more than ``size``, those that keep most of the hypervolume."""

    def values(ps: list[dict[str, Any]]) -> np.ndarray:
        return np.array([
            (-p["accuracy"], math.log10(p["objectives"]["latency_ms"]), p["objectives"]["utilisation"]) for p in ps
        ])  # fmt: skip

    points = [p for p, keep in zip(points, pareto.nondominated(values(points)), strict=True) if keep]
    unique = {tuple(v): p for v, p in zip(values(points).tolist(), points, strict=True)}
    points = list(unique.values())
    while len(points) > size:
        loss = pareto.contributions(values(points), reference)
        # The most accurate, the fastest and the smallest point stay whatever they contribute.
        loss[values(points).argmin(0)] = math.inf
        points.pop(int(np.argmin(loss)))
    return sorted(points, key=lambda p: p["objectives"]["latency_ms"])


def prove(study: Study, pool: Workers, points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compile and C-simulate every front point, synthesise it when a tool is there; failures and points that their
    report pushes off the front are replaced by the next best, or by a smaller design of the same network."""
    finished = {key(r): r for r in study.archive.of("proof")}
    points = merged(points, [p for r in study.archive.of("smaller") for p in r["points"]])
    while points:
        study.recalibrate(AFTER + len(study.archive.of("tool")))
        for p in points:
            p["objectives"] = finished[key(p)]["objectives"] if key(p) in finished else believed(study, p)
        points = [p for p in merged(points, smaller(study, pool, points, finished)) if within(study, p)]
        if not points:
            break
        chosen = front(points, study.config.front_size, study.reference())
        todo = {str(key(p)): p for p in chosen if key(p) not in finished or not at(study, p).is_dir()}
        if not todo:
            return [finished[key(p)] for p in chosen]
        study.note(f"compiling and C-simulating {len(todo)} front points")
        work = [Task(k, tasks.finish, (*arguments(study, p), str(at(study, p))), 1800) for k, p in todo.items()]
        for outcome in pool.run(work):
            p = todo[outcome.key]
            record = proof(study, outcome, p)
            if record is None:
                points.remove(p)
            else:
                finished[key(p)] = record
        synthesise(study, pool, [p for p in todo.values() if p in points], finished)
    raise RunError("no front point could be compiled and proved within the limits; the journal says why")


def believed(study: Study, p: dict[str, Any]) -> dict[str, Any]:
    """An estimated point's measures as the reports so far make them."""
    if not isinstance(study.board, Board):
        return dict(p["objectives"])
    return feedback.corrected(p["raw"], p["shares"], study.settings_at(math.inf), study.board)


def merged(points: list[dict[str, Any]], more: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Both, the later ones in the place of equal earlier ones."""
    return list({key(p): p for p in (*points, *more)}.values())


def smaller(
    study: Study, pool: Workers, points: list[dict[str, Any]], finished: Mapping[Any, Any]
) -> list[dict[str, Any]]:
    """Designs in the place of those that exceed the board, by their own report or by others': of the same networks.

    What a design's report still exceeds its corrected estimate by is its own, and likely its smaller sibling's too:
    that part of the limit is left free. Journalled; a reported design is replaced once.
    """
    if study.tool is None or not study.calibrations:
        return []
    limit, settings, work = study.config.max_utilisation, study.settings_at(math.inf), {}
    known = study.archive.of("smaller")
    for p in points:
        used, share = p["objectives"]["utilisation"], p["budget"]
        if used <= limit or p["objective"] != "throughput":
            continue
        if key(p) in finished:
            if p.get("smaller", 0) >= SMALLER or list(key(p)) in [r["of"] for r in known]:
                continue
            share = lesser(share, limit, used, believed(study, p)["utilisation"])
        work[str(key(p))] = p, share
    jobs = [
        Task(k, tasks.refine, (str(study.checkpoint(p["network"], "full")), p["clock_mhz"], [b], settings, 0), 600)
        for k, (p, b) in work.items()
    ]
    found: list[dict[str, Any]] = []
    number = len(study.state.candidates) + sum(len(r["points"]) for r in (*study.archive.of("refine"), *known))
    for outcome in sorted(pool.run(jobs), key=lambda o: o.key):
        p = work[outcome.key][0]
        own = {k: p[k] for k in ("network", "accuracy", "trial", "smaller") if k in p}
        if key(p) in finished:
            own |= {"trial": number + len(found), "smaller": p.get("smaller", 0) + 1}
        more = [] if isinstance(outcome, Failed) else [{**q, **own} for q in outcome.value]
        study.archive.append({"kind": "smaller", "of": list(key(p)), "points": more})
        found += more
    if work:
        study.note(f"{len(work)} designs are too large by the reports: {len(found)} smaller ones of their networks")
    return found


def lesser(share: float, limit: float, used: float, believed: float) -> float:
    """The share of the board for a design in the place of one that was mapped for ``share``, believed to use
    ``believed`` and reported to use ``used``."""
    return LESS * min(believed / used, 1.0) * min(share, limit)


def within(study: Study, p: dict[str, Any]) -> bool:
    """Whether a point's measures, reported ones where there are, keep the user's limits."""
    o, limits = p["objectives"], study.config
    return bool(
        o["utilisation"] <= limits.max_utilisation
        and p["accuracy"] >= limits.min_accuracy
        and o["fps"] >= limits.min_fps
        and o["latency_ms"] <= (limits.max_latency_ms or math.inf)
        and o.get("energy_mj", 0.0) <= (limits.max_energy_mj or math.inf)
    )


def arguments(study: Study, p: dict[str, Any]) -> tuple[Any, ...]:
    settings = study.settings_at(math.inf)
    return str(study.checkpoint(p["network"], "full")), p["clock_mhz"], p["budget"], p["objective"], settings


def proof(study: Study, outcome: Done | Failed, p: dict[str, Any]) -> dict[str, Any] | None:
    """The journal's record of a proved point, or None."""
    good = isinstance(outcome, Done) and outcome.value["fits"] and outcome.value["csim"]["bit_exact"]
    if not isinstance(outcome, Done) or not good:
        reason = outcome.reason if isinstance(outcome, Failed) else str(outcome.value)
        study.note(f"front point {p['network'][:8]} at {p['budget']:g} is dropped: {reason[:300]}")
        study.archive.append({"kind": "dropped", **p, "reason": reason[:2000]})
        return None
    result = outcome.value
    p["objectives"] = result["objectives"]
    record = {"kind": "proof", **p, "result": result, "directory": str(at(study, p).relative_to(study.folder))}
    if study.tool is None:
        study.archive.append(record)
    exact = result["csim"]
    study.note(
        f"{record['directory']}: test accuracy {result['test_accuracy']:.4f}, "
        f"{result['objectives']['latency_ms']:.4g} ms (estimate), bit-exact on {exact['images']} images"
    )
    return record


def synthesise(study: Study, pool: Workers, points: list[dict[str, Any]], finished: dict[Any, dict[str, Any]]) -> None:
    """Reported numbers for proved points, told to the strategy too."""
    if study.tool is None:
        return
    work = {str(key(p)): p for p in points}
    for p in points:
        record = finished[key(p)]
        if known := study.judgement(record["directory"]):
            del work[str(key(p))]
            study.believe(known, record["result"])
            settle(study, p, record)
    jobs = [
        Task(k, tasks.synthesise, (*arguments(study, p), str(at(study, p))), explore.SYNTHESIS_S)
        for k, p in work.items()
    ]
    for outcome in pool.run(jobs):
        p = work[outcome.key]
        record = finished[key(p)]
        study.judged(outcome, record["result"], record["directory"])
        settle(study, p, record)


def settle(study: Study, p: dict[str, Any], record: dict[str, Any]) -> None:
    """Journal a point with its reported numbers and tell the strategy."""
    p["objectives"] = record["objectives"] = record["result"]["objectives"]
    study.archive.append(record)
    if not within(study, p):
        study.note(f"{record['directory']}: its report is outside the limits; it leaves the front")
    for c in study.state.candidates.values():
        if (c.spec.digest, c.clock_mhz, c.budget, "throughput") == key(p) and c.feasible:
            c.result["objectives"] = {**c.result["objectives"], **p["objectives"]}
            study.strategy.tell([study.trial(c, p["accuracy"])])


def key(p: dict[str, Any]) -> tuple[str, float, float, str]:
    """What makes a point: network, clock, share of the board, objective of its mapping."""
    return p["network"], p["clock_mhz"], p["budget"], p["objective"]


def at(study: Study, p: dict[str, Any]) -> Path:
    """Folder of a front point: its trial number and its network."""
    trials: Path = study.folder / "trials"
    return trials / f"{p['trial']:04d}-{p['network'][:10]}"
