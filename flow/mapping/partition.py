"""A network on several boards: cuts, boards and foldings chosen together for the smallest interval, with a proof.

At an interval T a board takes the longest segment that fits; because a longer segment needs all that a shorter one
needs, taking the furthest boundary on each board of a route in turn is optimal, and the smallest T at which a route
reaches the end is the answer. With the relaxation of ``reach`` in the place of real designs the same walk gives a
lower bound: what is proved not to fit lies beyond the boundary that it stops at.
"""

from __future__ import annotations

import itertools
import math
import time
from dataclasses import replace

import numpy as np

from flow import blocks, pipeline, timing
from flow.board import KINDS, Resources
from flow.design import Bound, Design, Violation, excess
from flow.ir.graph import Graph
from flow.mapping import buses, cuts, sequence
from flow.mapping.segments import Problem
from flow.mapping.solve import solve
from flow.mapping.task import Goal, NoFit
from flow.pipeline import System
from flow.platform import Platform

AGREEMENTS = 6  # fastest partitions tried until one is found whose boards agree on their links
GOOD_GAP = 0.005  # an answer this close to its bound is taken
Route = tuple[int, ...]
Path = tuple[tuple[int, int, int], ...]  # (first node, end, board) of each part


def bounded(p: Problem, time_us: float, tight: bool = False) -> bool:
    """Whether some route may reach the end within the time: False is a proof that none does.

    ``tight``: with the one-board mapper's bound of each segment besides the relaxation.
    """
    return any(_walk_bound(p, route, time_us, tight) for route in p.platform.routes())


def _walk_bound(p: Problem, route: Route, time_us: float, tight: bool) -> bool:
    at = 0
    for b, after in itertools.zip_longest(route, route[1:]):
        ends = p.open_ends(b, after, time_us)
        end = p.stages[b].furthest(at, time_us, ends)
        if tight:
            within = [int(e) for e in ends if at < e <= end]
            while within and p.floor_us(at, within[-1], b) > time_us * (1 + 1e-12):
                within.pop()
            end = within[-1] if within else at
        if end == p.ends[-1]:
            return True
        if end == at:
            return False
        at = end
    return False


def walk(p: Problem, route: Route, time_us: float) -> Path | None:
    """The furthest real segment on each board in turn; None when the end is not reached."""
    at, path = 0, []
    for b, after in itertools.zip_longest(route, route[1:]):
        ends = p.open_ends(b, after, time_us)
        limit = p.stages[b].furthest(at, time_us, ends)
        end = _furthest_fit(p, at, b, time_us, [int(e) for e in ends if at < e <= limit])
        if end is None:
            return None
        path.append((at, end, b))
        at = end
        if at == p.ends[-1]:
            return tuple(path)
    return None


def _furthest_fit(p: Problem, first: int, b: int, time_us: float, ends: list[int]) -> int | None:
    """Last of ``ends`` whose segment fits: downwards in growing steps until one does, then bisected."""
    low, high, step = len(ends) - 1, len(ends), 1  # overheads the relaxation leaves out cost a boundary or two
    while low >= 0 and p.fits(first, ends[low], b, time_us) is None:
        low, high, step = low - step, low, 2 * step
        low = 0 if low < 0 < high else low
    if low < 0:
        return None
    while high - low > 1:
        mid = (low + high) // 2
        low, high = (mid, high) if p.fits(first, ends[mid], b, time_us) is not None else (low, mid)
    return ends[low]


def least_us(graph: Graph, platform: Platform, goal: Goal, clock_mhz: float | None = None) -> float:
    """The relaxation's lower bound of the interval; infinite where it proves that nothing fits."""
    p = Problem(graph, platform, goal, clock_mhz)
    times = p.times()
    k = _first(times, lambda t: bounded(p, t))
    return math.inf if k is None else float(times[k])


