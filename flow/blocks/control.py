"""The counters that drive a pipelined loop."""

from __future__ import annotations

from functools import lru_cache

from flow.board import Resources
from flow.cost import laws

COUNTER_BITS = 16  # typical width after range analysis; loop bounds of feature maps fit


@lru_cache(maxsize=64)
def control(counters: int) -> Resources:
    """``counters`` nested counters: increment, comparison with the bound, reset, register; and the loop's own."""
    one = laws.adder(COUNTER_BITS) + laws.comparator(COUNTER_BITS) + laws.select(COUNTER_BITS)
    return (one + laws.register(COUNTER_BITS)).times(counters + 1)
