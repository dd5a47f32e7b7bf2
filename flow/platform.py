"""Several boards and the links between them, each number with its source (``boards/platforms/*.toml``)."""

from __future__ import annotations

import difflib
import itertools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from flow import board as boards
from flow.board import Board, BoardError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST_BOARDS = 16


@dataclass(frozen=True)
class Link:
    """A one-way stream from board ``source`` to board ``sink`` (indices): payload bandwidth and latency."""

    source: int
    sink: int
    bandwidth_gb_s: float
    latency_us: float


@dataclass(frozen=True)
class Platform:
    """Boards by index and the links that join them.

    ``reconfiguration_ms``: time to load another bitstream into a board; 0 when the platform does not say.
    """

    name: str
    boards: tuple[Board, ...]
    links: tuple[Link, ...]
    reconfiguration_ms: float = 0.0

    def link(self, source: int, sink: int) -> Link | None:
        return next((k for k in self.links if (k.source, k.sink) == (source, sink)), None)

    def routes(self) -> tuple[tuple[int, ...], ...]:
        """Longest simple paths along the links, as board indices; of paths over equal boards and links, the first.

        A pipeline runs along a route or its beginning.
        """
        found: list[tuple[int, ...]] = []
        seen: set[tuple[Any, ...]] = set()
        for path in sorted(self._paths(()), key=lambda p: (-len(p), p)):
            links = [self.link(a, b) for a, b in itertools.pairwise(path)]
            looks = tuple(self.boards[b] for b in path), tuple((k.bandwidth_gb_s, k.latency_us) for k in links if k)
            covered = any(looks[0] == s[0][: len(path)] and looks[1] == s[1][: len(path) - 1] for s in seen)
            if not covered:
                seen.add(looks)
                found.append(path)
        return tuple(found)

    def _paths(self, path: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        """Every simple path that begins with ``path``."""
        if path:
            yield path
        for b in range(len(self.boards)):
            if b not in path and (not path or self.link(path[-1], b)):
                yield from self._paths((*path, b))

    def at(self, clock_mhz: float) -> Platform:
        """The same platform with every board at one clock."""
        return replace(self, boards=tuple(replace(b, clock_mhz=clock_mhz) for b in self.boards))


def names() -> list[str]:
    """Platforms that come with the package."""
    folder = resources.files("flow.boards") / "platforms"
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".toml"))


def every() -> Iterator[Platform]:
    return (load(n) for n in names())


def load(name: str) -> Platform:
    """A platform by name or by the path of a TOML file. Raises BoardError with the nearest names or the key."""
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise BoardError(f"platform file {name} does not exist")
        return parse(path.read_text(encoding="utf-8", errors="replace"), name, path.parent)
    known = names()
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, 3, 0.4) or known
        raise BoardError(
            f"unknown platform {name!r}; nearest: {', '.join(near)} (or give the path of a platform .toml file)"
        )
    text = (resources.files("flow.boards") / "platforms" / f"{name}.toml").read_text(encoding="utf-8")
    return parse(text, f"{name}.toml", None)


KEYS: dict[str, tuple[str, ...]] = {
    "": ("name", "boards", "link", "links", "reconfiguration", "sources"),
    "link": ("bandwidth_gb_s", "latency_us"),
    "links": ("from", "to", "bandwidth_gb_s", "latency_us"),
    "reconfiguration": ("ms",),
}


def parse(text: str, where: str, folder: Path | None) -> Platform:
    """A platform from TOML text; board paths are relative to ``folder``. Raises BoardError naming the key."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise BoardError(f"{where}: not valid TOML: {e}") from None
    _known(data, "", where)
    name, listed = data.get("name"), data.get("boards")
    if not isinstance(name, str) or not name or not set(name) <= set(boards.NAME_CHARACTERS):
        raise BoardError(f"{where}: key name must be letters, digits and -_.: , not {name!r}")
    if not isinstance(listed, list) or not listed or not all(isinstance(b, str) for b in listed):
        raise BoardError(f"{where}: key boards must list the names or files of one board or more")
    if len(listed) > MOST_BOARDS:
        raise BoardError(f"{where}: key boards lists {len(listed)} boards; {MOST_BOARDS} are supported")
    found = tuple(boards.load(_place(b, folder)) for b in listed)
    again = _table(data, "reconfiguration", where)
    return Platform(name, found, _links(data, len(found), where), _number(again, "reconfiguration", "ms", where, 0.0))


def _place(name: str, folder: Path | None) -> str:
    """A board's name as it is, a file relative to the platform's."""
    return str(folder / name) if folder is not None and name.endswith(".toml") else name


def _known(table: dict[str, Any], path: str, where: str) -> None:
    for key in table:
        if key not in KEYS[path]:
            full = f"{path}.{key}" if path else key
            raise BoardError(f"{where}: unknown key {full}; known: {', '.join(KEYS[path])}")


def _table(data: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    table = data.get(key, {})
    if not isinstance(table, dict):
        raise BoardError(f"{where}: key {key} must be a table")
    _known(table, key, where)
    return table


def _number(table: dict[str, Any], path: str, key: str, where: str, default: float | None = None) -> float:
    value = table.get(key, default)
    if value is None:
        raise BoardError(f"{where}: key {path}.{key} is missing")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise BoardError(f"{where}: key {path}.{key} must be a number, zero or more, not {value!r}")
    return float(value)


def _links(data: dict[str, Any], count: int, where: str) -> tuple[Link, ...]:
    """``[link]``: the same between neighbours of the list, onwards; ``[[links]]``: each by itself."""
    if "link" in data and "links" in data:
        raise BoardError(f"{where}: give [link] (a chain) or [[links]] (each by itself), not both")
    if "links" not in data:
        if "link" not in data and count > 1:
            raise BoardError(f"{where}: key link is missing: {count} boards need links between them")
        rows = [{"from": i, "to": i + 1, **_table(data, "link", where)} for i in range(count - 1)]
    else:
        rows = data["links"]
        if not isinstance(rows, list) or not all(isinstance(r, dict) for r in rows):
            raise BoardError(f"{where}: key links must be a list of tables [[links]]")
    found: list[Link] = []
    for row in rows:
        _known(row, "links", where)
        ends = row.get("from"), row.get("to")
        if any(isinstance(e, bool) or not isinstance(e, int) or not 0 <= e < count for e in ends) or ends[0] == ends[1]:
            raise BoardError(f"{where}: links.from and links.to must be two different boards, 0 to {count - 1}: {ends}")
        link = Link(int(ends[0]), int(ends[1]), *(_number(row, "links", k, where) for k in KEYS["link"]))  # type: ignore[arg-type]
        if not link.bandwidth_gb_s:
            raise BoardError(f"{where}: key links.bandwidth_gb_s must be above zero")
        if any((k.source, k.sink) == (link.source, link.sink) for k in found):
            raise BoardError(f"{where}: two links go from board {link.source} to board {link.sink}; give their sum")
        found.append(link)
    return tuple(found)
