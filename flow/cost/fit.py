"""Tables of the library fitted to rows of real reports, and what they predict of repositories left out of the fit.

A table's value is the LUT count that most repositories show for its size: reports of one tool count an operator of one
size the same way nearly always, so the mode is the law and other counts are rows that the report merged or split.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from flow.board import Resources
from flow.cost import laws, library, rows
from flow.cost.laws import Tool
from flow.cost.library import Entry, Library, Validation

SINCE, UNTIL = {"vivado": "2017.1", "vitis": "2022.1"}, {"vivado": "2022.1", "vitis": "2100.1"}
# Releases at which a component's counting changed (seen in the rows; AMD documents none of it).
CHANGES = {("sum", "vivado"): ("2020.1",)}
DENSE = "2023.1"  # Vitis HLS from which comparators cost what sums cost; before, they step as in Vivado HLS
EITHER = ("mux", "product", "shift")  # counted alike on both series
SUM = 15  # bits up to which sums follow a table; beyond it the law is a line
PRODUCT = 10  # bits of the larger operand up to which a product is one of the table
FEW = 2  # rows of a size that make a value
SOURCE = (
    "detail tables of C synthesis reports of public repositories (11 of 24 collected; the others are kept for "
    "checking); a value is what most repositories count for its size; each repository predicted by the others"
)


@dataclass(frozen=True)
class Sample:
    """One row that a table can be fitted to."""

    component: str
    operator: str
    size: int
    value: Resources
    tool: Tool
    repository: str


def sample(table: str, row: rows.Row, tool: Tool, repository: str) -> Sample | None:
    """The component, size and cost that a row shows; None for rows that laws without a table predict."""
    value = rows.reported(row)
    a, b = rows.number(row, "p0"), rows.number(row, "p1")
    op, size = str(row.get("op") or ""), max(a, b)
    found = None
    if table == "mux":
        found = ("mux", "", rows.number(row, "inputs"))
    elif table == "expression" and size:
        name = {"+": "sum", "-": "sum", "icmp": "comparator", "shl": "shift", "lshr": "shift", "ashr": "shift"}.get(op)
        if op == "*" and not value.dsp and min(a, b) > 1 and size <= PRODUCT:
            name = "product"
        found = (name, "", size) if name else None
    elif table == "instance" and (core := rows.core(row)):
        if core[0] == "mul":
            found = ("product", "", core[1]) if not value.dsp and core[1] <= PRODUCT else None
        else:
            found = ("core", core[0], core[1])
    return Sample(*found, value, tool, repository) if found and found[2] else None


Counts = dict[tuple[int, int, int], float]
Group = tuple[str, str, str, str, str, str]  # component, operator, family, series, since, until


def group(s: Sample) -> Group:
    """Where a sample belongs."""
    family, release, series = s.tool.key
    low, high = SINCE[family], UNTIL[family]
    if s.component == "comparator":
        dense = family == "vitis" and release >= library.release(DENSE)
        family, low, high = ("vitis", DENSE, high) if dense else ("vivado", low, DENSE)
    for change in CHANGES.get((s.component, family), ()):
        if release >= library.release(change):
            low = change
        else:
            high = change
            break
    series = "any" if s.component in EITHER else series
    return s.component, s.operator, family, series, low, high


def bucket(s: Sample) -> int:
    """The size that a sample counts for: old comparators step at powers of two."""
    stepped = s.component == "comparator" and group(s)[2] == "vivado"
    return 1 << (s.size - 1).bit_length() if stepped and s.size <= 64 else s.size


def fit(samples: Iterable[Sample]) -> Library:
    """Entries without validation."""
    groups: dict[Group, list[Sample]] = defaultdict(list)
    for s in samples:
        groups[group(s)].append(s)
    return Library(tuple(e for g, own in sorted(groups.items()) if (e := _entry(g, own))))


def _entry(g: Group, own: Sequence[Sample]) -> Entry | None:
    both = g[0] == "core"
    rows_of = Counter((s.repository, bucket(s)) for s in own)
    sizes: dict[int, Counts] = defaultdict(lambda: defaultdict(float))
    for s in own:  # every repository has one vote a size, split as its rows are: one of them gives most rows
        vote = (s.value.lut, s.value.ff * both, s.value.dsp * both)
        sizes[bucket(s)][vote] += 1 / rows_of[s.repository, bucket(s)]
    if g[0] == "sum":
        sizes = {size: _outer(size, counts) for size, counts in sizes.items() if size <= SUM}
    few = 1 if g[0] in ("core", "shift", "mux") else FEW
    seen = Counter(bucket(s) for s in own)
    values = {
        size: max(votes, key=lambda v: (round(votes[v], 6), v))
        for size, votes in sorted(sizes.items())
        if seen[size] >= few
    }
    if not values:
        return None
    if g[0] == "mux":  # a larger one never costs less; a size with one odd row would
        largest = accumulate(values.values(), max)
        values = dict(zip(values, largest, strict=True))
    component, operator, family, series, since, until = g
    return Entry(
        component, family, series, library.release(since), library.release(until), values, len(own),
        len({s.repository for s in own}), tuple(sorted({s.tool.version for s in own})), None, operator,
    )  # fmt: skip


def _outer(size: int, counts: Counts) -> Counts:
    """Without inner sums of three terms, which count their width (laws.adder, ternary), where others are seen."""
    plain = sum(n for (lut, _, _), n in counts.items() if lut > size)
    return {v: n for v, n in counts.items() if v[0] > size} if 20 * plain > sum(counts.values()) else counts


def law(s: Sample) -> int:
    """LUT by the law of a sample's component."""
    if s.component == "mux":
        return laws.mux(s.size, 1, s.tool).lut
    if s.component == "sum":
        return laws.adder(s.size, s.tool).lut
    if s.component == "comparator":
        return laws.comparator(s.size, s.tool).lut
    if s.component == "product":
        return laws.multiplier(s.size, s.size, "lut", s.tool).lut
    if s.component == "shift":
        return laws.shift(s.size, s.tool).lut
    found = laws.core(s.operator, s.size, s.tool)
    return found.lut if found else 0


