"""What a run leaves for people: front.json and report.html, every number with where it comes from."""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib import metadata
from typing import TYPE_CHECKING, Any

from flow import __version__, effort, place
from flow.config import OBJECTIVES
from flow.files import write_atomic
from flow.front import write_front

if TYPE_CHECKING:
    from flow.study import Candidate, Study


def environment() -> dict[str, Any]:
    """What a run runs on."""
    packages = ("torch", "onnx", "onnxruntime", "numpy", "hls4ml", "networkx", "jinja2")
    return {
        "coexplore": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cores": os.cpu_count() or 1,
        "packages": {p: metadata.version(p) for p in packages},
        "started": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def write(study: Study, proofs: list[dict[str, Any]]) -> dict[str, Any]:
    """front.json and report.html of a run whose front points are proved. Returns the front."""
    from flow.report import html, roofline

    points = [point(study, p) for p in proofs]
    pictures = {p["directory"]: roofline.picture(study.folder / p["directory"]) for p in points}
    reference = {"accuracy": 1.0 / study.classes, "latency_ms": 1000.0, "utilisation": 1.0}
    trials = len(study.state.candidates) + sum(len(r["points"]) for r in study.archive.of("refine"))
    front = write_front(study.folder, list(OBJECTIVES), [reference[k] for k in OBJECTIVES], points, trials)
    every = [c for _, c in sorted(study.state.candidates.items())]
    feasible = [c for c in every if c.feasible]
    expected = study.accuracies([c.spec for c in feasible])[0].tolist() if feasible else []
    accuracy = {c.number: a for c, a in zip(feasible, expected, strict=True)}
    seen = [shown(study, c, accuracy.get(c.number)) for c in every]
    told = meta(study, points) | {
        "pictures": pictures,
        "tool_reports": tool_reports(study),
        "evaluations": effort.evaluations(study),
        "rungs": effort.rungs(study),
        "rankings": effort.rankings(study),
    }
    write_atomic(study.folder / "report.html", html.render(front, seen, told).encode())
    return front


def tool_reports(study: Study) -> list[dict[str, Any]]:
    """Of each synthesised design: measures as estimated, as corrected when it was judged, and as reported."""
    return [
        {"name": r["candidate"], "raw": r.get("raw") or r["estimated"], "estimated": r["estimated"],
         "reported": r["reported"]["objectives"]}
        for r in study.archive.of("tool")
        if "reported" in r
    ]  # fmt: skip


def point(study: Study, p: dict[str, Any]) -> dict[str, Any]:
    """One front point."""
    result = p["result"]
    measured = result.get("fidelity", "estimate")
    fidelity = {k: measured for k in result["objectives"]} | {"accuracy": "validation", "test_accuracy": "test"}
    layers = result["layers"]
    return {
        "trial": p["trial"],
        "objectives": {"accuracy": p["accuracy"], "test_accuracy": result["test_accuracy"], **result["objectives"]},
        "fidelity": fidelity,
        "directory": p["directory"],
        "network": p["network"],
        "clock_mhz": p["clock_mhz"],
        "budget": p["budget"],
        "mapped_for": p["objective"],
        "seeds": study.state.seeds.get(p["network"], {}),
        "csim": result["csim"],
        "lint": result["lint"],
        "simulate": result["simulate"],
        "bound": result["bound"],
        "layers": layers,
        "resources": {k: result["objectives"][k] for k in place.available(study.board).json()},
        "available": place.available(study.board).json(),
    }


def shown(study: Study, c: Candidate, accuracy: float | None) -> dict[str, Any]:
    """One estimated candidate, with its measured or predicted accuracy where it fits."""
    objectives = dict(c.result["objectives"])
    fidelity = {k: c.result.get("fidelity", "estimate") for k in objectives}
    if accuracy is not None:
        objectives["accuracy"] = accuracy
        fidelity["accuracy"] = "trained" if c.spec.digest in study.state.short else "predicted"
    weighted = sum(layer.weighted for layer in c.spec.layers)
    return {
        "trial": c.number,
        "objectives": objectives,
        "fidelity": fidelity,
        "feasible": c.feasible,
        "violations": c.result.get("violations", []),
        "summary": f"{weighted} layers with weights, {c.spec.params} parameters, {c.spec.macs} products, "
        f"{c.budget:g} of the board",
        "trained": c.spec.digest in study.state.short,
        "seconds": c.result.get("seconds", 0.0),
    }


def meta(study: Study, points: list[dict[str, Any]]) -> dict[str, Any]:
    """The page's head and foot."""
    best = max(points, key=lambda p: p["objectives"]["accuracy"])["directory"] if points else ""
    folder = study.folder / best
    return {
        "board": study.board.name,
        "data": study.config.data,
        "space": study.config.space,
        "strategy": study.config.strategy,
        "seed": study.config.seed,
        "version": __version__,
        "commands": [f"flow csim {folder}", f"flow synth {folder}"],
        "config": study.settings,
        "environment": study.archive.environment,
        "started": study.archive.environment.get("started", ""),
        "seconds": study.elapsed(),
    }
