"""What a board offers: resources, memory bandwidth, part and clock, each number with its source (``boards/*.toml``)."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAME_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:"
KINDS = ("lut", "ff", "dsp", "bram18", "uram")


class Resources(NamedTuple):
    """Amounts of programmable logic. BRAM in 18 Kb units, URAM in 288 Kb blocks.

    A named tuple because mappers add millions of them; ``+`` adds element by element.
    """

    lut: int = 0
    ff: int = 0
    dsp: int = 0
    bram18: int = 0
    uram: int = 0

    def __add__(self, other: Resources) -> Resources:  # type: ignore[override]
        return Resources(
            self[0] + other[0], self[1] + other[1], self[2] + other[2], self[3] + other[3], self[4] + other[4]
        )

    def times(self, n: int) -> Resources:
        """``n`` copies."""
        return Resources(self[0] * n, self[1] * n, self[2] * n, self[3] * n, self[4] * n)

    @property
    def tuple(self) -> tuple[int, int, int, int, int]:
        return self[0], self[1], self[2], self[3], self[4]

    def json(self) -> dict[str, int]:
        return self._asdict()


@dataclass(frozen=True)
class Board:
    """A board's data; no behaviour of any vendor's tool."""

    name: str
    part: str
    family: str  # zynquplus | virtexuplus | zynq | artix7: what the component laws distinguish
    available: Resources
    memory_gb_s: float
    clock_mhz: float
    processor: str  # zynq_ultra_ps_e | processing_system7 | microblaze | xrt: what feeds the accelerator
    board_part: str = ""
    static_w: float = 0.0

    def json(self) -> dict[str, Any]:
        """Plain values that ``from_json`` takes back: designs carry their board, which may be a file of the user's."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"available": self.available.json()}

    @property
    def ultrascale(self) -> bool:
        return self.family in ("zynquplus", "virtexuplus", "kintexuplus")


def from_json(view: dict[str, Any]) -> Board:
    """The board that ``Board.json`` wrote down."""
    return Board(**{**view, "available": Resources(**view["available"])})


class BoardError(ValueError):
    """A board that does not exist or a board file that cannot be used."""


def names() -> list[str]:
    """Boards that come with the package."""
    folder = resources.files("flow.boards")
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".toml"))


def every() -> Iterator[Board]:
    return (load(n) for n in names())


@cache
def load(name: str) -> Board:
    """A board by name or by the path of a TOML file.

    Raises BoardError with the nearest names, or with the offending key.
    """
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise BoardError(f"board file {name} does not exist")
        return parse(path.read_text(encoding="utf-8", errors="replace"), name)
    known = names()
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, 3, 0.4) or known
        raise BoardError(f"unknown board {name!r}; nearest: {', '.join(near)} (or give the path of a board .toml file)")
    return parse((resources.files("flow.boards") / f"{name}.toml").read_text(encoding="utf-8"), f"{name}.toml")


_LAYOUT: dict[str, dict[str, type]] = {
    "": {"name": str, "part": str, "family": str},
    "resources": dict.fromkeys(KINDS, int),
    "memory": {"bandwidth_gb_s": float},
    "clock": {"default_mhz": float},
    "system": {"processor": str},
}
_OPTIONAL: dict[str, dict[str, type]] = {"system": {"board_part": str}, "power": {"static_w": float}}
_FAMILIES = ("zynquplus", "virtexuplus", "kintexuplus", "zynq", "artix7", "kintex7", "virtex7")


def parse(text: str, where: str) -> Board:
    """A board from TOML text. Raises BoardError naming ``where`` and the key."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise BoardError(f"{where}: not valid TOML: {e}") from None

    def get(table: str, key: str, kind: type, required: bool = True) -> Any:
        place = data if not table else data.get(table, {})
        path = f"{table}.{key}" if table else key
        if not isinstance(place, dict) or key not in place:
            if required:
                raise BoardError(f"{where}: key {path} is missing")
            return kind()
        value = place[key]
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or isinstance(value, bool):
            wanted = "a number" if kind in (int, float) else "text"
            raise BoardError(f"{where}: key {path} must be {wanted}, not {value!r}")
        if isinstance(value, int | float) and not 0 <= value < 1e9:
            raise BoardError(f"{where}: key {path} is {value}, out of range")
        return value

    for table, content in data.items():
        if table == "sources":
            continue
        allowed = {**_LAYOUT.get(table, {}), **_OPTIONAL.get(table, {})}
        if isinstance(content, dict):
            if not allowed:
                raise BoardError(f"{where}: unknown table [{table}]")
            for key in content:
                if key not in allowed:
                    raise BoardError(f"{where}: unknown key {table}.{key}; known: {', '.join(allowed)}")
        elif table not in _LAYOUT[""]:
            raise BoardError(f"{where}: unknown key {table}; known: {', '.join(_LAYOUT[''])}")
    if get("", "family", str) not in _FAMILIES:
        raise BoardError(f"{where}: family {data['family']!r} is not one of {', '.join(_FAMILIES)}")
    board = Board(
        name=get("", "name", str),
        part=get("", "part", str),
        family=get("", "family", str),
        available=Resources(*(get("resources", k, int) for k in KINDS)),
        memory_gb_s=get("memory", "bandwidth_gb_s", float),
        clock_mhz=get("clock", "default_mhz", float),
        processor=get("system", "processor", str),
        board_part=get("system", "board_part", str, required=False),
        static_w=get("power", "static_w", float, required=False),
    )
    for text_value, key in ((board.name, "name"), (board.part, "part"), (board.board_part, "system.board_part")):
        if not set(text_value) <= set(NAME_CHARACTERS):
            raise BoardError(f"{where}: key {key} has characters that no part or board name has: {text_value!r}")
    if not board.clock_mhz or not board.available.lut:
        raise BoardError(f"{where}: clock.default_mhz and resources.lut must be above zero")
    return board
