"""Files written whole: atomically, with plain errors; JSON and TOML as bytes."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import secrets
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any


class ArchiveError(ValueError):
    """A run folder that cannot be written, read or used; one line that names the path."""


@contextlib.contextmanager
def plain_errors(doing: str, path: Path) -> Iterator[None]:
    """Every OSError inside becomes an ArchiveError: cannot ``doing`` ``path``: reason."""
    try:
        yield
    except OSError as e:
        raise ArchiveError(f"cannot {doing} {path}: {e.strerror or e}") from None


def write_atomic(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``; a crash at any moment leaves all of the old or all of the new.

    Raises ArchiveError naming the path; nothing is left behind then.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with plain_errors("write", path):
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with os.fdopen(handle, "wb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a created or renamed entry survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def json_bytes(value: Any, where: str, indent: int | None = 2) -> bytes:
    """JSON in UTF-8; numpy's numbers as numbers. Raises ArchiveError for NaN, infinity and what JSON cannot hold."""
    separators = (",", ":") if indent is None else None
    try:
        text = json.dumps(value, allow_nan=False, indent=indent, separators=separators, default=_plain)
        return text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as e:
        raise ArchiveError(f"{where}: {e} (write null for a number that is not finite)") from None


def _plain(value: Any) -> Any:
    item = getattr(value, "item", None)
    if item is None or getattr(value, "ndim", True):
        raise TypeError(f"{type(value).__name__} is not JSON")
    return item()


def toml_text(config: Mapping[str, Any]) -> str:
    """TOML text of scalars, lists and nested tables. Keys whose value is None are left out: TOML has no null.

    ``tomllib.loads(toml_text(c)) == c`` but for those. Raises ArchiveError naming the key of any other value, NaN
    included.
    """
    return "".join(_toml_table(config, ()))


def _toml_table(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    if path:
        yield f"\n[{'.'.join(map(_toml_key, path))}]\n"
    for key, value in table.items():
        if value is not None and not isinstance(value, Mapping):
            yield f"{_toml_key(key)} = {_toml_value(value, (*path, key))}\n"
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _toml_table(value, (*path, key))


def _toml_key(key: object) -> str:
    if not isinstance(key, str):
        raise ArchiveError(f"configuration key {key!r} is not text")
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _quoted(key)


def _quoted(text: str) -> str:
    escaped = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise ArchiveError(f"configuration text {text!r} is not valid Unicode")
    return escaped


def _toml_value(value: object, path: tuple[str, ...]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float) and not math.isnan(value):
        return repr(float(value))
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(v, path) for v in value) + "]"
    if isinstance(value, Mapping):  # inside a list
        pairs = (f"{_toml_key(k)} = {_toml_value(v, (*path, k))}" for k, v in value.items() if v is not None)
        return "{" + ", ".join(pairs) + "}"
    raise ArchiveError(f"configuration key {'.'.join(map(str, path))}: {value!r} cannot be kept in TOML")


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            result |= _flat(value, f"{prefix}{key}.")
        else:
            result[prefix + key] = value
    return result


def differences(old: Mapping[str, Any], new: Mapping[str, Any], may_change: Collection[str] = ()) -> list[str]:
    """What differs, as ``key: old -> new``; nested keys are dotted; ``may_change`` names keys that do not count."""
    a, b = _flat(old), _flat(new)
    absent = "(absent)"
    return [
        f"{key}: {a.get(key, absent)!r} -> {b.get(key, absent)!r}".replace(repr(absent), absent)
        for key in sorted(a.keys() | b.keys())
        if key not in may_change
        and (key not in a or key not in b or a[key] != b[key] or type(a[key]) is not type(b[key]))
    ]
