"""Benchmarks by name: a module ``benchmarks/<name>.py`` that defines ``tables`` is one, found by looking there.

``tables(arguments)`` takes the words after the name and yields ``(title, rows)``; a row maps column names to plain
values. ``flow bench NAME`` prints each table as it comes. They belong to the source checkout, not to the wheel.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "benchmarks"
Table = tuple[str, list[dict[str, Any]]]


def names() -> dict[str, str]:
    """Benchmark -> the first line of what it says about itself; read, not imported."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        if any(isinstance(n, ast.FunctionDef) and n.name == "tables" for n in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def load(name: str) -> Callable[[list[str]], Iterator[Table]]:
    """The benchmark's ``tables``. Raises ValueError when there is none of that name."""
    if name not in names():
        have = ", ".join(names()) or "none here: benchmarks come with the source checkout"
        raise ValueError(f"no benchmark {name!r}; benchmarks: {have}")
    package = sys.modules.setdefault("benchmarks", types.ModuleType("benchmarks"))  # so that they find each other
    package.__path__ = [str(FOLDER)]
    spec = importlib.util.spec_from_file_location(f"benchmarks.{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    found: Callable[[list[str]], Iterator[Table]] = module.tables
    return found
