"""The run folder: an append-only, checksummed, locked journal, and the files beside it.

    config.toml       what was asked for; changed between run and resume it is refused
    environment.json  versions and machine
    journal.jsonl     one record a line: {"v":1,"n":<line>,"sha256":"<16 hex digits>","record":{"kind":"trial",...}}
    run.lock          flock'ed by the process at work, holds its pid
    front.json        written at the end, see write_front

A line's checksum covers version, line number and record. A last line without its newline is what a killed process
leaves: it is dropped. Every other damage is an error that names the line. Each append is on disk (fsync) when it
returns.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import sys
import threading
import weakref
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from flow.files import ArchiveError, differences, json_bytes, plain_errors, toml_text, write_atomic
from flow.front import FRONT, write_front

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Archive", "ArchiveError", "differences", "read", "runs", "write_atomic", "write_front"]

VERSION = 1
CONFIG, ENVIRONMENT, JOURNAL, LOCK = "config.toml", "environment.json", "journal.jsonl", "run.lock"
_HEADER = re.compile(rb'\{"v":(\d{1,9}),"n":(\d{1,9}),"sha256":"([0-9a-f]{16})","record":')

Record = dict[str, Any]


def _line(number: int, record: Mapping[str, Any], where: Path) -> bytes:
    payload = json_bytes(record, f"{where}: record {number} ({record.get('kind')})", indent=None)
    return b'{"v":%d,"n":%d,"sha256":"%s","record":%s}\n' % (
        VERSION,
        number,
        _digest(VERSION, number, payload),
        payload,
    )


def _digest(version: int, number: int, payload: bytes) -> bytes:
    return hashlib.sha256(b"%d %d " % (version, number) + payload).hexdigest()[:16].encode()


def _record(number: int, line: bytes, where: Path) -> Record:
    """The record of a journal line, without its newline. Raises ArchiveError naming the line."""
    header = _HEADER.match(line)
    payload = line[header.end() : -1] if header else b""
    if header is None or not line.endswith(b"}") or _digest(int(header[1]), int(header[2]), payload) != header[3]:
        raise ArchiveError(
            f"{where} line {number} is damaged (checksum mismatch); restore the file from a copy, "
            f"or cut it before line {number} and resume from there"
        )
    if int(header[1]) != VERSION:
        raise ArchiveError(
            f"{where} line {number} has schema version {int(header[1])}; this program reads version {VERSION}"
        )
    if int(header[2]) != number:
        raise ArchiveError(
            f"{where} line {number} is record {int(header[2])}: lines were lost, added or moved before it"
        )
    record: Record = json.loads(payload)
    return record


def _parse(data: bytes, where: Path) -> tuple[list[Record], int]:
    """Records and the length of the whole lines; what follows is the torn last line."""
    end = data.rfind(b"\n") + 1
    lines = data[:end].split(b"\n")[:-1]
    return [_record(n, line, where) for n, line in enumerate(lines, 1)], end


def read(run_dir: Path) -> list[Record]:
    """Every record of a run, the first of kind ``run``, without locking: also of one at work. Raises ArchiveError."""
    path = _journal_of(Path(run_dir))
    with plain_errors("read", path):
        data = path.read_bytes()
    records = _parse(data, path)[0]
    if not records or records[0].get("kind") != "run":
        raise ArchiveError(f"{path} holds no complete record; delete the folder and start the run again")
    return records


def _journal_of(run_dir: Path) -> Path:
    if not run_dir.is_dir():
        raise ArchiveError(f"run folder {run_dir} does not exist")
    if not (run_dir / JOURNAL).is_file():
        raise ArchiveError(f"{run_dir} is not a run folder: it has no {JOURNAL}")
    return run_dir / JOURNAL


_OPEN: weakref.WeakSet[Archive] = weakref.WeakSet()


def _let_go() -> None:
    """In a forked worker: close the parent's handles, lest a worker that outlives a killed run keep the run locked."""
    for archive in list(_OPEN):
        archive._forked()


os.register_at_fork(after_in_child=_let_go)


