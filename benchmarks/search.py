"""Strategies and modes of co-search against the true joint fronts of NAS-Bench-201 on a board.

flow bench search [--table PATH] [--data cifar10 cifar100 imagenet16] [--boards zcu102 pynq-z2] [--seeds 10]
                  [--budgets 100 300 1000 3000] [--workers 2]
                  [--only front|check|targets|strategies|repaired|modes|cross]
flow bench search full --workers 2 --out FILE.md    the whole, as a page; FILE.journal keeps what is done, and an
                                                    interrupted run goes on

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
from dataclasses import replace
from pathlib import Path
from typing import Any

# Two searches run at once, each on small arrays: more threads of a linear algebra library only get in their way.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from scipy.stats import mannwhitneyu

from flow import board as boards
from flow import search
from flow.files import write_atomic
from flow.tabular import accuracies
from flow.tabular.arms import HELD, Arm, Truth
from flow.tabular.campaign import Journal, Outcome, compare, solved
from flow.tabular.designs import check_rows, target_rows
from flow.tabular.problem import Problem

Rows = list[dict[str, Any]]
EVERY = 10**9
SLOW = {"bayes": 300, "differentiable": 1000}  # evaluations that a strategy is run for; all budgets without
FOREIGN = (
    ("optuna", Arm("optuna_samplers", options={"sampler": "nsga2"}, most=300)),
    ("optuna", Arm("optuna_samplers", options={"sampler": "tpe", "multivariate": True}, most=300)),
    ("pymoo", Arm("pymoo_nsga2")),
)
DEFAULT = "nsga2"  # the strategy that modes are compared with
REPAIRED, FEW = 1000, 100  # evaluations of every strategy on repaired pairs; of slow ones
CROSS = 300  # in every mode
CROSSED = ("nested", "hw-aware", "hw-only", "sequential", "nas")
PARTS = ("front", "check", "targets", "strategies", "repaired", "modes", "cross")


def arguments(words: list[str]) -> argparse.Namespace:
    p = argparse.ArgumentParser(prog="flow bench search")
    p.add_argument("what", nargs="?", choices=["full"], help="everything, written as a page")
    p.add_argument("--out", type=Path, help="the page, with full")
    p.add_argument("--table", type=Path)
    p.add_argument("--data", nargs="+", default=list(accuracies.DATA), choices=list(accuracies.DATA))
    p.add_argument("--boards", nargs="+", default=["zcu102", "pynq-z2"])
    p.add_argument("--seeds", type=int, default=10)
    p.add_argument("--budgets", type=int, nargs="+", default=[100, 300, 1000, 3000])
    p.add_argument("--only", nargs="+", default=PARTS, choices=PARTS)
    p.add_argument("--workers", type=int, default=2)
    found = p.parse_args(words)
    if (found.what == "full") != (found.out is not None):
        p.error("full and --out FILE.md go together")
    return found


def tables(words: list[str]) -> Iterator[tuple[str, Rows]]:
    a = arguments(words)
    path = a.table or accuracies.default_path()
    data = a.data if path.suffix == ".npz" else [path.stem]
    journal = Journal(a.out.with_suffix(".journal") if a.out else None)
    started, page = time.perf_counter(), [PAGE.format(command=command(a), seeds=a.seeds)]
    for board in a.boards:
        for d in data:
            truth, spent = solve(path, board, d, a.workers)
            page.append(f"## {truth.problem.name}\n")
            for title, rows in problem_tables(a, truth, spent, journal):
                yield f"{title}, {truth.problem.name}", rows
                page.append(markdown(title, rows))
            if a.out:
                write_atomic(a.out, "\n".join(page).encode())
    seconds = {"seconds": round(time.perf_counter() - started), "workers": a.workers}
    searches = [o.seconds for o in journal.known.values()]
    whole = [{**seconds, "searches": len(searches), "CPU s of searches": round(sum(searches))}]
    yield "whole benchmark", whole
    if a.out:
        write_atomic(a.out, "\n".join([*page, markdown("whole benchmark", whole)]).encode())


PAGE = """# Co-search measured: the whole benchmark

