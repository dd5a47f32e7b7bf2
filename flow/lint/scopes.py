"""Pragmas in their place: in a function or loop, about a variable that exists there, without contradictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flow.lint.finding import Finding
from flow.lint.grammar import Parsed
from flow.lint.places import Attached, attach
from flow.lint.program import Decl, Function, Node, Program, body_of
from flow.lint.source import Project

LOOP_ONLY = {"UNROLL", "LOOP_FLATTEN", "LOOP_TRIPCOUNT"}
FUNCTION_ONLY = {"INTERFACE", "INLINE", "EXPRESSION_BALANCE"}
EITHER = {"PIPELINE", "DATAFLOW", "LOOP_MERGE"}
REGION_ONLY = {"OCCURRENCE", "PROTOCOL"}
ON_ARRAYS = {"ARRAY_PARTITION", "ARRAY_RESHAPE", "BIND_STORAGE", "RESOURCE"}


def finding(p: Parsed, rule: str, message: str) -> Finding:
    return Finding(p.pragma.file, p.pragma.line, rule, f"{p.name}: {message}")


def check(project: Project, program: Program, pragmas: list[Parsed]) -> Iterator[Finding]:
    """All placement rules, on the functions as written."""
    functions = [f for c in program.definitions if (f := program.function(c)) is not None]
    globals_ = {d.name: d for d in program.globals}
    placed: set[int] = set()
    for f in functions:
        attached = attach(f, pragmas)
        placed |= {id(p) for p in attached.all()}
        yield from function_rules(project, f, attached, globals_)
    yield from (finding(p, "pragma-place", "stands outside any function") for p in pragmas if id(p) not in placed)


def function_rules(project: Project, f: Function, attached: Attached, globals_: dict[str, Decl]) -> Iterator[Finding]:
    for block, found in attached.blocks.items():
        for p in found:
            yield from place(project, f, p, attached.owners[block])
            yield from variable(f, p, globals_)
        yield from conflicts(found)
    yield from array_conflicts(attached.all())
    yield from nested(f, attached)


def place(project: Project, f: Function, p: Parsed, owner: str) -> Iterator[Finding]:
    """Whether a pragma may stand in a block of this kind."""
    if p.name in LOOP_ONLY and owner != "loop":
        yield finding(p, "pragma-place", "belongs directly in the body of a loop")
    elif p.name in FUNCTION_ONLY and owner != "function":
        yield finding(p, "pragma-place", "belongs directly in the body of a function")
    elif p.name in EITHER and owner == "other":
        yield finding(p, "pragma-place", "belongs directly in the body of a loop or function")
    elif p.name in REGION_ONLY and owner == "function":
        yield finding(p, "pragma-place", "belongs in a loop or block within a function")
    if p.name == "INTERFACE" and f.name != project.top:
        yield finding(p, "pragma-place", f"only the top function {project.top} has interfaces, {f.name} has none")


def visible(f: Function, p: Parsed, name: str) -> tuple[Decl | None, bool]:
    """The variable of that name where the pragma stands, and whether one comes into scope only later."""
    best: Decl | None = None
    later = False

    def visit(node: Node) -> None:
        nonlocal best, later
        for kid in node.kids:
            if kid.kind == "block" and kid.start and not kid.start <= p.pragma.offset < kid.end:
                continue
            if kid.kind == "var" and kid.name == name:
                if kid.start < p.pragma.offset:
                    best = kid.decl
                else:
                    later = True
            visit(kid)

    visit(f.body)
    if best is None:
        best = next((d for d in f.params if d.name == name), None)
    return best, later


def variable(f: Function, p: Parsed, globals_: dict[str, Decl]) -> Iterator[Finding]:
    """The variable exists, and has the dimension that the pragma names."""
    text = p.options.get("variable", "")
    if not text:
        return
    name, _, member = text.partition(".")
    decl, later = visible(f, p, name)
    decl = decl or (None if later else globals_.get(name))
    if decl is None:
        yield finding(p, "pragma-variable", f"{name} is declared {'after the pragma' if later else 'nowhere in scope'}")
        return
    if member:
        return  # the instantiated functions decide
    stream = "hls::stream" in decl.type
    if p.name in ON_ARRAYS and not decl.rank and not stream:
        yield finding(p, "pragma-dim", f"{name} is no array")
    if p.name in ("ARRAY_PARTITION", "ARRAY_RESHAPE") and decl.rank and p.integer("dim", 1) > decl.rank:
        yield finding(p, "pragma-dim", f"{name} has {decl.rank} dimension(s), there is no dim={p.integer('dim', 1)}")
    if p.name == "STREAM" and not stream and not decl.rank:
        yield finding(p, "pragma-variable", f"{name} is neither a stream nor an array")
    if p.name == "DEPENDENCE" and not decl.rank and not decl.pointer:
        yield finding(p, "pragma-variable", f"{name} is no array")


def conflicts(found: list[Parsed]) -> Iterator[Finding]:
    """Contradictions within one block."""
    names = {p.name: p for p in found}
    for a, b in (("DATAFLOW", "PIPELINE"), ("DATAFLOW", "UNROLL")):
        if a in names and b in names:
            yield finding(names[b], "pragma-conflict", f"together with {a} in one block")
    if "PIPELINE" in names and "UNROLL" in names and "factor" not in names["UNROLL"].options:
        yield finding(
            names["PIPELINE"], "pragma-conflict", "the loop is unrolled completely, nothing is left to pipeline"
        )
    if "INLINE" in names and "off" not in names["INLINE"].words and ("DATAFLOW" in names or "PIPELINE" in names):
        other = names.get("DATAFLOW") or names["PIPELINE"]
        yield finding(other, "pragma-conflict", "the function is inlined, which dissolves it")
    seen: set[tuple[str, ...]] = set()
    for p in found:
        what = p.options.get("variable") or p.options.get("port", "")
        key = (p.pragma.dialect, p.name, what, *(p.options.get(o, "") for o in ("dim", "type", "mode")))
        if p.name not in ("DEPENDENCE", "LATENCY") and key in seen:
            yield finding(p, "pragma-conflict", f"said twice{' about ' + what if what else ''}")
        seen.add(key)


def array_conflicts(found: Iterable[Parsed]) -> Iterator[Finding]:
    """Contradictions about one array anywhere in a function."""
    split: dict[tuple[str, str], dict[int, str]] = {}
    bound: dict[tuple[str, str], Parsed] = {}
    for p in found:
        key = (p.pragma.dialect, p.options.get("variable", ""))
        if p.name in ("ARRAY_PARTITION", "ARRAY_RESHAPE"):
            dims, dim = split.setdefault(("", key[1]), {}), p.integer("dim", 1)
            if any(other != p.name and (dim in (0, d) or d == 0) for d, other in dims.items()):
                yield finding(p, "pragma-conflict", f"{key[1]} is partitioned and reshaped in the same dimension")
            dims[dim] = p.name if p.options.get("type", "complete").lower() == "complete" else p.name + " partly"
        if p.name in ("BIND_STORAGE", "RESOURCE"):
            if key in bound and bound[key].options != p.options:
                yield finding(p, "pragma-conflict", f"{key[1]} is bound twice")
            bound[key] = p
    for (_, name), p in bound.items():
        if split.get(("", name), {}).get(0) == "ARRAY_PARTITION":
            yield finding(p, "pragma-conflict", f"{name} is partitioned into registers, there is no memory to bind")


def nested(f: Function, attached: Attached) -> Iterator[Finding]:
    """A pipelined loop inside a pipelined loop: the inner one is unrolled, its pragma ignored."""

    def visit(node: Node, outer: bool) -> Iterator[Finding]:
        for kid in node.kids:
            inner = outer
            if kid.kind == "block" and attached.owners.get(kid.start) in ("loop", "function"):
                p = attached.named(body_of(kid), "PIPELINE")
                if p is not None and "off" not in p.words:
                    if outer:
                        yield finding(p, "pragma-conflict", "an outer loop is pipelined, which unrolls this one")
                    inner = True
            yield from visit(kid, inner)

    yield from visit(Node("root", 0, (f.body,)), False)
