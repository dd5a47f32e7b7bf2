"""Canonical dataflow regions (UG1399 "Canonical Forms", "Canonical Body"): declarations and calls, nothing else; every
stream with one producer and, later, one consumer; nothing else shared between processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flow.lint.finding import Finding
from flow.lint.grammar import Parsed
from flow.lint.language import reachable
from flow.lint.places import Attached, attach, strip
from flow.lint.program import Decl, Function, Key, Node, Program


@dataclass(frozen=True)
class Process:
    """One call in a region: its function, and what it does with each variable passed to it."""

    function: Function
    node: Node
    uses: dict[Key, frozenset[str]]  # read, write


class Directions:
    """What functions do with their stream and reference parameters, followed through calls."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.known: dict[Key, dict[Key, set[str]]] = {}

    def of(self, f: Function) -> dict[Key, set[str]]:
        """Variable -> read, write; for parameters, and for variables that outlive the call."""
        if f.key not in self.known:
            out: dict[Key, set[str]] = {}
            self.known[f.key] = out
            self.visit(f.body, out)
        return self.known[f.key]

    def note(self, node: Node, what: str, out: dict[Key, set[str]]) -> None:
        decl = root(node)
        if decl is not None and (decl.storage != "local" or decl.stream or decl.dims or decl.fields):
            out.setdefault(decl.key, set()).add(what)

    def visit(self, node: Node, out: dict[Key, set[str]]) -> None:
        rest: Iterable[Node] = node.kids
        if node.kind == "method" and root(node.kids[0]) is not None and stream(node.kids[0]):
            self.note(node.kids[0], "write" if node.name.startswith("write") else "read", out)
            rest = node.kids[1:]
        elif node.kind == "op" and node.name in ("<<", ">>") and len(node.kids) == 2 and stream(node.kids[0]):
            self.note(node.kids[0], "write" if node.name == "<<" else "read", out)
            rest = node.kids[1:]
        elif node.kind in ("assign", "step"):
            self.note(node.kids[0], "write", out)
            rest = (*(k for k in node.kids[0].kids), *node.kids[1:])
        elif node.kind in ("call", "method"):
            callee = None if node.callee is None else self.program.function(node.callee)
            if callee is not None:
                rest = self.through(node, callee, out)
        elif node.kind == "ref":
            self.note(node, "read", out)
        for kid in rest:
            self.visit(kid, out)

    def through(self, node: Node, callee: Function, out: dict[Key, set[str]]) -> list[Node]:
        """A call does to its arguments what the callee does to its parameters. Returns those passed by value."""
        inner, rest = self.of(callee), []
        params = {p.key for p in callee.params}
        given = node.kids if node.kind == "call" else node.kids[1:]
        for argument, param in zip(given, callee.params, strict=False):
            if param.reference or param.dims or param.pointer:
                for what in inner.get(param.key, ()):
                    self.note(argument, what, out)
            else:
                rest.append(argument)
        for key, uses in inner.items():
            if key not in params:
                out.setdefault(key, set()).update(uses)
        return rest


def root(node: Node) -> Decl | None:
    """The variable that an expression is part of."""
    while node.kind in ("index", "member", "cast", "construct", "label") and node.kids:
        node = node.kids[0]
    return node.decl if node.kind == "ref" else None


def stream(node: Node) -> bool:
    decl = root(node)
    return decl is not None and decl.stream


def check(program: Program, top: Function, functions: Iterable[Function], pragmas: list[Parsed]) -> Iterator[Finding]:
    """All rules on the dataflow regions that synthesis sees."""
    directions = Directions(program)
    for f in functions:
        attached = attach(f, pragmas)
        regions = [(start, p) for start, found in attached.blocks.items() for p in found if p.name == "DATAFLOW"]
        for start, _ in regions:
            block = next(n for n in f.body.walk() if n.kind == "block" and n.start == start)
            yield from region(program, f, block, attached, directions, pragmas)
        streams = [d for d in f.locals if d.stream]
        if streams and not regions:
            text = f"{f.name} joins processes by streams without DATAFLOW: they would run one after another"
            yield Finding(f.file, f.line, "dataflow-missing", text)


