"""The roofline picture of a design: its layers and the whole network under the roofs of board and budget."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from flow.design import Report
from flow.report.plot import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    _frame,
    _free_place,
    _line,
    _printable,
    _text,
    axis,
)

Json = Mapping[str, Any]


def files(report: Report) -> dict[str, bytes]:
    """What ``explain`` found, for a project's folder: its JSON and the picture; nothing without."""
    if "limits" not in report.extra:
        return {}
    found, view = {k: report.extra[k] for k in ("limits", "marginal") if k in report.extra}, report.json()
    return {
        "report/limits.json": json.dumps(found, indent=1).encode(),
        "report/estimate_network_performance.json": json.dumps(view, indent=1).encode(),
        "report/roofline.svg": str(roofline_svg(view)).encode(),
    }


def picture(folder: Path) -> Markup:
    """The picture of a compiled project in a folder, from what ``files`` put there; empty where that is missing."""
    path = folder / "report" / "limits.json"
    view = folder / "report" / "estimate_network_performance.json"
    return roofline_svg(json.loads(view.read_text())) if path.is_file() else Markup("")


def roofline_svg(report: Json) -> Markup:
    """From the JSON of ``flow estimate`` with its ``limits``; one picture of its own, nothing loaded.

    A layer's place is its pace at its own interval over the operations a byte it would have if its maps and weights
    came from memory; the network's place is what it reaches over the bytes that it does move, images and results.
    Layers under the slope could be fed from memory; those above it are why maps and weights stay on chip.
    """
    views = report["limits"].get("boards") or [report["limits"]]
    layers = [x for v in views for x in v["layers"] if x["gops"] > 0]
    if not layers:
        return _frame("Roofline: nothing to draw", 120, [_text(WIDTH / 2, 64, "No layer multiplies", "middle")])
    roofs = views[0]["roofs"]
    whole = _network(report, views[0])
    xs = axis([x["ops_per_byte"] for x in layers] + [whole[0]], LEFT, WIDTH - RIGHT, log=True)
    ys = axis([x["gops"] for x in layers] + [whole[1], roofs["gops"] * 1.2], HEIGHT - BOTTOM, TOP, log=True)
    parts = _grid(xs, ys) + _roofs(roofs, xs, ys)
    for x in layers:
        tip = (
            f"{x['id']} {x['name']}: {x['gops']:,.1f} GOP/s, {x['ops_per_byte']:.3g} operations a byte, "
            f"interval {x['interval_cycles']} cycles, {x['limited_by']}"
        )
        circle = Markup('<circle class="other" cx="{:.1f}" cy="{:.1f}" r="5"><title>{}</title></circle>')
        parts.append(circle.format(xs.at(x["ops_per_byte"]), ys.at(x["gops"]), _printable(tip)))
    taken = [(xs.at(x["ops_per_byte"]), ys.at(x["gops"]), 5.0, 5.0) for x in layers]
    for x in layers:
        place = _free_place(xs.at(x["ops_per_byte"]), ys.at(x["gops"]), x["id"], taken, xs, ys)
        if place:
            parts.append(_text(place[0], place[1] + 4, x["id"], "middle", "small"))
    parts.append(
        Markup('<g transform="translate({:.1f} {:.1f})"><circle class="halo" r="8"/></g>').format(
            xs.at(whole[0]), ys.at(whole[1])
        )
    )
    parts.append(_text(xs.at(whole[0]) - 13, ys.at(whole[1]) + 4, "network", "end", "title"))
    return _frame("Roofline: operations a second over operations a byte", HEIGHT, [*parts, *_legend(roofs)])


def _network(report: Json, view: Json) -> tuple[float, float]:
    """Operations a byte moved, and GOP/s, of the whole network at its interval."""
    gops = 2 * report["macs"] * report["fps"] / 1e9
    return gops / max(view["memory_gb_s"], 1e-9), gops


def _grid(xs: Axis, ys: Axis) -> list[Markup]:
    bottom, right = HEIGHT - BOTTOM, xs.end
    parts = []
    for x in xs.ticks:
        parts += [_line(xs.at(x), TOP, xs.at(x), bottom, "grid"), _text(xs.at(x), bottom + 18, f"{x:g}", "middle")]
    for y in ys.ticks:
        parts += [_line(LEFT, ys.at(y), right, ys.at(y), "grid"), _text(LEFT - 8, ys.at(y) + 4, f"{y:g}", "end")]
    parts += [_line(LEFT, bottom, right, bottom, "axis"), _line(LEFT, TOP, LEFT, bottom, "axis")]
    parts.append(_text((LEFT + right) / 2, HEIGHT - 16, "operations a byte, logarithmic", "middle", "title"))
    turned = Markup(
        '<text transform="translate(18 {:.1f}) rotate(-90)" text-anchor="middle" class="title">GOP/s</text>'
    )
    return [*parts, turned.format((TOP + bottom) / 2)]


def _roofs(roofs: Json, xs: Axis, ys: Axis) -> list[Markup]:
    """The arithmetic roofs level, the memory's slope up to the higher one."""
    parts = []
    for key, kind in (("gops", "front"), ("gops_dsp_only", "axis")):
        if key in roofs and ys.low <= roofs[key] <= ys.high:
            parts.append(_line(xs.start, ys.at(roofs[key]), xs.end, ys.at(roofs[key]), kind))
    slope = roofs["memory_gb_s"]
    if slope:
        left, right = max(xs.low, ys.low / slope), min(xs.high, roofs["gops"] / slope)
        if left < right:
            parts.append(_line(xs.at(left), ys.at(left * slope), xs.at(right), ys.at(right * slope), "curve"))
    return parts


def _legend(roofs: Json) -> list[Markup]:
    x, y = WIDTH - RIGHT + 14, TOP + 12
    rows = [("front", f"{roofs['gops']:,.0f} GOP/s", "DSPs and LUTs")]
    if "gops_dsp_only" in roofs:
        rows.append(("axis", f"{roofs['gops_dsp_only']:,.0f} GOP/s", "DSPs alone"))
    if roofs["memory_gb_s"]:
        rows.append(("curve", f"{roofs['memory_gb_s']:g} GB/s", "memory"))
    parts = []
    for kind, number, words in rows:
        parts += [
            _line(x, y, x + 18, y, kind),
            _text(x + 24, y + 4, number),
            _text(x + 24, y + 18, words, kind="small"),
        ]
        y += 40
    parts.append(Markup('<circle class="other" cx="{}" cy="{}" r="5"/>').format(x + 9, y))
    parts.append(_text(x + 24, y + 4, "a layer"))
    return parts
