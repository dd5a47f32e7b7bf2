"""The contract of the hardware blocks: what their C++ computes is what ``Graph.evaluate`` says, bit for bit.

A case is a random network on a board, folded by the mapper at some utilisation, or with foldings drawn from all that
the blocks offer, those not seen in earlier cases first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from flow import blocks, board, codegen, mapping, project, simulate, timing
from flow import estimate as cost
from flow.design import Bound, Design, Folding
from flow.fixed import Quant
from flow.ir import emit, qdq
from flow.ir.graph import Graph
from flow.ir.ops import Add, Pool
from flow.mapping.solve import realise
from flow.toolchain import gpp
from tests import networks

BOARDS = ("zcu102", "pynq-z2", "u250", "zcu104", "zc706", "arty-a7-100")
SHARES = (0.05, 0.1, 0.3, 0.8)
DRAWN, MAPPED = range(24), range(100, 110)
QUICK = (14, 3, 20)  # drawn cases that run unmarked; between them every C++ function
AP_CASES = (0, 5, 11)
SANITISED = (1, 7, 14)

Feature = tuple[str, ...]


class Case(NamedTuple):
    draft: networks.Draft
    design: Design


def drawn_options(seed: int, graph: Graph, seen: set[Feature]) -> dict[str, Folding]:
    """Foldings that show most features not in ``seen``; ties at random."""
    rng = np.random.default_rng([seed, 1])
    place = board.load(BOARDS[seed % len(BOARDS)])
    found = {}
    for node in graph.nodes:
        options = blocks.options(graph, node, place)
        order = rng.permutation(len(options))
        kind = blocks.block(node.op).__name__.rsplit(".", 1)[-1]
        best = max(order, key=lambda i: len(choices(kind, options[int(i)].folding) - seen))
        found[node.id] = options[int(best)].folding
        seen |= choices(kind, found[node.id])
    return found


def choices(block: str, f: Folding) -> set[Feature]:
    """What of a folding changes the C++ of a block: window with SIMD slices or without, multipliers, memory."""
    sliced = "sliced" if f.window == "parallel" and f.simd < f.lanes * 4 else "whole"
    return {(block, f.window, sliced), (block, f.mult), (block, f.memory), (block, "pe>1" if f.pe > 1 else "pe=1")}


@cache
def drawn() -> dict[int, Case]:
    """All cases with drawn foldings: what is unseen depends on the cases before."""
    seen: set[Feature] = set()
    cases = {}
    for seed in DRAWN:
        draft = wide_draft(seed) if seed % 4 == 3 else lively_draft(seed, 3 + seed % 4)
        draft = networks.gallery_draft(seed) if seed >= 20 else draft
        graph, place = draft.graph(), board.load(BOARDS[seed % len(BOARDS)])
        foldings = drawn_options(seed, graph, seen)
        net = realise(graph, place, foldings, 64 << seed % 5)
        bound = Bound(1, "stream", 0.0, False, 0.0)
        cases[seed] = Case(draft, Design(graph, place, 200.0, foldings, net, bound, place.available))
    return cases


def lively_draft(seed: int, layers: int = 5) -> networks.Draft:
    """A random network whose outputs are not all saturated: a constant output would prove nothing."""
    for attempt in range(20):
        draft = networks.random_draft(seed + 1000 * attempt, layers)
        graph = draft.graph()
        if np.ptp(graph.evaluate(draft.images(4))[graph.output]) > 0:
            return draft
    raise AssertionError(f"no seed near {seed} gives a network with varying outputs")


def wide_draft(seed: int) -> networks.Draft:
    """More channels than ``random_draft`` draws: weights deep enough for block RAM and UltraRAM, packed products."""
    d = networks.Draft((4, 7, 6), seed=seed)
    bits = (8, 4, 5)[seed % 3]
    a = d.conv("input", 16, 3, weight_bits=bits, bits=4, stride=(1, 2))
    b = d.conv(a, 16, 3, groups=16, weight_bits=bits, bits=4, per_channel=True)
    c = d.conv(b, 24, 1, weight_bits=bits, bits=bits)
    d.dense(d.pool(c, "MaxPool", (3, 2), (2, 1), (1, 0, 1, 1)), 10, weight_bits=bits)
    return d


@cache
def mapped(seed: int) -> Case | None:
    """A random network as the mapper folds it; None: it does not fit this share of this board."""
    draft = lively_draft(seed)
    place, goal = board.load(BOARDS[seed % 6]), mapping.Goal(max_utilisation=SHARES[seed // 3 % 4])
    design = mapping.solve(draft.graph(), place, goal)
    return Case(draft, design) if isinstance(design, Design) else None


def functions(design: Design) -> set[str]:
    return {p.function for p in design.netlist.processes}


def check(case: Case, folder: Path, images: int = 6, native: bool = True) -> None:
    """Write the project, compile it and compare every output of random and extreme images."""
    design, t = case.design, case.design.graph.tensors["input"]
    x = case.draft.images(images)
    x = np.concatenate([x, np.full((1, *t.shape), t.quant.lo), np.full((1, *t.shape), t.quant.hi)])
    want = design.graph.evaluate(x)[design.graph.output]
    plan = codegen.plan(design)
    project.write(plan.files, folder)
    got = gpp.simulate(folder / "hls", x, codegen.describe(design), native)
    assert got.outputs.dtype == np.int64 and np.array_equal(got.outputs, want)
    assert np.ptp(want) > 0, "a constant output proves nothing"


@pytest.fixture(autouse=True)
def quick_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """-O1 compiles three times faster than -O3; each test has a cache of its own."""
    options = gpp.flags

    def quicker(native: bool) -> list[str]:
        return ["-O1" if o == "-O3" else o for o in options(native)]

    monkeypatch.setattr(gpp, "flags", quicker)
    monkeypatch.setenv("COEXPLORE_CACHE", str(tmp_path / "cache"))


def test_the_cases_cover_every_block_window_multiplier_and_memory() -> None:
    seen: set[Feature] = set()
    for case in drawn().values():
        for node in case.design.graph.nodes:
            seen |= choices(blocks.block(node.op).__name__.rsplit(".", 1)[-1], case.design.foldings[node.id])
    wanted = {("conv", m) for m in ("lut", "dsp", "packed", "lutram", "bram")}
    wanted |= {("depthwise", m) for m in ("lut", "dsp", "lutram", "bram")}
    for block in ("conv", "depthwise", "pool"):
        wanted |= {(block, "serial", "whole"), (block, "parallel", "sliced"), (block, "parallel", "whole")}
        wanted |= {(block, "pe>1"), (block, "pe=1")}
    wanted |= {("conv", "none", "whole"), ("add", "pe>1"), ("add", "pe=1"), ("pool", "none", "whole")}
    assert wanted <= seen, f"never simulated: {sorted(wanted - seen)}"
    every = set().union(*(functions(c.design) for c in drawn().values()))
    elsewhere = {"link", "window_serial_uram", "window_parallel_uram"}  # tests of platforms, test_uram.py
    assert every == set(blocks._schedules()) - elsewhere, "a C++ function that no case uses, or an unknown one"
    quick = set().union(*(functions(drawn()[s].design) for s in QUICK))
    assert quick == every, f"not in the unmarked cases: {sorted(every - quick)}"


@pytest.mark.parametrize("seed", [20, 21])
def test_schedules_of_every_block_are_what_the_cycle_simulation_sees(seed: int) -> None:
    """With the estimate's FIFO depths: no deadlock, and its interval; with deep ones its latency."""
    design = drawn()[seed].design
    net, told = design.netlist, timing.analyse(design.netlist)
    assert simulate.simulate(net, 3).interval_cycles == told.interval_cycles
    deep = net.with_depths({s.name: s.port.beats for s in net.streams})  # an image alone: latency without waiting
    assert simulate.simulate(deep, 2).latency_cycles == told.latency_cycles
    for process in design.netlist.processes:
        reads, writes = blocks.schedule(process)
        for beats, ports in ((reads, process.inputs), (writes, process.outputs)):
            assert [len(b) for b in beats] == [p.beats for p in ports]
            assert all(0 <= b[0] and b[-1] < process.iterations and (np.diff(b) > 0).all() for b in beats)


