"""Reports as text for a terminal."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from flow.design import Report


def report(r: Report) -> str:
    """A design's numbers, layer by layer; every number is an estimate unless its fidelity says otherwise."""
    lines = [
        f"{r.board} at {r.clock_mhz:g} MHz ({r.fidelity}, {r.kind}): {r.fps:,.1f} images/s, "
        f"interval {r.interval_cycles} cycles, latency {r.latency_ms:.4g} ms",
        "  " + ", ".join(f"{k} {v} of {r.available.json()[k]}" for k, v in r.resources.json().items()),
    ]
    if r.energy_mj is not None and "energy_mj" in r.intervals:
        low, high = r.intervals["energy_mj"]
        lines.append(
            f"  energy {r.energy_mj:.4g} mJ/image (p10 {low:.3g}, p90 {high:.3g}) at full rate: programmable logic, "
            f"{r.power['static_w']:.3g} W static, {r.power['dynamic_w']:.3g} W dynamic (implementation, estimated)"
        )
    if r.decision:
        spans = [f"{k} {v[0]} to {v[1]}" for k, v in r.intervals.items() if k in r.resources.json() and v[1]]
        lines.append(f"  C synthesis will report (p10 to p90): {', '.join(spans)}")
        made = r.implementation
        ends = made["intervals"]
        spans = [f"{k} {n} ({ends[k][0]} to {ends[k][1]})" for k, n in made["resources"].items() if ends[k][1]]
        lines.append(f"  implementation will use (median, p10 to p90): {', '.join(spans)}")
        d = r.decision
        lines.append(
            f"  fits {d['target']} with probability {d['probability']:.2f} in the scarcest resource "
            f"(asked for {d['confidence']:g})"
        )
    if r.bound:
        how = "proved bound" if r.bound.proved or r.kind != "chain" else "no chain found below"
        lines.append(f"  {how} {r.bound.interval_cycles} cycles ({r.bound.limit}), gap {100 * r.bound.gap:.1f} %")
    lines += [_board(r, i) if "platform" in r.extra else _part(r, i) for i in range(len(r.parts))]
    for layer in r.layers:
        p = layer.parameters
        shown = ("pe", "simd", "lanes", "window", "mult", "memory") if "pe" in p else tuple(p)
        folding = " ".join(f"{k} {p[k]}" for k in shown)
        lines.append(f"  {layer.id:5} {layer.op:14} {layer.interval_cycles:>9} cycles  {folding}")
    for v in r.violations:
        lines.append(f"  does not fit: {v}")
    return "\n".join([*lines, *_limits(r.extra.get("limits")), *_marginal(r.extra.get("marginal", ()))])


def _limits(view: Mapping[str, Any] | None) -> list[str]:
    """What holds the design back, and how much faster the board's multipliers alone would be."""
    if view is None:
        return []
    lines = ["what limits it:"]
    for i, board in enumerate(view.get("boards") or [view]):
        where = f"board {i}: " if "boards" in view else ""
        only = board.get("arithmetic_bound_dsp_only_cycles")
        slowest = ", ".join(board["slowest"])
        lines += [
            f"  {where}{board['limited_by']}; slowest: {slowest}; interval {board['reached_cycles']} cycles, "
            f"proved optimum of the design space {board['proved_bound_cycles']} or more",
            f"  {where}arithmetic bound of the budget's multipliers {board['arithmetic_bound_cycles']} cycles"
            + (f" (of its DSPs alone {only})" if only else "")
            + f"; memory {board['memory_gb_s']:.3g} of {board['memory_available_gb_s']:g} GB/s",
        ]
    return lines + [_why(x) for x in view["layers"]]


def _why(x: Mapping[str, Any]) -> str:
    step = x["faster"]
    if step is None:
        more = "no faster folding"
    else:
        needs = ", ".join(f"{v} {k}" for k, v in step["more"].items()) or "nothing"
        short = f"; short of {', '.join(step['short_of'])}" if step["short_of"] else ""
        more = f"{step['interval_cycles']} cycles need {needs} more{short}"
    return f"  {x['id']:5} busy {x['busy']:6.1%}  {x['limited_by']:14} {more}"