def region(
    program: Program, f: Function, block: Node, attached: Attached, directions: Directions, pragmas: list[Parsed]
) -> Iterator[Finding]:
    """One region: its statements, then its channels."""
    processes: list[Process] = []
    streams: list[Node] = []
    for node in block.kids:
        if node.kind == "decls":
            for var in node.kids:
                yield from declaration(program, f, var)
                if var.decl is not None and var.decl.stream:
                    streams.append(var)
        elif node.kind == "call" and node.callee is not None and program.function(node.callee) is not None:
            process, findings = called(program, f, node, directions, pragmas)
            processes.append(process)
            yield from findings
        else:
            text = f"{f.name}: a dataflow region holds declarations and calls only, no {node.kind}"
            yield Finding(f.file, node.line, "dataflow-body", text)
    for var in streams:
        yield from depth(f, var, attached)
        yield from channel(f, var, processes)
    yield from ports(f, processes)
    yield from shared(program, f, processes, {v.decl.key for v in streams if v.decl})


def declaration(program: Program, f: Function, var: Node) -> Iterator[Finding]:
    decl = var.decl
    if decl is None:
        return
    if decl.storage == "static" and not decl.stream:
        yield Finding(f.file, var.line, "dataflow-body", f"{decl.name}: a static variable in a dataflow region")
    for node in var.walk():
        if node.kind in ("call", "method") and node.callee is not None and program.function(node.callee) is not None:
            text = f"{decl.name}: a process must be called by a statement of its own and return void"
            yield Finding(f.file, var.line, "dataflow-body", text)
    if decl.stream:
        named = any(n.kind == "const" and "char" in n.type for n in var.walk()) or any(
            n.kind == "construct" and n.kids for n in var.kids
        )
        if not named:
            yield Finding(f.file, var.line, "stream-name", f'{decl.name} has no name: {decl.name}("{decl.name}")')


def called(
    program: Program, f: Function, node: Node, directions: Directions, pragmas: list[Parsed]
) -> tuple[Process, list[Finding]]:
    """A process and what is wrong with its call."""
    callee = program.function(node.callee)
    assert callee is not None
    out: list[Finding] = []
    uses: dict[Key, frozenset[str]] = {}
    inner = directions.of(callee)
    for argument, param in zip(node.kids, callee.params, strict=False):
        plain = strip(argument)
        if plain.kind not in ("ref", "const"):
            text = f"{callee.name}: arguments are variables or constants, no {plain.kind}"
            out.append(Finding(f.file, node.line, "dataflow-body", text))
        decl = root(argument)
        if decl is not None and (param.reference or param.dims or param.pointer):
            uses[decl.key] = uses.get(decl.key, frozenset()) | frozenset(inner.get(param.key, ()))
    if callee.result != "void":
        text = f"{callee.name} returns {callee.result}; a process returns void"
        out.append(Finding(f.file, node.line, "dataflow-body", text))
    inline = attach(callee, pragmas).named(callee.body, "INLINE")
    if inline is not None and "off" not in inline.words:
        text = f"{callee.name} is inlined into the region: its loops would stand in it"
        out.append(Finding(f.file, node.line, "dataflow-body", text))
    return Process(callee, node, uses), out


def depth(f: Function, var: Node, attached: Attached) -> Iterator[Finding]:
    """Every stream says its depth: the default differs between tools and is too small for reconvergent paths."""
    found = [p for p in attached.all() if p.name == "STREAM" and p.options.get("variable") == var.name]
    if not any("depth" in p.options for p in found):
        yield Finding(f.file, var.line, "stream-depth", f"{var.name} has no STREAM depth")


