"""Where FIFOs go when one kind of memory is short: shift registers cost LUT, block RAM does not, and the other way."""

from __future__ import annotations

from collections.abc import Sequence

from flow.board import Resources
from flow.layout import Fifo, fifo_cost


def deepened(f: Fifo) -> Fifo:
    """The same in block RAM: deep enough that the tool puts it there."""
    return Fifo(f.width, max(f.depth, 17, -(-512 // f.width)), "auto")


def bound(f: Fifo) -> Fifo:
    """The same in shift registers."""
    return f._replace(storage="srl")


def allocate(fifos: Sequence[Fifo], used: Resources, budget: Resources) -> tuple[Fifo, ...]:
    """FIFOs moved from what is short to what is left, the best exchange first, while it helps.

    ``used``: of the whole design as it is. Depths never shrink, so the schedule they keep is kept.
    """
    kept, left = list(fifos), [b - u for b, u in zip(budget, used, strict=True)]
    if left[0] < 0 <= left[3]:
        move, short, plenty = deepened, 0, 3
    elif left[3] < 0 <= left[0]:
        move, short, plenty = bound, 3, 0
    else:
        return tuple(kept)
    trades = []
    for i, f in enumerate(kept):
        before, after = fifo_cost(f), fifo_cost(move(f))
        gain, price = before[short] - after[short], after[plenty] - before[plenty]
        if gain > 0:
            trades.append((price / gain, i, [a - b for a, b in zip(after, before, strict=True)]))
    for _, i, change in sorted(trades):
        if left[short] >= 0:
            break
        if left[plenty] >= change[plenty]:
            kept[i] = move(kept[i])
            left = [a - b for a, b in zip(left, change, strict=True)]
    return tuple(kept)
