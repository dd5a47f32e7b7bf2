"""Supervised workers: results, failures, deaths, time limits; nothing left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flow.workers import ATTEMPTS, Done, Failed, Pool, Task

ROOT = Path(__file__).resolve().parents[2]


def double(x: int) -> int:
    return 2 * x


def pid_and_wait(folder: str, seconds: float) -> int:
    """Leave a file named after the process, wait, answer with the process."""
    Path(folder, str(os.getpid())).touch()
    time.sleep(seconds)
    return os.getpid()


def die_once(mark: str) -> str:
    """Killed the first time, fine the second."""
    if not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave(code: int) -> None:
    os._exit(code)


def fail(text: str) -> None:
    raise ValueError(text)


def not_picklable() -> object:
    return lambda: None


def clean_up(mark: str) -> None:
    """Writes a second file on its way out, as a task does that must end a vendor tool's processes."""
    Path(mark).touch()
    try:
        time.sleep(60)
    finally:
        Path(mark + ".cleaned").touch()


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(2) as made:
        yield made
    assert not made._workers


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def until(condition, seconds: float = 20.0) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_results_come_with_their_keys_and_workers_are_kept(pool: Pool, tmp_path: Path) -> None:
    found = list(pool.run([Task(str(k), double, (k,)) for k in range(7)]))
    assert {o.key: o.value for o in found if isinstance(o, Done)} == {str(k): 2 * k for k in range(7)}
    first = {o.value for o in pool.run([Task(str(k), pid_and_wait, (str(tmp_path), 0.2)) for k in range(4)])}  # type: ignore[union-attr]
    assert len(first) == 2 and os.getpid() not in first
    assert list(pool.run([])) == []


def test_an_exception_is_a_failure_with_its_reason_and_is_not_tried_again(pool: Pool, tmp_path: Path) -> None:
    (outcome,) = pool.run([Task("a", fail, ("bad weight",))])
    assert isinstance(outcome, Failed) and outcome.key == "a"
    assert "ValueError: bad weight" in outcome.reason and "test_workers.py" in outcome.reason
    assert isinstance(next(iter(pool.run([Task("b", double, (1,))]))), Done)


def test_a_result_that_cannot_travel_is_a_failure(pool: Pool) -> None:
    (outcome,) = pool.run([Task("a", not_picklable, ())])
    assert isinstance(outcome, Failed) and "pickle" in outcome.reason


def test_a_killed_worker_costs_no_other_task(pool: Pool, tmp_path: Path) -> None:
    work = [Task(str(k), double, (k,)) for k in range(4)] + [Task("once", die_once, (str(tmp_path / "m"),))]
    found = {o.key: o for o in pool.run(work)}
    assert len(found) == 5 and all(isinstance(o, Done) for o in found.values())
    assert found["once"].value == "alive"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("task", "reason"), [(Task("x", die, ()), "exit code -9"), (Task("x", leave, (3,)), "exit code 3")]
)
def test_a_task_that_always_kills_its_worker_is_given_up(pool: Pool, task: Task, reason: str) -> None:
    found = {o.key: o for o in pool.run([task, Task("y", double, (4,))])}
    assert isinstance(found["y"], Done)
    lost = found["x"]
    assert isinstance(lost, Failed) and reason in lost.reason and f"{ATTEMPTS} times" in lost.reason


def test_a_hung_task_ends_at_its_limit(pool: Pool, tmp_path: Path) -> None:
    started = time.monotonic()
    found = {o.key: o for o in pool.run([Task("x", pid_and_wait, (str(tmp_path), 60.0), 0.5), Task("y", double, (4,))])}
    assert isinstance(found["y"], Done) and isinstance(found["x"], Failed)
    assert "no result within 0.5 s" in found["x"].reason and time.monotonic() - started < 15
    assert not any(alive(int(p.name)) for p in tmp_path.iterdir())


def test_a_worker_killed_while_idle_is_replaced(pool: Pool) -> None:
    list(pool.run([Task(str(k), double, (k,)) for k in range(2)]))
    for w in pool._workers:
        assert w.process.pid is not None
        os.kill(w.process.pid, signal.SIGKILL)  # and at once the next task, before anyone noticed
    found = list(pool.run([Task(str(k), double, (k,)) for k in range(3)]))
    assert len(found) == 3 and all(isinstance(o, Done) for o in found)


def test_ctrl_c_does_not_reach_workers(pool: Pool, tmp_path: Path) -> None:
    run = pool.run([Task("x", pid_and_wait, (str(tmp_path), 1.0)), Task("y", pid_and_wait, (str(tmp_path), 1.0))])
    outcomes = []
    import threading

    def interrupt() -> None:
        until(lambda: len(list(tmp_path.iterdir())) == 2)
        for p in tmp_path.iterdir():
            os.kill(int(p.name), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    outcomes = list(run)
    thread.join()
    assert len(outcomes) == 2 and all(isinstance(o, Done) for o in outcomes)


def test_closing_lets_tasks_clean_up(tmp_path: Path) -> None:
    """A task that runs a vendor's tool must get to end the tool's processes."""
    mark = tmp_path / "m"
    pool = Pool(1)
    pool._start(Task("x", clean_up, (str(mark),)), 1)
    until(mark.exists)
    pool.close()
    assert Path(f"{mark}.cleaned").exists()


ORPHANS = """
import os, sys
sys.path[:0] = [{root!r}, {tests!r}]
from flow.workers import Pool, Task
import test_workers
if __name__ == "__main__":
    with Pool(2) as pool:
        tasks = [Task("a", test_workers.clean_up, (sys.argv[1],))]
        tasks.append(Task("b", test_workers.pid_and_wait, (sys.argv[2], 60.0)))
        list(pool.run(tasks))
"""


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    """An orphan would go on writing into the run folder that the resumed run works in."""
    script = tmp_path / "orphans.py"
    script.write_text(ORPHANS.format(root=str(ROOT), tests=str(Path(__file__).parent)))
    (tmp_path / "pids").mkdir()
    mark = tmp_path / "m"
    parent = subprocess.Popen([sys.executable, str(script), str(mark), str(tmp_path / "pids")])
    until(lambda: mark.exists() and any((tmp_path / "pids").iterdir()))
    (pid,) = (int(p.name) for p in (tmp_path / "pids").iterdir())
    assert alive(pid)
    parent.kill()
    parent.wait()
    until(lambda: not alive(pid), 10)
    until(lambda: Path(f"{mark}.cleaned").exists(), 10)
