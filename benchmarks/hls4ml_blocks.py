"""The blocks that hls4ml makes of a network's layers: multipliers, tables, streams, window buffers and cycles.

What its templates (nnet_dense_resource.h, nnet_dense_latency.h, nnet_conv_stream.h, nnet_padding, nnet_pooling,
nnet_activation; hls4ml 0.5 to 1.0) instantiate, priced by flow/cost/laws.py. A block's LUT and FF are a sum of terms,
each one law times a count; benchmarks/designs.py says how much of each term C synthesis keeps, from designs of other
families. DSP, block RAM and cycles are taken as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from flow.board import Resources
from flow.cost import laws
from flow.cost.laws import Tool

OVERHEAD = 5  # cycles a pixel beside R: conv_2d_cl of R = 2, 3, 4, 15, 18, 72 take 7, 8, 9, 20, 23, 78
CONSTANT_DSP = 11  # bits of a constant from which its product is a DSP block: 10 bits leave 0 to 7 % of them there


@dataclass(frozen=True)
class Block:
    """One process. ``grid``: (height, width) of its input; ``made``: of its output; ``window``: rows, columns, stride.

    ``channels`` in and out are elements of a beat; ``products`` the weights that are not zero; ``strategy`` "latency",
    "resource" or "" for blocks without weights; ``buffer`` "window" (a FIFO for every element of it), "lines", "serial"
    (an element a beat) or "none" (all parallel).
    """

    kind: str
    channels: tuple[int, int]
    grid: tuple[int, int]
    made: tuple[int, int]
    window: tuple[int, int, int] = (1, 1, 1)
    bits: int = 16
    weight_bits: int = 16
    sum_bits: int = 16
    out_bits: int = 16
    reuse: int = 1
    products: int = 0
    strategy: str = ""
    buffer: str = "window"
    depth: int | None = None  # of the stream behind it, where a design states it

    @property
    def n_in(self) -> int:
        return self.channels[0] * self.window[0] * self.window[1]

    @property
    def positions(self) -> int:
        return self.grid[0] * self.grid[1]

    @cached_property
    def multipliers(self) -> int:
        return -(-self.products // self.reuse)

    def stream(self, tool: Tool) -> Resources:
        """The FIFO behind it: as deep as the map it carries unless stated; none between parallel layers."""
        if self.buffer == "none":
            return Resources()
        depth = self.depth if self.depth is not None else self.made[0] * self.made[1]
        bits = self.out_bits * (1 if self.buffer == "serial" else self.channels[1])
        return laws.fifo(depth, bits, tool) if depth > 1 else Resources()

    def held(self, tool: Tool) -> Resources:
        """Window FIFOs (``filt_height x out_width`` deep, hls4ml's ``win_depth``), or rows of a line buffer."""
        if self.kind not in ("conv", "pool") or self.buffer == "none":
            return Resources()
        if self.buffer == "window" and self.kind == "conv":
            return laws.fifo(self.window[0] * self.made[1], self.bits, tool).times(self.n_in)
        if self.buffer == "window" or self.window[0] < 2:
            return Resources()
        return laws.shift_memory(self.grid[1], self.bits, tool).times((self.window[0] - 1) * self.channels[0])

    def fixed(self, tool: Tool) -> Resources:
        """DSP and block RAM, by the laws alone, without the stream."""
        if self.kind == "softmax":
            parallel = self.channels[0] // self.reuse
            tables = laws.bram18(1024, 18, tool=tool) * (1 + -(-parallel // 4))
            return Resources(bram18=tables, dsp=parallel if self.strategy == "stable" else max(1, parallel // 2))
        if self.kind == "leaky":
            each = laws.multiplier(self.bits, 16, "auto", tool).dsp
            return Resources(dsp=each * (1 if self.buffer == "serial" else self.channels[0]))
        if not self.strategy:
            return Resources(bram18=self.held(tool).bram18)
        one = laws.multiplier(self.bits, max(2, self.weight_bits), "auto", tool)
        if self.strategy == "latency" and self.weight_bits < CONSTANT_DSP:
            one = Resources()
        weights = Resources()
        if self.strategy == "resource" and self.reuse > 1:
            weights = laws.memory(self.reuse, self.multipliers * self.weight_bits, tool=tool)
        return Resources(dsp=one.dsp * self.multipliers, bram18=weights.bram18 + self.held(tool).bram18)

    def terms(self, tool: Tool) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(LUT terms, FF terms), each a law times a count: what ``group`` says which blocks share the weights of.

        With weights: sums behind the products (a tree of constants in parallel layers, else one for a multiplier), and
        bits of the window that is read, by the kind of its buffer. Without: a comparison, a choice and the two
        multiplexers of a stream for a channel, bits of a channel's window, and the state machine.
        """
        area = self.window[0] * self.window[1]
        if self.strategy in ("latency", "resource"):
            sums = self._sums if self.strategy == "latency" else self.multipliers
            one, read = laws.adder(self.sum_bits, tool).lut, self.n_in * self.bits
            if self.buffer == "none":
                return (sums * one,), (sums * self.sum_bits * min(levels(self), 4) / 4, self.channels[1] * 1.0)
            by_buffer = [float(read * (self.buffer == kind)) for kind in ("window", "lines", "serial")]
            products = self.products if self.strategy == "latency" else self.multipliers
            return (float(sums * one), *by_buffer), (float(products * self.bits), *by_buffer)
        c = 1 if self.buffer == "serial" else self.channels[0]
        each = laws.comparator(self.bits, tool).lut + laws.select(self.out_bits).lut
        if self.buffer == "none":
            return (c * each,), (0.0,)
        each += 2 * laws.mux(2, 1, tool).lut
        return (c * each * area, 64.0), (c * self.bits * (area if self.kind == "pool" else 1), 16.0)

    @property
    def _sums(self) -> int:
        """Additions of a tree for every output and its bias; weights that are left alone need none."""
        return max(0, self.products - self.channels[1] // 2)

    def cycles(self) -> float:
        """For one position of its input, in steady state."""
        if self.buffer == "serial":
            read = self.channels[0] if self.kind in ("conv", "pad", "pool", "leaky", "relu") else 1
            return self.reuse + 3 * self.n_in + 2 * self.channels[1] if self.kind == "conv" else 2 * read
        if self.kind == "conv":
            return self.reuse + OVERHEAD if self.strategy == "resource" and self.reuse > 1 else self.reuse
        return 1.0

    def busy(self) -> float:
        """Cycles that the process takes for an image."""
        if self.kind == "dense":
            return self.reuse + self.positions + OVERHEAD
        return self.cycles() * max(self.positions, self.made[0] * self.made[1])


def dataflow(blocks: Sequence[Block]) -> tuple[float, float]:
    """(latency, interval) that C synthesis reports of a chain of processes.

    The slowest process, and behind it what waits for the whole map: dense layers. What the others add while they fill
    is not in the reports: their latency is 1.05 times the slowest process's at the median.
    """
    slowest = max(b.busy() for b in blocks)
    return slowest + sum(b.busy() for b in blocks if b.kind == "dense"), slowest + 1


def levels(block: Block) -> int:
    """Depth of the tree of sums behind one output of a parallel dense layer."""
    return math.ceil(math.log2(max(1.0, block.products / block.channels[1])))
