"""What strategies share of their history: fronts that grow, best trials under weights, generations made together."""

import numpy as np
import pytest

from flow.search import Trial, load
from flow.search.evolution import best, scalar_cost
from flow.search.learned import Learned
from flow.search.numbered import History
from flow.search.pareto import contributions, hypervolume, nondominated
from flow.search.tpe import Mixture


def trials_of(rng, n, feasible=0.7):
    """Few different values, so that many are equal."""
    return [
        Trial(i, (i,), tuple(rng.integers(0, 9, 2).astype(float)), 0.0 if rng.random() < feasible else float(i % 4 + 1))
        for i in range(n)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_best_is_the_least_scalar_cost(seed):
    rng = np.random.default_rng(seed)
    history = History.of(trials_of(rng, 60, 0.7 if seed else 0.0), 2)
    weights = rng.dirichlet(np.ones(2), size=5)
    for found, w in zip(best(history, weights), weights, strict=True):
        cost = scalar_cost(history.values, history.violation, w)
        assert set(found) == set(np.flatnonzero(np.isclose(cost, cost.min(), rtol=1e-12, atol=1e-12)))


class Space:
    def sample(self, rng):
        return int(rng.integers(10**9))

    mutate = crossover = features = None
    dumps, loads = staticmethod(str), staticmethod(int)


def test_a_front_that_grows_is_the_front_of_all():
    rng = np.random.default_rng(1)
    strategy = load("random", Space(), 0, 2)
    strategy.blind = False
    for generation in range(20):
        found = [Trial(8 * generation + i, g, t.values, t.violation) for i, (g, t) in enumerate(
            zip(strategy.ask(8), trials_of(rng, 8), strict=True))]  # fmt: skip
        strategy.tell(found)
        if generation == 9:  # the past changes
            strategy.tell([Trial(3, strategy._told[3].genotype, (-1.0, -1.0))])
        history = strategy._before(8 * generation + 8)
        whole = History.of([strategy._told[i] for i in range(8 * generation + 8)], 2)
        assert np.array_equal(history.values, whole.values) and np.array_equal(history.violation, whole.violation)
        assert sorted(history.front) == sorted(whole.front)
        assert (history.earlier[0] > 0) == (generation not in (0, 9)), "nothing is taken from the generation before"


@pytest.mark.parametrize("m", [1, 2])
def test_fast_ways_for_few_objectives_are_the_definition(m):
    rng = np.random.default_rng(m)
    for n in (1, 2, 7, 40):
        a = rng.integers(0, 6, (n, m)).astype(float)
        a[rng.random(n) < 0.2, -1] = np.inf
        plain = [not any((b <= p).all() and (b < p).any() for b in a) for p in a]
        assert nondominated(a).tolist() == plain
    front = np.column_stack([[1.0, 2.0, 2.0, 5.0], [6.0, 3.0, 3.0, 1.0]])
    whole = hypervolume(front, (7, 8))
    assert contributions(front, (7, 8)) == pytest.approx(
        [whole - hypervolume(np.delete(front, i, axis=0), (7, 8)) for i in range(4)]
    )


def test_a_mixture_draws_what_its_density_says():
    rng, counts = np.random.default_rng(2), np.array([3, 1, 2])
    mixture = Mixture(np.array([[0, 0, 1], [2, 0, 1], [2, 0, 0]]), counts)
    every = np.array([[a, 0, b] for a in range(3) for b in range(2)])
    p = np.exp(mixture.log(every))
    assert p.sum() == pytest.approx(1.0)
    drawn = mixture.draw(20000, rng)
    share = [(drawn == row).all(axis=1).mean() for row in every]
    assert share == pytest.approx(p, abs=0.015)
    assert len(set(map(tuple, Mixture(np.zeros((0, 3), int), counts).draw(500, rng).tolist()))) == 6


def test_a_generation_made_together_is_made_once():
    calls = []

    class Together(Learned):
        def start(self):
            return 0

        def learn(self, state, trials):
            return state + len(trials)

        def draw(self, state, history, rng, attempt):
            made = self.together(history, lambda rngs: calls.append(1) or np.array([r.integers(10**9) for r in rngs]))
            assert made == rng.integers(10**9), "a proposal's own random numbers"
            return int(made) + attempt

    strategy = Together(Space(), 0, 1)
    strategy.tell([Trial(n, g, (1.0,)) for n, g in enumerate([*strategy.ask(3), *strategy.ask(5)])])
    assert len(strategy.ask(8)) == 8 and len(calls) == 2
