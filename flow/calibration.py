"""The estimator against reports: rows by their laws, modules by the sum of their rows, projects by their estimates.

``examine(paths)`` takes reports, folders of reports and compiled projects with reports in them; the correction that
they give is ``flow/cost/calibrate.py``'s.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flow.board import KINDS, Resources
from flow.cost import calibrate, laws, rows
from flow.cost.calibrate import Observation
from flow.toolchain.parse import ReportError, ToolReport, parse
from flow.toolchain.parse_device import device

Found = list[dict[str, Any]]
_TABLES = {"multiplexer": "mux"}
_KEYS = {"module": "submodule", "operation": "op", "bitwidth_p0": "p0", "bitwidth_p1": "p1", "input_size": "inputs"}
_WIDTHS = re.compile(r"_(\d+)(n?s)_(\d+)(n?s)(?:_(\d+)n?s)?_(\d+)_\d+_")
_EXACT = {"memory": "bram18", "fifo": "bram18", "dsp": "dsp", "register": "ff"}  # the measure that tells; else LUT
ESTIMATE = "report/estimate_network_performance.json"


def examine(paths: Sequence[Path]) -> dict[str, Any]:
    """Reports and projects, each beside its prediction, and the correction that all of them give.

    Raises ReportError for a file that is no usable report, and for paths that hold nothing to compare.
    """
    reports: Found = []
    observed: list[Observation] = []
    for path in paths:
        if (path / "design.json").is_file():
            own = project(path)
            observed += own
            reports += [_row(path, o) for o in own]
            continue
        for report in _reports(path):
            if "tables" in report.details:
                reports.append(module(report))
                observed += _observations(reports[-1])
    if not reports:
        raise ReportError(
            f"{', '.join(map(str, paths))}: nothing to compare: give *_csynth.rpt files (they list their rows), or a "
            "compiled project with synth/ reports (flow synth)"
        )
    return {"reports": reports, "corrections": corrections(observed), "observations": calibrate.plain(observed)}


def _reports(path: Path) -> Iterator[ToolReport]:
    if path.is_dir():
        for file in sorted(path.rglob("*_csynth.rpt")) or sorted(path.rglob("*.rpt")):
            try:
                yield from parse(file)
            except ReportError:
                continue  # a folder holds other files, too; one that is named must be a report
    else:
        yield from parse(path)


def tool_of(report: ToolReport) -> laws.Tool:
    """What the laws distinguish. Reports that name no tool count as Vitis HLS 2022.1."""
    family = "vivado" if report.tool == "Vivado HLS" else "vitis"
    version = re.match(r"\d+(\.\d+)+", report.tool_version or "")
    series = (device(report.part or "") or "").startswith("7")
    return laws.Tool(family, version[0] if version else "2022.1", not series)  # type: ignore[arg-type]


def module(report: ToolReport) -> dict[str, Any]:
    """A report with detail tables: its rows by their laws, its total by their sum."""
    tool = tool_of(report)
    tables = {_TABLES.get(n, n): [_normal(r) for r in rs if r.get("name") != "Total"] for n, rs in
              report.details["tables"].items()}  # fmt: skip
    seen = rows.context(tables.get("mux", ()))
    predicted = given = Resources()
    shares: dict[str, dict[str, float]] = {k: {} for k in KINDS}
    measured: dict[str, Any] = {}
    for name, listed in tables.items():
        pairs = [(rows.predicted(name, r, tool, seen), _reported(name, r)) for r in listed]
        known = [(p, said) for p, said in pairs if p is not None]
        measured[name] = _table(name, known, len(pairs))
        taken = sum((said for p, said in pairs if p is None), Resources())
        total = sum((p for p, _ in known), Resources())
        predicted, given = predicted + total + taken, given + taken
        for k, n in zip(KINDS, total.tuple, strict=True):
            shares[k][name] = float(n)
    unlisted = sum((_amounts(c) for n, c in report.details["categories"].items() if n.lower() not in listed_in(report)),
                   Resources())  # fmt: skip
    predicted, given = predicted + unlisted, given + unlisted
    return {
        "file": report.file,
        "tool": f"{report.tool} {report.tool_version}",
        "part": report.part,
        "top": report.top,
        "rows": measured,
        "totals": {
            k: {"predicted": p, "reported": report.resources[k], "given": g}
            for k, p, g in zip(KINDS, predicted.tuple, given.tuple, strict=True)
        },
        "shares": {k: {n: v / sum(s.values()) for n, v in s.items()} for k, s in shares.items() if sum(s.values())},
    }


def listed_in(report: ToolReport) -> set[str]:
    """Categories whose rows the report lists."""
    return {n for n, found in report.details["tables"].items() if found}


def _amounts(category: Mapping[str, int | None]) -> Resources:
    return Resources(*(category.get(k) or 0 for k in KINDS))


def _reported(table: str, row: Mapping[str, Any]) -> Resources:
    """A row of the table of DSP blocks has no amounts: it is one block."""
    return Resources(dsp=1) if table == "dsp" else rows.reported(row)


def _normal(row: Mapping[str, Any]) -> dict[str, Any]:
    """A parsed row with the laws' keys; widths of multipliers out of their core's name."""
    found = {_KEYS.get(k, k): v for k, v in row.items()}
    widths = _WIDTHS.search(str(found.get("submodule") or ""))
    if widths:
        found |= {"wa": widths[1], "wb": widths[3], "wo": widths[6]}
        found["op"] = str(found["submodule"])[: widths.start()].rpartition("_")[2] or found.get("op")
    return found


def _table(name: str, pairs: Sequence[tuple[Resources, Resources]], listed: int) -> dict[str, Any]:
    k = KINDS.index(_EXACT.get(name, "lut"))
    p, r = sum(a[k] for a, _ in pairs), sum(b[k] for _, b in pairs)
    exact = sum(a[k] == b[k] for a, b in pairs) / len(pairs) if pairs else None
    return {"measure": KINDS[k], "rows": listed, "with a law": len(pairs), "exact": exact,
            "sum_error": p / r - 1 if r else None}  # fmt: skip


def _observations(found: dict[str, Any]) -> list[Observation]:
    out = []
    for k, t in found["totals"].items():
        own, said = t["predicted"] - t["given"], (t["reported"] or 0) - t["given"]
        if own > 0 and said > 0:
            family = device(found["part"] or "") or "unknown"
            out.append(Observation(k, found["tool"], family, own, said, found["shares"].get(k, {})))
    return out


def project(folder: Path) -> list[Observation]:
    """A compiled project's estimate beside the reports of its synthesis. Raises ReportError where one is missing."""
    path = folder / ESTIMATE
    try:
        estimate = json.loads(path.read_text(encoding="utf-8"))
        recorded = json.loads((folder / "synth" / "done.json").read_text(encoding="utf-8"))["reports"]
    except (OSError, ValueError, KeyError) as bad:
        raise ReportError(f"{folder}: no estimate and reports to compare (flow synth {folder}): {bad}") from None
    name = next((n for n in sorted(recorded) if n.endswith("csynth.xml")), None)
    if name is None:
        raise ReportError(f"{folder}: synth/done.json names no csynth.xml: flow synth {folder}")
    return compared(estimate, parse(folder / name)[0])


