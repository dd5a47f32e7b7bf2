"""What limits a design and what more would buy, against brute force, solving again, and hand-made cases."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy.optimize import linprog

from flow import blocks, board, cli, estimate, explain, mapping, pipeline, timing
from flow.design import Design
from flow.explain import Products
from flow.mapping import Goal
from flow.pipeline import System
from flow.platform import Link, Platform
from flow.report.roofline import roofline_svg
from tests import networks

GOAL = Goal(max_utilisation=1.0)


@pytest.mark.parametrize("seed", range(20))
def test_arithmetic_bound_is_the_linear_programs_optimum(seed: int) -> None:
    """Against scipy: least cycles T with every product in a DSP or in LUTs, fractions allowed."""
    rng = np.random.default_rng(seed)
    found = [
        Products(int(rng.integers(1, 10**6)), float(rng.choice([0.5, 1.0, 2.0])), int(rng.integers(1, 90)))
        for _ in range(int(rng.integers(1, 8)))
    ]
    dsp, lut = int(rng.integers(0, 300)), int(rng.integers(1, 20000))
    n = len(found)
    rows = [[p.macs / p.per_dsp for p in found] + [-dsp], [-p.macs * p.lut for p in found] + [-lut]]
    limit = [0.0, -float(sum(p.macs * p.lut for p in found))]
    best = linprog([0.0] * n + [1.0], A_ub=rows, b_ub=limit, bounds=[(0, 1)] * n + [(0, None)])
    assert explain.arithmetic_cycles(found, dsp, lut) == pytest.approx(max(1, best.fun), abs=1 + 1e-6 * best.fun)


def test_no_multiplier_at_all() -> None:
    assert explain.arithmetic_cycles([], 10, 10) == 1
    with pytest.raises(ValueError, match="no multiplier"):
        explain.arithmetic_cycles([Products(10, 2.0, 40)], 0, 0)


def solved(name: str = "zcu104", **less: int) -> Design:
    place = board.load(name)
    place = replace(place, available=place.available._replace(**less))
    found = mapping.solve(networks.sample(), place, GOAL)
    assert isinstance(found, Design)
    return found


def test_bounds_are_in_order() -> None:
    """Arithmetic bound <= proved bound of the design space <= what is reached."""
    for less in ({}, {"dsp": 40, "lut": 30000}, {"dsp": 10, "lut": 30000}):
        d = solved(**less)
        view = explain.limits(d)
        assert view["arithmetic_bound_cycles"] <= view["proved_bound_cycles"] <= view["reached_cycles"]
        assert view["arithmetic_bound_cycles"] <= view.get("arithmetic_bound_dsp_only_cycles", 10**18)
        used = 2 * sum(d.graph.macs(n) for n in d.graph.nodes) * d.clock_mhz / 1e3 / view["reached_cycles"]
        assert used <= view["roofs"]["gops"] * 1.001


def test_what_holds_a_layer_back() -> None:
    d = solved(dsp=40, lut=30000)
    view = explain.limits(d)
    left = {k: a - u for (k, a), u in zip(d.available.json().items(), estimate.resources(d.netlist), strict=True)}
    stages = estimate.by_node(d.netlist)
    assert {x["id"] for x in view["layers"] if x["busy"] == 1} == set(view["slowest"]) != set()
    for node, x in zip(d.graph.nodes, view["layers"], strict=True):
        faster = [o for o in blocks.options(d.graph, node, d.board) if o.cycles <= 0.98 * x["interval_cycles"]]
        assert (x["faster"] is None) == (not faster) == (x["limited_by"] == "fully unrolled")
        if x["faster"]:
            more, short = x["faster"]["more"], x["faster"]["short_of"]
            match = [o for o in faster if o.cycles == x["faster"]["interval_cycles"]]
            grown = [
                {k: b - a for k, a, b in zip(left, stages[node.id], o.resources, strict=True) if b > a} for o in match
            ]
            assert more in grown and short == [k for k in more if more[k] > left[k]]


def test_marginal_values_are_what_solving_again_gives() -> None:
    d = solved(dsp=40, lut=20000, bram18=60)
    rows = {m.resource: m for m in explain.marginal(d, GOAL)}
    assert set(rows) == {"lut", "ff", "dsp", "bram18", "uram", "memory_gb_s"}
    reached = timing.slowest(d.netlist)
    for kind in ("lut", "dsp"):
        m = rows[kind]
        place = replace(d.board, available=d.available._replace(**{kind: getattr(d.available, kind) + int(m.more)}))
        again = mapping.solve(d.graph, place, GOAL)
        assert isinstance(again, Design) and m.how == "re-solved"
        assert m.interval_cycles == min(reached, timing.slowest(again.netlist))
        assert m.gain_fps == pytest.approx(m.fps - d.clock_mhz * 1e6 / reached)
    assert rows["memory_gb_s"].how == "not limiting" and rows["memory_gb_s"].gain_fps == 0
    assert rows["lut"].json()["gain_fps_each"] == pytest.approx(rows["lut"].gain_fps / rows["lut"].more)


def test_steps_are_lower_bounds() -> None:
    """With less than ``step`` says, solving again does not reach the next interval."""
    d = mapping.solve(networks.resnet8(), board.load("zcu102"), GOAL)
    assert isinstance(d, Design)
    steps = [m for m in explain.marginal(d, GOAL) if m.step is not None]
    assert steps
    for m in steps:
        assert m.step is not None
        now = getattr(d.available, m.resource)
        less = d.available._replace(**{m.resource: now + int(m.step["more"]) - 1 - now // 500})
        again = mapping.solve(d.graph, replace(d.board, available=less), GOAL)
        assert isinstance(again, Design) and timing.slowest(again.netlist) > m.step["interval_cycles"]


def test_slow_designs_are_bounded_instead() -> None:
    d = solved(dsp=40, lut=20000)
    slow = replace(d, bound=replace(d.bound, seconds=60.0))
    fast = {m.resource: m for m in explain.marginal(d, GOAL)}
    for m in explain.marginal(slow, GOAL):
        if m.resource != "memory_gb_s":
            assert m.how == "relaxation" and m.interval_cycles <= fast[m.resource].interval_cycles


def test_what_more_would_buy_on_a_platform() -> None:
    """Bounds before and after; a link that is too slow is what pays, and another board where boards are small."""
    base = board.load("pynq-z2")
    tight = replace(base, available=base.available._replace(lut=9000, dsp=20))

    def rows(bandwidth: float) -> dict[str, explain.Marginal]:
        place = Platform("two", (tight, tight), (Link(0, 1, bandwidth, 0.1),))
        s = mapping.solve_platform(networks.sample(), place, GOAL)
        assert isinstance(s, System)
        report = explain.explained(pipeline.estimate(s), s, GOAL).json()
        assert {m["resource"] for m in report["marginal"]} == {"lut", "ff", "dsp", "bram18", "link_gb_s", "boards"}
        found = {m.resource: m for m in explain.marginal_platform(s, GOAL)}
        assert all(m.how == "relaxation" and m.gain_fps >= 0 for m in found.values())
        before = mapping.least_us(networks.sample(), place, GOAL) * s.clock_mhz
        assert before <= s.bound.interval_cycles + 1
        return found

    wide = rows(4.0)
    assert wide["link_gb_s"].gain_fps == 0 and wide["boards"].gain_fps > 0
    assert all(m.interval_cycles > 0 for m in rows(0.01).values())


def test_picture_is_xml_with_every_layer() -> None:
    d = solved(dsp=40, lut=30000)
    report = explain.explained(estimate.estimate(d), d, GOAL).json()
    svg = str(roofline_svg(report))
    root = ElementTree.fromstring(svg)
    titles = [e.text for e in root.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == sum(bool(d.graph.macs(n)) for n in d.graph.nodes)
    assert all("operations a byte" in (t or "") for t in titles)
    nasty = {**report, "limits": {**report["limits"], "layers": [
        {**x, "name": "</svg><script>&\x07"} for x in report["limits"]["layers"]]}}  # fmt: skip
    ElementTree.fromstring(str(roofline_svg(nasty)))


def test_the_command_line_explains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from flow.ir import emit
    from flow.space.network import random_graph
    from flow.space.stack import Stack

    s = Stack((3, 8, 8))
    s.conv(8, 3)
    s.conv(8, 3, 2)
    path = tmp_path / "m.onnx"
    path.write_bytes(emit.model(random_graph(s.finish(4))).SerializeToString())
    assert cli.main(["estimate", str(path), "--board", "pynq-z2", "--json"]) == 0
    view = json.loads(capsys.readouterr().out)
    assert view["limits"]["layers"] and {m["resource"] for m in view["marginal"]} >= {"lut", "dsp", "memory_gb_s"}
    assert cli.main(["compile", str(path), "--board", "pynq-z2", "--out", str(tmp_path / "o")]) == 0
    said = capsys.readouterr().out
    assert "what limits it:" in said and "arithmetic bound" in said and "what more would buy:" in said
    assert (tmp_path / "o/report/roofline.svg").read_text().startswith("<svg")
    saved = json.loads((tmp_path / "o/report/estimate_network_performance.json").read_text())
    assert saved["limits"]["limited_by"] == view["limits"]["limited_by"]
