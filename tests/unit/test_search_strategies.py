"""Every strategy through the conformance suite, the suite against broken strategies, loading by name."""

import math
import subprocess
import sys

import numpy as np
import pytest

from flow.search import Exhausted, SearchError, Trial, conformance, free_numbers, load, names
from flow.search.loop import drive
from flow.search.numbered import Numbered
from flow.search.objectives import minimised, minimised_reference
from flow.search.pareto import hypervolume
from tests.search_spaces import Coded as Grid


def factory(name, **options):
    return lambda space, seed, objectives: load(name, space, seed, objectives, **options)


ALL = ["random", "nsga2", "evolution", "local"]


def test_the_strategies_are_found_without_a_list():
    assert set(ALL) <= set(names())
    assert "pareto" not in names() and "conformance" not in names()


@pytest.mark.parametrize("name", names())
def test_conformance(name):
    conformance.check(factory(name), Grid())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("nsga2", {"population": 6, "batch": 5}),
        ("evolution", {"population": 10, "sample": 4, "fitness": "weights"}),
        ("local", {"initial": 1, "restart": 0.0, "batch": 1}),
    ],
)
def test_conformance_with_options(name, options):
    conformance.check(factory(name, **options), Grid(6, 6), trials=40)


class Broken(Numbered):
    def propose(self, history, rng, attempt):
        return self.space.sample(rng)


class Repeats(Broken):
    def ask(self, n):
        return [(0,) * 10] * n


class Unseeded(Broken):
    def propose(self, history, rng, attempt):
        return self.space.sample(np.random.default_rng())


class Sequential(Broken):
    """One generator for the whole run: deterministic, but a resumed run starts it again."""

    def propose(self, history, rng, attempt):
        self.own = getattr(self, "own", None) or np.random.default_rng(self.seed)
        return self.space.sample(rng if attempt else self.own)


class Maximiser(Broken):
    """Walks away from both objectives."""

    def propose(self, history, rng, attempt):
        if not history.trials:
            return self.space.sample(rng)
        return self.space.mutate(max(history.trials, key=lambda t: sum(t.values)).genotype, rng)


class NeedsFeasible(Broken):
    def propose(self, history, rng, attempt):
        if not history.trials:
            return self.space.sample(rng)
        return self.space.mutate(min((t for t in history.trials if t.feasible), key=lambda t: t.values).genotype, rng)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Repeats, "proposes trial 0 again"),
        (Unseeded, "seed 1 gives another run"),
        (Sequential, "continues differently"),
        (Maximiser, "random search reaches"),
        (NeedsFeasible, "stops with"),
    ],
)
def test_conformance_finds_what_is_broken(kind, message):
    with pytest.raises(conformance.ConformanceError, match=message):
        conformance.check(lambda space, seed, objectives: kind(space, seed, objectives), Grid())


def front_volume(trials):
    return hypervolume([t.values for t in trials if t.feasible], (1.1, 1.1))


def two_valleys(number, genotype):
    """Bi-objective, discrete, with a limit: conflicting targets for the halves and a penalty between neighbours."""
    x = np.array(genotype) / 7
    rough = float(np.abs(np.diff(x)).mean())
    values = (float((x**2).mean() + 0.3 * rough), float(((1 - x) ** 2).mean() + 0.3 * rough))
    return Trial(number, genotype, values, max(0.0, rough - 0.35))


@pytest.mark.parametrize(("name", "gain"), [("nsga2", 1.05), ("evolution", 1.02), ("local", 1.05)])
def test_beats_random_in_median_hypervolume(name, gain):
    """Fixed seeds, so this is exact.

    Over 9 seeds of 200 trials, the median exceeds random's, and by the stated factor.
    """
    space = Grid(12, 8)
    volume = {
        n: [front_volume(drive(load(n, space, seed, 2), two_valleys, 200)) for seed in range(9)]
        for n in (name, "random")
    }
    assert np.median(volume[name]) > gain * np.median(volume["random"])
    wins = [a > b for a in volume[name] for b in volume["random"]]
    assert np.mean(wins) > 0.85  # of all pairs of runs


def test_local_search_descends_a_single_objective():
    trials = drive(load("local", Grid(8, 8), 0, 1, restart=0.0), lambda n, g: Trial(n, g, (float(sum(g)),)), 250)
    assert min(t.values[0] for t in trials) == 0


def test_evolution_forgets_the_old():
    """Ageing: once the population is renewed, a perfect but old trial is no parent any more."""
    space = Grid(10, 100)
    strategy = load("evolution", space, 0, 1, population=8, sample=8, batch=8)
    best = Trial(0, (0,) * 10, (-1.0,))
    strategy.tell([best] + [Trial(i, space.sample(np.random.default_rng(i)), (1.0,)) for i in range(1, 8)])
    children = strategy.ask(8)
    assert all(sum(v == 0 for v in c) >= 9 for c in children)
    strategy.tell([Trial(8 + i, c, (1.0,)) for i, c in enumerate(children)])
    strategy.tell([Trial(16 + i, space.sample(np.random.default_rng(50 + i)), (0.5,)) for i in range(8)])
    assert all(sum(v == 0 for v in c) < 5 for c in strategy.ask(8))


def test_a_generation_waits_for_the_one_before():
    strategy = load("nsga2", Grid(), 0, 2, batch=4)
    first = strategy.ask(10)
    assert len(first) == 4 and strategy.ask(1) == []
    strategy.tell([Trial(i, g, (1.0, float(i))) for i, g in enumerate(first[:3])])
    assert strategy.ask(5) == []
    strategy.tell([Trial.failed(3, first[3], 2)])
    assert len(strategy.ask(5)) == 4


