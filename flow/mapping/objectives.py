"""The best design for each objective: smallest interval, latency or area."""

from __future__ import annotations

import math

import numpy as np

from flow.design import excess
from flow.mapping.task import GROWTH, Found, Task

TRIES = 14  # intervals tried above the bound, in growing steps
BISECTIONS, SEARCHES = 6, 5
GOOD_GAP = 0.01  # a design this close to its bound is good enough


def fastest(task: Task) -> Found | None:
    """Smallest interval: upwards from the bound in growing steps until something fits, then back by bisection."""
    assert task.bound is not None
    top = max(int(t.options.cycles[-1]) for t in task.problem.tables)
    interval, growth, failed = task.bound, GROWTH, task.bound - 1
    found = task.at(interval)
    if found is None and task.prove(task.bound):
        task.rise()
        if task.bound is None:
            return None
        found = task.at(task.bound)
    interval = max(interval, task.bound)
    for _ in range(TRIES):
        if found is not None or interval >= top:
            break
        failed = interval
        interval = task.problem.next(max(interval + 1, int(interval * (1 + growth)))) or top
        growth *= 2
        found = task.at(interval)
    found = found or task.at(top)
    return found and _searched(task, _closer(task, found, failed))


def _closer(task: Task, found: Found, failed: int) -> Found:
    """Bisect between an interval where no design was found and one where one was."""
    for _ in range(BISECTIONS):
        low = task.problem.next(failed + 1)
        if low is None or low >= found.interval or found.interval <= failed * (1 + GOOD_GAP):
            break
        mid = task.problem.next(max(low, (failed + found.interval) // 2))
        mid = low if mid is None or mid >= found.interval else mid
        better = task.at(mid)
        if better is not None and better.interval < found.interval:
            found = better
        else:
            failed = max(failed, mid)
    return found


def _searched(task: Task, found: Found) -> Found:
    """Close what gap is left from both sides, by search."""
    assert task.bound is not None
    failed = task.bound - 1
    for _ in range(SEARCHES):
        if found.interval <= task.bound * (1 + GOOD_GAP):
            break
        low = max(task.bound, task.problem.next(failed + 1) or task.bound)
        if low >= found.interval:
            break
        mid = task.problem.next(max(low, int(math.sqrt(low * found.interval))))
        mid = low if mid is None or mid >= found.interval else mid
        if task.prove(mid):
            failed = mid
            continue
        better = task.at(mid)
        if better is not None and better.interval < found.interval:
            found = better
        else:
            failed = mid
    return found


def quickest(task: Task) -> Found | None:
    """Small latency: spend what the smallest interval left over, one stage at a time while latency falls and all
    fits."""
    found = fastest(task)
    if found is None:
        return None
    best = found.latency
    for _ in range(2 * len(found.picks)):
        moves = sorted(_moves(task, found))
        for cycles, stage, pick in moves:
            if cycles >= best:
                return found
            better = task.realise((*found.picks[:stage], pick, *found.picks[stage + 1 :]))
            if not excess(better.resources, task.budget):
                found, best = better, cycles
                break
        else:
            return found
    return found


def _moves(task: Task, found: Found) -> list[tuple[int, int, int]]:
    """(latency, stage, option): each stage sped up as much, and as little, as what is left allows."""
    left = np.array(task.budget) - np.array(found.resources)
    moves = []
    for i, (t, k) in enumerate(zip(task.problem.tables[1:-1], found.picks[1:-1], strict=True), 1):
        o = t.options
        faster = (o.cycles < o.cycles[k]) & np.all(o.resources - o.resources[k] <= left, axis=1)
        fitting = np.flatnonzero(faster).tolist()
        for j in sorted({fitting[0], fitting[-1]}) if fitting else []:
            picks = (*found.picks[:i], j, *found.picks[i + 1 :])
            moves.append((task.realise(picks).latency, i, j))
    return moves


def smallest(task: Task) -> Found | None:
    """Least area among the intervals that keep the limits: the largest such interval."""
    goal, clock = task.goal, task.clock_mhz
    top = max(int(t.options.cycles[-1]) for t in task.problem.tables)
    if goal.min_fps:
        top = min(top, int(clock * 1e6 / goal.min_fps))
    found = task.at(top)
    if found is None and goal.min_fps and task.prove(top):
        return None  # what is too fast at the slowest rate allowed is too fast at any
    if found is None or goal.max_latency_ms is None:
        return found or fastest(task)
    low, high = task.bound or top, top
    most = goal.max_latency_ms * clock * 1e3
    kept = found if found.latency <= most else None
    while kept is None or low < high:
        mid = (low + high) // 2
        trial = task.at(mid)
        if trial is not None and trial.latency <= most:
            kept, low = trial, mid + 1
        else:
            high = mid
        if low >= high:
            break
    return kept or quickest(task)


OBJECTIVES = {"throughput": fastest, "latency": quickest, "area": smallest}
