"""Component laws: what C synthesis reports for one memory, FIFO, operator or register; cycles: flow/cost/loops.py.

Source of every coefficient, unless a line says otherwise: 1,651 distinct module reports of real designs (24 public
repositories; Vivado HLS 2017.2 to 2020.1, Vitis HLS 2020.1 to 2025.2).  The tables of those reports are sums of rows,
so an estimate composed of exact rows is exact.  Tables by size are data (flow/cost/components.toml); formulas stand
here.  Shares given as "n of m rows" are exact predictions on the development rows; ``flow bench cost`` gives them by
release, with each repository predicted by tables fitted to the others.

These are C synthesis numbers; flow/cost/targets.py says what implementation makes of them.
All functions are pure; sizes must be positive or LawError is raised.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

from flow.board import Resources
from flow.cost import library

MemoryKind = Literal["auto", "lutram", "bram", "uram"]
MultiplierKind = Literal["auto", "dsp", "lut"]
FifoStorage = Literal["auto", "srl"]


MUX_TABLE = 24  # inputs up to which multiplexers follow the library's table
CACHE = 1 << 16  # entries a law remembers: mappers ask for the same sizes again and again


class LawError(ValueError):
    """A component whose size makes no sense, or a tool that the laws do not know."""


@dataclass(frozen=True)
class Tool:
    """The C synthesis tool and the kind of device it compiles for: what the laws distinguish.

    ``ultrascale`` is true for UltraScale+ devices and false for the 7 series (``Board.ultrascale`` gives it).
    """

    family: Literal["vitis", "vivado"] = "vitis"
    version: str = "2022.1"
    ultrascale: bool = True

    def __post_init__(self) -> None:
        if self.family not in ("vitis", "vivado"):
            raise LawError(f"tool family {self.family!r}: vitis or vivado")
        if not all(p.isdigit() for p in self.version.split(".")):
            raise LawError(f"tool version {self.version!r}: digits and dots, for example 2022.1")

    @cached_property
    def release(self) -> tuple[int, ...]:
        """``(year, number, ...)``, for comparison."""
        return tuple(int(p) for p in self.version.split("."))

    @property
    def recent(self) -> bool:
        """Vitis HLS 2022.1 or later: other multiplexers, adders and FIFOs than before."""
        return self.family == "vitis" and self.release >= (2022, 1)

    @property
    def key(self) -> tuple[str, library.Release, str]:
        """Where the library's tables of this tool stand: Vitis HLS before 2022.1 counts as Vivado HLS did."""
        return "vitis" if self.recent else "vivado", self.release, "us" if self.ultrascale else "7"


DEFAULT = Tool()


