"""What one report says twice, compared: sums, products, percentages, bounds of cycles, times.

Every check returns warnings that are facts about the report ("3 rows of 5 are not the printed 16"). Each held in every
real report and row that was seen (1,323 modules, 4,000 loops, 140,000 rows of detail tables; Vivado HLS 2017.2 to Vitis
HLS 2025.2), so that a warning means a damaged file or a version that nobody has seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import Any

from flow.toolchain.parse_values import RESOURCES, Bounds, Printed, ToolReport

Row = Mapping[str, Any]
ROUNDING = 3  # cycles that 15 of 3,385 loops without pipeline are off trips x iteration, at most


def disordered(latency: Bounds, interval: Bounds) -> list[str]:
    """A warning per impossible pair of a latency or an interval."""
    found = []
    for name, (low, high) in (("latency", latency), ("interval", interval)):
        if low is not None and high is not None and low > high:
            found.append(f"{name}: minimum {low} is above maximum {high}")
    if 0 in interval:
        found.append("interval: 0 cycles is impossible (some Vitis HLS versions print it for a pipelined loop)")
    return found


def scheduled(pipeline: str | None, latency: Bounds, interval: Bounds) -> list[str]:
    """The same of C synthesis, where nothing starts again later than a cycle after its end."""
    found = disordered(latency, interval)
    for end, least, most in zip(("minimum", "maximum"), interval, latency, strict=True):
        if least is not None and most is not None and least > most + 1:
            found.append(f"interval: {end} {least} is above a latency of {most} cycles")
    return found + unpipelined(pipeline, latency, interval)


def unpipelined(pipeline: str | None, latency: Bounds, interval: Bounds) -> list[str]:
    """A function that is not pipelined starts again when it is done: its interval is its latency, or one more."""
    if pipeline not in ("no", "none"):
        return []
    return [
        f"interval: {i} does not fit a latency of {n} cycles without pipeline"
        for n, i in dict.fromkeys(zip(latency, interval, strict=True))
        if n is not None and i and i - n not in (0, 1)  # an interval of 0 has its own warning
    ]


def slower(target: float | None, estimated: float | None) -> list[str]:
    """A warning where the estimated clock period misses the target."""
    if target is not None and estimated is not None and estimated > target:
        return [f"clock: {estimated:g} ns estimated, {target:g} ns wanted"]
    return []


def over_device(used: Mapping[str, int | None], available: Mapping[str, int | None]) -> list[str]:
    """A warning per resource of which the design takes more than the device has."""
    pairs = [(name, used.get(name), available.get(name)) for name in RESOURCES]
    return [
        f"{name}: {u} used, {a} available on the device"
        for name, u, a in pairs
        if u is not None and a is not None and u > a
    ]


def times(what: str, cycles: Bounds, printed: Sequence[Printed | None], period: Printed | None) -> list[str]:
    """Absolute times are cycles x period, each as exact as it is printed."""
    found = []
    for n, time in dict.fromkeys(zip(cycles, printed, strict=True)):
        if n is None or time is None or period is None:
            continue
        if abs(n * period.ns - time.ns) > 0.51 * (time.step + n * period.step) + 1e-6:
            found.append(f"{what}: {n} cycles at {period.ns:g} ns are not the printed {time.ns:g} ns")
    return found


def slower_period(target: Printed | None, estimated: Printed | None) -> Printed | None:
    """The period that absolute times are counted in: the slower of the two."""
    return None if target is None or estimated is None else max(target, estimated, key=lambda p: p.ns)


def loops(rows: Sequence[Row], latency: int | None) -> list[str]:
    """Loops against their trips, the loop around them, and the function's latency."""
    found = []
    for row in rows:
        found += _trips(row)
        cycles, outer = row["latency_max"], rows[row["parent"]] if row["parent"] is not None else None
        limit = outer["iteration_latency_max"] if outer else None if row.get("module") else latency
        if limit is not None and cycles is not None and cycles > limit:
            found.append(f"loop {row['name']}: {cycles} cycles, {limit} in one run of what is around it")
    return found


