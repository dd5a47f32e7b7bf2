"""Plans of full trainings: within the time, the most accurate network first and longest."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow import plan

PRICES = st.lists(st.floats(0.5, 500.0), min_size=1, max_size=16)


def ends(seconds: list[float], workers: int) -> float:
    """The best of all ways to share tasks among workers: brute force."""
    ways = itertools.product(range(workers), repeat=len(seconds))
    return min(max(sum(s for s, w in zip(seconds, way, strict=True) if w == k) for k in range(workers)) for way in ways)


@given(st.lists(st.floats(0.1, 100.0), min_size=1, max_size=6), st.integers(1, 3))
def test_makespan_is_reached_and_near_the_best(seconds: list[float], workers: int) -> None:
    best, ours = ends(seconds, workers), plan.makespan(seconds, workers)
    # Graham, "Bounds on multiprocessing timing anomalies", 1969: the longest first is within 4/3 of the best.
    assert best - 1e-9 <= ours <= best * (4 / 3 - 1 / (3 * workers)) + 1e-9


@given(PRICES, st.floats(1.0, 3000.0), st.integers(1, 4), st.booleans())
def test_a_plan_keeps_to_the_time(prices: list[float], seconds: float, workers: int, curves: bool) -> None:
    named = {str(k): p for k, p in enumerate(prices)}
    shares = plan.shared(named, seconds, workers, curves)
    assert next(iter(shares)) == "0" and len(shares) <= plan.FINALISTS
    groups = plan.parts(shares, curves)
    assert sorted(d for g in groups for d in g) == sorted(shares), "each once"
    took = sum(plan.makespan([named[d] * shares[d] for d in g], workers) for g in groups)
    if 0.11 * prices[0] <= seconds:
        assert took <= seconds * 1.001
    if prices[0] <= seconds:
        assert shares["0"] >= max(shares.values()) and min(shares.values()) >= plan.ENOUGH
    common = min(shares.values())
    assert all(shares[d] == common for d in groups[0]) or len(groups) == 1, "curves of unlike length are not compared"


def test_time_left_goes_to_the_most_accurate_network_first() -> None:
    ample = plan.shared({"a": 100.0, "b": 50.0, "c": 60.0}, 1e6, 2, False)
    assert ample == {"a": plan.LONGEST, "b": 1.0, "c": 1.0}
    tight = plan.shared({"a": 100.0, "b": 100.0}, 150.0, 2, False)
    assert tight == {"a": 1.5, "b": 1.0}
    one = plan.shared({"a": 100.0, "b": 100.0}, 200.0, 1, False)
    assert one == {"a": pytest.approx(1.4), "b": plan.ENOUGH}
    assert plan.shared({"a": 100.0, "b": 10.0}, 30.0, 1, False) == {"a": 0.3}


def test_curves_end_only_later_trainings_of_the_same_length() -> None:
    shares = {"a": 2.0} | dict.fromkeys("bcdefghi", 1.0)
    first, rest = plan.parts(shares, True)
    assert first == list("bcde") and rest == list("afghi")
    assert plan.parts(shares, False) == [list("abcdefghi")]


def test_the_load_of_late_stretches_prices_and_what_is_long_past_does_not() -> None:
    known = SimpleNamespace(pace={"a": 0.001}, loads=[])
    study = SimpleNamespace(state=known, images=50_000)
    alone = plan.price(study, SimpleNamespace(digest="a"))  # type: ignore[arg-type]
    known.loads += [4.0] * 20 + [1.5] * plan.RECENT
    assert plan.price(study, SimpleNamespace(digest="a")) == pytest.approx(1.5 * alone)  # type: ignore[arg-type]
