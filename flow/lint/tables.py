"""Constant tables: nested as declared, every number within its type."""

from __future__ import annotations

import re
from collections.abc import Iterator

from flow.lint.delays import WIDTHS
from flow.lint.finding import Finding
from flow.lint.program import Program
from flow.lint.source import Project


def limits(element: str) -> tuple[int, int] | None:
    """Range of an integer type as clang spells it."""
    m = re.fullmatch(r"ap_(u?)int<(\d+)>", element)
    if m:
        bits, signed = int(m[2]), not m[1]
    elif element in WIDTHS:
        bits, signed = WIDTHS[element], not element.startswith("unsigned") and element != "bool"
    else:
        return None
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def check(project: Project, program: Program) -> Iterator[Finding]:
    """Every table of the project's files against its declaration."""
    types = {(d.file, d.name): d.element for d in program.globals}
    for source in project.sources.values():
        for t in source.tables:
            if t.shape != t.dims:
                shape = "ragged rows" if t.shape is None else "x".join(map(str, t.shape))
                text = f"{t.name} is {'x'.join(map(str, t.dims))}, its initialiser has {shape}; C++ fills up with zeros"
                yield Finding(t.file, t.line, "array-init", text)
            allowed = limits(types.get((t.file, t.name), ""))
            if allowed and (t.low < allowed[0] or t.high > allowed[1]):
                text = f"{t.name} holds {t.low} to {t.high}, its type {allowed[0]} to {allowed[1]}: values are cut"
                yield Finding(t.file, t.line, "array-init", text)
