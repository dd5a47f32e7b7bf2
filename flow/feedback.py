"""Reports of promoted candidates correct the estimates of all others, inside the running search.

``settings["calibration"]`` holds the observations that a step works with, so that workers and resumed runs see the same
correction. An estimate stays in the result as ``raw``; ``objectives`` is what the correction makes of it.

  report -> observations -> decision: the limits of mapping -> mapped: by the blocks that a network turns out to need
                         -> judged: candidates mapped before, scored anew -> outdated: those to be mapped anew
                         -> telling: the candidate to be reported on next
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from flow import calibration as predictions
from flow.board import KINDS, Board, Resources
from flow.cost import calibrate
from flow.cost.calibrate import Calibration, Observation
from flow.cost.targets import Decision
from flow.design import Report, Violation
from flow.estimate import share
from flow.mapping import Goal, NoFit
from flow.search import Floats, pareto
from flow.toolchain.parse_device import device

Json = dict[str, Any]
# Measures of a candidate and what their correction is called: times follow cycles, for the clock is the same.
TIMES = {"latency_ms": "latency_cycles", "interval_cycles": "interval_cycles"}
MEASURED = {**{k: k for k in KINDS}, **TIMES}
REJUDGED = (*KINDS, "latency_ms", "interval_ms", "interval_cycles")
ROUNDS = 3  # mappings of a network until its blocks' corrections agree with the limits it was mapped for
ROOM = 0.03  # of a limit: what may stay unused without mapping again
OUTDATED = 0.1  # the same of a design that was mapped before the reports came


def excess(violations: Sequence[Violation]) -> float:
    """Sum of relative excesses: how far a candidate is from fitting."""
    return float(sum(max(v.used / v.available - 1 if v.available else v.used, 1e-6) for v in violations)) or 1.0


def observations(record: Mapping[str, Any], family: str) -> list[Observation]:
    """What a journalled synthesis is evidence of; nothing where it failed."""
    if "reported" not in record:
        return []
    estimated, reported = record.get("raw") or record["estimated"], record["reported"]
    shares, found = record.get("shares", {}), []
    for name, measure in MEASURED.items():
        pair = estimated.get(name), reported["objectives"].get(name)
        if pair[0] and pair[1]:
            found.append(Observation(measure, reported["tool"], family, *pair, shares.get(measure, {})))
    return found


@lru_cache(maxsize=16)
def _calibration(text: str) -> tuple[Calibration, str, str]:
    own = [Observation(**row) for row in json.loads(text)]
    return calibrate.calibrate(own), own[-1].tool, own[-1].family


def calibration(settings: Mapping[str, Any]) -> tuple[Calibration, str, str] | None:
    """The correction that a step works with, the tool and the device family that it is for; None before any report."""
    rows = settings.get("calibration")
    return _calibration(json.dumps(rows, sort_keys=True)) if rows else None


def decision(settings: Mapping[str, Any], shares: Mapping[str, Mapping[str, float]] | None = None) -> Decision:
    """What a candidate must fit, and how surely: with reports, by what they make of its estimates.

    ``shares``: resource -> kind of block -> its part of the estimate; without, those of the mean report. The interval
    of the correction takes the place of the one that estimates have without reports: the more reports, the narrower.
    """
    plain = Decision(settings.get("target", "csynth"), settings.get("confidence", 0.5))
    known = calibration(settings)
    if known is None:
        return plain
    found, tool, family = known
    ratios = []
    for kind in KINDS:
        mixes = [r["shares"] for r in settings["calibration"] if r["measure"] == kind]
        if mixes:
            mix = shares.get(kind, {}) if shares is not None else _mean(mixes)
            reported = found.spread(kind, tool, family, mix)
            # An implementation's ratio is to what C synthesis reports.
            ratios.append((kind, reported if plain.target == "csynth" else reported.times(plain.ratio(kind))))
    return replace(plain, known=tuple(ratios))


def _mean(mixes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {k: sum(m.get(k, 0.0) for m in mixes) / len(mixes) for k in sorted({k for m in mixes for k in m})}


def block_shares(report: Report) -> dict[str, dict[str, float]]:
    """Resource -> kind of block -> its part of the estimate."""
    return predictions.block_shares(layer.json() for layer in report.layers)


def mapped(
    ask: Callable[[Goal], Report | NoFit], goal: Goal, settings: Mapping[str, Any], board: Board
) -> tuple[Report | NoFit, Goal]:
    """The design for a goal that fits by the correction of its own blocks, and the goal that the mapper was given.

    What reports make of an estimate depends on the mix of blocks, and a network's mix is known only when it is mapped:
    first with the correction of the mean report, then, where that leaves room or is not enough, with its own.
    ``ask``: the mapper. Where no round fits, the last design or refusal is returned.
    """
    goal = replace(goal, decision=decision(settings))
    if calibration(settings) is None:
        return ask(goal), goal
    limit, best, last = share(board, goal.max_utilisation), None, None
    for turn in range(ROUNDS):
        report = ask(goal)
        last = (report, goal) if last is None or not isinstance(report, NoFit) else last
        if isinstance(report, NoFit):
            if turn:
                break
            goal = replace(goal, decision=replace(goal.decision, known=()))  # for the sake of the mix
            continue
        own = decision(settings, block_shares(report))
        full, aimed = filled(report.resources, own, limit), filled(report.resources, goal.decision, limit)
        if full <= 1 and (best is None or _better(report, best[0], goal.objective)):
            best = report, goal
        if full <= 1 and (full >= 1 - ROOM or aimed <= full + ROOM):
            break
        goal = replace(goal, decision=own)
    assert last is not None
    return best or last


def filled(used: Resources, judge: Decision, limit: Resources) -> float:
    """Share of the scarcest of ``limit`` that a design uses, as judged."""
    pairs = [(n * judge.factor(k), a) for k, n, a in zip(KINDS, used.tuple, limit.tuple, strict=True) if n]
    return max((u / a if a else math.inf for u, a in pairs), default=0.0)


def _better(a: Report, b: Report, objective: str) -> bool:
    if objective == "latency":
        return a.latency_cycles < b.latency_cycles
    if objective == "area":
        return sum(a.resources.tuple) < sum(b.resources.tuple)
    return (a.interval_cycles, a.latency_cycles) < (b.interval_cycles, b.latency_cycles)


def corrected(
    raw: Mapping[str, float], shares: Mapping[str, Any], settings: Mapping[str, Any], board: Board,
    judge: Decision | None = None,
) -> Json:  # fmt: skip
    """A candidate's measures as the reports so far make them: medians, but the utilisation as surely as asked for.

    ``judge``: the decision for these shares, where it is known.
    """
    known = calibration(settings)
    if known is None:
        return dict(raw)
    found, tool, family = known
    out = dict(raw)
    for name, measure in MEASURED.items():
        if name in raw:
            out[name] = raw[name] * found.factor(measure, tool, family, shares.get(measure, {}))
    out["fps"] = raw["fps"] * raw["interval_cycles"] / out["interval_cycles"]
    judge = judge or decision(settings, shares)
    pairs = [(raw[k] * judge.factor(k), n) for k, n in board.available.json().items() if n]
    out["utilisation"] = max(u / n for u, n in pairs)
    return out


def judged(result: Mapping[str, Any], settings: Mapping[str, Any], board: Board) -> Json:
    """A result scored by the reports so far; one with a report of its own, or that was never mapped, stays.

    The limit is the user's: a candidate's own share of the board only steers its mapping.
    """
    raw, limit = result.get("raw"), settings["max_utilisation"]
    if "tool" in result or not raw:
        return dict(result)
    judge = decision(settings, result["shares"])
    objectives = corrected(raw, result["shares"], settings, board, judge)
    pairs = [(k, raw[k] * judge.factor(k), float(n)) for k, n in share(board, limit).json().items()]
    over = [Violation(k, round(u, 1), n) for k, u, n in pairs if u > n]
    slow = settings["max_latency_ms"]
    if slow and objectives["latency_ms"] > slow:
        over.append(Violation("latency_ms", objectives["latency_ms"], slow))
    if settings["min_fps"] and objectives["fps"] < settings["min_fps"]:
        over.append(Violation("interval_ms", 1e3 / objectives["fps"], 1e3 / settings["min_fps"]))
    # Limits that no report speaks of (bandwidth, energy) are what they were.
    over += [Violation(**v) for v in result["violations"] if v["resource"] not in REJUDGED]
    return {
        **result, "objectives": objectives, "feasible": not over, "violations": [v.json() for v in over],
        "violation": excess(over) if over else 0.0,
    }  # fmt: skip


def hope(result: Mapping[str, Any], budget: float, settings: Mapping[str, Any]) -> Json | None:
    """What mapping a candidate anew may make of its measures at best; None where reports changed too little for that.

    A design that no longer fits may shrink until it does and lose no speed; one whose share of the board (``budget``)
    was full when it was mapped (``filled``) and is not any more may be as much faster as there is room.
    """
    o, full = result["objectives"], result.get("filled")
    if not full:
        return None
    limit = min(budget, settings["max_utilisation"])
    now = o["utilisation"] / limit
    if not result["feasible"] and {v["resource"] for v in result["violations"]} <= set(KINDS):
        return {**o, "utilisation": min(o["utilisation"], limit)}
    if result["feasible"] and "tool" not in result and full > 1 - OUTDATED and now < full - OUTDATED:
        faster = now / full
        return {**o, "utilisation": limit, "latency_ms": o["latency_ms"] * faster, "fps": o["fps"] / faster}
    return None


def outdated(hopes: Floats, front: Floats, reference: tuple[float, ...], count: int) -> list[int]:
    """Indices of at most ``count`` hopes that would add most to the front's hypervolume, the best first."""
    if not len(hopes):
        return []
    gain = pareto.gains(hopes, front, reference)
    return [int(i) for i in np.argsort(-gain, kind="stable")[:count] if gain[i] > 0]