def _marginal(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["what more would buy:"] if rows else []
    for m in rows:
        step = m.get("step")
        lines.append(
            f"  {m['more']:g} {m['resource']} more: {m['gain_fps']:+,.1f} images/s, {m['gain_fps_each']:+,.3g} each "
            f"({m['how']})"
            + (f"; {step['interval_cycles']} cycles need {step['more']:g} or more of it" if step else "")
        )
    return lines


def _board(r: Report, i: int) -> str:
    """A part of a design on several boards: where, what, how busy."""
    part, place = r.parts[i], r.extra["platform"]["places"][i]
    share = r.extra["pipeline"]["utilisations"][i]
    first, last = part.layers[0].name, part.layers[-1].name
    use = ", ".join(f"{k} {v} of {part.available.json()[k]}" for k, v in part.resources.json().items())
    mean = f"; pipeline efficiency {r.extra['pipeline']['efficiency']:.1%}" if i + 1 == len(r.parts) else ""
    return (
        f"  board {place} ({part.board}): {len(part.layers)} layers, {first or part.layers[0].id} to "
        f"{last or part.layers[-1].id}, interval {part.interval_cycles} cycles, busy {share:.1%}, {use}{mean}"
    )


def _part(r: Report, i: int) -> str:
    """A part of a chain: where, what, how busy."""
    part, mine = r.parts[i], r.extra["chain"]["parts"][i]
    use = ", ".join(f"{k} {v} of {part.available.json()[k]}" for k, v in part.resources.json().items())
    return (
        f"  part {i} ({mine['kind']} on {mine['board']}): {len(part.layers)} layers, {part.layers[0].name} to "
        f"{part.layers[-1].name}, busy {mine['busy']:.1%}, memory {mine['memory_share']:.1%}, {use}"
    )


def front_table(front: dict[str, Any], folder: Path) -> str:
    """The Pareto front of a run and where to go on."""
    if "accuracy" not in front["objectives"]:
        return accelerator_table(front, folder)
    lines = ["accuracy  test    latency ms    images/s  utilisation    DSP     LUT  BRAM18  project"]
    for p in front["points"]:
        o = p["objectives"]
        lines.append(
            f"{o['accuracy']:8.4f}  {o['test_accuracy']:.4f}  {o['latency_ms']:10.5f}  {o['fps']:10.0f}  "
            f"{o['utilisation']:10.1%}  {o['dsp']:6.0f}  {o['lut']:6.0f}  {o['bram18']:6.0f}  {folder / p['directory']}"
        )
    best = max(front["points"], key=lambda p: p["objectives"]["accuracy"])["directory"]
    lines += [
        "accuracy: validation split; test: onnxruntime on the test split; latency and resources are estimates;",
        "every project is bit-exact against onnxruntime in C simulation.",
        f"report: {folder / 'report.html'}",
        f"next: flow csim {folder / best}",
        f"      flow synth {folder / best}",
    ]
    return "\n".join(lines)


def accelerator_table(front: dict[str, Any], folder: Path) -> str:
    """The same for accelerators of a given network."""
    names = front["objectives"]
    lines = ["  ".join([*(f"{n:>14}" for n in names), "clock MHz  engine             project"])]
    for p in front["points"]:
        values = [f"{p['objectives'][n]:14.6g}" for n in names]
        lines.append("  ".join([*values, f"{p['clock_mhz']:9g}  {p['engine']:17}  {folder / p['directory']}"]))
    reference = ", ".join(f"{n} {r:g}" for n, r in zip(names, front["reference"], strict=True))
    share = front["anytime"][-1]["hypervolume"]
    return "\n".join([
        *lines, f"hypervolume {share:.4f} of the box to the reference point ({reference}); measures are estimates;",
        "every project is bit-exact against onnxruntime in C simulation.", f"report: {folder / 'report.html'}",
        f"next: flow csim {folder / front['points'][0]['directory']}",
    ])  # fmt: skip


def doctor() -> list[dict[str, Any]]:
    """What the tool needs and finds."""
    rows: list[dict[str, Any]] = []
    for name in ("numpy", "torch", "onnx", "onnxruntime", "jinja2", "networkx", "hls4ml", "mlxtend"):
        found = importlib.util.find_spec(name) is not None
        rows.append(
            {
                "what": name,
                "state": metadata.version(name) if found else "missing",
                "needed": True,
                "for": "python package",
            }
        )
    for name, needed, purpose in (
        ("g++", True, "C simulation"),
        ("tclsh", False, "tests of generated Tcl"),
        ("vitis-run", False, "synthesis (Vitis Unified)"),
        ("vitis_hls", False, "synthesis (Vitis HLS)"),
        ("vivado_hls", False, "synthesis (Vivado HLS)"),
        ("vivado", False, "implementation"),
    ):
        rows.append({"what": name, "state": shutil.which(name) or "missing", "needed": needed, "for": purpose})
    return rows


def calibration(found: dict[str, Any]) -> str:
    """Reports beside their predictions, and the correction that they give."""
    lines = []
    for r in found["reports"]:
        if "measure" in r:
            ratio = r["reported"] / r["predicted"]
            line = f"{r['measure']} {r['predicted']:g} estimated, {r['reported']:g} reported ({ratio:.2f})"
            lines.append(f"{r['file']} ({r['tool']}): {line}")
            continue
        lines.append(f"{r['file']} ({r['tool']}, {r['part']}, {r['top']})")
        for name, t in r["rows"].items():
            if t["exact"] is not None:
                error = "" if t["sum_error"] is None else f", sum {t['sum_error']:+.1%}"
                share = f"{t['exact']:.1%} of {t['with a law']} exact in {t['measure']}"
                lines.append(f"  {name:12} {t['rows']:6} rows, {share}{error}")
        totals = [f"{k} {t['predicted']} predicted, {t['reported']} reported" for k, t in r["totals"].items()]
        lines.append(f"  total        {'; '.join(totals)}")
    lines.append("corrections (reported / estimated):")
    for c in found["corrections"]:
        rank = "" if c["rank_correlation"] is None else f", rank correlation {c['rank_correlation']:.2f}"
        lines.append(
            f"  {c['measure']:16} {c['tool']} {c['family']}: x {c['factor']:.3f} "
            f"({c['p10']:.3f} to {c['p90']:.3f}), {c['reports']} reports{rank}"
        )
    return "\n".join(lines)


def simulation(result: Any) -> str:
    """A cycle simulation of stages: speed, and how full every FIFO was."""
    if result.deadlock:
        return str(result.deadlock)
    names = [("fifo", "depth", "most beats")]
    names += [(n, str(result.depths[n]), str(m)) for n, m in result.max_occupancy.items()]
    widths = [max(len(r[i]) for r in names) for i in range(3)]
    rows = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in names]
    head = (
        f"latency {result.latency_cycles} cycles, interval {result.interval_cycles} cycles, {result.images} images, "
        f"no deadlock, simulated in {result.seconds:.2f} s"
    )
    return "\n".join([head, *rows])