def block_shares(layers: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Resource -> operator -> part of all layers' estimate: what a report of the whole is evidence about."""
    sums: dict[str, dict[str, float]] = {k: {} for k in KINDS}
    for layer in layers:
        for k in KINDS:
            sums[k][layer["op"]] = sums[k].get(layer["op"], 0.0) + layer["resources"][k]
    return {k: {op: n / sum(s.values()) for op, n in s.items()} for k, s in sums.items() if sum(s.values())}


def compared(estimate: Mapping[str, Any], report: ToolReport) -> list[Observation]:
    """Observations of a design: ``estimate`` as ``flow estimate --json`` gives it."""
    shares = block_shares(estimate["layers"])
    pairs = {k: (estimate["resources"][k], report.resources[k]) for k in KINDS}
    pairs["latency_cycles"] = estimate["latency_cycles"], report.latency_max
    pairs["interval_cycles"] = estimate["interval_cycles"], report.interval_max
    tool, family = f"{report.tool} {report.tool_version}", device(report.part or "") or "unknown"
    return [Observation(k, tool, family, e, r, shares.get(k, {})) for k, (e, r) in pairs.items() if e and r]


def corrections(observed: Sequence[Observation]) -> Found:
    """For every measure and tool: the mean correction with its interval, and how well the estimate ranked."""
    found = calibrate.calibrate(observed)
    out = []
    for measure in calibrate.MEASURES:
        own = [o for o in observed if o.measure == measure]
        for tool, family in sorted({(o.tool, o.family) for o in own}):
            here = [o for o in own if (o.tool, o.family) == (tool, family)]
            kinds = {k for o in here for k in o.shares}
            shares = {k: sum(o.shares.get(k, 0.0) for o in here) / len(here) for k in kinds}
            s = found.spread(measure, tool, family, shares)
            rank = calibrate.rank_correlation([o.estimated for o in here], [o.reported for o in here])
            out.append({"measure": measure, "tool": tool, "family": family, "reports": len(here), "factor": s.p50,
                        "p10": s.p10, "p90": s.p90, "rank_correlation": rank})  # fmt: skip
    return out


def _row(folder: Path, o: Observation) -> dict[str, Any]:
    return {"file": str(folder), "tool": o.tool, "part": o.family, "measure": o.measure, "predicted": o.estimated,
            "reported": o.reported}  # fmt: skip
