"""Supervised worker processes: one task each at a time; a dead, hung or failing worker harms no other task.

Unlike a process pool, a killed worker fails only the task it held, which is tried again in a fresh process.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, Protocol

ATTEMPTS = 2
GRACE_S = 5.0  # for a task to clean up when it is ended


@dataclass(frozen=True)
class Task:
    """``function`` must be importable by name; ``arguments`` and its result travel between processes. ``trains``: it
    uses a GPU where there is one."""

    key: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    timeout_s: float = 3600.0
    trains: bool = False


@dataclass(frozen=True)
class Done:
    """A finished task."""

    key: str
    value: Any
    seconds: float


@dataclass(frozen=True)
class Failed:
    """A task given up, and why."""

    key: str
    reason: str
    seconds: float


class Workers(Protocol):
    """What runs tasks: ``Pool`` here, ``flow.ray_workers.RayPool`` on a cluster."""

    def run(self, tasks: list[Task]) -> Iterator[Done | Failed]:
        """Results in order of completion; a task whose worker dies or hangs is tried again."""


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    pipe: Connection
    task: Task | None = None
    started: float = 0.0
    attempt: int = 0


OBJECTS = 50_000  # made between two looks for cycles: what mapping remembers are many small values that stay


def _serve(pipe: Connection) -> None:
    gc.set_threshold(OBJECTS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    # As an exception, so that a task that drives a vendor's tool gets to end the tool's processes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            function, arguments = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            pipe.send_bytes(answer(function, arguments))
        except OSError:
            return  # nobody is left to hear it


def answer(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    """Pickled ``(True, result)``, or ``(False, reason)`` of what the function raised or gave that cannot travel."""
    try:
        return bytes(ForkingPickler.dumps((True, function(*arguments))))
    except Exception as e:  # noqa: BLE001 - whatever a task raises is its result
        where = traceback.extract_tb(e.__traceback__)[-1]
        reason = f"{type(e).__name__}: {e} ({os.path.basename(where.filename)}:{where.lineno})"
        return bytes(ForkingPickler.dumps((False, reason)))


def _end_with_parent() -> None:
    """A worker that outlives a killed run would go on writing into the folder that the resumed run works in."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


class Pool:
    """``count`` processes, started when first needed. Use as a context manager."""

    def __init__(self, count: int) -> None:
        self.count = max(1, count)
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all workers at once."""
        for w in self._workers:
            if w.task is not None:
                w.process.terminate()
        for w in self._workers:
            self._end(w, at_once=w.task is not None)
        self._workers = []

    def run(self, tasks: list[Task]) -> Iterator[Done | Failed]:
        """Results in order of completion."""
        waiting = [(t, 1) for t in tasks]
        busy: list[_Worker] = []
        while waiting or busy:
            while waiting and len(busy) < self.count:
                task, attempt = waiting.pop(0)
                busy.append(self._start(task, attempt))
            ready = wait([w.pipe for w in busy], timeout=0.5)
            for w in list(busy):
                outcome = self._collect(w, w.pipe in ready)
                if outcome is None:
                    continue
                busy.remove(w)
                assert w.task is not None
                task, w.task = w.task, None
                if isinstance(outcome, str):
                    self._end(w)
                    self._workers.remove(w)
                    if w.attempt < ATTEMPTS:
                        waiting.append((task, w.attempt + 1))
                        continue
                    outcome = Failed(task.key, f"{outcome}, {ATTEMPTS} times", time.monotonic() - w.started)
                yield outcome

    def _start(self, task: Task, attempt: int) -> _Worker:
        for w in [w for w in self._workers if w.task is None]:
            try:
                w.pipe.send((task.function, task.arguments))
            except OSError:  # it died while idle
                self._end(w)
                self._workers.remove(w)
                continue
            w.task, w.started, w.attempt = task, time.monotonic(), attempt
            return w
        return self._fresh(task, attempt)

    def _fresh(self, task: Task, attempt: int) -> _Worker:
        here, there = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(there,), daemon=True)
        process.start()
        there.close()
        w = _Worker(process, here, task, time.monotonic(), attempt)
        self._workers.append(w)
        with suppress(OSError):  # it died at once: the pipe says so when the result is collected
            here.send((task.function, task.arguments))
        return w

    def _collect(self, w: _Worker, ready: bool) -> Done | Failed | str | None:
        """A result, a reason to try again, or None while the task runs."""
        assert w.task is not None
        seconds = time.monotonic() - w.started
        if ready:
            try:
                good, value = w.pipe.recv()
            except (EOFError, OSError):
                w.process.join(1)
                return f"the worker died (exit code {w.process.exitcode})"
            return Done(w.task.key, value, seconds) if good else Failed(w.task.key, value, seconds)
        if seconds > w.task.timeout_s:
            return f"no result within {w.task.timeout_s:g} s"
        return None

    def _end(self, w: _Worker, at_once: bool = True) -> None:
        w.pipe.close()  # what an idle worker takes as its end
        if at_once:
            w.process.terminate()
        w.process.join(GRACE_S)
        if w.process.is_alive():
            w.process.kill()
        w.process.join(GRACE_S)
