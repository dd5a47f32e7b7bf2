"""Row buffers in UltraRAM: as exact as in block RAM, costed as built, chosen where block RAM is short."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flow import blocks, board, codegen, lint, mapping, project
from flow.design import Bound, Design
from flow.mapping.solve import realise
from flow.toolchain import gpp
from tests import networks

BOARD = board.load("zcu104")  # 96 UltraRAMs


def draft() -> networks.Draft:
    """A convolution, a depthwise one and a pooling whose rows fill several block RAMs."""
    d = networks.Draft((64, 4, 96), seed=4)
    a = d.conv("input", 64, 3, groups=64, bits=8)
    b = d.pool(a, "MaxPool", (3, 3), (1, 1), (1, 1, 1, 1))
    d.dense(d.global_average(d.conv(b, 4, 3)), 3)
    return d


@pytest.mark.parametrize("mode", ["serial", "parallel"])
def test_the_same_results(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpp, "flags", lambda native, options=gpp.flags: [*options(native), "-O1"])
    d = draft()
    graph, foldings = d.graph(), {}
    for node in graph.nodes:
        found = [o.folding for o in blocks.options(graph, node, BOARD)]
        wanted = [f for f in found if f.buffer == "uram" and f.window == mode and f.lanes <= 64]
        foldings[node.id] = (wanted or found)[-1]
    net = realise(graph, BOARD, foldings, 100)
    assert sum(p.function == f"window_{mode}_uram" for p in net.processes) == 3
    design = Design(graph, BOARD, 200.0, foldings, net, Bound(1, "stream", 0.0, False, 0.0), BOARD.available)
    project.write(codegen.plan(design).files, tmp_path / "p")
    assert not lint.lint(tmp_path / "p")
    x = d.images(2)
    got = gpp.simulate(tmp_path / "p" / "hls", x, codegen.describe(design), True)
    assert np.array_equal(got.outputs, graph.evaluate(x)[graph.output])


def test_options_are_what_is_built_and_only_where_there_is_uram() -> None:
    graph, seen = draft().graph(), 0
    for node in graph.nodes:
        for o in blocks.options(graph, node, BOARD):
            if o.folding.buffer == "uram":
                seen += 1
                chain = blocks.lower(graph, node, o.folding, BOARD)
                assert sum((p.resources for p in chain), start=type(o.resources)()) == o.resources
                plain = blocks.lower(graph, node, o.folding._replace(buffer="auto"), BOARD)
                freed = plain[0].resources.bram18 - chain[0].resources.bram18
                assert freed >= 4 * o.resources.uram > 0
        for o in blocks.options(graph, node, board.load("zcu102")):
            assert o.folding.buffer == "auto" and o.resources.uram == 0
    assert seen > 20


def test_the_mapper_uses_it_when_block_ram_is_short() -> None:
    graph = draft().graph()
    short = replace(BOARD, available=BOARD.available._replace(bram18=16))
    without = replace(short, available=short.available._replace(uram=0))
    a, b = (mapping.solve(graph, place, mapping.Goal(max_utilisation=1.0)) for place in (short, without))
    assert isinstance(a, Design) and any(f.buffer == "uram" for f in a.foldings.values())
    assert isinstance(b, mapping.NoFit) and [v.resource for v in b.violations] == ["bram18"]
