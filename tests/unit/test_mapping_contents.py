"""What FIFOs hold: read off a layout for the right streams, and counted as deep as that."""

from __future__ import annotations

import numpy as np
import pytest

from flow import blocks, board, elaborate, layout
from flow.board import KINDS
from flow.design import Netlist
from flow.ir.graph import Graph
from flow.layout import Fifo
from flow.mapping import choose, contents
from tests import networks

PLACE = board.load("zcu102")
SLOTS = 8  # bits of an element in a bus


def drawn(graph: Graph, seed: int) -> tuple[choose.Problem, list[int], Netlist, list[Fifo]]:
    """Random picks with random FIFO depths."""
    p, rng = choose.problem(graph, PLACE), np.random.default_rng(seed)
    inside = [int(rng.integers(len(t.options))) for t in p.tables[1:-1]]
    foldings = {n.id: t.options[k].folding for n, t, k in zip(graph.nodes, p.tables[1:-1], inside, strict=True)}
    interval = max(int(t.options.cycles[k]) for t, k in zip(p.tables[1:-1], inside, strict=True))
    widths = elaborate.axis_widths(graph, interval)
    sides = ((p.tables[0].options.numbers[:, 0], widths[0]), (p.tables[-1].options.numbers[:, 2], widths[1]))
    ends = [int(np.flatnonzero(lanes == width // SLOTS)[0]) for lanes, width in sides]
    net = elaborate.netlist(graph, foldings, PLACE, interval)
    net = net.with_depths({s.name: int(rng.integers(2, 3000)) for s in net.streams})
    return p, [ends[0], *inside, ends[1]], net, list(layout.of(net).fifos)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("make", [networks.sample, networks.resnet8])
def test_contents_are_those_of_the_streams(make: object, seed: int) -> None:
    graph: Graph = make()  # type: ignore[operator]
    p, picks, net, fifos = drawn(graph, seed)
    found = contents.held(graph, p, picks, fifos)
    into = {s.sink: s for s in net.streams}
    want: list[int] = []
    for stage, node in enumerate(graph.nodes, 1):
        chain = [q for q in net.processes if q.node == node.id and q.function not in ("gearbox", "fork")]
        want += [into[chain[0].id, k].depth * into[chain[0].id, k].port.lanes for k in range(len(node.inputs))]
        own = into[chain[1].id, 0] if len(chain) > 1 else None
        bits = own.depth * own.port.width if own and own.depth > 2 else 0
        assert bits <= found.inner[stage] <= bits * contents.STEP + 1
    assert len(found.edges) == len(want) + 1
    for held, n in zip(found.edges, want, strict=False):
        assert n <= held <= n * contents.STEP + 1 or held == 0


@pytest.mark.parametrize("seed", range(4))
def test_deeper_streams_are_counted_as_deep(seed: int) -> None:
    """Where LUTs are dear and block RAM is not, every deep FIFO is in block RAM, as the tool has it."""
    graph = networks.sample()
    p, picks, net, fifos = drawn(graph, seed)
    into = {s.sink: s.name for s in net.streams}
    kept = {into[q.id, k] for q in net.processes for k in range(len(q.inputs)) if (q.id, k) in into}
    kept -= {s.name for s in net.streams if net.process(s.sink[0]).function in ("gearbox", "fork")}
    shallow = [f if s.name in kept else f._replace(depth=2) for s, f in zip(net.streams, fifos, strict=True)]
    q = choose.problem(graph, PLACE, contents.held(graph, p, picks, shallow))
    ample, lut = np.full(len(KINDS), 1e9), np.array([1.0, 0, 0, 0, 0])
    counted, least = (x.cost(ample, lut, picks)[3] for x in (q, p))
    real = layout.resources(layout.of(net).with_fifos(shallow)).bram18
    shallowest = sum(
        blocks.options(graph, n, PLACE)[k].resources.bram18 for n, k in zip(graph.nodes, picks[1:-1], strict=True)
    )
    assert shallowest <= least <= counted and counted > real * 0.95