def test_most_networks_fit_where_the_mapper_is_asked() -> None:
    fitting = [mapped(s) for s in MAPPED]
    assert sum(c is not None for c in fitting) >= 7
    assert len({c.design.board.name for c in fitting if c}) >= 4


@pytest.mark.parametrize("seed", QUICK)
def test_drawn_foldings_quick(seed: int, tmp_path: Path) -> None:
    check(drawn()[seed], tmp_path / "p")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [s for s in DRAWN if s not in QUICK])
def test_drawn_foldings(seed: int, tmp_path: Path) -> None:
    check(drawn()[seed], tmp_path / "p")


@pytest.mark.slow
@pytest.mark.parametrize("seed", MAPPED)
def test_mapped_networks(seed: int, tmp_path: Path) -> None:
    case = mapped(seed)
    if case is None:
        pytest.skip("does not fit this share of this board")
    check(case, tmp_path / "p")


@pytest.mark.slow
@pytest.mark.parametrize("seed", AP_CASES)
def test_vendor_types(seed: int, tmp_path: Path) -> None:
    check(drawn()[seed], tmp_path / "p", images=2, native=False)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SANITISED)
def test_no_undefined_behaviour(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out-of-range indices, overflows and too wide shifts are faults in hardware even where C++ gives the right answer.

    Left shifts of negative numbers are let pass: ap_int and g++ both define them as multiplication by a power of two.
    """
    options = gpp.flags
    sanitisers = ["-fsanitize=undefined,address", "-fno-sanitize=shift-base", "-fno-sanitize-recover=all"]
    monkeypatch.setattr(gpp, "flags", lambda native: [*options(native), *sanitisers])
    check(drawn()[seed], tmp_path / "p", images=2)


def rescaled(graph: Graph) -> Graph:
    """The same integers with scales that agree with the shifts, so that ONNX can express them."""
    scale = {t: v.quant.scale for t, v in graph.tensors.items()}
    for node in graph.nodes:
        if isinstance(node.op, Pool):
            scale[node.id] = scale[node.inputs[0]] * 2.0 ** node.op.requant.shift[0]
        elif isinstance(node.op, Add):
            a, b = node.inputs
            scale[b] = scale[a] * 2.0 ** (node.op.left_shift[1] - node.op.left_shift[0])
            scale[node.id] = scale[a] * 2.0 ** (node.op.requant.shift[0] - node.op.left_shift[0])
    tensors = {t: replace(v, quant=Quant(v.quant.bits, v.quant.signed, scale[t])) for t, v in graph.tensors.items()}
    return Graph(graph.nodes, tensors)


def onnx_cases() -> Iterator[tuple[int, str, float]]:
    yield from ((s, ("zcu102", "zcu104", "pynq-z2")[s % 3], (0.1, 0.8)[s % 2]) for s in (40, 41, 43, 46))


@pytest.mark.parametrize(("seed", "place", "share"), [next(onnx_cases())])
def test_onnx_to_csim_quick(seed: int, place: str, share: float, tmp_path: Path) -> None:
    through_onnx(seed, place, share, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "place", "share"), list(onnx_cases())[1:])
def test_onnx_to_csim(seed: int, place: str, share: float, tmp_path: Path) -> None:
    through_onnx(seed, place, share, tmp_path)


def through_onnx(seed: int, place: str, share: float, tmp_path: Path) -> None:
    """Graph -> QDQ ONNX -> compiled project -> C simulation: equal to onnxruntime and to the graph it began with."""
    draft = networks.random_draft(seed)
    graph = rescaled(draft.graph())
    assert emit.exact_in_float32(graph) == []
    model = emit.model(graph)
    compiled = project.compile_model(model, board.load(place), mapping.Goal(max_utilisation=share))
    assert isinstance(compiled, project.Compiled)
    project.write(compiled.files, tmp_path / "p")
    loaded = project.load(tmp_path / "p")
    x = draft.images(20)
    result = project.csim(loaded, x)
    assert result.bit_exact and result.images == 20 and result.mismatches == 0 and result.max_abs_diff == 0
    want = graph.evaluate(x)[graph.output]
    assert np.array_equal(project.runtime_outputs(loaded.model, loaded.graph, x), want)
    assert np.array_equal(qdq.load(model).evaluate(x)[loaded.graph.output], want)
    assert cost.estimate(loaded.design()).json()["resources"] == compiled.report.resources.json()


def test_a_wrong_weight_is_seen(tmp_path: Path) -> None:
    """The comparison can fail: one changed constant in the C++ shows as mismatches."""
    draft = networks.random_draft(40)
    compiled = project.compile_model(emit.model(rescaled(draft.graph())), board.load("zcu102"), mapping.Goal())
    assert isinstance(compiled, project.Compiled)
    files = dict(compiled.files)
    name = max(n for n in files if n.endswith("matvec.h") and n.startswith("hls/weights"))
    changed, count = re.subn(rb"\{(-?\d+)", lambda m: b"{1" if m[1] == b"0" else b"{0", files[name], count=1)
    assert count == 1
    files[name] = changed
    project.write(files, tmp_path / "p")
    result = project.csim(project.load(tmp_path / "p"), draft.images(40))
    assert not result.bit_exact and result.mismatches > 0 and result.max_abs_diff > 0
