"""report.html: one self-contained page about a run. The template only lays out what is worked out here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from flow.report import agreement
from flow.report.measures import duration, fidelity_word, finite, label, ordered, rows_of, standing, text
from flow.report.plot import convergence, convergence_svg, pareto_svg

__all__ = ["pareto_svg", "render"]

Json = Mapping[str, Any]
RESOURCES = ("lut", "ff", "dsp", "bram18", "uram")


def render(front: Json, trials: Sequence[Json], meta: Json) -> str:
    """The page. It loads nothing from anywhere, and every name in it is escaped.

    ``front``: what front.json holds; a point may also carry ``layers``, ``resources``, ``available``, ``bound`` (as in
    the estimate's JSON), ``csim`` (as in ``flow csim --json``), ``network`` and ``accelerator`` (text). ``trials``:
    dicts with ``trial``, ``objectives``, ``fidelity``, ``feasible``, ``violations``, ``summary``, ``trained``,
    ``seconds``. ``meta``: ``board``, ``data``, ``space``, ``strategy``, ``seed``, ``version``, ``commands``,
    ``config``, ``environment``, ``started``, ``seconds``.
    """
    environment = Environment(
        loader=PackageLoader("flow.templates", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["label"] = label
    pictures = meta.get("pictures", {})
    points = [_point(p, trials) | {"picture": pictures.get(p["directory"], "")} for p in front["points"]]
    names = ordered(n for p in front["points"] for n, v in p["objectives"].items() if finite(v) is not None)
    page = environment.get_template("report.html.j2").render(
        meta=meta,
        facts=_facts(meta),
        tiles=_tiles(front, trials),
        plot=pareto_svg(front, trials, links=True),
        progress=convergence_svg(front, trials),
        settled=_settled(convergence(front, trials), trials),
        columns=names,
        objectives=list(front["objectives"]),
        reference=[text(n, r) for n, r in zip(front["objectives"], front["reference"], strict=True)],
        points=points,
        fidelities=_fidelities(front["points"]),
        bit_exact=_bit_exact(front["points"]),
        refused=_refused(trials),
        agreement=agreement.svg(meta.get("tool_reports", ())),
        agreements=agreement.rows(meta.get("tool_reports", ())),
        evaluations=meta.get("evaluations", ()),
        rungs=meta.get("rungs", ()),
        anytime=meta.get("anytime", ()),
        rankings=meta.get("rankings", ()),
        config=rows_of(meta["config"]),
        environment=rows_of(meta["environment"]),
        duration=duration(meta["seconds"]),
    )
    return page


def _facts(meta: Json) -> list[tuple[str, str]]:
    return [(key.capitalize(), str(meta[key])) for key in ("board", "data", "space", "strategy", "seed", "started")]


def _tiles(front: Json, trials: Sequence[Json]) -> list[tuple[str, str]]:
    """Heading and number of each tile."""
    feasible = sum(bool(t["feasible"]) for t in trials)
    tiles = [
        ("candidates", f"{front['trials']:,}"),
        ("feasible", f"{feasible:,} of {len(trials):,}"),
        ("networks trained", f"{sum(bool(t['trained']) for t in trials):,}"),
        ("on the front", f"{len(front['points']):,}"),
    ]
    for name, best, words in (("accuracy", max, "best accuracy"), ("latency_ms", min, "best latency, ms")):
        values = [v for p in front["points"] if (v := finite(p["objectives"].get(name))) is not None]
        if values:
            tiles.append((words, text(name, best(values))))
    volume = finite(front["hypervolume"])
    return [*tiles, ("hypervolume", "–" if volume is None else f"{volume:.4g}")]


def _point(point: Json, trials: Sequence[Json]) -> dict[str, Any]:
    """A row of the table and the detail below it."""
    trial = next((t for t in trials if t["trial"] == point["trial"]), {})
    cells = {}
    for name, value in point["objectives"].items():
        fidelity = str(point["fidelity"].get(name, "unstated"))
        number = finite(value)
        cells[name] = {
            "text": text(name, value),
            "value": "" if number is None else repr(number),
            "fidelity": fidelity_word(fidelity) if number is not None else "",
            "standing": standing(fidelity)[0],
        }
    return {
        "trial": point["trial"],
        "cells": cells,
        "directory": point["directory"],
        "summary": str(point.get("summary") or trial.get("summary") or ""),
        "proof": _proof(point),
        "bound": _bound(point.get("bound")),
        "use": _use(point),
        "layers": [_layer(layer) for layer in point.get("layers", ())],
        "seconds": duration(trial.get("seconds")),
    }


def _proof(point: Json) -> dict[str, str]:
    """What C simulation showed: the finding, its standing, and on how many images."""
    csim = point.get("csim")
    if not csim:
        return {}
    found = "bit-exact" if csim["bit_exact"] else f"{csim.get('mismatches', 'some')} outputs differ"
    return {
        "found": found,
        "standing": "proved" if csim["bit_exact"] else "unknown",
        "images": f"{csim['images']:,} images",
    }


def _bound(bound: Json | None) -> str:
    if not bound:
        return ""
    gap = finite(bound.get("gap"))
    if gap is None:
        return ""
    found = "optimal" if gap <= 1e-9 else f"{100 * gap:.1f} % above the lower bound"
    return f"interval {found}" + ("" if bound.get("proved") else " (search for the bound not finished)")


def _use(point: Json) -> list[dict[str, Any]]:
    """Resources used and available."""
    used = point.get("resources") or {k: point["objectives"].get(k) for k in RESOURCES}
    available = point.get("available", {})
    rows = []
    for name in RESOURCES:
        amount, limit = finite(used.get(name)), finite(available.get(name))
        if amount is not None:
            share = 100 * amount / limit if limit else None
            rows.append(
                {
                    "label": label(name),
                    "text": text(name, amount) + (f" of {text(name, limit)}" if limit else ""),
                    "share": None if share is None else round(min(share, 100.0), 1),
                    "percent": "" if share is None else f"{share:.1f} %",
                }
            )
    return rows


def _layer(layer: Json) -> dict[str, Any]:
    resources = layer.get("resources", {})
    return {
        "name": layer.get("name", ""),
        "op": layer.get("op", ""),
        "macs": text("macs", layer.get("macs")),
        "interval": text("interval_cycles", layer.get("interval_cycles")),
        "parameters": ", ".join(f"{k} {v}" for k, v in layer.get("parameters", {}).items()),
        "resources": [text(k, resources.get(k)) for k in RESOURCES],
    }


def _fidelities(points: Sequence[Json]) -> list[dict[str, Any]]:
    """For each fidelity on the front: what it means, which measures have it, on how many points."""
    measures: dict[str, Counter[str]] = {}
    for point in points:
        known = {n for n, v in point["objectives"].items() if finite(v) is not None}
        for name, fidelity in point["fidelity"].items():
            if name in known or name not in point["objectives"]:
                measures.setdefault(str(fidelity), Counter())[name] += 1
    ran = sum(bool(p.get("csim") and p["csim"]["bit_exact"]) for p in points)
    if ran and "csim" not in measures:
        measures["csim"] = Counter({"outputs of the accelerator": ran})
    order = ("proved", "measured", "reported", "estimated", "unknown")
    rows = []
    for fidelity, count in measures.items():
        kind, meaning = standing(fidelity)
        what = [
            label(n) + ("" if count[n] == len(points) else f" ({count[n]} of {len(points)})") for n in ordered(count)
        ]
        rows.append({"fidelity": fidelity, "standing": kind, "meaning": meaning, "measures": ", ".join(what)})
    return sorted(rows, key=lambda r: (order.index(r["standing"]), r["fidelity"]))


def _bit_exact(points: Sequence[Json]) -> str:
    ran = [p["csim"] for p in points if p.get("csim")]
    if not ran:
        return ""
    good = [c for c in ran if c["bit_exact"]]
    images = min(c["images"] for c in ran)
    done = f"{len(good)} of {len(points)} accelerators, compiled as C++, give onnxruntime's outputs bit for bit"
    return f"{done}, on {images:,} images or more each"


def _refused(trials: Sequence[Json]) -> list[tuple[str, int]]:
    """Why candidates were infeasible or failed, most frequent first."""
    reasons: Counter[str] = Counter()
    for trial in trials:
        if not trial["feasible"]:
            for violation in trial["violations"] or ["no reason recorded"]:
                limit = label(str(violation.get("resource", "limit"))) if isinstance(violation, Mapping) else ""
                reasons[f"{limit} over the limit" if limit else str(violation)] += 1
    return reasons.most_common(12)


def _settled(curve: Sequence[tuple[int, float]], trials: Sequence[Json]) -> str:
    """When the search had most of what it found."""
    if not curve or curve[-1][1] <= 0:
        return ""
    number = next(n for n, v in curve if v >= 0.95)
    return f"95 % of the final hypervolume was reached by trial {number:,} of {len(trials):,}"
