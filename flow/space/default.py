"""The default space: a stem, two to four stages of one block kind each, an average and a dense layer; bits per stage.

Blocks: ``plain`` convolutions, ``separable`` (depthwise, then pointwise), ``inverted`` bottlenecks (expand, depthwise,
project; residual where shapes allow), ``residual`` basic blocks.  First and last layer stay at 8 bits.  A genotype
makes a network for any image of at least 8x8: a stage whose map would fall below 4 pixels is not downsampled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flow.ir.ops import Shape
from flow.space import Options, SpaceError
from flow.space import hardware as hw
from flow.space.hardware import HardwareGenotype
from flow.space.network import INPUT, Layer, NetSpec, SpecError, same

BLOCKS = ("plain", "separable", "inverted", "residual")
CHANNELS = (8, 12, 16, 24, 32, 48, 64, 96, 128)
KERNELS = {"plain": (1, 3, 5), "separable": (3, 5), "inverted": (3, 5), "residual": (3, 5)}
EXPANSIONS = (2, 3, 4, 6)
DEPTHS = (1, 2, 3)
DOWN = ("none", "stride", "maxpool", "avgpool")
HEADS = ("gap", "quadrants")
STEM_KERNELS = (3, 5, 7)
STEM_CHANNELS = (8, 12, 16, 24, 32)
STEM_STRIDES = (1, 2)
MIN_STAGES, MAX_STAGES = 2, 4
LEAST_MAP = 4  # no downsampling below this many pixels a side
REFERENCE_INPUT: Shape = (3, 32, 32)  # for features: size relative to other genotypes, not to a data set


@dataclass(frozen=True)
class Stage:
    """``depth`` blocks of ``block`` with ``channels``; the first one downsamples by two as ``down`` says.

    ``expansion`` is 1 but for inverted bottlenecks.
    """

    block: str
    kernel: int
    channels: int
    depth: int
    expansion: int
    down: str
    weight_bits: int
    activation_bits: int


@dataclass(frozen=True)
class Network:
    """The network half. ``head``: ``gap``, or ``quadrants`` (average to 2x2, so that the dense layer sees position)."""

    stem_kernel: int
    stem_channels: int
    stem_stride: int
    stages: tuple[Stage, ...]
    head: str


@dataclass(frozen=True)
class Genotype:
    """One joint candidate."""

    network: Network
    hardware: HardwareGenotype


class DefaultSpace:
    """See the module; implements ``flow.space.Space``."""

    name = "default"

    def __init__(self, options: Options) -> None:
        for what, bits in (("weight", options.weight_bits), ("activation", options.activation_bits)):
            if not bits or not all(2 <= b <= 8 for b in bits):
                raise SpaceError(f"{what} bits {bits}: choices from 2 to 8 are needed")
        self.clocks = options.clocks_mhz or hw.clocks(options.max_clock_mhz)
        self.budgets = options.budgets
        self.stage_genes: dict[str, tuple[Any, ...]] = {
            "block": BLOCKS,
            "kernel": (1, 3, 5),
            "channels": CHANNELS,
            "depth": DEPTHS,
            "expansion": EXPANSIONS,
            "down": DOWN,
            "weight_bits": options.weight_bits,
            "activation_bits": options.activation_bits,
        }
        self.net_genes: dict[str, tuple[Any, ...]] = {
            "stem_kernel": STEM_KERNELS,
            "stem_channels": STEM_CHANNELS,
            "stem_stride": STEM_STRIDES,
            "head": HEADS,
        }

    def sample(self, rng: np.random.Generator) -> Genotype:
        """Stages widen with depth; small widths, shallow stages and downsampling are likelier than their opposites."""
        count = int(rng.integers(MIN_STAGES, MAX_STAGES + 1))
        decay = 0.8 ** np.arange(len(CHANNELS))
        widths = sorted(int(c) for c in rng.choice(CHANNELS, count, p=decay / decay.sum()))
        stages = []
        for width in widths:
            drawn = {k: _draw(rng, v) for k, v in self.stage_genes.items()}
            drawn["channels"], drawn["depth"] = width, int(rng.choice(DEPTHS, p=(0.5, 0.3, 0.2)))
            drawn["down"] = str(rng.choice(DOWN, p=(0.2, 0.4, 0.25, 0.15)))
            stages.append(_canonical(Stage(**drawn)))
        net = {k: _draw(rng, v) for k, v in self.net_genes.items()}
        return Genotype(Network(stages=tuple(stages), **net), hw.sample(rng, self.clocks, self.budgets))

    def mutate(self, g: Genotype, rng: np.random.Generator) -> Genotype:
        """One gene changed: a random gene first, then a random other value of it, whichever gives a new genotype."""
        for site in rng.permutation(len(self._sites(g))):
            options = list(self._changes(g, self._sites(g)[int(site)], rng))
            for k in rng.permutation(len(options)):
                if options[int(k)] != g:
                    return options[int(k)]
        raise SpaceError("the space has a single genotype: nothing can be mutated")

    def crossover(self, a: Genotype, b: Genotype, rng: np.random.Generator) -> Genotype:
        """Each gene of the stem, head and hardware, and each stage as a whole, from either parent."""
        length = len((a, b)[int(rng.integers(2))].network.stages)
        stages = []
        for i in range(length):
            donors = [p.network.stages[i] for p in (a, b) if i < len(p.network.stages)]
            stages.append(donors[int(rng.integers(len(donors)))])
        genes = {k: getattr((a, b)[int(rng.integers(2))].network, k) for k in self.net_genes}
        return Genotype(Network(stages=tuple(stages), **genes), hw.crossover(a.hardware, b.hardware, rng))

    def network(self, g: Genotype, input_shape: Shape, classes: int) -> NetSpec:
        """Raises ``SpecError`` for images below 8x8."""
        if min(input_shape[1:]) < 8:
            raise SpecError(f"images {input_shape}: the default space needs at least 8x8 pixels")
        return _Builder(input_shape).build(g.network, classes)

    def hardware(self, g: Genotype) -> HardwareGenotype:
        return g.hardware

    def features(self, g: Genotype) -> NDArray[np.float64]:
        """Genes as numbers in about 0..1 (choices one-hot, sizes in log2), absent stages zero; then log10 of
        parameters, weight bits and MACs on a 3x32x32 image."""
        net, spec = g.network, self.network(g, REFERENCE_INPUT, 10)
        row = [net.stem_kernel / 7, math.log2(net.stem_channels) / 7, net.stem_stride / 2, HEADS.index(net.head)]
        for i in range(MAX_STAGES):
            row += _stage_features(net.stages[i]) if i < len(net.stages) else [0.0] * STAGE_FEATURES
        row += [g.hardware.clock_mhz / 300, math.log2(g.hardware.budget)]
        row += [math.log10(x) for x in (spec.params, spec.weight_bits, spec.macs)]
        return np.array(row, np.float64)

    def dumps(self, g: Genotype) -> dict[str, Any]:
        return asdict(g)

    def loads(self, obj: object) -> Genotype:
        """Checks every gene against the space's choices as shipped, not as narrowed: old journals stay readable."""
        top = _keys("genotype", obj, ("network", "hardware"))
        names = tuple(f.name for f in fields(Network))
        net = _keys("network", top["network"], names)
        for name, choices in self.net_genes.items():
            _member(name, net[name], choices)
        raw = net["stages"]
        if not isinstance(raw, list | tuple) or not MIN_STAGES <= len(raw) <= MAX_STAGES:
            raise SpaceError(f"stages: a list of {MIN_STAGES} to {MAX_STAGES} is needed")
        stages = tuple(_stage(i, stage) for i, stage in enumerate(raw))
        try:
            hardware = hw.loads(top["hardware"])
        except ValueError as e:
            raise SpaceError(str(e)) from e
        return Genotype(Network(stages=stages, **{k: net[k] for k in self.net_genes}), hardware)

    def genes(self) -> tuple[int, ...]:
        """Choices of clock, budget, stem and head, number of stages, then of each of the most stages' genes."""
        stage = [len(v) for v in self.stage_genes.values()]
        net = [len(v) for v in self.net_genes.values()]
        return (len(self.clocks), len(self.budgets), *net, MAX_STAGES - MIN_STAGES + 1, *stage * MAX_STAGES)

    def join(self, a: Genotype, b: Genotype) -> Genotype:
        """The network of ``a`` with the hardware of ``b`` (``flow.search.halves``)."""
        return replace(a, hardware=b.hardware)

    def halves(self) -> tuple[int, ...]:
        """For each gene of the encoding: 0 for the network's, 1 for the hardware's."""
        return (1, 1, *[0] * (len(self.genes()) - 2))

    def encode(self, g: Genotype) -> tuple[int, ...]:
        """Index vector (``flow.search.encoded``); raises SpaceError for a value outside the options."""
        net, stages = g.network, g.network.stages
        pairs = [("clock_mhz", self.clocks, g.hardware.clock_mhz), ("budget", self.budgets, g.hardware.budget)]
        pairs += [(k, v, getattr(net, k)) for k, v in self.net_genes.items()]
        code = [_index(*p) for p in pairs] + [len(stages) - MIN_STAGES]
        for stage in stages:
            skip = () if stage.block == "inverted" else ("expansion",)  # without effect
            code += [0 if k in skip else _index(k, v, getattr(stage, k)) for k, v in self.stage_genes.items()]
        return tuple(code + [0] * len(self.stage_genes) * (MAX_STAGES - len(stages)))

    def decode(self, indices: Sequence[int]) -> Genotype:
        """The genotype of an index vector; genes without effect are ignored."""
        it = iter(int(i) for i in indices)
        hardware = HardwareGenotype(float(self.clocks[next(it)]), float(self.budgets[next(it)]))
        net = {k: v[next(it)] for k, v in self.net_genes.items()}
        count = next(it) + MIN_STAGES
        drawn = [Stage(**{k: v[next(it)] for k, v in self.stage_genes.items()}) for _ in range(count)]
        return Genotype(Network(stages=tuple(_canonical(s) for s in drawn), **net), hardware)

    def _sites(self, g: Genotype) -> list[tuple[int, str]]:
        """Mutable places: (stage, gene), stage -1 = network, -2 = hardware."""
        sites = [(-1, k) for k in (*self.net_genes, "insert", "remove")] + [(-2, "clock_mhz"), (-2, "budget")]
        return sites + [(i, k) for i in range(len(g.network.stages)) for k in self.stage_genes]

    def _changes(self, g: Genotype, site: tuple[int, str], rng: np.random.Generator) -> Iterator[Genotype]:
        (where, gene), net = site, g.network
        stages = net.stages
        if where == -2:
            for value in self.clocks if gene == "clock_mhz" else self.budgets:
                yield replace(g, hardware=replace(g.hardware, **{gene: value}))
        elif gene == "remove":
            for i in range(len(stages) if len(stages) > MIN_STAGES else 0):
                yield replace(g, network=replace(net, stages=stages[:i] + stages[i + 1 :]))
        elif gene == "insert":
            for i in range(len(stages) if len(stages) < MAX_STAGES else 0):
                new = _canonical(replace(stages[i], down="none", kernel=_draw(rng, (1, 3, 5)), depth=1))
                yield replace(g, network=replace(net, stages=(*stages[: i + 1], new, *stages[i + 1 :])))
        elif where == -1:
            for value in self.net_genes[gene]:
                yield replace(g, network=replace(net, **{gene: value}))
        else:
            for value in self.stage_genes[gene]:
                new = _canonical(replace(stages[where], **{gene: value}))
                yield replace(g, network=replace(net, stages=(*stages[:where], new, *stages[where + 1 :])))


