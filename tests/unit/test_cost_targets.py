"""Two targets, intervals and feasibility at a confidence: quantiles by hand, budgets, and designs mapped under them."""

from __future__ import annotations

import numpy as np
import pytest

from flow import board, estimate, mapping
from flow.board import Resources
from flow.config import Config, ConfigError
from flow.cost import targets
from flow.cost.targets import Decision, Spread
from flow.tasks import goal_of, measures
from tests import networks

ZCU = board.load("zcu102")


def test_quantiles_by_hand() -> None:
    s = Spread(0.5, 1.0, 4.0)
    assert [s.quantile(q) for q in (0.1, 0.5, 0.9)] == pytest.approx([0.5, 1.0, 4.0])
    assert s.quantile(0.8) == pytest.approx(4.0 ** (0.8416 / 1.2816), rel=1e-3)
    assert [s.below(r) for r in (0.5, 1.0, 4.0)] == pytest.approx([0.1, 0.5, 0.9])
    assert s.below(0.0) == 0.0
    exact = Spread(1.0, 1.0, 1.0)
    assert exact.quantile(0.99) == 1.0 and exact.below(1.0) == 1.0 and exact.below(0.99) == 0.0


def test_a_product_of_ratios() -> None:
    """Against two million draws: exact where both are symmetric in their logarithms."""
    a, b = Spread(0.5, 1.0, 2.0), Spread(1.0, 1.5, 2.25)
    rng, z90 = np.random.default_rng(0), 1.2815515655446004
    draws = np.exp(rng.normal(0, np.log(2) / z90, 2_000_000) + rng.normal(np.log(1.5), np.log(1.5) / z90, 2_000_000))
    assert a.times(b) == pytest.approx(tuple(np.quantile(draws, (0.1, 0.5, 0.9))), rel=0.01)
    assert a.times(Spread(1.0, 1.0, 1.0)) == pytest.approx(a)


def test_budget_and_judgement_agree() -> None:
    """What a budget admits is judged to fit with at least the asked probability, one more LUT is not."""
    available = Resources(100_000, 200_000, 500, 400, 0)
    for decision in (Decision(), Decision("csynth", 0.9), Decision("impl", 0.5), Decision("impl", 0.95)):
        budget = decision.budget(available)
        judged = decision.judge(budget, available)
        assert judged["probability"] >= decision.confidence - 0.005
        assert all(x["used"] <= x["available"] for x in judged["limits"].values())
        more = budget + Resources(lut=max(5, budget.lut // 200))
        assert decision.judge(more, available)["limits"]["lut"]["used"] > available.lut
    assert Decision().budget(available) == available
    assert Decision("csynth", 0.9).budget(available).lut < available.lut < Decision("impl", 0.9).budget(available).lut


@pytest.mark.parametrize(("target", "confidence"), [("vivado", 0.5), ("impl", 0.4), ("csynth", 1.0)])
def test_nonsense_is_refused(target: str, confidence: float) -> None:
    with pytest.raises(ValueError, match=r"target|confidence"):
        Decision(target, confidence)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"target|confidence"):
        Config(target=target, confidence=confidence)


def test_a_report_says_both_targets_and_how_sure_it_is() -> None:
    found = mapping.solve(networks.sample(), ZCU, mapping.Goal(max_utilisation=0.2))
    assert not isinstance(found, mapping.NoFit)
    r = estimate.estimate(found).json()
    for kind, n in r["resources"].items():
        low, high = r["intervals"][kind]
        assert low <= n <= high, kind
        made, (a, b) = r["implementation"]["resources"][kind], r["implementation"]["intervals"][kind]
        assert a <= made <= b
        assert made == round(n * targets.spread("impl", kind).p50)
    low, high = r["intervals"]["latency_cycles"]
    assert low < r["latency_cycles"] < high
    assert r["decision"]["target"] == "csynth" and r["decision"]["probability"] >= 0.5


def test_surer_designs_are_slower_and_implementations_faster() -> None:
    def interval(target: targets.Target, confidence: float) -> int:
        goal = mapping.Goal(max_utilisation=0.05, decision=Decision(target, confidence))
        found = mapping.solve(networks.lenet(), ZCU, goal)
        assert not isinstance(found, mapping.NoFit)
        r = estimate.estimate(found, goal.decision, estimate.share(ZCU, 0.05))
        assert r.fits and r.decision["probability"] >= confidence - 0.005
        assert measures(r, ZCU)["utilisation"] <= 0.05
        return r.interval_cycles

    assert interval("csynth", 0.95) >= interval("csynth", 0.5) >= interval("impl", 0.5)
    assert interval("impl", 0.5) < interval("csynth", 0.95)


def test_a_run_hands_it_on() -> None:
    goal = goal_of(Config(target="impl", confidence=0.9).dict(), 0.5)
    assert goal.decision == Decision("impl", 0.9)
    assert goal_of({**Config().dict()}, 0.5).decision == Decision()
