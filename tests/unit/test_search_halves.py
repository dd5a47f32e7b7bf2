"""Halves of genotypes held and searched in turn: the contract holds in every mode, and the held half stays."""

import numpy as np
import pytest

from flow.search import SearchError, Trial, conformance, load, modes
from flow.search.halves import Held
from flow.search.loop import drive
from tests.search_spaces import Coded


class Pairs(Coded):
    """Five genes of one half, five of the other."""

    def __init__(self):
        super().__init__(10, 7)

    def join(self, a, b):
        return (*a[:5], *b[5:])

    def halves(self):
        return (0,) * 5 + (1,) * 5


HELD = (3,) * 10


def evaluate(number, genotype):
    """The first half should be large for the first value, small for the second; the second half small."""
    a, b = np.array(genotype[:5]) / 6, np.array(genotype[5:]) / 6
    return Trial(number, genotype, (-float(a.mean()), float(a.mean() + b.mean())), max(0.0, float(b[0]) - 0.9))


@pytest.mark.parametrize("name", ["nsga2", "tpe", "evolution"])
@pytest.mark.parametrize("mode", ["nested", "hw-only", "sequential"])
def test_a_mode_keeps_the_contract(mode, name):
    def factory(space, seed, objectives):
        return modes.strategy(mode, name, space, seed, objectives, held=HELD, first=20)

    for objectives in (2, 3):
        problem = conformance.problem(Pairs(), objectives)
        whole = drive(factory(Pairs(), 1, objectives), problem, 48)
        conformance._no_duplicates(Pairs(), whole)
        conformance._deterministic(factory, Pairs(), problem, objectives, whole)
        conformance._replays(factory, Pairs(), problem, objectives, whole)


@pytest.mark.parametrize("name", ["random", "moead", "reinforce", "bayes", "shrinking", "local"])
@pytest.mark.parametrize(("mode", "free"), [("hw-aware", slice(0, 5)), ("hw-only", slice(5, 10)), ("nas", slice(0, 5))])
def test_only_the_free_half_moves(mode, free, name):
    trials = drive(modes.strategy(mode, name, Pairs(), 0, 2, held=HELD), evaluate, 60)
    held = slice(5, 10) if free.start == 0 else slice(0, 5)
    assert len(trials) == 60 and {t.genotype[held] for t in trials} == {HELD[held]}
    assert len({t.genotype[free] for t in trials}) == 60


def test_sequential_carries_the_best_of_the_first_half_on():
    trials = drive(modes.strategy("sequential", "nsga2", Pairs(), 0, 2, held=HELD, first=40, keep=2), evaluate, 100)
    first, second = trials[:40], trials[40:]
    assert {t.genotype[5:] for t in first} == {HELD[5:]}
    best = sorted(first, key=lambda t: (t.values[0], t.number))[:2]
    assert {t.genotype[:5] for t in second} == {t.genotype[:5] for t in best}
    assert len({t.genotype for t in trials}) == 100


def test_nas_does_not_see_the_limits():
    def over(number, genotype):
        t = evaluate(number, genotype)
        return Trial(number, genotype, t.values, 5.0)

    free = drive(modes.strategy("nas", "evolution", Pairs(), 0, 2, held=HELD), evaluate, 60)
    limited = drive(modes.strategy("nas", "evolution", Pairs(), 0, 2, held=HELD), over, 60)
    assert [t.genotype for t in free] == [t.genotype for t in limited]


def test_what_is_missing_is_said_in_one_line():
    class Whole(Pairs):
        join = None

    with pytest.raises(SearchError, match="no method join"):
        modes.strategy("hw-only", "random", Whole(), 0, 2, held=HELD)
    with pytest.raises(SearchError, match="is not one of joint"):
        modes.strategy("both", "random", Pairs(), 0, 2)
    with pytest.raises(SearchError, match="holds a half"):
        modes.strategy("nas", "random", Pairs(), 0, 2)
    with pytest.raises(SearchError, match="at least one"):
        Held(Pairs(), 0, [])


def test_joint_is_the_strategy_itself():
    a = drive(modes.strategy("joint", "nsga2", Pairs(), 0, 2), evaluate, 40)
    b = drive(load("nsga2", Pairs(), 0, 2), evaluate, 40)
    assert [t.genotype for t in a] == [t.genotype for t in b]