def space(options: Options) -> DefaultSpace:
    """What ``flow.space.load`` calls."""
    return DefaultSpace(options)


def _draw(rng: np.random.Generator, choices: tuple[Any, ...]) -> Any:
    """A choice with its Python type kept (``rng.choice`` would give numpy's)."""
    return choices[int(rng.integers(len(choices)))]


def _index(name: str, choices: Sequence[Any], value: Any) -> int:
    if value not in choices:
        raise SpaceError(f"{name} = {value!r}: not one of the options {', '.join(map(str, choices))}")
    return choices.index(value)


def _canonical(stage: Stage) -> Stage:
    """Genes without effect set to one value, so that equal networks have equal genotypes."""
    kernel = stage.kernel if stage.kernel in KERNELS[stage.block] else 3
    expansion = (stage.expansion if stage.expansion in EXPANSIONS else 4) if stage.block == "inverted" else 1
    return replace(stage, kernel=kernel, expansion=expansion)


STAGE_FEATURES = 15


def _stage_features(s: Stage) -> list[float]:
    sizes = [s.kernel / 5, math.log2(s.channels) / 7, s.depth / 3, s.expansion / 6]
    bits = [s.weight_bits / 8, s.activation_bits / 8]
    return [1.0, *(float(s.block == b) for b in BLOCKS), *sizes, *(float(s.down == d) for d in DOWN), *bits]


