"""The hls4ml back end: its own C simulation of the projects we write equals ONNX Runtime, or the network is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import Draft

from flow import board, cli, mapping, project
from flow.backends import fixed_point, hls4ml
from flow.fixed import Quant, Requant, bits_for
from flow.ir import emit
from flow.ir.graph import Graph
from flow.ir.ops import Add, Concat, Conv, Dense, Mul, Pool, Sample


def flow(*arguments: str) -> int:
    return cli.main(list(arguments))


def residual(d: Draft, a: str, b: str) -> str:
    """An addition whose shifts follow from its inputs' scales; the output is half as fine."""
    return d.add(Add(Requant((1,), 0, 255)), a, b, quant=Quant(8, False, 2.0**-3))


def rescaled(d: Draft, x: str, quant: Quant) -> str:
    shift = round(np.log2(quant.scale / d.tensors[x].quant.scale))
    op = Pool("AveragePool", (1, 1), Requant((shift,), quant.lo, quant.hi))
    return d.add(op, x, quant=quant)


def every_layer() -> Graph:
    """What the back end knows: padding, strides, dilation, groups, depthwise, scales per channel, means of 4 and 9."""
    d = Draft((3, 12, 12))
    a = d.conv("input", 8, per_channel=True)
    b = residual(d, a, d.conv(a, 8, (3, 2), groups=8, per_channel=True))
    c = d.conv(b, 6, 3, dilation=(2, 2), weight_bits=5, bits=4, signed=True)
    e = d.conv(c, 6, 3, groups=3, stride=(1, 1), bits=6)
    f = d.pool(e, "AveragePool", (3, 3))
    g = d.conv(rescaled(d, f, Quant(9, True, 2.0**-3)), 5, 1, pads=(0, 0, 0, 0))
    h = d.pool(g, "MaxPool", (2, 2), pads=(0, 0, 0, 0))
    d.dense(d.dense(d.pool(h, "AveragePool", (2, 2)), 7), 10)
    return d.graph()


def moving() -> Graph:
    """What joins and moves maps: enlargement, padding, concatenation, difference and product of two maps."""
    d = Draft((2, 4, 6))
    q = Quant(8, False, 2.0**-4)
    req = Requant((0,), 0, 255)
    a = d.conv("input", 3)
    b = d.pool(a)
    up = d.add(Sample(req, (0, 0, 1, 1), (0, 0, 1, 1, 2, 2)), b, quant=q)
    c = d.add(Concat(req), up, a, quant=q)
    both = d.conv(c, 3, 1)
    less = d.add(Add(Requant((0,), -128, 127), sign=-1), both, a, quant=Quant(8, True, 2.0**-4))
    times = d.add(Mul(Requant((5,), -512, 511)), less, both, quant=Quant(10, True, 2.0**-3))
    wide = d.add(
        Sample(Requant((0,), -512, 511), (-1, 0, 1, 2, 3), (0, 1, 2, 3, 4, 5, -1)),
        times,
        quant=Quant(10, True, 2.0**-3),
    )
    d.dense(d.conv(wide, 2, 3, signed=True), 5)
    return d.graph()


def compiled(graph: Graph, folder: Path) -> Path:
    made = hls4ml.compile_model(emit.model(graph), board.load("zcu102"), mapping.Goal(), None)
    assert isinstance(made, project.Compiled)
    project.write(made.files, folder)
    return folder


