"""Component laws against real report rows: each repository predicted by tables fitted to the others; module totals.

``--write`` fits flow/cost/components.toml and the residuals of flow/cost/targets.toml anew. Without arguments: raises
where a stated share of the files does not hold. Data: ``../shared/data/components`` or ``COEXPLORE_DATA``.
"""

from __future__ import annotations

import collections
import csv
import gzip
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from flow.board import KINDS, Resources
from flow.cost import fit, laws, library, rows
from flow.cost import loops as cycles_of
from flow.cost.laws import Tool

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("COEXPLORE_DATA", ROOT / "../shared/data")) / "components"
Rows = list[dict[str, Any]]
Row = dict[str, str]
# What is asked of the laws: (least share, of what).
WANTED = {
    "memory BRAM": 0.97, "FIFO BRAM": 0.99, "multiplier DSP": 0.99, "mux LUT within 1": 0.99, "register FF": 0.999,
    "pipelined loop latency": 0.97,
}  # fmt: skip
MODULES = {"lut": 0.15, "ff": 0.15, "dsp": 0.05, "bram18": 0.10}  # most median error


@cache
def table(name: str) -> list[Row]:
    """All rows of a table. Raises ValueError where the data is absent."""
    path = DATA / f"{name}.csv.gz"
    if not path.is_file():
        raise ValueError(f"{path} is missing: set COEXPLORE_DATA to the folder that holds components/")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def tool_of(brand: str, version: str, series: str) -> Tool:
    return Tool("vitis" if brand == "Vitis" else "vivado", version, series.startswith("us"))


def tool(row: Row) -> Tool:
    return tool_of(row["tool"], row["version"], row["gen"])


@cache
def samples() -> tuple[fit.Sample, ...]:
    """Everything that a table can be fitted to."""
    found = (
        fit.sample(name, row, tool(row), row["repo"])
        for name in ("mux", "expression", "instance")
        for row in table(name)
    )
    return tuple(s for s in found if s)


@dataclass
class Scores:
    """(predicted, reported) of one measure, by release."""

    pairs: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: collections.defaultdict(list))

    def note(self, row: Row, predicted: float, reported: float) -> None:
        self.pairs[f"{row['tool']} {row['version']} {row['gen']}"].append((predicted, reported))

    def share(self, within: float = 0.0) -> float:
        every = [p for pairs in self.pairs.values() for p in pairs]
        return sum(abs(a - b) <= within for a, b in every) / len(every)

    def rows(self, name: str) -> Rows:
        return [
            {
                "measure": name,
                "release": release,
                "rows": len(pairs),
                "exact": f"{sum(a == b for a, b in pairs) / len(pairs):.1%}",
                "within 1": f"{sum(abs(a - b) <= 1 for a, b in pairs) / len(pairs):.1%}",
                "sum error": _error(sum(a for a, _ in pairs), sum(b for _, b in pairs)),
            }
            for release, pairs in sorted(self.pairs.items())
        ]


def _error(predicted: float, reported: float) -> str:
    return f"{predicted / reported - 1:+.1%}" if reported else "0" if not predicted else f"{predicted:g} for 0"


@dataclass
class Module:
    """A module's amounts: reported, predicted, and the part of the prediction that was taken from the report."""

    row: Row
    reported: Resources
    predicted: Resources = Resources()  # noqa: RUF009
    given: Resources = Resources()  # noqa: RUF009
    inner: list[tuple[str, Resources]] = field(default_factory=list)  # submodules: key, amounts as reported


