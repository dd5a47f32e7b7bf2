"""The synthesised program as a small tree: functions instantiated from templates, constants resolved.

libclang shows an instantiated body when one follows a call's reference, with every template parameter replaced; so a
configuration's numbers are literals here and nothing has to be guessed from the templates' text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from flow.lint.clang import library, relative
from flow.lint.source import Project

Cursor = Any
Key = tuple[int, int, str]
BINARY = (" ptrmem ptrmem * / % + - << >> <=> < > <= >= == != & ^ | && || = *= /= %= += -= <<= >>= &= ^= |= ,").split(
    " "
)
UNARY = " ++ -- ++ -- & * + - ~ !".split(" ")
STATEMENTS = {
    "COMPOUND_STMT": "block", "DECL_STMT": "decls", "IF_STMT": "if", "FOR_STMT": "for", "WHILE_STMT": "while",
    "DO_STMT": "do", "RETURN_STMT": "return", "BREAK_STMT": "break", "CONTINUE_STMT": "continue", "GOTO_STMT": "goto",
    "INDIRECT_GOTO_STMT": "goto", "CXX_TRY_STMT": "try", "CXX_THROW_EXPR": "throw", "CXX_NEW_EXPR": "new",
    "CXX_DELETE_EXPR": "delete", "SWITCH_STMT": "switch", "CASE_STMT": "case", "DEFAULT_STMT": "case",
    "LAMBDA_EXPR": "lambda", "CXX_FOR_RANGE_STMT": "range-for", "NULL_STMT": "block",
    "GNU_STATEMENT_EXPR": "other", "ASM_STMT": "asm",
}  # fmt: skip
FUNCTIONS = {
    "FUNCTION_DECL", "CXX_METHOD", "CONSTRUCTOR", "DESTRUCTOR", "FUNCTION_TEMPLATE", "CONVERSION_FUNCTION",
}  # fmt: skip
SCOPES = {
    "NAMESPACE", "LINKAGE_SPEC", "UNEXPOSED_DECL", "CLASS_DECL", "STRUCT_DECL", "CLASS_TEMPLATE", "UNION_DECL",
    "CLASS_TEMPLATE_PARTIAL_SPECIALIZATION",
}  # fmt: skip
CASTS = {"CSTYLE_CAST_EXPR", "CXX_STATIC_CAST_EXPR", "CXX_FUNCTIONAL_CAST_EXPR", "CXX_CONST_CAST_EXPR"}
REFERENCES = {"TYPE_REF", "TEMPLATE_REF", "NAMESPACE_REF", "OVERLOADED_DECL_REF"}


@dataclass(eq=False)
class Decl:
    """A variable: its type as clang spells it, array dimensions (outermost first), and the element's array fields."""

    key: Key
    name: str
    type: str  # canonical spelling
    dims: tuple[int, ...]
    element: str  # canonical spelling of the array element, without const and reference
    storage: str  # local | static | param | global
    file: str | None
    line: int
    fields: dict[str, tuple[int, ...]] = field(default_factory=dict)  # of a project's struct
    reference: bool = False
    pointer: bool = False
    rank: int = 0  # dimensions as written, also where they depend on template parameters

    @property
    def stream(self) -> bool:
        return self.element.startswith("hls::stream<")


@dataclass(eq=False)
class Node:
    """A statement or expression. ``kind`` says which of the other members mean something."""

    kind: str
    line: int
    kids: tuple[Node, ...] = ()
    name: str = ""  # operator, member, callee or label
    decl: Decl | None = None
    value: int | None = None
    type: str = ""
    start: int = 0  # byte offsets, of blocks
    end: int = 0
    callee: Cursor = None

    def walk(self) -> Iterator[Node]:
        yield self
        for kid in self.kids:
            yield from kid.walk()


@dataclass(eq=False)
class Function:
    """A definition, instantiated where it is a template."""

    key: Key
    name: str
    file: str
    line: int
    params: tuple[Decl, ...]
    body: Node
    result: str
    virtual: bool = False

    @cached_property
    def locals(self) -> tuple[Decl, ...]:
        found = {n.decl.key: n.decl for n in self.body.walk() if n.kind == "var" and n.decl}
        return tuple(found.values())


