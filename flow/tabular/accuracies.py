"""Tables of trained networks: every cell over some operations with its accuracies.

``nb201_acc_hw.npz``, columns ``ops``, ``op_names``, ``test_acc_12ep_<data>``, ``test_acc_200ep_mean_<data>``, holds all
15,625 cells of NAS-Bench-201 (Dong and Yang, ICLR 2020); the user gives its path. ``*.csv``, columns ``cell``,
``early``, ``late`` (in percent) after lines ``# key value``, is a table of one's own.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flow.ir.ops import Shape
from flow.space.nas_bench_201 import EDGES, OPS

DATA = {"cifar10": ((3, 32, 32), 10), "cifar100": ((3, 32, 32), 100), "imagenet16": ((3, 16, 16), 120)}
FILE = "nas/nb201_acc_hw.npz"


class TableError(ValueError):
    """A table that is missing or incomplete; one line."""


@dataclass(frozen=True, eq=False)
class Accuracies:
    """``ops``: the operations that cells choose from.  ``early``, ``late``: accuracies in 0..1 of every cell, by the
    number whose digits, base ``len(ops)``, first edge first, are its operations."""

    name: str
    shape: Shape
    classes: int
    ops: tuple[str, ...]
    early: NDArray[np.float64]
    late: NDArray[np.float64]

    def cell(self, number: int) -> tuple[str, ...]:
        digits = np.unravel_index(number, (len(self.ops),) * len(EDGES))
        return tuple(self.ops[int(d)] for d in digits)

    def number(self, cell: tuple[str, ...]) -> int:
        digits = [self.ops.index(op) for op in cell]
        return int(np.ravel_multi_index(digits, (len(self.ops),) * len(EDGES)))


def default_path() -> Path:
    """Where the environment or a folder beside the project keeps the shared table."""
    return Path(os.environ.get("COEXPLORE_DATA", "../shared/data")) / FILE


def load(path: Path, data: str = "cifar10") -> Accuracies:
    """Raises TableError."""
    if not path.is_file():
        raise TableError(f"no table {path}: give the path of {Path(FILE).name}, or of a table of your own (.csv)")
    if path.suffix == ".csv":
        return _own(path)
    if data not in DATA:
        raise TableError(f"data {data!r} is not one of {', '.join(DATA)}")
    with np.load(path, allow_pickle=False) as z:
        try:
            names = [str(n) for n in z["op_names"]]
            digits = z["ops"].astype(np.int64)
            early, late = z[f"test_acc_12ep_{data}"], z[f"test_acc_200ep_mean_{data}"]
        except KeyError as e:
            raise TableError(f"{path}: no column {e}") from None
    if set(names) != set(OPS) or len(digits) != len(OPS) ** len(EDGES):
        raise TableError(f"{path}: {len(digits)} cells over {', '.join(names)}, not all of NAS-Bench-201")
    place = digits @ (len(names) ** np.arange(len(EDGES))[::-1])
    found = np.full((2, len(digits)), np.nan)
    found[0, place], found[1, place] = early / 100, late / 100
    return Accuracies(data, *DATA[data], tuple(names), *_whole(path, found))


def _whole(path: Path, found: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(found).all():
        raise TableError(f"{path}: {int(np.isnan(found).any(0).sum())} cells are missing")
    return found


def _own(path: Path) -> Accuracies:
    lines = path.read_text(encoding="utf-8").splitlines()
    head = dict(x[1:].strip().partition(" ")[::2] for x in lines if x.startswith("#"))
    rows = list(csv.DictReader(x for x in lines if not x.startswith("#")))
    try:
        c, h, w = (int(n) for n in head["shape"].split("x"))
        ops = tuple(head["ops"].split())
        found = np.full((2, len(ops) ** len(EDGES)), np.nan)
        table = Accuracies(head["name"], (c, h, w), int(head["classes"]), ops, found[0], found[1])
        for row in rows:
            cell = tuple(part.split("~")[0] for node in row["cell"].split("+") for part in node.strip("|").split("|"))
            found[:, table.number(cell)] = float(row["early"]) / 100, float(row["late"]) / 100
    except (KeyError, ValueError) as e:
        raise TableError(f"{path}: {type(e).__name__} {e}; see flow/tabular/accuracies.py for the form") from None
    _whole(path, found)
    return table