def _positive(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise LawError(f"{name} is {value}: at least 1")


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _pow2ceil(n: int) -> int:
    return 1 << (n - 1).bit_length()


# ------------------------------------------------------------------ memories

# Aspect ratios of an 18 Kb block RAM: AMD UG473 / UG573.  36 bits need both ports, so not for true dual port.
_RATIOS = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
# 98.4 % of the memory rows: block RAM from this many bits on (words x bits), distributed RAM below.
BRAM_FROM_BITS = 1024
# AMD UG573: an UltraRAM block is 4,096 words of 72 bits and has no other shape.
_URAM_WORDS, _URAM_BITS = 4096, 72


def bram18(words: int, bits: int, true_dual_port: bool = False, tool: Tool = DEFAULT) -> int:
    """18 Kb blocks of one copy of a memory.

    One aspect ratio for the whole memory, the widest that is deep enough: ``ceil(bits / width)`` columns, and below
    width 1 ``bits x ceil(words / 16384)``.  A memory whose two ports are both used cannot be 36 bits wide.  2,534 of
    2,541 block RAM rows with the port count read off the report, 90 % without it.  For UltraScale the smaller of this
    and the count with every column of bits in its own ratio (18, 9, 4, 2, 1 greedily): 18 Kb primitives in Vivado HLS,
    36 Kb primitives (pairs) in Vitis HLS; exact on all six deep rows (9,248 to 4,161,600 words of 32 bits).  So a
    wider memory may take fewer blocks there (3,000 words: 17 bits 5, 18 bits 4).
    """
    _positive(words=words, bits=bits)
    ratios = _RATIOS[1:] if true_dual_port else _RATIOS
    width, depth = next((r for r in ratios if words <= r[1]), _RATIOS[-1])
    blocks = _ceil(bits, width) * _ceil(words, depth)
    return min(blocks, _mixed(words, bits, 2 if tool.family == "vitis" else 1)) if tool.ultrascale else blocks


def _mixed(words: int, bits: int, pair: int) -> int:
    """Blocks when the columns of a memory may differ in aspect ratio; ``pair`` 2 counts 36 Kb primitives twice."""
    total, left = 0, bits
    for width, depth in _RATIOS[1:]:
        columns, left = divmod(left, width)
        total += columns * pair * _ceil(words, depth * pair)
    return total


@lru_cache(maxsize=CACHE)
def memory(
    words: int,
    bits: int,
    kind: MemoryKind = "auto",
    rom: bool = True,
    copies: int = 1,
    ping_pong: bool = False,
    true_dual_port: bool = False,
    tool: Tool = DEFAULT,
) -> Resources:
    """An on-chip array of ``words`` x ``bits``.

    ``copies``: replicas for more than two reads a cycle (a block has two ports, so ``ceil(reads / 2)``).  Distributed:
    LUT ``ceil(words x bits / 64)``, FF ``bits`` (ROM) or ``2 x bits`` (RAM); replicas of a ROM multiply the output
    registers only, as the reports show it.  Distributed rows without shift types (560 of 6,532): LUT 5,972 of 5,972,
    FF 5,956 of 5,972.  The rule of size gives 8,905 of 9,073 rows their BRAM; bound memories are the rest.
    ``uram``: the block shape of AMD UG573, no row to check it.
    """
    _positive(words=words, bits=bits, copies=copies)
    banks = 2 if ping_pong else 1
    if kind == "auto":
        kind = "bram" if words * bits >= BRAM_FROM_BITS else "lutram"
    if kind == "bram":
        return Resources(bram18=bram18(words, bits, true_dual_port, tool) * copies * banks)
    if kind == "uram":
        if not tool.ultrascale:
            raise LawError("UltraRAM: 7 series devices have none; use kind='bram'")
        return Resources(uram=_ceil(bits, _URAM_BITS) * _ceil(words, _URAM_WORDS) * copies * banks)
    lut = _ceil(words * bits, 64) * (1 if rom else copies)
    return Resources(lut=lut * banks, ff=bits * (1 if rom else 2) * copies * banks)


def fifo_in_bram(depth: int, bits: int) -> bool:
    """True where a FIFO becomes block RAM unless bound otherwise: all 960 FIFO rows."""
    return depth > 16 and depth * bits >= 512


@lru_cache(maxsize=CACHE)
def fifo(depth: int, bits: int, tool: Tool = DEFAULT, storage: FifoStorage = "auto") -> Resources:
    """A stream of ``depth`` entries of ``bits``; ``storage`` "srl" binds it to shift registers.

    Block RAM: ``ceil(bits / 18) x pow2ceil(ceil(depth / 1024))``, 960 of 960 rows.  Its FF ``bits + 3 log2 depth + 1``
    (within 3 up to 1,024 entries) and LUT ``bits + 5 log2 depth + bits x banks``: fitted to the totals of four modules
    (Vivado 2019.2 and 2020.1; 2 to 9 % off); the FIFO table itself prints LUT 0.  Recent Vitis: one sample (32 x 160:
    LUT 46).  Shift registers: LUT ``12 + max(bits, 4)``, FF 5, 6, 7 at depth up to 4, 9, 16 (Vivado, all rows and
    totals); recent Vitis FF 99, its LUT not fitted and taken from Vivado.
    """
    _positive(depth=depth, bits=bits)
    address = max(1, (depth - 1).bit_length())
    if storage == "auto" and fifo_in_bram(depth, bits):
        banks = _pow2ceil(_ceil(depth, 1024))
        bank_mux = bits * banks if banks > 1 else 0
        lut = 16 + 6 * address if tool.recent else bits + 5 * address
        ff = bits + 3 * address + 1 + (6 * banks if banks > 1 else 0)
        return Resources(lut=lut + bank_mux, ff=ff, bram18=_ceil(bits, 18) * banks)
    if tool.recent:
        ff = 99
    else:
        ff = 5 if depth <= 4 else 6 if depth <= 9 else 7
    # An SRL holds 16 (SRLC32E: 32) entries a bit; the law was seen up to depth 16, beyond it every 32 add a bit slice.
    return Resources(lut=12 + max(bits, 4) * _ceil(depth, 32), ff=ff)


# ---------------------------------------------------------------- arithmetic

# LUT beside one DSP block, by the larger width (Vitis 2023.1 to 2025.2; 16 and above, and unlisted widths: 5).
_BESIDE_DSP = {11: 6, 12: 5, 13: 4, 14: 3, 15: 2}
# LUT and FF beside products of several DSP blocks, from this many blocks on: medians, coarse (Vitis 2024.2 and 2025.2).
_BESIDE_TILES = ((10, 256, 441), (5, 85, 330), (3, 49, 165), (2, 20, 0))
_DSP_FROM_BITS = 11  # larger operand; 10 x 10 is logic, 11 x 7 a DSP block: all 1,098 rows
_DSP_FROM_SMALLER = 5  # smaller operand: no row with less than 5 has a DSP block (71 x 4, 14 x 4 are logic)
_SLICE = 17  # unsigned part of the narrow DSP port (18 bits, UG479 and UG579); wide products are cut in both operands
_EDGE_IN_LOGIC = 8  # a last slice of at most this many bits is made of LUTs: seen at 2 to 8, not at 9


def _slices(bits: int) -> int:
    whole, rest = divmod(bits, _SLICE)
    return max(1, whole + (rest > _EDGE_IN_LOGIC))


def product_tiles(a_bits: int, b_bits: int, tool: Tool = DEFAULT, out_bits: int | None = None) -> int:
    """DSP blocks of an ``a_bits`` x ``b_bits`` product that keeps ``out_bits`` (all by default).

    Up to the wide port (25 bits, 27 on UltraScale): ``ceil(smaller / 18)``.  Beyond, both operands are cut into 17-bit
    slices, last slices of at most 8 bits are logic, and slice pairs above ``out_bits`` are left out.  Vivado HLS takes
    ``ceil(larger / 25) x ceil(smaller / 18)`` (27 on UltraScale).
    """
    _positive(a_bits=a_bits, b_bits=b_bits)
    small, large = sorted((a_bits, b_bits))
    wide = 27 if tool.ultrascale else 25
    if large <= wide:
        return _ceil(small, 18)
    if tool.family == "vivado":
        return _ceil(large, wide) * _ceil(small, 18)
    kept = out_bits or a_bits + b_bits
    return sum(_SLICE * (i + j) < kept for i in range(_slices(large)) for j in range(_slices(small)))


@lru_cache(maxsize=CACHE)
def multiplier(
    a_bits: int,
    b_bits: int,
    impl: MultiplierKind = "auto",
    tool: Tool = DEFAULT,
    out_bits: int | None = None,
) -> Resources:
    """One product.  ``auto`` is the tool's own choice: a DSP block from 11 x 5 bits on, logic below.

    So 8 x 8 lands in LUTs unless bound with BIND_OP.  DSP: 1,092 of 1,098 rows, logic LUT 66 of 66.  In logic
    above 10 bits (only by BIND_OP or with an operand under 5 bits) there are no rows: 0.62 LUT per bit pair, the ratio
    of the table at 8 to 10 bits.
    """
    _positive(a_bits=a_bits, b_bits=b_bits)
    small, large = sorted((a_bits, b_bits))
    if impl == "auto":
        impl = "dsp" if large >= _DSP_FROM_BITS and small >= _DSP_FROM_SMALLER else "lut"
    if impl == "lut":
        if small == 1:
            return logic(large)
        found = library.current().lookup("product", large, *tool.key)
        return Resources(lut=found[0] if found else 4 * large - 3 if large <= 5 else _ceil(62 * a_bits * b_bits, 100))
    tiles = product_tiles(a_bits, b_bits, tool, out_bits)
    if tiles == 1:
        return Resources(lut=_BESIDE_DSP.get(large, 5), dsp=1)
    lut, ff = next((lut, ff) for least, lut, ff in _BESIDE_TILES if tiles >= least)
    return Resources(lut=lut, ff=ff, dsp=tiles)


def multiply_add(a_bits: int, b_bits: int, tool: Tool = DEFAULT) -> Resources:
    """A product and the sum behind it in the same DSP block (``mac_muladd``): all rows with widths show one block.

    Its registers lie in the block; the reports list neither LUT nor FF for it.
    """
    return Resources(dsp=product_tiles(a_bits, b_bits, tool))


@lru_cache(maxsize=CACHE)
def adder(bits: int, tool: Tool = DEFAULT, ternary: bool = False) -> Resources:
    """A sum or difference; ``bits`` is the width of the wider operand.

    The library's table, beyond it ``bits + 7`` (Vivado HLS on UltraScale before 2020: ``bits``).  Rows of trees of sums
    mix this with ``bits``: a sum of three terms shares its LUTs and the report counts the inner one at ``bits``
    (``ternary``).
    """
    _positive(bits=bits)
    if ternary:
        return Resources(lut=bits)
    found = library.current().lookup("sum", bits, *tool.key)
    if found:
        return Resources(lut=found[0])
    plain = tool.ultrascale and tool.family == "vivado" and tool.release < (2020,)
    return Resources(lut=bits if plain else bits + 7)


@lru_cache(maxsize=CACHE)
def comparator(bits: int, tool: Tool = DEFAULT) -> Resources:
    """``==``, ``<`` and the like: the library's table, which steps at powers of two up to Vitis 2022.2.

    Beyond it 7 and a third of a LUT a bit (the table's own slope), from Vitis 2023.1 on a LUT a bit.
    """
    _positive(bits=bits)
    dense = tool.family == "vitis" and tool.release >= (2023, 1)
    size = bits if dense or bits > 64 else _pow2ceil(bits)
    found = library.current().lookup("comparator", size, "vitis" if dense else "vivado", *tool.key[1:])
    if found:
        return Resources(lut=found[0])
    return Resources(lut=bits + 7 if dense else 7 + _ceil(17 * size, 50))


@lru_cache(maxsize=CACHE)
def shift(bits: int, tool: Tool = DEFAULT) -> Resources:
    """A shift by a variable amount: the library's table; below it ``2 bits + 3``, above it 2,171 (the most seen)."""
    _positive(bits=bits)
    found = library.current().lookup("shift", bits, *tool.key)
    return Resources(lut=found[0] if found else min(2 * bits + 3, 2171))


@lru_cache(maxsize=CACHE)
def core(operator: str, bits: int, tool: Tool = DEFAULT) -> Resources | None:
    """A core of the tool's library (``fadd``, ``dmul``, ``udiv``, ...): what reports show, None for unknown ones."""
    found = library.current().lookup("core", bits, *tool.key, operator)
    return Resources(lut=found[0], ff=found[1], dsp=found[2]) if found else None


@lru_cache(maxsize=CACHE)
def logic(bits: int) -> Resources:
    """A bitwise and, or, xor: ``max(2, bits)``, all 24,923 rows."""
    _positive(bits=bits)
    return Resources(lut=max(2, bits))


@lru_cache(maxsize=CACHE)
def select(bits: int) -> Resources:
    """``c ? a : b`` of ``bits``: ``max(2, bits)``.  Rows of some releases print another operand's width (80-87 %)."""
    return logic(bits)


# -------------------------------------------------- multiplexers, registers


@lru_cache(maxsize=CACHE)
def mux(inputs: int, bits: int = 1, tool: Tool = DEFAULT) -> Resources:
    """A multiplexer row: LUT by the number of inputs, whatever ``bits`` is, as the reports have it.

    The library's table, beyond it ``4 n + 17``, 16 more above 64 inputs, 48 above 128, 128 above 256: state machines,
    mostly; recent Vitis there about ``5.3 n``.
    """
    _positive(inputs=inputs, bits=bits)
    if inputs == 1:
        return Resources()
    found = library.current().lookup("mux", inputs, *tool.key)
    if found and inputs <= MUX_TABLE:
        return Resources(lut=found[0])
    if inputs > 64 and tool.recent:
        return Resources(lut=_ceil(53 * inputs, 10) if inputs > 100 else 5 * inputs - 20)
    step = 0 if inputs <= 64 else 16 if inputs <= 128 else 48 if inputs <= 256 else 128
    return Resources(lut=4 * inputs + 17 + step)


@lru_cache(maxsize=CACHE)
def register(bits: int, constant_bits: int = 0) -> Resources:
    """A register: one FF a bit that is not constant; 85,231 of 85,231 rows that are no shift registers."""
    if not 0 <= constant_bits <= bits:
        raise LawError(f"register of {bits} bits with {constant_bits} constant: 0 to {bits}")
    return Resources(ff=bits - constant_bits)


@lru_cache(maxsize=CACHE)
def shift_memory(words: int, bits: int, tool: Tool = DEFAULT) -> Resources:
    """A window's row that shifts (``shift_array`` of hls4ml): a LUT for 32 bits, at least half a LUT a bit.

    At least a LUT a bit and two registers on the 7 series.  525 rows of two repositories, 75 % of them exact.
    """
    _positive(words=words, bits=bits)
    least = _ceil(bits, 2) if tool.ultrascale else bits
    return Resources(lut=max(least, _ceil(words * bits, 32)), ff=0 if tool.ultrascale else 2 * bits)


def shift_register() -> Resources:
    """A value delayed over pipeline stages in SRL: FF 64, LUT 32, whatever its width (9,415 of 10,254 rows)."""
    return Resources(lut=32, ff=64)


def forget() -> None:
    """Empty what the laws remember: for validation with another library."""
    for law in (memory, fifo, multiplier, adder, comparator, shift, core, logic, select, mux, register, shift_memory):
        law.cache_clear()
