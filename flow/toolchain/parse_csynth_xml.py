"""``csynth.xml`` and ``<module>_csynth.xml`` of Vivado HLS (2017 on) and Vitis HLS.

Document types and entities are refused before anything is parsed, so no expansion or outside file is possible.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any

from flow.toolchain import checks
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

_DECLARATION = re.compile(r"<!(?!--|\[CDATA\[)")
_DEPTH = 64  # loops nested deeper than any tool accepts: a damaged or hostile file


def read(text: str, where: str) -> list[ToolReport]:
    """One report. Raises ReportError for XML that is cut, hostile, or no HLS profile."""
    if _DECLARATION.search(text):
        raise ReportError(f"{where}: refused: an HLS report has no document type and no entities")
    try:
        root = ET.fromstring(text.strip())
    except (ET.ParseError, ValueError) as bad:
        raise ReportError(f"{where}: the XML is truncated or damaged ({bad})") from None
    if root.tag != "profile" or root.find("UserAssignments") is None:
        raise ReportError(f"{where}: XML, but no HLS synthesis report (no profile/UserAssignments)")
    for needed in ("PerformanceEstimates/SummaryOfOverallLatency", "AreaEstimates/Resources"):
        if root.find(needed) is None:
            raise ReportError(f"{where}: no {needed}: the report is truncated or damaged")
    return [_report(root, where)]


def _text(node: ET.Element, path: str) -> str | None:
    found = node.findtext(path)
    return found.strip() or None if found is not None else None


def _report(root: ET.Element, where: str) -> ToolReport:
    repeated = _single(root, where)
    target = _clock(root, _TARGET, where)
    estimated = _clock(root, _ESTIMATED, where)
    summary = _only(root, "PerformanceEstimates/SummaryOfOverallLatency", where)
    latency = (count(summary.findtext("Best-caseLatency"), where), count(summary.findtext("Worst-caseLatency"), where))
    interval = (count(summary.findtext("Interval-min"), where), count(summary.findtext("Interval-max"), where))
    used = _resources(root.find("AreaEstimates/Resources"), where)
    available = _resources(root.find("AreaEstimates/AvailableResources"), where)
    nodes = root.findall("ModuleInformation/Module")
    modules = tuple(_module(m, where) for m in nodes)
    loops = tuple(_loops(root.find("PerformanceEstimates/SummaryOfLoopLatency"), where))
    top = _text(root, "UserAssignments/TopModelName")
    details = _details(root, summary, where)
    warnings = [*checks.over_device(used, available), *checks.slower(target, estimated), *_absent(root), *repeated]
    warnings += _cycles(summary, latency, interval, details, where)
    warnings += checks.times("latency", latency, _real_times(summary, where), _period(root, where))
    warnings += checks.loops(loops, latency[1])
    for node, module in zip(nodes, modules, strict=True):
        warnings += _module_doubts(node, module, available, where)
    own = next(((n, m) for n, m in zip(nodes, modules, strict=True) if m["name"] == top), None)
    if own is not None:
        warnings += _own_module(*own, latency, used, (target, estimated), loops, where)
    return ToolReport(
        file=where,
        kind="csynth" if _is_top(root) else "csynth_module",
        tool=_tool(root),
        tool_version=_text(root, "ReportVersion/Version"),
        part=_text(root, "UserAssignments/Part"),
        top=top,
        clock_target_ns=target,
        clock_estimated_ns=estimated,
        latency_min=latency[0],
        latency_max=latency[1],
        interval_min=interval[0],
        interval_max=interval[1],
        resources=used,
        available=available,
        loops=loops,
        modules=modules,
        warnings=tuple(warnings),
        details=details,
    )


_TARGET = "UserAssignments/TargetClockPeriod"
_ESTIMATED = "PerformanceEstimates/SummaryOfTimingAnalysis/EstimatedClockPeriod"
_ONCE = (
    *("ReportVersion", "UserAssignments", "PerformanceEstimates", "AreaEstimates"),
    *("PerformanceEstimates/SummaryOfTimingAnalysis", "PerformanceEstimates/SummaryOfLoopLatency"),
    *("AreaEstimates/Resources", "AreaEstimates/AvailableResources"),
)


def _single(root: ET.Element, where: str) -> list[str]:
    """Sections stand once; a value that stands twice in one is told (the first is taken)."""
    told: list[str] = []
    for path in _ONCE:
        found = root.findall(path)
        if len(found) > 1:
            raise ReportError(f"{where}: {len(found)} times {path}: the report is damaged")
        if not path.endswith("SummaryOfLoopLatency"):  # loops may have one name
            told += [w for node in found for w in _twice(node)]
    return told


def _twice(node: ET.Element) -> list[str]:
    tags = [child.tag for child in node if len(child) == 0]
    return [f"report: {tag} twice in {node.tag}" for tag in dict.fromkeys(tags) if tags.count(tag) > 1]


def _only(root: ET.Element, path: str, where: str) -> ET.Element:
    found = root.findall(path)
    if len(found) != 1:
        raise ReportError(f"{where}: {len(found)} times {path}: the report is damaged")
    return found[0]


def _clock(root: ET.Element, path: str, where: str) -> float | None:
    unit = _text(root, path.rpartition("/")[0] + "/unit") or "ns"
    return nanoseconds(_text(root, path), where, unit)


def _details(root: ET.Element, summary: ET.Element, where: str) -> dict[str, Any]:
    dataflow = summary.find("DataflowPipelineThroughput")
    return {
        "stage": "csynth",
        "family": _text(root, "UserAssignments/ProductFamily"),
        "flow_target": _text(root, "UserAssignments/FlowTarget"),
        "clock_uncertainty_ns": uncertainty(
            _text(root, "UserAssignments/ClockUncertainty"), _clock(root, _TARGET, where), where
        ),
        "pipeline": _text(root, "PerformanceEstimates/PipelineType"),
        "latency_average": count(summary.findtext("Average-caseLatency"), where),
        "dataflow_interval": None if dataflow is None else list(_range(dataflow, where)),
    }


_EXPECTED = (
    *(
        "ReportVersion/Version",
        "UserAssignments/Part",
        "UserAssignments/TopModelName",
        "UserAssignments/TargetClockPeriod",
    ),
    "PerformanceEstimates/SummaryOfTimingAnalysis/EstimatedClockPeriod",
    *(f"PerformanceEstimates/SummaryOfOverallLatency/{n}" for n in ("Best-caseLatency", "Worst-caseLatency")),
    *(f"PerformanceEstimates/SummaryOfOverallLatency/{n}" for n in ("Interval-min", "Interval-max")),
    *(f"AreaEstimates/{r}/{n}" for r in ("Resources", "AvailableResources") for n in ("BRAM_18K", "FF", "LUT")),
)


def _absent(root: ET.Element) -> list[str]:
    """Every version writes these: an absent one is either a version nobody has seen or a damaged file."""
    found = [f"report: no {path.rpartition('/')[2]} in it" for path in _EXPECTED if root.find(path) is None]
    for group in ("Resources", "AvailableResources"):
        if all(root.find(f"AreaEstimates/{group}/{n}") is None for n in ("DSP", "DSP48E")):
            found.append(f"report: no DSP in {group}")
    return found


def _tool(root: ET.Element) -> str | None:
    """The XML never names its tool, and both called themselves 2020.1: the DSP tag tells them apart."""
    if root.find("AreaEstimates/Resources/DSP48E") is not None:
        return "Vivado HLS"
    if root.find("AreaEstimates/Resources/DSP") is not None or root.find("UserAssignments/FlowTarget") is not None:
        return "Vitis HLS"
    return None


def _is_top(root: ET.Element) -> bool:
    """Only the top's file has the hierarchy (Vitis HLS) or C types of its ports (all versions)."""
    if root.find("RTLDesignHierarchy") is not None or root.find("ModuleInformation") is not None:
        return True
    return root.find("InterfaceSummary/RtlPorts/CType") is not None


