"""Every planted defect is found, by its rule and in its file, and nothing else is said."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from flow.lint import Finding, lint
from tests.lint_corpus import DEFECTS, Defect, files, plant, write


@cache
def untouched(base: str, folder: Path) -> Counter[tuple[str, str, str]]:
    return kinds(lint(write(files(base), folder / base)))


def kinds(findings: list[Finding]) -> Counter[tuple[str, str, str]]:
    return Counter((f.rule, f.file, f.message) for f in findings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lint")


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda d: d.name)
def test_defect_is_found(defect: Defect, folder: Path, tmp_path: Path) -> None:
    found = lint(plant(defect, tmp_path))
    new = kinds(found) - untouched(defect.base, folder)
    assert {(rule, file) for rule, file, _ in new} == {(rule, defect.file) for rule in (defect.rule, *defect.also)}, (
        "\n".join(map(str, found))
    )


def test_corpus_is_large_and_names_are_distinct() -> None:
    assert len(DEFECTS) >= 40
    assert len({d.name for d in DEFECTS}) == len(DEFECTS)
