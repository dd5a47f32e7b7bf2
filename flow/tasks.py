"""The expensive steps of a search as functions of plain values, run in worker processes."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from flow import calibration, explain, feedback, lint, place, project, simulate
from flow.board import Board
from flow.cost.targets import Decision
from flow.design import Report, Violation
from flow.fixed import IntArray
from flow.ir import emit, onnx_file, qdq
from flow.ir.graph import Graph
from flow.mapping import Goal, NoFit
from flow.place import Place
from flow.report import roofline
from flow.search.curves import Ended, hopeless
from flow.space.network import from_json, random_graph
from flow.toolchain import vendor

CSIM_IMAGES = 1500
EFFORT = 0.1  # of the mapper for a candidate: 0.7 % slower designs than with all of it, in two thirds of the time
SIZES = 8  # accelerator sizes tried for each fully trained network, besides the space's own
SYNTHESIS_S = 7000.0
SCORE_IMAGES = 32  # of a zero-cost score


def goal_of(settings: dict[str, Any], budget: float, objective: str = "throughput") -> Goal:
    """The best design within the candidate's share of the board and the user's limits."""
    return Goal(
        objective,
        min(budget, settings["max_utilisation"]),
        settings["min_fps"] or None,
        settings["max_latency_ms"] or None,
        settings.get("max_energy_mj") or None,
        feedback.decision(settings),
    )


def place_of(settings: dict[str, Any]) -> Place:
    """The board, or the platform of several, that the search is for."""
    return place.load(settings["board"], settings.get("platform", ""))


def measures(report: Report, where: Place) -> dict[str, float]:
    """What candidates are compared by. ``utilisation``: of the scarcest resource of every whole board, never a mean.

    Of the target and at the confidence that were asked for.
    """
    used = report.resources
    return {
        "latency_ms": report.latency_ms,
        "fps": report.fps,
        "interval_cycles": float(report.interval_cycles),
        "utilisation": max(place.shares(report, where)),
        "energy_mj": report.energy_mj or 0.0,
        **{k: float(v) for k, v in used.json().items()},
    }


def mapped(
    graph: Graph, where: Place, goal: Goal, clock_mhz: float, settings: dict[str, Any]
) -> tuple[Report | NoFit, Goal]:
    """The estimate of the best design for a goal, by the reports so far, and the goal whose design it is."""

    def ask(goal: Goal) -> Report | NoFit:
        return place.evaluate(graph, where, goal, clock_mhz)

    # No report corrects several boards: a search over them synthesises nothing.
    return feedback.mapped(ask, goal, settings, where) if isinstance(where, Board) else (ask(goal), goal)


def wanted(graph: Graph, where: Place, clock: float, budget: float, objective: str, settings: dict[str, Any]) -> Goal:
    """What a network is to be compiled for: the goal of its best design by the reports so far."""
    goal = goal_of(settings, budget, objective)
    return mapped(graph, where, goal, clock, settings)[1] if settings.get("calibration") else goal


def estimate_candidate(spec_json: str, clock_mhz: float, budget: float, settings: dict[str, Any]) -> dict[str, Any]:
    """Map a network with stand-in weights and estimate it: a fast, complete answer before any training."""
    started, busy = time.perf_counter(), time.process_time()
    where = place_of(settings)
    goal = replace(goal_of(settings, budget), effort=EFFORT)
    report, _ = mapped(random_graph(from_json(spec_json)), where, goal, clock_mhz, settings)
    if isinstance(report, NoFit):
        return {
            "feasible": False,
            "violation": feedback.excess(report.violations),
            "violations": [v.json() for v in report.violations],
            "objectives": {},
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - busy,
        }
    found = {
        "feasible": report.fits,
        "violation": feedback.excess(report.violations) if report.violations else 0.0,
        "violations": [v.json() for v in report.violations],
        **estimated(report, where, settings),
        "gap": report.bound.gap if report.bound else None,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - busy,
    }
    if not isinstance(where, Board):
        return found
    found = feedback.judged(found, settings, where) if settings.get("calibration") else found
    return {**found, "filled": found["objectives"]["utilisation"] / goal.max_utilisation}


def estimated(report: Report, where: Place, settings: dict[str, Any]) -> dict[str, Any]:
    """Measures as reports so far correct them, uncorrected ones, and the shares of the blocks they come from."""
    raw, shares = measures(report, where), feedback.block_shares(report)
    best = feedback.corrected(raw, shares, settings, where) if isinstance(where, Board) else raw
    return {"objectives": best, "raw": raw, "shares": shares}


@lru_cache(maxsize=2)
def dataset(name: str, data_dir: str) -> Any:
    """The data set, loaded once per process."""
    from flow.train import data

    return data.load(name, data_dir or None)


def train_candidate(spec_json: str, settings: dict[str, Any], how: dict[str, Any], checkpoint: str) -> dict[str, Any]:
    """Train a network, keep its checkpoint, and say how good it is on the validation split.

    ``how``: ``recipe``: "few", "short", "epoch" or "full"; ``share``: of its epochs, above 1 too; ``parent``: a
    checkpoint whose weights it begins with; ``curves`` (ended ones, with their finals) and ``needed``: what it is given
    up by; ``seeds``: trained as often, the best one kept. ``pace`` of the result: seconds an image of its last epoch
    in float, of processor time on a CPU; ``load``: by what other work on the machine made it longer.
    """
    from flow.train import device, export, inherit, trainer

    images, spec = dataset(settings["data"], settings["data_dir"]), from_json(spec_json)
    place = device.pick(settings["device"])
    recipe = trainer.recipe(how["recipe"], len(images.train_x), device.bfloat16(settings["precision"], place))
    if how["share"] != 1:
        recipe = trainer.scaled(recipe, how["share"])
    parent = export.load(how["parent"]) if "parent" in how else None
    start = inherit.start(spec, parent.spec, parent.weights, settings["seed"]) if parent else None
    ended = [Ended(tuple(curve), final) for curve, final in how.get("curves", ())]

    def goes_on(history: list[trainer.Epoch]) -> bool:
        return not hopeless([e.val_accuracy for e in history], ended, how.get("needed", 0.0))

    results = [
        trainer.train(spec, images, recipe, settings["seed"] + k, device=place, start=start, watch=goes_on)
        for k in range(how.get("seeds", 1))
    ]
    result = max(results, key=lambda r: (getattr(r, "val_accuracy", 0.0), -r.seed))
    curve = [e.val_accuracy for e in result.history]
    seconds = sum(r.seconds for r in results)
    told: dict[str, Any] = {"diverged": False, "seconds": seconds, "epochs": len(curve), "curve": curve}
    if len(results) > 1:
        told["seeds"] = {str(r.seed): getattr(r, "val_accuracy", None) for r in results}
    if isinstance(result, trainer.Diverged):
        return told | {"diverged": True, "phase": result.phase, "epoch": result.epoch}
    if isinstance(result, trainer.Stopped):
        return told | {"given_up": True}
    export.save(checkpoint, result)
    images_read = min(recipe.subset or len(images.train_x), len(images.train_x))
    last = result.history[recipe.epochs_float - 1]
    own = last.busy if place == "cpu" else last.seconds
    pace = {"pace": own / images_read, "load": last.seconds / own}
    return told | {"val_accuracy": result.val_accuracy, "images": images_read, **pace}


def score_network(spec_json: str, settings: dict[str, Any]) -> dict[str, Any]:
    """A network's zero-cost scores on one batch of training images."""
    from flow.train import proxies

    began = time.perf_counter()
    images = dataset(settings["data"], settings["data_dir"])
    batch = images.train_x[:SCORE_IMAGES], images.train_y[:SCORE_IMAGES]
    return {
        "scores": proxies.scores(from_json(spec_json), *batch, settings["seed"]),
        "seconds": time.perf_counter() - began,
    }


