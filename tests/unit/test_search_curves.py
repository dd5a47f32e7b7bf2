"""Learning curves: told early, honestly uncertain, and never given up without evidence."""

import numpy as np
import pytest

from flow.search.curves import LEAST, Ended, hopeless, predict


def curve(final: float, rng: np.random.Generator, noise: float = 0.005) -> Ended:
    """Saturating growth towards ``final``."""
    epochs = np.arange(1, 11)
    values = final * (1 - np.exp(-epochs / 2.5)) + rng.normal(0, noise, 10)
    return Ended(tuple(np.clip(values, 0, 1)), final)


def test_a_third_of_the_curve_tells_the_end() -> None:
    rng = np.random.default_rng(0)
    ended = [curve(f, rng) for f in rng.uniform(0.5, 0.95, 20)]
    errors, deviations = [], []
    for final in rng.uniform(0.5, 0.95, 40):
        found = predict(curve(final, rng).curve[:3], ended)
        assert found is not None
        errors.append(found[0] - final)
        deviations.append(found[1])
    assert np.std(errors) < 0.02
    assert 0.5 < np.std(errors) / np.mean(deviations) < 2  # it knows how well it does


def test_nothing_is_said_without_evidence() -> None:
    rng = np.random.default_rng(1)
    ended = [curve(f, rng) for f in (0.6, 0.7, 0.8)]
    assert len(ended) < LEAST and predict([0.3], ended) is None and not hopeless([0.01], ended, 0.99)
    assert predict([], [curve(0.5, rng)] * 9) is None
    short = [Ended((0.2, 0.3), 0.5)] * 9
    assert predict([0.1, 0.2, 0.3], short) is None  # none is known so far


@pytest.mark.parametrize(("final", "needed", "given_up"), [(0.6, 0.9, True), (0.88, 0.86, False), (0.95, 0.9, False)])
def test_given_up_only_when_clearly_below(final: float, needed: float, given_up: bool) -> None:
    rng = np.random.default_rng(2)
    ended = [curve(f, rng) for f in rng.uniform(0.5, 0.95, 12)]
    assert hopeless(curve(final, rng).curve[:4], ended, needed) is given_up


def test_erratic_curves_are_not_trusted() -> None:
    """Finals that have nothing to do with the beginnings: no training is given up."""
    rng = np.random.default_rng(3)
    ended = [Ended(tuple(rng.uniform(0, 1, 5)), float(f)) for f in rng.uniform(0.3, 0.9, 15)]
    assert not hopeless([0.1, 0.1, 0.1], ended, 0.85)
