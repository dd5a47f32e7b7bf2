"""Rewards by hand, the policies' gradients against differences, Gaussian processes against their definition."""

import numpy as np
import pytest

from flow.search import SearchError, Trial, gp
from flow.search.policy import Adam, Categorical, Recurrent
from flow.search.rewards import Reward, Running

COUNTS = (3, 1, 4, 2)


def trial(*values, violation=0.0):
    return Trial(0, (), values, violation)


def test_fnas_by_hand():
    """A 0.8 then 0.9 then 0.2, latency 5, 10 and 2 of a specification of 10; the average with decay 0.8."""
    pay = Reward("fnas", 2, target=10.0)
    state, first = pay(Running(), [trial(-0.8, 5.0)])
    assert first[0] == pytest.approx(0.05) and state.accuracy == pytest.approx(0.8)
    state, second = pay(state, [trial(-0.82, 2.0), trial(-0.2, 10.0), trial(-0.9, 9.0)])
    assert second[0] == pytest.approx(0.02 + 0.02)
    assert second[1] == -0.1 and second[2] == 0.1  # clipped below and above
    assert state.accuracy == pytest.approx(0.8 * (0.8 * 0.804 + 0.2 * 0.2) + 0.2 * 0.9)
    _, over = pay(state, [trial(-0.9, 10.1), trial(-0.9, 5.0, violation=0.1)])
    assert over.tolist() == [-0.1, -0.1]
    assert pay.advantages(state, np.array([0.05]))[1].tolist() == [0.5]


def test_co_explore_by_hand():
    """Efficiency is maximised, so it arrives negated."""
    _, paid = Reward("co-explore", 2, beta=0.75)(Running(), [trial(-0.8, -0.6)])
    assert paid[0] == pytest.approx(0.75 * 0.8 + 0.25 * 0.6)


def test_nahas_by_hand():
    soft, hard = Reward("nahas", 2, target=4.0), Reward("nahas", 2, target=4.0, within=0.0, beyond=-1.0)
    trials = [trial(-0.8, 2.0), trial(-0.8, 8.0)]
    assert soft(Running(), trials)[1] == pytest.approx([0.8 * 0.5**-0.07, 0.8 * 2**-0.07])
    assert hard(Running(), trials)[1] == pytest.approx([0.8, 0.4])
    error = Reward("nahas", 3, accuracy=2, cost=0, error=True, target=4.0)
    assert error(Running(), [trial(4.0, 9.0, 0.3)])[1] == pytest.approx([0.7])
    with pytest.raises(SearchError, match="not above 0"):
        soft(Running(), [trial(-0.8, -30.0)])


def test_one_objective_has_no_hardware_term():
    for form in ("co-explore", "nahas"):
        assert Reward(form, 1)(Running(), [trial(-0.8)])[1].tolist() == [0.8]


@pytest.mark.parametrize("form", ["weighted", "fnas", "co-explore", "nahas"])
def test_infeasible_is_never_paid_more_than_feasible(form):
    rng = np.random.default_rng(0)
    good = [trial(*rng.random(2)) for _ in range(50)]
    bad = [trial(0.0, 0.01, violation=v) for v in (1e-9, 0.5, np.inf)]
    _, paid = Reward(form, 2, error=True, target=2.0)(Running(), [*good, *bad])
    assert max(paid[50:]) <= min(paid[:50])
    assert np.isfinite(paid).all()


def test_weighted_scales_by_what_was_seen():
    pay = Reward("weighted", 2, weights=(1.0, 0.5))
    state, _ = pay(Running(), [trial(0.0, 0.0), trial(2.0, 10.0)])
    _, paid = pay(state, [trial(1.0, 10.0)])
    assert paid[0] == pytest.approx(-(0.5 + 0.05 * (0.5 + 0.5)))


@pytest.mark.parametrize("policy", [Categorical(COUNTS), Recurrent(COUNTS, 5)])
def test_the_gradient_is_the_difference_quotient(policy):
    rng = np.random.default_rng(3)
    theta = policy.start(rng)
    theta = theta + rng.normal(0, 0.5, theta.shape)
    batch = np.array([[int(rng.integers(c)) for c in COUNTS] for _ in range(6)])
    weight = rng.normal(size=6)

    def score(t):
        return float(weight @ policy.log_prob(t, batch))

    slope = policy.gradient(theta, batch, weight, 0.0)
    for i in rng.choice(len(theta), 40):
        step = np.zeros_like(theta)
        step[i] = 1e-5
        assert slope[i] == pytest.approx((score(theta + step) - score(theta - step)) / 2e-5, abs=1e-7)


