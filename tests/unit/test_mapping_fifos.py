"""FIFOs moved between shift registers and block RAM: what is short becomes enough, depths only grow, schedules hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flow import board, codegen, estimate, mapping, timing
from flow.design import Design, Netlist, excess
from flow.mapping.solve import fitted
from tests import networks


def netlist() -> Netlist:
    found = mapping.solve(networks.resnet8(), board.load("zcu102"), mapping.Goal(max_utilisation=0.4))
    assert isinstance(found, Design)
    return found.netlist


@pytest.mark.parametrize(("short", "plenty", "by"), [("lut", "bram18", 300), ("bram18", "lut", 20)])
def test_what_is_short_becomes_enough(short: str, plenty: str, by: int) -> None:
    net = netlist()
    used = estimate.resources(net)
    budget = used._replace(**{short: getattr(used, short) - by, plenty: getattr(used, plenty) * 2, "ff": used.ff * 2})
    moved = fitted(net, budget)
    assert not excess(estimate.resources(moved), budget)
    for a, b in zip(net.streams, moved.streams, strict=True):
        assert b.depth >= a.depth and replace(b, depth=a.depth, storage=a.storage) == a
    assert timing.analyse(moved) == timing.analyse(net)


def test_nothing_moves_when_both_are_short() -> None:
    net = netlist()
    used = estimate.resources(net)
    assert fitted(net, used._replace(lut=used.lut - 1, bram18=used.bram18 - 1)).streams == net.streams
    assert fitted(net, used) is net


def test_a_bound_stream_is_bound_in_the_code() -> None:
    found = mapping.solve(networks.lenet(), board.load("zcu102"), mapping.Goal(max_utilisation=0.4))
    assert isinstance(found, Design)
    deep = max(found.netlist.streams, key=lambda s: s.depth)
    streams = tuple(replace(s, storage="srl") if s.name == deep.name else s for s in found.netlist.streams)
    code = codegen.plan(replace(found, netlist=replace(found.netlist, streams=streams)))
    text = next(t.decode() if isinstance(t, bytes) else t for p, t in code.files.items() if p.endswith("accel.cpp"))
    assert f"BIND_STORAGE variable={deep.name} type=fifo impl=srl" in text and text.count("impl=srl") == 1
