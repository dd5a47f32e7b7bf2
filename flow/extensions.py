"""Blocks and operators from other installed packages, found by their entry points.

A distribution that declares an entry point in the group ``coexplore.blocks`` names a package of its own. Its modules
are imported as if they stood in ``flow/blocks`` and ``flow/ir/operators``, and its ``*.h`` files join the C++ library
(docs/add-a-block.md).
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib import metadata, resources
from types import ModuleType

GROUP = "coexplore.blocks"


@cache
def packages() -> tuple[str, ...]:
    """Dotted names of the packages, sorted: the same on every machine that has them."""
    return tuple(sorted({entry.value for entry in metadata.entry_points(group=GROUP)}))


def modules_of(package: str) -> tuple[ModuleType, ...]:
    """All modules of a package, imported."""
    path = importlib.import_module(package).__path__
    return tuple(importlib.import_module(f"{package}.{m.name}") for m in pkgutil.iter_modules(path))


@cache
def modules() -> tuple[ModuleType, ...]:
    """All modules of all packages."""
    return tuple(m for package in packages() for m in modules_of(package))


def headers() -> dict[str, bytes]:
    """Their C++ headers, by file name."""
    folders = [resources.files(package) for package in packages()]
    return {p.name: p.read_bytes() for folder in folders for p in folder.iterdir() if p.name.endswith(".h")}
