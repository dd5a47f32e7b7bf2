"""Interrupted anywhere and replayed from the journal's text, a search is the uninterrupted one; hypervolume laws."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flow.search import Trial, free_numbers, load, names
from flow.search.loop import drive
from flow.search.pareto import fronts, hypervolume, nondominated


class Words:
    """Words of a small alphabet; features are letter counts, so many genotypes share one."""

    letters = "abcd"

    def sample(self, rng):
        return "".join(rng.choice(list(self.letters), size=6))

    def mutate(self, genotype, rng):
        at = int(rng.integers(6))
        return genotype[:at] + str(rng.choice(list(self.letters))) + genotype[at + 1 :]

    def crossover(self, a, b, rng):
        at = int(rng.integers(7))
        return a[:at] + b[at:]

    def features(self, genotype):
        return np.array([genotype.count(c) for c in self.letters], dtype=float)

    def dumps(self, genotype):
        return genotype

    def loads(self, text):
        return text

    def genes(self):
        return (4,) * 6

    def encode(self, genotype):
        return tuple(self.letters.index(c) for c in genotype)

    def decode(self, indices):
        return "".join(self.letters[i] for i in indices)


def evaluate(number, word):
    if word.startswith("dd"):
        return Trial.failed(number, word, 2)
    return Trial(number, word, (word.count("a") + 0.1 * word.count("b"), float(word.count("c"))), float("bd" in word))


WHOLE = {}


def whole(name):
    if name not in WHOLE:
        WHOLE[name] = drive(load(name, Words(), 7, 2, batch=6), evaluate, 60)
    return WHOLE[name]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(names()), st.data())
def test_interrupted_and_replayed_equals_uninterrupted(name, data):
    """Several workers finish in any order; the run is killed, twice, at any moments, losing whatever was in flight."""
    done: dict[int, Trial] = {}
    for kill in [*sorted(data.draw(st.lists(st.integers(0, 60), max_size=2))), 60]:
        strategy = load(name, Words(), 7, 2, batch=6)
        told = data.draw(st.permutations(sorted(done)))
        cut = data.draw(st.integers(0, len(told)))
        strategy.tell([done[i] for i in told[:cut]])
        strategy.tell([done[i] for i in told[cut:]])
        flying: dict[int, Trial] = {}
        while len(done) < kill:
            numbers = free_numbers(done.keys() | flying.keys())
            room = min(data.draw(st.integers(1, 9)), 60 - len(done) - len(flying))
            for genotype in strategy.ask(room) if room > 0 else []:
                number = next(numbers)
                flying[number] = evaluate(number, genotype)
            finished = data.draw(st.sampled_from(sorted(flying)))
            done[finished] = flying.pop(finished)
            strategy.tell([done[finished]])
    assert [done[i] for i in sorted(done)] == whole(name)


@pytest.mark.parametrize("name", names())
def test_workers_do_not_change_the_run(name):
    """One at a time, or many asked for before any is told."""
    for batch in (1, 4, 60):
        assert drive(load(name, Words(), 7, 2, batch=6), evaluate, 60, batch=batch) == whole(name)


POINTS = st.integers(2, 4).flatmap(lambda m: st.lists(st.tuples(*[st.integers(0, 6)] * m), min_size=1, max_size=12))


@settings(max_examples=150, deadline=None)
@given(POINTS, st.data())
def test_hypervolume_laws(points, data):
    m = len(points[0])
    reference = [6] * m
    whole = hypervolume(points, reference)
    assert whole == hypervolume(data.draw(st.permutations(points)), reference)
    assert whole == hypervolume(np.array(points)[nondominated(points)], reference)
    extra = data.draw(st.tuples(*[st.integers(0, 6)] * m))
    more = hypervolume([*points, extra], reference)
    inside = all(e < 6 for e in extra)
    dominated = any(all(p <= e for p, e in zip(q, extra, strict=True)) for q in points)
    assert (more > whole) == (inside and not dominated)
    order = data.draw(st.permutations(range(m)))
    assert whole == hypervolume([[p[i] for i in order] for p in points], reference)


@settings(max_examples=100, deadline=None)
@given(POINTS)
def test_every_point_is_in_one_front_and_dominated_by_the_front_before(points):
    found = fronts(points)
    assert sorted(i for f in found for i in f) == list(range(len(points)))
    a = np.array(points)
    for before, front in itertools.pairwise(found):
        for i in front:
            assert any((a[j] <= a[i]).all() and (a[j] < a[i]).any() for j in before)