def train_supernet(specs: list[str], settings: dict[str, Any], steps: int, out: str) -> dict[str, Any]:
    """Weights shared by the networks ``specs``, trained through one of them a step, to the file ``out``."""
    from flow.train import supernet

    began, known = time.perf_counter(), [from_json(s) for s in specs]
    shared = supernet.Supernet(known, settings["seed"])
    shared.train(known, dataset(settings["data"], settings["data_dir"]), steps)
    shared.save(Path(out))
    return {"seconds": time.perf_counter() - began}


def score_shared(spec_json: str, settings: dict[str, Any], path: str) -> dict[str, Any]:
    """A network's validation accuracy with shared weights; None where they do not cover it."""
    began, spec, shared = time.perf_counter(), from_json(spec_json), _supernet(path)
    images = dataset(settings["data"], settings["data_dir"])
    accuracy = shared.score(spec, images) if shared.covers(spec) else None
    return {"accuracy": accuracy, "seconds": time.perf_counter() - began}


@lru_cache(maxsize=1)
def _supernet(path: str) -> Any:
    from flow.train import supernet

    return supernet.Supernet.load(Path(path))


@lru_cache(maxsize=8)
def trained_graph(checkpoint: str) -> Graph:
    """The integer network of a checkpoint, after the round trip through its ONNX."""
    from flow.train import export

    graph = export.to_graph(export.load(checkpoint))
    return qdq.load(onnx_file.checked(emit.model(graph)))


