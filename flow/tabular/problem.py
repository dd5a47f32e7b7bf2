"""The benchmark's joint space, and what each of its points is worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flow import estimate
from flow.board import Board
from flow.search import Trial
from flow.space.nas_bench_201 import EDGES, STAGES
from flow.tabular import cells, family
from flow.tabular.accuracies import Accuracies
from flow.tabular.costs import Costs, measure

Ints = NDArray[np.int64]
Genotype = tuple[int, ...]  # an operation of each edge, then lanes, unroll, mult and memory of each stage
Hardware = tuple[int, int, int]  # choice of each stage
OBJECTIVES = ("accuracy", "latency_ms")
HARDWARE = len(family.UNROLLS), len(family.MULTS), len(family.MEMORIES)


class Point(NamedTuple):
    """A network on an accelerator: cycles of one image, between images, and resources."""

    latency: float
    interval: int
    used: Ints


class JointSpace:
    """Genotypes are index vectors: six operations, then four genes of each stage's hardware."""

    def __init__(self, ops: int) -> None:
        stages = [n for s in range(len(STAGES)) for n in (len(family.lanes(s)), *HARDWARE)]
        self.counts = (*[ops] * len(EDGES), *stages)
        self._high = np.array(self.counts)
        kinds = [i < len(EDGES) or (i - len(EDGES)) % 4 == 2 for i in range(len(self.counts))]
        self._features = [
            np.eye(n) if kind else np.linspace(0, 1, n)[:, None] for n, kind in zip(self.counts, kinds, strict=True)
        ]

    def sample(self, rng: np.random.Generator) -> Genotype:
        return tuple(rng.integers(self._high).tolist())

    def mutate(self, genotype: Genotype, rng: np.random.Generator) -> Genotype:
        """One gene takes another value."""
        return self._moved(genotype, int(rng.integers(len(self.counts))), rng)

    def vary(self, genotype: Genotype, half: int, rng: np.random.Generator) -> Genotype:
        """One gene of the network (0) or the hardware (1) takes another value."""
        edges = len(EDGES)
        at = edges + int(rng.integers(len(self.counts) - edges)) if half else int(rng.integers(edges))
        return self._moved(genotype, at, rng)

    def _moved(self, genotype: Genotype, at: int, rng: np.random.Generator) -> Genotype:
        other = (genotype[at] + 1 + int(rng.integers(self.counts[at] - 1))) % self.counts[at]
        return (*genotype[:at], other, *genotype[at + 1 :])

    def crossover(self, a: Genotype, b: Genotype, rng: np.random.Generator) -> Genotype:
        take = (rng.random(len(a)) < 0.5).tolist()
        return tuple([x if t else y for x, y, t in zip(a, b, take, strict=True)])

    def features(self, genotype: Genotype) -> NDArray[np.float64]:
        """Operations one-hot, ordered hardware genes in 0..1, multipliers one-hot."""
        return np.concatenate([rows[value] for rows, value in zip(self._features, genotype, strict=True)])

    def dumps(self, genotype: Genotype) -> str:
        return ",".join(map(str, genotype))

    def loads(self, text: str) -> Genotype:
        return tuple(int(v) for v in text.split(","))

    def genes(self) -> tuple[int, ...]:
        return self.counts

    def encode(self, genotype: Genotype) -> tuple[int, ...]:
        return genotype

    def decode(self, indices: Sequence[int]) -> Genotype:
        return tuple(int(i) for i in indices)

    def join(self, a: Genotype, b: Genotype) -> Genotype:
        """The network of ``a`` on the hardware of ``b``."""
        return (*a[: len(EDGES)], *b[len(EDGES) :])

    def halves(self) -> tuple[int, ...]:
        return (*[0] * len(EDGES), *[1] * (len(self.counts) - len(EDGES)))


@dataclass(frozen=True, eq=False)
class Body:
    """A distinct network body: per stage, (j, 5) resources and (j,) cycles by hardware choice."""

    cell: cells.Cell
    used: tuple[Ints, ...]
    cycles: tuple[Ints, ...]


Parts = tuple[Any, Any, Any, Any]  # stem, reductions before each stage, each stage's operations, head


