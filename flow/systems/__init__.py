"""Published systems of co-search as configurations of this one: ``flow search --system NAME``.

A system is a file ``NAME.toml`` here, found by looking, or a user's own: ``title`` and ``paper``, ``same`` and
``differs`` (what this configuration shares with the paper and what it does not), a table ``search`` of options of
``flow search`` and a table ``options`` of options of the strategy. Options given on the command line come before those
of the file. ``docs/systems.md`` is made from the files: ``flow systems --markdown``.
"""

from __future__ import annotations

import difflib
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SEARCH = (
    "board", "space", "data", "strategy", "mode", "budget", "trials", "time", "min_accuracy", "max_latency_ms",
    "min_fps", "max_energy_mj", "max_utilisation", "bits",
)  # fmt: skip


class SystemFileError(ValueError):
    """A system that does not exist or a file that is none; one line."""


@dataclass(frozen=True)
class System:
    """``search``: options of ``flow search`` by their long names with ``_`` for ``-``; ``options``: of the strategy."""

    name: str
    title: str
    paper: str
    search: dict[str, Any]
    options: dict[str, Any]
    same: tuple[str, ...]
    differs: tuple[str, ...]

    def defaults(self) -> dict[str, Any]:
        """What the command line begins with."""
        return {**self.search, "option": [f"{k}={_text(v)}" for k, v in self.options.items()]}

    def command(self) -> str:
        return f"flow search --system {self.name}"


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def names() -> list[str]:
    """Systems that come with the package."""
    folder = resources.files(__name__)
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".toml"))


def load(name: str) -> System:
    """A system by its name or by the path of a TOML file. Raises SystemFileError naming what is wrong."""
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise SystemFileError(f"system file {name} does not exist")
        return parse(path.stem, path.read_text(encoding="utf-8"))
    if name not in names():
        near = difflib.get_close_matches(name.lower(), names(), 3, 0.4) or names()
        raise SystemFileError(f"unknown system {name!r}; nearest: {', '.join(near)} (or give a .toml file)")
    return parse(name, (resources.files(__name__) / f"{name}.toml").read_text(encoding="utf-8"))


def parse(name: str, text: str) -> System:
    """A system from TOML text. Raises SystemFileError."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise SystemFileError(f"system {name}: not valid TOML: {e}") from None
    kinds = {"title": str, "paper": str, "same": list, "differs": list, "search": dict, "options": dict}
    for key, value in data.items():
        if key not in kinds:
            raise SystemFileError(f"system {name}: unknown key {key}; known: {', '.join(kinds)}")
        if not isinstance(value, kinds[key]):
            raise SystemFileError(f"system {name}: {key} must be a {kinds[key].__name__}")
    missing = [k for k in ("title", "search") if k not in data]
    if missing:
        raise SystemFileError(f"system {name}: key {missing[0]} is missing")
    for key in data["search"]:
        if key not in SEARCH:
            raise SystemFileError(f"system {name}: unknown key search.{key}; known: {', '.join(SEARCH)}")
    return System(
        name,
        data["title"],
        data.get("paper", ""),
        data["search"],
        data.get("options", {}),
        tuple(data.get("same", ())),
        tuple(data.get("differs", ())),
    )


def markdown() -> str:
    """``docs/systems.md``."""
    lines = [
        "# Published systems as configurations",
        "",
        "Each system of the surveys is a file of `flow/systems/`, run by its name; options on the command line come",
        "before those of the file. A file of your own is run by its path: `flow search --system my/system.toml`. Which",
        "strategy and mode is best at equal cost is measured in [benchmarks-search.md](benchmarks-search.md).",
        "",
        "This page is made from the files: `flow systems --markdown > docs/systems.md`.",
        "",
        "| system | space | strategy | mode |",
        "|---|---|---|---|",
    ]
    found = [load(n) for n in names()]
    for s in found:
        get = s.search.get
        lines.append(
            f"| [{s.name}](#{s.name}) | {get('space', 'default')} | {get('strategy', 'nsga2')} | {get('mode')} |"
        )
    for s in found:
        lines += ["", f"## {s.name}", "", f"{s.title}. {s.paper}", "", f"    {s.command()}", ""]
        given = {**s.search, **{f"option {k}": v for k, v in s.options.items()}}
        lines += ["Settings: " + ", ".join(f"{k} = {_text(v)}" for k, v in given.items()) + ".", ""]
        lines += ["The same:", "", *(f"- {x}" for x in s.same), "", "What differs:", "", *(f"- {x}" for x in s.differs)]
    return "\n".join(lines) + "\n"