def _trips(row: Row) -> list[str]:
    """Between the last start and an iteration after it; without pipeline, iteration after iteration."""
    depth, found = row.get("pipeline_depth"), []
    for end in ("min", "max"):
        cycles, trip, iteration = (row[f"{n}_{end}"] for n in ("latency", "trip_count", "iteration_latency"))
        if depth is not None and iteration is not None and depth != iteration:
            found.append(f"a depth of {depth}, {iteration} cycles an iteration")
        iteration = depth if iteration is None else iteration
        if cycles is None or not trip or not iteration:
            continue
        if row["pipelined"] and row["ii"]:
            started = row["ii"] * (trip - 1) + iteration - 1
            if not started <= cycles <= started + row["ii"]:
                found.append(f"{cycles} cycles are not {trip} trips of {iteration}, one every {row['ii']}")
        elif row["pipelined"] is False and abs(cycles - trip * iteration) > min(trip // 2, ROUNDING):
            found.append(f"{cycles} cycles are not {trip} trips of {iteration}")
    for name in ("latency", "trip_count", "iteration_latency"):
        low, high = row[f"{name}_min"], row[f"{name}_max"]
        if low is not None and high is not None and low > high:
            found.append(f"{name.replace('_', ' ')} from {low} to {high}")
    return [f"loop {row['name']}: {w}" for w in dict.fromkeys(found)]


def instances(rows: Iterable[Row], latency: int | None) -> list[str]:
    """A called function takes no longer than what calls it, and starts again after its end at the latest."""
    found = []
    for row in rows:
        ends = (row["latency_min"], row["latency_max"]), (row["interval_min"], row["interval_max"])
        own = [w for w in scheduled(row["pipeline"], *ends) if "0 cycles" not in w]
        if latency is not None and row["latency_max"] is not None and row["latency_max"] > latency:
            own.append(f"latency: {row['latency_max']} cycles inside {latency}")
        found += [f"module {row['name']}: {w}" for w in own]
    return found


_NOT_SUMMED = {"fifo": ("lut",)}  # the table of FIFOs prints 0 LUT in every row


def tables(details: Mapping[str, Sequence[Row]]) -> list[str]:
    """The last row of a detail table is the sum of the others, and sizes are products of their factors."""
    found = []
    for title, rows in details.items():
        if rows and rows[-1].get("name") == "Total":
            for column, total in rows[-1].items():
                if isinstance(total, int) and column not in _NOT_SUMMED.get(title, ()):
                    cells = [row[column] for row in rows]
                    own = sum([c for c in cells if isinstance(c, int)]) - total
                    if own != total:
                        found.append(f"{column}: {total} in the total of the table {title}, {own} in its rows")
        found += _products(title, rows)
    return found


_FACTORS = {
    "memory": ("words", "bits", "banks", "w_bits_banks"),
    "fifo": ("depth", "bits", "size_d_b"),
    "multiplexer": ("input_size", "bits", "total_bits"),
}


def _products(title: str, rows: Sequence[Row]) -> list[str]:
    """Sizes of memories, FIFOs and multiplexers; flip-flops of registers that are no shift registers."""
    found = []
    names = _FACTORS.get(title, ())
    for row in rows[:-1] if names else ():
        *factors, size = (row.get(n) for n in names)
        known = [f for f in factors if isinstance(f, int)]
        if isinstance(size, int) and len(known) == len(factors) and prod(known) != size:
            found.append(f"{title} {row.get('name')}: {' x '.join(map(str, factors))} is not {size}")
    for row in rows[:-1] if title == "register" else ():
        cells: list[Any] = [row.get(n) for n in ("bits", "const_bits", "ff")]
        bits, constant, ff = cells
        if not row.get("lut") and all(isinstance(c, int) for c in cells) and bits - constant != ff:
            found.append(f"register {row.get('name')}: {bits} bits of which {constant} are constant, in {ff} FF")
    return found


def percentages(
    used: Mapping[str, int | None], available: Mapping[str, int | None], printed: Mapping[str, str], what: str = ""
) -> list[str]:
    """Whole percents, rounded down, ``~0`` for less than one: the check on the numbers of a device."""
    found = []
    for name, cell in printed.items():
        u, a = used.get(name), available.get(name)
        if u is None or not a:
            continue
        if (cell == "~0" and not 0 < 100 * u < a) or (cell.isdecimal() and int(cell[:18]) != 100 * u // a):
            found.append(f"{what}{name}: {u} of {a} is not the printed {cell} %")
    return found


def dies(available: Mapping[str, int | None], of_one: Mapping[str, int | None]) -> list[str]:
    """The device is a whole number of its dies, the same for every resource."""
    counts = {n: divmod(available[n] or 0, one) for n, one in of_one.items() if one and available.get(n)}
    if len(set(counts.values())) <= 1 and all(rest == 0 for _, rest in counts.values()):
        return []
    return [f"available: {dict(available)} is no whole number of dies of {dict(of_one)}"]


def differences(found: Iterable[tuple[str, Any, Any]], one: str, other: str) -> list[str]:
    """A warning for each ``(name, a, b)`` where both are known and differ."""
    return [
        f"{name}: {one} says {a}, {other} says {b}"
        for name, a, b in found
        if a is not None and b is not None and a != b
    ]


def compared(one: ToolReport, other: ToolReport, names: tuple[str, str]) -> tuple[str, ...]:
    """What two reports of one run say differently. Their intervals differ by the tools' own conventions."""
    cycles = ("latency_min", "latency_max", "clock_target_ns", "clock_estimated_ns")
    found = [(n, getattr(one, n), getattr(other, n)) for n in cycles]
    found += [(n, one.resources[n], other.resources[n]) for n in RESOURCES]
    found += [(f"{n} available", one.available[n], other.available[n]) for n in RESOURCES]
    return tuple(differences(found, *names))
