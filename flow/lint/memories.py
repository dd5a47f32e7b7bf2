"""What a pipelined loop asks of memories: ports per bank, and loop-carried paths that fit the clock.

Ports: UG1399 "BIND_STORAGE" (ram_1p one access, ram_2p two of which one may write, ...); an array without a binding
gets at most two. Banks: ARRAY_PARTITION splits a dimension into memories, ARRAY_RESHAPE packs it into one word,
AGGREGATE packs a struct's fields. A local array whose indices are all constants after unrolling becomes registers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flow.lint.evaluate import Access, Name, Region
from flow.lint.finding import Finding
from flow.lint.grammar import CORES
from flow.lint.machine import Directive, Machine
from flow.lint.symbolic import holds

PORTS = {  # type -> reads, writes, both, per cycle
    "ram_1p": (1, 1, 1), "ram_2p": (2, 1, 2), "ram_s2p": (1, 1, 2), "ram_t2p": (2, 2, 2), "ram_1wnr": (99, 1, 99),
    "rom_1p": (1, 0, 1), "rom_2p": (2, 0, 2), "rom_np": (99, 0, 99), "fifo": (1, 1, 2),
}  # fmt: skip
LIMIT = 1 << 14  # unrolled accesses looked at one by one
WHOLE = "*"


@dataclass(frozen=True)
class Layout:
    """How an array is stored: per dimension "" (address), "word" (packed), "banks", or ("cyclic"|"block", factor)."""

    dims: tuple[str | tuple[str, int], ...]
    kind: str  # storage type, "" when the tool chooses
    registers: bool


def layout(machine: Machine, name: Name) -> Layout:
    decl = machine.decls[name[0]]
    sizes = decl.dims + (decl.fields.get(name[1], ()) if name[1] else ())
    dims: list[str | tuple[str, int]] = [""] * len(sizes)
    kind = ""
    for d in machine.directives.values():
        if d.decl is not decl or (d.field and d.field != name[1]):
            continue
        if d.parsed.name in ("ARRAY_PARTITION", "ARRAY_RESHAPE"):
            shape(dims, d)
        elif d.parsed.name in ("AGGREGATE", "DATA_PACK"):
            dims[len(decl.dims) :] = ["word"] * (len(sizes) - len(decl.dims))
        elif d.parsed.name == "BIND_STORAGE" and d.parsed.pragma.dialect == "vitis":
            kind = d.parsed.options.get("type", "").lower()
        elif d.parsed.name == "RESOURCE" and not kind:
            m = CORES.match(d.parsed.options.get("core", ""))
            kind = m[1].lower() if m else ""
    scattered = decl.storage == "local" or name not in machine.written
    fixed = scattered and name not in machine.dynamic and not kind
    whole = not decl.dims and all(d == "word" for d in dims)
    return Layout(tuple(dims), kind, fixed or whole or all(d == "banks" for d in dims))


def shape(dims: list[str | tuple[str, int]], d: Directive) -> None:
    """Apply ARRAY_PARTITION or ARRAY_RESHAPE to the dimensions it names."""
    dim, style = d.parsed.integer("dim", 1), d.parsed.options.get("type", "complete").lower()
    packed = d.parsed.name == "ARRAY_RESHAPE"
    factor = d.parsed.integer("factor", 1)
    for i in range(d.first, len(dims)) if dim == 0 else (d.first + dim - 1,):
        if 0 <= i < len(dims) and dims[i] == "":
            if style == "complete":
                dims[i] = "word" if packed else "banks"
            else:
                dims[i] = (f"{style} word" if packed else style, factor)


# ----- ports


@dataclass(frozen=True)
class Touch:
    """One word access after unrolling."""

    bank: tuple[object, ...]
    word: tuple[object, ...]
    write: bool
    guards: tuple[tuple[int, bool], ...]
    line: int


def touches(machine: Machine, access: Access, lay: Layout, sizes: tuple[int, ...]) -> Iterator[Touch]:
    """The words that an access touches, for every value of the unrolled variables in its address."""
    symbols = machine.symbols
    kept = [(f, d, n) for f, d, n in zip(access.index, lay.dims, sizes, strict=True) if d != "word"]
    deps = sorted(frozenset().union(*(f.deps for f, _, _ in kept)))
    guards = tuple((number, way) for number, way, _ in access.guards)
    for values in itertools.islice(itertools.product(*(symbols.unrolled[d] for d in deps)), LIMIT):
        at = dict(zip(deps, values, strict=True))
        if not all(possible(machine, number, way, at) for _, way, number in access.guards):
            continue
        bank: list[object] = []
        word: list[object] = []
        for form, dim, size in kept:
            where = form.at(at)
            known = where[0] if not where[1] else None
            if dim == "":
                word.append(where)
            elif dim == "banks":
                bank.append(WHOLE if known is None else known)
            else:
                split(str(dim[0]), int(dim[1]), size, known, where, bank, word)
        yield Touch(tuple(bank), tuple(word), access.write, guards, access.line)


def split(
    style: str, factor: int, size: int, known: int | None, where: object, bank: list[object], word: list[object]
) -> None:
    """Cyclic or block partition (a bank each) or reshape (a field of a word each)."""
    if known is None:
        word.append(where)
        if not style.endswith("word"):
            bank.append(WHOLE)
        return
    part = -(-size // factor)
    place, address = (known % factor, known // factor) if style.startswith("cyclic") else (known // part, known % part)
    word.append(address)
    if not style.endswith("word"):
        bank.append(place)


def possible(machine: Machine, condition: int, way: bool, values: dict[int, int]) -> bool:
    """False where a branch's condition is decided against it by the unrolled variables."""
    known = machine.symbols.comparisons.get(condition)
    if known is None:
        return True
    constant, rest = known[1].at(values)
    return bool(rest) or holds(known[0], constant) == way


