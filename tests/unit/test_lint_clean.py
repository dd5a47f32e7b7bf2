"""Generated projects have no findings, whatever the network, board and folding."""

from __future__ import annotations

from pathlib import Path

import pytest

from flow import board, codegen, mapping
from flow.ir.graph import Graph
from flow.lint import lint
from tests import networks
from tests.lint_corpus import write


def check(graph: Graph, folder: Path, board_name: str = "zcu102", **goal: object) -> None:
    design = mapping.solve(graph, board.load(board_name), mapping.Goal(**goal))  # type: ignore[arg-type]
    assert not isinstance(design, mapping.NoFit), str(design)
    found = lint(write(codegen.plan(design).files, folder))
    assert not found, "\n".join(map(str, found))


def test_sample_network(tmp_path: Path) -> None:
    check(networks.sample(), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lenet", "resnet8"])
@pytest.mark.parametrize(("board_name", "objective"), [("zcu102", "throughput"), ("zcu104", "area")])
def test_reference_networks(name: str, board_name: str, objective: str, tmp_path: Path) -> None:
    check(getattr(networks, name)(), tmp_path, board_name, objective=objective)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "objective"), [(0, "throughput"), (1, "area"), (5, "latency")])
def test_every_block(seed: int, objective: str, tmp_path: Path) -> None:
    check(networks.gallery_draft(seed).graph(), tmp_path, objective=objective)


@pytest.mark.slow
@pytest.mark.parametrize("board_name", ["zc706", "kv260", "u250", "arty-a7-100"])
def test_families_and_clocks(board_name: str, tmp_path: Path) -> None:
    check(networks.sample(), tmp_path, board_name)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(15))
def test_random_networks(seed: int, tmp_path: Path) -> None:
    board_name, goal = [
        ("zcu102", {"objective": "area"}),
        ("pynq-z2", {"max_utilisation": 0.9}),
        ("zcu104", {"max_utilisation": 0.2}),
    ][seed % 3]
    check(networks.random_draft(seed).graph(), tmp_path, board_name, **goal)
