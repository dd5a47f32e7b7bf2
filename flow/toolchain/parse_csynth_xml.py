"""``csynth.xml`` and ``<module>_csynth.xml`` of Vivado HLS (2017 on) and Vitis HLS.

Document types and entities are refused before anything is parsed, so no expansion or outside file is possible.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

from flow.toolchain.parse_values import (
    COLUMNS,
    Bounds,
    ReportError,
    ToolReport,
    absolute_time,
    amounts,
    bounds,
    count,
    differences,
    disordered,
    nanoseconds,
    over_device,
    slower,
    unpipelined,
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
    target = _clock(root, "UserAssignments/TargetClockPeriod", where)
    estimated = _clock(root, "PerformanceEstimates/SummaryOfTimingAnalysis/EstimatedClockPeriod", where)
    summary = _only(root, "PerformanceEstimates/SummaryOfOverallLatency", where)
    latency = (count(summary.findtext("Best-caseLatency"), where), count(summary.findtext("Worst-caseLatency"), where))
    interval = (count(summary.findtext("Interval-min"), where), count(summary.findtext("Interval-max"), where))
    used = _resources(root.find("AreaEstimates/Resources"), where)
    available = _resources(root.find("AreaEstimates/AvailableResources"), where)
    modules = tuple(_module(m, where) for m in root.iterfind("ModuleInformation/Module"))
    top = _text(root, "UserAssignments/TopModelName")
    warnings = [*disordered(latency, interval), *over_device(used, available), *slower(target, estimated)]
    warnings += _times(summary, latency, target, estimated, where) + _own_module(modules, top, latency, used)
    details = _details(root, summary, where)
    warnings += unpipelined(details["pipeline"], latency, interval) + _absent(root)
    throughput = details["dataflow_interval"]
    if throughput is not None:
        ends = zip(("interval minimum", "interval maximum"), interval, throughput, strict=True)
        warnings += differences(ends, "the summary", "the dataflow throughput")
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
        loops=tuple(_loops(root.find("PerformanceEstimates/SummaryOfLoopLatency"), where)),
        modules=modules,
        warnings=tuple(warnings),
        details=details,
    )


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
        "clock_uncertainty_ns": _clock(root, "UserAssignments/ClockUncertainty", where),
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


def _times(
    summary: ET.Element, latency: Bounds, target: float | None, estimated: float | None, where: str
) -> list[str]:
    """The absolute times are the cycles at the slower of target and estimated period, else one of them is wrong."""
    period = None if target is None or estimated is None else max(target, estimated)
    found = []
    for case, cycles in zip(("Best", "Worst"), latency, strict=True):
        printed = nanoseconds(summary.findtext(f"{case}-caseRealTimeLatency"), where)
        if not absolute_time(cycles, printed, period):
            found.append(f"latency: {cycles} cycles at {period:g} ns are not the printed {printed:g} ns")
    return found


def _own_module(
    modules: tuple[dict[str, Any], ...], top: str | None, latency: Bounds, used: dict[str, int | None]
) -> list[str]:
    """The top stands once more in the list of modules, with the same cycles and resources."""
    own = next((m for m in modules if m["name"] == top), None)
    if own is None:
        return []
    names = ("latency_min", "latency_max")
    found = [(n, total, own[n]) for n, total in zip(names, latency, strict=True)]
    found += [(n, used[n], own["resources"][n]) for n in used]
    return differences(found, "the summary", "the module list")
