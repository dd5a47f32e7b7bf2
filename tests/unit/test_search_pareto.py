"""Pareto order and indicators against brute force, inclusion-exclusion and values worked out by hand."""

import itertools
import math

import numpy as np
import pytest

from flow.search import SearchError
from flow.search.pareto import (
    chebyshev,
    contributions,
    crowding,
    epsilon,
    fronts,
    gains,
    hypervolume,
    igd_plus,
    nondominated,
    select,
)


def dominates(a, b):
    return all(x <= y for x, y in zip(a, b, strict=True)) and any(x < y for x, y in zip(a, b, strict=True))


def brute_ranks(values, violation):
    """Rank by definition: constrained domination, peeled one front at a time."""

    def better(i, j):
        if violation[i] > 0 or violation[j] > 0:
            return violation[i] < violation[j]
        return dominates(values[i], values[j])

    left, ranks = set(range(len(values))), {}
    for rank in itertools.count():
        if not left:
            return [ranks[i] for i in range(len(values))]
        front = {i for i in left if not any(better(j, i) for j in left)}
        ranks |= dict.fromkeys(front, rank)
        left -= front


def inclusion_exclusion(points, reference):
    total = 0.0
    for size in range(1, len(points) + 1):
        for group in itertools.combinations(points, size):
            corner = np.max(group, axis=0)
            total -= (-1) ** size * float(np.prod(np.maximum(0, np.asarray(reference) - corner)))
    return total


def grid_volume(points, reference, cells):
    """Unit cells of an integer grid that some point dominates."""
    axes = np.meshgrid(*[np.arange(cells)] * len(reference), indexing="ij")
    corner = np.stack([a.ravel() for a in axes], axis=1)
    covered = np.zeros(len(corner), dtype=bool)
    for p in points:
        covered |= (corner >= np.asarray(p)).all(axis=1)
    return int((covered & (corner < np.asarray(reference)).all(axis=1)).sum())


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
def test_ranks_equal_the_definition(m):
    rng = np.random.default_rng(m)
    for n in (1, 2, 7, 40):
        for values in (
            rng.random((n, m)),
            rng.integers(0, 4, (n, m)).astype(float),
        ):  # the second has ties and equal points
            violation = np.where(rng.random(n) < 0.3, rng.integers(0, 3, n), 0).astype(float)
            found = fronts(values, violation)
            ranks = np.full(n, -1)
            for rank, front in enumerate(found):
                ranks[front] = rank
            assert ranks.tolist() == brute_ranks(values.tolist(), violation.tolist())
            want = [not any(dominates(b, a) for b in values) for a in values]
            assert nondominated(values).tolist() == want


def test_infeasible_values_are_not_looked_at():
    values = [[math.inf, math.inf], [1, 2], [0, 0], [math.inf, 0]]
    assert [f.tolist() for f in fronts(values, [math.inf, 0, 0.5, 2])] == [[1], [2], [3], [0]]


def test_limit_stops_after_the_front_that_reaches_it():
    values = [[i, i] for i in range(10)]
    assert [f.tolist() for f in fronts(values, limit=3)] == [[0], [1], [2]]
    assert len(fronts(values)) == 10


def test_crowding_by_hand():
    distance = crowding([[0, 4], [1, 2], [2, 1], [4, 0]])
    assert distance[0] == distance[3] == math.inf
    assert distance[1] == pytest.approx(2 / 4 + 3 / 4)
    assert distance[2] == pytest.approx(3 / 4 + 2 / 4)
    assert crowding([[1, 1], [1, 1], [1, 1]]).tolist() == [0, 0, 0]
    with pytest.raises(SearchError, match="finite"):
        crowding([[1, math.inf], [0, 0], [1, 1]])


def test_select_takes_the_crowded_out_last_and_infeasible_by_violation():
    values = [[0, 4], [1, 2], [1.1, 1.9], [4, 0], [9, 9], [0, 0], [0, 0]]
    violation = [0, 0, 0, 0, 0, 2, 1]
    index, rank, _ = select(values, violation, 3)
    assert set(index.tolist()) == {0, 3, 2} and rank.tolist() == [0, 0, 0]
    index, rank, _ = select(values, violation, 7)
    assert (
        set(index.tolist()[:4]) == {0, 1, 2, 3}
        and index.tolist()[4:] == [4, 6, 5]
        and rank.tolist() == [0, 0, 0, 0, 1, 2, 3]
    )
    assert select(np.zeros((0, 2)), [], 4)[0].tolist() == []


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
def test_hypervolume_equals_inclusion_exclusion(m):
    rng = np.random.default_rng(100 + m)
    for n in (1, 2, 5, 9):
        points = rng.random((n, m)) * 1.2  # some lie beyond the reference
        assert hypervolume(points, [1.0] * m) == pytest.approx(inclusion_exclusion(points, [1.0] * m), abs=1e-12)


