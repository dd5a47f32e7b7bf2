"""Symbolic execution of statements: branches, loops and calls of one process.

Calls are followed, as HLS inlines them into a pipelined loop; unrolled loops run with their variable as a symbol and
pipelined loops run until what they carry from turn to turn no longer changes, starting from its initial value, so that
a counter that never leaves zero is known to be zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flow.lint.delays import Delays
from flow.lint.evaluate import Name, Place, Val, merged
from flow.lint.grammar import Parsed
from flow.lint.language import reachable
from flow.lint.loops import Looper
from flow.lint.places import Attached, attach, header, loop_body, strip
from flow.lint.program import Decl, Function, Key, Node, Program
from flow.lint.symbolic import Lin, Symbols

DEPTH = 60


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


class Machine(Looper):
    """Executes one process function. ``run`` it twice: which arrays are memories is known only after the first."""

    def __init__(
        self, program: Program, pragmas: Iterable[Parsed], globals_: Mapping[str, Decl], delays: Delays, period: float
    ) -> None:
        super().__init__(program, delays, period)
        self.pragmas = tuple(pragmas)
        self.attached: dict[Key, Attached] = {}
        self.globals = globals_
        self.directives: dict[tuple[str, int, Key], Directive] = {}
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
        self.directives[p.pragma.file, p.pragma.line, place.decl.key] = Directive(
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
            counted = pragmas.named(body, "LOOP_TRIPCOUNT")
            if counted and not inner and "max" in counted.options:
                self.variable_loop(node, body, decl, label)
                return
            what = "inside a pipelined loop it cannot be unrolled" if inner else "its trip count is not static"
            rule = "pipeline-inner-loop" if inner else "loop-bound"
            self.report(node.line, rule, f"{label or 'loop'}: bounds are no compile-time constants, {what}")
            values = range(4)
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

    def variable_loop(self, node: Node, body: Node, decl: Decl, label: str) -> None:
        """A loop whose bound is known at run time only and stated by LOOP_TRIPCOUNT: any number of turns."""
        pragmas = self.frames[-1].pragmas
        pipeline = pragmas.named(body, "PIPELINE")
        self.env[decl.key, ""] = Val(self.symbols.fresh())
        if pipeline and "off" not in pipeline.words:
            self.pipelined(body, pipeline, label, node.line, (decl.key, ""))
            return
        called = {n.callee for n in body.walk() if n.kind != "function" and n.callee is not None}
        inside = [g for c in called if (f := self.program.function(c)) for g in reachable(self.program, f)]
        calls = any(n.kind == "for" for g in inside for n in g.body.walk())  # the innermost loop is in a function
        if not calls and all(pragmas.named(loop_body(n), "UNROLL") for n in body.walk() if n.kind == "for"):
            self.report(node.line, "pipeline-missing", f"{label or 'loop'}: an innermost loop says PIPELINE or UNROLL")
        self.settle(lambda: self.statement(body))