def replaces(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether a candidate's new mapping is taken for the old one: it fits, and is another design or has no report."""
    same = "tool" in old and all(new["raw"].get(k) == old["raw"].get(k) for k in MEASURED)
    return bool(new["feasible"]) and not same


def telling(results: Sequence[Mapping[str, Any]], points: Floats, settings: Mapping[str, Any], board: Board) -> int:
    """Index of the candidate whose report would teach most about the front.

    Of the undominated ``points``, the one whose utilisation, in parts of the board, is least sure: there a wrong
    correction moves the front most, and decides what fits. Before any report all are equally unsure, and the largest
    is taken.
    """
    doubts = [
        doubt(r, settings, board) if keep else -1.0
        for r, keep in zip(results, pareto.nondominated(points), strict=True)
    ]
    return int(np.argmax(doubts))


def doubt(result: Mapping[str, Any], settings: Mapping[str, Any], board: Board) -> float:
    """Half the width of the interval (p10 to p90) of a design's utilisation."""
    judge = decision(settings, result["shares"])
    widths = []
    for k, n in board.available.json().items():
        if n and result["raw"][k]:
            s = judge.ratio(k)
            widths.append(result["raw"][k] / n * (s.p90 - s.p10) / 2)
    return max(widths, default=0.0)


def family(board: Board) -> str:
    """The device that corrections are told apart by."""
    return device(board.part) or board.family
