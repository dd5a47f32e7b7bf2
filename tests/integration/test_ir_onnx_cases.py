"""ONNX's own single-operator cases: each is computed bit-exactly after quantisation or refused in one line.

``benchmarks/operators.py`` judges; docs/operators.md says how it went.
"""

from __future__ import annotations

import re

import pytest

from benchmarks import operators
from flow.ir.onnx_file import ModelError

LEAST = {
    **{"Conv": 6, "ConvTranspose": 9, "Gemm": 8, "MatMul": 1, "MaxPool": 12, "AveragePool": 14},
    **{"GlobalAveragePool": 2, "GlobalMaxPool": 2, "Concat": 6, "Resize": 15, "Slice": 6, "BatchNormalization": 2},
}
NAMES = [op for group in operators.GROUPS.values() for op in group]


@pytest.fixture(scope="module")
def cases() -> dict[str, list]:
    return operators.node_cases()


@pytest.fixture(scope="module")
def document() -> dict[str, list[str]]:
    """The numbers of docs/operators.md by operator."""
    table = operators.DOCUMENT.read_text(encoding="utf-8").split(operators.MARK)[1]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    return {row[1]: row[2:6] for row in rows[2:]}


@pytest.mark.parametrize("op", NAMES)
def test_cases_are_exact_or_refused_as_documented(op: str, cases: dict, document: dict) -> None:
    found = [operators.outcome(case) for case in cases[op]]
    kinds = [kind for kind, _ in found]
    assert "DIFFERENT" not in kinds, [words for kind, words in found if kind == "DIFFERENT"]
    assert not [words for kind, words in found if kind == "refused" and ("\n" in words or not words)]
    assert kinds.count("exact") >= LEAST.get(op, 0)
    numbers = [len(found), *(kinds.count(k) for k in ("exact", "refused", "DIFFERENT"))]
    assert document[op] == [str(n) for n in numbers], "run: python benchmarks/operators.py"


def test_the_judge_sees_a_difference(cases: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    case = cases["Relu"][0]
    model = operators.as_network(case)
    assert operators.judge(model) == "exact"
    honest = operators.integers
    monkeypatch.setattr(operators, "integers", lambda *a: honest(*a) + 1e-3)
    assert re.match(r"\d+ of \d+ outputs differ", operators.judge(model))
    monkeypatch.setattr(operators, "integers", honest)
    monkeypatch.setattr(operators, "FAR", 0.0)
    assert "from the float model" in operators.judge(model)


def test_networks_of_the_package_are_read() -> None:
    """The smallest that is supported whole, and one whose refusal names the node."""
    paths = {p.stem: p for p in operators.light_graphs()}
    with pytest.raises(ModelError, match=r"\(LRN\)"):
        operators.judge(operators.randomised(paths["light_bvlc_alexnet"]), 1)
    assert operators.randomised(paths["light_squeezenet"]).graph.output


@pytest.mark.slow
def test_squeezenet_of_the_package_is_exact() -> None:
    paths = {p.stem: p for p in operators.light_graphs()}
    assert operators.judge(operators.randomised(paths["light_squeezenet"]), 1) == "exact"