Made by `{command}`; what is measured, and what came out of it, is in [benchmarks-search.md](benchmarks-search.md).
Hypervolume ratios to the true joint front after so many evaluations: medians and quartiles of {seeds} seeds. p is
Mann-Whitney's, one-sided, at the largest budget that both have.
"""


def command(a: argparse.Namespace) -> str:
    return f"flow bench search full --workers {a.workers} --out {a.out}"


def markdown(title: str, rows: Rows) -> str:
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    lines += ["| " + " | ".join(str(r.get(c, "")) for c in columns) + " |" for r in rows]
    return f"**{title}**\n\n" + "\n".join(lines) + "\n"


def solve(path: Path, board: str, data: str, workers: int) -> tuple[Truth, float]:
    """The problem with its true front, and the seconds that took."""
    began = time.perf_counter()
    problem = Problem(accuracies.load(path, data), boards.load(board))
    return Truth(problem, solved(problem, workers)), time.perf_counter() - began


def problem_tables(a: argparse.Namespace, truth: Truth, spent: float, journal: Journal) -> Iterator[tuple[str, Rows]]:
    if "front" in a.only:
        yield "true joint front", front_rows(truth, spent)
    if "check" in a.only:
        yield "costs against the estimate of whole designs", check_rows(truth)
    if "targets" in a.only:
        yield "latency targets", target_rows(truth)
    for part, title, mode, most in (
        ("strategies", "joint search, hardware in the genotype", "joint", lambda s: s.most),
        ("repaired", "the same, pairs repaired to fit", "repaired", lambda s: REPAIRED if s.most > CROSS else FEW),
    ):
        if part in a.only:
            every = [replace(s, mode=mode, most=most(s)) for s in strategies()]
            arms = [s for s in every if s.most >= min(a.budgets)]
            labels = [s.label for s in arms]
            against = {"p, above random": (labels.index("random"), True)}
            yield f"hypervolume ratio, {title}", arm_rows(truth, arms, labels, against, a, journal)
    if "modes" in a.only:
        arms, labels = modes()
        last = labels.index("sequential, 1 network")
        against = {"p, below nested": (0, False), "p, below repaired": (2, False), "p, above sequential": (last, True)}
        yield f"hypervolume ratio, modes with {DEFAULT}", arm_rows(truth, arms, labels, against, a, journal)
    if "cross" in a.only:
        yield f"hypervolume ratio, every strategy in every mode at {CROSS}", cross_rows(truth, a, journal)


def strategies() -> list[Arm]:
    own = [Arm(n, most=SLOW.get(n, EVERY)) for n in search.names()]
    return own + [arm for module, arm in FOREIGN if importlib.util.find_spec(module)]


def modes() -> tuple[list[Arm], list[str]]:
    arms = [Arm(DEFAULT, "nested"), Arm("random", "nested"), Arm(DEFAULT, "repaired"), Arm(DEFAULT)]
    labels = ["joint, nested", "joint, nested, random", "joint, repaired", "joint, in the genotype"]
    for i, place in enumerate(HELD):
        arms.append(Arm(DEFAULT, "hw-aware", held=i))
        labels.append(f"hardware fixed ({place:.0%} of the true front)")
    for i, place in enumerate(HELD):
        arms.append(Arm(DEFAULT, "hw-only", held=i))
        labels.append(f"network fixed ({place:.0%} of the true front)")
    arms += [Arm(DEFAULT, "sequential"), Arm(DEFAULT, "sequential", keep=8), Arm(DEFAULT, "nas")]
    return arms, [*labels, "sequential, 1 network", "sequential, 8 networks", "NAS alone"]


def cross_rows(truth: Truth, a: argparse.Namespace, journal: Journal) -> Rows:
    """A row a strategy, a column a mode; joint search is in tables of its own."""
    budget = max([b for b in a.budgets if b <= CROSS], default=min(a.budgets))
    own = [s for s in strategies() if s.most > CROSS]
    arms = [replace(s, mode=m, most=budget) for s in own for m in CROSSED]
    outcomes = compare(truth, arms, a.seeds, (budget,), a.workers, journal)
    rows = []
    for i, s in enumerate(own):
        mine = outcomes[i * len(CROSSED) : (i + 1) * len(CROSSED)]
        columns = {
            m: spread(np.array([o.scores[-1][0] for o in found])) for m, found in zip(CROSSED, mine, strict=True)
        }
        rows.append({"search": s.label, **columns})
    return rows


def arm_rows(
    truth: Truth,
    arms: Sequence[Arm],
    labels: Sequence[str],
    against: dict[str, tuple[int, bool]],
    a: argparse.Namespace,
    journal: Journal,
) -> Rows:
    """A row an arm: median and interquartile range at each budget; p of Mann-Whitney's test at the largest.

    ``against``: column -> the arm to compare with, and whether this one (True) or that one is claimed to be better.
    """
    budgets = tuple(sorted(a.budgets))
    outcomes = compare(truth, arms, a.seeds, budgets, a.workers, journal)
    ratios = [np.array([[r for r, _ in o.scores] for o in mine]) for mine in outcomes]
    rows = []
    for i, (arm, label) in enumerate(zip(arms, labels, strict=True)):
        row: dict[str, Any] = {"search": label}
        for k, budget in enumerate(budgets):
            row[str(budget)] = spread(ratios[i][:, k]) if budget <= arm.most else "-"
        row["IGD+"] = round(float(np.median([o.scores[-1][1] for o in outcomes[i]])), 3)
        for column, (other, above) in against.items():
            pair = (ratios[i], ratios[other]) if above else (ratios[other], ratios[i])
            row[column] = better(*pair) if other != i else ""
        row["CPU s a run"] = mean_seconds(outcomes[i])
        rows.append(row)
    return rows


def mean_seconds(mine: Sequence[Outcome]) -> float:
    return round(float(np.mean([o.seconds for o in mine])), 1)


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
