"""Strategies and modes of co-search against the true joint fronts of NAS-Bench-201 on a board.

flow bench search [--table PATH] [--data cifar10 cifar100 imagenet16] [--boards zcu102 pynq-z2] [--seeds 10]
                  [--budgets 100 300 1000 3000] [--only front|check|strategies|modes|targets] [--workers 2]

``--table``: the .npz of trained accuracies (``$COEXPLORE_DATA/nas/nb201_acc_hw.npz`` without), or a .csv of one's own
as ``benchmarks/own_table.py`` makes it. Optuna and pymoo take part where they are installed:
``pip install 'coexplore[bench]'``.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# Two searches run at once, each on small arrays: more threads of a linear algebra library only get in their way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from scipy.stats import mannwhitneyu

from flow import board as boards
from flow import estimate, layout, search, timing
from flow.board import Resources
from flow.mapping.solve import realise
from flow.space import Options, load
from flow.space.nas_bench_201 import EDGES, NasBench201
from flow.space.network import random_graph
from flow.tabular import accuracies, family, optimum
from flow.tabular.arms import HELD, Arm, Truth, compare
from flow.tabular.problem import Problem

Rows = list[dict[str, Any]]
SLOW = {"bayes": 300, "differentiable": 300}  # evaluations that a strategy is run for; all budgets without
FOREIGN = (
    ("optuna", Arm("optuna_samplers", options={"sampler": "nsga2"}, most=300)),
    ("optuna", Arm("optuna_samplers", options={"sampler": "tpe", "multivariate": True}, most=300)),
    ("pymoo", Arm("pymoo_nsga2")),
)
DEFAULT = "nsga2"  # the strategy that modes are compared with
CHECKED = 12  # designs of the check
THREE, ONE, NONE, SKIP = "nor_conv_3x3", "nor_conv_1x1", "none", "skip_connect"
MANUAL = {  # networks that people draw
    "residual": (THREE, NONE, THREE, SKIP, NONE, SKIP),
    "residual, 1x1": (ONE, NONE, ONE, SKIP, NONE, SKIP),
    "plain": (THREE, NONE, THREE, NONE, NONE, THREE),
}


def arguments(words: list[str]) -> argparse.Namespace:
    p = argparse.ArgumentParser(prog="flow bench search")
    p.add_argument("--table", type=Path)
    p.add_argument("--data", nargs="+", default=list(accuracies.DATA), choices=list(accuracies.DATA))
    p.add_argument("--boards", nargs="+", default=["zcu102", "pynq-z2"])
    p.add_argument("--seeds", type=int, default=10)
    p.add_argument("--budgets", type=int, nargs="+", default=[100, 300, 1000, 3000])
    p.add_argument("--only", nargs="+", default=["front", "check", "strategies", "modes", "targets"])
    p.add_argument("--workers", type=int, default=2)
    return p.parse_args(words)


def tables(words: list[str]) -> Iterator[tuple[str, Rows]]:
    a = arguments(words)
    path = a.table or accuracies.default_path()
    data = a.data if path.suffix == ".npz" else [path.stem]
    started = time.perf_counter()
    for name in a.boards:
        for d in data:
            yield from problem_tables(a, path, name, d)
    yield "whole benchmark", [{"seconds": round(time.perf_counter() - started), "workers": a.workers}]


def problem_tables(a: argparse.Namespace, path: Path, board: str, data: str) -> Iterator[tuple[str, Rows]]:
    where = f"{data} on {board}"
    began = time.perf_counter()
    problem = Problem(accuracies.load(path, data), boards.load(board))
    truth = Truth(problem, optimum.solve(problem, a.workers))
    spent = time.perf_counter() - began
    if "front" in a.only:
        yield f"true joint front, {where}", front_rows(truth, spent)
    if "check" in a.only:
        yield f"costs against the estimate of whole designs, {where}", check_rows(truth)
    if "targets" in a.only:
        yield f"latency targets, {where}", target_rows(truth)
    if "strategies" in a.only:
        arms = strategies()
        labels = [s.label for s in arms]
        against = {"p, above random": (labels.index("random"), True)}
        yield f"hypervolume ratio, joint search, {where}", arm_rows(truth, arms, labels, against, a)
    if "modes" in a.only:
        arms, labels = modes()
        against = {"p, below nested": (0, False), "p, below joint": (2, False)}
        yield f"hypervolume ratio, modes with {DEFAULT}, {where}", arm_rows(truth, arms, labels, against, a)


def strategies() -> list[Arm]:
    own = [Arm(n, most=SLOW.get(n, 10**9)) for n in search.names()]
    return own + [arm for module, arm in FOREIGN if importlib.util.find_spec(module)]


def modes() -> tuple[list[Arm], list[str]]:
    arms = [Arm(DEFAULT, "nested"), Arm("random", "nested"), Arm(DEFAULT)]
    labels = ["joint, nested", "joint, nested, random", "joint, in the genotype"]
    for i, place in enumerate(HELD):
        arms.append(Arm(DEFAULT, "hw-aware", held=i))
        labels.append(f"hardware fixed ({place:.0%} of the true front)")
    for i, place in enumerate(HELD):
        arms.append(Arm(DEFAULT, "hw-only", held=i))
        labels.append(f"network fixed ({place:.0%} of the true front)")
    arms += [Arm(DEFAULT, "sequential"), Arm(DEFAULT, "sequential", keep=8), Arm(DEFAULT, "nas")]
    return arms, [*labels, "sequential, 1 network", "sequential, 8 networks", "NAS alone"]


def arm_rows(
    truth: Truth,
    arms: Sequence[Arm],
    labels: Sequence[str],
    against: dict[str, tuple[int, bool]],
    a: argparse.Namespace,
) -> Rows:
    """A row an arm: median and interquartile range at each budget; p of Mann-Whitney's test at the largest.

    ``against``: column -> the arm to compare with, and whether this one (True) or that one is claimed to be better.
    """
    budgets = tuple(sorted(a.budgets))
    outcomes = compare(truth, arms, a.seeds, budgets, a.workers)
    ratios = [np.array([[r for r, _ in o.scores] for o in mine]) for mine in outcomes]
    rows = []
    for i, (arm, label, mine) in enumerate(zip(arms, labels, outcomes, strict=True)):
        row: dict[str, Any] = {"search": label}
        for k, budget in enumerate(budgets):
            row[str(budget)] = spread(ratios[i][:, k]) if budget <= arm.most else "-"
        row["IGD+"] = round(float(np.median([o.scores[-1][1] for o in mine])), 3)
        for column, (other, above) in against.items():
            pair = (ratios[i], ratios[other]) if above else (ratios[other], ratios[i])
            row[column] = better(*pair) if other != i else ""
        row["CPU s a run"] = round(float(np.mean([o.seconds for o in mine])), 1)
        rows.append(row)
    return rows


def spread(values: np.ndarray) -> str:
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.3f} ({low:.3f}-{high:.3f})"


def better(a: np.ndarray, b: np.ndarray) -> str:
    """One-sided p that ``a`` is no better than ``b``, at the largest budget that both have."""
    k = min(a.shape[1], b.shape[1]) - 1
    return f"{mannwhitneyu(a[:, k], b[:, k], alternative='greater').pvalue:.1g}"


def front_rows(truth: Truth, seconds: float) -> Rows:
    problem, found = truth.problem, truth.front
    fits = np.isfinite(truth.late[:, 1])
    summary = {
        "networks": len(problem.body_of), "bodies": len(problem.bodies), "fit": int(fits.sum()), "front": len(found),
        "ceiling": round(truth.ceiling(), 3),
        "reference": f"{-truth.reference[0]:.4f}, {10 ** truth.reference[1]:.4g} ms",
        "seconds": round(seconds, 1),
    }  # fmt: skip
    return [summary]


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
    on_held = [problem.worth(b, held) for b in range(len(problem.bodies))]
    given = np.array([latency if excess == 0 else np.inf for latency, excess in on_held])
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
