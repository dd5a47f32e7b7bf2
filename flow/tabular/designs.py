"""Pairs of the benchmark as whole designs: costs checked against the estimate, energy, latency targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flow import estimate, layout, timing
from flow.board import Resources
from flow.mapping.solve import realise
from flow.space import Options, load
from flow.space.nas_bench_201 import EDGES, NasBench201
from flow.space.network import random_graph
from flow.tabular import family
from flow.tabular.arms import Truth

Rows = list[dict[str, Any]]
CHECKED = 12  # designs of the check
THREE, ONE, NONE, SKIP = "nor_conv_3x3", "nor_conv_1x1", "none", "skip_connect"
MANUAL = {  # networks that people draw
    "residual": (THREE, NONE, THREE, SKIP, NONE, SKIP),
    "residual, 1x1": (ONE, NONE, ONE, SKIP, NONE, SKIP),
    "plain": (THREE, NONE, THREE, NONE, NONE, THREE),
}


def check_rows(truth: Truth) -> Rows:
    """Designs of the true front and of random networks, realised and estimated as any design is."""
    problem = truth.problem
    rng = np.random.default_rng(0)
    fitting = np.flatnonzero(np.isfinite(truth.late[:, 1]))
    some = [*rng.choice(truth.front, CHECKED // 2), *rng.choice(fitting, CHECKED // 2)]
    errors = np.array([errors_of(truth, int(n)) for n in some])
    names = ("latency", "interval", "lut", "ff", "dsp", "bram18")
    reals = [whole(truth, int(n), truth.optimum.hardware[problem.body_of[int(n)]])[1].tuple for n in some]
    over = int((np.array(reals) > np.array(problem.board.available.tuple)).any(axis=1).sum())
    row: dict[str, Any] = {"designs": len(some), "family": problem.board.name}
    for k, name in enumerate(names):
        row[f"{name} mean error"] = f"{np.abs(errors[:, k]).mean():.1%}"
    return [{**row, "over the board": over}]


def whole(truth: Truth, network: int, hardware: Sequence[int]) -> tuple[timing.Timing, Resources, float]:
    """Schedule, resources and mJ an image of a pair as one design."""
    problem = truth.problem
    chosen = {s: family.choices(s)[int(j)] for s, j in enumerate(hardware)}
    space = load("nas-bench-201", Options(weight_bits=(8,), activation_bits=(8,)))
    assert isinstance(space, NasBench201)
    ops = problem.accuracies.cell(network)
    genotype = space.genotype({f"{j}<-{i}": op for (j, i), op in zip(EDGES, ops, strict=True)})
    graph = random_graph(space.network(genotype, problem.accuracies.shape, problem.accuracies.classes))
    net = realise(graph, problem.board, {n.id: family.folding(graph, n, chosen) for n in graph.nodes}, 10**9)
    times, used, clock = timing.analyse(net), estimate.resources(net), problem.board.clock_mhz
    watts = estimate.power(layout.of(net), used, times.interval_cycles, problem.board, clock)
    return times, used, watts.energy_mj(times.interval_cycles / (clock * 1e6))[1]


def errors_of(truth: Truth, network: int) -> list[float]:
    """Relative errors of the table's latency, interval, LUT, FF, DSP and BRAM for a network's best accelerator."""
    problem = truth.problem
    body = int(problem.body_of[network])
    j0, j1, j2 = (int(j) for j in truth.optimum.hardware[body])
    times, used, _ = whole(truth, network, (j0, j1, j2))
    point = problem.point(problem.bodies[body], (j0, j1, j2))
    said = [point.latency, point.interval, *point.used[:4]]
    real = [times.latency_cycles, times.interval_cycles, *used.tuple[:4]]
    return [float(s) / max(1, r) - 1 for s, r in zip(said, real, strict=True)]


def target_rows(truth: Truth) -> Rows:
    """Five latency targets, evenly spaced in logarithm over the true front: the network that few epochs call the best
    among those that keep it, its accuracy after many, and its energy."""
    problem = truth.problem
    low, high = truth.late[truth.front, 1].min(), truth.late[truth.front, 1].max()
    own = np.where(problem.body_of >= 0, truth.late[:, 1], np.inf)
    held = problem.hardware(truth.held(1))
    bodies = range(len(problem.bodies))
    given = np.array([problem.log_ms(b, held) if problem.over(b, held) == 0 else np.inf for b in bodies])
    given = np.where(problem.body_of >= 0, given[problem.body_of], np.inf)
    known = [problem.accuracies.number(c) for c in MANUAL.values() if set(c) <= set(problem.accuracies.ops)]
    manual = np.full(len(own), np.inf)
    manual[known] = own[known]
    rows = []
    for target in np.linspace(low, high, 7)[1:-1]:
        row: dict[str, Any] = {"target ms": f"{10**target:.4g}"}
        for name, latency in (("joint", own), ("platform-aware", given), ("manual", manual)):
            keeps = np.flatnonzero(latency <= target)
            row[f"{name} accuracy"] = row[f"{name} mJ"] = "-"
            if len(keeps):
                best = int(keeps[np.argmax(problem.accuracies.early[keeps])])
                hardware = held if name == "platform-aware" else truth.optimum.hardware[problem.body_of[best]]
                row[f"{name} accuracy"] = f"{problem.accuracies.late[best]:.2%}"
                row[f"{name} mJ"] = f"{whole(truth, best, hardware)[2]:.3g}"
        rows.append(row)
    return rows
