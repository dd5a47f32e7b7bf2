"""Where FIFOs go when one kind of memory is short: shift registers cost LUT, block RAM does not, and the other way."""

from __future__ import annotations

from dataclasses import replace

from flow.board import Resources
from flow.cost import laws
from flow.design import Netlist, Stream


def deepened(s: Stream) -> Stream:
    """The same in block RAM: deep enough that the tool puts it there."""
    least = max(17, -(-512 // s.port.width))
    assert laws.fifo_in_bram(max(s.depth, least), s.port.width)
    return replace(s, depth=max(s.depth, least), storage="auto")


def bound(s: Stream) -> Stream:
    """The same in shift registers."""
    return replace(s, storage="srl")


def cost(s: Stream) -> Resources:
    return laws.fifo(s.depth, s.port.width, storage=s.storage)


def allocate(netlist: Netlist, used: Resources, budget: Resources) -> Netlist:
    """The netlist with FIFOs moved from what is short to what is left, the best exchange first, while it helps.

    ``used``: of the whole netlist as it is. Depths never shrink, so the schedule they keep is kept.
    """
    streams, left = list(netlist.streams), [b - u for b, u in zip(budget, used, strict=True)]
    if left[0] < 0 <= left[3]:
        move, short, plenty = deepened, 0, 3
    elif left[3] < 0 <= left[0]:
        move, short, plenty = bound, 3, 0
    else:
        return netlist
    trades = []
    for i, s in enumerate(streams):
        before, after = cost(s), cost(move(s))
        gain, price = before[short] - after[short], after[plenty] - before[plenty]
        if gain > 0:
            trades.append((price / gain, i, [a - b for a, b in zip(after, before, strict=True)]))
    for _, i, change in sorted(trades):
        if left[short] >= 0:
            break
        if left[plenty] >= change[plenty]:
            streams[i] = move(streams[i])
            left = [a - b for a, b in zip(left, change, strict=True)]
    return replace(netlist, streams=tuple(streams))