class Evaluation:
    """All repositories, each predicted by tables fitted to the others."""

    def __init__(self) -> None:
        self.scores: dict[str, Scores] = collections.defaultdict(Scores)
        self.modules: dict[str, Module] = {}
        self.by_path: dict[tuple[str, str], str] = {}
        for m in table("module"):
            self.modules[m["rid"]] = Module(m, _category(m, "Total"))
            self.by_path[m["path"].rpartition("/")[0], m["module"]] = m["rid"]
        for rid in self.modules.keys() - {row["rid"] for row in table("fifo")}:
            fifos = _category(self.modules[rid].row, "FIFO")  # some reports sum FIFOs without listing them
            self.modules[rid].predicted, self.modules[rid].given = fifos, fifos
        for repository in sorted({m["repo"] for m in table("module")}):
            with library.using(fit.fit(s for s in samples() if s.repository != repository)):
                laws.forget()
                self._predict(repository)
        laws.forget()

    def _predict(self, repository: str) -> None:
        muxes: dict[str, list[Row]] = collections.defaultdict(list)
        for row in table("mux"):
            if row["repo"] == repository:
                muxes[row["rid"]].append(row)
        seen = {rid: rows.context(found) for rid, found in muxes.items()}
        for name in rows.TABLES:
            for row in table(name):
                if row["repo"] == repository:
                    self._row(name, row, seen.get(row["rid"], rows.Context()))

    def _row(self, name: str, row: Row, seen: rows.Context) -> None:
        got, said = rows.predicted(name, row, tool(row), seen), rows.reported(row)
        module = self.modules.get(row["rid"])
        if got is not None:
            self._score(name, row, got, said)
        if module is None:
            return
        if got is None:
            rid = self.by_path.get((row["path"].rpartition("/")[0], row.get("submodule", "")))
            if rid:
                module.inner.append((rid, said))
                return
            got = said
            module.given += said
        module.predicted += got

    def _score(self, name: str, row: Row, got: Resources, said: Resources) -> None:
        kind = {"+": "sum", "-": "sum", "icmp": "comparison", "select": "select", "*": "product"}
        if name == "memory":
            self.scores["memory BRAM"].note(row, got.bram18, said.bram18)
            if not said.bram18:
                self.scores["memory LUT"].note(row, got.lut, said.lut)
                self.scores["memory FF"].note(row, got.ff, said.ff)
        elif name == "fifo":
            self.scores["FIFO BRAM"].note(row, got.bram18, said.bram18)
            self.scores["FIFO FF"].note(row, got.ff, said.ff)
        elif name == "instance" and row["op"] == "mul":
            self.scores["multiplier DSP"].note(row, got.dsp, said.dsp)
            self.scores["multiplier LUT"].note(row, got.lut, said.lut)
        elif name == "instance":
            self.scores["core LUT"].note(row, got.lut, said.lut)
            self.scores["core DSP"].note(row, got.dsp, said.dsp)
        elif name == "expression":
            op = row["op"]
            self.scores[f"{kind.get(op) or ('shift' if op in ('shl', 'lshr', 'ashr') else 'logic')} LUT"].note(
                row, got.lut, said.lut
            )
        elif name == "mux":
            self.scores["mux LUT"].note(row, got.lut, said.lut)
        elif name == "register":
            self.scores["shift register FF" if said.lut else "register FF"].note(row, got.ff, said.ff)

    def total(self, rid: str, around: tuple[str, ...] = ()) -> tuple[Resources, Resources]:
        """Predicted amounts of a module with its submodules, and the part of them that was given."""
        m = self.modules[rid]
        predicted, given = m.predicted, m.given
        for inner, said in m.inner:
            own = (said, said) if inner in around else self.total(inner, (*around, rid))
            predicted, given = predicted + own[0], given + own[1]
        return predicted, given


def _category(m: Row, name: str) -> Resources:
    columns = ("LUT", "FF", "DSP", "BRAM_18K", "URAM")
    return Resources(*(int(float(m.get(f"s_{name}_{c}") or 0)) for c in columns))


@cache
def evaluation() -> Evaluation:
    return Evaluation()


@cache
def counts() -> dict[tuple[str, str, str], int]:
    """Iterations of a loop in the source: the most trips that any report of the same function's loop prints.

    The same repository holds a function before and after parts of its loops were unrolled, so this is what its source
    says, read off other reports; the latency of a row is never looked at.
    """
    most: dict[tuple[str, str, str], int] = collections.defaultdict(int)
    for row in table("loop"):
        if row["trip_max"]:
            most[_loop(row)] = max(most[_loop(row)], int(float(row["trip_max"])))
    return most


