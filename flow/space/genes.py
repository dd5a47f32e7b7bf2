"""A space written as a list of genes: a subclass names them and builds the network, all else is done here.

The genes are the network's (``topology``), then bit widths for the named ``sites`` (or one pair for the whole network),
and the hardware's clock and budget. Genes that a genotype makes no use of are None in it, so that equal networks have
equal genotypes.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flow.ir.ops import Shape
from flow.space import Options, SpaceError
from flow.space import hardware as hw
from flow.space.hardware import HardwareGenotype
from flow.space.network import NetSpec
from flow.space.stack import Bits

LEAST_IMAGE = 8
BITS = tuple(range(2, 9))


@dataclass(frozen=True)
class Gene:
    """``values``: the choices, all of one type, str or number.  ``shares``: how often ``sample`` takes each; empty
    for equally."""

    name: str
    values: tuple[Any, ...]
    shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class Genotype:
    """``genes``: values in the order of the space's genes, None for one without effect."""

    genes: tuple[Any, ...]
    hardware: HardwareGenotype


class GeneSpace(abc.ABC):
    """Implements ``flow.space.Space`` and ``flow.search.encoded.Encoded`` (hardware genes first, then the network from
    front to back)."""

    name: str
    reference: Shape = (3, 32, 32)  # image and classes that ``features`` count work for
    reference_classes = 10

    def __init__(self, topology: Sequence[Gene], options: Options, sites: Sequence[str] = ()) -> None:
        for what, choices in (("weight", options.weight_bits), ("activation", options.activation_bits)):
            if not choices or not all(b in BITS for b in choices):
                raise SpaceError(f"{what} bits {choices}: choices from 2 to 8 are needed")
        self.topology = tuple(topology)
        bits = []
        for end in [f"@{s}" for s in sites] or [""]:
            bits += [Gene(f"weight_bits{end}", options.weight_bits)]
            bits += [Gene(f"activation_bits{end}", options.activation_bits)]
        self.all = (*self.topology, *bits)
        self.names = tuple(g.name for g in self.all)
        self.clocks = options.clocks_mhz or hw.clocks(options.max_clock_mhz)
        self.budgets = options.budgets
        self._work = lru_cache(maxsize=4096)(self._count)

    # ---------------------------------------------------------------- what a subclass says

    @abc.abstractmethod
    def build(self, genes: Mapping[str, Any], input_shape: Shape, classes: int) -> NetSpec:
        """The network of named genes (absent: without effect)."""

    def idle(self, genes: Mapping[str, Any]) -> Collection[str]:
        """Names of genes without effect beside the others, bit widths of absent sites included."""
        return ()

    def topologies(self) -> int:
        """Number of different genotypes, hardware and bit widths apart."""
        return math.prod(len(g.values) for g in self.topology)

    @staticmethod
    def bits(genes: Mapping[str, Any], site: str = "") -> Bits:
        """Weight and activation bits of a site, or of the whole network."""
        end = f"@{site}" if site else ""
        return genes[f"weight_bits{end}"], genes[f"activation_bits{end}"]

    # ---------------------------------------------------------------- genotypes

    def genotype(self, genes: Mapping[str, Any], hardware: HardwareGenotype | None = None) -> Genotype:
        """The genotype of named topology genes; bit widths not given are the widest, the hardware the largest.

        Raises SpaceError where a gene with effect is missing or has a value that the space does not have.
        """
        widest = {g.name: max(g.values) for g in self.all[len(self.topology) :]}
        found = {**widest, **genes}
        skip = set(self.idle(found))
        for g in self.all:
            if g.name not in skip:
                _member(g.name, found.get(g.name), BITS if g.name.startswith(_BIT_NAMES) else g.values)
        return self._made(found, hardware or HardwareGenotype(max(self.clocks), max(self.budgets)))

    def named(self, g: Genotype) -> dict[str, Any]:
        """Genes with effect by name."""
        return {n: v for n, v in zip(self.names, g.genes, strict=True) if v is not None}

    def _made(self, genes: Mapping[str, Any], hardware: HardwareGenotype) -> Genotype:
        skip = set(self.idle(genes))
        return Genotype(tuple(None if n in skip else genes[n] for n in self.names), hardware)

    def sample(self, rng: np.random.Generator) -> Genotype:
        """Every gene by its shares."""
        return self._made({g.name: _draw(g, rng) for g in self.all}, hw.sample(rng, self.clocks, self.budgets))

    def mutate(self, g: Genotype, rng: np.random.Generator) -> Genotype:
        """One gene takes another value; genes that come into effect by it are drawn."""
        sites = [(i, v) for i, v in enumerate(g.genes) if v is not None and len(self.all[i].values) > 1]
        hardware = [(n, c) for n, c in (("clock_mhz", self.clocks), ("budget", self.budgets)) if len(c) > 1]
        if not sites and not hardware:
            raise SpaceError(f"space {self.name} has a single genotype: nothing can be mutated")
        at = int(rng.integers(len(sites) + len(hardware)))
        if at >= len(sites):
            name, choices = hardware[at - len(sites)]
            others = [c for c in choices if c != getattr(g.hardware, name)]
            values = {"clock_mhz": g.hardware.clock_mhz, "budget": g.hardware.budget, name: _one(others, rng)}
            return Genotype(g.genes, HardwareGenotype(**values))
        i, old = sites[at]
        genes = {n: _draw(h, rng) if v is None else v for n, v, h in zip(self.names, g.genes, self.all, strict=True)}
        genes[self.names[i]] = _one([v for v in self.all[i].values if v != old], rng)
        return self._made(genes, g.hardware)

    def crossover(self, a: Genotype, b: Genotype, rng: np.random.Generator) -> Genotype:
        """Each gene from either parent, or from the one where it has an effect."""
        genes = {}
        for gene, x, y, first in zip(self.all, a.genes, b.genes, rng.random(len(self.all)) < 0.5, strict=True):
            one, other = (x, y) if first else (y, x)
            value = other if one is None else one
            genes[gene.name] = _draw(gene, rng) if value is None else value
        return self._made(genes, hw.crossover(a.hardware, b.hardware, rng))

    # ---------------------------------------------------------------- what a genotype stands for

    def network(self, g: Genotype, input_shape: Shape, classes: int) -> NetSpec:
        """Raises ``SpaceError`` for images below 8x8."""
        if min(input_shape[1:]) < LEAST_IMAGE:
            raise SpaceError(f"images {input_shape}: space {self.name} needs at least {LEAST_IMAGE}x{LEAST_IMAGE}")
        return self.build(self.named(g), input_shape, classes)

    def hardware(self, g: Genotype) -> HardwareGenotype:
        return g.hardware

    def _count(self, genes: tuple[Any, ...]) -> tuple[float, ...]:
        named = {n: v for n, v in zip(self.names, genes, strict=True) if v is not None}
        spec = self.build(named, self.reference, self.reference_classes)
        return tuple(math.log10(max(1, x)) for x in (spec.params, spec.weight_bits, spec.macs))

    def features(self, g: Genotype) -> NDArray[np.float64]:
        """Words one-hot, numbers in 0..1 with a mark that they have an effect (0 and 0 where not); clock, log2 of the
        budget; log10 of parameters, weight bits and MACs on the reference image."""
        row: list[float] = []
        for gene, value in zip(self.all, g.genes, strict=True):
            if isinstance(gene.values[0], str):
                row += [float(value == v) for v in gene.values]
            else:
                row += [0.0, 0.0] if value is None else [1.0, value / max(gene.values)]
        row += [g.hardware.clock_mhz / 300, math.log2(g.hardware.budget), *self._work(g.genes)]
        return np.array(row, np.float64)

    # ---------------------------------------------------------------- forms

    def dumps(self, g: Genotype) -> dict[str, Any]:
        """Genes with effect by name."""
        hardware = {"clock_mhz": g.hardware.clock_mhz, "budget": g.hardware.budget}
        return {"network": self.named(g), "hardware": hardware}

    def loads(self, obj: object) -> Genotype:
        """Bit widths, clock and budget are checked against what there can be, not against the options: old journals
        stay readable."""
        if not isinstance(obj, dict) or set(obj) != {"network", "hardware"} or not isinstance(obj["network"], dict):
            raise SpaceError(f"a genotype of space {self.name}: keys network, hardware are needed, network an object")
        genes = obj["network"]
        unknown = sorted(set(genes) - set(self.names))
        if unknown:
            raise SpaceError(f"space {self.name} has no gene {unknown[0]!r}")
        for gene in self.all:
            if gene.name in genes:
                choices = BITS if gene.name.startswith(_BIT_NAMES) else gene.values
                _member(gene.name, genes[gene.name], choices)
        try:
            skip = set(self.idle(genes))
        except KeyError as e:
            raise SpaceError(f"space {self.name}: gene {e} is missing") from None
        wrong = sorted(skip ^ (set(self.names) - set(genes)))
        if wrong:
            state = "has no effect here and must be left out" if wrong[0] in skip else "is missing"
            raise SpaceError(f"space {self.name}: gene {wrong[0]!r} {state}")
        try:
            hardware = hw.loads(obj["hardware"])
        except ValueError as e:
            raise SpaceError(str(e)) from e
        return self._made(genes, hardware)

    # ---------------------------------------------------------------- index vectors

    def genes(self) -> tuple[int, ...]:
        """Number of choices: clock, budget, then the network's genes."""
        return (len(self.clocks), len(self.budgets), *(len(g.values) for g in self.all))

    def join(self, a: Genotype, b: Genotype) -> Genotype:
        """The network of ``a`` with the hardware of ``b`` (``flow.search.halves``)."""
        return Genotype(a.genes, b.hardware)

    def halves(self) -> tuple[int, ...]:
        """For each gene of the encoding: 0 for the network's, 1 for the hardware's."""
        return (1, 1, *[0] * len(self.all))

    def encode(self, g: Genotype) -> tuple[int, ...]:
        """Raises SpaceError for a value outside the space's options."""
        pairs = [("clock_mhz", self.clocks, g.hardware.clock_mhz), ("budget", self.budgets, g.hardware.budget)]
        pairs += [(h.name, h.values, v) for h, v in zip(self.all, g.genes, strict=True)]
        return tuple(_index(self.name, *p) for p in pairs)

    def decode(self, indices: Sequence[int]) -> Genotype:
        clock, budget, *rest = (int(i) for i in indices)
        genes = {g.name: g.values[i] for g, i in zip(self.all, rest, strict=True)}
        return self._made(genes, HardwareGenotype(float(self.clocks[clock]), float(self.budgets[budget])))


_BIT_NAMES = ("weight_bits", "activation_bits")


def _index(space: str, name: str, choices: Sequence[Any], value: Any) -> int:
    if value is None:
        return 0
    if value not in choices:
        raise SpaceError(f"space {space}: {name} = {value!r} is not one of {', '.join(map(str, choices))}")
    return choices.index(value)


def _draw(gene: Gene, rng: np.random.Generator) -> Any:
    """With the value's Python type kept (``rng.choice`` of values would give numpy's)."""
    if gene.shares:
        return gene.values[int(rng.choice(len(gene.values), p=gene.shares))]
    return gene.values[int(rng.integers(len(gene.values)))]


def _one(values: Sequence[Any], rng: np.random.Generator) -> Any:
    return values[int(rng.integers(len(values)))]


def _member(name: str, value: object, choices: tuple[Any, ...]) -> None:
    if isinstance(value, bool) or value not in choices or type(value) is not type(choices[0]):
        raise SpaceError(f"{name} = {value!r}: not one of {', '.join(map(str, choices))}")
