"""Options as arrays say what the blocks build: cost, cycles, lanes and inner stream of every folding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from flow import blocks, board
from flow.blocks import conv, depthwise, foldings, mac, matvec, pixels, window
from flow.blocks.pareto import collected, divisors, undominated
from flow.board import Resources
from flow.design import Folding, Option, stage_cycles
from flow.ir.graph import Graph
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


def by_hand(la: matvec.Layer | depthwise.Layer, ultra: bool) -> list[Option]:
    """Every legal folding of a layer, from what is built for one: a few words for a few hundred foldings."""
    dense, g = isinstance(la, matvec.Layer), la.geometry
    windowed = g is not None and not g.trivial
    modes = ["serial"] + ["parallel"] * window.parallel_legal(g) if windowed else ["none"]
    outputs = la.outputs if dense else g.channels
    places = itertools.product(modes, divisors(outputs), divisors(la.lanes_of if dense else outputs))
    found = []
    for mode, pe, lanes in places:
        if not dense and pe != lanes:
            continue
        beat = lanes * (la.kernel if mode == "parallel" else 1)
        wide = divisors(beat if dense else la.kernel) if mode == "parallel" else [lanes if dense else 1]
        for simd, mult, memory in itertools.product(wide, ("lut", "dsp", "packed"), ("lutram", "bram")):
            f = Folding(pe, simd, lanes, mode, mult, memory)
            o = _built(la, f, beat, ultra) if not dense or simd >= lanes else None
            found += [o] if o else []
    return found


def _built(la: matvec.Layer | depthwise.Layer, f: Folding, beat: int, ultra: bool) -> Option | None:
    bits = beat * la.x.bits
    if isinstance(la, matvec.Layer):
        if f.mult == "packed" and mac.packing(la.weights, la.x_range, mac.wide_port(ultra), f.pe) is None:
            return None
        folds = matvec.folds(la, f)
        if f.memory == "bram" and la.groups * folds.nf * folds.sf <= 16:
            return None
        depth, iterations = matvec.depth(la, f.pe, f.simd, f.mult, ultra), folds.iterations
        cost = matvec.unit_cost(la, f, beat, ultra)
    else:
        if f.mult == "packed":
            return None
        depth, iterations = depthwise.depth(la, f), depthwise.iterations(la, f)
        cost = depthwise.unit_cost(la, f.pe, f.simd, bits, f.mult, f.memory, ultra)
    cycles = stage_cycles((iterations, depth))
    if f.window != "none":
        g = la.geometry
        assert g is not None
        cost += window.cost(g, f.lanes, f.window, la.x.bits)
        cycles = max(cycles, stage_cycles((window.iterations(g, f.lanes, f.window), window.DEPTH[f.window])))
    return Option(f, cycles, cost, 0 if f.window == "none" else bits)


@pytest.mark.parametrize("ultra", [True, False])
@pytest.mark.parametrize("graph", GRAPHS)
def test_no_folding_is_missed(graph: Graph, ultra: bool) -> None:
    for node in graph.nodes:
        for block in (conv, depthwise):
            if block.serves(node.op):
                la = block.layer(graph, node)
                several = (
                    depthwise.several(la, ultra)
                    if block is depthwise
                    else pixels.options(la, foldings.MULTIPLIERS, ultra)
                )
                assert list(block.layer_options(la, ultra)) == list(undominated([*by_hand(la, ultra), *several]))
