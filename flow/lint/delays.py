"""How long an operator takes, for judging loop-carried paths against the clock.

Nanoseconds of 32-bit operators as Vitis HLS prints them in its schedules ("delay = 1.02" for an UltraScale+ adder,
"2.55" for a 7 series one), shortened linearly for narrow ones; multiplications by constants are the adders of their
signed digits. Optimistic on purpose, so that a path that is too long here is too long: bitwise logic counts nothing, as
it merges into its neighbours' LUTs, and registers and clock skew are left out.
"""

from __future__ import annotations

import re
from functools import cache

TABLE = {  # family -> operator class -> (fixed, per bit)
    "ultrascale": {
        "add": (0.70, 0.010), "compare": (0.66, 0.014), "select": (0.45, 0.0), "logic": (0.0, 0.0),
        "mul": (1.90, 0.047), "shift": (0.60, 0.025), "memory": (1.24, 0.0),
    },
    "seven": {
        "add": (1.55, 0.031), "compare": (1.47, 0.031), "select": (0.70, 0.0), "logic": (0.0, 0.0),
        "mul": (3.00, 0.172), "shift": (1.20, 0.055), "memory": (3.25, 0.0),
    },
}  # fmt: skip
CLASSES = {
    **dict.fromkeys(("+", "-", "++", "--"), "add"),
    **dict.fromkeys(("<", ">", "<=", ">=", "==", "!="), "compare"),
    **dict.fromkeys(("&", "|", "^", "&&", "||"), "logic"),
    "*": "mul",
}
WIDTHS = {"int": 32, "unsigned int": 32, "long": 64, "unsigned long": 64, "long long": 64, "unsigned long long": 64,
          "short": 16, "unsigned short": 16, "char": 8, "unsigned char": 8, "signed char": 8, "bool": 1}  # fmt: skip


def family(part: str) -> str:
    return "seven" if part.lower().startswith("xc7") else "ultrascale"


@cache
def width(kind: str) -> int:
    """Bits of a type as clang spells it; 32 where it is not a plain number."""
    m = re.match(r"ap_u?(?:int|int_base)<(\d+)", kind)
    return int(m.group(1)) if m else WIDTHS.get(kind, 32)


def digits(constant: int) -> int:
    """Non-zero signed digits: the adders, plus one, of a multiplication by a constant."""
    value, count = abs(constant), 0
    while value:
        if value & 1:
            count += 1
            value += 1 if value & 3 == 3 else -1
        value >>= 1
    return count


class Delays:
    """Operator delays of one device family, in ns."""

    def __init__(self, part: str) -> None:
        self.table = TABLE[family(part)]

    def of(self, name: str, bits: int) -> float:
        fixed, slope = self.table[name]
        return fixed + slope * min(bits, 64)

    def operator(self, op: str, bits: int, constant: int | None) -> float:
        """``constant``: the right operand where it is known (for ``*``, either)."""
        if op in ("*", "/", "%") and constant is not None and constant and digits(constant) == 1:
            return 0.0
        if op == "*" and constant is not None:
            adders = max(digits(constant) - 1, 0)
            return self.of("add", bits) * min(adders, 2)
        if op in ("/", "%"):
            return self.of("add", bits) * bits
        if op in ("<<", ">>"):
            return 0.0 if constant is not None else self.of("shift", bits)
        return self.of(CLASSES[op], bits) if op in CLASSES else 0.0
