"""Chain projects: written, read back, the whole C-simulated on one memory against onnxruntime, linted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from flow import board, cli, place, project
from flow.board import Board
from flow.chain import folder as chains
from flow.chain.design import Chain
from flow.chain.solve import Cut, Search
from flow.ir import emit
from flow.ir.graph import Graph
from flow.mapping import Goal, NoFit
from flow.platform import Link, Platform
from flow.project import ModelProto
from flow.tiled import Grid
from tests.networks import Draft

SPACE = Grid(
    arrays=((8, 8), (16, 8), (32, 8)), granule=8, wp=(8,), acc_depth=(64, 256), in_depth=(512,), cache=(0, 512),
    copies=(1, 2), batch=(1, 2),
)  # fmt: skip


def network() -> Graph:
    d = Draft((3, 16, 16), seed=9)
    x = d.conv("input", 16)
    x = d.conv(x, 32)
    y = d.conv(x, 40, stride=(2, 2))
    d.dense(d.global_average(d.conv(y, 24)), 10)
    return d.graph()


CUTS = {
    "stages, engine": Cut(1, 6, 6),
    "engine, stages": Cut(0, 5, 5),
    "stages, engine, stages": Cut(2, 5, 5),
    "engine, engine": Cut(0, 2, 6, 0.5),
    "stages, two engines": Cut(1, 3, 6, 0.5),
}


@pytest.fixture(scope="module")
def search() -> Search:
    place = board.load("pynq-z2")
    return Search(network(), place, Goal(max_utilisation=0.9), place.clock_mhz, SPACE)


def chain_of(search: Search, name: str, images: int = 0) -> Chain:
    level = search.level(100 * 1e6 / 200)
    parts = search.at(CUTS[name], level)
    assert parts is not None
    found = search.chain(CUTS[name], parts, level)
    assert found is not None and len(found.parts) == name.count(",") + 1 + name.count("two")
    return found


def written(found: Chain, folder: Path) -> chains.Folder:
    project.write(chains.compiled(emit.model(found.graph), found).files, folder)
    return chains.load(folder)


@pytest.mark.parametrize("name", CUTS)
def test_the_whole_is_bit_exact(search: Search, name: str, tmp_path: Path) -> None:
    """Two steps and a part of a third: both sides of every joint are used again."""
    found = chain_of(search, name)
    shortest = max(1, max(getattr(p, "copies", 1) * getattr(p, "batch", 1) for p in found.parts))
    found = replace(found, images=2 * shortest)
    loaded = written(found, tmp_path / "p")
    assert loaded.chain.digest == found.digest and loaded.chain.interval_cycles == found.interval_cycles
    result = chains.csim(loaded, project.random_images(found.graph, 5 * shortest - shortest // 2))
    assert result.bit_exact and result.reference == "onnxruntime"


def test_two_boards_pass_images_on(search: Search, tmp_path: Path) -> None:
    found = chain_of(search, "stages, engine")
    pynq = board.load("pynq-z2")
    two = replace(found, platform=Platform("pair", (pynq, pynq), (Link(0, 1, 1.0, 1.0),)), places=(0, 1))
    loaded = written(two, tmp_path / "p")
    assert set(loaded.view["memory"]) == {"0", "1"}
    assert chains.csim(loaded, project.random_images(two.graph, two.images + 1)).bit_exact


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Compile, C-simulate, simulate; reports of the whole and of the parts."""
    (tmp_path / "net.onnx").write_bytes(emit.model(network()).SerializeToString())
    folder = tmp_path / "p"
    arguments = ["compile", str(tmp_path / "net.onnx"), "--board", "pynq-z2", "--engine", "chain", "--max-utilisation"]
    assert cli.main([*arguments, "0.5", "--out", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "chain" in text and "part 1 (" in text and "no chain found below" in text
    assert cli.main(["csim", str(folder), "--images", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bit_exact"]
    assert cli.main(["simulate", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    report = json.loads((folder / "report" / "estimate_network_performance.json").read_text())
    assert not found["deadlock"] and found["images"] == report["chain"]["images"]
    assert [e["kind"] for e in report["engines"]] == [p["kind"] for p in report["chain"]["parts"]]
    assert len(report["layers"]) == sum(len(e["layers"]) for e in report["engines"])
    (folder / "part1" / "design.json").write_text("{}")
    with pytest.raises(project.ProjectError):
        place.read(folder)


def test_auto_takes_the_faster_of_stages_and_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages as fast as their bound are taken as they are; others only if no chain is faster."""
    model, pynq, goal = emit.model(network()), board.load("pynq-z2"), Goal(max_utilisation=0.3)
    asked: list[Goal] = []

    def chain(model: ModelProto, at: Board, goal: Goal, clock: float | None = None) -> chains.Compiled | NoFit:
        asked.append(goal)
        return search_chain(model, at, goal if len(asked) < 2 else Goal(max_utilisation=0.9), clock)

    search_chain = chains.compile_model
    monkeypatch.setattr(chains, "compile_model", chain)
    stages = place.compile_for("auto", model, pynq, goal)
    assert isinstance(stages, project.Compiled) and not asked
    monkeypatch.setattr(place, "GOOD_GAP", -1.0)
    again = place.compile_for("auto", model, pynq, goal)  # the chain that fits beside it is slower
    assert isinstance(again, project.Compiled) and again.design.digest == stages.design.digest and len(asked) == 1
    faster = place.compile_for("auto", model, pynq, replace(goal, max_utilisation=0.2))  # that of a larger share is not
    assert isinstance(faster, chains.Compiled) and len(asked) == 2


@pytest.mark.slow
def test_lint_finds_nothing(search: Search, tmp_path: Path) -> None:
    written(chain_of(search, "stages, engine, stages"), tmp_path / "p")
    assert place.findings(tmp_path / "p") == []
