"""Symbolic execution of statements: branches, loops and calls of one process.

Calls are followed, as HLS inlines them into a pipelined loop; unrolled loops run with their variable as a symbol;
pipelined loops run until what they carry from turn to turn no longer changes, starting from its initial value, so that a
counter that never leaves zero is known to be zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product

from flow.lint.delays import Delays
from flow.lint.evaluate import Evaluator, Name, Place, Region, Touched, Val, merged
from flow.lint.grammar import Parsed
from flow.lint.places import Attached, attach, header, loop_body, strip
from flow.lint.program import Decl, Function, Key, Node, Program
from flow.lint.symbolic import Lin, Symbols, holds

DEPTH, MANY = 60, 1 << 20


@dataclass(eq=False)
class Frame:
    """A function being executed."""

    function: Function
    pragmas: Attached
    guards: int  # depth of guards at entry
    returns: list[Val] = field(default_factory=list)
    done: bool = False


@dataclass(frozen=True)
class Directive:
    """A pragma about an array, with the dimension that its dim=1 means on the array itself."""

    parsed: Parsed
    decl: Decl
    field: str
    first: int


class Machine(Evaluator):
    """Executes one process function. ``run`` it twice: which arrays are memories is known only after the first."""

    def __init__(
        self, program: Program, pragmas: Iterable[Parsed], globals_: Mapping[str, Decl], delays: Delays, period: float
    ) -> None:
        super().__init__(program, delays, period)
        self.pragmas = tuple(pragmas)
        self.attached: dict[Key, Attached] = {}
        self.globals = globals_
        self.directives: dict[tuple[str, int], Directive] = {}
        self.regions: list[Region] = []
        self.frames: list[Frame] = []

    def run(self, function: Function) -> None:
        """Execute a process with unknown arguments."""
        self.symbols, self.env, self.refs, self.whole = Symbols(), {}, {}, {}
        self.regions, self.frames, self.guards, self.quiet = [], [], (), 0
        self.call(function, [])

    # ----- calls

    def call(self, function: Function, arguments: list[Node]) -> Val:
        if len(self.frames) > DEPTH or any(f.function is function for f in self.frames):
            return self.unknown()  # recursion has its own rule
        if function.key not in self.attached:
            self.attached[function.key] = attach(function, self.pragmas)
        self.bind(function, arguments)
        frame = Frame(function, self.attached[function.key], len(self.guards))
        self.frames.append(frame)
        outer, self.file = self.file, function.file
        for p in frame.pragmas.all():
            self.direct(p, function)
        pipeline = frame.pragmas.named(function.body, "PIPELINE")
        if pipeline and "off" not in pipeline.words and self.region is None:
            self.pipelined(function.body, pipeline, function.name, function.line)
        else:
            self.statement(function.body)
        self.frames.pop()
        self.file = outer
        return self.returned(frame.returns)

    def returned(self, vals: list[Val]) -> Val:
        if len(vals) == 1:
            return vals[0]
        late = merged(*(v.delay for v in vals), plus=self.delays.of("select", 1))
        if vals and all(v.form == vals[0].form for v in vals):
            return Val(vals[0].form, late)
        return Val(self.unknown(*vals).form, late)

    def bind(self, function: Function, arguments: list[Node]) -> None:
        """Parameters: arrays, streams and references stand for the caller's storage, the rest are values."""
        for i, p in enumerate(function.params):
            self.decls[p.key] = p
            self.refs.pop(p.key, None)
            given = arguments[i] if i < len(arguments) else None
            shared = bool(p.dims or p.reference or p.pointer or p.fields)
            place = self.place(given) if given is not None and shared else None
            if place is not None:
                self.refs[p.key] = place
            elif not (p.dims or p.fields or p.stream):
                self.env[p.key, ""] = self.value(given) if given is not None else Val(self.symbols.fresh())
            else:
                self.declare(p)

    def direct(self, p: Parsed, function: Function) -> None:
        """Remember a pragma about an array."""
        name, _, member = p.options.get("variable", "").partition(".")
        found = [d for d in (*function.params, *function.locals) if d.name == name]
        before = [d for d in found if d.line <= p.pragma.line]
        decl = (before or found)[-1] if found else self.globals.get(name)
        if decl is None:
            return
        place = self.refs.get(decl.key) or Place(decl)
        self.directives[p.pragma.file, p.pragma.line] = Directive(
            p, place.decl, member or place.field, len(place.index) + (len(place.decl.dims) if member else 0)
        )

    # ----- statements

    def statement(self, node: Node) -> None:
        handler = getattr(self, "_s_" + node.kind.replace("-", "_"), None)
        if handler is not None:
            handler(node)
        else:
            self.value(node)

    def _s_block(self, node: Node) -> None:
        for kid in node.kids:
            if self.frames[-1].done:
                return
            self.statement(kid)

    def _s_label(self, node: Node) -> None:
        inner = node.kids[0]
        if inner.kind == "for":
            self._s_for(inner, node.name)
        else:
            self.statement(inner)

    def _s_decls(self, node: Node) -> None:
        for kid in node.kids:
            if kid.kind == "var":
                self._s_var(kid)

    def _s_var(self, node: Node) -> None:
        decl = node.decl
        assert decl is not None
        self.decls[decl.key] = decl
        self.refs.pop(decl.key, None)
        init = node.kids[0] if node.kids else None
        if init is not None and decl.reference:
            place = self.place(init)
            if place is not None:
                self.refs[decl.key] = place
                return
        empty = init is None or (strip(init).kind == "construct" and not strip(init).kids)
        if empty or init is None:
            self.declare(decl, undefined=decl.storage == "local" and not decl.dims and not decl.stream)
        elif decl.dims or decl.fields:
            self.declare(decl)
            if not decl.dims:
                self.write(Place(decl), self.value(init), node.line)
        elif decl.storage == "static":
            self.env[decl.key, ""] = Val(self.symbols.fresh())
        else:
            self.env[decl.key, ""] = self.value(init)

    def declare(self, decl: Decl, undefined: bool = False) -> None:
        for f in decl.fields or ("",):
            self.env[decl.key, f] = Val(self.symbols.fresh(), undefined=undefined)

    def _s_return(self, node: Node) -> None:
        frame = self.frames[-1]
        if node.kids:
            frame.returns.append(self.value(node.kids[0]))
        if len(self.guards) == frame.guards:
            frame.done = True

    def _s_if(self, node: Node) -> None:
        condition = self.value(node.kids[0])
        if condition.form.known is not None:
            chosen = 1 if condition.form.known else 2
            if chosen < len(node.kids):
                self.statement(node.kids[chosen])
            return
        self.branches += 1
        number, outer = self.branches, self.guards
        before, ends = dict(self.env), []
        for way in (True, False):
            self.env = dict(before)
            self.guards = (*outer, (number, way, self.symbol(condition)))
            if way or len(node.kids) > 2:
                self.statement(node.kids[1 if way else 2])
            ends.append(self.env)
        self.guards = outer
        self.env = self.join(before, ends[0], ends[1], condition)

    def join(self, before: dict[Name, Val], a: dict[Name, Val], b: dict[Name, Val], condition: Val) -> dict[Name, Val]:
        """After a branch: what one side changed is selected by the condition."""
        out = dict(before)
        select = self.delays.of("select", 1)
        for name in a.keys() | b.keys():
            x, y = a.get(name), b.get(name)
            if x is not None and (x is y or x == y):
                out[name] = x
            elif x is None or y is None:
                out[name] = x or y or out[name]
            else:
                same = x.form == y.form
                form = x.form if same else self.symbols.interned("choose", condition.form, x.form, y.form)
                late = merged(x.delay, y.delay, condition.delay, plus=select)
                out[name] = Val(form, late, x.undefined and y.undefined)
        return out

    def _s_switch(self, node: Node) -> None:
        before = dict(self.env)
        condition = self.unknown(self.value(node.kids[0]))
        for kid in node.kids[1:]:
            self.statement(kid)
        self.env = self.join(before, before, self.env, condition)

    def _s_case(self, node: Node) -> None:
        for kid in node.kids[1:] or node.kids:
            self.statement(kid)

    def _s_break(self, node: Node) -> None:
        """Its own rule forbids it where it matters."""

    _s_continue = _s_goto = _s_break

    # ----- loops

    def _s_while(self, node: Node) -> None:
        def turn() -> None:
            for kid in node.kids:
                self.statement(kid)

        self.settle(turn)

    _s_do = _s_while
    _s_range_for = _s_while

    def _s_for(self, node: Node, label: str = "") -> None:
        body, pragmas = loop_body(node), self.frames[-1].pragmas
        head = header(node)
        if isinstance(head, str):
            self._s_while(node)  # the language rules report it
            return
        assert head.variable.decl is not None
        decl = head.variable.decl
        values = self.values(head.first, head.op, head.bound, head.step, head.sign)
        if values is None:
            inner = self.region is not None
            what = "inside a pipelined loop it cannot be unrolled" if inner else "its trip count is not static"
            rule = "pipeline-inner-loop" if inner else "loop-bound"
            self.report(node.line, rule, f"{label or 'loop'}: bounds are no compile-time constants, {what}")
            values = tuple(range(4))
        if not values:
            return
        unroll, pipeline = pragmas.named(body, "UNROLL"), pragmas.named(body, "PIPELINE")
        if self.region is not None or (unroll and "factor" not in unroll.options):
            self.unrolled(decl, values, body)
            return
        self.env[decl.key, ""] = Val(self.symbols.fresh() if len(values) > 1 else Lin(values[0]))
        if pipeline and "off" not in pipeline.words:
            self.pipelined(body, pipeline, label, node.line, (decl.key, ""))
        else:
            nested = [n for n in body.walk() if n.kind == "for" and not pragmas.named(loop_body(n), "UNROLL")]
            if not nested and not unroll and len(values) > 1 and pipeline is None:
                self.report(
                    node.line, "pipeline-missing", f"{label or 'loop'}: an innermost loop says PIPELINE or UNROLL"
                )
            self.settle(lambda: self.statement(body))

    def values(self, first: Node, op: str, bound: Node, step: Node, sign: int) -> tuple[int, ...] | None:
        """What a loop variable takes; with bounds that follow an unrolled variable, the widest range."""
        start, stop, by = (self.extremes(self.value(n).form) for n in (first, bound, step))
        if start is None or stop is None or by is None or by[0] != by[1] or not by[0]:
            return None
        width = sign * by[0]
        out: list[int] = []
        i = start[0] if width > 0 else start[1]
        limit = stop[1] if width > 0 else stop[0]
        while holds(op, i - limit) and len(out) < MANY:
            out.append(i)
            i += width
        return tuple(out) if len(out) < MANY else None if op == "!=" else tuple(out)

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

    def unrolled(self, decl: Decl, values: tuple[int, ...], body: Node) -> None:
        """All turns side by side. Chains through carried values grow with each turn, sums excepted: they become trees."""
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

    def meets(self, name: Name, trace: list[Touched], variable: Lin, values: tuple[int, ...]) -> bool:
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
