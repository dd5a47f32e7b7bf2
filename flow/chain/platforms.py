"""A chain over several boards."""

from __future__ import annotations


def solve_platform() -> None:
    raise NotImplementedError
