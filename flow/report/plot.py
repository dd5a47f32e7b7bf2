"""SVG drawn from a run's data: the Pareto plot and the hypervolume over trials.

Every text is escaped; nothing is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from flow.report.measures import SHARES, fidelity_word, finite, label, text
from flow.search.objectives import minimised, minimised_reference, sign
from flow.search.pareto import hypervolume, nondominated

Json = Mapping[str, Any]

WIDTH, HEIGHT = 880, 470
LEFT, RIGHT, TOP, BOTTOM = 76, 150, 22, 58
RAMP = (
    (72, 40, 120),
    (49, 104, 142),
    (33, 145, 140),
    (94, 201, 98),
    (240, 200, 40),
)  # dark to light, for colour-blind too

STYLE = """
.plot{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
.plot .back{fill:#fff}.plot text{fill:#3b424c}.plot .title{font-weight:600}.plot .small{font-size:11px;fill:#656d78}
.plot .grid{stroke:#e6e9ee}.plot .axis{stroke:#9aa2ad;fill:none}
.plot .front{stroke:#30363d;fill:none;stroke-width:1.6}
.plot .area{fill:#2f6feb;fill-opacity:.1}.plot .curve{stroke:#2f6feb;fill:none;stroke-width:2}
.plot .other{fill:#9aa2ad;fill-opacity:.55}.plot .untrained{fill:none;stroke:#9aa2ad;stroke-opacity:.75}
.plot .rug{stroke:#9aa2ad;stroke-opacity:.6}
.plot .point{stroke:#fff;stroke-width:1.5}.plot .halo{fill:#30363d}.plot a:hover .halo{fill:#2f6feb}
@media (prefers-color-scheme:dark){
.plot .back{fill:#161b22}.plot text{fill:#d5dbe3}.plot .small{fill:#9aa4b0}.plot .grid{stroke:#262d36}
.plot .axis{stroke:#5c6672}.plot .front{stroke:#c9d1d9}.plot .area{fill:#6ea8fe;fill-opacity:.14}
.plot .curve{stroke:#6ea8fe}.plot .other{fill:#6b7683;fill-opacity:.7}
.plot .untrained,.plot .rug{stroke:#8b96a3}.plot .point{stroke:#161b22}.plot .halo{fill:#e6edf3}
}"""


@dataclass(frozen=True)
class Axis:
    """Values ``low`` to ``high`` on pixels ``start`` to ``end``."""

    low: float
    high: float
    log: bool
    start: float
    end: float

    def at(self, value: float) -> float:
        """The pixel of a value."""
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """Round values inside, about 4 to 9 of them."""
        if not self.log:
            return _linear_ticks(self.low, self.high)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        for digits in ((1, 2, 5), (1, 3), (1,)):
            ticks = [d * 10.0**e for e in range(first, last + 1) for d in digits]
            inside = [t for t in ticks if self.low <= t * (1 + 1e-9) and t <= self.high * (1 + 1e-9)]
            if len(inside) <= 9:
                break
        return inside if len(inside) >= 3 else _linear_ticks(self.low, self.high)


def _linear_ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * (1 - 1e-9))
    return [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def axis(values: Sequence[float], start: float, end: float, log: bool = False) -> Axis:
    """An axis with some room around the values; logarithmic only where all are positive."""
    low, high = min(values), max(values)
    if log and low > 0:
        room = max((high / low) ** 0.05, 1.05)
        return Axis(low / room, high * room, True, start, end)
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return Axis(low - room, high + room, False, start, end)


def colour(share: float) -> str:
    """A colour of the ramp, ``share`` 0 to 1."""
    place = min(max(share, 0.0), 1.0) * (len(RAMP) - 1)
    i = min(int(place), len(RAMP) - 2)
    parts = (round(a + (b - a) * (place - i)) for a, b in zip(RAMP[i], RAMP[i + 1], strict=True))
    return "#" + "".join(f"{p:02x}" for p in parts)


def plotted(objectives: Sequence[str], points: Sequence[Json]) -> tuple[str, str]:
    """(x, y) measures: accuracy upwards over latency where there are such, else the first two measures."""
    present = list(dict.fromkeys([*objectives, *(n for p in points for n in p["objectives"])]))
    costs = [n for n in ("latency_ms", "latency_cycles", "interval_cycles", "energy_mj", "dsp", "lut") if n in present]
    y = "accuracy" if "accuracy" in present else next(iter(objectives), "accuracy")
    chosen = [n for n in costs if n != y and n in objectives] or [n for n in [*costs, *present] if n != y]
    return (chosen[0] if chosen else "latency_ms"), y


def pareto_svg(front: Json, trials: Sequence[Json], links: bool = False) -> Markup:
    """The Pareto plot as one SVG element, usable as a file of its own.

    ``front``: what front.json holds; ``trials``: dicts with ``trial``, ``objectives``, ``feasible``, ``trained``.
    Infeasible trials and values that are missing or not finite are left out. ``links``: points link to ``#trial-N`` of
    the page around.
    """
    points = list(front["points"])
    x_name, y_name = plotted(front["objectives"], points)
    on_front = {p["trial"] for p in points}
    others = [t for t in trials if t["feasible"] and t["trial"] not in on_front]
    mine = [(p, xy) for p in points if (xy := _xy(p, x_name, y_name))]
    grey = [(t, xy) for t in others if (xy := _xy(t, x_name, y_name))]
    if not mine and not grey:
        return _frame(
            "Pareto plot: nothing to draw", 120, [_text(WIDTH / 2, 64, "No feasible candidate to draw", "middle")]
        )
    every = [xy for _, xy in mine + grey]
    xs = axis([x for x, _ in every], LEFT, WIDTH - RIGHT, log=True)
    ys = axis([y for _, y in every], HEIGHT - BOTTOM, TOP)
    shade = next(
        (n for n in ("dsp", "lut", "bram18") if any(finite(p["objectives"].get(n)) is not None for p, _ in mine)), ""
    )
    rug = _rug(others, x_name, y_name, xs)
    parts = _axes(xs, ys, x_name, y_name, HEIGHT) + rug
    for trial, (x, y) in sorted(grey, key=lambda g: bool(g[0].get("trained"))):
        kind, radius = ("other", 3) if trial.get("trained") else ("untrained", 2.5)
        circle = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>')
        parts.append(circle.format(kind, xs.at(x), ys.at(y), radius, _tip(trial, (x_name, y_name))))
    parts += _front_line([xy for _, xy in mine], xs, ys, sign(x_name), sign(y_name))
    parts += _front_points(mine, xs, ys, (x_name, y_name), shade, links)
    trained = {bool(t.get("trained")) for t, _ in grey}
    parts += _legend(shade, mine, True in trained, False in trained, bool(rug))
    name = f"Pareto front: {label(y_name)} over {label(x_name)}, {len(points)} points of {len(trials)} candidates"
    return _frame(name, HEIGHT, parts)


def _xy(item: Json, x_name: str, y_name: str) -> tuple[float, float] | None:
    x, y = (None if _is_proxy(item, n) else finite(item["objectives"].get(n)) for n in (x_name, y_name))
    return None if x is None or y is None else (x, y)


def _is_proxy(item: Json, name: str) -> bool:
    """A score that ranks networks has no place on an axis of accuracies."""
    return _fidelity(item, name) == "proxy"


def _fidelity(item: Json, name: str) -> str:
    return fidelity_word(str(item.get("fidelity", {}).get(name, "unstated")))


def _rug(trials: Sequence[Json], x_name: str, y_name: str, xs: Axis) -> list[Markup]:
    """Marks at the foot for candidates whose cost is known and whose accuracy is not."""
    known = [finite(t["objectives"].get(x_name)) for t in trials if _xy(t, x_name, y_name) is None]
    bottom = HEIGHT - BOTTOM
    return [_line(xs.at(x), bottom - 9, xs.at(x), bottom - 2, "rug") for x in known if x and xs.low <= x <= xs.high]


def _text(x: float, y: float, words: object, anchor: str = "start", kind: str = "") -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>').format(
        x, y, anchor, kind, _printable(str(words))
    )


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<path class="{}" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>').format(kind, x1, y1, x2, y2)


def _frame(name: str, height: int, parts: Sequence[Markup]) -> Markup:
    opening = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}" class="plot" role="img"'
        ' aria-label="{2}"><style>{3}</style><rect class="back" width="{0}" height="{1}" rx="8"/>'
    ).format(WIDTH, height, _printable(name), Markup(STYLE))
    return Markup("\n").join([opening, *parts, Markup("</svg>")])


def _axes(xs: Axis, ys: Axis, x_name: str, y_name: str, height: int) -> list[Markup]:
    bottom, right = height - BOTTOM, xs.end
    parts = []
    for x in xs.ticks:
        parts += [
            _line(xs.at(x), TOP, xs.at(x), bottom, "grid"),
            _text(xs.at(x), bottom + 18, _tick(x_name, x, xs), "middle"),
        ]
    for y in ys.ticks:
        parts += [
            _line(LEFT, ys.at(y), right, ys.at(y), "grid"),
            _text(LEFT - 8, ys.at(y) + 4, _tick(y_name, y, ys), "end"),
        ]
    parts += [_line(LEFT, bottom, right, bottom, "axis"), _line(LEFT, TOP, LEFT, bottom, "axis")]
    note = ", logarithmic" if xs.log else ""
    parts.append(_text((LEFT + right) / 2, height - 16, label(x_name) + note, "middle", "title"))
    middle = (TOP + bottom) / 2
    turned = Markup('<text transform="translate(18 {:.1f}) rotate(-90)" text-anchor="middle" class="title">{}</text>')
    parts.append(turned.format(middle, _printable(label(y_name))))
    return parts


def _tick(name: str, value: float, on: Axis) -> str:
    percent = name in SHARES or name == "share of the final"
    scale = 100 if percent else 1
    if on.log:
        return f"{value * scale:g}" if value * scale < 1e6 else f"{value * scale:.0e}"
    steps = on.ticks
    step = (steps[1] - steps[0]) * scale if len(steps) > 1 else 1.0
    digits = next((d for d in range(8) if abs(step * 10**d - round(step * 10**d)) < 1e-6 * 10**d * step), 8)
    if value and abs(value * scale) < 1e-4:
        return f"{value * scale:.1e}"
    return f"{value * scale:,.{digits}f}" + (" %" if percent else "")


def _front_line(
    points: Sequence[tuple[float, float]], xs: Axis, ys: Axis, x_sign: float, y_sign: float
) -> list[Markup]:
    """The border of what the front dominates in this plane, as steps: between two points nothing better is known."""
    if len(points) < 2:
        return []
    best = nondominated([(x * x_sign, y * y_sign) for x, y in points])
    line = sorted({p for p, keep in zip(points, best, strict=True) if keep}, key=lambda p: p[0] * x_sign)
    path = f"M{xs.at(line[0][0]):.1f} {ys.at(line[0][1]):.1f}"
    path += "".join(f"H{xs.at(x):.1f}V{ys.at(y):.1f}" for x, y in line[1:])
    return [Markup('<path class="front" d="{}"/>').format(path)]


def _tip(item: Json, names: Sequence[str]) -> str:
    parts = [f"{label(n)}: {text(n, item['objectives'].get(n))} ({_fidelity(item, n)})" for n in names]
    return _printable(f"trial {item['trial']} – " + ", ".join(parts))


def _printable(words: str) -> str:
    """Without control characters: XML cannot hold them, escaped or not."""
    return "".join(c if c.isprintable() or c == "\u00a0" else "\ufffd" for c in words)


def _shares(mine: Sequence[tuple[Json, tuple[float, float]]], shade: str) -> tuple[float, float]:
    values = [v for p, _ in mine if (v := finite(p["objectives"].get(shade))) is not None]
    return (min(values), max(values)) if values else (0.0, 0.0)


def _front_points(
    mine: Sequence[tuple[Json, tuple[float, float]]],
    xs: Axis,
    ys: Axis,
    names: tuple[str, str],
    shade: str,
    links: bool,
) -> list[Markup]:
    low, high = _shares(mine, shade)
    parts, taken = [], [(xs.at(x), ys.at(y), 7.0, 7.0) for _, (x, y) in mine]
    for point, (x, y) in mine:
        value = finite(point["objectives"].get(shade))
        fill = "#9aa2ad" if value is None else colour((value - low) / (high - low) if high > low else 0.5)
        tip = _tip(point, [*names, *([shade] if shade else [])])
        drawn = Markup(
            '<g transform="translate({:.1f} {:.1f})"><circle class="halo" r="8"/>'
            '<circle class="point" r="7" fill="{}"><title>{}</title></circle></g>'
        ).format(xs.at(x), ys.at(y), fill, tip)
        parts.append(Markup('<a href="#trial-{}">{}</a>').format(point["trial"], drawn) if links else drawn)
        place = _free_place(xs.at(x), ys.at(y), f"#{point['trial']}", taken, xs, ys)
        if place:
            parts.append(_text(place[0], place[1] + 4, f"#{point['trial']}", "middle", "small"))
    return parts


def _free_place(
    x: float, y: float, words: str, taken: list[tuple[float, float, float, float]], xs: Axis, ys: Axis
) -> tuple[float, float] | None:
    """The centre of a label near a point that covers no label and no front point; None where it is too crowded."""
    half = 3.4 * len(words) + 1
    for dx, dy in ((-half - 8, -11), (0, -18), (half + 8, 12), (0, 19), (-half - 12, 2), (half + 12, -2)):
        a, b = x + dx, y + dy
        inside = xs.start < a - half and a + half < xs.end and ys.end < b - 6 and b + 6 < ys.start
        if inside and all(abs(a - u) > half + w or abs(b - v) > 7 + h for u, v, w, h in taken):
            taken.append((a, b, half, 7.0))
            return a, b
    return None


def _legend(
    shade: str, mine: Sequence[tuple[Json, tuple[float, float]]], trained: bool, untrained: bool, rug: bool
) -> list[Markup]:
    x, y = WIDTH - RIGHT + 22, TOP + 12
    entries = [
        (
            bool(mine),
            Markup('<circle class="halo" r="6"/><circle class="point" r="5" fill="#21918c"/>'),
            "on the front",
        ),
        (trained, Markup('<circle class="other" r="3.5"/>'), "dominated"),
        (untrained, Markup('<circle class="untrained" r="3"/>'), "not trained"),
        (rug, _line(0, -4, 0, 4, "rug"), "accuracy unknown"),
    ]
    parts = []
    for shown, mark, words in entries:
        if shown:
            parts += [Markup('<g transform="translate({} {})">{}</g>').format(x, y, mark), _text(x + 14, y + 4, words)]
            y += 22
    if shade:
        parts += _colour_bar(x - 6, y + 24, shade, *_shares(mine, shade))
    return parts


def _colour_bar(x: float, y: float, shade: str, low: float, high: float) -> list[Markup]:
    parts = [_text(x, y - 10, f"{label(shade)} used", kind="title")]
    if high <= low:
        parts.append(Markup('<rect x="{}" y="{}" width="14" height="14" fill="{}"/>').format(x, y, colour(0.5)))
        return [*parts, _text(x + 22, y + 11, text(shade, low))]
    size, steps = 130.0, 26
    for i in range(steps):
        fill = colour(1 - (i + 0.5) / steps)
        cell = Markup('<rect x="{}" y="{:.1f}" width="14" height="{:.1f}" fill="{}"/>')
        parts.append(cell.format(x, y + size * i / steps, size / steps + 0.4, fill))
    for share in (0.0, 0.5, 1.0):
        value = low + share * (high - low)
        shown = text(shade, round(value) if high - low > 10 else value)
        parts.append(_text(x + 22, y + size * (1 - share) + 4, shown, kind="small"))
    return parts


def convergence(front: Json, trials: Sequence[Json]) -> list[tuple[int, float]]:
    """(trial number, hypervolume of the trials up to it as a share of the final one), a pair wherever it grows.

    Against front.json's reference. Costs count by their logarithm where the reference is positive: over several
    decades of latency the plain volume is settled by the first fast candidate. Infeasible trials and those with an
    objective that was only predicted, or known as a proxy, are left out.
    """
    names = front["objectives"]
    logs = [sign(n) > 0 and r > 0 for n, r in zip(names, front["reference"], strict=True)]
    reference = _decades(minimised_reference(names, front["reference"]), logs)
    best: list[tuple[float, ...]] = []
    curve: list[tuple[int, float]] = []
    for trial in sorted(trials, key=lambda t: int(t["trial"])):
        known = trial["feasible"] and not any(_fidelity(trial, n) in ("proxy", "predicted") for n in names)
        measures = {n: finite(trial["objectives"].get(n)) for n in names}
        values = minimised(names, measures) if known else None
        if values is None or any(log and v <= 0 for v, log in zip(values, logs, strict=True)):
            continue
        values = _decades(values, logs)
        if any(all(b <= v for b, v in zip(other, values, strict=True)) for other in best):
            continue
        best = [b for b in best if not all(v <= w for v, w in zip(values, b, strict=True))] + [values]
        volume = hypervolume(best, reference)
        if volume > (curve[-1][1] if curve else 0.0):
            curve.append((int(trial["trial"]), volume))
    return [(number, volume / curve[-1][1]) for number, volume in curve]


def _decades(values: Sequence[float], logs: Sequence[bool]) -> tuple[float, ...]:
    return tuple(math.log10(v) if log else v for v, log in zip(values, logs, strict=True))


def convergence_svg(front: Json, trials: Sequence[Json]) -> Markup:
    """The share of the final hypervolume over trials, as steps."""
    height = 260
    curve = convergence(front, trials)
    if not curve:
        return _frame("Hypervolume: nothing to draw", 120, [_text(WIDTH / 2, 64, "No candidate to draw yet", "middle")])
    last = max(int(t["trial"]) for t in trials)
    xs = Axis(0, max(last, 1), False, LEFT, WIDTH - 30)
    ys = Axis(0, 1.08, False, height - BOTTOM, TOP)
    path = f"M{xs.at(curve[0][0]):.1f} {ys.at(0):.1f}"
    path += "".join(f"H{xs.at(n):.1f}V{ys.at(v):.1f}" for n, v in curve) + f"H{xs.at(last):.1f}"
    parts = _axes(xs, ys, "trial", "share of the final", height)
    area = Markup('<path class="area" d="{}V{:.1f}Z"/><path class="curve" d="{}"/>')
    parts.append(area.format(path, ys.at(0), path))
    return _frame(f"Share of the final hypervolume over {last + 1} trials", height, parts)
