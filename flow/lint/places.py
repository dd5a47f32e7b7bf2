"""Where pragmas stand: each belongs to the innermost block around it, and that block to a loop or function."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flow.lint.grammar import Parsed
from flow.lint.program import Function, Node, body_of

LOOPS = {"for", "while", "do", "range-for"}


@dataclass(eq=False)
class Attached:
    """Pragmas of one function by the block they stand in (its byte offset), in order."""

    blocks: dict[int, list[Parsed]]
    owners: dict[int, str]  # block -> function | loop | other

    def of(self, block: Node) -> list[Parsed]:
        return self.blocks.get(block.start, []) if block.kind == "block" else []

    def named(self, block: Node, name: str) -> Parsed | None:
        return next((p for p in self.of(block) if p.name == name), None)

    def all(self) -> Iterable[Parsed]:
        return (p for found in self.blocks.values() for p in found)


def attach(function: Function, pragmas: Iterable[Parsed]) -> Attached:
    """The pragmas inside a function's body, with the kind of block each stands in."""
    inside = [
        p
        for p in pragmas
        if p.pragma.file == function.file and function.body.start < p.pragma.offset < function.body.end
    ]
    owners: dict[int, str] = {function.body.start: "function"}
    spans = [(function.body.start, function.body.end)]

    def visit(node: Node) -> None:
        for kid in node.kids:
            if kid.kind == "block" and kid.start not in owners:
                owners[kid.start] = (
                    "loop" if node.kind in LOOPS and kid is node.kids[-1 if node.kind != "do" else 0] else "other"
                )
                spans.append((kid.start, kid.end))
            visit(kid)

    visit(function.body)
    blocks: dict[int, list[Parsed]] = {}
    for p in inside:
        start = max(s for s, e in spans if s < p.pragma.offset < e)
        blocks.setdefault(start, []).append(p)
    return Attached(blocks, owners)


@dataclass(frozen=True)
class Header:
    """A counting loop: ``for (int name = first; name op bound; name += step)``."""

    variable: Node
    first: Node
    op: str
    bound: Node
    step: Node  # constant step as written
    sign: int


MIRROR = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!="}


def strip(node: Node) -> Node:
    while node.kind in ("cast", "construct", "label") and len(node.kids) == 1:
        node = node.kids[0]
    return node


def header(loop: Node) -> Header | str:
    """A loop's header, or why it is none whose trip count can be known."""
    if loop.kind != "for":
        return f"a {loop.kind} loop has no static trip count"
    if len(loop.kids) != 4:
        return "the for loop lacks an initialisation, a condition or a step"
    start, condition, step, _ = loop.kids
    if start.kind != "decls" or len(start.kids) != 1 or not start.kids[0].kids:
        return "the loop variable must be declared and set in the for statement"
    variable = start.kids[0]
    assert variable.decl is not None
    if condition.kind != "op" or condition.name not in MIRROR or len(condition.kids) != 2:
        return "the condition must compare the loop variable with a constant"
    left, right = (strip(k) for k in condition.kids)
    op, bound = condition.name, condition.kids[1]
    if left.decl is not variable.decl:
        op, bound, left = MIRROR[op], condition.kids[0], right
    if left.decl is not variable.decl:
        return "the condition must compare the loop variable with a constant"
    if not step.kids or strip(step.kids[0]).decl is not variable.decl:
        return "the step must change the loop variable"
    one = Node("const", step.line, value=1)
    if step.kind == "step":
        return Header(variable, variable.kids[0], op, bound, one, 1 if step.name == "++" else -1)
    if step.kind == "assign" and step.name in ("+=", "-="):
        return Header(variable, variable.kids[0], op, bound, step.kids[1], 1 if step.name == "+=" else -1)
    return "the step must add a constant to the loop variable"


def loop_body(loop: Node) -> Node:
    return body_of(loop.kids[0] if loop.kind == "do" else loop.kids[-1])