def _locked(run_dir: Path) -> int:
    """The handle of the run's lock, which ends with the process, however it ends.

    Raises ArchiveError naming the holder.
    """
    path = run_dir / LOCK
    with plain_errors("lock", path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(handle, 0)
            os.pwrite(handle, b"%d\n" % os.getpid(), 0)
        except BlockingIOError:
            holder = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
            os.close(handle)
            raise ArchiveError(
                f"{run_dir} is in use by process {holder or '(starting)'}; wait for it or stop it"
            ) from None
        except OSError:
            os.close(handle)
            raise
    return handle


class Archive:
    """A run folder locked by this process.

    Use :meth:`create` or :meth:`open`, and close it, or use it in a ``with``.
    """

    def __init__(self, run_dir: Path, lock: int, journal: int, records: list[Record], size: int) -> None:
        """Not for callers."""
        self.run_dir = run_dir
        self.records = records
        self._lock, self._journal = lock, journal
        self._end = len(records), size  # of the journal; assigned at once, so an interrupt leaves no half-truth
        self._turn = threading.Lock()
        _OPEN.add(self)

    @classmethod
    def create(cls, run_dir: Path, config: Mapping[str, Any], environment: Mapping[str, Any]) -> Archive:
        """A new run. ``run_dir`` must be absent or empty. Raises ArchiveError and leaves nothing behind."""
        run_dir = Path(run_dir)
        settings = tomllib.loads(toml_text(config))  # what a later open will read
        first = {"kind": "run", "config": settings, "environment": dict(environment)}
        line = _line(1, first, run_dir / JOURNAL)
        made = not run_dir.exists()
        with plain_errors("create", run_dir):
            run_dir.mkdir(parents=True, exist_ok=True)
            _require_free(run_dir)
        lock = -1
        try:
            lock = _locked(run_dir)
            _require_free(run_dir)  # again: another process may have been quicker
            write_atomic(run_dir / CONFIG, toml_text(config).encode())
            write_atomic(run_dir / ENVIRONMENT, json_bytes(dict(environment), str(run_dir / ENVIRONMENT)) + b"\n")
            write_atomic(run_dir / JOURNAL, line)
            return cls._from(run_dir, lock)
        except ArchiveError:
            if lock >= 0 and not (run_dir / JOURNAL).exists():
                for name in (CONFIG, ENVIRONMENT, LOCK):
                    with contextlib.suppress(OSError):
                        (run_dir / name).unlink()
            if lock >= 0:
                os.close(lock)
            if made:
                with contextlib.suppress(OSError):  # not empty: another process's
                    run_dir.rmdir()
            raise

    @classmethod
    def open(cls, run_dir: Path, config: Mapping[str, Any] | None = None, may_change: Collection[str] = ()) -> Archive:
        """An existing run, to go on with. A torn last line is cut off.

        The configuration of the run's start is compared with config.toml and with ``config`` where given;
        ``may_change``: dotted keys that may differ (a larger budget), whose new values are written to config.toml and
        journalled. Raises ArchiveError: no run there, in use (with the pid), damaged (with the line), configuration
        changed (with what differs).
        """
        run_dir = Path(run_dir)
        _journal_of(run_dir)
        lock = _locked(run_dir)
        try:
            archive = cls._from(run_dir, lock)
        except ArchiveError:
            os.close(lock)
            raise
        try:
            archive._agree(config, may_change)
        except ArchiveError:
            archive.close()
            raise
        return archive

    @classmethod
    def _from(cls, run_dir: Path, lock: int) -> Archive:
        path = run_dir / JOURNAL
        with plain_errors("open", path):
            journal = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
            try:
                data = path.read_bytes()
                records, size = _parse(data, path)
                if not records or records[0].get("kind") != "run":
                    raise ArchiveError(f"{path} holds no complete record; delete the folder and start the run again")
                if size < len(data):
                    os.ftruncate(journal, size)
                    os.fsync(journal)
            except (OSError, ArchiveError):
                os.close(journal)
                raise
        return cls(run_dir, lock, journal, records, size)

    def _agree(self, config: Mapping[str, Any] | None, may_change: Collection[str]) -> None:
        path = self.run_dir / CONFIG
        with plain_errors("read", path):
            text = path.read_bytes()
        try:
            written = tomllib.loads(text.decode("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise ArchiveError(f"{path}: not valid TOML: {e}") from None
        wanted = written if config is None else tomllib.loads(toml_text(config))
        for where, new in ((f"in {path}", written), ("now", wanted)):
            changed = differences(self.config, new, may_change)
            if changed:
                raise ArchiveError(
                    f"{self.run_dir}: configuration changed {where}: {'; '.join(changed)}; undo this or start a new run"
                )
        if differences(written, wanted):
            write_atomic(path, toml_text(wanted).encode())
        if differences(self.config, wanted):
            self.append({"kind": "config", "config": wanted})

    @property
    def config(self) -> dict[str, Any]:
        """The configuration in force, as TOML gives it back: no None, tuples as lists."""
        config: dict[str, Any] = next(r["config"] for r in reversed(self.records) if r["kind"] in ("run", "config"))
        return config

    @property
    def environment(self) -> dict[str, Any]:
        """Of the run's start."""
        environment: dict[str, Any] = self.records[0]["environment"]
        return environment

    def of(self, kind: str) -> list[Record]:
        """The records of one kind, in order."""
        return [r for r in self.records if r["kind"] == kind]

    def append(self, *records: Mapping[str, Any]) -> None:
        """Add records, ``{"kind": "trial" | "train" | "tool" | "note" | ..., ...}``; they are on disk when this
        returns, several with one wait for the disk.

        Raises ArchiveError: not JSON, or not written (disk full, ...); the journal is then as before, and can be
        resumed.
        """
        for record in records:
            if not isinstance(record.get("kind"), str) or record["kind"] == "run":
                raise ArchiveError(f'record {str(dict(record))[:80]} needs a text "kind" other than "run"')
        path = self.run_dir / JOURNAL
        if self._journal < 0:
            raise ArchiveError(f"{path} is closed")
        with self._turn, plain_errors("write", path):
            count, size = self._end
            lines = [_line(n, record, path) for n, record in enumerate(records, count + 1)]
            whole = b"".join(lines)
            try:
                rest = memoryview(whole)
                while rest:
                    rest = rest[os.write(self._journal, rest) :]
                os.fsync(self._journal)
                self._end = count + len(lines), size + len(whole)
            except BaseException:  # Ctrl-C as well: the number must not be given twice
                with contextlib.suppress(OSError):  # what stays is a torn last line, which the next open drops
                    os.ftruncate(self._journal, self._end[1])
                raise
            self.records += [_record(n, line[:-1], path) for n, line in enumerate(lines, count + 1)]

    def close(self) -> None:
        """Release the lock; harmless twice."""
        journal, lock, self._journal, self._lock = self._journal, self._lock, -1, -1
        if journal >= 0:
            os.close(journal)
        if lock >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(lock, 0)
            os.close(lock)

    def _forked(self) -> None:
        for handle in (self._journal, self._lock):
            if handle >= 0:
                os.close(handle)
        self._journal = self._lock = -1

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _require_free(run_dir: Path) -> None:
    """Only what a run killed while being created leaves may be there."""
    with plain_errors("read", run_dir):
        names = sorted(p.name for p in run_dir.iterdir())
    if JOURNAL in names:
        raise ArchiveError(f"{run_dir} already holds a run; resume it, or name another folder")
    temporary = tuple(f".{name}." for name in (CONFIG, ENVIRONMENT, JOURNAL))
    others = [n for n in names if n not in (CONFIG, ENVIRONMENT, LOCK) and not n.startswith(temporary)]
    if others:
        raise ArchiveError(f"{run_dir} is not empty ({others[0]}); name a new folder for the run")


def runs(root: Path) -> list[dict[str, Any]]:
    """A summary of every run folder directly under ``root``, by name; a damaged one has the reason in ``error``.

    Keys: ``run`` (path), ``state`` (running | finished | stopped | damaged), ``trials`` (distinct numbers),
    ``trained``, ``config``, ``front`` (points) and ``hypervolume`` (None before the end), ``error``.
    """
    root = Path(root)
    if not root.is_dir():
        return []
    with plain_errors("read", root):
        folders = sorted(p for p in root.iterdir() if (p / JOURNAL).is_file())
    return [_summary(p) for p in folders]


def _summary(run_dir: Path) -> dict[str, Any]:
    summary: dict[str, Any] = {"run": str(run_dir), "state": "damaged", "trials": 0, "trained": 0, "config": {}}
    summary |= {"front": None, "hypervolume": None, "error": None}
    try:
        records = read(run_dir)
    except ArchiveError as e:
        return summary | {"error": str(e)}
    for kind, key in (("trial", "trials"), ("train", "trained")):
        summary[key] = len({r.get("trial", r.get("number", i)) for i, r in enumerate(records) if r["kind"] == kind})
    summary["config"] = next(r["config"] for r in reversed(records) if r["kind"] in ("run", "config"))
    try:
        front = json.loads((run_dir / FRONT).read_bytes())
        summary |= {"front": len(front["points"]), "hypervolume": front["hypervolume"], "state": "finished"}
    except FileNotFoundError:
        summary["state"] = "stopped"
    except (OSError, ValueError, KeyError, TypeError) as e:
        summary |= {"state": "stopped", "error": f"{run_dir / FRONT} cannot be read: {e}"}
    if _at_work(run_dir):
        summary["state"] = "running"
    return summary


def _at_work(run_dir: Path) -> bool:
    """By the pid in the lock file, without taking the lock: a run starting at this moment must not find it taken."""
    try:
        pid = int((run_dir / LOCK).read_text())
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, ValueError, OverflowError):
        return False
    return pid > 0
