"""Random networks of every operator: C simulation == integer graph == ONNX Runtime; parallelism never costs cycles.

Shapes, strides, paddings, dilations, groups, bit widths, zero points and foldings are drawn.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flow import blocks, board, codegen, project
from flow.design import Bound, Design, Option
from flow.ir.graph import Graph
from flow.mapping.solve import realise
from flow.toolchain import gpp
from tests.property.test_ir_roundtrip import graphs, images_for, judge

BOARDS = ("zcu102", "pynq-z2")
PLAIN = dict(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def folded(graph: Graph, rng: np.random.Generator) -> Design:
    place = board.load(str(rng.choice(BOARDS)))
    foldings = {}
    for node in graph.nodes:
        options = blocks.options(graph, node, place)
        foldings[node.id] = options[int(rng.integers(len(options)))].folding
    net = realise(graph, place, foldings, int(rng.integers(1, 200)))
    return Design(graph, place, 200.0, foldings, net, Bound(1, "stream", 0.0, False, 0.0), place.available)


def agree(graph: Graph | None, seed: int, native: bool = True) -> None:
    if graph is None:
        return
    judge(graph)  # the integer graph is what ONNX Runtime computes
    x, _ = images_for(graph, seed)
    design = folded(graph, np.random.default_rng(seed))
    with tempfile.TemporaryDirectory() as work:
        project.write(codegen.plan(design).files, Path(work) / "p")
        got = gpp.simulate(Path(work) / "p" / "hls", x, codegen.describe(design), native)
    assert np.array_equal(got.outputs, graph.evaluate(x)[graph.output])


@pytest.fixture(autouse=True)
def quick_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = gpp.flags
    monkeypatch.setattr(gpp, "flags", lambda native: ["-O0" if o == "-O3" else o for o in options(native)])
    monkeypatch.setenv("COEXPLORE_CACHE", str(tmp_path / "cache"))


@settings(max_examples=6, **PLAIN)
@given(graphs(zero_points=True), st.integers(0, 1 << 20))
def test_simulation_graph_and_runtime_agree_quick(graph: Graph | None, seed: int) -> None:
    agree(graph, seed)


@pytest.mark.slow
@settings(max_examples=24, **PLAIN)
@given(graphs(), st.integers(0, 1 << 20))
def test_simulation_graph_and_runtime_agree(graph: Graph | None, seed: int) -> None:
    agree(graph, seed)


@pytest.mark.slow
@settings(max_examples=5, **PLAIN)
@given(graphs(zero_points=True), st.integers(0, 1 << 20))
def test_in_vendor_types_too(graph: Graph | None, seed: int) -> None:
    agree(graph, seed, native=False)


@settings(max_examples=250, **PLAIN)
@given(graphs(), st.sampled_from(BOARDS))
def test_more_parallelism_never_costs_cycles(graph: Graph | None, place: str) -> None:
    """Among foldings that differ in one number only (PE, SIMD or lanes), the larger is never slower."""
    for node in graph.nodes if graph is not None else ():
        by_rest: dict[tuple, list[Option]] = {}
        for o in blocks.options(graph, node, board.load(place)):
            for k in range(3):
                by_rest.setdefault((k, o.folding[:k] + o.folding[k + 1 :]), []).append(o)
        for (k, _), same in by_rest.items():
            for a in same:
                for b in same:
                    assert a.folding[k] >= b.folding[k] or a.cycles >= b.cycles, (node.op.kind, a, b)