@lru_cache(maxsize=4)
def runtime(checkpoint: str, data: str, data_dir: str, folder: str) -> tuple[IntArray, float]:
    """onnxruntime's integer outputs on the whole test split, and the accuracy they give."""
    images = dataset(data, data_dir)
    graph = trained_graph(checkpoint)
    model = onnx_file.read(Path(folder) / project.MODEL)
    outputs = project.runtime_outputs(model, graph, images.test_x.astype(np.int64))
    accuracy = float(np.mean(outputs.reshape(len(outputs), -1).argmax(1) == images.test_y))
    return outputs, accuracy


def refine(
    checkpoint: str, clock: float, budgets: list[float], settings: dict[str, Any], more: int = SIZES
) -> list[dict[str, Any]]:
    """``sizes`` of a trained network, its true weights counted."""
    return sizes(trained_graph(checkpoint), clock, budgets, settings, more)


def sizes(
    graph: Graph, clock: float, budgets: Sequence[float], settings: dict[str, Any], more: int = SIZES
) -> list[dict[str, Any]]:
    """Estimates of a network over all sizes of accelerator, by the reports so far.

    From the smallest design there is to the user's limit: the smallest, the given budgets (shares of the board) and
    ``more`` sizes, evenly spaced in logarithm; for 0 the budgets alone. Returns points with clock, budget, objective
    and measures; those that do not fit are left out.
    """
    where, limit = place_of(settings), settings["max_utilisation"]

    def point(budget: float, objective: str) -> dict[str, Any] | None:
        report, _ = mapped(graph, where, goal_of(settings, budget, objective), clock, settings)
        if isinstance(report, NoFit):
            return None
        found = {"clock_mhz": clock, "budget": budget, "objective": objective, **estimated(report, where, settings)}
        if not isinstance(where, Board) or not settings.get("calibration"):
            return found if report.fits else None
        own = {"violations": [v.json() for v in report.violations], **found}
        return found if feedback.judged(own, settings, where)["feasible"] else None

    if not more:
        return [p for p in (point(b, "throughput") for b in budgets) if p is not None]
    smallest = point(limit, "area")
    if smallest is None:
        return []
    least = smallest["objectives"]["utilisation"]
    between = np.geomspace(min(1.02 * least, limit), limit, more).round(4).tolist()
    chosen = sorted({b for b in [*budgets, *between] if least <= b <= limit})
    return [smallest, *(p for p in (point(b, "throughput") for b in chosen) if p is not None)]


