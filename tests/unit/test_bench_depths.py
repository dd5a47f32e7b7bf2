"""Assumed pipeline depths: never fewer than real loops have, at most one more, and little of a design's latency."""

from __future__ import annotations

import pytest

from flow.bench import load

DEPTHS = load("depths").__globals__
needs_data = pytest.mark.skipif(not DEPTHS["DATA"].is_dir(), reason="no report rows (COEXPLORE_DATA)")


@needs_data
def test_assumed_depths_are_those_of_real_loops_or_one_more() -> None:
    rows = DEPTHS["depths"]()
    assert len(rows) == 5
    assert all(r["rows"] >= 5 and 0 <= r["assumed"] - r["most"] <= 1 for r in rows), rows


def test_depths_are_a_small_part_of_the_latency() -> None:
    every, two = DEPTHS["shares"](6)
    assert float(every["most"].rstrip("%")) < 6 and float(two["most"].rstrip("%")) < 2
