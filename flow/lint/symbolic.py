"""Index arithmetic: integers as linear forms over symbols, equal forms for equal code.

A symbol is an unrolled loop's variable, a value not known at compile time, or an operation on forms that is not linear;
the last are interned, so the same expression of the same values is the same symbol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Sym:
    """``deps``: ids of the unrolled loop variables that it changes with; an unrolled variable depends on itself."""

    id: int
    deps: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Lin:
    """``constant + sum of coefficient * symbol``, terms sorted by symbol id, coefficients not 0."""

    constant: int
    terms: tuple[tuple[Sym, int], ...] = ()

    @property
    def known(self) -> int | None:
        return None if self.terms else self.constant

    @property
    def deps(self) -> frozenset[int]:
        return frozenset().union(*(s.deps for s, _ in self.terms))

    def plus(self, other: Lin, factor: int = 1) -> Lin:
        terms = dict(self.terms)
        for s, c in other.terms:
            terms[s] = terms.get(s, 0) + factor * c
        kept = sorted(((s, c) for s, c in terms.items() if c), key=lambda t: t[0].id)
        return Lin(self.constant + factor * other.constant, tuple(kept))

    def times(self, factor: int) -> Lin:
        return Lin(self.constant * factor, tuple((s, c * factor) for s, c in self.terms) if factor else ())

    def at(self, values: Mapping[int, int]) -> tuple[int, tuple[tuple[int, int, tuple[tuple[int, int], ...]], ...]]:
        """Its identity once unrolled variables have values: the known part, and what stays unknown."""
        constant, rest = self.constant, []
        for s, c in self.terms:
            if s.id in values:
                constant += c * values[s.id]
            else:
                rest.append((s.id, c, tuple((d, values[d]) for d in sorted(s.deps) if d in values)))
        return constant, tuple(rest)


COMPARE = {"==", "!=", "<", ">", "<=", ">="}


class Symbols:
    """Makes and interns symbols."""

    def __init__(self) -> None:
        self.count = 0
        self.table: dict[object, Sym] = {}
        self.unrolled: dict[int, range] = {}  # id -> the values it takes
        self.comparisons: dict[int, tuple[str, Lin]] = {}  # symbol of a comparison -> operator and left - right
        self.static: set[int] = set()  # symbols that become constants when loops are unrolled

    def fresh(self, deps: frozenset[int] = frozenset()) -> Lin:
        self.count += 1
        return Lin(0, ((Sym(self.count, deps), 1),))

    def unroll(self, values: range) -> Lin:
        """An unrolled loop's variable."""
        if len(values) == 1:
            return Lin(values[0])
        self.count += 1
        self.unrolled[self.count] = values
        self.static.add(self.count)
        return Lin(0, ((Sym(self.count, frozenset({self.count})), 1),))

    def interned(self, *key: object) -> Lin:
        """The symbol of an operation; ``key`` holds its name and operand forms."""
        if key not in self.table:
            forms = [f for f in key if isinstance(f, Lin)]
            self.count += 1
            self.table[key] = Sym(self.count, frozenset().union(*(f.deps for f in forms)))
            if all(self.constant(f) for f in forms):
                self.static.add(self.count)
        return Lin(0, ((self.table[key], 1),))

    def constant(self, form: Lin) -> bool:
        """Whether unrolling leaves a constant."""
        return all(s.id in self.static for s, _ in form.terms)

    def operate(self, op: str, forms: list[Lin]) -> Lin:
        """Apply an operator; folds what is constant, keeps what is linear."""
        known = [f.known for f in forms]
        if len(forms) == 2:
            a, b = forms
            if op in ("+", "-"):
                return a.plus(b, 1 if op == "+" else -1)
            if op == "*" and (known[0] is not None or known[1] is not None):
                return b.times(known[0]) if known[0] is not None else a.times(known[1] or 0)
            if op == "<<" and known[1] is not None and 0 <= known[1] < 64:
                return a.times(1 << known[1])
            if op in COMPARE:
                return self.compare(op, a.plus(b, -1))
            if known[0] is not None and known[1] is not None:
                value = fold(op, known[0], known[1])
                if value is not None:
                    return Lin(value)
            if op in ("&&", "||"):
                for side in known:
                    if side is not None and bool(side) == (op == "||"):
                        return Lin(int(op == "||"))
        elif len(forms) == 1:
            if op == "-":
                return forms[0].times(-1)
            if op in ("+", ""):
                return forms[0]
            if known[0] is not None and op in ("!", "~"):
                return Lin(int(not known[0]) if op == "!" else ~known[0])
        return self.interned(op, *forms)

    def compare(self, op: str, difference: Lin) -> Lin:
        if difference.known is not None:
            return Lin(int(holds(op, difference.known)))
        form = self.interned("cmp", op, difference)
        self.comparisons[form.terms[0][0].id] = (op, difference)
        return form


def holds(op: str, difference: int) -> bool:
    """``difference op 0``."""
    return {
        "==": difference == 0, "!=": difference != 0, "<": difference < 0, ">": difference > 0,
        "<=": difference <= 0, ">=": difference >= 0,
    }[op]  # fmt: skip


def fold(op: str, a: int, b: int) -> int | None:
    """C's integer operators on known values; division rounds towards zero."""
    if op in ("/", "%") and b:
        q = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        return q if op == "/" else a - q * b
    if op == ">>" and 0 <= b < 64:
        return a >> b
    table = {"&": a & b, "|": a | b, "^": a ^ b, "&&": int(bool(a and b)), "||": int(bool(a or b))}
    return table.get(op)
