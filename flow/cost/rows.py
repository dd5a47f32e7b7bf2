"""A row of a report's detail table, predicted by its law: how laws are validated, fitted and calibrated.

Rows are mappings with the keys of a parsed report's tables (``words``, ``bits``, ``inputs``, ``p0``, ...); their values
may be text. Only what stands in a row, or in the same report, is used: a user's report can be judged like the
development data.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flow.board import Resources
from flow.cost import laws
from flow.cost.laws import Tool

Row = Mapping[str, Any]
TABLES = ("memory", "fifo", "instance", "dsp", "expression", "mux", "register")


def number(row: Row, key: str) -> int:
    """A count; 0 where the report leaves it open."""
    text = str(row.get(key) or "0").strip()
    return 0 if text in ("", "-", "None") else int(float(text))


def reported(row: Row) -> Resources:
    """What the row itself says."""
    return Resources(*(number(row, k) for k in ("lut", "ff", "dsp", "bram18", "uram")))


@dataclass(frozen=True)
class Context:
    """What other rows of the same report say of its memories: ports in use, and which are written."""

    ports: Mapping[str, int] = field(default_factory=dict)
    written: frozenset[str] = frozenset()


_PORT = re.compile(r"(.*)_(address|ce|we|d)(\d)$")


def context(muxes: Iterable[Row]) -> Context:
    """Reports list a multiplexer ``<memory>_address1`` for each port that more than one statement drives."""
    ports: dict[str, int] = collections.defaultdict(int)
    written = set()
    for row in muxes:
        m = _PORT.match(str(row["name"]))
        if m:
            ports[m[1]] = max(ports[m[1]], int(m[3]) + 1)
            if m[2] in ("we", "d"):
                written.add(m[1])
    return Context(dict(ports), frozenset(written))


def memory(row: Row, tool: Tool, seen: Context) -> Resources:
    """A memory: its ports from the multiplexers of the report, its kind from its module's name."""
    name, kind = str(row.get("memory") or row["name"]).removesuffix("_U"), str(row.get("submodule") or "")
    ports = seen.ports.get(name, 1)
    banks = 2 if number(row, "banks") == 2 else 1
    words, bits = number(row, "words"), number(row, "bits")
    copies, twice = -(-ports // 2), banks == 2
    if "shift" in kind and words * bits < laws.BRAM_FROM_BITS:
        return laws.shift_memory(words, bits, tool)
    where: laws.MemoryKind = "uram" if number(row, "uram") else "auto"
    return laws.memory(words, bits, where, is_rom(name, kind, seen, tool), copies, twice, ports > 1, tool)


_ROM_NAMES = re.compile(r"weight|bias|table|_rom|lut|coef", re.IGNORECASE)


def is_rom(name: str, submodule: str, seen: Context, tool: Tool) -> bool:
    """Constants: the newer tools say so; in older reports the name tells, or that nothing writes the memory."""
    if tool.family == "vitis":
        return True  # its RAMs have one output register, too: FF = bits in 20 of 20 rows
    if name in seen.written:
        return False
    return bool(_ROM_NAMES.search(name) or _ROM_NAMES.search(submodule))


def expression(row: Row, tool: Tool) -> Resources | None:
    """An operator. ``p0``, ``p1``: widths of its operands, as far as they are no constants."""
    a, b, op = number(row, "p0"), number(row, "p1"), str(row["op"])
    width = max(a, b, 1)
    if op in ("+", "-"):
        return laws.adder(width, tool)
    if op == "icmp":
        return laws.comparator(width, tool)
    if op in ("and", "or", "xor"):
        return laws.logic(width)
    if op == "select":
        return laws.select(width)
    if op in ("shl", "lshr", "ashr"):
        return laws.shift(width, tool)
    if op == "*":
        return laws.multiplier(max(1, a), max(1, b), "auto", tool)
    return Resources(lut=width + 4) if op == "cttz" else None


_OPERATORS = r"mul|mac_muladd|mul_mul|[fd](?:add|sub|mul|div|cmp|exp|log|sqrt|addfsub|adddsub)|u?s?div|u?s?rem"
_CORE = re.compile(rf"(?:.*_)?({_OPERATORS})_(\d+)n?s?_?(\d+)?")


def core(row: Row) -> tuple[str, int] | None:
    """Operator and width of an instance that is a core of the tool, not a module of the design."""
    op, width = str(row.get("op") or ""), number(row, "wa")
    if op and width:
        return op, max(width, number(row, "wb"))
    m = _CORE.match(str(row.get("submodule") or ""))
    return (m[1], int(m[2])) if m else None


def instance(row: Row, tool: Tool) -> Resources | None:
    """A core; None for a module of the design and for cores without a law."""
    found = core(row)
    if found is None:
        return None
    op, width = found
    if op == "mul" and row.get("wa") and row.get("wb"):
        sizes = [number(row, k) for k in ("wa", "wb", "wo")]
        return laws.multiplier(max(1, sizes[0]), max(1, sizes[1]), "auto", tool, sizes[2] or None)
    return laws.core(op, width, tool)


def predicted(table: str, row: Row, tool: Tool, seen: Context) -> Resources | None:
    """The law's answer for a row, or None where there is no law for it."""
    if table == "memory":
        return memory(row, tool, seen)
    if table == "fifo":
        return laws.fifo(max(1, number(row, "depth")), max(1, number(row, "bits")), tool)
    if table == "instance":
        return instance(row, tool)
    if table == "dsp":
        widths = [max(1, number(row, k)) for k in ("wa", "wb")]
        return laws.multiply_add(widths[0], widths[1], tool) if row.get("wa") else Resources(dsp=1)
    if table == "expression":
        return expression(row, tool)
    if table == "mux":
        return laws.mux(max(1, number(row, "inputs")), max(1, number(row, "bits")), tool)
    bits, constant = number(row, "bits"), number(row, "const_bits")
    return laws.shift_register() if number(row, "lut") else laws.register(max(bits, constant), constant)
