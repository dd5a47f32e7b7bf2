"""Rules of the source tree: one-way imports, heavy packages in their places, no swallowed exception, short files."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOW = ROOT / "flow"

# From the bottom up: a unit (a package of flow, or a module directly in it) imports units of lower layers and, without
# cycles, of its own.  The component laws (cost) are leaves that the blocks compose, so they lie below them.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("fixed", "board", "platform", "files", "modes", "config", "native", "extensions", "systems"),
    ("cost",),
    ("published",),
    ("ir",),
    ("design",),
    ("blocks",),
    ("elaborate", "layout", "timing"),
    ("simulate_kernel", "simulate"),
    ("estimate",),
    ("pipeline",),
    ("mapping",),
    ("explain",),
    ("codegen", "system"),
    ("toolchain",),
    ("lint",),
    ("tiled",),
    ("engines",),
    ("project", "calibration"),
    ("assembly", "backends", "chain"),
    ("place",),
    ("space", "train"),
    ("search", "archive", "front", "workers", "ray_workers"),
    ("report", "tabular"),
    (
        "expect",
        "feedback",
        "tasks",
        "train_one",
        "study",
        "tailor",
        "effort",
        "plan",
        "ladder",
        "explore",
        "conclude",
        "results",
        "run",
    ),
    ("arguments", "bench", "listings", "cli"),
)
LEVEL = {unit: level for level, units in enumerate(LAYERS) for unit in units}
# Packages that are slow to import or optional -> the units that may import them.
PLACES = {"torch": {"train"}, "onnx": {"ir"}, "onnxruntime": {"ir"}, "hls4ml": {"backends"}}
SOFT_LINES, HARD_LINES = 400, 450


def files() -> list[Path]:
    return sorted(FLOW.rglob("*.py"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def unit(path: Path) -> str:
    """``flow/ir/graph.py`` -> ``ir``; ``flow/board.py`` -> ``board``; ``flow/__init__.py`` -> ``""``."""
    first = path.relative_to(FLOW).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every import anywhere in a file as (line, dotted name), relative ones made absolute."""
    package = ["flow", *path.relative_to(FLOW).parts[:-1]]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            whole = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{whole}.{alias.name}"


def flow_units(path: Path) -> Iterator[tuple[int, str]]:
    for line, dotted in imports(path):
        parts = dotted.split(".")
        if parts[0] == "flow" and len(parts) > 1 and not parts[1].startswith("__"):
            yield line, parts[1]


def test_every_unit_has_a_layer() -> None:
    found = {unit(p) for p in files()} - {""}
    assert not found - LEVEL.keys(), f"give a layer here and a line in docs/architecture.md to: {found - LEVEL.keys()}"


def test_imports_go_one_way() -> None:
    wrong = [
        f"{name(p)}:{line}: {unit(p)} imports {other}, which lies above it"
        for p in files()
        if unit(p)
        for line, other in flow_units(p)
        if LEVEL.get(other, -1) > LEVEL.get(unit(p), len(LAYERS))
    ]
    assert not wrong, "\n".join(wrong)


def test_no_cycles_within_a_layer() -> None:
    edges = {(unit(p), other) for p in files() for _, other in flow_units(p) if unit(p) not in ("", other)}
    wrong = [f"{a} and {b} import each other" for a, b in edges if a < b and (b, a) in edges]
    assert not wrong, "\n".join(wrong)
    for layer in LAYERS:  # with one-way edges only between layers, a longer cycle stays in one layer
        inner = {u: {b for a, b in edges if a == u and b in layer} for u in layer}
        while free := [u for u, needs in inner.items() if not needs & inner.keys()]:
            for u in free:
                del inner[u]
        assert not inner, f"import cycle among {sorted(inner)}"


def test_search_knows_no_hardware() -> None:
    wrong = [
        f"{name(p)}:{line}: imports flow.{other}"
        for p in files()
        if unit(p) == "search"
        for line, other in flow_units(p)
        if other != "search"
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", PLACES)
def test_heavy_packages_stay_in_their_place(package: str) -> None:
    found = [(p, line) for p in files() for line, dotted in imports(p) if dotted.split(".")[0] == package]
    wrong = [f"{name(p)}:{line}: imports {package}" for p, line in found if unit(p) not in PLACES[package]]
    assert not wrong, "\n".join(wrong)
    assert found, f"nothing imports {package}: is this test looking at the right files?"


def swallowed(handler: ast.ExceptHandler) -> str | None:
    """What is wrong with an ``except``: it catches everything, or does nothing about what it catches."""
    if handler.type is None:
        return "bare except"
    if all(
        isinstance(s, ast.Pass) or (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant)) for s in handler.body
    ):
        return "the exception is swallowed"
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    broad = any(isinstance(c, ast.Name) and c.id in ("Exception", "BaseException") for c in caught)
    inside = [n for s in handler.body for n in ast.walk(s)]
    # A process boundary may catch everything, if what it caught travels on.
    told = any(isinstance(n, ast.Name) and n.id == handler.name for n in inside)
    if broad and not told and not any(isinstance(n, ast.Raise) for n in inside):
        return "catches every exception, raises none and tells nobody"
    return None


def test_no_exception_is_swallowed() -> None:
    wrong = [
        f"{name(p)}:{node.lineno}: {fault}"
        for p in files()
        for node in ast.walk(tree(p))
        if isinstance(node, ast.ExceptHandler) and (fault := swallowed(node))
    ]
    assert not wrong, "\n".join(wrong)


def test_the_rule_on_exceptions_bites() -> None:
    """The rule above on examples of both kinds."""

    def fault(body: str) -> str | None:
        node = ast.parse(f"try:\n  f()\n{body}").body[0]
        assert isinstance(node, ast.Try)
        return swallowed(node.handlers[0])

    assert fault("except:\n  g()") and fault("except ValueError:\n  pass") and fault("except OSError:\n  ...")
    assert fault("except Exception:\n  g()") and fault("except (ValueError, BaseException) as e:\n  print()")
    assert not fault("except ValueError:\n  g()") and not fault("except BaseException:\n  g()\n  raise")
    assert not fault("except Exception as e:\n  send(e)")


def test_files_are_short() -> None:
    lines = {name(p): len(p.read_text(encoding="utf-8").splitlines()) for p in files()}
    for file, n in lines.items():
        if SOFT_LINES < n <= HARD_LINES:
            warnings.warn(f"{file}: {n} lines; {SOFT_LINES} is the aim", stacklevel=1)
    assert not {f: n for f, n in lines.items() if n > HARD_LINES}, f"at most {HARD_LINES} lines"


def test_every_module_says_what_it_is() -> None:
    missing = [name(p) for p in files() if not (ast.get_docstring(tree(p)) or "").strip()]
    assert not missing, f"no docstring: {missing}"


def test_relative_imports_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walker sees imports in functions and relative ones."""
    monkeypatch.setitem(globals(), "FLOW", tmp_path)
    path = tmp_path / "search" / "x.py"
    path.parent.mkdir()
    path.write_text("from ..board import Board\ndef f():\n  from . import y\n  import torch.nn\n", encoding="utf-8")
    assert [d for _, d in imports(path)] == ["flow.board.Board", "flow.search.y", "torch.nn"]
    assert [u for _, u in flow_units(path)] == ["board", "search"]
