"""The mapper's proofs against an independent solver: the same choice as a mixed-integer programme (HiGHS, in scipy)."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, milp
from scipy.sparse import coo_array

from flow import blocks, board, elaborate
from flow.blocks import stream
from flow.blocks.control import control
from flow.board import KINDS, Board, Resources
from flow.cost import laws
from flow.design import Option, stage_cycles
from flow.ir.graph import Graph
from flow.mapping import choose
from tests import networks

Vector = np.ndarray


def kinds(bits: int, depth: int = 2) -> list[Vector]:
    """What a stream costs in shift registers, and in block RAM."""
    if not bits:
        return [np.zeros(len(KINDS))]
    deep = next(d for d in range(depth, 1 << 20) if laws.fifo_in_bram(d, bits))
    return [np.array(laws.fifo(depth, bits, storage="srl")), np.array(laws.fifo(deep, bits))]


class Programme:
    """Columns with costs, and equations between them; minimises the share of the scarcest resource."""

    def __init__(self) -> None:
        self.costs: list[Vector] = []
        self.entries: list[tuple[int, int, float]] = []
        self.right: list[float] = []
        self.whole: list[bool] = []

    def column(self, cost: Vector, whole: bool) -> int:
        self.costs.append(cost)
        self.whole.append(whole)
        return len(self.costs) - 1

    def equation(self, terms: list[tuple[int, float]], right: float) -> None:
        self.entries += [(len(self.right), c, f) for c, f in terms]
        self.right.append(right)

    def least(self, budget: Vector, fixed: Vector) -> float:
        """Infinite where the equations cannot hold."""
        n = len(self.costs)
        rows, columns, values = (list(x) for x in zip(*self.entries, strict=True))
        equal = coo_array((values, (rows, columns)), (len(self.right), n + 1)).tocsr()
        share = np.column_stack([np.array(self.costs).T / budget[:, None], -np.ones(len(budget))])
        found = milp(
            np.r_[np.zeros(n), 1.0],
            constraints=[
                LinearConstraint(equal, self.right, self.right),
                LinearConstraint(share, -np.inf, -fixed / budget),
            ],
            integrality=np.array([*self.whole, False], int),
            options={"time_limit": 60},
        )
        return float(found.fun) if found.status == 0 else np.inf


def ends(graph: Graph, tensor: str, writes: bool) -> list[tuple[Option | None, int, int, Vector]]:
    """(-, cycles, lanes, cost) of AXI ends of every width."""
    quant, found = graph.tensors[tensor].quant, []
    for width in elaborate.AXIS_WIDTHS:
        if width >= max(elaborate.LEAST_AXIS, stream.slot_bits(quant)):
            p = (stream.from_axis if writes else stream.to_axis)(quant, elaborate.size(graph, tensor), width)
            lanes = (p.outputs if writes else p.inputs)[0].lanes
            found.append((None, stage_cycles((p.iterations, p.depth)), lanes, np.array(p.resources)))
    return found


def least_share(graph: Graph, place: Board, interval: int) -> float:
    """Of the scarcest resource, over all choices of options of at most ``interval`` cycles."""
    m = Programme()
    gives: dict[str, dict[int, list[int]]] = {}
    reads = [t for n in graph.nodes for t in n.inputs] + [graph.output]

    def stage(choices: list[tuple[int, int, Vector]], name: str | None) -> dict[int, list[int]]:
        """Columns of a stage's (takes, gives, cost), by what it takes."""
        takes: dict[int, list[int]] = {}
        out: dict[int, list[int]] = {}
        for a, b, cost in choices:
            column = m.column(cost, True)
            takes.setdefault(a, []).append(column)
            out.setdefault(b, []).append(column)
        m.equation([(c, 1.0) for cs in takes.values() for c in cs], 1.0)
        if name is not None:
            gives[name] = out
        return takes

    def forked(name: str, lanes: int) -> list[Vector]:
        more, bits = reads.count(name) - 1, lanes * graph.tensors[name].quant.bits
        fork = np.array(control(1) + laws.register(bits))
        return [more * (fork + k) for k in kinds(bits)] if more > 0 else [np.zeros(len(KINDS))]

    def edge(name: str, takes: dict[int, list[int]]) -> None:
        bits = graph.tensors[name].quant.bits
        z: dict[tuple[int, int], list[int]] = {}
        for a in gives[name]:
            for b in takes:
                gear = np.array(Resources() if a == b else stream.gearbox_cost(a, b, bits))
                pairs = [x + y for x in kinds(a * bits) for y in kinds(b * bits if a != b else 0)]
                z[a, b] = [m.column(gear + c, False) for c in pairs]
        for a, columns in gives[name].items():
            m.equation([*((c, 1.0) for b in takes for c in z[a, b]), *((c, -1.0) for c in columns)], 0.0)
        for b, columns in takes.items():
            m.equation([*((c, 1.0) for a in gives[name] for c in z[a, b]), *((c, -1.0) for c in columns)], 0.0)

    stage(
        [(0, n, c + f) for _, t, n, c in ends(graph, "input", True) if t <= interval for f in forked("input", n)],
        "input",
    )
    for node in graph.nodes:
        found = [o for o in blocks.options(graph, node, place) if o.cycles <= interval]
        if not found:
            return np.inf
        choices = [
            (o.folding.lanes, o.folding.pe, np.array(o.resources) + inner + fork)
            for o in found
            for inner in kinds(o.inner)
            for fork in forked(node.id, o.folding.pe)
        ]
        takes = stage(choices, node.id)
        for tensor in node.inputs:
            edge(tensor, takes)
    takes = stage([(n, 0, c) for _, t, n, c in ends(graph, graph.output, False) if t <= interval], None)
    edge(graph.output, takes)
    return m.least(np.array(place.available, float).clip(1), np.array(control(2), float))


