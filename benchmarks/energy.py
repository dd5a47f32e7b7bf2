"""Power model against published measurements, each left out of the fit once; energy of designs of several sizes.

``tables`` raises where the stored coefficients (flow/cost/power.toml) are not what the measurements give: a fit that
does not hold does not pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from flow import board, estimate, mapping, space
from flow.cost import energy
from flow.space.network import random_graph

Rows = list[dict[str, Any]]
CHIP, SYSTEM = "chip rails", "board supply"


@dataclass(frozen=True)
class Measured:
    """A published design: implementation resources (BRAM in 18 Kb units), clock, watts, and what was measured."""

    name: str
    board: str
    lut: int
    bram18: float
    dsp: int
    clock_mhz: float
    watts: float
    where: str
    source: str
    read: bool = False  # watts read in the published log, not recalled from the paper

    def amounts(self) -> energy.Amounts:
        return self.lut, 0.0, self.dsp, self.bram18, 0.0


FINN = "Umuroglu et al., FPGA 2017, results on ZC706"
TINY = "MLPerf Tiny v0.7 open division, hls4ml-finn: median of the power log; resources Borras et al., arXiv 2206.11791"
MEASURED = (
    Measured("FINN SFC-max", "zc706", 91131, 9, 0, 200, 7.3, CHIP, FINN),
    Measured("FINN LFC-max", "zc706", 82988, 792, 0, 200, 8.8, CHIP, FINN),
    Measured("FINN CNV-max", "zc706", 46253, 372, 0, 200, 3.6, CHIP, FINN),
    Measured("FINN SFC-fix", "zc706", 5155, 32, 0, 200, 0.4, CHIP, FINN),
    Measured("FINN LFC-fix", "zc706", 5636, 229, 0, 200, 0.8, CHIP, FINN),
    Measured("FINN CNV-fix", "zc706", 29274, 305, 0, 200, 2.3, CHIP, FINN),
    Measured("hls4ml ResNet (IC)", "pynq-z2", 28544, 84, 4, 100, 1.6168, SYSTEM, TINY, True),
    Measured("FINN CNV (IC)", "pynq-z2", 24502, 200, 0, 100, 1.6733, SYSTEM, TINY, True),
    Measured("hls4ml autoencoder (AD)", "pynq-z2", 40658, 29, 205, 100, 1.5831, SYSTEM, TINY, True),
    Measured("FINN MLP (KWS)", "pynq-z2", 33732, 74, 1, 100, 1.7561, SYSTEM, TINY, True),
    Measured("Angel-Eye", "pynq-z2", 29867, 171, 190, 214, 3.5, SYSTEM, "Guo et al., TCAD 2018, XC7Z020"),
)


def design(m: Measured) -> list[float]:
    """Watts per unit of each unknown: pJ of a LUT and of an 18 Kb block, W of a Zynq-7020 board beside its logic."""
    giga = m.clock_mhz * 1e-6
    return [m.lut * giga, m.bram18 * giga, float(m.where == SYSTEM)]


def known(m: Measured) -> float:
    """Watts that are not fitted: static power, and DSP blocks at the stored coefficient."""
    dsp = energy.coefficients()["dynamic"]["dsp_pj"] * m.dsp * m.clock_mhz * 1e-6
    return energy.static_w(board.load(m.board)) + dsp


def fit(points: list[Measured]) -> np.ndarray:
    """Coefficients of least squared logarithm of predicted / measured."""
    a, fixed = np.array([design(m) for m in points]), np.array([known(m) for m in points])
    watts = np.array([m.watts for m in points])
    start = np.log([0.3, 5.0, 0.5])

    def residual(p: np.ndarray) -> np.ndarray:
        return np.log((a @ np.exp(p) + fixed) / watts)

    found: np.ndarray = np.exp(least_squares(residual, start, bounds=(start - 4, start + 4)).x)
    return found


def predicted(m: Measured, coefficients: np.ndarray) -> float:
    return float(np.array(design(m)) @ coefficients) + known(m)


def against_measurements() -> tuple[Rows, np.ndarray]:
    rows, ratios = [], []
    points = list(MEASURED)
    for i, m in enumerate(points):
        got = predicted(m, fit(points[:i] + points[i + 1 :]))
        ratios.append(m.watts / got)
        rows.append({
            "design": m.name, "device": m.board, "MHz": f"{m.clock_mhz:g}", "measured W": f"{m.watts:.2f}",
            "at": m.where, "watts": "read" if m.read else "recalled", "predicted W": f"{got:.2f}",
            "measured/predicted": f"{ratios[-1]:.2f}", "source": m.source,
        })  # fmt: skip
    return rows, np.array(ratios)


def recalled() -> Rows:
    """How far each coefficient moves when one figure that was recalled from its paper is 10 % off."""
    points, base = list(MEASURED), fit(list(MEASURED))
    moved = []
    for i, m in enumerate(points):
        for factor in (0.9, 1.1) if not m.read else ():
            other = [*points[:i], replace(m, watts=m.watts * factor), *points[i + 1 :]]
            moved.append(np.abs(fit(other) / base - 1))
    most = np.max(moved, axis=0)
    return [
        {"coefficient": n, "moves by at most": f"{v:.0%}"} for n, v in zip(("lut_pj", "bram18_pj"), most, strict=False)
    ]


def checked(ratios: np.ndarray) -> Rows:
    """The stored coefficients beside those of a new fit. Raises ValueError where they differ by over 5 %."""
    stored = energy.coefficients()["dynamic"]
    lut, bram, base = fit(list(MEASURED))
    low, high = np.quantile(ratios, [0.1, 0.9])
    pairs = {"lut_pj": lut, "bram18_pj": bram, "error_p10": low, "error_p90": high, "samples": len(MEASURED)}
    for name, value in pairs.items():
        if abs(stored[name] / value - 1) > 0.05:
            raise ValueError(
                f"flow/cost/power.toml: dynamic.{name} is {stored[name]}, the measurements give {value:.3g}"
            )
    rows = [{"coefficient": n, "stored": f"{stored[n]:g}", "fitted": f"{v:.3g}"} for n, v in pairs.items()]
    return [*rows, {"coefficient": "rest of a Zynq-7020 board [W]", "stored": "not used", "fitted": f"{base:.3g}"}]


def sizes() -> Rows:
    """One network of the default space in designs of several sizes: energy against latency."""
    rows = []
    found_space = space.load("default", space.Options())
    graph = random_graph(found_space.network(found_space.sample(np.random.default_rng(1)), (1, 28, 28), 10))
    for name in ("zcu102", "pynq-z2"):
        place = board.load(name)
        for share in (0.05, 0.1, 0.2, 0.4, 0.8):
            found = mapping.solve(graph, place, mapping.Goal(max_utilisation=share))
            if isinstance(found, mapping.NoFit):
                continue
            r = estimate.estimate(found)
            assert r.energy_mj is not None
            rows.append({
                "board": name, "share": f"{share:g}", "latency ms": f"{r.latency_ms:.4g}",
                "interval": r.interval_cycles, "W": f"{r.power['static_w'] + r.power['dynamic_w']:.3g}",
                "mJ/image": f"{r.energy_mj:.4g}", "mJ/ms of latency": f"{r.energy_mj / r.latency_ms:.3g}",
            })  # fmt: skip
    return rows


def tables(arguments: list[str]) -> Iterator[tuple[str, Rows]]:
    """Measurements, coefficients, sizes. Takes no arguments."""
    rows, ratios = against_measurements()
    yield "Power model against published measurements, each left out once", rows
    error = float(np.median(np.abs(1 / ratios - 1)))
    yield f"Coefficients of flow/cost/power.toml (median error {error:.0%})", checked(ratios)
    yield "If one of the figures recalled from a paper is 10 % off", recalled()
    yield "One network in designs of several sizes: energy is not proportional to latency", sizes()