def finish(
    checkpoint: str, clock: float, budget: float, objective: str, settings: dict[str, Any], folder: str
) -> dict[str, Any]:
    """Compile a trained candidate into ``folder`` and prove it: C simulation against onnxruntime on test images.

    Returns its measures, accuracy on the test split (onnxruntime), and the comparison.
    """
    where = place_of(settings)
    graph = trained_graph(checkpoint)
    model = onnx_file.checked(emit.model(graph))
    goal = wanted(graph, where, clock, budget, objective, settings)
    compiled = place.compile_model(model, where, goal, clock, settings["seed"])
    if isinstance(compiled, NoFit):
        return {"fits": False, "reason": str(compiled)}
    report = explain.explained(compiled.report, compiled.design, goal)
    project.write({**compiled.files, **roofline.files(report)}, Path(folder))
    images = dataset(settings["data"], settings["data_dir"])
    outputs, accuracy = runtime(checkpoint, settings["data"], settings["data_dir"], folder)
    count = min(CSIM_IMAGES, len(images.test_x))
    loaded = place.read(Path(folder))
    result = loaded.csim(images.test_x[:count].astype(np.int64), reference=outputs[:count])
    cycles = simulate.simulate(loaded.netlist())
    findings = place.findings(Path(folder))
    evidence = {"csim": result.json(), "simulate": cycles.json(), "lint": lint.document(findings)}
    for name, content in evidence.items():
        (Path(folder) / "report" / f"{name}.json").write_text(json.dumps(content, indent=1))
    return {
        "fits": True,
        **estimated(compiled.report, where, settings),
        "test_accuracy": accuracy,
        "csim": result.json(),
        "lint": {"ok": not findings, "findings": len(findings)},
        "simulate": {k: cycles.json()[k] for k in ("latency_cycles", "interval_cycles", "deadlock")},
        "layers": [layer.json() for layer in compiled.report.layers],
        "bound": compiled.report.json()["bound"],
    }


def synthesise(
    checkpoint: str, clock: float, budget: float, objective: str, settings: dict[str, Any], folder: str
) -> dict[str, Any]:
    """The vendor tool's C synthesis of a candidate, compiled into ``folder`` unless that is done already.

    Returns reported measures under the names of ``measures``, with their fidelity, and the estimate of the design that
    they are of (``raw``, ``shares``). Raises ToolError or ValueError.
    """
    at, board = Path(folder), place_of(settings)
    if not isinstance(board, Board):
        raise ValueError("a search over several boards keeps its estimates: flow synth takes each board's folder")
    if not (at / "design.json").is_file():
        graph = trained_graph(checkpoint)
        goal = wanted(graph, board, clock, budget, objective, settings)
        compiled = project.compile_model(onnx_file.checked(emit.model(graph)), board, goal, clock)
        if isinstance(compiled, NoFit):
            raise ValueError(str(compiled))
        project.write(compiled.files, at)
    tool = vendor.choose(settings["toolchain"])
    if tool is None:
        raise ValueError("the HLS tool that the run began with is gone from PATH")
    top = vendor.synthesise(tool, at, SYNTHESIS_S)[0]
    if top.latency_max is None or top.interval_max is None:
        raise ValueError(f"{top.file} gives no latency or interval")
    # The clock that the tool says it can reach, when that is slower than asked for.
    period_ns = max(1e3 / clock, top.clock_estimated_ns or 0.0)
    used = {k: int(v) for k, v in top.resources.items() if v is not None}
    # A report of C synthesis is certain of its own numbers, and says of an implementation what the ratios say.
    judge = Decision(settings.get("target", "csynth"), settings.get("confidence", 0.5))
    factor = {k: judge.factor(k) if judge.target == "impl" else 1.0 for k in used}
    shares = {k: used[k] * factor[k] / n for k, n in board.available.json().items() if n and k in used}
    limit = settings["max_utilisation"]
    over = tuple(Violation(k, used[k], int(board.available.json()[k] * limit)) for k, s in shares.items() if s > limit)
    return {
        "fidelity": "csynth",
        "tool": f"{top.tool} {top.tool_version}",
        "objectives": {
            "latency_ms": top.latency_max * period_ns * 1e-6,
            "fps": 1e9 / (top.interval_max * period_ns),
            "interval_cycles": float(top.interval_max),
            "utilisation": max(shares.values()),
            **{k: float(v) for k, v in used.items()},
        },
        "violations": [v.json() for v in over],
        "violation": feedback.excess(over) if over else 0.0,
        **own_estimate(at),
    }


def own_estimate(folder: Path) -> dict[str, Any]:
    """What a compiled project says of itself: its measures, and its blocks' shares of them."""
    said = json.loads((folder / calibration.ESTIMATE).read_text(encoding="utf-8"))
    raw = {k: said[k] for k in ("latency_ms", "fps", "interval_cycles")} | said["resources"]
    return {"raw": raw, "shares": calibration.block_shares(said["layers"])}