def small(seed: int) -> Graph:
    rng = np.random.default_rng(seed)
    d = networks.Draft((3, 8, 8), seed=seed)
    x = d.conv("input", int(rng.choice([4, 6])), 3, bits=4, weight_bits=4)
    x = d.residual(x, d.conv(x, d.tensors[x].shape[0], 1, bits=4, weight_bits=4), bits=4)
    x = d.pool(d.conv(x, int(rng.choice([4, 8])), 3, bits=4, weight_bits=int(rng.choice([4, 8]))))
    d.dense(x, 4)
    return d.graph()


@functools.cache
def tight(seed: int) -> tuple[Graph, Board]:
    """A board somewhere between the smallest and the fastest design's needs."""
    graph, base = small(seed), board.load(("zcu104", "pynq-z2")[seed % 2])
    p = choose.problem(graph, base)
    ample = np.full(len(KINDS), 1e9)
    times = [max(int(t.options.cycles[end]) for t in p.tables) for end in (0, -1)]
    needs = []
    for t in times:
        picks = p.cheapest(t, ample, choose.even())
        assert picks is not None
        needs.append(p.cost(ample, choose.even(), picks))
    share = np.random.default_rng([seed, 9]).uniform(0.05, 0.6, len(KINDS))
    room = [int(b + s * max(0.0, a - b)) for a, b, s in zip(*needs, share, strict=True)]
    return graph, replace(base, name=f"tight-{seed}", available=Resources(*room))


@pytest.mark.parametrize("seed", range(12))
def test_what_is_proved_infeasible_is_and_what_fits_does(seed: int) -> None:
    graph, place = tight(seed)
    p = choose.problem(graph, place)
    budget, weights = choose.limits(place.available), choose.even()
    bound = p.floor(1, budget, weights)
    fastest = max(int(t.options.cycles[0]) for t in p.tables)
    assert bound is not None
    interval, decided = bound, False
    for _ in range(12):
        state, picks = p.fit(interval, budget, weights, handle=p.relaxed, effort=400_000_000)
        if state == 0:
            assert least_share(graph, place, interval) > 1 - 1e-6
        elif state == 1:
            assert np.all(p.cost(budget, weights, picks) <= np.array(place.available) + 1e-6)
            assert least_share(graph, place, interval) <= 1 + 1e-6
            decided = True
            break
        following = p.next(interval + 1)
        if following is None:
            break
        interval = following
    assert decided
    if bound > fastest:
        assert least_share(graph, place, bound - 1) > 1 - 1e-6, "the bound is above a design"
