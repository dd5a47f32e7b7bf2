"""The tiled engine: one kernel that computes a network's layers in turn, a tile at a time, and what it costs.

A tile is up to ``acc_depth`` output pixels of ``tm`` channels.  The array multiplies ``tm`` x ``tn`` numbers a cycle;
its weights stay in registers while all pixels of the tile pass, and the next weights arrive meanwhile through a port
of ``wp`` bytes.  Windows per channel (depthwise convolution, pooling) have ``taps`` columns of multipliers of their
own.  Feature maps move in words of ``granule`` channels (the published models' Ip = Op = ``granule`` bytes a cycle).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple

from flow.blocks import mac
from flow.blocks.control import control
from flow.board import Board, Resources
from flow.cost import laws

Storage = Literal["lutram", "bram", "uram"]
# Bytes a cycle of one port of the processing system or memory controller, and how many there are: AMD UG1085 (S_AXI_HP
# of Zynq UltraScale+: four of 128 bits), UG585 (Zynq-7000: four of 64 bits), memory controllers of 512 bits elsewhere.
PORT_BYTES = {"zynquplus": 16, "zynq": 8}
PORTS = {"zynquplus": 4, "zynq": 4}
OTHER_PORT_BYTES, OTHER_PORTS = 64, 1
X = (-128, 255)  # activations: signed or unsigned bytes, told apart layer by layer
W = (-128, 127)
FEWEST = 16  # cycles between two uses of one accumulator word: its read, add and write are shorter
RECORD = 128  # numbers of one instruction
RUNS = 8  # runs of equal channel blocks that a load can gather
PIXEL = 4  # bytes of a pixel of the network's input where its window is gathered while loading
LINE_WORDS = 2048  # memory words of input rows that gathering keeps
GATHER = 16  # pixels the gathering register holds: widest kernel row of a gathered first layer


class EngineError(ValueError):
    """Engine parameters that contradict each other."""


@dataclass(frozen=True)
class Features:
    """What a program needs beyond convolution; the engine is built with it and no more."""

    window: bool = False  # pooling
    depthwise: bool = False  # window products
    residual: bool = False  # second operand in the output stage
    multiplier: bool = False  # requantisation by a general multiplier
    divide: bool = False  # exact division (averages)
    wide: bool = False  # 16-bit output of the network
    gather: bool = False  # first layer's windows gathered while loading
    acc_bits: int = 26

    def __or__(self, other: Features) -> Features:
        mine, theirs = asdict(self), asdict(other)
        return Features(**{k: max(v, theirs[k]) for k, v in mine.items()})


class Buffers(NamedTuple):
    """Sizes of an engine's memories, in their own words."""

    acc_depth: int
    in_depth: int
    cache: int


