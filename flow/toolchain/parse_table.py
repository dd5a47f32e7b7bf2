"""The ASCII tables (``+---+`` rules, ``|`` cells) and ``==`` headings of HLS and Vivado reports.

A table must be closed by a rule: an open one means the file was cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from flow.toolchain.parse_values import ReportError

_RULE = re.compile(r"\s*\+(-+\+)+\s*$")


@dataclass(frozen=True)
class Table:
    """Column names (rows of a header joined by a space) and stripped cells; ``first`` keeps the indent of cell 0."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    first: tuple[str, ...]

    def column(self, name: str) -> int | None:
        return self.columns.index(name) if name in self.columns else None

    def dicts(self) -> Iterator[dict[str, str]]:
        return (dict(zip(self.columns, row, strict=True)) for row in self.rows)


@dataclass(frozen=True)
class Block:
    """A piece of a report: where it stands (innermost heading last), and the table there if it is one."""

    path: tuple[str, ...]
    table: Table | None


def is_rule(line: str) -> bool:
    # The cheap tests first: most lines of a report are rows.
    return "+-" in line and "|" not in line and _RULE.match(line) is not None


def is_row(line: str) -> bool:
    return line.lstrip().startswith("|")


def read_table(lines: list[str], start: int, where: str) -> tuple[Table, int]:
    """The table whose first rule is line ``start``; also returns the index of the line after its last rule.

    Raises ReportError for a table without closing rule, without header, or with a row that does not fit its header.
    """
    stop = start
    while stop < len(lines) and (is_rule(lines[stop]) or is_row(lines[stop])):
        stop += 1
    rules = [i for i in range(start, stop) if is_rule(lines[i])]
    if len(rules) < 2 or rules[-1] != stop - 1 or rules[1] == start + 1:
        raise ReportError(f"{where}: the table at line {start + 1} has no end: the report is truncated or damaged")
    edges = [i for i, c in enumerate(lines[start]) if c == "+"]
    columns = _header(lines[start + 1 : rules[1]], edges)
    rows, first = [], []
    for i in range(rules[1] + 1, stop):
        if is_row(lines[i]):
            cells = _cells(lines[i], edges)
            if len(cells) != len(columns):
                raise ReportError(
                    f"{where}: line {i + 1} has {len(cells)} cells under a header of {len(columns)}: damaged report"
                )
            rows.append(tuple(c.strip() for c in cells))
            first.append(cells[0])
    return Table(columns, tuple(rows), tuple(first)), stop


def _cells(line: str, edges: list[int]) -> list[str]:
    """Split at the bars; a bar inside a cell (an operator's symbol) is told from an edge by its position."""
    cells = line.strip()[1:-1].split("|")
    if len(cells) == len(edges) - 1 or len(line) <= edges[-1]:
        return cells
    if all(line[e] == "|" for e in edges):
        return [line[a + 1 : b] for a, b in pairwise(edges)]
    return cells


def _header(lines: list[str], edges: list[int]) -> tuple[str, ...]:
    """Names of columns; a header cell that spans several columns gives its text to each of them."""
    names: list[list[str]] = [[] for _ in edges[1:]]
    for line in lines:
        bars = [i for i, c in enumerate(line) if c == "|"]
        for left, right in pairwise(bars):
            text = line[left + 1 : right].strip()
            for k, edge in enumerate(edges[:-1]):
                if text and left <= edge < right:
                    names[k].append(text)
    return tuple(" ".join(n) for n in names)


_HEADING = re.compile(r"== (.*\S)\s*$")
_GROUP = re.compile(r"\s*\+ ([A-Za-z].*?)(?: \(.*\))?: *$")
_TITLE = re.compile(r"\s*\* ([A-Za-z][^:|]*?)(?: \(.*\))?:? *$")


def blocks(lines: list[str], where: str) -> list[Block]:
    """All tables of an HLS report with the headings above them: ``== section``, ``+ group:`` and ``* title:``.

    Headings without a table (``N/A``) come as blocks without one, so that a missing section is visible.
    """
    section = group = title = ""
    found: list[Block] = []
    i = 0
    while i < len(lines):
        line = lines[i]
        if is_rule(line):
            table, i = read_table(lines, i, where)
            found.append(Block((section, group, title), table))
            continue
        if is_row(line):
            raise ReportError(f"{where}: line {i + 1} is a row outside any table: the report is damaged")
        if m := _HEADING.match(line):
            section, group, title = m[1], "", ""
            found.append(Block((section, "", ""), None))
        elif m := _GROUP.match(line):
            group, title = m[1], ""
            found.append(Block((section, group, ""), None))
        elif m := _TITLE.match(line):
            title = m[1]
            found.append(Block((section, group, title), None))
        i += 1
    return found
