"""What the mapper promises: goals and limits kept, refusals that name the resource, one answer for one question."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from flow import board, estimate, mapping
from flow.board import Board, Resources
from flow.design import Design, Report, Violation, excess
from flow.ir.graph import Graph
from flow.mapping import Goal, NoFit
from flow.mapping.task import floor_cycles
from tests import networks

REFERENCE: list[Callable[[], Graph]] = [networks.sample, networks.lenet, networks.resnet8]


def design(graph: Graph, place: Board | str, goal: Goal | None = None, clock: float | None = None) -> Design:
    found = mapping.solve(graph, board.load(place) if isinstance(place, str) else place, goal, clock)
    assert isinstance(found, Design), str(found)
    return found


def report(graph: Graph, place: Board | str, goal: Goal | None = None) -> Report:
    found = estimate.estimate(design(graph, place, goal))
    assert found.fits
    return found


def refusal(graph: Graph, place: Board | str, goal: Goal | None = None) -> tuple[Violation, ...]:
    found = mapping.solve(graph, board.load(place) if isinstance(place, str) else place, goal)
    assert isinstance(found, NoFit)
    return found.violations


@pytest.mark.parametrize("network", REFERENCE)
def test_two_boards_two_designs(network: Callable[[], Graph]) -> None:
    graph = network()
    large, small = design(graph, "zcu102"), design(graph, "pynq-z2")
    for d in (large, small):
        used = estimate.resources(d.netlist)
        assert not excess(used, d.available) and not excess(d.available, d.board.available)
        assert set(d.foldings) == {n.id for n in graph.nodes}
    assert dict(large.foldings) != dict(small.foldings)
    fast, slow = estimate.estimate(large), estimate.estimate(small)
    assert fast.interval_cycles <= slow.interval_cycles and fast.fits and slow.fits


@pytest.mark.parametrize("share", [0.1, 0.3, 0.8, 1.0])
def test_the_utilisation_limit_is_kept(share: float) -> None:
    place = board.load("zcu102")
    d = design(networks.resnet8(), place, Goal(max_utilisation=share))
    assert d.available == Resources(*(int(n * share) for n in place.available))
    assert not excess(estimate.resources(d.netlist), d.available)


def test_more_resources_are_never_slower() -> None:
    intervals = [report(networks.resnet8(), "zcu102", Goal(max_utilisation=s)).interval_cycles for s in (0.2, 0.4, 0.8)]
    assert intervals == sorted(intervals, reverse=True) and intervals[0] > 2 * intervals[-1]


@pytest.mark.parametrize("kind", ["lut", "ff", "dsp", "bram18"])
def test_a_refusal_names_the_resource(kind: str) -> None:
    """Enough of everything but one: that one is named, with what is needed at least and what there is."""
    place = board.load("zcu102")
    enough = estimate.resources(design(networks.resnet8(), place).netlist)
    here = replace(place, available=enough._replace(**{kind: 10}))
    found = mapping.solve(networks.resnet8(), here, Goal(max_utilisation=1.0))
    if isinstance(found, Design):
        # Multipliers and memories can also be made of LUT: a design without them is an answer too.
        assert kind in ("dsp", "bram18") and estimate.resources(found.netlist).json()[kind] <= 10
        return
    short = {v.resource: v for v in found.violations}
    assert kind in short and short[kind].available == 10 < short[kind].used
    assert f"{kind}: {short[kind].used:g} needed, 10 available" in str(found)


def test_a_network_too_large_for_a_board() -> None:
    short = refusal(networks.resnet8(), "pynq-z2", Goal(max_utilisation=0.02))
    assert {v.resource for v in short} <= set(board.KINDS) and all(v.used > v.available for v in short)


def test_min_fps_and_max_latency_are_honoured_or_refused() -> None:
    graph = networks.lenet()
    free = report(graph, "pynq-z2")
    for objective in ("throughput", "latency", "area"):
        half = report(graph, "pynq-z2", Goal(objective, min_fps=free.fps / 2))
        assert half.fps >= free.fps / 2
        slack = report(graph, "pynq-z2", Goal(objective, max_latency_ms=2 * free.latency_ms))
        assert slack.latency_ms <= 2 * free.latency_ms
    fast = refusal(graph, "pynq-z2", Goal(min_fps=100 * free.fps))
    assert [v.resource for v in fast] == ["interval_cycles"] and fast[0].used > fast[0].available
    late = refusal(graph, "pynq-z2", Goal(max_latency_ms=free.latency_ms / 1000))
    assert [v.resource for v in late] == ["latency_ms"] and late[0].used > late[0].available


@pytest.mark.parametrize("network", REFERENCE)
def test_objectives_differ_as_they_should(network: Callable[[], Graph]) -> None:
    graph = network()
    throughput, latency = (report(graph, "zcu102", Goal(o, 0.3)) for o in ("throughput", "latency"))
    area = report(graph, "zcu102", Goal("area", 0.3, min_fps=throughput.fps / 20))
    assert throughput.interval_cycles <= area.interval_cycles
    assert latency.latency_cycles <= throughput.latency_cycles
    assert area.fps >= throughput.fps / 20
    assert area.resources.lut < throughput.resources.lut and area.resources.ff < throughput.resources.ff


def test_area_without_a_limit_is_the_smallest_design() -> None:
    smallest = report(networks.lenet(), "zcu102", Goal("area"))
    for fps in (10.0, 1000.0, 20000.0):
        other = report(networks.lenet(), "zcu102", Goal("area", min_fps=fps))
        assert other.fps >= fps and other.resources.lut >= smallest.resources.lut


@pytest.mark.parametrize("network", REFERENCE)
def test_the_bound_is_proved_and_near(network: Callable[[], Graph]) -> None:
    gaps = []
    for place, share in (("zcu102", 0.8), ("pynq-z2", 0.8), ("zcu102", 0.15)):
        d = design(network(), place, Goal(max_utilisation=share))
        reached = estimate.estimate(d).interval_cycles
        assert d.bound.proved and 0 < d.bound.interval_cycles <= reached
        assert d.bound.gap == pytest.approx(reached / d.bound.interval_cycles - 1)
        gaps.append(d.bound.gap)
    assert min(gaps) < 0.05 and max(gaps) < 1.0, gaps


def test_memory_bandwidth_counts() -> None:
    """Images come no faster than the memory delivers them: the bound knows, and no design that needs more passes."""
    starved = replace(board.load("zcu102"), name="starved", memory_gb_s=0.01)
    graph = networks.resnet8()
    d = design(graph, starved)
    least = floor_cycles(graph, starved, d.clock_mhz)
    assert least > design(graph, "zcu102").bound.interval_cycles, "bandwidth does not matter here"
    r = estimate.estimate(d)
    assert d.bound.interval_cycles >= min(least, r.interval_cycles)
    assert r.interval_cycles >= least or [v.resource for v in r.violations] == ["bandwidth_gb_s"]


def test_designs_do_not_outrun_the_memory() -> None:
    """Stages of few cycles and a wide output: the mapper slows down to what the memory takes, padded words included."""
    d = networks.Draft((3, 16, 16), seed=2)
    d.conv("input", 15, 1, bits=16, signed=True)
    graph = d.graph()
    for share in (1.0, 0.5, 0.1):
        place = replace(board.load("kv260"), memory_gb_s=19.2 * share)
        r = estimate.estimate(design(graph, place))
        assert not r.violations and r.interval_cycles >= floor_cycles(graph, place, place.clock_mhz)


def test_the_clock_is_the_board_s_or_the_user_s() -> None:
    graph = networks.lenet()
    assert design(graph, "zcu102").clock_mhz == board.load("zcu102").clock_mhz
    assert design(graph, "zcu102", clock=123.0).clock_mhz == 123.0


@pytest.mark.parametrize(
    ("options", "message"),
    [({"objective": "speed"}, "throughput, latency or area"), ({"max_utilisation": 0.0}, "above 0, at most 1")],
)
def test_bad_goals(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Goal(**options)  # type: ignore[arg-type]


SCRIPT = """
import json, sys
sys.path[:0] = [{root!r}]
from flow import board, mapping
from tests import networks
found = mapping.solve(networks.sample(), board.load("pynq-z2"), mapping.Goal({objective!r}, 0.3))
print(json.dumps([found.digest, {{k: f.json() for k, f in found.foldings.items()}}]))
"""


def test_the_same_answer_in_every_process() -> None:
    """Whatever the hash seed: nothing depends on the order of a set."""
    root = str(Path(__file__).resolve().parents[2])
    for objective in ("throughput", "latency"):
        here = design(networks.sample(), "pynq-z2", Goal(objective, 0.3))
        want = [here.digest, {k: f.json() for k, f in here.foldings.items()}]
        for hash_seed in ("1", "2"):
            done = subprocess.run(
                [sys.executable, "-c", SCRIPT.format(root=root, objective=objective)],
                env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True,
            )  # fmt: skip
            assert json.loads(done.stdout) == want
