"""Every space keeps its promises for random genotypes; encodings are inverse to decodings."""

import json
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flow.search.encoded import encoded, matrix
from flow.space import Space, load, names
from flow.space.network import from_json, random_graph

SEEDS = st.integers(0, 2**32 - 1)
SHIPPED = names()
SHAPES = [(1, 28, 28), (3, 32, 32), (1, 8, 8), (3, 17, 23)]


@lru_cache
def shipped(name: str) -> Any:
    return load(name)


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(SHIPPED), SEEDS, st.sampled_from(SHAPES))
def test_sampled_mutated_crossed_genotypes_are_valid(name: str, seed: int, shape: tuple[int, int, int]) -> None:
    space = shipped(name)
    assert isinstance(space, Space) and space.name == name
    a, b = space.sample(rng(seed)), space.sample(rng(seed, 1))
    for g in (a, space.mutate(a, rng(seed, 2)), space.crossover(a, b, rng(seed, 3))):
        spec = space.network(g, shape, 10)
        assert from_json(spec.json()) == spec and spec.classes == 10
        assert space.loads(json.loads(json.dumps(space.dumps(g)))) == g
        weighted = [x for x in spec.layers if x.weighted]
        assert weighted[0].weight_bits == weighted[-1].weight_bits == 8
        assert 0 < space.hardware(g).budget <= 1


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(SHIPPED), SEEDS, st.data())
def test_encodings(name: str, seed: int, data: st.DataObject) -> None:
    """Any index vector is a genotype, a genotype's own encoding gives it back, and genes without effect have none."""
    space = encoded(shipped(name), "test")
    counts = space.genes()
    code = [data.draw(st.integers(0, c - 1)) for c in counts]
    g = space.decode(code)
    own = space.encode(g)
    assert space.decode(own) == g and len(own) == len(counts)
    assert all(0 <= i < c for i, c in zip(own, counts, strict=True))
    assert space.loads(space.dumps(g)) == g
    sampled = [space.sample(rng(seed, i)) for i in range(3)]
    assert [space.decode(row) for row in matrix(space, sampled)] == sampled
    for i in [i for i, (a, b) in enumerate(zip(own, code, strict=True)) if a != b]:
        assert space.decode([*code[:i], own[i], *code[i + 1 :]]) == g


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SHIPPED), SEEDS)
def test_chains_of_mutations_always_move_and_the_generator_decides(name: str, seed: int) -> None:
    space = shipped(name)
    g = space.sample(rng(seed))
    for k in range(6):
        new = space.mutate(g, rng(seed, k))
        assert new != g and new == space.mutate(g, rng(seed, k))
        g = new
    other = space.sample(rng(seed, 9))
    assert space.crossover(g, other, rng(seed)) == space.crossover(g, other, rng(seed))
    assert space.crossover(g, g, rng(seed)) == g


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(SHIPPED), SEEDS)
def test_features_have_one_length_and_are_finite(name: str, seed: int) -> None:
    space = shipped(name)
    a = space.sample(rng(seed))
    b = space.mutate(a, rng(seed))
    va, vb = space.features(a), space.features(b)
    assert va.shape == vb.shape == space.features(space.sample(rng(0))).shape and va.ndim == 1
    assert np.isfinite(va).all() and np.isfinite(vb).all() and not np.array_equal(va, vb)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from([n for n in SHIPPED if n != "default"]))
def test_crossover_takes_every_gene_from_a_parent(seed: int, name: str) -> None:
    space = shipped(name)
    a, b = space.sample(rng(seed)), space.sample(rng(seed, 1))
    child = space.named(space.crossover(a, b, rng(seed, 2)))
    first, second = space.named(a), space.named(b)
    for gene, value in child.items():
        assert value in {first.get(gene, second.get(gene)), second.get(gene, first.get(gene))} or (
            gene not in first and gene not in second
        )


@pytest.mark.parametrize("name", SHIPPED)
def test_graphs_count_what_the_specs_count(name: str) -> None:
    space = shipped(name)
    spec = space.network(space.sample(rng(11)), (1, 12, 12), 10)
    graph = random_graph(spec)
    assert sum(graph.macs(n) for n in graph.nodes) == spec.macs
    assert tuple(graph.tensors[n.id].shape for n in graph.nodes) == spec.shapes()
