"""Symbolic evaluation of expressions: address arithmetic, array accesses, and how late a value is.

Values know their form (``symbolic.Lin``) and the longest path to them, in ns, from each variable carried into the turn
of a pipelined loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from flow.lint.delays import Delays, width
from flow.lint.finding import Finding
from flow.lint.program import Decl, Function, Key, Node, Program
from flow.lint.symbolic import COMPARE, Lin, Symbols

Name = tuple[Key, str]  # a variable, or one field of a struct
Touched = tuple[Name, tuple[Lin, ...], bool]  # array, indices, whether written
Guards = tuple[tuple[int, bool, int], ...]  # (branch number, which way, symbol of its condition or -1)


@dataclass(frozen=True)
class Val:
    """A value: its form, and the longest path to it from each variable carried into the turn, in ns.

    ``early``: the paths before constants were added; a comparison with a constant starts there, as LLVM rewrites
    ``x + 1 == N`` to ``x == N - 1``.
    """

    form: Lin
    delay: dict[Name, float] = field(default_factory=dict)
    undefined: bool = False
    early: dict[Name, float] | None = None


@dataclass(frozen=True)
class Place:
    """Storage that an expression names: variable, field, indices so far."""

    decl: Decl
    field: str = ""
    index: tuple[Val, ...] = ()


@dataclass(frozen=True)
class Access:
    """One read or write of an array, indices complete."""

    name: Name
    decl: Decl
    index: tuple[Lin, ...]
    write: bool
    guards: Guards
    file: str
    line: int


@dataclass(eq=False)
class Region:
    """A pipelined loop or function body under analysis."""

    interval: int
    file: str
    line: int
    label: str
    accesses: list[Access] = field(default_factory=list)
    edges: dict[tuple[Name, Name], float] = field(default_factory=dict)  # path from one turn's value to the next's


def merged(*maps: dict[Name, float], plus: float = 0.0) -> dict[Name, float]:
    """Longest paths over several operands, ``plus`` ns added."""
    out: dict[Name, float] = {}
    for m in maps:
        for k, d in m.items():
            out[k] = max(out.get(k, 0.0), d + plus)
    return out


class Evaluator:
    """Expressions of the function at hand, over ``env`` (scalars and array contents) and ``refs`` (parameters)."""

    def __init__(self, program: Program, delays: Delays, period: float) -> None:
        self.program, self.delays, self.period = program, delays, period
        self.symbols = Symbols()
        self.env: dict[Name, Val] = {}
        self.refs: dict[Key, Place] = {}
        self.decls: dict[Key, Decl] = {}
        self.dynamic: set[Name] = set()  # arrays with an index that unrolling does not make constant
        self.written: set[Name] = set()
        self.streams: dict[Key, set[str]] = {}  # stream -> read, write
        self.findings: set[Finding] = set()
        self.is_memory: Callable[[Name], bool] = lambda name: False
        self.region: Region | None = None
        self.guards: Guards = ()
        self.trace: list[Touched] = []  # accesses of the unrolled loop at hand
        self.branches = 0
        self.quiet = 0
        self.file = ""
        self.whole: dict[tuple[int, int], Lin] = {}

    def call(self, function: Function, arguments: list[Node]) -> Val:
        raise NotImplementedError

    def report(self, line: int, rule: str, message: str) -> None:
        if not self.quiet:
            self.findings.add(Finding(self.file, line, rule, message))

    def unknown(self, *vals: Val, plus: float = 0.0) -> Val:
        form = self.symbols.fresh(frozenset().union(*(v.form.deps for v in vals)))
        return Val(form, merged(*(v.delay for v in vals), plus=plus))

    # ----- places

    def place(self, node: Node) -> Place | None:
        """Storage behind an expression; None for temporaries."""
        if node.kind == "ref" and node.decl is not None:
            self.decls[node.decl.key] = node.decl
            return self.refs.get(node.decl.key) or Place(node.decl)
        if node.kind == "index":
            base = self.place(node.kids[0])
            index = self.value(node.kids[1])
            return base and replace(base, index=(*base.index, index))
        if node.kind == "member":
            base = self.place(node.kids[0])
            return replace(base, field=node.name) if base and not base.field and node.name in base.decl.fields else base
        if (node.kind in ("cast", "construct", "assign") or (node.kind == "op" and node.name in "*&")) and node.kids:
            if node.kind == "assign":
                self.value(node)
            return self.place(node.kids[0]) if len(node.kids) == 1 or node.kind == "assign" else None
        if node.kind in ("method", "call") and node.kids and self.function(node) is None:
            base = self.place(node.kids[0])
            for kid in node.kids[1:]:
                self.value(kid)
            return base
        return None

    def function(self, node: Node) -> Function | None:
        return None if node.callee is None else self.program.function(node.callee)

    def elements(self, place: Place) -> list[tuple[Name, tuple[Val, ...]]]:
        """The arrays that a place touches, with one index per dimension; a missing one runs over the dimension."""
        out = []
        fields = [place.field] if place.field or not place.decl.fields else list(place.decl.fields)
        for f in fields:
            dims = place.decl.dims + (place.decl.fields.get(f, ()) if f else ())
            rest = []
            for i, n in enumerate(dims[len(place.index) :]):
                if (n, i) not in self.whole:
                    self.whole[n, i] = self.symbols.unroll(range(n))
                rest.append(Val(self.whole[n, i]))
            out.append(((place.decl.key, f), (*place.index, *rest)))
        return out

    def access(self, place: Place, name: Name, index: tuple[Val, ...], line: int, write: bool) -> None:
        if not all(self.symbols.constant(i.form) for i in index):
            self.dynamic.add(name)
        if write:
            self.written.add(name)
        self.trace.append((name, tuple(i.form for i in index), write))
        if self.region is not None and not self.quiet:
            forms = tuple(i.form for i in index)
            self.region.accesses.append(Access(name, place.decl, forms, write, self.guards, self.file, line))

    def read(self, place: Place, line: int) -> Val:
        if place.decl.stream:
            return self.unknown()
        vals = []
        for name, index in self.elements(place):
            now = self.env.get(name)
            if now is None:
                now = self.env[name] = Val(self.symbols.fresh())
            if now.undefined:
                self.report(line, "uninitialised", f"{place.decl.name} is read before it has a value")
            if not index:
                vals.append(now)
                continue
            self.access(place, name, index, line, False)
            form = self.symbols.interned("load", name, now.form, *(i.form for i in index))
            # A word that was written can be read one clock edge later, not at the same one.
            kept = merged(now.delay, plus=self.period if self.is_memory(name) else 0.0)
            late = merged(kept, *(i.delay for i in index), plus=self.fetch(name, index))
            vals.append(Val(form, late))
        if len(vals) == 1:
            return vals[0]
        return self.unknown(*vals)

    def fetch(self, name: Name, index: tuple[Val, ...]) -> float:
        """Time from address to data; that the address waits for a clock edge is left out, as waiting may be nothing."""
        if self.is_memory(name):
            return self.delays.of("memory", 1)
        return 0.0 if all(self.symbols.constant(i.form) for i in index) else self.delays.of("select", 1)

    def write(self, place: Place, val: Val, line: int) -> None:
        if place.decl.stream:
            return
        for name, index in self.elements(place):
            now = self.env.get(name)
            if not index:
                self.env[name] = replace(val, undefined=False)
                continue
            self.access(place, name, index, line, True)
            strong = not place.index
            late = merged(val.delay, *(i.delay for i in index), *([now.delay] if now and not strong else []))
            self.env[name] = Val(self.symbols.fresh(), late)

    # ----- values

    def value(self, node: Node) -> Val:
        """Evaluate an expression, with its effects."""
        handler = getattr(self, "_" + node.kind, None)
        if handler is not None:
            return handler(node)  # type: ignore[no-any-return]
        if node.kind in ("ref", "index", "member"):
            place = self.place(node)
            return self.read(place, node.line) if place else self.unknown()
        if node.kind in ("function", "this"):
            return self.unknown()
        return self.unknown(*(self.value(k) for k in node.kids))

    def _const(self, node: Node) -> Val:
        return self.unknown() if node.value is None else Val(Lin(node.value))

    def _cast(self, node: Node) -> Val:
        vals = [self.value(k) for k in node.kids]
        return vals[0] if len(vals) == 1 else self.unknown(*vals)

    _construct = _cast

    def _op(self, node: Node) -> Val:
        if node.name in ("<<", ">>") and len(node.kids) == 2:
            place = self.place(node.kids[0]) if node.kids[0].kind in ("ref", "index") else None
            if place and place.decl.stream:
                self.stream(place, "write" if node.name == "<<" else "read")
                if node.name == "<<":
                    return self.value(node.kids[1])
                target = self.place(node.kids[1])
                if target:
                    self.write(target, self.unknown(), node.line)
                return self.unknown()
        vals = [self.value(k) for k in node.kids]
        if node.name == ",":
            return vals[-1]
        return self.operate(node.name, vals, max([width(node.type), *(width(k.type) for k in node.kids if k.type)]))

    def operate(self, op: str, vals: list[Val], bits: int) -> Val:
        form = self.symbols.operate(op, [v.form for v in vals])
        if form.known is not None:
            return Val(form)
        constant = None
        if len(vals) == 2:
            constant = vals[1].form.known
            if constant is None and op == "*":
                constant = vals[0].form.known
        compared = op in COMPARE and any(v.form.known is not None for v in vals)
        paths = [v.early if compared and v.early is not None else v.delay for v in vals]
        late = merged(*paths, plus=self.delays.operator(op, bits, constant))
        early = None
        if op in ("+", "-") and len(vals) == 2 and constant is not None:
            early = vals[0].early if vals[0].early is not None else vals[0].delay
        return Val(form, late, early=early)

    def _choose(self, node: Node) -> Val:
        condition = self.value(node.kids[0])
        if condition.form.known is not None:
            return self.value(node.kids[1 if condition.form.known else 2])
        self.branches += 1
        number, outer = self.branches, self.guards
        vals = []
        for way in (True, False):
            self.guards = (*outer, (number, way, self.symbol(condition)))
            vals.append(self.value(node.kids[1 if way else 2]))
        self.guards = outer
        if vals[0].form == vals[1].form:
            return vals[0]
        form = self.symbols.interned("choose", condition.form, vals[0].form, vals[1].form)
        late = merged(condition.delay, *(v.delay for v in vals), plus=self.delays.of("select", 1))
        return Val(form, late)

    def symbol(self, condition: Val) -> int:
        """The symbol of a condition that is nothing else, for deciding it once loops are unrolled."""
        terms = condition.form.terms
        return terms[0][0].id if len(terms) == 1 and terms[0][1] == 1 and not condition.form.constant else -1

    def _assign(self, node: Node) -> Val:
        target = self.place(node.kids[0]) if node.kids[0].kind != "assign" else None
        val = self.value(node.kids[1])
        if node.name != "=" and target:
            before = self.read(target, node.line)
            val = self.operate(node.name[:-1], [before, val], width(node.type))
        if target:
            self.write(target, val, node.line)
        return val

    def _step(self, node: Node) -> Val:
        target = self.place(node.kids[0])
        if target is None:
            return self.unknown(self.value(node.kids[0]))
        before = self.read(target, node.line)
        after = self.operate(node.name[0], [before, Val(Lin(1))], width(node.type))
        self.write(target, after, node.line)
        return before if node.value else after

    def _method(self, node: Node) -> Val:
        place = self.place(node.kids[0])
        if place and place.decl.stream:
            self.stream(place, "write" if node.name.startswith("write") else "read")
            for kid in node.kids[1:]:
                target = self.place(kid) if node.name.startswith("read") else None
                if target:
                    self.write(target, self.unknown(), node.line)
                else:
                    self.value(kid)
            return self.unknown()
        callee = self.function(node)
        if callee is not None:
            return self.call(callee, list(node.kids[1:]))
        return self.unknown(*(self.value(k) for k in node.kids))

    def _call(self, node: Node) -> Val:
        callee = self.function(node)
        if callee is not None:
            return self.call(callee, list(node.kids))
        return self.unknown(*(self.value(k) for k in node.kids))

    def stream(self, place: Place, what: str) -> None:
        self.streams.setdefault(place.decl.key, set()).add(what)