def _keys(what: str, obj: object, names: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(obj, dict) or set(obj) != set(names):
        raise SpaceError(f"{what}: keys {', '.join(names)} are needed")
    return obj


def _member(what: str, value: object, choices: tuple[Any, ...]) -> None:
    if isinstance(value, bool) or value not in choices:
        raise SpaceError(f"{what} = {value!r}: not one of {', '.join(map(str, choices))}")


def _stage(i: int, obj: object) -> Stage:
    genes = _keys(f"stage {i}", obj, tuple(f.name for f in fields(Stage)))
    _member(f"stage {i} block", genes["block"], BLOCKS)
    bits = tuple(range(2, 9))
    rules = (
        ("channels", CHANNELS),
        ("depth", DEPTHS),
        ("down", DOWN),
        ("weight_bits", bits),
        ("activation_bits", bits),
    )
    for name, choices in rules:
        _member(f"stage {i} {name}", genes[name], choices)
    _member(f"stage {i} kernel", genes["kernel"], KERNELS[genes["block"]])
    _member(f"stage {i} expansion", genes["expansion"], EXPANSIONS if genes["block"] == "inverted" else (1,))
    return Stage(**genes)


class _Builder:
    """Appends layers; ``tip`` is the last layer's index, ``shape`` its output."""

    def __init__(self, input_shape: Shape) -> None:
        self.layers: list[Layer] = []
        self.input_shape = self.shape = input_shape
        self.tip = INPUT

    def build(self, net: Network, classes: int) -> NetSpec:
        # A strided stem on a small image would leave the stages nothing to do.
        stride = net.stem_stride if min(self.shape[1:]) >= 4 * LEAST_MAP else 1
        self.conv(net.stem_channels, net.stem_kernel, stride)
        for stage in net.stages:
            self.stage(stage)
        quadrant = min(self.shape[1:]) // 2
        if net.head == "quadrants" and quadrant >= 1 and self.shape[1] == self.shape[2]:
            if quadrant > 1:
                self.add(Layer("avgpool", (self.tip,), kernel=quadrant, stride=quadrant))
        else:
            self.add(Layer("gap", (self.tip,)))
        self.add(Layer("dense", (self.tip,), classes))
        return NetSpec(self.input_shape, classes, tuple(self.layers))

    def add(self, layer: Layer) -> int:
        self.layers.append(layer)
        self.tip = len(self.layers) - 1
        c, h, w = self.shape
        if layer.kind == "conv":
            c = layer.out_channels
        if layer.kind in ("conv", "avgpool", "maxpool"):  # all paddings here are symmetric about the window
            h, w = ((x + 2 * layer.padding[0] - layer.kernel) // layer.stride + 1 for x in (h, w))
        self.shape = (c, h, w)
        return self.tip

    def conv(
        self,
        channels: int,
        kernel: int,
        stride: int = 1,
        relu: bool = True,
        bits: tuple[int, int] = (8, 8),
        groups: int = 1,
        source: int | None = None,
    ) -> int:
        inputs = (self.tip if source is None else source,)
        return self.add(Layer("conv", inputs, channels, kernel, stride, same(kernel), groups, relu, *bits))

    def stage(self, s: Stage) -> None:
        down = s.down if min(self.shape[1:]) >= 2 * LEAST_MAP else "none"
        if down in ("maxpool", "avgpool"):
            bits = self.layers[self.tip].activation_bits
            self.add(Layer(down, (self.tip,), kernel=2, stride=2, activation_bits=bits))
        for i in range(s.depth):
            _BLOCK[s.block](self, s, 2 if down == "stride" and i == 0 else 1)

    def plain(self, s: Stage, stride: int) -> None:
        self.conv(s.channels, s.kernel, stride, bits=(s.weight_bits, s.activation_bits))

    def separable(self, s: Stage, stride: int) -> None:
        bits, channels = (s.weight_bits, s.activation_bits), self.shape[0]
        self.conv(channels, s.kernel, stride, bits=bits, groups=channels)
        self.conv(s.channels, 1, bits=bits)

    def inverted(self, s: Stage, stride: int) -> None:
        bits, source, channels = (s.weight_bits, s.activation_bits), self.tip, self.shape[0]
        wide = channels * s.expansion
        self.conv(wide, 1, bits=bits)
        self.conv(wide, s.kernel, stride, bits=bits, groups=wide)
        tip = self.conv(s.channels, 1, relu=False, bits=bits)
        if stride == 1 and channels == s.channels:
            self.add(Layer("add", (source, tip), activation_bits=s.activation_bits))

    def residual(self, s: Stage, stride: int) -> None:
        bits, source, before = (s.weight_bits, s.activation_bits), self.tip, self.shape
        self.conv(s.channels, s.kernel, stride, bits=bits)
        tip = self.conv(s.channels, s.kernel, relu=False, bits=bits)
        if self.shape != before:
            after, self.shape = self.shape, before
            source = self.conv(s.channels, 1, stride, relu=False, bits=bits, source=source)
            if self.shape != after:
                raise SpecError(f"shortcut gives {self.shape}, the block {after}")
        self.add(Layer("add", (source, tip), relu=True, activation_bits=s.activation_bits))


_BLOCK = {
    "plain": _Builder.plain,
    "separable": _Builder.separable,
    "inverted": _Builder.inverted,
    "residual": _Builder.residual,
}
