"""``<module>_csynth.rpt`` of Vivado HLS (2017 on) and Vitis HLS, alone or inside hls4ml's collection of reports.

A report is complete when it has every section up to ``Interface`` with its table; hls4ml's collection leaves
``Interface`` out and may add the co-simulation report, which then is a second ``ToolReport``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from flow.toolchain import checks, parse_cosim
from flow.toolchain.parse_table import Block, Table, blocks
from flow.toolchain.parse_values import (
    COLUMNS,
    Bounds,
    Printed,
    ReportError,
    ToolReport,
    amounts,
    bounds,
    count,
    nanoseconds,
    printed,
    uncertainty,
)

TITLE = re.compile(r"^== (Vivado|Vitis) HLS Report for '([^'\n]*)'", re.MULTILINE)
_FIELD = re.compile(r"^\s*\* (Date|Version|Project|Solution|Product family|Target device): *(.*?) *$", re.MULTILINE)
COLLECTION = re.compile(r"^Found \d+ solution\(s\) in ", re.MULTILINE)
_PERFORMANCE, _UTILIZATION, _INTERFACE = "Performance Estimates", "Utilization Estimates", "Interface"
_DETAILS = ("Instance", "DSP", "Memory", "FIFO", "Expression", "Multiplexer", "Register")


def general(text: str) -> dict[str, str]:
    """The ``* Key: value`` lines at the head of a report."""
    return {m[1]: m[2] for m in _FIELD.finditer(text[:8192])}


def version(found: Mapping[str, str]) -> str | None:
    return found.get("Version", "").partition(" ")[0] or None


def read(text: str, where: str) -> list[ToolReport]:
    """The synthesis report, then the co-simulation report if the file also holds one. Raises ReportError."""
    titles = list(TITLE.finditer(text))
    if not titles:
        raise ReportError(f"{where}: no synthesis report in it: truncated, or synthesis was not run")
    if len(titles) != 1:
        raise ReportError(f"{where}: {len(titles)} synthesis reports in one file: the report is damaged")
    head, rest = titles[0], text[titles[0].start() :]
    own, marker, cosim = rest.partition("\nCO-SIMULATION RESULT:\n")
    collection = COLLECTION.search(text[: head.start()]) is not None
    reports = [_report(head[1], head[2], own, where, collection)]
    if marker:
        reports += parse_cosim.read(cosim, where)
    return reports


def _report(brand: str, top: str, text: str, where: str, collection: bool) -> ToolReport:
    found = blocks(text.split("\n"), where)
    tables = {b.path: b.table for b in found if b.table is not None}
    _complete({b.path for b in found}, tables, where, collection)
    head = general(text)
    _known_columns(tables, where)
    timing = _single(tables, (_PERFORMANCE, "Timing", "Summary"), where)
    target, estimated = (nanoseconds(timing.get(c), where) for c in ("Target", "Estimated"))
    period = checks.slower_period(*(printed(timing.get(c), where) for c in ("Target", "Estimated")))
    cycles = _latency_summary(tables, where)
    usage = _usage(tables, where)
    details = _detail_tables(tables, where)
    if "instance" not in details and any(usage.get("Instance", {}).values()):
        raise ReportError(f"{where}: instances in the summary, but no table of them: the report is truncated")
    used, available = usage["Total"], usage.get("Available", amounts({}))
    loops, modules = _loops(tables.get((_PERFORMANCE, "Detail", "Loop")), where), _modules(tables, details, where)
    warnings = [*cycles.doubts(period), *checks.over_device(used, available), *checks.slower(target, estimated)]
    warnings += _sums(usage, details) + checks.tables(details)
    warnings += checks.percentages(used, available, _percents(tables[_UTILIZATION, "", "Summary"]))
    warnings += checks.dies(available, usage.get("Available SLR", {}))
    warnings += checks.loops(loops, cycles.latency[1]) + checks.instances(modules, cycles.latency[1])
    warnings += _instance_times(tables, period, where) + _unlisted_clock(tables)
    return ToolReport(
        file=where,
        kind="csynth" if _is_top(found, cycles, collection) else "csynth_module",
        tool=f"{brand} HLS",
        tool_version=version(head),
        part=head.get("Target device") or None,
        top=top or None,
        clock_target_ns=target,
        clock_estimated_ns=estimated,
        latency_min=cycles.latency[0],
        latency_max=cycles.latency[1],
        interval_min=cycles.interval[0],
        interval_max=cycles.interval[1],
        resources=used,
        available=available,
        loops=tuple(loops),
        modules=tuple(modules),
        warnings=tuple(warnings),
        details={
            "stage": "csynth",
            "family": head.get("Product family") or None,
            "project": head.get("Project") or None,
            "solution": head.get("Solution") or None,
            "clock_uncertainty_ns": uncertainty(timing.get("Uncertainty"), target, where),
            "pipeline": cycles.pipeline,
            "available_slr": usage.get("Available SLR"),
            "categories": {n: usage[n] for n in _DETAILS if n in usage},
            "tables": details,
        },
    )


def _complete(
    paths: set[tuple[str, ...]], tables: Mapping[tuple[str, ...], Table], where: str, collection: bool
) -> None:
    wanted = [(_PERFORMANCE, "Timing", "Summary"), (_PERFORMANCE, "Latency", "Summary"), (_UTILIZATION, "", "Summary")]
    if not collection:
        wanted.append((_INTERFACE, "", "Summary"))
    for path in wanted:
        if path not in tables:
            raise ReportError(
                f"{where}: no table {' / '.join(p for p in path if p)}: the report is truncated or damaged"
            )
    titles = {p[2] for p in paths if p[:2] == (_UTILIZATION, "Detail")}
    titles = {"DSP" if t.startswith("DSP") else t for t in titles}  # DSP, DSP48, DSP48E
    missing = [d for d in _DETAILS if d not in titles]
    if missing and not collection:
        raise ReportError(f"{where}: no detail table {missing[0]}: the report is truncated or damaged")
    if collection and "Instance" not in titles:
        raise ReportError(f"{where}: no detail table Instance: the report is truncated or damaged")


_HEADERS: dict[tuple[str, ...], tuple[str, ...]] = {
    (_PERFORMANCE, "Timing", "Summary"): ("Clock", "Target", "Estimated", "Uncertainty"),
    (_PERFORMANCE, "Detail", "Instance"): ("Instance", "Module", "Interval min", "Pipeline Type"),
    (_PERFORMANCE, "Detail", "Loop"): ("Loop Name", "Iteration Latency", "Trip Count", "Pipelined"),
    (_UTILIZATION, "", "Summary"): ("Name", "BRAM_18K", "FF", "LUT"),
    (_UTILIZATION, "Detail", "Instance"): ("Instance", "Module"),
}


def _known_columns(tables: Mapping[tuple[str, ...], Table], where: str) -> None:
    """A renamed column would silently become None: refuse it."""
    for path, wanted in _HEADERS.items():
        columns = tables[path].columns if path in tables else wanted
        missing = [c for c in wanted if c not in columns]
        if missing:
            raise ReportError(f"{where}: no column {missing[0]!r} in {path[-2]} / {path[-1]}: the report is damaged")
    strange = [c for c in tables[_UTILIZATION, "", "Summary"].columns if c not in COLUMNS and c != "Name"]
    if strange:
        raise ReportError(
            f"{where}: unknown column {strange[0][:40]!r} in the utilization summary: the report is damaged"
        )


def _single(tables: Mapping[tuple[str, ...], Table], path: tuple[str, ...], where: str) -> dict[str, str]:
    """The first row: with several clocks, the first is the one the others are derived from."""
    rows = list(tables[path].dicts())
    if not rows:
        raise ReportError(f"{where}: the table {' / '.join(path)} is empty: the report is damaged")
    return rows[0]


def _unlisted_clock(tables: Mapping[tuple[str, ...], Table]) -> list[str]:
    """The port ``ap_clk`` is the first of all clocks: without a row of its own, another's period passes for the target.
    (A function without states has a clock and no port for it, so not every row has a port.)"""
    interface = tables.get((_INTERFACE, "", "Summary"))
    ports = {row.get("RTL Ports") for row in interface.dicts()} if interface is not None else set()
    named = [row.get("Clock") for row in tables[_PERFORMANCE, "Timing", "Summary"].dicts()]
    return ["clock: the port ap_clk has no row in the timing summary"] if "ap_clk" in ports - set(named) else []


class _Cycles:
    """The latency summary: cycles, interval, and the absolute times that must agree with them."""

    def __init__(self, row: Mapping[str, str], where: str) -> None:
        cycles = "Latency (cycles)" if "Latency (cycles) min" in row else "Latency"
        if f"{cycles} min" not in row or "Interval min" not in row:
            raise ReportError(f"{where}: the latency summary has unknown columns: the report is damaged")
        self.latency: Bounds = (count(row[f"{cycles} min"], where), count(row.get(f"{cycles} max"), where))
        self.interval: Bounds = (count(row["Interval min"], where), count(row.get("Interval max"), where))
        self.pipeline = row.get("Pipeline Type") or None
        self.absolute = [printed(row.get(f"Latency (absolute) {end}"), where) for end in ("min", "max")]

    def doubts(self, period: Printed | None) -> list[str]:
        return [
            *checks.scheduled(self.pipeline, self.latency, self.interval),
            *checks.times("latency", self.latency, self.absolute, period),
        ]


def _latency_summary(tables: Mapping[tuple[str, ...], Table], where: str) -> _Cycles:
    return _Cycles(_single(tables, (_PERFORMANCE, "Latency", "Summary"), where), where)


def _usage(tables: Mapping[tuple[str, ...], Table], where: str) -> dict[str, dict[str, int | None]]:
    """Row name -> resources. On devices of several dies ``Available SLR`` stands before ``Available``."""
    table = tables[_UTILIZATION, "", "Summary"]
    found: dict[str, dict[str, int | None]] = {}
    for row in table.dicts():
        name = row.get("Name", "")
        if name.startswith("Utilization"):
            continue
        if name in found:
            raise ReportError(
                f"{where}: the row {name[:40]!r} stands twice in the utilization summary: the report is damaged"
            )
        found[name] = amounts({COLUMNS[c]: count(row[c], where) for c in table.columns if c in COLUMNS})
    if "Total" not in found:
        raise ReportError(f"{where}: no row Total in the utilization summary: the report is truncated or damaged")
    return found


def _percents(table: Table) -> dict[str, str]:
    """The row of whole percents; the row of one die stands before that of the device, and both before it."""
    row = next((r for r in table.dicts() if r.get("Name") == "Utilization (%)"), {})
    return {COLUMNS[c]: cell for c, cell in row.items() if c in COLUMNS}


_NAMES = {
    **COLUMNS,
    "Variable Name": "name",
    "Name": "name",
    "Instance": "name",
    "Memory": "name",
    "Expression": "expression",
}


def _detail_tables(tables: Mapping[tuple[str, ...], Table], where: str) -> dict[str, list[dict[str, Any]]]:
    """Rows of ``instance``, ``dsp``, ``memory``, ``fifo``, ``expression``, ``multiplexer``, ``register`` and totals."""
    found = {}
    for path, table in tables.items():
        if path[:2] == (_UTILIZATION, "Detail"):
            # Only the table of DSP blocks has no total: the others, cut at the rule above it, would look whole.
            if not path[2].startswith("DSP") and (not table.rows or table.rows[-1][0] != "Total"):
                raise ReportError(f"{where}: no row Total in the table {path[2]}: the report is truncated or damaged")
            title = "dsp" if path[2].startswith("DSP") else path[2].lower()
            names = [_NAMES.get(c) or re.sub(r"\W+", "_", c.lower()).strip("_") for c in table.columns]
            found[title] = [{n: _cell(n, c) for n, c in zip(names, row, strict=True)} for row in table.rows]
    return found


def _cell(name: str, cell: str) -> int | str | None:
    if cell.isdecimal() and len(cell) <= 18 and name not in ("name", "module", "operation", "expression"):
        return int(cell)
    return None if cell in ("", "-", "?") else cell


def _sums(
    usage: Mapping[str, Mapping[str, int | None]], details: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[str]:
    """A total is the sum of its categories, and a category is the total of its own table."""
    found = []
    for name, total in usage["Total"].items():
        parts = [row[name] or 0 for c, row in usage.items() if c != "Total" and not c.startswith("Available")]
        if total is not None and parts and sum(parts) != total:
            found.append(f"{name}: the total {total} is not the sum {sum(parts)} of its categories")
        for category in _DETAILS:
            rows = details.get(category.lower(), ())
            printed = usage.get(category, {}).get(name)
            own = next((r.get(name) for r in rows if r.get("name") == "Total"), None)
            # The table of FIFOs prints 0 LUT in every row although the category counts them.
            if isinstance(own, int) and printed is not None and own != printed and (category, name) != ("FIFO", "lut"):
                found.append(f"{name}: {printed} in the category {category}, {own} in its table")
    return found


def _is_top(found: list[Block], cycles: _Cycles, collection: bool) -> bool:
    """Nothing in a text report names the top. Ports that only a top can have tell, and an interval of latency + 1."""
    if collection:
        return True
    table = next((b.table for b in found if b.path == (_INTERFACE, "", "Summary") and b.table is not None), None)
    ports = list(table.dicts()) if table is not None else []
    if any(p.get("Protocol") in ("s_axi", "s_axilite") or p.get("RTL Ports") == "ap_rst_n" for p in ports):
        return True
    latency, interval = cycles.latency[1], cycles.interval[1]
    return cycles.pipeline in ("no", "none") and latency is not None and interval == latency + 1


_PREFIX = re.compile(r"(-|\++) (.*)$")


def _loops(table: Table | None, where: str) -> list[dict[str, Any]]:
    """``- a``, `` + b``, ``  ++ c``: the sign's length is the depth."""
    rows: list[dict[str, Any]] = []
    open_at: list[int] = []
    for row in table.dicts() if table is not None else ():
        sign = _PREFIX.match(row.get("Loop Name", ""))
        if sign is None:
            raise ReportError(f"{where}: {row.get('Loop Name', '')[:40]!r} is no loop: the report is damaged")
        depth = 0 if sign[1] == "-" else len(sign[1])
        if depth > len(open_at):
            raise ReportError(f"{where}: the loop {sign[2][:40]!r} has no outer loop: the report is damaged")
        del open_at[depth:]
        rows.append(_loop(row, sign[2].strip(), depth, open_at[-1] if open_at else None, where))
        open_at.append(len(rows) - 1)
    return rows


