"""Tables of the component laws as data with provenance: ``components.toml``, written by ``flow bench cost --write``.

An entry is a table size -> LUT (and, for cores, FF and DSP) for one component, tool family, range of releases and
kind of device. It says what it was fitted to (rows, repositories, releases) and how well it predicts repositories that
were left out. An entry without that, or below ``LEAST`` of its component, is refused when it is read.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources as files
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Release = tuple[int, ...]
# What an entry must reach on rows of repositories left out of the fit: share within 1 LUT, error of the sum. Few sizes
# of products occur in two repositories, cores of two releases differ by some LUTs: there the sum decides. Nearly all
# rows of the 7 series come from one repository, whose small sums the others do not show.
MUST = {
    "mux": (0.95, 0.03), "sum": (0.75, 0.06), "comparator": (0.95, 0.08), "product": (0.40, 0.15),
    "shift": (0.70, 0.05), "core": (0.0, 0.10),
}  # fmt: skip
WIDER = ("core", "product")  # looked up in all tables, the nearest first: there is no formula beyond them


class LibraryError(ValueError):
    """A library file that does not say where its numbers come from, or whose fit does not hold; one line."""


@dataclass(frozen=True)
class Validation:
    """Rows of repositories left out of the fit: how many, share exact and within 1, error of their sum."""

    rows: int
    exact: float
    near: float
    sum_error: float


@dataclass(frozen=True)
class Entry:
    """A fitted table. ``values``: size -> (LUT, FF, DSP); releases from ``since`` up to, but not with, ``until``."""

    component: str
    family: str
    series: str
    since: Release
    until: Release
    values: Mapping[int, tuple[int, int, int]]
    samples: int
    repositories: int
    versions: tuple[str, ...]
    validation: Validation | None = None
    operator: str = ""  # of cores: "fadd", ...

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        return tuple(sorted(self.values))

    def at(self, size: int) -> tuple[int, int, int] | None:
        """The row of ``size``, between two sizes the straight line, outside them None."""
        if size in self.values:
            return self.values[size]
        k = bisect_left(self.sizes, size)
        if not 0 < k < len(self.sizes):
            return None
        low, high = self.sizes[k - 1], self.sizes[k]
        share = (size - low) / (high - low)
        a, b = self.values[low], self.values[high]
        return (round(a[0] + share * (b[0] - a[0])), round(a[1] + share * (b[1] - a[1])), a[2])

    def distance(self, family: str, release: Release, series: str) -> tuple[int, int, int]:
        """How far a tool is from what was fitted: nothing where the entry is meant for it."""
        inside = self.since <= release < self.until
        return int(family != self.family), int(not inside), int(self.series not in (series, "any"))


@dataclass(frozen=True, eq=False)
class Library:
    """All entries."""

    entries: tuple[Entry, ...]
    _found: dict[tuple[str, ...], tuple[Entry, ...]] = field(default_factory=dict, repr=False)

    def ordered(
        self, component: str, family: str, release: Release, series: str, operator: str = ""
    ) -> Iterable[Entry]:
        """Entries of a component for the tool's family and release, those of its own series first."""
        key = (component, operator, family, ".".join(map(str, release)), series)
        if key not in self._found:
            own = [e for e in self.entries if (e.component, e.operator) == (component, operator)]
            if component not in WIDER:
                # Small sums of the 7 series have the same odd shape in both families' reports.
                shared = component == "sum" and series == "7"
                fits = [e for e in own if e.family == family and e.since <= release < e.until]
                own = [e for e in own if e in fits or (shared and e.series == "7")]
            self._found[key] = tuple(sorted(own, key=lambda e: e.distance(family, release, series)))
        return self._found[key]

    def lookup(
        self, component: str, size: int, family: str, release: Release, series: str, operator: str = ""
    ) -> tuple[int, int, int] | None:
        """(LUT, FF, DSP) by the nearest entry that has the size, or None."""
        for entry in self.ordered(component, family, release, series, operator):
            found = entry.at(size)
            if found is not None:
                return found
        return None


def release(text: str) -> Release:
    return tuple(int(p) for p in text.split("."))


def parse(text: str, where: str) -> Library:
    """A library from TOML. Raises LibraryError for an entry without provenance or with a fit that does not hold."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise LibraryError(f"{where}: not valid TOML: {e}") from None
    if not data.get("source"):
        raise LibraryError(f"{where}: no source: every table must say what it was fitted to")
    return Library(tuple(_entry(e, f"{where}: entry {k + 1}") for k, e in enumerate(data.get("entry", []))))


def _entry(e: dict[str, Any], where: str) -> Entry:
    for key in ("component", "family", "series", "since", "until", "samples", "repositories", "versions", "values"):
        if not e.get(key):
            raise LibraryError(f"{where}: no {key}: run flow bench cost --write")
    if e["repositories"] > 1 and "validation" not in e:
        raise LibraryError(f"{where}: {e['component']} was not cross-validated: run flow bench cost --write")
    validation = Validation(**e["validation"]) if "validation" in e else None
    if validation:
        _holds(e["component"], validation, where)
    values = {int(k): (v[0], v[1], v[2]) if isinstance(v, list) else (v, 0, 0) for k, v in e["values"].items()}
    return Entry(
        e["component"], e["family"], e["series"], release(e["since"]), release(e["until"]), values, e["samples"],
        e["repositories"], tuple(e["versions"]), validation, e.get("operator", ""),
    )  # fmt: skip


def _holds(component: str, v: Validation, where: str) -> None:
    near, error = MUST[component]
    if v.near < near or abs(v.sum_error) > error:
        raise LibraryError(
            f"{where}: {component} predicts {v.near:.1%} of left-out rows within 1 LUT, their sum {v.sum_error:+.1%}"
            f" off; {near:.0%} and {error:.0%} wanted: a fit that does not hold is not used"
        )


_instead: list[Library] = []


@cache
def stored() -> Library:
    """The library that comes with the package."""
    return parse((files.files("flow.cost") / "components.toml").read_text(encoding="utf-8"), "components.toml")


def current() -> Library:
    """The library in use: the stored one, unless ``using`` has put another in its place."""
    return _instead[-1] if _instead else stored()


@contextmanager
def using(other: Library) -> Iterator[None]:
    """Laws by another library, for cross-validation. What laws remember must be forgotten before and after."""
    _instead.append(other)
    try:
        yield
    finally:
        _instead.remove(other)
