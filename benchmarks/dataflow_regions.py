"""How far real HLS reports agree with our laws for dataflow regions and for a process around one pipelined loop.

    python benchmarks/dataflow_regions.py [FOLDER]

FOLDER holds ``module.csv.gz``, ``perfinst.csv.gz`` and ``loop.csv.gz``, rows of real C synthesis reports; by default
``components`` in ``COEXPLORE_DATA`` or in ``../shared/data`` beside the project. The laws get what the same report says
about the parts (interval and latency of the processes; trip count, interval and iteration latency of the loop), so the
errors are those of the composition alone, not of an estimate of the parts.
"""

from __future__ import annotations

import csv
import gzip
import os
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from flow.cost import loops as cycles_of
from flow.design import process_cycles

Row = dict[str, str]


@dataclass(frozen=True)
class Region:
    """A DATAFLOW function of a report: worst-case cycles of the whole and of its processes."""

    name: str
    tool: str
    interval: int
    latency: int
    intervals: tuple[int, ...]
    latencies: tuple[int, ...]

    @property
    def predicted_interval(self) -> int:
        return cycles_of.dataflow_interval(list(self.intervals))

    @property
    def interval_error(self) -> int:
        """Reported minus predicted, in cycles."""
        return self.interval - self.predicted_interval

    @property
    def slowest_latency(self) -> int:
        """The prediction of the latency, and a lower bound: without the streams nothing better can be said."""
        return max(self.latencies)

    @property
    def latency_error(self) -> float:
        """Share of the reported latency by which the prediction is low."""
        return 1 - self.slowest_latency / self.latency


@dataclass(frozen=True)
class LoopModule:
    """A function whose only loop is pipelined. ``calls``: functions it instantiates, whose cycles come on top."""

    name: str
    tool: str
    latency: int
    trip: int
    ii: int
    depth: int
    calls: int

    @property
    def predicted(self) -> int:
        """The law of flow/design.py where it applies (II = 1), else its general form."""
        if self.ii == 1 and self.trip:
            return process_cycles(self.trip, self.depth)
        return cycles_of.module(cycles_of.pipelined_loop(self.trip, self.ii, self.depth))

    @property
    def error(self) -> int:
        """Reported minus predicted, in cycles."""
        return self.latency - self.predicted


def folder() -> Path:
    """Where the rows of real reports lie, if they are there."""
    root = os.environ.get("COEXPLORE_DATA") or Path(__file__).parents[1] / ".." / "shared" / "data"
    return Path(root) / "components"


def rows(path: Path) -> list[Row]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def cycles(text: str) -> int | None:
    """A cell; None where the report has "?" or nothing, as for loops whose trip count is no constant."""
    return int(text) if text.isdigit() else None


def complete(values: Iterable[int | None]) -> list[int] | None:
    found = list(values)
    return None if None in found else [v for v in found if v is not None]


def tool(row: Row) -> str:
    return f"{row['tool']} {row['version']}"


def grouped(table: list[Row]) -> dict[str, list[Row]]:
    by_report: dict[str, list[Row]] = defaultdict(list)
    for row in table:
        by_report[row["rid"]].append(row)
    return by_report


def regions(modules: list[Row], instances: list[Row]) -> list[Region]:
    """The dataflow regions with defined interval and latency, of themselves and of every process."""
    parts = grouped(instances)
    found = []
    for m in modules:
        own = complete(cycles(m[k]) for k in ("ii_max", "lat_max"))
        intervals = complete(cycles(p["ii_max"]) for p in parts[m["rid"]])
        latencies = complete(cycles(p["lat_max"]) for p in parts[m["rid"]])
        if m["ptype"] == "dataflow" and own and intervals and latencies:
            found.append(Region(m["module"], tool(m), own[0], own[1], tuple(intervals), tuple(latencies)))
    return found


def loop_modules(modules: list[Row], instances: list[Row], loops: list[Row]) -> list[LoopModule]:
    """The functions with exactly one loop, a pipelined one, of defined latency, trip count and interval."""
    parts, inner = grouped(instances), grouped(loops)
    found = []
    for m in modules:
        own = inner[m["rid"]]
        if len(own) != 1 or own[0]["pipelined"] != "yes":
            continue
        values = complete([cycles(m["lat_max"]), *(cycles(own[0][k]) for k in ("trip_max", "ii", "iter_max"))])
        if values:
            latency, trip, ii, depth = values
            found.append(LoopModule(m["module"], tool(m), latency, trip, ii, depth, len(parts[m["rid"]])))
    return found


def share(hits: int, of: int) -> str:
    return f"{hits} of {of} ({100 * hits / max(1, of):.1f} %)"


def region_report(found: list[Region]) -> list[str]:
    errors = Counter(r.interval_error for r in found)
    low = sorted(r.latency_error for r in found)
    # One cycle above the sum is what a call in sequence would take: entry and exit of the region itself.
    inside = sum(r.slowest_latency <= r.latency <= sum(r.latencies) + 1 for r in found)
    lines = [
        f"{'region':16} {'tool':16} {'parts':>5} {'interval':>9} {'law':>9} {'latency':>9} {'slowest':>9} {'sum':>9}"
    ]
    lines += [
        f"{r.name[:16]:16} {r.tool:16} {len(r.intervals):5} {r.interval:9} {r.predicted_interval:9} {r.latency:9}"
        f" {r.slowest_latency:9} {sum(r.latencies):9}"
        for r in found
    ]
    lines += [
        f"interval = slowest process + 1: {share(errors[0], len(found))} exact;"
        f" reported - law: {dict(sorted(errors.items()))}",
        f"latency from the slowest process to the sum of all + 1: {share(inside, len(found))}",
        f"latency = slowest process: low by {100 * statistics.median(low):.1f} % (median),"
        f" {100 * low[len(low) * 9 // 10]:.1f} % (nine tenths), {100 * low[-1]:.1f} % (worst)",
    ]
    return lines


def process_report(found: list[LoopModule]) -> list[str]:
    alone = [p for p in found if not p.calls]
    single = [p for p in alone if p.ii == 1]
    calling = [p for p in found if p.calls]
    worst = max((abs(p.error) / p.latency for p in alone), default=0.0)
    lines = [f"{'tool':16} {'exact':>7} {'of':>5}"]
    for name in sorted({p.tool for p in alone}):
        of = [p for p in alone if p.tool == name]
        lines.append(f"{name:16} {sum(not p.error for p in of):7} {len(of):5}")
    lines += [
        f"one pipelined loop, nothing called: {share(sum(not p.error for p in alone), len(alone))} exact;"
        f" reported - law: {dict(sorted(Counter(p.error for p in alone).items()))}, worst {100 * worst:.1f} %",
        f"of these with II = 1 (process_cycles): {share(sum(not p.error for p in single), len(single))} exact",
        f"one pipelined loop and calls of functions: {share(sum(not p.error for p in calling), len(calling))} exact"
        " (the calls' cycles come on top)",
    ]
    return lines


def main(arguments: list[str]) -> int:
    place = Path(arguments[0]) if arguments else folder()
    if not (place / "module.csv.gz").is_file():
        print(f"no rows of real reports in {place}: give their folder, or set COEXPLORE_DATA", file=sys.stderr)
        return 1
    modules, instances, loops = (rows(place / f"{name}.csv.gz") for name in ("module", "perfinst", "loop"))
    print("Dataflow regions\n" + "\n".join(region_report(regions(modules, instances))))
    print("\nProcesses\n" + "\n".join(process_report(loop_modules(modules, instances, loops))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
