"""Options as arrays say what the blocks build: cost, cycles, lanes and inner stream of every folding."""

from __future__ import annotations

import numpy as np
import pytest

from flow import blocks, board
from flow.blocks import conv, depthwise, pool
from flow.blocks.pareto import collected, undominated
from flow.board import Resources
from flow.design import Folding, Option
from flow.ir.graph import Graph
from tests import foldings_by_hand as hand
from tests import networks

GRAPHS = [networks.sample(), networks.resnet8(), networks.lenet()]
GRAPHS += [networks.random_draft(s).graph() for s in range(6)] + [networks.gallery_draft(s).graph() for s in range(2)]


@pytest.mark.parametrize("place", ["zcu102", "pynq-z2"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_options_are_what_is_built(graph: Graph, place: str) -> None:
    rng = np.random.default_rng(7)
    for node in graph.nodes:
        options = blocks.options(graph, node, board.load(place))
        assert np.all(np.diff(options.cycles) >= 0)
        for i in rng.choice(len(options), min(6, len(options)), replace=False).tolist():
            o = options[i]
            chain = blocks.lower(graph, node, o.folding, board.load(place))
            assert sum((p.resources for p in chain), Resources()) == o.resources
            assert max(p.cycles for p in chain) + 1 == o.cycles
            assert [p.lanes for p in chain[0].inputs] == [o.folding.lanes, o.second or o.folding.lanes][
                : len(node.inputs)
            ]
            assert chain[-1].outputs[0].lanes == o.folding.pe
            assert o.inner == (chain[0].outputs[0].width if len(chain) > 1 else 0)


def beats(a: Option, b: Option) -> bool:
    same = (a.folding.lanes, a.folding.pe, a.second) == (b.folding.lanes, b.folding.pe, b.second)
    pairs = zip((a.cycles, *a.resources, a.inner), (b.cycles, *b.resources, b.inner), strict=True)
    return same and all(x <= y for x, y in pairs)


def test_undominated_against_every_pair() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        pool = [
            Option(Folding(*(int(n) for n in rng.integers(1, 3, 3))), int(c), Resources(*r.tolist()), int(i))
            for c, r, i in zip(rng.integers(1, 4, 40), rng.integers(0, 3, (40, 5)), rng.integers(0, 2, 40), strict=True)
        ]
        kept = list(undominated(pool))
        # Everything is beaten or equalled by something kept, and nothing kept by anything else kept.
        assert all(any(beats(k, o) for k in kept) for o in pool)
        assert not any(beats(a, b) for a in kept for b in kept if a is not b)
        assert kept == list(undominated(reversed(pool))), "the order of enumeration matters"


def test_arrays_are_a_sequence_of_options() -> None:
    options = [Option(Folding(2, 3, 4, "serial", "dsp", "bram"), 9, Resources(1, 2, 3, 4, 5), 6)] * 2
    assert list(collected(options)) == options and collected(options)[-1] == options[0] and len(collected(options)) == 2
    assert collected(options)[:1] == options[:1]


@pytest.mark.parametrize("ultra", [True, False])
@pytest.mark.parametrize("graph", GRAPHS)
def test_no_folding_is_missed(graph: Graph, ultra: bool) -> None:
    for node in graph.nodes:
        if conv.serves(node.op):
            dense = conv.layer(graph, node)
            every = [*hand.by_hand(dense, ultra), *hand.pixel_foldings(dense, ultra)]
            assert list(conv.layer_options(dense, ultra)) == list(undominated(every))
        elif depthwise.serves(node.op):
            each = depthwise.layer(graph, node)
            every = [*hand.by_hand(each, ultra), *hand.several(each, ultra)]
            assert list(depthwise.layer_options(each, ultra)) == list(undominated(every))
        elif pool.serves(node.op):
            whole = pool.layer(graph, node)
            assert list(pool.layer_options(whole)) == list(undominated(hand.pooled(whole)))