def _loop(row: Row) -> tuple[str, str, str]:
    return row["repo"], row["module"], row["loop"]


def passes(row: Row, trip: int) -> int:
    """How often the body starts where ``trip`` times are printed: one more after an unrolling that leaves a rest."""
    count = counts()[_loop(row)]
    if trip < 1 or count % trip == 0:
        return trip
    factor = next(f for f in range(1, count + 1) if count // f <= trip)
    return cycles_of.passes(count, factor) if count // factor == trip else trip


def loops() -> tuple[Scores, Scores]:
    """Pipelined loops and others; their laws have no table, so nothing is left out."""
    piped, plain = Scores(), Scores()
    for row in table("loop"):
        trip, latency, iteration = (row[k] for k in ("trip_max", "lat_max", "iter_max"))
        if not (trip and latency and iteration):
            continue
        t, cycles, i = (int(float(x)) for x in (trip, latency, iteration))
        t = passes(row, t)
        if row["pipelined"] == "yes" and row["ii"]:
            piped.note(row, cycles_of.pipelined_loop(t, int(float(row["ii"])), i), cycles)
        elif row["pipelined"] == "no":
            plain.note(row, cycles_of.loop(t, i), cycles)
    return piped, plain


def ratios(kind: str) -> dict[str, list[float]]:
    """Reported / predicted total of every module that has any of a resource, by repository.

    Modules whose amount is for the most part that of instances without a law, taken from the report, are left out.
    """
    e = evaluation()
    k = KINDS.index(kind)
    found: dict[str, list[float]] = collections.defaultdict(list)
    for rid, m in e.modules.items():
        whole, given = e.total(rid)
        predicted, reported = whole[k], m.reported[k]
        if (predicted or reported) and 2 * given[k] <= predicted:
            found[m.row["repo"]].append(reported / predicted if predicted else np.inf)
    return found


def error(values: list[float]) -> float:
    """Median error of predictions, relative to what is reported."""
    return float(np.median([abs(1 / r - 1) if r else 1.0 for r in values]))


def module_rows() -> Rows:
    e = evaluation()
    by = {kind: ratios(kind) for kind in MODULES}
    out = []
    for repository in sorted({m.row["repo"] for m in e.modules.values()}):
        own = [rid for rid, m in e.modules.items() if m.row["repo"] == repository]
        given = np.sum([e.total(rid)[1].tuple for rid in own], axis=0)
        whole = np.maximum(np.sum([e.total(rid)[0].tuple for rid in own], axis=0), 1)
        errors = {f"{k} error": f"{error(v[repository]):.1%}" if v.get(repository) else "none" for k, v in by.items()}
        out.append({"repository left out": repository, "modules": len(own), **errors,
                    "given LUT": f"{given[0] / whole[0]:.0%}", "given FF": f"{given[1] / whole[1]:.0%}"})  # fmt: skip
    every = {f"{k} error": f"{error([x for r in v.values() for x in r]):.1%}" for k, v in by.items()}
    weighted = {f"{k} error": f"{float(np.median([error(r) for r in v.values()])):.1%}" for k, v in by.items()}
    out.append(
        {"repository left out": "all modules", "modules": len(e.modules), **every, "given LUT": "", "given FF": ""}
    )
    out.append({"repository left out": "median of repositories", "modules": len(e.modules), **weighted,
                "given LUT": "", "given FF": ""})  # fmt: skip
    return out


def reached() -> dict[str, float]:
    """The measures of WANTED."""
    s = evaluation().scores
    return {
        "memory BRAM": s["memory BRAM"].share(), "FIFO BRAM": s["FIFO BRAM"].share(),
        "multiplier DSP": s["multiplier DSP"].share(), "mux LUT within 1": s["mux LUT"].share(1),
        "register FF": s["register FF"].share(), "pipelined loop latency": loops()[0].share(),
    }  # fmt: skip


def verdicts() -> Rows:
    got = reached()
    out = [
        {"measure": f"{name}, rows predicted", "wanted": f">= {w:.1%}", "reached": f"{got[name]:.2%}",
         "holds": _yes(got[name] >= w)}
        for name, w in WANTED.items()
    ]  # fmt: skip
    for kind, most in MODULES.items():
        own = error([x for r in ratios(kind).values() for x in r])
        out.append({"measure": f"module total {kind}, median error", "wanted": f"<= {most:.0%}",
                    "reached": f"{own:.1%}", "holds": _yes(own <= most)})  # fmt: skip
    return out


def _yes(holds: bool) -> str:
    return "yes" if holds else "NO"


def residuals() -> dict[str, tuple[float, float, float]]:
    """p10, p50, p90 of reported / predicted module totals, every repository with the same weight."""
    found = {}
    for kind in MODULES:
        pairs = [(r, 1 / len(own)) for own in ratios(kind).values() for r in own if np.isfinite(r) and r > 0]
        pairs.sort()
        weight = np.cumsum([w for _, w in pairs])
        at = [pairs[int(np.searchsorted(weight, q * weight[-1]))][0] for q in (0.1, 0.5, 0.9)]
        found[kind] = (round(at[0], 3), round(at[1], 3), round(at[2], 3))
    return found


def write() -> None:
    """Both files, from the data."""
    found = fit.validated(samples())
    text = fit.text(found)
    library.parse(text, "the new fit")
    (ROOT / "flow/cost/components.toml").write_text(text, encoding="utf-8")
    path = ROOT / "flow/cost/targets.toml"
    old = path.read_text(encoding="utf-8")
    for kind, (low, mid, high) in residuals().items():
        line = f"{kind} = {{ p10 = {low:.3f}, p50 = {mid:.3f}, p90 = {high:.3f} }}"
        head, mark, rest = old.partition("[csynth]")
        old = head + mark + re.sub(rf"^{kind} = \{{.*\}}$", line, rest, count=1, flags=re.MULTILINE)
    path.write_text(old, encoding="utf-8")


def stated() -> Rows:
    """What the library states, and what a fit of today gives. Raises ValueError where they differ."""
    out = []
    now = {(e.component, e.operator, e.family, e.series, e.since): e for e in fit.validated(samples()).entries}
    stored = library.parse((ROOT / "flow/cost/components.toml").read_text(encoding="utf-8"), "components.toml")
    for e in stored.entries:
        fresh = now.get((e.component, e.operator, e.family, e.series, e.since))
        if fresh is None or fresh.validation != e.validation or dict(fresh.values) != dict(e.values):
            raise ValueError(
                f"components.toml: {e.component} {e.operator} {e.family} {e.series} is not what the data gives"
            )
        if e.validation:
            v = e.validation
            shares = {"exact": f"{v.exact:.1%}", "within 1": f"{v.near:.1%}", "sum error": f"{v.sum_error:+.1%}"}
            where = {"tool": e.family, "series": e.series, "since": ".".join(map(str, e.since))}
            name = f"{e.component} {e.operator}".strip()
            out.append({"component": name, **where, "sizes": len(e.values), "rows": v.rows, **shares})
    return out


def tables(arguments: list[str]) -> Iterator[tuple[str, Rows]]:
    """Verdicts, module totals, the library's validation, every measure by release. ``--write`` first fits anew."""
    if arguments not in ([], ["--write"]):
        raise ValueError(f"bench cost: unknown arguments {' '.join(arguments)}; --write or none")
    if arguments:
        write()
        library.stored.cache_clear()
        laws.forget()
    yield "What is asked of the laws (each repository predicted by tables fitted to the others)", verdicts()
    yield "Module totals of repositories left out: median error of modules that are mostly predicted", module_rows()
    yield "Tables of flow/cost/components.toml on repositories left out of their fit", stated()
    s = dict(evaluation().scores)
    s["pipelined loop latency"], s["other loop latency"] = loops()
    yield "Rows by table and release", [r for name in sorted(s) for r in s[name].rows(name)]