def test_hls4ml_computes_what_onnxruntime_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "m.onnx"
    onnx.save(emit.model(every_layer()), model)
    out = tmp_path / "p"
    assert flow("compile", str(model), "--board", "zcu102", "--backend", "hls4ml", "--out", str(out)) == 0
    assert str(tmp_path) not in (out / "hls4ml" / "hls4ml_config.yml").read_text()
    capsys.readouterr()
    assert flow("csim", str(out), "--images", "30", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bit_exact"] and found["flow"]["bit_exact"] and found["mismatches"] == 0
    assert found["images"] == 30 and found["ms_per_image"] > 0 and found["flow"]["ms_per_image"] > 0
    assert flow("simulate", str(out)) == 1  # needs our own project, and says where it is
    assert "ours is in" in capsys.readouterr().err
    assert flow("simulate", str(out / "flow"), "--images", "2") == 0


@pytest.mark.slow
def test_maps_joined_and_moved(tmp_path: Path) -> None:
    graph = moving()
    folder = compiled(graph, tmp_path / "p")
    result = hls4ml.csim(folder, project.random_images(graph, 40))
    assert result.peer.bit_exact and result.ours.bit_exact


@pytest.mark.slow
def test_limits_inside_a_format(tmp_path: Path) -> None:
    """ReLU6 and other Clips: even and odd limits, either sign, behind maps and vectors."""
    d = Draft((2, 5, 5))
    x = "input"
    for lo, hi in ((0, 96), (0, 61), (-9, 30), (-40, -3)):
        weight = d.rng.integers(-9, 10, (3, d.tensors[x].shape[0], 2, 2))
        op = Conv(weight, d.rng.integers(-90, 90, 3), Requant((4,), lo, hi), pads=(0, 1, 1, 0))
        x = d.add(op, x, quant=Quant(*bits_for(lo, hi), 2.0**-3))
    weight = d.rng.integers(-9, 10, (4, *d.tensors[x].shape))
    d.add(Dense(weight, d.rng.integers(-90, 90, 4), Requant((3,), -100, 77)), x, quant=Quant(8, True, 2.0**-2))
    graph = d.graph()
    found = hls4ml.csim(compiled(graph, tmp_path / "p"), project.random_images(graph, 60))
    assert found.peer.bit_exact and found.ours.bit_exact


@pytest.mark.slow
@pytest.mark.parametrize("bits", [(1, 1), (3, 6), (12, 9), (16, 16)])
def test_bit_widths(bits: tuple[int, int], tmp_path: Path) -> None:
    weight_bits, act = bits
    d = Draft((2, 6, 7), Quant(act, act > 4, 2.0**-act))
    x = d.conv("input", 4, 3, weight_bits=weight_bits, bits=act, signed=act % 2 == 1, per_channel=True)
    x = d.conv(x, 3, 2, stride=(2, 1), weight_bits=weight_bits, bits=act)
    d.dense(x, 4, weight_bits=weight_bits, bits=min(16, act + 2))
    graph = d.graph()
    folder = compiled(graph, tmp_path / "p")
    images = project.random_images(graph, 40)
    found = hls4ml.simulate(folder / "hls4ml", graph, images)
    assert np.array_equal(found.outputs, graph.evaluate(images)[graph.output])


def refused(d: Draft) -> str:
    with pytest.raises(fixed_point.BackendError) as e:
        fixed_point.layers(d.graph(), {})
    return str(e.value)


def test_what_hls4ml_cannot_do_is_refused_by_name() -> None:
    d = Draft((2, 6, 6))
    d.pool("input", "MaxPool", (3, 3), (2, 2))
    assert "'node/L0' (MaxPool)" in refused(d) and "overlap" in refused(d)
    d = Draft((2, 6, 6), Quant(8, False, 2.0**-8, zero=3))
    d.conv("input", 2)
    assert "zero point 3" in refused(d)
    d = Draft((2, 6, 6), Quant(8, False, 0.3))
    d.conv("input", 2)
    assert "no power of two" in refused(d)
    d = Draft((2, 6, 6))
    op = Conv(np.ones((1, 2, 1, 1)), np.zeros(1), Requant((9,), 0, 255, (301,)))
    d.add(op, "input", quant=Quant(8, False, 1.0))
    assert "ratio" in refused(d)
    d = Draft((2, 6, 6))
    q = d.tensors["input"].quant
    d.add(Pool("AveragePool", (2, 2), Requant((0,), 0, 255), (2, 2), (1, 1, 1, 1), exclude=True), "input", quant=q)
    assert "padding out" in refused(d)
    d = Draft((2, 6, 6))
    d.add(Sample(Requant((0,), 0, 255), (0, 2, 4), (0, 2, 4)), "input", quant=q)
    assert "whole factors" in refused(d)
    d = Draft((2, 6, 6))
    d.residual("input", "input")  # shifts that contradict the scales
    assert "align" in refused(d)


def test_a_failing_simulation_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "hls4ml_config.yml").write_text("OutputDir: .\n")
    d = Draft((1, 4, 4))
    d.conv("input", 1)
    with pytest.raises(fixed_point.BackendError, match="C simulation failed"):
        hls4ml.simulate(tmp_path, d.graph(), project.random_images(d.graph(), 1))
