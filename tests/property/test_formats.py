"""Widths from 1 to 16 bits, zero points, float scales, fine biases: C simulation == interpreter == ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from flow import blocks, board, codegen, project
from flow.design import Bound, Design, Folding
from flow.fixed import Quant, Requant
from flow.ir import emit, onnx_file, qdq, scales
from flow.ir.graph import Graph
from flow.ir.ops import Conv, Dense, Op, Pool
from flow.mapping.solve import realise
from flow.toolchain import gpp
from tests.networks import Draft

WIDTHS = st.integers(1, 16)
RATIOS = st.one_of(st.just(1.0), st.floats(0.5, 2.0, width=32))


@st.composite
def networks(draw: st.DrawFn) -> Draft:
    """Convolution, depthwise convolution, average, dense: each format drawn on its own."""
    seed = draw(st.integers(0, 10**6))
    d = Draft((2, 5, 4), drawn_quant(draw, 1.0), seed)
    x = "input"
    for kind in ("conv", "depthwise", "average", "dense"):
        x = layer(draw, d, x, kind)
    return d


def drawn_quant(draw: st.DrawFn, scale: float) -> Quant:
    bits, signed = draw(WIDTHS), draw(st.booleans())
    q = Quant(bits, signed and bits > 1, scale)
    zero = draw(st.one_of(st.just(0), st.integers(max(q.lo, -128), min(q.hi, 127))))
    return Quant(q.bits, q.signed, scale, zero)


def layer(draw: st.DrawFn, d: Draft, x: str, kind: str) -> str:
    """One operator whose output uses most of a drawn format; its ratio is a power of two, or not, per channel."""
    source, bits = d.tensors[x], draw(WIDTHS)
    top = max(1, (1 << (bits - 1)) - 1)
    channels = {"conv": 4, "depthwise": source.shape[0], "average": source.shape[0], "dense": 3}[kind]
    out = drawn_quant(draw, source.quant.scale)
    if kind == "average":
        out = Quant(source.quant.bits, source.quant.signed, source.quant.scale, source.quant.zero)
        req = Requant((0,), out.lo, out.hi, div=4, zero=out.zero)
        op: Op = Pool("AveragePool", (2, 2), req, (1, 1), pad_value=source.quant.zero, offset=-4 * source.quant.zero)
        return d.add(op, x, quant=out)
    shape = {"conv": (4, source.shape[0], 3, 2), "depthwise": (channels, 1, 2, 2), "dense": (3, *source.shape)}[kind]
    raised = draw(st.sampled_from([0, 0, 3]))  # products are multiples, the bias is not
    weight = d.rng.integers(-top, top + 1, shape) << raised
    reach = max(1, int(np.abs(weight).reshape(channels, -1).sum(1).max()) * (source.quant.hi - source.quant.lo) // 4)
    assume(reach << scales.MULTIPLIER_BITS < 1 << 60)
    most = min(reach // 4 + 1, 1 << 30)  # ONNX stores biases in 32 bits
    bias = d.rng.integers(-most, most + 1, channels)
    ratio = (out.hi - out.lo) / reach / 2
    factors = [draw(RATIOS) for _ in range(draw(st.sampled_from([1, channels])))]
    power = 2.0 ** np.floor(np.log2(ratio))
    req = scales.requant([scales.fraction(power * f) for f in factors], out.lo, out.hi, zero=out.zero)
    share = source.quant.zero * weight.reshape(channels, -1).sum(1)
    if kind == "dense":
        return d.add(Dense(weight, bias - share, req), x, quant=out)
    pads, groups = ((1, 0, 1, 1), 1) if kind == "conv" else ((0, 1, 0, 0), channels)
    return d.add(Conv(weight, bias - share, req, pads=pads, groups=groups, pad_value=source.quant.zero), x, quant=out)


def images(d: Draft, graph: Graph) -> np.ndarray:
    t = graph.tensors["input"]
    return np.concatenate([d.images(5), np.full((1, *t.shape), t.quant.lo), np.full((1, *t.shape), t.quant.hi)])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(networks())
def test_onnx_says_the_same(d: Draft) -> None:
    """Written as QDQ and read again it is the same network; ONNX Runtime agrees wherever float32 is provably exact."""
    graph = d.graph()
    model = emit.model(graph)
    again = qdq.load(model)
    x = images(d, graph)
    want = graph.evaluate(x, every=True)
    assert np.array_equal(again.evaluate(x)[again.output], want[graph.output])
    if not emit.exact_in_float32(graph):
        assert np.array_equal(project.runtime_outputs(onnx_file.checked(model), graph, x), want[graph.output])


def drawn_design(d: Draft, place: board.Board, rng: np.random.Generator) -> Design:
    graph = d.graph()
    foldings: dict[str, Folding] = {}
    for node in graph.nodes:
        options = blocks.options(graph, node, place)
        foldings[node.id] = options[int(rng.integers(len(options)))].folding
    net = realise(graph, place, foldings, 256)
    return Design(graph, place, 200.0, foldings, net, Bound(1, "stream", 0.0, False, 0.0), place.available)


def simulated(d: Draft, folder: Path, native: bool, rng: np.random.Generator) -> None:
    design = drawn_design(d, board.load(("zcu102", "pynq-z2")[int(rng.integers(2))]), rng)
    x = images(d, design.graph)
    project.write(codegen.plan(design).files, folder)
    got = gpp.simulate(folder / "hls", x, codegen.describe(design), native)
    assert np.array_equal(got.outputs, design.graph.evaluate(x)[design.graph.output])


@pytest.mark.parametrize("native", [True, False])
def test_c_simulation_quick(native: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(1, native, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("native", [True, False])
def test_c_simulation(native: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(10 if native else 4, native, tmp_path, monkeypatch)


def run(count: int, native: bool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COEXPLORE_CACHE", str(folder / "cache"))
    flags = gpp.flags
    monkeypatch.setattr(gpp, "flags", lambda n: ["-O1" if o == "-O3" else o for o in flags(n)])
    rng, done = np.random.default_rng(count), []

    @settings(max_examples=count, deadline=None, database=None, derandomize=True)
    @given(networks())
    def one(d: Draft) -> None:
        if len(done) < count:
            simulated(d, folder / f"p{len(done)}", native, rng)
            done.append(d)

    one()
    assert done
