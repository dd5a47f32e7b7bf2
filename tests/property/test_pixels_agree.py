"""Several pixels a beat: C simulation == integer graph, schedules as the cycle simulation sees them, mapper included.

Shapes, kernels, strides, paddings, dilations and foldings are drawn; a node gets several pixels a beat wherever one of
its foldings has them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flow import blocks, board, codegen, lint, mapping, project, simulate, timing
from flow.design import Bound, Design
from flow.ir.graph import Graph
from flow.ir.ops import Conv
from flow.mapping.solve import realise
from flow.toolchain import gpp
from tests import networks

PLAIN = dict(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
KINDS = ("conv", "conv", "pointwise", "depthwise", "max", "average", "residual", "product", "function", "slopes")


@st.composite
def drafts(draw: st.DrawFn) -> networks.Draft:
    """Chains of the blocks that take several pixels a beat, on maps whose rows have divisors."""
    width, height, channels = draw(st.sampled_from([4, 6, 8, 12])), draw(st.integers(3, 7)), draw(st.integers(1, 3))
    d = networks.Draft((channels, height, width), seed=draw(st.integers(0, 1 << 20)))
    x = "input"
    for kind in draw(st.lists(st.sampled_from(KINDS), min_size=2, max_size=4)):
        c, h, w = d.tensors[x].shape
        kernel = draw(st.integers(1, min(5, h))), draw(st.integers(1, min(5, w)))
        if kind in ("conv", "depthwise"):
            dilation = tuple(
                draw(st.integers(1, 2)) if k > 1 and 2 * (k - 1) < n else 1 for k, n in zip(kernel, (h, w), strict=True)
            )
            spare = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
            top, left = (draw(st.integers(0, n)) for n in spare)
            pads = draw(st.sampled_from([(top, left, spare[0] - top, spare[1] - left), (0, left, spare[0], left)]))
            how = dict(stride=(draw(st.integers(1, 2)), draw(st.integers(1, 2))), pads=pads, dilation=dilation)
            how |= dict(per_channel=draw(st.booleans()), weight_bits=draw(st.sampled_from([8, 4])))
            how |= dict(groups=c) if kind == "depthwise" and c > 1 else {}
            x = d.conv(x, c if kind == "depthwise" else draw(st.integers(1, 4)), kernel, **how)
        elif kind == "pointwise":
            x = d.conv(x, draw(st.integers(1, 4)), 1, signed=draw(st.booleans()))
        elif kind in ("max", "average"):
            if min(h, w) > 1:
                x = d.pool(x, "MaxPool" if kind == "max" else "AveragePool", (2, 2), (draw(st.integers(1, 2)), 2))
        elif kind in ("residual", "product"):
            y = d.conv(x, c, 1)
            x = d.residual(x, y) if kind == "residual" else d.product(x, y)
        else:
            x = d.function(x, channels=kind == "slopes", bits=6)
    return d


def several(graph: Graph, node_id: str, lanes: int) -> bool:
    node = next(n for n in graph.nodes if n.id == node_id)
    return lanes > graph.tensors[node.inputs[0]].shape[0]


def unrolled(graph: Graph, rng: np.random.Generator) -> tuple[Design, int]:
    """Foldings of several pixels a beat wherever there are, and how many nodes have one."""
    place = board.load(str(rng.choice(["zcu102", "pynq-z2"])))
    foldings, count = {}, 0
    for node in graph.nodes:
        options = blocks.options(graph, node, place)
        found = [o.folding for o in options if several(graph, node.id, o.folding.lanes)]
        count += bool(found)
        found = found or [o.folding for o in options]
        foldings[node.id] = found[int(rng.integers(len(found)))]
    net = realise(graph, place, foldings, int(rng.integers(1, 50)))
    return Design(
        graph, place, place.clock_mhz, foldings, net, Bound(1, "stream", 0.0, False, 0.0), place.available
    ), count


def agree(draft: networks.Draft, seed: int, native: bool = True) -> int:
    graph = draft.graph()
    design, count = unrolled(graph, np.random.default_rng(seed))
    net, told = design.netlist, timing.analyse(design.netlist)
    assert simulate.simulate(net, 3).interval_cycles == told.interval_cycles
    deep = net.with_depths({s.name: s.port.beats for s in net.streams})
    assert simulate.simulate(deep, 2).latency_cycles == told.latency_cycles
    x = draft.images(5)
    with tempfile.TemporaryDirectory() as work:
        project.write(codegen.plan(design).files, Path(work) / "p")
        got = gpp.simulate(Path(work) / "p" / "hls", x, codegen.describe(design), native)
        found = lint.lint(Path(work) / "p") if seed % 8 == 0 else []
    assert not found, "\n".join(map(str, found))
    assert np.array_equal(got.outputs, graph.evaluate(x)[graph.output])
    return count


@pytest.fixture(autouse=True)
def quick_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = gpp.flags
    monkeypatch.setattr(gpp, "flags", lambda native: ["-O0" if o == "-O3" else o for o in options(native)])
    monkeypatch.setenv("COEXPLORE_CACHE", str(tmp_path / "cache"))


@settings(max_examples=5, **PLAIN)
@given(drafts(), st.integers(0, 1 << 20))
def test_several_pixels_a_beat_quick(draft: networks.Draft, seed: int) -> None:
    agree(draft, seed)


@pytest.mark.slow
@settings(max_examples=20, **PLAIN)
@given(drafts(), st.integers(0, 1 << 20))
def test_several_pixels_a_beat(draft: networks.Draft, seed: int) -> None:
    agree(draft, seed)


@pytest.mark.slow
@settings(max_examples=4, **PLAIN)
@given(drafts(), st.integers(0, 1 << 20))
def test_in_vendor_types_too(draft: networks.Draft, seed: int) -> None:
    agree(draft, seed, native=False)


def test_options_are_what_is_built() -> None:
    """Cost, cycles and lanes that the mapper reckons with, of every folding with several pixels a beat."""
    place, kinds = board.load("zcu102"), set()
    d = networks.Draft((3, 8, 8), seed=1)
    a = d.pool(d.conv("input", 4, 3, per_channel=True), "MaxPool")
    b = d.conv(d.conv(a, 4, 3, groups=4, stride=(2, 1)), 6, 3, stride=(1, 2))
    d.function(d.residual(b, d.conv(b, 6, 1)), channels=True, bits=5)
    graph = d.graph()
    for node in graph.nodes:
        for o in blocks.options(graph, node, place):
            if several(graph, node.id, o.folding.lanes):
                chain = blocks.lower(graph, node, o.folding, place)
                assert sum((p.resources for p in chain), start=type(o.resources)()) == o.resources
                assert max(p.cycles for p in chain) + 1 == o.cycles
                assert chain[0].inputs[0].lanes == o.folding.lanes and chain[-1].outputs[0].lanes == o.folding.pe
                assert o.inner == (chain[0].outputs[0].width if len(chain) > 1 else 0)
                kinds.add(chain[-1].function)
    assert kinds == {"matvec_pixels", "depthwise", "pool", "add", "lookup"}


def test_the_mapper_goes_beyond_a_pixel_a_cycle() -> None:
    d = networks.Draft((3, 32, 32), seed=3)
    d.dense(d.pool(d.conv("input", 8, 3), "MaxPool"), 10)
    graph = d.graph()
    design = mapping.solve(graph, board.load("u250"), mapping.Goal())
    assert isinstance(design, Design)
    assert timing.slowest(design.netlist) < 32 * 32 / 2
    conv = next(n for n in graph.nodes if isinstance(n.op, Conv))
    assert several(graph, conv.id, design.foldings[conv.id].lanes)
