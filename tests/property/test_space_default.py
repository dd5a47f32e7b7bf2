"""The default space keeps its promises for every random genotype."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flow.space import Space, SpaceError, load
from flow.space.network import from_json, random_graph

SPACE: Space = load("default")
SEEDS = st.integers(0, 2**32 - 1)


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from([(1, 28, 28), (3, 32, 32), (1, 8, 8), (3, 17, 23)]))
def test_every_genotype_makes_a_network_for_every_image(seed: int, shape: tuple[int, int, int]) -> None:
    g = SPACE.sample(rng(seed))
    for candidate in (g, SPACE.mutate(g, rng(seed, 1)), SPACE.crossover(g, SPACE.sample(rng(seed, 2)), rng(seed, 3))):
        spec = SPACE.network(candidate, shape, 10)
        assert from_json(spec.json()) == spec
        weighted = [x for x in spec.layers if x.weighted]
        assert weighted[0].weight_bits == weighted[0].activation_bits == 8
        assert weighted[-1].weight_bits == weighted[-1].activation_bits == 8


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_chains_of_mutations_always_move_and_stay_loadable(seed: int) -> None:
    g = SPACE.sample(rng(seed))
    for k in range(10):
        new = SPACE.mutate(g, rng(seed, k))
        assert new != g and hash(new) != hash(g)
        assert SPACE.loads(json.loads(json.dumps(SPACE.dumps(new)))) == new
        g = new


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_the_generator_alone_decides(seed: int) -> None:
    a, b = SPACE.sample(rng(seed)), SPACE.sample(rng(seed, 9))
    assert a == SPACE.sample(rng(seed))
    assert SPACE.mutate(a, rng(seed)) == SPACE.mutate(a, rng(seed))
    assert SPACE.crossover(a, b, rng(seed)) == SPACE.crossover(a, b, rng(seed))


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_features_have_one_length_and_tell_networks_apart(seed: int) -> None:
    a = SPACE.sample(rng(seed))
    b = SPACE.mutate(a, rng(seed))
    va, vb = SPACE.features(a), SPACE.features(b)
    assert va.shape == vb.shape == SPACE.features(SPACE.sample(rng(0))).shape
    assert np.isfinite(va).all() and not np.array_equal(va, vb)


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_the_graph_counts_what_the_spec_counts(seed: int) -> None:
    spec = SPACE.network(SPACE.sample(rng(seed)), (1, 28, 28), 10)
    graph = random_graph(spec)
    assert sum(graph.macs(n) for n in graph.nodes) == spec.macs
    assert tuple(graph.tensors[n.id].shape for n in graph.nodes) == spec.shapes()


def test_crossover_takes_every_stage_from_a_parent() -> None:
    for seed in range(30):
        a, b = SPACE.sample(rng(seed)), SPACE.sample(rng(seed, 1))
        child: Any = SPACE.dumps(SPACE.crossover(a, b, rng(seed, 2)))
        parents: Any = [SPACE.dumps(a), SPACE.dumps(b)]
        for i, stage in enumerate(child["network"]["stages"]):
            assert stage in [p["network"]["stages"][i] for p in parents if i < len(p["network"]["stages"])]


def test_all_blocks_and_sizes_are_reachable() -> None:
    drawn: list[Any] = [SPACE.dumps(SPACE.sample(rng(k))) for k in range(300)]
    stages = [s for g in drawn for s in g["network"]["stages"]]
    assert {s["block"] for s in stages} == {"plain", "separable", "inverted", "residual"}
    assert {s["depth"] for s in stages} == {1, 2, 3} and {s["weight_bits"] for s in stages} == {4, 6, 8}
    macs = [SPACE.network(SPACE.loads(g), (1, 28, 28), 10).macs for g in drawn]
    assert max(macs) > 100 * min(macs)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("network", "stages", 0, "block"), "dense", "stage 0 block = 'dense'"),
        (("network", "stages", 0, "channels"), 7, "stage 0 channels = 7"),
        (("network", "stages", 0, "depth"), True, "stage 0 depth = True"),
        (("network", "stages", 0, "weight_bits"), 9, "weight_bits = 9"),
        (("network", "stem_kernel"), None, "stem_kernel = None"),
        (("network", "stages"), [], "2 to 4"),
        (("hardware", "budget"), 1.5, "budget in"),
        (("hardware",), {}, "clock_mhz and budget"),
        (("network",), 3, "keys stem_kernel"),
    ],
)
def test_a_foreign_genotype_is_refused_in_one_line(path: tuple[Any, ...], value: object, message: str) -> None:
    obj: Any = json.loads(json.dumps(SPACE.dumps(SPACE.sample(rng(5)))))
    at = obj
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises(SpaceError, match=message) as e:
        SPACE.loads(obj)
    assert "\n" not in str(e.value)
