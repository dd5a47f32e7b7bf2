"""MOEA/D, controllers, Bayesian optimisation, TPE, shrinking and Optuna's samplers: contract, progress, options."""

import itertools
import sys

import numpy as np
import pytest

from flow.search import SearchError, Trial, conformance, load, names
from flow.search.encoded import TextSpace
from flow.search.loop import drive
from flow.search.moead import lattice
from flow.search.pareto import hypervolume
from flow.search.shrinking import Shrinking
from flow.space import load as load_space
from tests.search_spaces import Coded, Grid


def factory(name, **options):
    return lambda space, seed, objectives: load(name, space, seed, objectives, **options)


def failing(number, genotype):
    """Two conflicting objectives; a tenth of the trials fail outright, others are over a limit."""
    if genotype[0] == 7:
        return Trial.failed(number, genotype, 2)
    x = np.array(genotype) / 7
    return Trial(number, genotype, (float(x.mean()), float(((1 - x) ** 2).mean())), max(0.0, float(x[1]) - 0.8))


NEW = ["moead", "reinforce", "ppo", "bayes", "tpe", "shrinking"]


def test_the_strategies_are_listed_and_optuna_is_not():
    assert set(NEW) <= set(names()) and "optuna_samplers" not in names()


# Defaults go through conformance in test_search_strategies, with every name listed.
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("moead", {"population": 9, "batch": 5, "neighbours": 3, "local": 0.5}),
        ("reinforce", {"controller": "categorical", "reward": "fnas", "target": 0.5, "error": True}),
        ("reinforce", {"controller": "categorical", "reward": "co-explore", "error": True, "batch": 5}),
        ("ppo", {"controller": "rnn", "hidden": 8, "epochs": 2, "reward": "nahas", "target": 0.5, "error": True}),
        ("tpe", {"initial": 4, "share": 0.4, "candidates": 4, "batch": 3}),
        ("bayes", {"initial": 8, "pool": 16, "most": 12}),
        ("shrinking", {"genes": 1.0, "samples": 1, "keep": 0.2, "batch": 5}),
    ],
)
def test_conformance_with_options(name, options):
    conformance.check(factory(name, **options), Coded(6, 6), trials=40)


def volume(trials):
    return hypervolume([t.values for t in trials if t.feasible], (1.1, 1.1))


def two_valleys(number, genotype):
    """Conflicting targets for two objectives, a penalty between neighbouring genes, and a limit on it."""
    x = np.array(genotype) / 7
    rough = float(np.abs(np.diff(x)).mean())
    values = (float((x**2).mean() + 0.3 * rough), float(((1 - x) ** 2).mean() + 0.3 * rough))
    return Trial(number, genotype, values, max(0.0, rough - 0.35))


def ramp(number, genotype):
    """One objective: distance from a ramp over the genes."""
    x = np.array(genotype) / 7
    return Trial(number, genotype, (float(((x - np.linspace(0, 1, len(x))) ** 2).mean()),))


SEEDS = 7


def medians(name, evaluate, objectives, score, **options):
    space = Coded(12, 8)
    found = {
        n: [score(drive(load(n, space, seed, objectives, **o), evaluate, 160)) for seed in range(SEEDS)]
        for n, o in ((name, options), ("random", {}))
    }
    return found[name], found["random"]


@pytest.mark.parametrize(
    ("name", "options", "gain"),
    [
        ("moead", {}, 1.05),
        ("reinforce", {}, 1.01),
        ("reinforce", {"controller": "categorical"}, 1.01),
        ("ppo", {}, 1.02),
        ("tpe", {}, 1.05),
        ("shrinking", {}, 1.02),
    ],
)
def test_beats_random_in_median_hypervolume(name, options, gain):
    """Fixed seeds, so this is exact."""
    mine, random = medians(name, two_valleys, 2, volume, **options)
    assert np.median(mine) > gain * np.median(random)


@pytest.mark.parametrize(
    ("name", "options", "share"),
    [
        ("moead", {}, 0.5),
        ("reinforce", {}, 0.8),
        ("reinforce", {"controller": "categorical"}, 0.8),
        ("ppo", {}, 0.7),
        ("tpe", {}, 0.6),
        ("shrinking", {}, 0.8),
    ],
)
def test_a_single_objective_s_best_is_nearer_than_random_s(name, options, share):
    mine, random = medians(name, ramp, 1, lambda trials: min(t.values[0] for t in trials), **options)
    assert np.median(mine) < share * np.median(random)


def test_bayes_beats_random_with_few_trials():
    space = Coded(12, 8)
    found = {n: [volume(drive(load(n, space, s, 2), two_valleys, 120)) for s in range(5)] for n in ("bayes", "random")}
    assert np.median(found["bayes"]) > 1.08 * np.median(found["random"])


def test_a_controller_settles_on_the_best_genes():
    """After training the policy itself, not only the best trial, is near the optimum."""
    trials = drive(load("ppo", Coded(8, 4), 0, 1), lambda n, g: Trial(n, g, (float(sum(g)),)), 320)
    assert np.mean([t.values[0] for t in trials[:32]]) > 2 * np.mean([t.values[0] for t in trials[-64:]])


@pytest.mark.parametrize("name", ["reinforce", "ppo", "tpe", "shrinking"])
def test_a_space_without_genes_is_named_in_one_line(name):
    with pytest.raises(SearchError, match=r"the space Grid lacks genes, encode, decode .*nsga2") as e:
        load(name, Grid(), 0, 2)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("name", NEW)