def solve_platform(
    graph: Graph, platform: Platform, goal: Goal | None = None, clock_mhz: float | None = None, batch: int = 1
) -> System | NoFit:
    """The best system of a platform's boards for a goal: a pipeline over them or, when the platform says how long a
    board takes to load and that is faster for ``batch`` images, the first board with one part after another.

    Raises UnsupportedError when no block serves a node.
    """
    started = time.perf_counter()
    p = Problem(graph, platform, goal or Goal(), clock_mhz)
    found = _pipelined(p, started)
    if batch == 1 or not platform.reconfiguration_ms:
        return found
    turns = _sequence(p, batch, started)
    if turns is None or (isinstance(found, System) and _batch_us(found, batch) <= _batch_us(turns, batch)):
        return found
    return _checked(p, turns)


def _batch_us(system: System, batch: int) -> float:
    """Time of a batch from the first configuration on, boards of a pipeline configured before."""
    interval = pipeline.interval_cycles(system) / system.clock_mhz
    if system.mode == "sequence":
        return batch * interval
    return pipeline.latency_cycles(system) / system.clock_mhz + (batch - 1) * interval


def _sequence(p: Problem, batch: int, started: float) -> System | None:
    """The first board with one part after another."""
    board, clock = p.platform.boards[0], p.clock(0)

    def design(first: int, end: int) -> Design | None:
        d = solve(cuts.segment(p.graph, first, end), board, p.wish("throughput"), clock)
        return None if isinstance(d, NoFit) else p.kept.setdefault((first, end, board), d)

    costs = sequence.Costs(p.stages[0], design, batch, p.platform.reconfiguration_ms * 1e3)
    at = sequence.best_cuts((0, *(int(e) for e in p.ends)), costs)
    if at is None:
        return None
    parts = tuple(p.kept[first, end, board] for first, end in itertools.pairwise(at))
    parts = buses.agreed(parts) or parts  # one after another, the words may differ
    each = tuple(timing.slowest(d.netlist) for d in parts)
    system = System(
        p.graph, p.platform, (0,) * len(parts), at, parts, each, Bound(1, "", 0.0, False, 0.0), "sequence", batch
    )
    reached = pipeline.interval_cycles(system)
    return replace(system, bound=Bound(reached, "reconfiguration", 0.0, False, time.perf_counter() - started))


def _pipelined(p: Problem, started: float) -> System | NoFit:
    times = p.times()
    least = _first(times, lambda t: bounded(p, t))
    if least is None:
        return _short(p)
    if p.goal.objective == "area" and p.goal.min_fps:
        return _smallest(p, times, least, started)
    found, fast = _assembled(p, times, least, started)
    if found is None or fast is None:
        return _short(p)
    return _checked(p, _quickest(p, fast, found, started, least) if p.goal.objective == "latency" else found)


def _assembled(p: Problem, times: np.ndarray, least: int, started: float) -> tuple[System | None, Path | None]:
    """The fastest path whose boards agree on the words between them."""
    for _ in range(AGREEMENTS):
        path = _fastest(p, times, least)
        found = None if path is None else _system(p, path, least, started)
        if found is not None or path is None:
            return found, path
        whole_us = _interval_us(p, path)
        for first, end, b in path:  # too tight: ask for a little less of every part
            del p.kept[first, end, p.platform.boards[b]]
        slow = max(path, key=lambda part: part[1] - part[0])
        p.failed[slow[0], slow[1], p.platform.boards[slow[2]]] = whole_us
    return None, None


def _first(times: np.ndarray, good: object) -> int | None:
    """Index of the first time that passes a monotone test."""
    low, high = 0, len(times) - 1
    if high < 0 or not good(float(times[high])):  # type: ignore[operator]
        return None
    while low < high:
        mid = (low + high) // 2
        low, high = (low, mid) if good(float(times[mid])) else (mid + 1, high)  # type: ignore[operator]
    return low


def _any_walk(p: Problem, time_us: float) -> Path | None:
    return next((path for route in p.platform.routes() if (path := walk(p, route, time_us))), None)


