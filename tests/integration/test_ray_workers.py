"""The pool on a Ray cluster of two nodes on this machine: results, failures, a search with killed workers."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from flow import archive, run
from flow.config import Config
from flow.ray_workers import EngineError, RayPool
from flow.workers import ATTEMPTS, Done, Failed, Task

ray: Any = pytest.importorskip("ray", reason="ray is not installed: pip install 'coexplore[ray]'")
pytestmark = pytest.mark.slow

# On a busy machine a node may not answer for a while and is alive all the same.
PATIENCE = {
    "health_check_failure_threshold": 20,
    "health_check_timeout_ms": 60_000,
    "health_check_initial_delay_ms": 60_000,
    "worker_niceness": 0,
}
HEAD = {"num_cpus": 1, "include_dashboard": False, "_system_config": PATIENCE}

SPACE = """
from flow.space.hardware import HardwareGenotype
from flow.space.genes import Gene, GeneSpace
from flow.space.network import INPUT, Layer, NetSpec, same

class Tiny(GeneSpace):
    name = "tiny"
    def build(self, genes, shape, classes):
        layers = (Layer("conv", (INPUT,), genes["channels"], 3, 2, same(3), relu=True), Layer("dense", (0,), classes))
        return NetSpec(shape, classes, layers)

def space(options):
    return Tiny([Gene("channels", (2, 3, 4, 5, 6))], options)
"""


def double(x: int) -> int:
    return 2 * x


def die_once(mark: str) -> int:
    """Killed the first time; counts how often it was called."""
    calls = Path(mark)
    calls.write_text(calls.read_text() + "x" if calls.exists() else "x")
    if len(calls.read_text()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return len(calls.read_text())


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise ValueError("no")


def node(seconds: float) -> str:
    time.sleep(seconds)
    return str(ray.get_runtime_context().get_node_id())


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Two nodes of one CPU each; their workers import this test's module."""
    from ray.cluster_utils import Cluster

    before = os.environ.get("PYTHONPATH")
    here = os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parent)])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, before]))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    nodes = Cluster(initialize_head=True, head_node_args=HEAD)
    try:
        nodes.add_node(num_cpus=1)
        nodes.wait_for_nodes()
        yield nodes.address
    finally:
        if ray.is_initialized():
            ray.shutdown()
        nodes.shutdown()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def test_results_failures_and_deaths(cluster: str, tmp_path: Path) -> None:
    with RayPool(address=cluster) as pool:
        assert pool.count == 2
        work = [Task(f"double {k}", double, (k,)) for k in range(4)]
        work += [Task("once", die_once, (str(tmp_path / "calls"),)), Task("never", die, ()), Task("fail", fail, ())]
        done = {o.key: o for o in pool.run(work)}
        assert len(done) == len(work), "nothing is lost"
        assert [done[f"double {k}"].value for k in range(4)] == [0, 2, 4, 6]  # type: ignore[union-attr]
        once, never, failed = done["once"], done["never"], done["fail"]
        assert isinstance(once, Done) and once.value == 2, "tried again after its worker was killed, once"
        assert isinstance(never, Failed) and f"{ATTEMPTS} times" in never.reason and "died" in never.reason
        assert isinstance(failed, Failed) and failed.reason.startswith("ValueError: no (")
        nodes = {o.value for o in pool.run([Task(str(k), node, (0.3,)) for k in range(8)]) if isinstance(o, Done)}
        assert len(nodes) == 2, "both nodes work"


def mine(pid: int) -> bool:
    """Whether a process descends from this one: another session's cluster is not ours to disturb."""
    while pid > 1:
        if pid == os.getpid():
            return True
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return False


def at_work() -> list[int]:
    """Processes of this test's Ray workers that hold a network's task; Ray names them after it. (Without some of its
    others a node is lost.)"""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            title = (place / "cmdline").read_bytes()
            if re.match(rb"ray::[0-9a-f]{16}\b", title) and mine(int(place.name)):
                found.append(int(place.name))
    return found


class Killer(threading.Thread):
    """Kills a worker that holds a task each time one more of these kinds of record is in a run's journal."""

    def __init__(self, folder: Path, after: tuple[str, ...]) -> None:
        super().__init__(daemon=True)
        self.folder, self.after, self.killed, self.over = folder, list(after), 0, threading.Event()

    def run(self) -> None:
        while self.after and not self.over.wait(0.02):
            try:
                kinds = [r["kind"] for r in archive.read(self.folder)]
            except archive.ArchiveError:
                continue  # not begun yet
            busy = at_work() if self.after[0] in kinds else []
            if busy:
                os.kill(busy[0], signal.SIGKILL)
                self.after.pop(0)
                self.killed += 1


def test_a_search_gives_what_it_gives_locally_although_workers_are_killed(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing lost, nothing journalled twice, and the same front."""
    (tmp_path / "tiny.py").write_text(SPACE)
    settings = {"space": str(tmp_path / "tiny.py"), "trials": 6, "time_s": 600.0, "weight_bits": (8,)}
    settings |= {"activation_bits": (8,), "front_size": 2, "toolchain": "none", "workers": 2, "device": "cpu"}
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    essences = []
    for engine in ("local", "ray"):
        folder = tmp_path / engine
        killer = Killer(folder, ("scores", "finalists") if engine == "ray" else ())
        killer.start()
        front = run.start(Config(engine=engine, **settings), folder, lambda text: None)
        killer.over.set()
        killer.join()
        assert killer.killed == (2 if engine == "ray" else 0)
        names: dict[str, tuple[str, ...]] = {
            "trial": ("trial",),
            "train": ("network", "recipe"),
            "scores": ("network",),
        }
        names |= {"promotion": ("start", "rung"), "finalists": (), "refine": ("network",)}
        names |= {"proof": ("network", "clock_mhz", "budget", "objective")}
        done = Counter(
            (r["kind"], *(r[k] for k in names[r["kind"]])) for r in archive.read(folder) if r["kind"] in names
        )
        assert max(done.values()) == 1, "nothing is journalled twice"
        essences.append((set(done), [(p["network"], p["objectives"]) for p in front["points"]]))
    assert essences[0] == essences[1]


def test_no_cluster_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself waits half a minute for an address that does not answer, so it is only asked where none is known."""
    if ray.is_initialized():
        ray.shutdown()

    def nowhere(**_: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.\nPlease specify the one to connect to")

    monkeypatch.setattr(ray, "init", nowhere)
    with pytest.raises(EngineError, match="no Ray cluster: start one with ray start --head") as e:
        RayPool()
    assert "\n" not in str(e.value)
