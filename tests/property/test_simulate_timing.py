"""What flow/timing.py promises of a netlist holds in simulation, and what the simulation proves holds later on."""

from __future__ import annotations

import numpy as np
import pytest

from flow import board, mapping, timing
from flow.design import Design, Netlist
from flow.simulate import minimal_depths, simulate
from tests import networks
from tests.property.test_simulate_agree import BOARDS, STYLES, made_up_processes, random_netlist

__all__ = ["made_up_processes"]  # the fixture, for this file too

KEEP_FAST, KEEP_MANY = range(24), range(200, 420)


def designs(seeds: range) -> list[Netlist]:
    """Designs of random networks of three to six layers, FIFO depths as the mapper sets them."""
    found = []
    for seed in seeds:
        graph = networks.random_draft(seed, 3 + seed % 4).graph()
        share = (0.01, 0.03, 0.1, 0.3)[seed // 5 % 4]
        design = mapping.solve(graph, board.load(BOARDS[seed % 5]), mapping.Goal(max_utilisation=share))
        if isinstance(design, Design):
            found.append(design.netlist)
    assert len(found) >= len(seeds) // 3
    return found


def check_promises(nets: list[Netlist]) -> None:
    """Deep FIFOs: the earliest schedule's latency exactly. Analysed depths: the slowest process's interval, proved."""
    slower = []
    for net in nets:
        t = timing.analyse(net)
        deep = simulate(net, 3, {s.name: 3 * s.port.beats for s in net.streams})
        assert (deep.latency_cycles, deep.interval_cycles) == (t.latency_cycles, timing.slowest(net))
        seen = simulate(net, depths=t.depths)
        assert seen.deadlock is None and seen.steady and seen.interval_cycles == t.interval_cycles
        assert seen.latency_cycles is not None
        slower.append(seen.latency_cycles / t.latency_cycles - 1)
    # Depths serve the periodic schedule; a first image that rushes ahead of it may be held up on very small networks.
    assert min(slower) >= 0 and max(slower) <= 0.06
    assert sum(s > 0.02 for s in slower) <= 1 + 0.05 * len(slower)


def test_analysed_depths_keep_the_interval() -> None:
    check_promises(designs(KEEP_FAST))


@pytest.mark.slow
def test_analysed_depths_keep_the_interval_of_many() -> None:
    check_promises(designs(KEEP_MANY))


@pytest.mark.parametrize("network", ["resnet8", "lenet", "sample"])
def test_reference_networks(network: str) -> None:
    """Latency and interval within 2 % of the estimate (they are equal), in well under a second."""
    design = mapping.solve(getattr(networks, network)(), board.load("zcu102"), mapping.Goal(max_utilisation=0.3))
    assert isinstance(design, Design)
    t, seen = timing.analyse(design.netlist), simulate(design.netlist)
    assert seen.deadlock is None and seen.steady and seen.interval_cycles == t.interval_cycles
    assert seen.latency_cycles is not None and abs(seen.latency_cycles / t.latency_cycles - 1) <= 0.02
    assert seen.seconds < 5


def check_minimal(net: Netlist, style: str) -> None:
    """The depths keep the interval, and no FIFO can do with one place less."""
    least = minimal_depths(net, style)  # type: ignore[arg-type]
    target = timing.slowest(net)
    kept = simulate(net, depths=least, style=style)  # type: ignore[arg-type]
    assert kept.deadlock is None and kept.steady and kept.interval_cycles == target
    for name, depth in least.items():
        if depth > 2:
            less = simulate(net, depths={**least, name: depth - 1}, style=style)  # type: ignore[arg-type]
            assert less.deadlock or not less.steady or (less.interval_cycles or 0) > target


@pytest.mark.parametrize("style", STYLES)
def test_minimal_depths(style: str) -> None:
    nets = designs(range(10))
    for net in nets:
        check_minimal(net, style)
        assert minimal_depths(net, style) == minimal_depths(net, style)  # type: ignore[arg-type]


def test_steady_means_steady() -> None:
    """Where the simulation calls an interval steady, many more images never take longer."""
    proved = 0
    for seed in range(80):
        net = random_netlist(seed)
        for style in STYLES:
            seen = simulate(net, style=style)
            if seen.deadlock or not seen.steady:
                continue
            proved += 1
            assert seen.interval_cycles is not None
            later = [simulate(net, n, style=style) for n in (seen.images + 1, seen.images + 7, seen.images + 60)]
            assert all((s.interval_cycles or 0) <= seen.interval_cycles for s in later)
            assert later[-1].interval_cycles == seen.interval_cycles
    assert proved >= 30


def test_more_room_is_never_slower() -> None:
    """Monotony, on which bisection and the sufficiency of analysed depths rest."""
    for seed in range(60):
        net = random_netlist(seed)
        rng = np.random.default_rng([seed, 79])
        more = {s.name: s.depth + int(rng.integers(0, 4)) for s in net.streams}
        for style in STYLES:
            tight, loose = simulate(net, 4, style=style), simulate(net, 4, more, style)
            if tight.deadlock is None:
                assert loose.deadlock is None
                assert (loose.latency_cycles or 0) <= (tight.latency_cycles or 0)
            # A flushing pipeline does all that a stalling one does, and no later.
            flushing = simulate(net, 4)
            if tight.deadlock is None:
                assert flushing.deadlock is None and (flushing.latency_cycles or 0) <= (tight.latency_cycles or 0)
