"""Cycle laws: what C synthesis reports for loops, functions around them and dataflow regions.

Rows: as in flow/cost/laws.py. Pure functions; LawError for what makes no sense.
"""

from __future__ import annotations

from flow.cost.laws import LawError


def pipelined_loop(trip: int, ii: int, depth: int) -> int:
    """Cycles of a pipelined loop: ``ii (trip - 1) + max(depth - 1, ii)``; 454 of 467 rows with ``passes``.

    ``depth`` is the iteration latency of the report.  A loop that never runs takes no cycle.
    """
    if trip < 0 or ii < 1 or depth < 1:
        raise LawError(f"pipelined loop of {trip} trips, interval {ii}, depth {depth}: trip >= 0, others at least 1")
    return ii * (trip - 1) + max(depth - 1, ii) if trip else 0


def passes(count: int, factor: int) -> int:
    """How often the body of a loop of ``count`` iterations starts when ``factor`` of them are unrolled into it.

    A factor that does not divide the count leaves a last pass, ended in its middle by the loop's test.  Reports print
    ``floor(count / factor)`` trips but count that pass too: of the four rows where the count is known, one
    takes exactly one more interval, the others up to 3.5 % less than that (without it they are 7 to 22 % off).
    """
    if count < 1 or factor < 1:
        raise LawError(f"loop of {count} iterations, {factor} of them unrolled: both at least 1")
    return -(-count // factor)


def loop(trip: int, iteration: int) -> int:
    """Cycles of a loop that is not pipelined: ``trip x iteration`` (iteration latency); 3,370 of 3,385 rows."""
    if trip < 0 or iteration < 0:
        raise LawError(f"loop of {trip} trips of {iteration} cycles: not negative")
    return trip * iteration


def module(loop_cycles: int) -> int:
    """Cycles of a function around one pipelined loop: two more than the loop (start and done)."""
    if loop_cycles < 0:
        raise LawError(f"module around a loop of {loop_cycles} cycles: not negative")
    return loop_cycles + 2


def dataflow_interval(intervals: list[int]) -> int:
    """Interval of a DATAFLOW region in cycles: the slowest process's plus 1; 40 of 43 reports (+ 0 in the others)."""
    if not intervals:
        raise LawError("a dataflow region has at least one process")
    return max(intervals) + 1
