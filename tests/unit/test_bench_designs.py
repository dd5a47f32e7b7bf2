"""Whole hls4ml designs by the laws: the columns that the design files determine."""

from __future__ import annotations

import pytest

from flow.bench import load

DESIGNS = load("designs").__globals__
needs_data = pytest.mark.skipif(
    not DESIGNS["DATA"].is_dir(), reason=f"no designs at {DESIGNS['DATA']} (COEXPLORE_DATA)"
)


@needs_data
def test_multipliers_and_intervals_of_streamed_networks() -> None:
    found = [p for p in DESIGNS["predictions"]() if p.group == "streamed CNNs"]
    assert len(found) >= 20
    dsp = sorted(abs(p.estimated["dsp"] / p.reported["dsp"] - 1) for p in found)
    assert dsp[len(dsp) // 2] < 0.01
    exact = [
        p.estimated["interval_cycles"] == p.reported["interval_cycles"]
        for p in found
        if "interval_cycles" in p.estimated
    ]
    assert sum(exact) >= 5


@needs_data
def test_tables() -> None:
    titles = [title for title, rows in load("designs")([]) if rows]
    assert len(titles) == 3 and "streamed CNNs" in titles[1]


def test_reuse_factors_are_legal_ones() -> None:
    """hls4ml takes the nearest factor that divides the inputs or is a multiple of them."""
    layer = DESIGNS["Layer"]("conv", 75, 16, 400, 16, 16, (16, 256))
    with_factor = {w: DESIGNS["reuse"](DESIGNS["at"](layer, w), {}) for w in (1, 2, 4, 18, 72)}
    assert with_factor == {1: 1, 2: 3, 4: 3, 18: 15, 72: 75}