def _resources(node: ET.Element | None, where: str) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for child in node if node is not None else ():
        name = COLUMNS.get(child.tag)
        if name is not None:
            if name in found:
                raise ReportError(
                    f"{where}: {child.tag} twice in {node.tag if node is not None else ''}: the report is damaged"
                )
            found[name] = count(child.text, where)
    return amounts(found)


def _range(node: ET.Element | None, where: str) -> Bounds:
    """A value, or the ``<range><min/><max/></range>`` that stands in its place."""
    if node is None:
        return None, None
    inner = node.find("range")
    if inner is None:
        return bounds(node.text, where)
    return count(inner.findtext("min"), where), count(inner.findtext("max"), where)


_LOOP_VALUES = ("TripCount", "Latency", "IterationLatency", "PipelineII")


def _loops(node: ET.Element | None, where: str) -> list[dict[str, Any]]:
    """Rows of nested loops, outermost first. A loop's name is its element's name and may repeat among siblings."""
    rows: list[dict[str, Any]] = []

    def walk(parent: ET.Element, depth: int, index: int | None) -> None:
        if depth > _DEPTH:
            raise ReportError(f"{where}: loops nested deeper than {_DEPTH}: the report is damaged")
        for child in parent:
            if any(child.find(v) is not None for v in _LOOP_VALUES):
                rows.append(_loop(child, depth, index, where))
                walk(child, depth + 1, len(rows) - 1)

    if node is not None:
        walk(node, 0, None)
    return rows


