"""Power and energy: laws of physics that the model must keep, its data file, and limits in mapping and search."""

from __future__ import annotations

import pytest

from flow import board, estimate, mapping, project
from flow.bench import load as benchmark
from flow.config import Config, ConfigError
from flow.cost import energy
from flow.ir import emit
from flow.tasks import goal_of, measures
from tests import networks
from tests.integration.test_blocks_csim import rescaled

ZCU = board.load("zcu102")
LOGIC = (10_000.0, 0.0, 0.0, 0.0, 0.0)


def test_by_hand() -> None:
    """10,000 busy 28 nm LUTs at 100 MHz: 10^4 x 0.34 pJ x 10^8 = 0.34 W; idle ones cost the clock tree."""
    zynq = board.load("zc706")
    busy = energy.power(LOGIC, LOGIC, zynq, 100.0)
    assert busy.dynamic_w == pytest.approx(0.34)
    assert busy.static_w == pytest.approx(0.11 + 0.0007 * 218.6)
    idle = energy.power(LOGIC, (0.0,) * 5, zynq, 100.0)
    assert idle.dynamic_w == pytest.approx(0.34 * 0.15) and idle.static_w == busy.static_w
    assert busy.energy_mj(0.002)[1] == pytest.approx((0.34 + busy.static_w) * 2)


def test_power_grows_with_clock_resources_and_work() -> None:
    one = energy.power(LOGIC, LOGIC, ZCU, 100.0)
    assert energy.power(LOGIC, LOGIC, ZCU, 200.0).dynamic_w == pytest.approx(2 * one.dynamic_w)
    for kind in range(5):
        if kind == 1:
            continue  # flip-flops are counted with their LUTs
        more = tuple(a + 1000.0 * (k == kind) for k, a in enumerate(LOGIC))
        assert energy.power(more, more, ZCU, 100.0).dynamic_w > one.dynamic_w
    assert one.low_w < one.total_w < one.high_w


def test_every_board_has_a_model() -> None:
    for b in board.every():
        p = energy.power(LOGIC, LOGIC, b, b.clock_mhz)
        assert 0.1 < p.static_w < 10 and p.dynamic_w > 0, b.name
    with pytest.raises(ValueError, match=r"'stratix'.*power\.toml"):
        energy.node("stratix")


def test_every_coefficient_has_a_source() -> None:
    data = energy.coefficients()
    assert set(data["sources"]) == {"dynamic", "dsp", "idle_share", "scale", "static"}
    assert all(len(text) > 20 for text in data["sources"].values())
    fitted = {"error_p10", "error_p90", "samples"}
    assert set(data["dynamic"]) - fitted <= set(data["uncertainty"]) and all(data["uncertainty"].values())
    assert energy.STATIC_ERROR == 1 + data["uncertainty"]["static_w"]


def test_stored_coefficients_are_those_of_the_measurements() -> None:
    """The benchmark fits anew, leaves each measurement out once, and raises where the file says otherwise."""
    against, stored, moved, sizes = (rows for _, rows in benchmark("energy")([]))
    told = energy.coefficients()["uncertainty"]
    assert all(float(r["moves by at most"].rstrip("%")) / 100 <= told[r["coefficient"]] + 0.005 for r in moved)
    assert sum(r["watts"] == "read" for r in against) >= 4
    ratios = sorted(float(r["measured/predicted"]) for r in against)
    assert len(ratios) >= 11 and 0.5 < ratios[0] and ratios[-1] < 2
    assert 0.8 < ratios[len(ratios) // 2] < 1.2
    assert all(abs(float(r["stored"]) / float(r["fitted"]) - 1) < 0.06 for r in stored if r["stored"] != "not used")
    rates = [float(r["mJ/ms of latency"]) for r in sizes if r["board"] == "zcu102"]
    assert max(rates) > 2 * min(rates), "energy must not be latency times a constant"


def test_a_wrong_coefficient_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    data = {**energy.coefficients()}
    data["dynamic"] = {**data["dynamic"], "lut_pj": 0.25}
    monkeypatch.setattr(energy, "coefficients", lambda: data)
    with pytest.raises(ValueError, match=r"lut_pj is 0\.25"):
        list(benchmark("energy")([]))


def test_report_and_limit() -> None:
    graph = networks.sample()
    found = mapping.solve(graph, ZCU, mapping.Goal(max_utilisation=0.2))
    assert not isinstance(found, mapping.NoFit)
    report = estimate.estimate(found)
    assert report.energy_mj is not None
    seconds = report.interval_cycles / (report.clock_mhz * 1e6)
    assert report.energy_mj == pytest.approx((report.power["static_w"] + report.power["dynamic_w"]) * seconds * 1e3)
    low, high = report.intervals["energy_mj"]
    assert low < report.energy_mj < high
    assert report.json()["energy_mj"] == report.energy_mj == measures(report, ZCU)["energy_mj"]
    refused = mapping.solve(graph, ZCU, mapping.Goal(max_utilisation=0.2, max_energy_mj=report.energy_mj / 2))
    assert isinstance(refused, mapping.NoFit) and refused.violations[0].resource == "energy_mj"
    assert refused.violations[0].used == pytest.approx(report.energy_mj, rel=1e-3)


@pytest.mark.parametrize("engine", ["stream", "tiled", "auto"])
def test_no_engine_passes_the_limit(engine: str) -> None:
    model = emit.model(rescaled(networks.sample()))
    refused = project.compile_for(engine, model, ZCU, mapping.Goal(max_energy_mj=1e-6))
    assert isinstance(refused, mapping.NoFit) and "energy_mj" in str(refused)


def test_limit_of_a_run() -> None:
    assert goal_of(Config(max_energy_mj=2.5).dict(), 0.5).max_energy_mj == 2.5
    assert goal_of(Config().dict(), 0.5).max_energy_mj is None
    with pytest.raises(ConfigError, match="max_energy_mj"):
        Config(max_energy_mj=-1.0)