@dataclass(frozen=True)
class Engine:
    """Parameters of one engine. Sizes: channels, bytes a cycle, or words as said; see the module's text."""

    tm: int = 64
    tn: int = 32
    granule: int = 16
    wp: int = 16
    acc_depth: int = 1024
    in_depth: int = 4096  # words of tn bytes in each input buffer
    cache: int = 8192  # words of wp bytes; 0: none
    taps: int = 3
    ports: int = 2  # memory ports that loads, weights and residuals share
    packing: bool = True  # two products a DSP
    double_buffer: bool = True
    acc_memory: Storage = "bram"
    in_memory: Storage = "bram"
    cache_memory: Storage = "bram"

    def __post_init__(self) -> None:
        for name in ("tm", "tn", "granule", "wp", "acc_depth", "in_depth", "taps", "ports"):
            if getattr(self, name) < 1:
                raise EngineError(f"{name} is {getattr(self, name)}: at least 1")
        if self.tm % self.granule or self.tn % self.granule:
            raise EngineError(f"tm {self.tm} and tn {self.tn} must be multiples of the granule {self.granule}")
        if max(self.tm, self.tn) % min(self.tm, self.tn):
            raise EngineError(f"one of tm {self.tm} and tn {self.tn} must divide the other: windows use both")
        if self.tm % self.wp or self.wp % 4:
            raise EngineError(f"wp {self.wp} must be a multiple of 4 that divides tm {self.tm}")
        if self.granule % PIXEL or self.tm % 2:
            raise EngineError(f"granule {self.granule}: a multiple of {PIXEL}; tm {self.tm}: even")
        if self.cache < 0:
            raise EngineError(f"cache is {self.cache}: at least 0")

    @property
    def lanes(self) -> int:
        """Channels a cycle of window operators."""
        return min(self.tm, self.tn)

    @property
    def weight_words(self) -> int:
        """Port words of the array's weights at one kernel position."""
        return -(-self.tm * self.tn // self.wp)

    @property
    def macs(self) -> int:
        """Products a cycle of the array."""
        return self.tm * self.tn

    def post_words(self, features: Features) -> int:
        """Port words of the output stage's parameters of ``tm`` channels: bias, shift and perhaps multiplier."""
        return self.tm * (9 if features.multiplier else 5) // self.wp

    def tap_words(self) -> int:
        """Port words of one window pass's weights."""
        return -(-self.lanes * self.taps // self.wp)

    def sized(self, buffers: Buffers) -> Engine:
        """The same array with other memories."""
        return replace(self, acc_depth=buffers.acc_depth, in_depth=buffers.in_depth, cache=buffers.cache)

    def json(self) -> dict[str, Any]:
        return asdict(self)

    @cached_property
    def published(self) -> dict[str, int]:
        """The same under the literature's names (words of 8 bits)."""
        return {"Tm": self.tm, "Tn": self.tn, "Wp": self.wp, "Ip": self.granule, "Op": self.granule}


@lru_cache(maxsize=65536)
def resources(engine: Engine, features: Features, ultrascale: bool) -> Resources:
    """What C synthesis will report for the kernel, composed of component laws.

    The array as in a streaming stage (``blocks.mac``); weights in two register sets; accumulators, input tiles and
    cache by the memory laws; adapters of the memory ports as real reports of m_axi modules have them (see ADAPTER).
    """
    return (
        _array(engine, features, ultrascale)
        + _windows(engine, features)
        + _output(engine, features)
        + memories(engine, features, ultrascale)
        + _moves(engine)
    )


# One m_axi adapter of 32 data bits: medians of the six `m_axi` instance rows of real csynth reports (Vitis 2022.1 to
# 2025.2): LUT 694 to 1,438, FF 665 to 830.  Wider data: two more LUT and FF a bit, an assumption (no rows).
ADAPTER = Resources(lut=847, ff=754)
ADAPTER_BIT = 2
PORT_BUFFER_WORDS = 512


def _array(e: Engine, f: Features, ultrascale: bool) -> Resources:
    kind: Literal["packed", "dsp"] = "packed" if e.packing else "dsp"
    dots = mac.dot_cost(e.tm, e.tn, W, X, f.acc_bits, kind, ultrascale)
    weights = laws.register(8).times(2 * e.tm * e.tn)
    adders = (laws.adder(f.acc_bits) + laws.register(f.acc_bits) + laws.select(f.acc_bits)).times(e.tm)
    masks = laws.select(9).times(2 * e.tn) + laws.register(9).times(e.tn)
    return dots + weights + adders + masks


def _windows(e: Engine, f: Features) -> Resources:
    if not (f.window or f.depthwise):
        return Resources()
    taps = e.lanes * e.taps
    out = (laws.register(9) + laws.select(9)).times(taps)
    if f.window:
        out += (laws.comparator(9) + laws.select(9)).times(taps)
    if f.depthwise:
        out += (laws.multiplier(9, 8, "lut") + laws.register(17)).times(taps)
    return out + mac.tree(e.taps, 17, f.acc_bits).times(e.lanes)


def _output(e: Engine, f: Features) -> Resources:
    """Bias, shift, rounding, limits; the residual's addition and its own rounding; on ``granule`` lanes."""
    wide = f.acc_bits + 2
    shifter = laws.select(wide).times(5)
    lane = laws.adder(wide).times(2) + shifter + laws.comparator(wide).times(2) + laws.select(16).times(2)
    lane += laws.register(wide).times(4) + laws.select(wide).times(max(1, (e.tm // e.granule - 1).bit_length()))
    if f.residual:
        lane += laws.adder(wide).times(3) + shifter.times(3) + laws.comparator(wide).times(2) + laws.register(wide)
    if f.multiplier:
        lane += laws.multiplier(f.acc_bits, 32, "dsp")
    if f.divide:
        lane += laws.multiplier(f.acc_bits, 24, "dsp") + laws.multiplier(24, 17, "dsp") + laws.adder(48).times(2)
    tables = laws.register(40 + (32 if f.multiplier else 0)).times(e.tm)
    return lane.times(e.granule) + tables


@lru_cache(maxsize=65536)
def memories(e: Engine, f: Features, ultrascale: bool) -> Resources:
    """Accumulators and the results behind them, input tiles, weight cache, small queues."""
    tool = laws.Tool(ultrascale=ultrascale)
    wide = e.tm * f.acc_bits
    banks = e.tn // e.granule
    tile = laws.memory(e.in_depth, 8 * e.granule, e.in_memory, rom=False, tool=tool)
    out = laws.memory(e.acc_depth, wide, e.acc_memory, rom=False, tool=tool)
    out += laws.fifo(e.acc_depth, wide)
    out += tile.times(banks * (2 if e.double_buffer else 1))
    if e.cache:
        out += laws.memory(e.cache, 8 * e.wp, e.cache_memory, rom=False, tool=tool)
    out += laws.fifo(queue_depth(e), 8 * e.wp) + laws.fifo(2 * e.post_words(f), 8 * e.wp)
    if f.residual:
        out += laws.fifo(512, 8 * e.granule)
    if f.gather:
        out += laws.memory(LINE_WORDS, 8 * e.granule, "bram", rom=False, tool=tool)
    return out


def queue_depth(e: Engine) -> int:
    """Weight words that may wait before the array: two kernel positions."""
    return 2 * e.weight_words


def _moves(e: Engine) -> Resources:
    """Address counters of the six processes, instruction registers, memory adapters."""
    ports = Resources()
    for data in (e.granule, e.granule, e.granule, e.wp, 4):
        extra = ADAPTER_BIT * (8 * data - 32) if data > 4 else 0
        ports += ADAPTER + Resources(lut=extra, ff=extra)
        ports += laws.memory(PORT_BUFFER_WORDS, 8 * data, "bram", rom=False)
    return ports + control(10).times(6) + laws.register(32).times(RECORD) + laws.multiplier(16, 16, "dsp").times(6)


def port_bytes(board: Board) -> int:
    return PORT_BYTES.get(board.family, OTHER_PORT_BYTES)


def port_count(board: Board) -> int:
    return PORTS.get(board.family, OTHER_PORTS)