def canonical(kind: Any) -> str:
    """A type's canonical spelling without const and references."""
    return re.sub(r"\bconst\b\s*|\s*&+$", "", str(kind.get_canonical().spelling)).strip()


def key_of(cursor: Cursor) -> Key:
    """Identity of a declaration. libclang's hash has 32 bits, so the place and name keep collisions apart."""
    return (cursor.hash, cursor.location.offset, str(cursor.spelling))


def is_member(cursor: Cursor) -> bool:
    return "CLASS" in cursor.semantic_parent.kind.name or "STRUCT" in cursor.semantic_parent.kind.name


def implicit(cursor: Cursor) -> bool:
    """A member function that the compiler wrote: it stands where its class stands."""
    owner = cursor.semantic_parent
    return owner is not None and (owner.location.offset, owner.location.line) == (
        cursor.location.offset,
        cursor.location.line,
    )


class Program:
    """Converts cursors on demand and remembers them."""

    def __init__(self, project: Project, unit: Any) -> None:
        self.project = project
        self.unit = unit
        self.lib = library()
        self._functions: dict[Key, Function | None] = {}
        self._decls: dict[Key, Decl] = {}
        self._files: dict[str, str | None] = {}

    def file(self, cursor: Cursor) -> str | None:
        """Path within the project, None for vendor and system headers."""
        place = cursor.location.file
        if place is None:
            return None
        if place.name not in self._files:
            self._files[place.name] = relative(self.project, place.name)
        return self._files[place.name]

    def own(self, cursor: Cursor) -> Iterator[Cursor]:
        """Declarations in the project's files, through namespaces and classes, in order."""
        for c in cursor.get_children():
            if self.file(c) is not None:
                yield c
                if c.kind.name in SCOPES:
                    yield from self.own(c)

    @cached_property
    def declarations(self) -> tuple[Cursor, ...]:
        return tuple(self.own(self.unit.cursor))

    @cached_property
    def definitions(self) -> tuple[Cursor, ...]:
        """Every function definition and function template in the project's files, as written."""
        found = (c for c in self.declarations if c.kind.name in FUNCTIONS)
        return tuple(c for c in found if any(k.kind.name == "COMPOUND_STMT" for k in c.get_children()))

    @cached_property
    def globals(self) -> tuple[Decl, ...]:
        """File-scope variables of the project."""
        return tuple(self.decl(c) for c in self.declarations if c.kind.name == "VAR_DECL" and not is_member(c))

    def function(self, cursor: Cursor) -> Function | None:
        """The definition behind a declaration or reference; None outside the project or without a body."""
        definition = cursor if cursor.is_definition() else cursor.get_definition()
        if definition is None or self.file(definition) is None or implicit(definition):
            return None
        key = key_of(definition)
        if key not in self._functions:
            self._functions[key] = None
            bodies = [c for c in definition.get_children() if c.kind.name == "COMPOUND_STMT"]
            if bodies:
                self._functions[key] = Function(
                    key,
                    definition.spelling,
                    str(self.file(definition)),
                    definition.location.line,
                    tuple(self.decl(c) for c in parameters(definition)),
                    self.node(bodies[0]),
                    definition.result_type.get_canonical().spelling,
                    bool(self.lib.clang_CXXMethod_isVirtual(definition)),
                )
        return self._functions[key]

    def find(self, name: str) -> Function | None:
        """A function definition of the project by name."""
        for cursor in self.definitions:
            if cursor.spelling == name and cursor.kind.name == "FUNCTION_DECL":
                return self.function(cursor)
        return None

    def decl(self, cursor: Cursor) -> Decl:
        key = key_of(cursor)
        if key not in self._decls:
            self._decls[key] = self._decl(cursor, key)
        return self._decls[key]

    def _decl(self, cursor: Cursor, key: Key) -> Decl:
        kind = cursor.type
        spelled = str(kind.spelling)
        dims = tuple(int(n) for n in re.findall(r"\[(\d+)\]", spelled[len(spelled.rstrip("[]0123456789")) :]))
        element = kind.get_canonical()
        reference = element.kind.name in ("LVALUEREFERENCE", "RVALUEREFERENCE")
        if reference:
            element = element.get_pointee()
        pointer = element.kind.name == "POINTER"
        if pointer and dims:  # an array parameter
            element, pointer = element.get_pointee(), False
        while element.kind.name == "CONSTANTARRAY":
            element = element.element_type
        if cursor.kind.name == "PARM_DECL":
            storage = "param"
        elif cursor.semantic_parent is not None and cursor.semantic_parent.kind.name in ("FUNCTION_DECL", "CXX_METHOD"):
            storage = "static" if cursor.storage_class.name == "STATIC" else "local"
        else:
            storage = "global"
        fields: dict[str, tuple[int, ...]] = {}
        record = element.get_declaration()
        if self.file(record) is not None:
            for f in element.get_fields():
                size, part = [], f.type.get_canonical()
                while part.kind.name == "CONSTANTARRAY":
                    size.append(part.element_count)
                    part = part.element_type
                fields[f.spelling] = tuple(size)
        return Decl(
            key, cursor.spelling, kind.get_canonical().spelling, dims, canonical(element), storage, self.file(cursor),
            cursor.location.line, fields, reference, pointer, len(re.findall(r"\[[^\[\]]*\]", spelled)),
        )  # fmt: skip

    def evaluate(self, cursor: Cursor) -> int | None:
        """A constant expression's value."""
        result = self.lib.clang_Cursor_Evaluate(cursor)
        if not result:
            return None
        try:
            if self.lib.clang_EvalResult_getKind(result) != 1:
                return None
            return int(self.lib.clang_EvalResult_getAsLongLong(result))
        finally:
            self.lib.clang_EvalResult_dispose(result)

    def children(self, cursor: Cursor) -> list[Cursor]:
        return [c for c in cursor.get_children() if c.kind.name not in REFERENCES]

    def node(self, cursor: Cursor) -> Node:
        """Convert a statement or expression."""
        kind, line = cursor.kind.name, cursor.location.line
        if kind in ("UNEXPOSED_EXPR", "PAREN_EXPR", "UNEXPOSED_STMT") or kind in CASTS:
            return self._transparent(cursor, kind, line)
        if kind == "LABEL_STMT":
            inner = self.node(self.children(cursor)[-1])
            return Node("label", line, (inner,), cursor.spelling)
        if kind in STATEMENTS:
            extent = cursor.extent
            kids = tuple(self.node(c) for c in self.children(cursor))
            return Node(STATEMENTS[kind], line, kids, start=extent.start.offset, end=extent.end.offset)
        handler = getattr(self, "_" + kind.lower(), None)
        if handler is not None:
            return handler(cursor, line)  # type: ignore[no-any-return]
        if kind.endswith("_LITERAL"):
            return Node("const", line, value=self.evaluate(cursor), type=canonical(cursor.type))
        kids = tuple(self.node(c) for c in self.children(cursor))
        return Node("other", line, kids, kind, type=canonical(cursor.type))

    def _transparent(self, cursor: Cursor, kind: str, line: int) -> Node:
        kids = self.children(cursor)
        if len(kids) == 1:
            inner = self.node(kids[0])
            explicit = kind in CASTS
            return Node("cast", line, (inner,), type=canonical(cursor.type)) if explicit else inner
        if not kids:
            return Node("const", line, value=self.evaluate(cursor), type=canonical(cursor.type))
        return Node("other", line, tuple(self.node(c) for c in kids), kind, type=canonical(cursor.type))

    def _var_decl(self, cursor: Cursor, line: int) -> Node:
        init = self.lib.clang_Cursor_getVarDeclInitializer(cursor)
        init._tu = cursor._tu  # what the bindings do for the functions they declare
        kids = () if init.kind.is_invalid() else (self.node(init),)
        start = cursor.extent.start.offset
        return Node("var", line, kids, cursor.spelling, self.decl(cursor), start=start)

    def _decl_ref_expr(self, cursor: Cursor, line: int) -> Node:
        target = cursor.referenced
        if target is None or target.kind.name not in ("VAR_DECL", "PARM_DECL"):
            value = self.evaluate(cursor) if target is not None and target.kind.name == "ENUM_CONSTANT_DECL" else None
            kind = "const" if value is not None else "function"
            return Node(kind, line, (), cursor.spelling, value=value, type=canonical(cursor.type), callee=target)
        decl = self.decl(target)
        if target.kind.name == "VAR_DECL" and "const" in target.type.spelling and not decl.dims:
            value = self.evaluate(cursor)
            if value is not None:
                return Node("const", line, (), decl.name, decl, value, decl.type)
        return Node("ref", line, (), decl.name, decl, type=decl.element)

    def _member_ref_expr(self, cursor: Cursor, line: int) -> Node:
        kids = self.children(cursor)
        base = (self.node(kids[0]),) if kids else (Node("this", line),)
        return Node("member", line, base, cursor.spelling, type=canonical(cursor.type), callee=cursor.referenced)

    def _array_subscript_expr(self, cursor: Cursor, line: int) -> Node:
        base, index = self.children(cursor)[:2]
        return Node("index", line, (self.node(base), self.node(index)), type=canonical(cursor.type))

    def _binary_operator(self, cursor: Cursor, line: int) -> Node:
        op = BINARY[self.lib.clang_getCursorBinaryOperatorKind(cursor)]
        kids = tuple(self.node(c) for c in self.children(cursor))
        return Node("assign" if op == "=" else "op", line, kids, op, type=canonical(cursor.type))

    def _compound_assignment_operator(self, cursor: Cursor, line: int) -> Node:
        op = BINARY[self.lib.clang_getCursorBinaryOperatorKind(cursor)]
        kids = tuple(self.node(c) for c in self.children(cursor))
        return Node("assign", line, kids, op, type=canonical(cursor.type))

    def _unary_operator(self, cursor: Cursor, line: int) -> Node:
        kind = self.lib.clang_getCursorUnaryOperatorKind(cursor)
        op, post = UNARY[kind], int(kind in (1, 2))
        kids = tuple(self.node(c) for c in self.children(cursor))
        if op in ("++", "--"):
            return Node("step", line, kids, op, value=post, type=canonical(cursor.type))
        return Node("op", line, kids, op, type=canonical(cursor.type))

    def _conditional_operator(self, cursor: Cursor, line: int) -> Node:
        return Node("choose", line, tuple(self.node(c) for c in self.children(cursor)), type=canonical(cursor.type))

    def _init_list_expr(self, cursor: Cursor, line: int) -> Node:
        return Node("list", line, tuple(self.node(c) for c in self.children(cursor)), type=canonical(cursor.type))

    def _call_expr(self, cursor: Cursor, line: int) -> Node:
        target = cursor.referenced
        kind = "" if target is None else target.kind.name
        arguments = [self.node(a) for a in cursor.get_arguments() if a is not None and a.kind.name != "NULL"]
        result = canonical(cursor.type)
        if kind == "CONSTRUCTOR" or (not kind and not cursor.spelling and len(arguments) == 1):
            return Node("construct", line, tuple(arguments), cursor.spelling, type=result, callee=target)
        name = cursor.spelling
        if kind == "CONVERSION_FUNCTION":
            return Node("cast", line, (self._object(cursor, line),), type=result)
        foreign = target is None or self.file(target) is None or implicit(target)
        if name.startswith("operator") and not name[8:9].isalnum() and foreign:
            op = name[8:]
            if op.endswith("=") and op not in ("==", "!=", "<=", ">="):
                return Node("assign", line, tuple(arguments[:2]), op, type=result)
            if op in ("++", "--"):
                return Node("step", line, tuple(arguments[:1]), op, value=len(arguments) - 1, type=result)
            if op not in ("[]", "()"):
                return Node("op", line, tuple(arguments), op, type=result)
        if kind == "CXX_METHOD" and not name.startswith("operator") and not target.is_static_method():
            return Node("method", line, (self._object(cursor, line), *arguments), name, type=result, callee=target)
        return Node("call", line, tuple(arguments), name, type=result, callee=target)

    def _object(self, cursor: Cursor, line: int) -> Node:
        """What a member function is called on."""
        callee = next(iter(cursor.get_children()), None)
        if callee is None:
            return Node("this", line)
        node = self.node(callee)
        return node.kids[0] if node.kind == "member" and node.kids else node


def body_of(node: Node) -> Node:
    """A loop's or label's innermost statement."""
    while node.kind == "label":
        node = node.kids[0]
    return node


def parameters(definition: Cursor) -> list[Cursor]:
    """A function's parameters; libclang gives a template's only as its children."""
    found = [c for c in definition.get_arguments() or () if c is not None]
    return found or [c for c in definition.get_children() if c.kind.name == "PARM_DECL"]