def latency(cell: cells.Cell, parts: Parts, pixels: int, most: Callable[[Any, Any], Any] = max) -> Any:
    """Cycles of one image, ``pixels`` of which come one a cycle."""
    stem, reductions, stages, head = parts
    at = cells.follow((0.0, float(pixels)), stem, most)
    for reduction, stage in zip(reductions, stages, strict=True):
        for part in reduction:
            at = cells.follow(at, part, most)
        at = cells.through(cell, stage, at, most)
    return at[1] + head


class Problem:
    """``share``: of each of the board's resources that an accelerator may use; clock: the board's default."""

    def __init__(self, accuracies: Accuracies, board: Board, share: float = 0.8) -> None:
        self.accuracies, self.board = accuracies, board
        self.name = f"{accuracies.name} on {board.name}"
        self.space = JointSpace(len(accuracies.ops))
        self.costs: Costs = measure(board, accuracies.shape, accuracies.classes)
        self.budget = np.array(estimate.share(board, share).tuple, np.int64)
        self.limit = np.maximum(self.budget, 1)
        self.pixels = math.prod(accuracies.shape[1:])
        c = self.costs
        stages = [s.lag.tolist() for s in c.stages]
        self._lags = c.stem_lag.tolist(), stages, [r.tolist() for r in c.reduction_lag], c.head_lag.tolist()
        found: dict[cells.Cell, int] = {}
        body = []
        for number in range(len(accuracies.early)):
            cell = cells.cell(accuracies.cell(number))
            body.append(found.setdefault(cell, len(found)) if cell.alive else -1)
        self.body_of: Ints = np.array(body)  # by network number; -1 where nothing leaves the cell
        self.bodies = [
            Body(
                cell,
                tuple(cells.resources(cell, s, c.fifo) for s in c.stages),
                tuple(cells.cycles(cell, s) for s in c.stages),
            )
            for cell in found
        ]

    # ------------------------------------------------------------ coordinates

    def network(self, genotype: Genotype) -> int:
        """Number of the network in the table."""
        number = 0
        for gene in genotype[: len(EDGES)]:
            number = number * self.space.counts[0] + gene
        return number

    def hardware(self, genotype: Genotype) -> Hardware:
        """Choice of each stage."""
        unrolls, mults, memories = HARDWARE
        found = []
        for at in range(len(EDGES), len(genotype), 4):
            lanes, unroll, mult, memory = genotype[at : at + 4]
            found.append(((lanes * unrolls + unroll) * mults + mult) * memories + memory)
        return found[0], found[1], found[2]

    def genotype(self, network: int, hardware: Sequence[int]) -> Genotype:
        genes = list(np.unravel_index(network, self.space.counts[: len(EDGES)]))
        for s, j in enumerate(hardware):
            at = len(EDGES) + 4 * s
            genes += np.unravel_index(j, self.space.counts[at : at + 4])
        return tuple(int(i) for i in genes)

    def genotype_of(self, cell: Sequence[str], choices: Sequence[family.Choice]) -> Genotype:
        hardware = [family.choices(s).index(c) for s, c in enumerate(choices)]
        return self.genotype(self.accuracies.number(tuple(cell)), hardware)

    # ------------------------------------------------------------ worth

    def point(self, body: Body, hardware: Hardware) -> Point:
        """Cost of a body on one accelerator."""
        j, c = hardware, self.costs
        worst = max(int(c.stem_cycles[j[0]]), int(c.head_cycles[j[2]]), *(int(body.cycles[s][j[s]]) for s in range(3)))
        for s in (1, 2):
            worst = max(worst, int(c.reduction_cycles[s][j[s - 1], j[s]]))
        return Point(latency(body.cell, self.parts(hardware), self.pixels), worst, self.used(body, hardware))

    def used(self, body: Body, hardware: Hardware) -> Ints:
        """(5,) resources."""
        (a, b, c), costs = hardware, self.costs
        stages = body.used[0][a] + body.used[1][b] + body.used[2][c]
        ends = costs.stem[a] + costs.head[c] + costs.reduction[1][a, b] + costs.reduction[2][b, c]
        return np.asarray(stages + ends)

    def parts(self, j: Hardware) -> Parts:
        """What :func:`latency` needs, for one accelerator."""
        stem, stages, reductions, head = self._lags
        return (
            stem[j[0]],
            ([], *(reductions[s][j[s - 1]][j[s]] for s in (1, 2))),
            tuple([op[j[s]] for op in stages[s]] for s in range(3)),
            head[j[2]],
        )

    def array_parts(self, j: tuple[Ints, Ints, Ints]) -> Parts:
        """The same for arrays of choices."""
        c = self.costs

        def split(lags: Any) -> Any:
            return tuple(np.moveaxis(lags, -1, 0))

        joints = [split(np.moveaxis(c.reduction_lag[s][j[s - 1], j[s]], -2, 0)) for s in (1, 2)]
        return (
            split(c.stem_lag[j[0]]),
            ([], *([tuple(x[k] for x in joint) for k in range(2)] for joint in joints)),
            tuple([split(op[j[s]]) for op in c.stages[s].lag] for s in range(3)),
            c.head_lag[j[2]],
        )

    def milliseconds(self, cycles: float) -> float:
        return cycles / (self.board.clock_mhz * 1e3)

    def repaired(self, genotype: Genotype) -> Genotype:
        """The genotype with its hardware changed step by step until it fits the board, as far as it can be.

        A step is one gene of one stage: fewer lanes or less unrolling by one place, another kind of multiplier or of
        memory. Of those that lessen the excess, kinds come first, as they cost no time; among equals the one that
        lessens it most.
        """
        number, hardware = int(self.body_of[self.network(genotype)]), self.hardware(genotype)
        if number < 0 or self.over(number, hardware) == 0:
            return genotype
        while True:
            steps = [(False, hardware), *self._steps(hardware)]
            excess = self._excesses(self.bodies[number], [h for _, h in steps])
            better = [k for k in range(1, len(steps)) if excess[k] < excess[0]]
            if not better:
                break
            hardware = steps[min(better, key=lambda k: (steps[k][0], excess[k]))][1]
        return self.genotype(self.network(genotype), hardware)

    def _steps(self, hardware: Hardware) -> list[tuple[bool, Hardware]]:
        """Accelerators a step away, and whether they are slower."""
        a, b, c = hardware
        return [
            *((slower, (j, b, c)) for slower, j in family.steps(0)[a]),
            *((slower, (a, j, c)) for slower, j in family.steps(1)[b]),
            *((slower, (a, b, j)) for slower, j in family.steps(2)[c]),
        ]

    def _excesses(self, body: Body, found: Sequence[Hardware]) -> list[float]:
        a, b, c = np.array(found).T
        costs = self.costs
        used = costs.stem[a] + costs.head[c] + body.used[0][a] + body.used[1][b] + body.used[2][c]
        used = used + costs.reduction[1][a, b] + costs.reduction[2][b, c]
        return list(np.maximum(used / self.limit - 1, 0).sum(axis=1).tolist())

    def excess(self, used: Ints) -> float:
        """Sum of relative excesses over the budget; 0 where all fits."""
        return float(np.maximum(used / self.limit - 1, 0).sum())

    @lru_cache(maxsize=400_000)  # noqa: B019 - lives as long as the problem
    def over(self, body: int, hardware: Hardware) -> float:
        """The excess of a body on an accelerator."""
        return self.excess(self.used(self.bodies[body], hardware))

    @lru_cache(maxsize=400_000)  # noqa: B019 - lives as long as the problem
    def log_ms(self, body: int, hardware: Hardware) -> float:
        """Log10 of the latency in ms."""
        return math.log10(self.milliseconds(latency(self.bodies[body].cell, self.parts(hardware), self.pixels)))

    def trial(self, number: int, genotype: Genotype) -> Trial:
        """Accuracy after few epochs, negated, and log10 of the latency in ms."""
        network = self.network(genotype)
        early = float(self.accuracies.early[network])
        if self.body_of[network] < 0:
            return Trial(number, genotype, (-early, math.inf), math.inf)
        body, hardware = int(self.body_of[network]), self.hardware(genotype)
        return Trial(number, genotype, (-early, self.log_ms(body, hardware)), self.over(body, hardware))