def test_told_again_in_the_middle_of_the_run_is_as_told_so_from_the_start(name):
    """A trained accuracy after an estimated one, once the strategy has already learnt from the first."""
    space = Coded(8, 6)
    before = drive(load(name, space, 5, 2), failing, 48)
    changed = [Trial(t.number, t.genotype, (t.values[1], t.values[0]), t.violation) for t in before[8:16]]
    late, early = load(name, space, 5, 2), load(name, space, 5, 2)
    late.tell(before)
    first = late.ask(8)
    late.tell([Trial(48 + i, g, (0.5, 0.5)) for i, g in enumerate(first)])
    late.tell(changed)
    early.tell([*before[:8], *changed, *before[16:], *[Trial(48 + i, g, (0.5, 0.5)) for i, g in enumerate(first)]])
    assert late.ask(8) == early.ask(8)


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("space_name", ["default", "nas-bench-201"])
def test_the_shipped_spaces_serve_every_strategy(name, space_name):
    space = TextSpace(load_space(space_name))
    trials = drive(load(name, space, 1, 2), conformance.problem(space, 2), 32)
    assert len({space.dumps(t.genotype) for t in trials}) == 32
    again = drive(load(name, space, 1, 2), conformance.problem(space, 2), 32, known=trials[:21])
    assert [space.dumps(t.genotype) for t in again] == [space.dumps(t.genotype) for t in trials]


def test_weight_vectors_are_an_even_lattice():
    assert lattice(1, 20).tolist() == [[1.0]]
    assert lattice(2, 5).tolist() == [[0, 1], [0.25, 0.75], [0.5, 0.5], [0.75, 0.25], [1, 0]]
    assert len(lattice(3, 20)) == 15 and np.allclose(lattice(3, 20).sum(axis=1), 1) and (lattice(3, 20) >= 0).all()
    assert len(lattice(8, 4)) == 8  # the corners at least
    rows = {tuple(r) for r in lattice(4, 40).tolist()}
    assert len(rows) == len(lattice(4, 40)) == 35


def test_shrinking_keeps_the_better_choices_from_the_back():
    """The last gene decides; after its phase only its best half is proposed, and the first genes are whole still."""
    space = Coded(4, 4)
    strategy = load("shrinking", space, 0, 1, genes=0.5, samples=4, batch=8, keep=0.5)
    assert isinstance(strategy, Shrinking) and strategy.order == [3, 2]
    trials = drive(strategy, lambda n, g: Trial(n, g, (float(g[3]) + 0.01 * g[2],)), 16)
    assert {t.genotype[3] for t in trials} == {0, 1, 2, 3}
    after = drive(strategy, lambda n, g: Trial(n, g, (float(g[3]) + 0.01 * g[2],)), 32, known=trials)[16:]
    assert {t.genotype[3] for t in after} == {0, 1}
    assert {t.genotype[2] for t in after} == {t.genotype[0] for t in after} == {0, 1, 2, 3}
    second = load("shrinking", space, 0, 1, genes=0.5, samples=4, batch=8, keep=0.5)
    last = drive(second, lambda n, g: Trial(n, g, (float(g[2]) + 0.01 * g[3],)), 40)[32:]
    assert {t.genotype[2] for t in last} == {0, 1} and {t.genotype[0] for t in last} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("moead", {"population": 1}, "population 1"),
        ("moead", {"local": 2}, "probabilities"),
        ("reinforce", {"controller": "gru"}, "controller 'gru' is not one of rnn, categorical"),
        ("reinforce", {"rate": 0}, "rate 0"),
        ("reinforce", {"reward": "fnas"}, "reward fnas needs the option target"),
        ("reinforce", {"reward": "best"}, "reward 'best' is not one of weighted"),
        ("reinforce", {"cost": 2}, "no two objectives"),
        ("reinforce", {"weights": (0, 0)}, "not all 0"),
        ("ppo", {"clip": 1.5}, "clip 1.5"),
        ("ppo", {"beta": 1.5}, "beta 1.5"),
        ("bayes", {"pool": 1}, "pool 1"),
        ("tpe", {"share": 1.0}, "share 1.0"),
        ("shrinking", {"keep": 0.0}, "keep 0.0"),
        ("shrinking", {"population": 1}, "population 1"),
    ],
)
def test_wrong_options_are_named(name, options, message):
    with pytest.raises(SearchError, match=message):
        load(name, Coded(), 0, 2, **options)


def test_optuna_absent_is_one_line_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(SearchError, match="needs the Python module optuna: pip install 'optuna"):
        load("optuna_samplers", Coded(), 0, 2)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_optuna_s_samplers_conform(sampler):
    pytest.importorskip("optuna", reason="optuna is not installed")
    conformance.check(factory("optuna_samplers", sampler=sampler, initial=10, population=8), Coded(6, 6), trials=40)


@pytest.mark.slow
def test_pymoo_s_nsga2_conforms():
    pytest.importorskip("pymoo", reason="pymoo is not installed")
    conformance.check(factory("pymoo_nsga2", batch=8), Coded(6, 6), trials=40)


def test_optuna_s_samplers_learn():
    pytest.importorskip("optuna", reason="optuna is not installed")
    space = Coded(8, 8)
    found = {}
    for sampler in ("tpe", "nsga2"):
        trials = drive(load("optuna_samplers", space, 0, 1, sampler=sampler, initial=8, population=8), ramp, 72)
        found[sampler] = [t.values[0] for t in trials]
    assert all(np.mean(v[-24:]) < 0.8 * np.mean(v[:8]) for v in found.values())
    assert found["tpe"] != found["nsga2"]


def test_every_pair_of_strategies_differs():
    """No name is another strategy in disguise."""
    space = Coded()
    runs = {n: [t.genotype for t in drive(load(n, space, 0, 2), conformance.problem(space, 2), 60)] for n in NEW}
    assert all(runs[a] != runs[b] for a, b in itertools.combinations(NEW, 2))