def channel(f: Function, var: Node, processes: list[Process]) -> Iterator[Finding]:
    """One producer and one consumer, in this order."""
    assert var.decl is not None
    key = var.decl.key
    writers = [i for i, p in enumerate(processes) if "write" in p.uses.get(key, ())]
    readers = [i for i, p in enumerate(processes) if "read" in p.uses.get(key, ())]
    if not writers and not readers:
        yield Finding(f.file, var.line, "stream-unused", f"{var.name} connects nothing")
        return
    if len(writers) != 1:
        names = ", ".join(processes[i].function.name for i in writers) or "no process"
        yield Finding(f.file, var.line, "stream-producer", f"{var.name} is written by {names}; one process must")
    if len(readers) != 1:
        names = ", ".join(processes[i].function.name for i in readers) or "no process"
        yield Finding(f.file, var.line, "stream-consumer", f"{var.name} is read by {names}; one process must")
    if set(writers) & set(readers):
        name = processes[(sorted(set(writers) & set(readers)))[0]].function.name
        yield Finding(f.file, var.line, "stream-direction", f"{var.name} is read and written by {name}")
    elif writers and readers and min(readers) < max(writers):
        text = f"{var.name} is read by {processes[min(readers)].function.name} before it is written: feedback"
        yield Finding(f.file, processes[min(readers)].node.line, "dataflow-order", text)


def ports(f: Function, processes: list[Process]) -> Iterator[Finding]:
    """A stream argument of the region belongs to one process, in one direction."""
    for p in f.params:
        if not p.stream:
            continue
        users = [q for q in processes if q.uses.get(p.key)]
        what = frozenset().union(*(q.uses[p.key] for q in users))
        if not users:
            yield Finding(f.file, f.line, "stream-unused", f"argument {p.name} is used by no process")
        elif len(users) > 1 and len(what) == 1:
            rule = "stream-producer" if "write" in what else "stream-consumer"
            text = f"argument {p.name} is used by {', '.join(q.function.name for q in users)}; one process must"
            yield Finding(f.file, f.line, rule, text)
        elif len(what) > 1:
            yield Finding(f.file, f.line, "stream-direction", f"argument {p.name} is both read and written")


def shared(program: Program, f: Function, processes: list[Process], streams: set[Key]) -> Iterator[Finding]:
    """Variables other than streams that one process writes and another one uses."""
    users: dict[Key, list[tuple[Process, frozenset[str]]]] = {}
    names: dict[Key, Decl] = {}
    arguments = {d.key: d for d in (*f.locals, *f.params)}
    directions = Directions(program)
    for p in processes:
        uses: dict[Key, frozenset[str]] = {k: u for k, u in p.uses.items() if k not in streams}
        own = {d.key: d for g in reachable(program, p.function) for n in g.body.walk() if (d := n.decl) is not None}
        for key, done in directions.of(p.function).items():
            decl = own.get(key)
            if decl is not None and decl.storage in ("global", "static"):
                uses[key] = frozenset(done)
                names[key] = decl
        for key, what in uses.items():
            users.setdefault(key, []).append((p, what))
    for key, found in users.items():
        decl = names.get(key) or arguments.get(key)
        if decl is None or decl.stream or len(found) < 2 or not any("write" in what for _, what in found):
            continue
        if key in {d.key for d in f.locals} and ping_pong(decl, [what for _, what in found]):
            continue
        text = f"{decl.name} is shared by {', '.join(p.function.name for p, _ in found)} and written; pass a stream"
        yield Finding(f.file, found[1][0].node.line, "dataflow-shared", text)


def ping_pong(decl: Decl, uses: list[frozenset[str]]) -> bool:
    """An array of the region that one process fills and one later process reads: a ping-pong buffer (PIPO)."""
    fills, reads = uses if len(uses) == 2 else (frozenset[str](), frozenset[str]())
    return bool(decl.dims) and decl.storage == "local" and "write" in fills and reads == {"read"}