def busiest(found: list[Touch], depth: int = 0) -> set[tuple[bool, tuple[object, ...]]]:
    """Distinct words touched in one turn at most: of two sides of a branch only one runs."""
    out = {(t.write, t.word) for t in found if len(t.guards) == depth}
    inner = [t for t in found if len(t.guards) > depth]
    for number in sorted({t.guards[depth][0] for t in inner}):
        sides = [busiest([t for t in inner if t.guards[depth] == (number, way)], depth + 1) for way in (True, False)]
        out |= max(sides, key=lambda s: len(s - out))
    return out


def meets(bank: tuple[object, ...], other: tuple[object, ...]) -> bool:
    return all(a == b or WHOLE in (a, b) for a, b in zip(bank, other, strict=True))


def pressure(machine: Machine, region: Region) -> Iterator[Finding]:
    """More accesses to a bank than its ports allow in one interval."""
    names = dict.fromkeys(a.name for a in region.accesses)
    for name in names:
        lay, decl = layout(machine, name), machine.decls[name[0]]
        if lay.registers:
            continue
        sizes = decl.dims + (decl.fields.get(name[1], ()) if name[1] else ())
        found = [t for a in region.accesses if a.name == name for t in touches(machine, a, lay, sizes)]
        banks = {t.bank for t in found if WHOLE not in t.bank} or {t.bank for t in found}
        default = PORTS["rom_2p" if name not in machine.written else "ram_t2p"]
        limits = [n * region.interval for n in PORTS.get(lay.kind, default)]
        worst: tuple[int, int, int] = (0, 0, 0)
        for bank in banks:
            used = busiest([t for t in found if meets(t.bank, bank)])
            writes = sum(w for w, _ in used)
            worst = max(worst, (len(used), len(used) - writes, writes))
        total, reads, writes = worst
        if reads > limits[0] or writes > limits[1] or total > limits[2]:
            first = next(a for a in region.accesses if a.name == name)
            what = f"{decl.name}.{name[1]}" if name[1] else decl.name
            yield Finding(
                first.file, first.line, "port-pressure",
                f"{what}: {reads} reads and {writes} writes of one bank in {region.interval} cycle(s) of "
                f"{region.label or 'a loop'}; {lay.kind or 'an unbound memory'} allows {limits[0]} and {limits[1]}, "
                f"{limits[2]} together",
            )  # fmt: skip


# ----- loop-carried paths


def independent(machine: Machine) -> set[Name]:
    """Arrays that a DEPENDENCE pragma declares free of dependences between turns."""
    out: set[Name] = set()
    for d in machine.directives.values():
        o = d.parsed.options
        if d.parsed.name == "DEPENDENCE" and o.get("dependent") == "false" and o.get("type", "inter") == "inter":
            out |= {(d.decl.key, f) for f in d.decl.fields or ("",)}
    return out


def recurrences(machine: Machine, region: Region) -> Iterator[Finding]:
    """A cycle of carried values whose path is longer than the interval allows: one finding for the worst one."""
    free, budget = independent(machine), region.interval * machine.period
    edges = {e: d for e, d in region.edges.items() if not (e[0] == e[1] and e[0] in free)}
    found = worst_cycle(edges, sorted({n for e in edges for n in e}, key=lambda n: label(machine, n)))
    if found is None or found[0] <= budget + 1e-9:
        return
    mean, cycle = found
    names = [label(machine, n) for n in cycle]
    first = names.index(min(names))
    names = names[first:] + names[:first]
    stored = any(machine.is_memory(n) for n in cycle)
    total = mean * len(cycle)
    yield Finding(
        region.file, region.line, "memory-dependence" if stored else "recurrence",
        f"{region.label or 'loop'}: {' -> '.join([*names, names[0]])} takes about {total:.1f} ns, but the interval of "
        f"{region.interval} allows {budget * len(cycle):.1f} ns over {len(cycle)} turn(s)"
        + ("; say DEPENDENCE inter false if the addresses never meet" if stored else ""),
    )  # fmt: skip


def label(machine: Machine, name: Name) -> str:
    decl = machine.decls.get(name[0])
    return (decl.name if decl else "?") + (f".{name[1]}" if name[1] else "")


def worst_cycle(edges: dict[tuple[Name, Name], float], nodes: list[Name]) -> tuple[float, list[Name]] | None:
    """The cycle of largest mean weight, by longest walks of each length from each node; None without a cycle."""
    into: dict[Name, list[tuple[Name, float]]] = {n: [] for n in nodes}
    for (a, b), d in edges.items():
        into[b].append((a, d))
    best: tuple[float, list[Name]] | None = None
    low = float("-inf")
    for source in nodes:
        walk: list[dict[Name, tuple[float, Name]]] = [{source: (0.0, source)}]
        for _ in range(len(nodes)):
            last = walk[-1]
            now = {}
            for n in nodes:
                options = [(last[a][0] + d, a) for a, d in into[n] if a in last]
                if options:
                    now[n] = max(options)
            walk.append(now)
            if source in now and now[source][0] / (len(walk) - 1) > low + 1e-12:
                low = now[source][0] / (len(walk) - 1)
                best = (low, trace(walk, source))
    return best


def trace(walk: list[dict[Name, tuple[float, Name]]], end: Name) -> list[Name]:
    path = [end]
    for step in reversed(walk[1:]):
        path.append(step[path[-1]][1])
    return path[::-1][:-1]


def check(machine: Machine) -> Iterable[Finding]:
    """Findings of a machine that has run; call after ``Machine.run``."""
    for region in machine.regions:
        yield from pressure(machine, region)
        yield from recurrences(machine, region)
