"""Symbolic execution of one process: which memory words a pipelined loop touches, and what it carries from turn to turn.

Calls are followed (HLS inlines them into a pipelined loop), unrolled loops are run once with their variable as a symbol,
pipelined loops until what they carry no longer changes. Values know their address arithmetic (``symbolic.Lin``) and how
long after the start of the turn they are ready, counted from each carried variable (``delays``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from flow.lint.delays import Delays, width
from flow.lint.finding import Finding
from flow.lint.grammar import Parsed
from flow.lint.places import Attached, attach, header, loop_body
from flow.lint.program import Decl, Function, Key, Node, Program
from flow.lint.symbolic import COMPARE, Lin, Symbols

Name = tuple[Key, str]  # a variable, or one field of a struct
Guards = tuple[tuple[int, bool, int], ...]  # (branch statement, which branch, symbol of its condition or -1)
DEPTH = 60


@dataclass(frozen=True)
class Val:
    """A value: its form, and the longest path to it from each variable carried into the turn, in ns."""

    form: Lin
    delay: dict[Name, float] = field(default_factory=dict)
    undefined: bool = False


@dataclass(frozen=True)
class Place:
    """Storage that an expression names: variable, field, indices so far."""

    decl: Decl
    field: str = ""
    index: tuple[Lin, ...] = ()


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
    edges: dict[tuple[Name, Name], float] = field(default_factory=dict)  # carried: path from one turn's value to the next's


@dataclass(eq=False)
class Frame:
    """A function being executed."""

    function: Function
    pragmas: Attached
    returns: list[Val] = field(default_factory=list)
    depth: int = 0  # guards at entry
    done: bool = False


def merged(*maps: dict[Name, float], plus: float = 0.0) -> dict[Name, float]:
    out: dict[Name, float] = {}
    for m in maps:
        for k, d in m.items():
            out[k] = max(out.get(k, 0.0), d + plus)
    return out


class Machine:
    """Executes one process function. ``run`` twice: arrays with computed indices are known only after the first."""

    def __init__(self, program: Program, pragmas: Iterable[Parsed], delays: Delays) -> None:
        self.program, self.delays = program, delays
        self.pragmas = tuple(pragmas)
        self.attached: dict[Key, Attached] = {}
        self.symbols = Symbols()
        self.dynamic: set[Name] = set()  # arrays with an index that unrolling does not make constant
        self.written: set[Name] = set()
        self.arrays: dict[Key, list[Parsed]] = {}  # pragmas about an array, dims counted on the root array
        self.decls: dict[Key, Decl] = {}
        self.streams: dict[Key, set[str]] = {}  # stream -> read, write
        self.findings: set[Finding] = set()
        self.regions: list[Region] = []
        self.is_memory: Callable[[Name], bool] = lambda name: False
        self.reset()

    def reset(self) -> None:
        self.env: dict[Name, Val] = {}
        self.refs: dict[Key, Place] = {}
        self.frames: list[Frame] = []
        self.guards: Guards = ()
        self.region: Region | None = None
        self.quiet = 0
        self.regions = []
        self.symbols = Symbols()

    def run(self, function: Function) -> None:
        """Execute a process with unknown arguments."""
        self.reset()
        self.call(function, [])

    # ----- helpers

    @property
    def frame(self) -> Frame:
        return self.frames[-1]

    def report(self, node: Node, rule: str, message: str) -> None:
        if not self.quiet:
            self.findings.add(Finding(self.frame.function.file, node.line, rule, message))

    def unknown(self, *vals: Val) -> Val:
        return Val(self.symbols.fresh(frozenset().union(*(v.form.deps for v in vals))), merged(*(v.delay for v in vals)))

    # ----- calls

    def call(self, function: Function, arguments: list[Node]) -> Val:
        if len(self.frames) > DEPTH or any(f.function is function for f in self.frames):
            return self.unknown()  # recursion has its own rule
        if function.key not in self.attached:
            self.attached[function.key] = attach(function, self.pragmas)
        frame = Frame(function, self.attached[function.key], depth=len(self.guards))
        for i, p in enumerate(function.params):
            self.decls[p.key] = p
            place = self.place(arguments[i]) if i < len(arguments) and (p.dims or p.reference or p.pointer) else None
            if place is not None:
                self.refs[p.key] = place
            elif p.dims or p.stream or p.fields:
                self.refs.pop(p.key, None)
            else:
                self.env[p.key, ""] = self.value(arguments[i]) if i < len(arguments) else Val(self.symbols.fresh())
        self.frames.append(frame)
        self.array_pragmas(frame)
        pipeline = frame.pragmas.named(function.body, "PIPELINE")
        if pipeline and "off" not in pipeline.words and self.region is None:
            self.pipelined(function.body, pipeline, function.name, [])
        else:
            self.statement(function.body)
        self.frames.pop()
        if not frame.returns:
            return self.unknown()
        forms = {r.form for r in frame.returns}
        pick = self.delays.of("select", 1) if len(frame.returns) > 1 else 0.0
        form = forms.pop() if len(forms) == 1 else self.symbols.interned("return", *frame.returns_key(), deps=frozenset())             if False else (next(iter(forms)) if len(forms) == 1 else self.unknown(*frame.returns).form)
        return Val(form, merged(*(r.delay for r in frame.returns), plus=pick))
