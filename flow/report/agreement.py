"""Predicted against reported: one panel a measure, and the table of ratios and rank correlations beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from flow.cost.calibrate import rank_correlation
from flow.report.measures import finite, label
from flow.report.plot import STYLE

Json = Mapping[str, Any]
SHOWN = ("latency_ms", "lut", "ff", "dsp", "bram18")
PANEL, GAP, TOP, LEFT = 168, 24, 34, 16


def pairs(reports: Sequence[Json], name: str) -> list[tuple[float, float, float]]:
    """(estimated, corrected when it was judged, reported) of a measure; amounts of zero have no ratio."""
    found = []
    for r in reports:
        raw, said = finite(r["raw"].get(name)), finite(r["reported"].get(name))
        used = finite(r["estimated"].get(name))
        if raw and said and used:
            found.append((raw, used, said))
    return found


def rows(reports: Sequence[Json]) -> list[dict[str, Any]]:
    """For each measure: how many reports, median ratio, worst one, rank correlation of the estimate."""
    out = []
    for name in SHOWN:
        own = pairs(reports, name)
        if not own:
            continue
        ratios = sorted(said / raw for raw, _, said in own)
        rank = rank_correlation([raw for raw, _, _ in own], [said for _, _, said in own])
        corrected = sorted(said / used for _, used, said in own)
        out.append({
            "measure": label(name), "reports": len(own),
            "reported / estimated": f"{ratios[len(ratios) // 2]:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
            "reported / corrected": f"{corrected[len(ratios) // 2]:.2f} ({corrected[0]:.2f} to {corrected[-1]:.2f})",
            "rank correlation": None if rank is None else f"{rank:.2f}",
        })  # fmt: skip
    return out


def svg(reports: Sequence[Json]) -> Markup:
    """Estimated (rings) and corrected (dots) against reported, logarithmic. Empty without any."""
    names = [n for n in SHOWN if pairs(reports, n)]
    if not names:
        return Markup("")
    width, height = LEFT + len(names) * (PANEL + GAP), TOP + PANEL + 30
    parts = [Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}" class="plot" role="img"'
        ' aria-label="predicted against reported"><style>{2}</style>'
        '<rect class="back" width="{0}" height="{1}" rx="8"/>'
    ).format(width, height, Markup(STYLE))]  # fmt: skip
    for k, name in enumerate(names):
        parts += _panel(LEFT + k * (PANEL + GAP), name, pairs(reports, name))
    return Markup("\n").join([*parts, Markup("</svg>")])


def _panel(left: float, name: str, own: Sequence[tuple[float, float, float]]) -> list[Markup]:
    values = [math.log10(v) for triple in own for v in triple]
    low, high = min(values), max(values)
    low, high = (low - 0.1, high + 0.1) if high - low < 0.2 else (low - 0.05 * (high - low), high + 0.05 * (high - low))

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            left + PANEL * (math.log10(x) - low) / (high - low),
            TOP + PANEL * (1 - (math.log10(y) - low) / (high - low)),
        )

    parts = [
        Markup('<rect x="{}" y="{}" width="{}" height="{}" fill="none" stroke="#999"/>').format(
            left, TOP, PANEL, PANEL
        ),
        Markup('<path d="M{} {}L{} {}" stroke="#999" stroke-dasharray="3 3"/>').format(
            left, TOP + PANEL, left + PANEL, TOP
        ),
        Markup('<text x="{}" y="{}" class="title">{}</text>').format(left, TOP - 10, label(name)),
        Markup('<text x="{}" y="{}">predicted</text>').format(left, TOP + PANEL + 18),
        Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(
            left + PANEL, TOP + PANEL + 18, f"{10**low:.3g} to {10**high:.3g}"
        ),
    ]
    for raw, used, said in own:
        tip = Markup("<title>{}</title>").format(f"{raw:.4g} estimated, {used:.4g} corrected, {said:.4g} reported")
        x, y = at(raw, said)
        parts.append(
            Markup('<circle cx="{:.1f}" cy="{:.1f}" r="4" fill="none" stroke="#777">{}</circle>').format(x, y, tip)
        )
        x, y = at(used, said)
        parts.append(Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="#2a78d6">{}</circle>').format(x, y, tip))
    return parts
