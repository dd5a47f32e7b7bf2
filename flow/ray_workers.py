"""The worker pool on an existing Ray cluster: the same tasks, results and retries as ``flow.workers.Pool``.

Every node needs this package installed, and sees the run folder under the same path (a shared file system):
checkpoints and compiled projects are written there. A killed worker or node fails only the tasks it held, which are
tried again; the journal stays with the process that searches.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any

from flow.workers import ATTEMPTS, Done, Failed, Task, answer

GPU_SHARE = 0.25  # of one GPU a training task: small networks do not fill one
POLL_S = 0.5


class EngineError(ValueError):
    """No Ray, or no cluster; one line."""


@dataclass
class _Running:
    task: Task
    attempt: int
    started: float


class RayPool:
    """As many tasks at once as the cluster has CPUs (``count`` of them at most, 0 for all). A context manager."""

    def __init__(self, count: int = 0, address: str = "auto") -> None:
        """``address``: of the cluster's head; ``auto`` is $RAY_ADDRESS or the cluster this machine belongs to.

        Raises EngineError.
        """
        try:
            ray: Any = importlib.import_module("ray")
        except ImportError:
            raise EngineError("--engine ray needs ray: pip install 'coexplore[ray]'") from None
        self._ray = ray
        self._joined = not ray.is_initialized()
        try:
            if self._joined:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as e:
            said = " ".join(str(e).split())[:200]
            raise EngineError(f"no Ray cluster: start one with ray start --head, or set RAY_ADDRESS ({said})") from None
        self.gpus = float(ray.cluster_resources().get("GPU", 0))
        cpus = int(ray.cluster_resources().get("CPU", 1))
        self.count = max(1, min(count, cpus) if count else cpus)
        # Ray's own retries would hide how often a task was tried.
        self._call: Any = ray.remote(max_retries=0)(answer)

    def __enter__(self) -> RayPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the cluster; tasks at work end with the connection."""
        if self._joined and self._ray.is_initialized():
            self._ray.shutdown()

    def run(self, tasks: list[Task]) -> Iterator[Done | Failed]:
        """Results in order of completion."""
        waiting = [(t, 1) for t in tasks]
        running: dict[Any, _Running] = {}
        while waiting or running:
            while waiting and len(running) < self.count:
                task, attempt = waiting.pop(0)
                running[self._submit(task)] = _Running(task, attempt, time.monotonic())
            ready, _ = self._ray.wait(list(running), timeout=POLL_S)
            for reference in [*ready, *self._overdue(running)]:
                if reference not in running:
                    continue
                job = running.pop(reference)
                outcome = self._collect(reference, job, reference in ready)
                if isinstance(outcome, str) and job.attempt < ATTEMPTS:
                    waiting.append((job.task, job.attempt + 1))
                elif isinstance(outcome, str):
                    seconds = time.monotonic() - job.started
                    yield Failed(job.task.key, f"{outcome}, {ATTEMPTS} times", seconds)
                else:
                    yield outcome

    def _submit(self, task: Task) -> Any:
        share = GPU_SHARE if task.trains and self.gpus else 0
        return self._call.options(num_cpus=1, num_gpus=share, name=task.key).remote(task.function, task.arguments)

    def _overdue(self, running: dict[Any, _Running]) -> list[Any]:
        now = time.monotonic()
        return [r for r, job in running.items() if now - job.started > job.task.timeout_s]

    def _collect(self, reference: Any, job: _Running, ready: bool) -> Done | Failed | str:
        """A result, or a reason to try again."""
        seconds = time.monotonic() - job.started
        if not ready:
            self._ray.cancel(reference, force=True)
            return f"no result within {job.task.timeout_s:g} s"
        try:
            good, value = ForkingPickler.loads(self._ray.get(reference))
        except self._ray.exceptions.RayError as e:
            return f"the worker died ({type(e).__name__})"
        return Done(job.task.key, value, seconds) if good else Failed(job.task.key, value, seconds)
