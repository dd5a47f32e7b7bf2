"""Expected accuracies: a few steps of training tell more than features, measured ones are certain."""

import numpy as np
import pytest

from flow import expect, space
from flow.space.network import NetSpec


def networks(count: int) -> list[NetSpec]:
    known, rng = space.load("default"), np.random.default_rng(0)
    return [known.network(known.sample(rng), (1, 28, 28), 10) for _ in range(count)]


SPECS = networks(40)
TRUTH = {s.digest: float(a) for s, a in zip(SPECS, np.random.default_rng(1).uniform(0.5, 0.95, 40), strict=True)}


def known(trained: int, few: int, scores: bool = False) -> expect.Known:
    found = expect.Known(specs={s.digest: s for s in SPECS})
    found.short = {s.digest: TRUTH[s.digest] for s in SPECS[:trained]}
    found.few = {s.digest: 0.8 * TRUTH[s.digest] - 0.3 for s in SPECS[:few]}
    if scores:
        found.scores = {s.digest: dict.fromkeys(expect.ranking.NAMES, TRUTH[s.digest]) for s in SPECS}
    return found


def test_measured_accuracies_are_certain() -> None:
    mean, deviation = expect.accuracies(known(12, 0), SPECS)
    assert mean[:12] == pytest.approx([TRUTH[s.digest] for s in SPECS[:12]]) and not deviation[:12].any()
    assert (deviation[12:] > 0).all() and ((mean >= 0) & (mean <= 1)).all()


def test_a_few_steps_tell_what_features_cannot() -> None:
    """The accuracies here are random, so features say nothing; a few steps foretell them by a straight line."""
    rest = SPECS[20:]
    want = [TRUTH[s.digest] for s in rest]
    blind, doubt = expect.accuracies(known(20, 0), rest)
    seen, sure = expect.accuracies(known(20, 40), rest)
    assert np.abs(seen - want).max() < 0.01 < np.abs(blind - want).mean()
    assert (sure < 0.1 * doubt).all()


def test_before_any_training_size_or_the_scores_rank() -> None:
    sizes, _ = expect.accuracies(known(0, 0), SPECS)
    assert np.array_equal(np.argsort(sizes, kind="stable"), np.argsort([s.params for s in SPECS], kind="stable"))
    scored, _ = expect.accuracies(known(0, 0, scores=True), SPECS)
    assert np.array_equal(np.argsort(scored), np.argsort([TRUTH[s.digest] for s in SPECS]))


def test_nearest_is_the_network_itself_where_it_is_there() -> None:
    assert expect.nearest(SPECS, SPECS[5:8]) == [5, 6, 7]


def test_shared_weights_are_a_feature_and_who_has_none_gets_the_mean() -> None:
    rest = SPECS[20:]
    want = [TRUTH[s.digest] for s in rest]
    given = known(20, 0)
    blind, _ = expect.accuracies(given, rest)
    given.shared = {s.digest: 0.5 * TRUTH[s.digest] for s in SPECS}
    seen, _ = expect.accuracies(given, rest)
    assert np.abs(seen - want).mean() < 0.6 * np.abs(blind - want).mean()
    del given.shared[rest[0].digest]
    without, _ = expect.accuracies(given, rest)
    assert np.isfinite(without).all() and abs(without[1] - want[1]) < abs(blind[1] - want[1])