def _loop(node: ET.Element, depth: int, parent: int | None, where: str) -> dict[str, Any]:
    for value in _LOOP_VALUES:
        if len(node.findall(value)) > 1:
            raise ReportError(f"{where}: {value} twice in the loop {node.tag[:40]}: the report is damaged")
    trip, latency, iteration = (_range(node.find(v), where) for v in _LOOP_VALUES[:3])
    interval = _range(node.find("PipelineII"), where)
    return {
        "name": node.findtext("Name") or node.tag,
        "depth": depth,
        "parent": parent,
        "trip_count_min": trip[0],
        "trip_count_max": trip[1],
        "latency_min": latency[0],
        "latency_max": latency[1],
        "iteration_latency_min": iteration[0],
        "iteration_latency_max": iteration[1],
        "ii": interval[1],
        "ii_target": None,
        "pipeline_depth": _range(node.find("PipelineDepth"), where)[1],
        "pipelined": node.find("PipelineII") is not None,
    }


def _module(node: ET.Element, where: str) -> dict[str, Any]:
    performance = "PerformanceEstimates/SummaryOfOverallLatency/"
    interval = bounds(node.findtext(performance + "PipelineInitiationInterval"), where)
    return {
        "name": _text(node, "Name"),
        "instance": None,
        "latency_min": count(node.findtext(performance + "Best-caseLatency"), where),
        "latency_max": count(node.findtext(performance + "Worst-caseLatency"), where),
        "interval_min": interval[0],
        "interval_max": interval[1],
        "pipeline": _text(node, performance + "PipelineType"),
        "resources": _resources(node.find("AreaEstimates/Resources"), where),
        "loops": _loops(node.find("PerformanceEstimates/SummaryOfLoopLatency"), where),
    }


def _period(root: ET.Element, where: str) -> Printed | None:
    return checks.slower_period(*(_printed(root, path, where) for path in (_TARGET, _ESTIMATED)))


def _printed(root: ET.Element, path: str, where: str) -> Printed | None:
    unit = _text(root, path.rpartition("/")[0] + "/unit") or "ns"
    found = _text(root, path)
    return None if found is None else printed(f"{found} {unit}", where)


def _real_times(summary: ET.Element, where: str) -> list[Printed | None]:
    return [printed(summary.findtext(f"{case}-caseRealTimeLatency"), where) for case in ("Best", "Worst")]


