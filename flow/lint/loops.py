"""Symbolic execution of loops: what they carry from turn to turn, and the turns of unrolled loops side by side."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from flow.lint.delays import Delays
from flow.lint.evaluate import Evaluator, Name, Region, Touched, Val
from flow.lint.grammar import Parsed
from flow.lint.places import strip
from flow.lint.program import Decl, Key, Node, Program
from flow.lint.symbolic import Lin


class Looper(Evaluator):
    """Runs loop bodies, which ``statement`` of a subclass executes."""

    def __init__(self, program: Program, delays: Delays, period: float) -> None:
        super().__init__(program, delays, period)
        self.regions: list[Region] = []

    def statement(self, node: Node) -> None:
        raise NotImplementedError

    def values(self, first: Node, op: str, bound: Node, step: Node, sign: int) -> range | None:
        """What a loop variable takes; with bounds that follow an unrolled variable, the widest range."""
        start, stop, by = (self.extremes(self.value(n).form) for n in (first, bound, step))
        if start is None or stop is None or by is None or by[0] != by[1] or not by[0]:
            return None
        width = sign * by[0]
        begin, end = (start[0], stop[1]) if width > 0 else (start[1], stop[0])
        if op == "!=" and (end - begin) % width == 0 and (end - begin) * width >= 0:
            return range(begin, end, width)
        if op not in ("<", "<=") if width > 0 else op not in (">", ">="):
            return None  # never, or not before the variable wraps
        return range(begin, end + (sign if op.endswith("=") else 0), width)

    def extremes(self, form: Lin) -> tuple[int, int] | None:
        low = high = form.constant
        for s, c in form.terms:
            if s.id not in self.symbols.unrolled:
                return None
            ends = sorted((c * self.symbols.unrolled[s.id][0], c * self.symbols.unrolled[s.id][-1]))
            low, high = low + ends[0], high + ends[1]
        return low, high

    def settle(
        self,
        body: Callable[[], object],
        start: Callable[[Name, Val], Val] = lambda n, v: v,
        deps: frozenset[int] = frozenset(),
    ) -> dict[Name, Val]:
        """Run a loop body until what it carries is stable, the last time aloud. Returns the environment at its entry.

        ``start`` adapts what a turn begins with; ``deps`` is the unrolled variable that carried values change with.
        """
        entry, loose = dict(self.env), set[Name]()
        while True:
            self.env = {n: start(n, v) for n, v in entry.items()}
            self.quiet += 1
            body()
            self.quiet -= 1
            moved = {n for n, v in entry.items() if self.env[n].form != v.form and n not in loose}
            defined = {n for n, v in entry.items() if v.undefined and not self.env[n].undefined}
            if not moved and not defined:
                break
            loose |= moved
            for n in moved | defined:
                form = self.symbols.fresh(deps) if n in moved else entry[n].form
                entry[n] = Val(form, entry[n].delay, entry[n].undefined and n not in defined)
        if not self.quiet:
            self.env = {n: start(n, v) for n, v in entry.items()}
            body()
        return entry

    def unrolled(self, decl: Decl, values: range, body: Node) -> None:
        """All turns side by side. Chains through carried values grow with each turn; only sums become trees."""
        variable = self.symbols.unroll(values)
        self.env[decl.key, ""] = Val(variable)
        if variable.known is not None:
            self.statement(body)
            return
        outer, self.trace = self.trace, []
        entry = self.settle(lambda: self.statement(body), deps=variable.deps)
        first, sums, trace = self.env, self.sums(body), self.trace
        second = first
        if self.region is not None and any(v.delay for v in first.values()):
            met = {n for n in entry if n not in {t[0] for t in trace} or self.meets(n, trace, variable, values)}
            again = {n: Val(v.form, (first[n] if n in met else v).delay, v.undefined) for n, v in entry.items()}
            self.env = dict(again)
            self.quiet += 1
            self.statement(body)
            self.quiet -= 1
            second = {n: first[n] if self.env[n] is v else self.env[n] for n, v in again.items()}
        self.trace = [*outer, *trace]
        self.env = {}
        for n, v in entry.items():
            if first[n] is v and second[n] is v:
                self.env[n] = v
                continue
            late = dict(first[n].delay)
            for k, d in second[n].delay.items():
                base = first[n].delay.get(k, d)
                grown = 0.0 if n[0] in sums else max(0.0, d - base)
                late[k] = max(late.get(k, 0.0), base + grown * (len(values) - 1))
            form = v.form if first[n].form == v.form else self.symbols.fresh()
            self.env[n] = Val(form, late, first[n].undefined)

    def meets(self, name: Name, trace: list[Touched], variable: Lin, values: range) -> bool:
        """Whether an unrolled turn may read an element of an array that an earlier turn wrote."""
        own = variable.terms[0][0].id
        reads = {i for n, i, w in trace if n == name and not w}
        writes = {i for n, i, w in trace if n == name and w}
        for r, w in product(reads, writes):
            # Dimensions that follow this variable alone decide; the others may coincide.
            dims = [i for i in range(len(r)) if (r[i].deps | w[i].deps) == {own}]
            written = set()
            for turn in values:
                if tuple(r[i].at({own: turn}) for i in dims) in written:
                    return True
                written.add(tuple(w[i].at({own: turn}) for i in dims))
        return False

    def sums(self, body: Node) -> set[Key]:
        """Variables that a loop body only adds to; HLS balances such chains (UG1399, EXPRESSION_BALANCE)."""
        found = set()
        for node in body.walk():
            if node.kind != "assign":
                continue
            target = self.root(node.kids[0])
            if target is not None and (node.name in ("+=", "-=") or target in self.addends(node.kids[1])):
                found.add(target)
        return found

    def root(self, node: Node) -> Key | None:
        while node.kind in ("index", "member") and node.kids:
            node = node.kids[0]
        if node.kind != "ref" or node.decl is None:
            return None
        place = self.refs.get(node.decl.key)
        return place.decl.key if place else node.decl.key

    def addends(self, node: Node) -> set[Key]:
        node = strip(node)
        if node.kind == "op" and node.name in ("+", "-") and len(node.kids) == 2:
            return self.addends(node.kids[0]) | self.addends(node.kids[1])
        key = self.root(node)
        return {key} if key is not None else set()

    def pipelined(self, body: Node, pragma: Parsed, label: str, line: int, variable: Name | None = None) -> None:
        """One turn of a pipelined loop: its memory accesses, and how late it has what the next turn needs."""
        region = Region(pragma.integer("ii", 1), self.file, line, label)
        self.region = region

        def start(name: Name, val: Val) -> Val:
            carried = val.form.known is None and name != variable
            return Val(val.form, {name: 0.0} if carried else {}, val.undefined)

        entry = self.settle(lambda: self.statement(body), start)
        self.region = None
        for n, v in entry.items():
            after = self.env[n]
            if after.form.known is None:
                region.edges |= {(k, n): d for k, d in after.delay.items()}
            same = after.form == v.form
            entry[n] = Val(v.form if same else self.symbols.fresh(), {}, after.undefined)
        self.env = entry
        if not self.quiet:
            self.regions.append(region)
