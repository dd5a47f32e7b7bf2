"""C++ that cannot be synthesised (UG1399 "Unsupported C/C++ Constructs"), and loops without a static trip count."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from flow.lint.clang import vendor_folders
from flow.lint.finding import Finding
from flow.lint.places import LOOPS, header
from flow.lint.program import Decl, Function, Node, Program

CONSTRUCTS = {
    "new": ("dynamic-memory", "new: memory must have a fixed size"),
    "delete": ("dynamic-memory", "delete: memory must have a fixed size"),
    "throw": ("exception", "throw: there are no exceptions in hardware"),
    "try": ("exception", "try: there are no exceptions in hardware"),
    "goto": ("goto", "goto: control flow must be structured"),
    "asm": ("assembly", "inline assembly means nothing in hardware"),
}
ALLOCATORS = {"malloc", "calloc", "realloc", "free", "alloca", "aligned_alloc", "__builtin_alloca"}
HARMLESS = {"__assert_fail", "abs"}
FLOATS = re.compile(r"\b(float|double|half|_Float16|__fp16)\b")


def written(program: Program) -> Iterator[Finding]:
    """Rules on the code as written, also where it is a template that nothing uses."""
    for cursor in program.definitions:
        function = program.function(cursor)
        if function is None:
            continue
        if cursor.is_virtual_method():
            yield Finding(
                function.file, function.line, "virtual", f"{function.name}: virtual functions have no fixed callee"
            )
        yield from constructs(function, function.body, [])


def constructs(function: Function, node: Node, around: list[str]) -> Iterator[Finding]:
    """Forbidden statements; ``around``: the kinds of the loops and switches that enclose the node."""
    if node.kind in CONSTRUCTS:
        rule, message = CONSTRUCTS[node.kind]
        yield Finding(function.file, node.line, rule, f"{function.name}: {message}")
    leaves = (node.kind == "break" and around and around[-1] != "switch") or (
        node.kind == "return" and any(k in LOOPS for k in around)
    )
    if leaves:
        text = f"{function.name}: {node.kind} inside a loop makes its trip count vary"
        yield Finding(function.file, node.line, "loop-bound", text)
    deeper = [*around, node.kind] if node.kind in LOOPS or node.kind == "switch" else around
    for kid in node.kids:
        yield from constructs(function, kid, deeper)


def reachable(program: Program, top: Function) -> list[Function]:
    """Every function that synthesis sees, instantiated, the top first."""
    found, todo = {top.key: top}, [top]
    while todo:
        for node in todo.pop().body.walk():
            callee = program.function(node.callee) if node.callee is not None and node.kind != "function" else None
            if callee is not None and callee.key not in found:
                found[callee.key] = callee
                todo.append(callee)
    return list(found.values())


def used(program: Program, functions: Iterable[Function]) -> Iterator[Finding]:
    """Rules on the instantiated functions that synthesis sees."""
    for f in functions:
        for decl in (*f.params, *f.locals):
            yield from types(f, decl)
        if FLOATS.search(f.result):
            yield Finding(f.file, f.line, "floating-point", f"{f.name} returns {f.result}; kernels compute on integers")
        named = {id(n) for var in f.body.walk() if var.decl and var.decl.stream for n in var.walk()}
        for node in f.body.walk():
            if node.kind in LOOPS:
                head = header(node)
                if isinstance(head, str):
                    yield Finding(f.file, node.line, "loop-bound", f"{f.name}: {head}")
            elif id(node) in named:
                continue  # a stream's name is a string
            elif node.kind in ("call", "method", "construct"):
                yield from calls(program, f, node)
            elif FLOATS.search(node.type) and node.kind in ("const", "op", "cast"):
                yield Finding(f.file, node.line, "floating-point", f"{f.name}: {node.type} arithmetic in a kernel")
    yield from recursion(program, functions)


def types(f: Function, decl: Decl) -> Iterator[Finding]:
    """Rules on what a variable is."""

    def finding(rule: str, message: str) -> Finding:
        return Finding(decl.file or f.file, decl.line, rule, f"{f.name}: {decl.name} {message}")

    if "(*)(" in decl.type or "(&)(" in decl.type:
        yield finding("function-pointer", "is a function pointer; a callee must be fixed")
    elif decl.pointer:
        yield finding("pointer", f"is a {decl.type}; use arrays of known size or streams")
    if re.search(r"\[[^\]\d]", decl.type):
        yield finding("dynamic-memory", f"has a size that is no constant: {decl.type}")
    if FLOATS.search(decl.type):
        yield finding("floating-point", f"is {decl.type}; kernels compute on integers")
    if re.search(r"\bstd::", decl.type):
        yield finding("library", f"is {decl.type}; the C++ library is not synthesisable")


def namespace(cursor: Any) -> str:
    """Outermost namespace of a declaration."""
    name = ""
    while cursor is not None and cursor.kind.name != "TRANSLATION_UNIT":
        if cursor.kind.name == "NAMESPACE":
            name = cursor.spelling
        cursor = cursor.semantic_parent
    return name


def vendor(cursor: Any) -> bool:
    """Declared in Xilinx's headers or the shim, which synthesis replaces by the tool's own."""
    place = cursor.location.file
    return place is not None and any(place.name.startswith(f"{f}/") for f in vendor_folders())


def calls(program: Program, f: Function, node: Node) -> Iterator[Finding]:
    """Rules on what is called."""

    def finding(rule: str, message: str) -> Finding:
        return Finding(f.file, node.line, rule, f"{f.name}: {message}")

    callee = node.callee
    if callee is None or callee.kind.name in ("VAR_DECL", "PARM_DECL", "FIELD_DECL"):
        if node.kind == "call":
            yield finding("function-pointer", f"call through {node.name or 'an expression'}; a callee must be fixed")
        return
    if callee.kind.name == "CXX_METHOD" and callee.is_virtual_method():
        yield finding("virtual", f"{node.name} is virtual; a callee must be fixed")
    if program.file(callee) is not None or vendor(callee) or node.name.startswith("operator"):
        return
    name = callee.spelling
    if name in ALLOCATORS:
        yield finding("dynamic-memory", f"{name}: memory must have a fixed size")
    elif namespace(callee) in ("std", "__gnu_cxx"):
        yield finding("library", f"std::{name} is not synthesisable")
    elif callee.location.file is not None and name not in HARMLESS and not name.startswith("__builtin"):
        yield finding("system-call", f"{name} is a call to the operating system or C library")


def recursion(program: Program, functions: Iterable[Function]) -> Iterator[Finding]:
    """Functions on a cycle of the call graph."""
    graph = {}
    names = {f.key: f for f in functions}
    for f in names.values():
        found = (program.function(n.callee) for n in f.body.walk() if n.callee is not None)
        graph[f.key] = {g.key for g in found if g is not None}
    for key, f in names.items():
        seen, todo = set(graph[key]), list(graph[key])
        while todo:
            for following in graph.get(todo.pop(), ()):
                if following not in seen:
                    seen.add(following)
                    todo.append(following)
        if key in seen:
            yield Finding(f.file, f.line, "recursion", f"{f.name} calls itself; recursion cannot be synthesised")