def test_random_waits_for_nothing():
    assert len(load("random", Grid(), 0, 2).ask(50)) == 50


def test_telling_again_replaces():
    """A trained accuracy after an estimated one: the parents change with it."""
    space = Grid(10, 100)

    def asked(*tells):
        strategy = load("evolution", space, 0, 1, population=2, sample=2, batch=2)
        for trials in tells:
            strategy.tell(trials)
        return strategy.ask(2)

    a, b = (1,) * 10, (2,) * 10
    before = [Trial(0, a, (0.0,)), Trial(1, b, (1.0,))]
    assert asked(before) != asked(before, [Trial(1, b, (-1.0,))]) == asked([before[0], Trial(1, b, (-1.0,))])


def test_a_small_space_is_exhausted_and_says_so():
    space = Grid(2, 3)
    for name in names():
        found = drive(load(name, space, 0, 2), lambda n, g: Trial(n, g, (float(g[0]), float(g[1]))), 100)
        assert len({t.genotype for t in found}) == len(found) == 9
        strategy = load(name, space, 0, 2)
        strategy.tell(found)
        with pytest.raises(Exhausted, match="after 9 proposals"):
            strategy.ask(1)


def test_trials_that_cannot_be_told():
    with pytest.raises(SearchError, match=r"trial 3: NaN .* Trial\.failed"):
        Trial(3, (), (1.0, math.nan))
    with pytest.raises(SearchError, match="NaN"):
        Trial(3, (), (1.0,), math.nan)
    with pytest.raises(SearchError, match="infinite value"):
        Trial(3, (), (math.inf,))
    with pytest.raises(SearchError, match="negative"):
        Trial(3, (), (1.0,), -1.0)
    strategy = load("random", Grid(), 0, 2)
    genotype = strategy.ask(1)[0]
    with pytest.raises(SearchError, match="has 1 values; the search has 2 objectives"):
        strategy.tell([Trial(0, genotype, (1.0,))])
    with pytest.raises(SearchError, match="trial 0 was proposed as"):
        strategy.tell([Trial(0, (9,) * 10, (1.0, 1.0))])
    with pytest.raises(SearchError, match="at least 1 proposal"):
        strategy.ask(0)
    failed = Trial.failed(1, genotype, 2, reason="out of memory")
    assert not failed.feasible and failed.info["reason"] == "out of memory"


def test_load_says_what_is_wrong(tmp_path):
    space = Grid()
    with pytest.raises(SearchError, match="unknown strategy 'nsga'; nearest: nsga2"):
        load("nsga", space, 0, 2)
    with pytest.raises(SearchError, match="'pareto' is not a strategy"):
        load("pareto", space, 0, 2)
    with pytest.raises(SearchError, match="no option 'populaton'; it has: batch, population"):
        load("nsga2", space, 0, 2, populaton=3)
    with pytest.raises(SearchError, match="does not exist"):
        load(str(tmp_path / "none.py"), space, 0, 2)
    with pytest.raises(SearchError, match="at least 1 objective"):
        load("random", space, 0, 0)
    (tmp_path / "needs.py").write_text("import no_such_module_here\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_here"):
        load(str(tmp_path / "needs.py"), space, 0, 2)
    for options, message in (
        ({"population": 1}, "population 1"),
        ({"crossover": 2}, "probabilities"),
        ({"batch": 0}, "batch 0"),
    ):
        with pytest.raises(SearchError, match=message):
            load("nsga2", space, 0, 2, **options)
    with pytest.raises(SearchError, match="seed -1"):
        load("nsga2", space, -1, 2)
    with pytest.raises(SearchError, match="sample 9"):
        load("evolution", space, 0, 2, population=4, sample=9)
    with pytest.raises(SearchError, match="weights"):
        load("evolution", space, 0, 2, weights=(0.0, 0.0))


OWN = '''
from flow.search.numbered import Numbered

class Corner(Numbered):
    """Half samples, half mutations of the first objective's best."""
    def propose(self, history, rng, attempt):
        good = [t for t in history.trials if t.feasible]
        if not good or rng.random() < 0.5:
            return self.space.sample(rng)
        return self.space.mutate(min(good, key=lambda t: t.values).genotype, rng)

def create(space, seed, objectives):
    return Corner(space, seed, objectives)
'''


def test_own_strategy_in_one_file(tmp_path, monkeypatch):
    (tmp_path / "corner_search.py").write_text(OWN)
    conformance.check(factory(str(tmp_path / "corner_search.py")), Grid())
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "corner.py").write_text(OWN)
    assert len(load("lab.corner", Grid(), 0, 2).ask(3)) == 3


def test_search_imports_nothing_of_the_hardware():
    code = (
        "import sys, flow.search.conformance, flow.search as s; s.names();"
        "bad = [m for m in sys.modules if m.startswith('flow.') and not m.startswith('flow.search')];"
        "bad += [m for m in ('torch', 'onnx', 'scipy') if m in sys.modules]; sys.exit(' '.join(bad) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_numbers_and_directions():
    numbers = free_numbers({0, 1, 3})
    assert [next(numbers) for _ in range(3)] == [2, 4, 5]
    assert minimised(["accuracy", "latency_ms"], {"accuracy": 0.9, "latency_ms": 2, "fps": 1}) == (-0.9, 2.0)
    assert minimised(["accuracy"], {"accuracy": None}) is None and minimised(["accuracy"], {}) is None
    assert minimised(["dsp"], {"dsp": math.nan}) is None
    assert minimised_reference(["accuracy", "dsp"], [0.1, 2520]) == (-0.1, 2520.0)
    with pytest.raises(SearchError, match="3 numbers"):
        minimised_reference(["accuracy", "dsp"], [0.1, 2520, 1])
