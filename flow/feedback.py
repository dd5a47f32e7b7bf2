"""Reports of promoted candidates correct the estimates of all others, inside the running search.

``settings["calibration"]`` holds the observations that a step works with, so that workers and resumed runs see the same
correction. An estimate stays in the result as ``raw``; ``objectives`` is what the correction makes of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from flow.board import KINDS, Board, Resources
from flow.cost import calibrate
from flow.cost.calibrate import Calibration, Observation
from flow.cost.targets import Decision
from flow.design import Violation
from flow.toolchain.parse_device import device

Json = dict[str, Any]
# Measures of a candidate and what their correction is called: times follow cycles, for the clock is the same.
TIMES = {"latency_ms": "latency_cycles", "interval_cycles": "interval_cycles"}
MEASURED = {**{k: k for k in KINDS}, **TIMES}
REJUDGED = (*KINDS, "latency_ms", "interval_ms", "interval_cycles")


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


def decision(settings: Mapping[str, Any]) -> Decision:
    """What a candidate must fit, and how surely: with reports, by what they make of the estimates.

    Blocks differ, and a design's blocks are known only when it is mapped: the largest correction of any mix of blocks
    that was reported is taken.
    """
    target, confidence = settings.get("target", "csynth"), settings.get("confidence", 0.5)
    known = calibration(settings)
    if known is None:
        return Decision(target, confidence)
    found, tool, family = known
    scale = []
    for kind in KINDS:
        mixes = [r["shares"] for r in settings["calibration"] if r["measure"] == kind]
        if mixes:
            scale.append((kind, max(found.factor(kind, tool, family, shares) for shares in mixes)))
    return Decision(target, confidence, tuple(scale))


def corrected(raw: Mapping[str, float], shares: Mapping[str, Any], settings: Mapping[str, Any], board: Board) -> Json:
    """A candidate's measures as the reports so far make them."""
    known = calibration(settings)
    if known is None:
        return dict(raw)
    found, tool, family = known
    out = dict(raw)
    for name, measure in MEASURED.items():
        if name in raw:
            out[name] = raw[name] * found.factor(measure, tool, family, shares.get(measure, {}))
    out["fps"] = raw["fps"] * raw["interval_cycles"] / out["interval_cycles"]
    judge = Decision(settings.get("target", "csynth"), settings.get("confidence", 0.5))
    pairs = [(out[k] * judge.factor(k), n) for k, n in board.available.json().items() if n]
    out["utilisation"] = max(u / n for u, n in pairs)
    return out


def violations(
    objectives: Mapping[str, float], limit: float, settings: Mapping[str, Any], board: Board
) -> list[Violation]:
    """Limits of a candidate that corrected measures miss."""
    judge = Decision(settings.get("target", "csynth"), settings.get("confidence", 0.5))
    part = Resources(*(int(n * limit) for n in board.available.tuple)).json()
    pairs = [(k, objectives[k] * judge.factor(k), float(n)) for k, n in part.items()]
    over = [Violation(k, round(u, 1), n) for k, u, n in pairs if u > n]
    slow = settings["max_latency_ms"]
    if slow and objectives["latency_ms"] > slow:
        over.append(Violation("latency_ms", objectives["latency_ms"], slow))
    if settings["min_fps"] and objectives["fps"] < settings["min_fps"]:
        over.append(Violation("interval_ms", 1e3 / objectives["fps"], 1e3 / settings["min_fps"]))
    return over


def judged(result: Mapping[str, Any], settings: Mapping[str, Any], board: Board) -> Json:
    """A result scored by the reports so far; one with a report of its own, or that was never mapped, stays.

    The limit is the user's: a candidate's own share of the board only steers its mapping.
    """
    if "tool" in result or not result.get("raw"):
        return dict(result)
    objectives = corrected(result["raw"], result["shares"], settings, board)
    over = violations(objectives, settings["max_utilisation"], settings, board)
    # Limits that no report speaks of (bandwidth, energy) are what they were.
    over += [Violation(**v) for v in result["violations"] if v["resource"] not in REJUDGED]
    return {
        **result, "objectives": objectives, "feasible": not over, "violations": [v.json() for v in over],
        "violation": excess(over) if over else 0.0,
    }  # fmt: skip


def family(board: Board) -> str:
    """The device that corrections are told apart by."""
    return device(board.part) or board.family
