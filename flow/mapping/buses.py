"""Neighbouring boards agree on the words between them: each design is mapped with a bus of its own choice."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from flow import estimate as cost
from flow import timing
from flow.design import Design, excess
from flow.mapping.solve import fitted, realise

Buses = tuple[int, int]


def buses_of(d: Design) -> Buses:
    """Bits of a design's buses, in and out."""
    return d.netlist.processes[0].constant("WIDTH"), d.netlist.processes[-1].constant("WIDTH")


def with_buses(d: Design, pair: Buses) -> Design | None:
    """The same foldings between other buses; None when that does not fit or is slower."""
    if pair == buses_of(d):
        return d
    interval = timing.slowest(d.netlist)
    net = fitted(realise(d.graph, d.board, d.foldings, interval, pair), d.available)
    fits = timing.slowest(net) <= interval and not excess(cost.resources(net), d.available)
    return replace(d, netlist=net) if fits else None


def agreed(parts: Sequence[Design]) -> tuple[Design, ...] | None:
    """The parts with equal buses on both sides of each cut, the one of either neighbour; None when none of them fit."""
    for widths in _choices(parts):
        outer = (buses_of(parts[0])[0], *widths, buses_of(parts[-1])[1])
        changed = [with_buses(d, pair) for d, pair in zip(parts, itertools.pairwise(outer), strict=True)]
        if all(changed):
            return tuple(d for d in changed if d is not None)
    return None


def _choices(parts: Sequence[Design]) -> Iterator[tuple[int, ...]]:
    """Bits of each cut's bus: what either neighbour has, the narrower one first."""
    sides = [sorted({buses_of(a)[1], buses_of(b)[0]}) for a, b in itertools.pairwise(parts)]
    return itertools.product(*sides)
