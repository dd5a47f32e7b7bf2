"""Run a tool's commands: no shell, a time limit, a bounded log, and no process left when it is over.

Every command gets a session of its own, so its process group can be ended whole. Helpers that a tool starts in sessions
of their own are found by a mark in their environment, where the system shows it (``/proc``).
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LOG_BYTES = 64 << 20
TAIL_BYTES = 64 << 10
GRACE_S = 2.0  # between SIGTERM and SIGKILL
_MARK = "COEXPLORE_RUN"
_POLL_S = 0.1


class ToolError(ValueError):
    """A vendor tool that is missing, failed, hung, or left no usable report; one line, quoting the tool's message."""


@dataclass(frozen=True)
class RunResult:
    """``rc`` of the last command that ran (negative: the signal that ended it), and the end of its output."""

    rc: int
    timed_out: bool
    seconds: float
    log_tail: str


class _Log:
    """Output to a file up to a limit; the end of it is kept in memory."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self.file, self.room, self.tail = file, limit, b""

    def write(self, data: bytes) -> None:
        self.tail = (self.tail + data)[-TAIL_BYTES:]
        if self.room > 0:
            self.file.write(data[: self.room])
            self.room -= len(data)
            if self.room <= 0:
                self.file.write(b"\n[log cut here: its size limit is reached]\n")
        self.file.flush()


def run(
    commands: Sequence[Sequence[str]],
    cwd: Path,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    *,
    log_path: Path,
    log_bytes: int = LOG_BYTES,
    grace_s: float | None = None,
) -> RunResult:
    """Run ``commands`` one after the other in ``cwd``, up to the first that fails; ``timeout_s`` is for all together.

    ``env`` is added to the environment. Output goes to ``log_path`` (at most ``log_bytes``). Raises ToolError for a
    program that cannot be started; OSError for a log that cannot be written.
    """
    start = time.monotonic()
    rc, timed_out = 0, False
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("wb") as file:
        log = _Log(file, log_bytes)
        for argv in commands:
            left = timeout_s - (time.monotonic() - start)
            rc, timed_out = _one(argv, cwd, left, env or {}, log, GRACE_S if grace_s is None else grace_s)
            if rc != 0 or timed_out:
                break
    return RunResult(rc, timed_out, time.monotonic() - start, log.tail.decode("utf-8", errors="replace"))


def _one(
    argv: Sequence[str], cwd: Path, timeout_s: float, env: Mapping[str, str], log: _Log, grace_s: float
) -> tuple[int, bool]:
    mark = uuid.uuid4().hex
    try:
        process = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env={**os.environ, **env, _MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as bad:
        raise ToolError(f"cannot start {argv[0]}: {bad.strerror or bad}") from None
    assert process.stdout is not None  # PIPE
    try:
        timed_out = not _follow(process, process.stdout, time.monotonic() + timeout_s, log)
    finally:
        # Also after an orderly end, and on Ctrl-C: what the tool left behind ends with it.
        _end(process, mark, grace_s)
        process.stdout.close()
    return process.wait(), timed_out


def _follow(process: subprocess.Popen[bytes], output: IO[bytes], deadline: float, log: _Log) -> bool:
    """Copy output until the process has ended; False when the deadline came first.

    The end of the process counts, not of its output: a helper left behind may hold the pipe open for ever.
    """
    descriptor = output.fileno()
    os.set_blocking(descriptor, False)
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        is_open = True
        while time.monotonic() < deadline:
            ended = _ended(process)
            if is_open:
                selector.select(0 if ended else min(_POLL_S, max(0.0, deadline - time.monotonic())))
                is_open = _drain(descriptor, log)
            elif not ended:
                time.sleep(_POLL_S / 4)
            if ended:
                return True
    return False


def _drain(descriptor: int, log: _Log) -> bool:
    """Copy what is there now; False once the pipe is closed."""
    for _ in range(64):  # bounded, so that a flood of output cannot outlast the time limit
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return True
        if not data:
            return False
        log.write(data)
    return True


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process has ended, without collecting it: its number must stay taken until its group is gone."""
    if process.returncode is not None:
        return True
    if not hasattr(os, "waitid"):  # macOS
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(process: subprocess.Popen[bytes], mark: str, grace_s: float) -> None:
    """SIGTERM to the group and to marked strays, then, after the grace, SIGKILL until none is left."""
    strays = list(_marked(mark, process.pid))
    if not _ended(process) or strays or _group_alive(process.pid):
        _signal(process.pid, strays, signal.SIGTERM)
        until = time.monotonic() + grace_s
        while time.monotonic() < until and not (_ended(process) and not _group_alive(process.pid)):
            time.sleep(0.02)
    for _ in range(10):  # a stray may start another one between the look and the signal
        strays = list(_marked(mark, process.pid))
        _signal(process.pid, strays, signal.SIGKILL)
        if not strays and _ended(process):
            return
        time.sleep(0.02)


def _signal(group: int, strays: list[int], which: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, which)
    for pid in strays:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, which)


def _group_alive(group: int) -> bool:
    """Whether the group has a member besides its leader, which stays as a zombie until it is collected."""
    for pid, fields in _processes():
        if fields[2] == str(group) and pid != group and fields[0] not in ("Z", "X"):
            return True
    return False


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Numbers and ``/proc/PID/stat`` fields from the state on; nothing where there is no ``/proc``."""
    with suppress(OSError):
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                with suppress(OSError):
                    stat = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace")
                    yield int(entry.name), stat.rpartition(")")[2].split()


def _marked(mark: str, leader: int) -> Iterator[int]:
    """Processes that carry the mark of this run in their environment, other than the leader."""
    wanted = f"{_MARK}={mark}".encode()
    for pid, fields in _processes():
        if pid != leader and fields[0] not in ("Z", "X"):
            with suppress(OSError):
                if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    yield pid
