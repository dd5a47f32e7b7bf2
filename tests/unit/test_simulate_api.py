"""The public face of flow/simulate.py: deadlock reports, JSON, refusals, the compiled kernel's cache."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from flow import board, mapping, native, simulate_kernel
from flow.design import Design, Netlist, Stream
from flow.simulate import SimulateError, minimal_depths, simulate
from tests import networks
from tests.unit.test_simulate_brute import brute, chain, copy, diamond


def residual() -> Netlist:
    """A small network with one residual branch, mapped."""
    d = networks.Draft((3, 12, 12), seed=3)
    x = d.conv("input", 4)
    d.dense(d.residual(d.conv(d.conv(x, 4), 4), x), 5)
    design = mapping.solve(d.graph(), board.load("zcu102"), mapping.Goal(max_utilisation=0.1))
    assert isinstance(design, Design)
    return design.netlist


def test_a_shallow_skip_fifo_is_a_deadlock() -> None:
    """The fork stands before the full skip FIFO, the adder before the empty branch, and the branch starves."""
    net = residual()
    adder = next(p for p in net.processes if p.function == "add")
    fork = next(p for p in net.processes if p.function == "fork")
    into = {s.source[0]: s for s in net.streams if s.sink[0] == adder.id}
    # The skip is the path from the fork that meets no convolution: directly, or through a width converter.
    skips = [s for s in net.streams if s.source[0] == fork.id and (s.sink[0] == adder.id or s.sink[0] in into)]
    skip = next(s for s in skips if s.sink[0] == adder.id or "gear" in s.sink[0])
    branch = next(s for source, s in into.items() if source not in (fork.id, skip.sink[0]))
    assert simulate(net).deadlock is None
    stop = simulate(net, depths={s.name: 2 for s in (skip, *into.values()) if s is not branch}).deadlock
    assert stop is not None
    assert (fork.id, "writes", skip.name) in stop.waiting and (adder.id, "reads", branch.name) in stop.waiting
    assert 0 < stop.cycle < simulate(net).latency_cycles  # type: ignore[operator]
    assert str(stop).startswith(f"deadlock in cycle {stop.cycle}: ") and f"{fork.id} writes full {skip.name}" in str(
        stop
    )


def test_deadlock_of_a_diamond_by_hand() -> None:
    # The fork fires in cycles 0 to 3 and writes in 1 to 4, which fills the skip FIFO of 4 places. The branch reads
    # those four beats in 2 to 5 and keeps them in its ten stages: it stalls.
    stop = simulate(diamond(20, 10, 4), 2, style="stalling").deadlock
    assert stop is not None and stop.cycle == 6
    assert stop.waiting == (("split", "writes", "skip"), ("slow", "reads", "a"), ("join", "reads", "b"))


def test_smallest_skip_of_a_diamond() -> None:
    """A branch of depth 10 and two hops needs twelve places to run at full rate; a stalling one no fewer."""
    net = diamond(400, 10, 2)
    assert simulate(net).interval_cycles > 400 + 11  # type: ignore[operator]
    least = minimal_depths(net)
    assert (least["a"], least["b"]) == (2, 2) and 10 <= least["skip"] <= 12
    assert minimal_depths(net, "stalling")["skip"] >= least["skip"]


def test_minimal_depths_of_a_slower_interval_are_no_larger() -> None:
    net = diamond(100, 10, 2)
    fast, slow = minimal_depths(net), minimal_depths(net, interval=400)
    assert all(slow[s] <= fast[s] for s in fast) and slow["skip"] < fast["skip"]
    with pytest.raises(SimulateError, match="interval 50 cannot be kept"):
        minimal_depths(net, interval=50)


def test_an_interval_that_grows_when_a_deep_fifo_is_full() -> None:
    """A skip FIFO of two and a half images beside a long branch: the first images are fast, the later ones are not."""
    stages = [copy(f"b{i}", 20, 5) for i in range(30)]
    ps = (copy("split", 20, 2, outputs=2), *stages, copy("join", 20, 2, inputs=2))
    names, port = [p.id for p in ps], ps[0].inputs[0]
    streams = [Stream(f"s{i}", (a, 0), (b, 0), port) for i, (a, b) in enumerate(pairwise(names))]
    net = Netlist(ps, (*streams, Stream("skip", ("split", 1), ("join", 1), port, 50)))
    early, found, late = simulate(net, 2), simulate(net), simulate(net, 200)
    assert early.interval_cycles == 26 and not (early.steady or found.steady or late.steady)
    truth = np.diff(brute(net, 200).ends)
    assert truth[0] == 26 and late.interval_cycles == np.ceil(truth[99:].mean()) > 26
    assert found.interval_cycles == pytest.approx(late.interval_cycles, rel=0.1)
    assert minimal_depths(net)["skip"] > 50


def test_json() -> None:
    seen = simulate(chain(5, (2, 3), 2), 2)
    data = json.loads(json.dumps(seen.json()))
    assert (data["latency_cycles"], data["interval_cycles"], data["deadlock"]) == (10, 9, False)
    assert data["fifos"] == [{"name": "s0", "depth": 2, "max_occupancy": 2}] and data["seconds"] >= 0
    stuck = simulate(diamond(20, 10, 4), 2, style="stalling").json()
    assert stuck["deadlock"] is True and stuck["deadlock_cycle"] == 6 and stuck["latency_cycles"] is None
    assert stuck["waiting"][0] == {"process": "split", "kind": "writes", "fifo": "skip"}


def test_depths_replace_those_of_the_netlist() -> None:
    net = chain(50, (2, 2), 1)
    slow, fast = simulate(net, 2), simulate(net, 2, {"s0": 2})
    assert fast.depths == {"s0": 2} and (slow.interval_cycles or 0) > (fast.interval_cycles or 0) == 53


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": 1}, "images 1: at least 2"),
        ({"depths": {"sx": 4}}, "no stream 'sx'"),
        ({"depths": {"s0": 0}}, "stream s0: depth 0"),
        ({"style": "free"}, "style 'free'"),
    ],
)
def test_refusals(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(SimulateError, match=message):
        simulate(chain(5, (2, 2), 2), **arguments)  # type: ignore[arg-type]


def test_inconsistent_netlists_are_refused() -> None:
    net = chain(5, (2, 2), 2)
    short = Netlist((net.processes[0], copy("p1", 4, 2)), net.streams)
    with pytest.raises(SimulateError, match="reads 4 beats of s0"):
        simulate(short)
    with pytest.raises(SimulateError, match="writes 4 beats"):
        simulate(Netlist((copy("p0", 4, 2), net.processes[1]), net.streams))
    with pytest.raises(SimulateError, match="depth 0"):
        simulate(Netlist((replace(net.processes[0], depth=0), net.processes[1]), net.streams))


def test_two_beats_an_iteration_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = [np.array([0, 0, 1, 2, 3])]
    monkeypatch.setattr(simulate_kernel.blocks, "schedule", lambda p: (twice, twice))
    with pytest.raises(SimulateError, match="process p0: a port moves one beat an iteration"):
        simulate(chain(5, (2, 2), 2))


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("COEXPLORE_CACHE", str(tmp_path))
    with pytest.raises(SimulateError, match="install g\\+\\+"):
        simulate_kernel.library.__wrapped__()


def test_the_kernel_is_compiled_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COEXPLORE_CACHE", str(tmp_path))
    simulate_kernel.library.__wrapped__()
    (built,) = (tmp_path / "kernels").iterdir()
    before = built.stat().st_mtime_ns
    simulate_kernel.library.__wrapped__()
    assert [p.stat().st_mtime_ns for p in (tmp_path / "kernels").iterdir()] == [before]


def test_a_kernel_that_does_not_compile_is_named(tmp_path: Path) -> None:
    compiler = shutil.which("g++")
    assert compiler is not None
    with pytest.raises(native.NativeError, match=r"x.cpp: does not compile: .*error"):
        native.compile_to(compiler, b"int broken(", "x.cpp", tmp_path / "x.so")
    assert not (tmp_path / "x.so").exists()
