"""The tabular benchmark: its costs against whole designs, its optima against everything else, its runs repeatable."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from flow import bench, board, estimate, timing
from flow.mapping.solve import realise
from flow.search import modes, names
from flow.search.loop import drive
from flow.search.repair import Repaired
from flow.space import Options, load
from flow.space.nas_bench_201 import CELLS, EDGES, OPS, STAGES
from flow.space.network import random_graph
from flow.tabular import accuracies, campaign, cells, family, optimum
from flow.tabular.arms import Arm, Truth, run, scores
from flow.tabular.campaign import Journal, compare
from flow.tabular.problem import Problem, latency

TWO = ("skip_connect", "nor_conv_3x3")
SPACE = load("nas-bench-201", Options(weight_bits=(8,), activation_bits=(8,)))


def spec_of(ops, shape=(1, 16, 16)):
    return SPACE.network(SPACE.genotype({f"{j}<-{i}": o for (j, i), o in zip(EDGES, ops, strict=True)}), shape, 10)


def table_text():
    """All cells over two operations with made-up accuracies: more convolutions are better, early ones are noisy."""
    rng = np.random.default_rng(7)
    lines = ["# name made-up", "# shape 1x16x16", "# classes 10", f"# ops {' '.join(TWO)}", "cell,early,late"]
    for ops in itertools.product(TWO, repeat=len(EDGES)):
        nodes = [[f"{op}~{i}" for (j, i), op in zip(EDGES, ops, strict=True) if j == k] for k in (1, 2, 3)]
        late = 60 + 5 * ops.count(TWO[1]) + rng.normal()
        cell = "+".join(f"|{'|'.join(n)}|" for n in nodes)
        lines.append(f"{cell},{late - 10 + 2 * rng.normal():.2f},{late:.2f}")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "two.csv"
    path.write_text(table_text())
    problem = Problem(accuracies.load(path), board.load("zcu102"))
    return Truth(problem, optimum.solve(problem))


def test_a_cell_is_what_the_space_builds():
    rng = np.random.default_rng(0)
    for _ in range(40):
        ops = [OPS[int(i)] for i in rng.integers(len(OPS), size=len(EDGES))]
        cell, layers = cells.cell(ops), spec_of(ops).layers
        blocks = CELLS * len(STAGES) if cell.alive else 0
        reductions = 2 if cell.alive else 0
        one, three, pool = cell.counts
        assert sum(x.kind == "conv" and x.kernel == 1 for x in layers) == blocks * one + reductions
        assert sum(x.kind == "conv" and x.kernel == 3 for x in layers) == blocks * three + 2 * reductions + cell.alive
        assert sum(x.kind == "avgpool" for x in layers) == blocks * pool + reductions
        assert sum(x.kind == "add" for x in layers) == blocks * cell.adds + reductions
    assert not cells.cell(["none"] * 6).alive


def test_costs_are_those_of_whole_designs(truth):
    """Random pairs: interval and DSP exact, the rest within what is said in docs/benchmarks-search.md."""
    problem, rng = truth.problem, np.random.default_rng(1)
    for _ in range(5):
        genotype = problem.space.sample(rng)
        network, hardware = problem.network(genotype), problem.hardware(genotype)
        point = problem.point(problem.bodies[problem.body_of[network]], hardware)
        graph = random_graph(spec_of(problem.accuracies.cell(network)))
        chosen = {s: family.choices(s)[j] for s, j in enumerate(hardware)}
        folds = {n.id: family.folding(graph, n, chosen) for n in graph.nodes}
        net = realise(graph, problem.board, folds, 10**9)
        times, used = timing.analyse(net), estimate.resources(net)
        assert point.interval == times.interval_cycles and point.used[2] == used.dsp
        assert point.latency == pytest.approx(times.latency_cycles, rel=0.25)
        assert point.used[0] == pytest.approx(used.lut, rel=0.05)
        assert sum("gear" in p.id for p in net.processes) <= 2  # only at the two ends


def test_no_accelerator_is_faster_than_the_best(truth):
    problem, rng = truth.problem, np.random.default_rng(2)
    for network in rng.choice(len(problem.body_of), 6, replace=False):
        body = int(problem.body_of[network])
        best = truth.optimum.latency[body]
        own = problem.genotype(int(network), truth.optimum.hardware[body])
        trial = problem.trial(0, own)
        assert trial.feasible and 10 ** trial.values[1] == pytest.approx(problem.milliseconds(best))
        j = tuple(rng.integers(len(family.choices(s)), size=20000) for s in range(3))
        parts = problem.bodies[body]
        used = problem.costs.stem[j[0]] + problem.costs.head[j[2]] + sum(parts.used[s][j[s]] for s in range(3))
        used = used + problem.costs.reduction[1][j[0], j[1]] + problem.costs.reduction[2][j[1], j[2]]
        fits = (used <= problem.budget).all(axis=1)
        found = latency(parts.cell, problem.array_parts(j), problem.pixels, np.maximum)
        assert fits.any() and found[fits].min() >= best - 1e-6


def test_arrays_and_numbers_agree(truth):
    problem, rng = truth.problem, np.random.default_rng(3)
    genotypes = [problem.space.sample(rng) for _ in range(20)]
    body = problem.bodies[5]
    j = np.array([problem.hardware(g) for g in genotypes]).T
    together = latency(body.cell, problem.array_parts((j[0], j[1], j[2])), problem.pixels, np.maximum)
    assert [problem.point(body, problem.hardware(g)).latency for g in genotypes] == pytest.approx(list(together))


def test_genotypes_and_numbers_are_inverse(truth):
    problem, rng = truth.problem, np.random.default_rng(4)
    for _ in range(50):
        g = problem.space.sample(rng)
        assert problem.genotype(problem.network(g), problem.hardware(g)) == g
        assert problem.space.loads(problem.space.dumps(g)) == problem.space.decode(problem.space.encode(g)) == g
        assert problem.space.mutate(g, rng) != g


def test_the_true_front_has_ratio_one_and_nothing_more(truth):
    every = truth.late[np.isfinite(truth.late).all(axis=1)]
    assert truth.ratio(every) == pytest.approx(1.0) == truth.ratio(truth.late[truth.front])
    assert truth.distance(every) == 0.0 and truth.ceiling() <= 1.0
    seen = run(truth, Arm("random", "nested"), 0, 64)
    assert truth.ratio(truth.handed_over(Arm("random", "nested"), seen)) == pytest.approx(truth.ceiling(), abs=1e-9)


def test_the_same_on_one_worker_and_on_two_interrupted_or_not(truth):
    arms = [Arm("nsga2"), Arm("tpe", "repaired"), Arm("nsga2", "sequential"), Arm("random", most=16)]
    one, two = (compare(truth, arms, 2, [16, 48], workers) for workers in (1, 2))
    assert [[o.scores for o in mine] for mine in one] == [[o.scores for o in mine] for mine in two]
    whole = run(truth, arms[2], 1, 48)
    assert truth.ratio(truth.handed_over(arms[2], whole)) == one[2][1].scores[-1][0], "shared first halves"
    for arm in arms:
        whole = run(truth, arm, 5, 48)
        again = run(truth, arm, 5, 48, [t for t in whole[:30] if t.number not in (11, 25)])
        assert [t.genotype for t in again] == [t.genotype for t in whole]


def test_a_journal_torn_anywhere_goes_on_and_gives_the_same(truth, tmp_path, monkeypatch):
    arms, path = [Arm("nsga2"), Arm("random", "nested")], tmp_path / "page.journal"
    whole = compare(truth, arms, 2, [8, 16], 1, Journal(path))
    data = path.read_bytes()
    assert data.count(b"\n") == 4
    for keep in (0, 1, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:keep])
        before = data[:keep].count(b"\n")
        done = []
        monkeypatch.setattr(campaign, "scores", lambda *a, done=done: done.append(1) or scores(*a))
        again = compare(truth, arms, 2, [8, 16], 1, Journal(path))
        assert [[o.scores for o in mine] for mine in again] == [[o.scores for o in mine] for mine in whole]
        assert len(done) == 4 - before and len(path.read_bytes().splitlines()) == 4
    other = Truth(Problem(truth.problem.accuracies, board.load("zcu102"), share=0.5), truth.optimum)
    compare(other, arms[:1], 1, [8, 16], 1, Journal(path))
    assert len(path.read_bytes().splitlines()) == 5, "another problem's results are not taken"


def test_best_accelerators_are_kept_and_taken_again(truth, tmp_path, monkeypatch):
    monkeypatch.setenv("COEXPLORE_CACHE", str(tmp_path))
    first = campaign.solved(truth.problem)
    monkeypatch.setattr(optimum, "solve", None)
    again = campaign.solved(truth.problem)
    assert np.array_equal(first.latency, again.latency) and np.array_equal(first.hardware, again.hardware)
    assert np.array_equal(first.latency, truth.optimum.latency)


def test_a_repaired_pair_fits_and_keeps_its_network(truth):
    problem, rng = truth.problem, np.random.default_rng(5)
    pairs = [problem.space.sample(rng) for _ in range(200)]
    fits = [problem.trial(0, g).feasible for g in pairs]
    fixed = [problem.repaired(g) for g in pairs]
    assert 0 < sum(fits) < 200 and all(problem.trial(0, g).feasible for g in fixed)
    assert all(g == f for g, f, ok in zip(pairs, fixed, fits, strict=True) if ok)
    assert all(g[: len(EDGES)] == f[: len(EDGES)] for g, f in zip(pairs, fixed, strict=True))
    lanes_and_unrolls = [i for i in range(len(EDGES), len(pairs[0])) if (i - len(EDGES)) % 4 < 2]
    assert all(f[i] <= g[i] for g, f in zip(pairs, fixed, strict=True) for i in lanes_and_unrolls)


@pytest.mark.parametrize("name", ["nsga2", "tpe", "reinforce", "shrinking"])
def test_a_repaired_space_keeps_the_contract(truth, name):
    space = Repaired(truth.problem.space, truth.problem.repaired)
    whole = drive(modes.strategy("joint", name, space, 1, 2), truth.problem.trial, 40)
    again = drive(modes.strategy("joint", name, space, 1, 2), truth.problem.trial, 40, whole[:23])
    assert [t.genotype for t in whole] == [t.genotype for t in again] and all(t.feasible for t in whole)


def test_every_mode_runs(truth):
    for mode in (*modes.MODES, "repaired"):
        arm = Arm("nsga2", mode)
        found = truth.handed_over(arm, run(truth, arm, 0, 24))
        assert 0 <= truth.ratio(found) <= 1


def test_a_missing_or_incomplete_table_is_one_line(tmp_path):
    with pytest.raises(accuracies.TableError, match="no table"):
        accuracies.load(tmp_path / "none.npz")
    short = tmp_path / "short.csv"
    short.write_text("\n".join(table_text().splitlines()[:20]))
    with pytest.raises(accuracies.TableError, match="49 cells are missing"):
        accuracies.load(short)


def test_the_table_trained_here_is_whole():
    table = accuracies.load(Path(__file__).parents[2] / "benchmarks" / "digits64.csv")
    assert (table.name, table.shape, table.classes, len(table.early)) == ("digits", (1, 16, 16), 10, 64)
    assert 0.05 < table.late.min() and table.late.mean() > table.early.mean()


def test_the_published_table_is_read_in_its_own_order():
    path = accuracies.default_path()
    if not path.is_file():
        pytest.skip(f"no {path}: the published accuracies are not here")
    table = accuracies.load(path, "cifar10")
    with np.load(path) as z:
        for row in (0, 7, 15624):
            ops = tuple(
                part.split("~")[0] for n in str(z["arch_str"][row]).split("+") for part in n.strip("|").split("|")
            )
            assert table.late[table.number(ops)] * 100 == pytest.approx(float(z["test_acc_200ep_mean_cifar10"][row]))
            assert table.cell(table.number(ops)) == ops
    with pytest.raises(accuracies.TableError, match="not one of cifar10"):
        accuracies.load(path, "mnist")


@pytest.mark.slow
def test_the_benchmark_prints_its_tables(tmp_path):
    path = tmp_path / "two.csv"
    path.write_text(table_text())
    page = tmp_path / "page.md"
    words = f"full --out {page} --table {path} --boards zcu102 --seeds 2 --budgets 8 24 --workers 1".split()
    tables = dict(bench.load("search")(words))
    assert page.with_suffix(".journal").is_file()
    text = page.read_text()
    assert all(f"**{title.rpartition(', ')[0] or title}**" in text for title in tables), text
    assert {t.partition(",")[0] for t in tables} == {
        "true joint front", "costs against the estimate of whole designs", "latency targets", "hypervolume ratio",
        "whole benchmark",
    }  # fmt: skip
    front = next(rows for t, rows in tables.items() if t.startswith("true joint front"))[0]
    assert front["networks"] == 64 and front["front"] >= 1
    searched = next(rows for t, rows in tables.items() if "joint search" in t)
    assert {r["search"] for r in searched} >= set(names())
    assert any("every mode" in t for t in tables)
    held = next(rows for t, rows in tables.items() if "modes with" in t)
    assert all(0 <= float(r["24"].split()[0]) <= 1 for r in held)