def inner(s: Sample) -> bool:
    """An inner sum of three terms, which has its own law: it counts its width."""
    return s.component == "sum" and s.value.lut == s.size and law(s) > s.size


def validated(samples: Sequence[Sample]) -> Library:
    """The fit of all samples, each entry with its prediction of repositories left out of the fit."""
    hits: dict[Group, list[tuple[int, int]]] = defaultdict(list)
    for repository in sorted({s.repository for s in samples}):
        rest = fit(s for s in samples if s.repository != repository)
        with library.using(rest):
            laws.forget()
            for s in samples:
                if s.repository == repository and not inner(s):
                    hits[group(s)].append((law(s), s.value.lut))
    laws.forget()
    whole = fit(samples)
    return Library(tuple(replace(e, validation=_validation(e, hits)) for e in whole.entries))


def _validation(e: Entry, hits: Mapping[Group, list[tuple[int, int]]]) -> Validation | None:
    if e.repositories < 2:
        return None
    since, until = (".".join(map(str, r)) for r in (e.since, e.until))
    pairs = hits[e.component, e.operator, e.family, e.series, since, until]
    return validation(pairs)


def validation(pairs: Sequence[tuple[int, int]]) -> Validation:
    """Shares and sum error of (predicted, reported)."""
    total = sum(r for _, r in pairs)
    error = sum(p for p, _ in pairs) / total - 1 if total else 0.0
    exact = sum(p == r for p, r in pairs) / len(pairs)
    near = sum(abs(p - r) <= 1 for p, r in pairs) / len(pairs)
    return Validation(len(pairs), round(exact, 4), round(near, 4), round(error, 4))


def text(found: Library) -> str:
    """components.toml."""
    out = [
        "# Written by flow bench cost --write; read by flow/cost/library.py. Sizes are widths in bits, of mux inputs.",
        f'source = "{SOURCE}"',
        "",
    ]
    for e in found.entries:
        since, until = (".".join(map(str, r)) for r in (e.since, e.until))
        versions = ", ".join(f'"{v}"' for v in e.versions)
        cells = [f"{k} = {list(v) if v[1] or v[2] else v[0]}" for k, v in e.values.items()]
        out += ["[[entry]]", f'component = "{e.component}"']
        out += [f'operator = "{e.operator}"'] if e.operator else []
        out += [f'family = "{e.family}"', f'series = "{e.series}"', f'since = "{since}"', f'until = "{until}"']
        out += [f"samples = {e.samples}", f"repositories = {e.repositories}", f"versions = [{versions}]"]
        if e.validation:
            v = e.validation
            out.append(
                f"validation = {{ rows = {v.rows}, exact = {v.exact}, near = {v.near}, sum_error = {v.sum_error} }}"
            )
        out += [f"values = {{ {', '.join(cells)} }}", ""]
    return "\n".join(out)