@pytest.mark.parametrize("policy", [Categorical(COUNTS), Recurrent(COUNTS, 5)])
def test_probabilities_sum_to_one_and_draws_follow_them(policy):
    rng = np.random.default_rng(4)
    theta = policy.start(rng) + rng.normal(0, 0.7, policy.start(rng).shape)
    every = np.array([[a, 0, b, c] for a in range(3) for b in range(4) for c in range(2)])
    p = np.exp(policy.log_prob(theta, every))
    assert p.sum() == pytest.approx(1.0)
    drawn = [tuple(row) for row in policy.draw(theta, rng.random((2000, len(policy.counts), 2)), 0.0).tolist()]
    share = np.array([drawn.count(tuple(int(v) for v in row)) / 2000 for row in every])
    assert np.abs(share - p).max() < 0.04
    uniform = policy.draw(theta, rng.random((2000, len(policy.counts), 2)), 1.0)[:, 2].tolist()
    assert all(abs(uniform.count(v) / 2000 - 0.25) < 0.05 for v in range(4))


@pytest.mark.parametrize("policy", [Categorical(COUNTS), Recurrent(COUNTS, 5)])
def test_the_entropy_bonus_raises_entropy(policy):
    rng = np.random.default_rng(5)
    adam = Adam.at(policy.start(rng) + rng.normal(0, 1.0, policy.start(rng).shape))
    every = np.array([[a, 0, b, c] for a in range(3) for b in range(4) for c in range(2)])

    def entropy(theta):
        log_p = policy.log_prob(theta, every)
        return float(-(np.exp(log_p) * log_p).sum())

    before = entropy(adam.theta)
    for _ in range(60):
        adam = adam.step(policy.gradient(adam.theta, every, np.zeros(len(every)), 1.0), 0.05)
    assert entropy(adam.theta) > before + 0.1 and entropy(adam.theta) <= np.log(24) + 1e-9


def test_the_recurrent_policy_learns_what_independent_genes_cannot():
    """Two genes that must be equal: the best product distribution is right half of the time."""
    policy, rng = Recurrent((2, 2), 12), np.random.default_rng(0)
    adam = Adam.at(policy.start(rng))
    pairs = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    for _ in range(150):
        p = np.exp(policy.log_prob(adam.theta, pairs))
        adam = adam.step(policy.gradient(adam.theta, pairs, p * np.array([1.0, -1, -1, 1]), 0.3 / 4), 0.05)
    p = np.exp(policy.log_prob(adam.theta, pairs))
    assert p[0] + p[3] > 0.9 and min(p[0], p[3]) > 0.2


def test_the_gaussian_process_is_its_definition():
    rng = np.random.default_rng(1)
    raw = rng.random((12, 3))
    standard = gp.Standard.of(raw)
    x, y = standard(raw), np.sin(3 * raw[:, :1])
    (model,) = gp.fit(x, y)
    z = standard(rng.random((4, 3)))
    mean, spread = model.predict(z)
    noise = min(
        gp.NOISES,
        key=lambda n: np.abs(
            np.linalg.inv(gp.matern(gp.distances(x, x), model.scale) + (n + 1e-8) * np.eye(12)) - model.inverse
        ).max(),
    )
    k = gp.matern(gp.distances(x, x), model.scale) + (noise + 1e-8) * np.eye(12)
    cross = gp.matern(gp.distances(z, x), model.scale)
    scaled = (y[:, 0] - y.mean()) / y.std()
    assert mean == pytest.approx(y.mean() + y.std() * cross @ np.linalg.solve(k, scaled), abs=1e-5)
    variance = 1 - np.einsum("ij,ij->i", cross, np.linalg.solve(k, cross.T).T)
    assert spread == pytest.approx(y.std() * np.sqrt(variance), abs=1e-4)
    best = -np.inf
    for scale in gp.SCALES:
        for n in gp.NOISES:
            k = gp.matern(gp.distances(x, x), scale) + (n + 1e-8) * np.eye(12)
            likelihood = -0.5 * scaled @ np.linalg.solve(k, scaled) - 0.5 * np.linalg.slogdet(k)[1]
            if likelihood > best:
                best, chosen = likelihood, (scale, n)
    assert chosen == (model.scale, noise)


def test_the_gaussian_process_interpolates_and_is_unsure_far_away():
    x = np.linspace(0, 1, 8)[:, None]
    standard = gp.Standard.of(x)
    (model,) = gp.fit(standard(x), 5.0 + 2.0 * x)
    mean, spread = model.predict(standard(np.array([[0.5], [9.0]])))
    assert mean[0] == pytest.approx(6.0, abs=0.05) and spread[0] < 0.1 * spread[1]
    (flat,) = gp.fit(standard(x), np.full((8, 1), 3.0))
    assert flat.predict(standard(x))[0] == pytest.approx(np.full(8, 3.0))