@pytest.mark.parametrize(("m", "n", "cells"), [(2, 60, 12), (3, 60, 12), (4, 40, 8), (5, 30, 6)])
def test_hypervolume_equals_counted_cells(m, n, cells):
    """Integer points with many ties, dominated and equal points: the volume is a whole number of cells."""
    rng = np.random.default_rng(m)
    points = rng.integers(0, cells + 1, (n, m))
    assert hypervolume(points, [cells] * m) == grid_volume(points, [cells] * m, cells)


def test_known_hypervolumes():
    assert hypervolume([[1, 3], [2, 2], [3, 1]], [4, 4]) == 6
    assert hypervolume([[0, 0, 0]], [2, 3, 4]) == 24
    assert (
        hypervolume([[0, 1, 1], [1, 0, 1], [1, 1, 0]], [2, 2, 2]) == 4
    )  # 3 boxes of 2, their common cube counted once
    assert hypervolume([[3], [1], [2]], [5]) == 4
    # The DTLZ1 simplex f1 + f2 + f3 = 0.5 with reference 0.5: 0.5^3 - 0.5^3 / 6; a fine sample comes within 2 %, from
    # below.
    fine = [(i, j, 60 - i - j) for i in range(61) for j in range(61 - i)]
    assert 0.97 * 0.125 * 5 / 6 < hypervolume(np.array(fine) / 120, [0.5] * 3) < 0.125 * 5 / 6


def test_hypervolume_at_the_edges():
    assert hypervolume([], [1, 1]) == 0
    assert hypervolume([[1, 0], [2, 0], [0, 1]], [1, 1]) == 0  # on or beyond the reference
    assert hypervolume([[math.inf, 0], [0.5, 0.5]], [1, 1]) == 0.25
    with pytest.raises(SearchError, match="NaN in point 1"):
        hypervolume([[0, 0], [0, math.nan]], [1, 1])
    with pytest.raises(SearchError, match="-inf"):
        hypervolume([[-math.inf, 0]], [1, 1])
    with pytest.raises(SearchError, match="reference must be finite"):
        hypervolume([[0, 0]], [1, math.inf])
    with pytest.raises(SearchError, match="2 objectives, 3 numbers"):
        hypervolume([[0, 0]], [1, 1, 1])


def test_contributions_sum_up_only_without_overlap():
    assert contributions([[1, 3], [2, 2], [3, 1]], [4, 4]).tolist() == [1, 1, 1]
    assert contributions([[0, 0], [0, 0]], [1, 1]).tolist() == [0, 0]


def test_hypervolume_agrees_with_pymoo():
    indicator = pytest.importorskip("pymoo.indicators.hv", reason="pymoo is not installed").HV
    rng = np.random.default_rng(5)
    for m in (2, 3, 4, 5):
        points = rng.random((30, m))
        want = indicator(ref_point=np.ones(m))(points)
        assert hypervolume(points, [1.0] * m) == pytest.approx(float(want), rel=1e-9)


def test_indicators_by_hand():
    true = [[0, 1], [1, 0]]
    assert igd_plus(true, true) == 0 and epsilon(true, true) == 0
    assert igd_plus([[0, 0]], true) == 0 and epsilon([[0, 0]], true) == 0  # dominating is no distance
    assert igd_plus([[1, 1]], true) == 1 and epsilon([[1, 1]], true) == 1
    assert igd_plus([[0.5, 1.5], [1.5, 0.5]], true) == pytest.approx(math.sqrt(0.5))
    assert epsilon([[0.5, 1.5], [1.5, 0.5]], true) == 0.5
    assert igd_plus([], true) == epsilon([], true) == math.inf
    for indicator in (igd_plus, epsilon):
        with pytest.raises(SearchError, match="true front"):
            indicator([[0, 0]], [])
        with pytest.raises(SearchError, match="infinite"):
            indicator([[math.inf, 0]], true)


def test_chebyshev_prefers_the_weighted_objective():
    values = [[0, 10], [5, 5], [10, 0]]
    assert np.argmin(chebyshev(values, [1, 0])) == 0
    assert np.argmin(chebyshev(values, [0.5, 0.5])) == 1
    assert np.argmin(chebyshev(values, [0, 1])) == 2


def test_gains_are_differences_of_hypervolumes() -> None:
    rng = np.random.default_rng(5)
    for m in (2, 3, 4):
        others, points, reference = rng.random((12, m)), rng.random((30, m)) * 1.2, (1.0,) * m
        base = hypervolume(others, reference)
        want = [hypervolume(np.vstack([others, p]), reference) - base for p in points]
        assert gains(points, others, reference) == pytest.approx(want, abs=1e-12)
        alone = [hypervolume(p[None], reference) for p in points]
        assert gains(points, np.empty((0, m)), reference) == pytest.approx(alone)
