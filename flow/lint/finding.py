"""What lint says: findings as values, and the error for projects that cannot be linted at all."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


class LintError(ValueError):
    """The project cannot be read, or the machine lacks what parsing needs."""


@dataclass(frozen=True, order=True)
class Finding:
    """One defect. ``file`` is relative to the project's folder, ``line`` from 1, ``rule`` as in docs/lint.md."""

    file: str
    line: int
    rule: str
    message: str

    def json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.rule}: {self.message}"


def document(findings: list[Finding]) -> dict[str, Any]:
    """The layout of ``flow lint --json``."""
    return {"ok": not findings, "findings": [f.json() for f in findings]}