def _cycles(
    summary: ET.Element, latency: Bounds, interval: Bounds, details: Mapping[str, Any], where: str
) -> list[str]:
    """The mean lies between the ends; a pipelined function's own interval and depth are those of the summary."""
    found = _twice(summary) + checks.scheduled(details["pipeline"], latency, interval)
    (low, high), mean = latency, details["latency_average"]
    if low is not None and high is not None and mean is not None and not low <= mean <= high:
        found.append(f"latency: {mean} cycles on average, {low} to {high}")
    throughput = details["dataflow_interval"]
    if throughput is not None:
        pairs = zip(("interval minimum", "interval maximum"), interval, throughput, strict=True)
        found += checks.differences(pairs, "the summary", "the dataflow throughput")
    if details["pipeline"] == "yes":
        start = count(summary.findtext("PipelineInitiationInterval"), where)
        depth = count(summary.findtext("PipelineDepth"), where)
        found += checks.differences([("interval", interval[1], start)], "the summary", "the pipeline")
        if depth is not None and latency[1] is not None and depth != latency[1] + 1:
            found.append(f"latency: {latency[1]} cycles with a pipeline of {depth} stages")
    return found


def _module_doubts(
    node: ET.Element, module: Mapping[str, Any], available: Mapping[str, int | None], where: str
) -> list[str]:
    """A row of the list of modules: cycles x period, percentages of the device."""
    what = f"module {module['name']}: "
    summary = node.find("PerformanceEstimates/SummaryOfOverallLatency")
    cycles = module["latency_min"], module["latency_max"]
    found = []
    if summary is not None:
        paths = (f"PerformanceEstimates/SummaryOfTimingAnalysis/{n}ClockPeriod" for n in ("Target", "Estimated"))
        period = checks.slower_period(*(_printed(node, path, where) for path in paths))
        found += checks.times(what + "latency", cycles, _real_times(summary, where), period)
    area = node.find("AreaEstimates/Resources")
    cells = {c.tag: (c.text or "").strip() for c in area} if area is not None else {}
    names = {tag.partition("_")[2]: tag for tag in cells if tag.startswith(("AVAIL_", "UTIL_"))}
    own = {COLUMNS[n]: count(cells.get(f"AVAIL_{n}"), where) for n in names if n in COLUMNS}
    pairs = [(f"{n} available", available.get(n), a) for n, a in own.items()]
    found += [what + w for w in checks.differences(pairs, "the summary", "the list")]
    percents = {COLUMNS[n]: cells.get(f"UTIL_{n}", "") for n in names if n in COLUMNS}
    found += checks.percentages(module["resources"], own, percents, what)
    return found + checks.loops(module["loops"], cycles[1])


def _own_module(
    node: ET.Element,
    own: Mapping[str, Any],
    latency: Bounds,
    used: Mapping[str, int | None],
    clock: tuple[float | None, float | None],
    loops: Sequence[Mapping[str, Any]],
    where: str,
) -> list[str]:
    """The top stands once more in the list of modules, with the same cycles, clock, loops and resources."""
    names = ("latency_min", "latency_max")
    found: list[tuple[str, Any, Any]] = [(n, total, own[n]) for n, total in zip(names, latency, strict=True)]
    found += [(n, used[n], own["resources"][n]) for n in used]
    for name, value in zip(("Target", "Estimated"), clock, strict=True):
        again = _clock(node, f"PerformanceEstimates/SummaryOfTimingAnalysis/{name}ClockPeriod", where)
        found.append((f"{name.lower()} clock", value, again))
    keys = ("trip_count_max", "latency_max", "ii")
    found += [
        (f"loop {a['name']}: {k}", a[k], b[k])
        for a, b in zip(loops, own["loops"], strict=False)
        for k in keys
        if a["name"] == b["name"]
    ]
    return checks.differences(found, "the summary", "the module list")