def _loop(row: Mapping[str, str], name: str, depth: int, parent: int | None, where: str) -> dict[str, Any]:
    cycles = "Latency (cycles)" if "Latency (cycles) min" in row else "Latency"
    trip, iteration = bounds(row.get("Trip Count"), where), bounds(row.get("Iteration Latency"), where)
    return {
        "name": name,
        "depth": depth,
        "parent": parent,
        "trip_count_min": trip[0],
        "trip_count_max": trip[1],
        "latency_min": count(row.get(f"{cycles} min"), where),
        "latency_max": count(row.get(f"{cycles} max"), where),
        "iteration_latency_min": iteration[0],
        "iteration_latency_max": iteration[1],
        "ii": bounds(row.get("Initiation Interval achieved"), where)[1],
        "ii_target": bounds(row.get("Initiation Interval target"), where)[1],
        "pipeline_depth": None,
        "pipelined": {"yes": True, "no": False}.get(row.get("Pipelined", "")),
    }


def _instance_times(tables: Mapping[tuple[str, ...], Table], period: Printed | None, where: str) -> list[str]:
    """Every called function's absolute latency; Vivado HLS before 2019.2 prints none."""
    table = tables.get((_PERFORMANCE, "Detail", "Instance"))
    if table is None or table.column("Latency (absolute) min") is None:
        return []
    found = []
    for row in table.dicts():
        cycles = _Cycles(row, where)
        found += checks.times(f"module {row.get('Module')}: latency", cycles.latency, cycles.absolute, period)
    return found


def _modules(tables: Mapping[tuple[str, ...], Table], details: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """Instances with their cycles; resources from the instance table of the utilization section."""
    table = tables.get((_PERFORMANCE, "Detail", "Instance"))
    used = {r.get("name"): r for r in details.get("instance", ())}
    rows = []
    for row in table.dicts() if table is not None else ():
        cycles = "Latency (cycles)" if "Latency (cycles) min" in row else "Latency"
        own = used.get(row.get("Instance"), {})
        rows.append(
            {
                "name": row.get("Module") or None,
                "instance": row.get("Instance") or None,
                "latency_min": count(row.get(f"{cycles} min"), where),
                "latency_max": count(row.get(f"{cycles} max"), where),
                "interval_min": count(row.get("Interval min"), where),
                "interval_max": count(row.get("Interval max"), where),
                "pipeline": row.get("Pipeline Type") or None,
                "resources": amounts({n: v for n, v in own.items() if n in COLUMNS.values() and isinstance(v, int)}),
            }
        )
    return rows
