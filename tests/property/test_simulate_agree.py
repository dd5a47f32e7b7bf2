"""Event-driven and brute-force simulation agree exactly: latency, interval, occupancy, deadlock cycle and who waits."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from flow import blocks, board, mapping
from flow.board import Resources
from flow.design import Design, Netlist, Port, Process, Stream
from flow.fixed import IntArray
from flow.simulate import Style, simulate
from tests import networks
from tests.unit.test_simulate_brute import brute

BOARDS = ("zcu102", "pynq-z2", "zc706", "ultra96", "u250")
STYLES: tuple[Style, ...] = ("flushing", "stalling")


def pattern(p: Process) -> tuple[list[IntArray], list[IntArray]]:
    """Schedule of a made-up process: its constants hold the iteration of every beat."""
    sides: dict[str, list[list[int]]] = {"in": [[] for _ in p.inputs], "out": [[] for _ in p.outputs]}
    for name, iteration in p.constants:
        side, port, _ = name.split("_")
        sides[side][int(port)].append(iteration)
    arrays = [[np.array(at, np.int64) for at in sides[side]] for side in ("in", "out")]
    return arrays[0], arrays[1]


@pytest.fixture(autouse=True)
def made_up_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(blocks._schedules(), "pattern", pattern)


def made_up(rng: np.random.Generator, ident: str, inputs: list[int], outputs: int) -> Process:
    """A process with a random schedule that reads ``inputs`` beats per port."""
    writes = [int(n) for n in rng.integers(1, 13, outputs)]
    iterations = max(*inputs, *writes, 1) + int(rng.choice([0, 1, 7, 20]))
    constants: list[tuple[str, int]] = []
    for side, counts in (("in", inputs), ("out", writes)):
        for port, n in enumerate(counts):
            when = np.sort(rng.choice(iterations, n, replace=False))
            constants += [(f"{side}_{port}_{k}", int(i)) for k, i in enumerate(when)]
    ports = [tuple(Port(1, 8, False, n) for n in counts) for counts in (inputs, writes)]
    depth = int(rng.choice([1, 2, 2, 3, 5, 9]))
    return Process(
        ident, ident, "x.h", "pattern", tuple(constants), (), ports[0], ports[1], iterations, depth, Resources()
    )


def random_netlist(seed: int) -> Netlist:
    """A random acyclic netlist of up to 8 made-up processes with shallow FIFOs; many deadlock."""
    rng = np.random.default_rng([seed, 77])
    processes = [made_up(rng, "p0", [int(rng.integers(1, 13))], int(rng.integers(1, 3)))]
    ends = [("p0", k, port) for k, port in enumerate(processes[0].outputs)]
    streams: list[Stream] = []
    for i in range(1, int(rng.integers(2, 9))):
        taken = [ends.pop(int(rng.integers(len(ends)))) for _ in range(min(len(ends), int(rng.integers(1, 4))))]
        p = made_up(rng, f"p{i}", [port.beats for _, _, port in taken], int(rng.integers(1, 4)))
        for k, (source, index, port) in enumerate(taken):
            depth = int(rng.integers(1, 4)) if rng.random() < 0.7 else int(rng.integers(1, 2 * port.beats + 2))
            streams.append(Stream(f"s{len(streams)}", (source, index), (p.id, k), port, depth))
        processes.append(p)
        ends += [(p.id, k, port) for k, port in enumerate(p.outputs)]
    return Netlist(tuple(processes), tuple(streams))


def mapped(seed: int, layers: int) -> Netlist | None:
    """The design of a random network; every other one with some FIFOs made shallow. None: it does not fit."""
    graph = networks.random_draft(seed, layers).graph()
    share = (0.02, 0.1, 0.3)[seed % 3]
    design = mapping.solve(graph, board.load(BOARDS[seed % len(BOARDS)]), mapping.Goal(max_utilisation=share))
    if not isinstance(design, Design):
        return None
    rng = np.random.default_rng([seed, 78])
    cut = [s for s in design.netlist.streams if seed % 2 and rng.random() < 0.6]
    return design.netlist.with_depths({s.name: int(rng.integers(1, s.depth + 1)) for s in cut})


def agree(net: Netlist, images: int, style: Style) -> str:
    """Compare the two; returns "runs" or "deadlock"."""
    fast, slow = simulate(net, images, style=style), brute(net, images, style == "stalling")
    assert dict(fast.max_occupancy) == slow.most
    if slow.deadlock is not None:
        assert fast.deadlock is not None and fast.latency_cycles is None and fast.interval_cycles is None
        assert (fast.deadlock.cycle, fast.deadlock.waiting) == slow.deadlock
        return "deadlock"
    assert fast.deadlock is None
    first = images - 2 if fast.steady else (images - 1) // 2
    interval = math.ceil((slow.ends[-1] - slow.ends[first]) / (images - 1 - first))
    assert (fast.latency_cycles, fast.interval_cycles) == (slow.ends[0], interval)
    assert all(fast.max_occupancy[s.name] <= s.depth for s in net.streams)
    return "runs"


def agree_on(seeds: range) -> Counter[str]:
    seen: Counter[str] = Counter()
    for seed in seeds:
        net = random_netlist(seed)
        for style in STYLES:
            seen[agree(net, 2 + seed % 4, style)] += 1
    return seen


def test_made_up_netlists() -> None:
    seen = agree_on(range(60))
    assert seen["runs"] >= 20 and seen["deadlock"] >= 20, f"one-sided sample: {seen}"


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_many_made_up_netlists(part: int) -> None:
    seen = agree_on(range(1000 + 150 * part, 1150 + 150 * part))
    assert seen["runs"] >= 50 and seen["deadlock"] >= 50


def agree_on_designs(seeds: range, layers: int) -> Counter[str]:
    seen: Counter[str] = Counter()
    for seed in seeds:
        net = mapped(seed, layers)
        if net is not None:
            seen[agree(net, 2, STYLES[seed // 2 % 2])] += 1
    return seen


def test_mapped_designs() -> None:
    seen = agree_on_designs(range(14), 2)
    assert seen.total() >= 6 and seen["runs"] >= 3


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_many_mapped_designs(part: int) -> None:
    seen = agree_on_designs(range(100 + 60 * part, 160 + 60 * part), 3)
    assert seen.total() >= 25 and seen["runs"] >= 10
