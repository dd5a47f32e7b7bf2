"""``hls_data.json`` (Vitis Unified) and ``<solution>_data.json`` (Vitis HLS): the design as the tool passes it on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flow.toolchain import checks
from flow.toolchain.parse_values import (
    COLUMNS,
    ReportError,
    ToolReport,
    amounts,
    bounds,
    count,
    nanoseconds,
    printed,
    uncertainty,
)

_TOOLS = {"vitis_hls": "Vitis HLS", "vivado_hls": "Vivado HLS", "v++": "Vitis HLS", "vitis": "Vitis HLS"}


def read(text: str, where: str) -> list[ToolReport]:
    """One report. Raises ReportError for JSON that is cut or describes no HLS design."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as bad:
        raise ReportError(f"{where}: the JSON is truncated or damaged ({str(bad)[:80]})") from None
    if not isinstance(data, dict) or not isinstance(data.get("Top"), str) or "ModuleInfo" not in data:
        raise ReportError(f"{where}: JSON, but no HLS design (no Top and ModuleInfo)")
    return [_report(data, where)]


def _object(node: Any, path: tuple[str, ...], where: str) -> Mapping[str, Any]:
    """The object at ``path``, empty where absent."""
    for key in path:
        node = node.get(key, {})
        if not isinstance(node, dict):
            raise ReportError(f"{where}: {'.'.join(path)} is no object: the file is damaged")
    found: Mapping[str, Any] = node
    return found


def _string(node: Mapping[str, Any], key: str) -> str | None:
    value = node.get(key)
    return str(value) if isinstance(value, str | int | float) and value != "" else None


def _report(data: Mapping[str, Any], where: str) -> ToolReport:
    top = str(data["Top"])
    metrics = _object(data, ("ModuleInfo", "Metrics"), where)
    own = metrics.get(top)
    if not isinstance(own, dict):
        raise ReportError(f"{where}: no metrics of the top {top[:60]!r}: the file is damaged")
    row = _module(top, own, where)
    area = _object(own, ("Area",), where)
    available = amounts(
        {n: count(_string(area, f"AVAIL_{c}"), where) for c, n in COLUMNS.items() if f"AVAIL_{c}" in area}
    )
    target = nanoseconds(_string(_object(data, ("ClockInfo",), where), "ClockPeriod"), where)
    estimated = nanoseconds(_string(_object(own, ("Timing",), where), "Estimate"), where)
    latency, interval = (row["latency_min"], row["latency_max"]), (row["interval_min"], row["interval_max"])
    modules = tuple(_module(n, m, where) for n, m in metrics.items() if n != top)
    warnings = [*checks.over_device(row["resources"], available), *checks.slower(target, estimated)]
    warnings += checks.scheduled(row["pipeline"], latency, interval)
    warnings += _clocks(own, target, where) + checks.loops(row["loops"], latency[1])
    for module in (row, *modules):
        warnings += _area(module, metrics[module["name"]], available, where)
    made = _object(data, ("GenData",), where)
    device = _object(data, ("Target",), where)
    pieces = [_string(device, k) for k in ("Device", "Package", "Speed")]
    return ToolReport(
        file=where,
        kind="csynth",
        tool=_TOOLS.get((_string(made, "ToolName") or "").lower()),
        tool_version=_string(made, "ToolVersion"),
        part="".join(p for p in pieces if p) if all(pieces) else None,
        top=top,
        clock_target_ns=target,
        clock_estimated_ns=estimated,
        latency_min=latency[0],
        latency_max=latency[1],
        interval_min=interval[0],
        interval_max=interval[1],
        resources=row["resources"],
        available=available,
        loops=tuple(row["loops"]),
        modules=modules,
        warnings=tuple(warnings),
        details={
            "stage": "csynth",
            "family": _string(device, "Family"),
            "flow_target": _string(_object(data, ("HlsSolution",), where), "FlowTarget"),
            "clock_uncertainty_ns": uncertainty(
                _string(_object(data, ("ClockInfo",), where), "Uncertainty"), target, where
            ),
            "pipeline": row["pipeline"],
        },
    )


def _clocks(own: Mapping[str, Any], target: float | None, where: str) -> list[str]:
    """The top's timing repeats the clock that was asked for, with two decimals."""
    again = printed(_string(_object(own, ("Timing",), where), "Target"), where)
    if target is None or again is None or abs(again.ns - target) <= 0.51 * again.step:
        return []
    return [f"clock: ClockInfo says {target:g} ns, the top's timing {again.ns:g}"]


def _area(
    module: Mapping[str, Any], node: Mapping[str, Any], available: Mapping[str, int | None], where: str
) -> list[str]:
    """Every module repeats what the device has, and says in percent what it takes of it."""
    area, what = _object(node, ("Area",), where), f"module {module['name']}: "
    own = {n: count(_string(area, f"AVAIL_{c}"), where) for c, n in COLUMNS.items() if f"AVAIL_{c}" in area}
    pairs = [(f"{n} available", available.get(n), a) for n, a in own.items()]
    percents = {n: _string(area, f"UTIL_{c}") or "" for c, n in COLUMNS.items() if f"UTIL_{c}" in area}
    found = [what + w for w in checks.differences(pairs, "the top", "the module")]
    return found + checks.percentages(module["resources"], own, percents, what)


def _module(name: str, node: Any, where: str) -> dict[str, Any]:
    if not isinstance(node, dict):
        raise ReportError(f"{where}: the metrics of {name[:60]!r} are no object: the file is damaged")
    latency, area = _object(node, ("Latency",), where), _object(node, ("Area",), where)
    listed = node.get("Loops", [])
    interval = bounds(_string(latency, "PipelineII"), where)
    return {
        "name": name,
        "instance": None,
        "latency_min": count(_string(latency, "LatencyBest"), where),
        "latency_max": count(_string(latency, "LatencyWorst"), where),
        "interval_min": count(_string(latency, "PipelineIIMin"), where) if "PipelineIIMin" in latency else interval[0],
        "interval_max": count(_string(latency, "PipelineIIMax"), where) if "PipelineIIMax" in latency else interval[1],
        "pipeline": _string(latency, "PipelineType"),
        "resources": amounts({n: count(_string(area, c), where) for c, n in COLUMNS.items() if c in area}),
        "loops": _loops(listed, 0, None, [], where),
    }


def _loops(listed: Any, depth: int, parent: int | None, rows: list[dict[str, Any]], where: str) -> list[dict[str, Any]]:
    if not isinstance(listed, list) or depth > 64:
        raise ReportError(f"{where}: the loops are no list, or nested too deep: the file is damaged")
    for node in listed:
        if not isinstance(node, dict):
            raise ReportError(f"{where}: a loop is no object: the file is damaged")
        trip, latency, iteration = (
            bounds(_string(node, k), where) for k in ("TripCount", "Latency", "IterationLatency")
        )
        interval = bounds(_string(node, "PipelineII"), where)[1]
        rows.append(
            {
                "name": _string(node, "Name"),
                "depth": depth,
                "parent": parent,
                "trip_count_min": trip[0],
                "trip_count_max": trip[1],
                "latency_min": latency[0],
                "latency_max": latency[1],
                "iteration_latency_min": iteration[0],
                "iteration_latency_max": iteration[1],
                "ii": interval,
                "ii_target": None,
                "pipeline_depth": bounds(_string(node, "PipelineDepth"), where)[1],
                "pipelined": {"yes": True, "no": False}.get(_string(node, "PipelineType") or ""),
            }
        )
        if "Loops" in node:
            _loops(node["Loops"], depth + 1, len(rows) - 1, rows, where)
    return rows