def _fastest(p: Problem, times: np.ndarray, least: int) -> Path | None:
    """Bisection over the intervals at and above the bound, in steps that grow until something fits."""
    step, high, low = 1, least, least
    path = _any_walk(p, float(times[high]))
    while path is None:
        if high == len(times) - 1:
            return None
        low, high = high + 1, min(len(times) - 1, high + step)
        step *= 2
        path = _any_walk(p, float(times[high]))
    high = min(high, _index(times, _interval_us(p, path)))
    while low < high and times[high] > times[least] * (1 + GOOD_GAP):
        mid = (low + high) // 2
        trial = _any_walk(p, float(times[mid]))
        if trial is None:
            low = mid + 1
        else:
            path, high = trial, min(mid, _index(times, _interval_us(p, trial)))
    return path


def _index(times: np.ndarray, value: float) -> int:
    return min(len(times) - 1, int(np.searchsorted(times, value * (1 - 1e-12))))


def _interval_us(p: Problem, path: Path) -> float:
    each = [timing.slowest(_kept(p, part).netlist) / p.clock(part[2]) for part in path]
    links = [p.link_us(end, b, after) for (_, end, b), (_, _, after) in itertools.pairwise(path)]
    return max([*each, *links])


def _kept(p: Problem, part: tuple[int, int, int]) -> Design:
    first, end, b = part
    return p.kept[first, end, p.platform.boards[b]]


def _system(p: Problem, path: Path, least: int, started: float) -> System | None:
    """The parts with link ends that agree, and the smallest interval of each for the pipeline's efficiency; None when
    the boards have no room to agree."""
    whole_us = _interval_us(p, path)
    own = [_kept(p, part) for part in path]
    parts = buses.agreed(own)
    if parts is None:
        return None
    system = System(
        p.graph, p.platform, tuple(b for *_, b in path), (0, *(e for _, e, _ in path)), parts,
        tuple(_fastest_part(p, d, whole_us) for d in own), Bound(1, "", 0.0, False, 0.0),
    )  # fmt: skip
    return replace(system, bound=_bound(p, system, float(p.times()[least]), started))


def _fastest_part(p: Problem, d: Design, whole_us: float) -> int:
    """Smallest interval of a part on its board; the slowest part has it."""
    own = timing.slowest(d.netlist)
    if own / d.clock_mhz >= whole_us * (1 - 1e-9):
        return own
    found = solve(d.graph, d.board, p.wish("throughput"), d.clock_mhz)
    return own if isinstance(found, NoFit) else min(own, timing.slowest(found.netlist))


def _bound(p: Problem, system: System, least_us: float, started: float) -> Bound:
    reached = pipeline.interval_cycles(system)
    least_us = _tighter(p, least_us, reached / system.clock_mhz)
    cycles = max(1, math.ceil(least_us * system.clock_mhz - 1e-6))
    gap = max(0.0, reached / cycles - 1)
    return Bound(min(cycles, reached), _limit(p, least_us), gap, True, time.perf_counter() - started)


def _tighter(p: Problem, least_us: float, reached_us: float) -> float:
    """A higher bound where the relaxation's leaves a gap: the least time not excluded by bounds of whole segments."""
    if reached_us <= least_us * (1 + GOOD_GAP):
        return least_us
    times = p.times()
    between = times[(times >= least_us) & (times < reached_us * (1 - 1e-12))]
    k = _first(np.append(between, reached_us), lambda t: t >= reached_us or bounded(p, t, tight=True))
    return least_us if k is None else float(np.append(between, reached_us)[k])


def _limit(p: Problem, least_us: float) -> str:
    """What keeps the bound from being lower: a link, one stage's fastest folding, or the scarcest resource."""
    below = least_us * (1 - 1e-9)
    links = (p.link_us(int(e), k.source, k.sink) for k in p.platform.links for e in p.ends[:-1])
    if any(abs(t / least_us - 1) < 1e-9 for t in links):
        return "link"
    slow = max(float(s.time_us.min(axis=1)[s.row].max()) for s in p.stages.values())
    if slow > below:
        return "stream"
    need = np.zeros(len(KINDS))
    for route in p.platform.routes()[:1]:
        for s in (p.stages[b] for b in route):
            masked = np.where((s.time_us <= least_us)[..., None], s.fraction, np.inf)
            need += masked.min(axis=1)[s.row].sum(axis=0) / len(route)
    kind = KINDS[int(np.argmax(np.where(np.isfinite(need), need, 0)))]
    return {"bram18": "memory", "uram": "memory"}.get(kind, kind)


def _smallest(p: Problem, times: np.ndarray, least: int, started: float) -> System | NoFit:
    """The fewest boards that keep the rate, then the designs of least area on them."""
    assert p.goal.min_fps is not None
    limit = 1e6 / p.goal.min_fps
    if times[least] > limit * (1 + 1e-9):
        clock = p.clock(0)
        return NoFit((Violation("interval_cycles", math.ceil(times[least] * clock), math.floor(limit * clock)),))
    for count in range(1, max(len(r) for r in p.platform.routes()) + 1):
        for route in p.platform.routes():
            path = walk(p, route[:count], limit) if len(route) >= count else None
            found = None if path is None else _system(p, path, least, started)
            if found is not None:
                return _checked(p, found)
    return _short(p)


def _quickest(p: Problem, fast: Path, whole: System, started: float, least: int) -> System:
    """Of the fastest partition over 1, 2, ... boards, the one whose image is through first, parts made for latency."""
    best = whole
    for count in range(1, max(len(r) for r in p.platform.routes()) + 1):
        found = fast if count == len(fast) else _fewer(p, count)
        if found is None:
            continue
        base = _system(p, found, least, started)
        if base is None:
            continue
        quick = replace(base, parts=tuple(_for_latency(p, d) for d in base.parts))
        for s in (base, quick):
            s = replace(s, bound=_bound(p, s, float(p.times()[least]), started))
            if pipeline.latency_cycles(s) < pipeline.latency_cycles(best):
                best = s
    return best


def _fewer(p: Problem, count: int) -> Path | None:
    """The fastest partition over the first ``count`` boards of the routes."""
    times = p.times()
    short = [r[:count] for r in p.platform.routes() if len(r) >= count]
    k = _first(times, lambda t: any(walk(p, r, t) for r in short))
    return None if k is None else next(path for r in short if (path := walk(p, r, float(times[k]))))


def _for_latency(p: Problem, d: Design) -> Design:
    """The part made for latency, its ends as they are."""
    found = solve(d.graph, d.board, p.wish("latency"), d.clock_mhz)
    return d if isinstance(found, NoFit) else buses.with_buses(found, buses.buses_of(d)) or d


def _checked(p: Problem, system: System) -> System | NoFit:
    """The limits of the goal, and every resource of every board once the link ends are in place."""
    report = pipeline.estimate(system, p.goal.decision, p.goal.max_utilisation)
    if not report.fits:
        return NoFit(report.violations)
    if p.goal.min_fps and report.fps < p.goal.min_fps * (1 - 1e-9):
        limit = int(system.clock_mhz * 1e6 / p.goal.min_fps)
        return NoFit((Violation("interval_cycles", report.interval_cycles, limit),))
    if p.goal.max_latency_ms and report.latency_ms > p.goal.max_latency_ms:
        return NoFit((Violation("latency_ms", round(report.latency_ms, 6), p.goal.max_latency_ms),))
    if p.goal.max_energy_mj and (report.energy_mj or 0.0) > p.goal.max_energy_mj:
        return NoFit((Violation("energy_mj", round(report.energy_mj or 0.0, 6), p.goal.max_energy_mj),))
    return system


def _short(p: Problem) -> NoFit:
    """Each resource's least use over all foldings against all boards together; else that cuts leave no way."""
    route = p.platform.routes()[0]
    have = sum((p.budget(b) for b in route), Resources())
    options = [blocks.options(p.graph, n, p.platform.boards[route[0]]) for n in p.graph.nodes]
    least = Resources(*(sum(int(opts.resources[:, k].min()) for opts in options) for k in range(len(KINDS))))
    short = excess(least, have)
    return NoFit(short or (Violation("boards", len(route) + 1, len(route)),))
