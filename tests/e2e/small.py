"""A search small enough for tests: 6 tiny networks at 8 budgets, real digits, real training, driven by command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flow import archive

ROOT = Path(__file__).resolve().parents[2]

SPACE = """
from dataclasses import dataclass, replace
import numpy as np
from flow.space.hardware import HardwareGenotype
from flow.space.network import INPUT, Layer, NetSpec, same

CHOICES = {"channels": (3, 4, 6), "kernel": (3,), "pool": (False, True)}
CHOICES["budget"] = (0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7)


@dataclass(frozen=True)
class Tiny:
    channels: int
    kernel: int
    pool: bool
    budget: float


class TinySpace:
    name = "tiny"

    def __init__(self, clock):
        self.clock = clock

    def sample(self, rng):
        return Tiny(**{k: v[int(rng.integers(len(v)))] for k, v in CHOICES.items()})

    def mutate(self, g, rng):
        genes = [k for k, v in CHOICES.items() if len(v) > 1]
        gene = genes[int(rng.integers(len(genes)))]
        others = [v for v in CHOICES[gene] if v != getattr(g, gene)]
        return replace(g, **{gene: others[int(rng.integers(len(others)))]})

    def crossover(self, a, b, rng):
        return Tiny(**{k: getattr((a, b)[int(rng.integers(2))], k) for k in CHOICES})

    def network(self, g, input_shape, classes):
        layers = [Layer("conv", (INPUT,), g.channels, g.kernel, 2, same(g.kernel), relu=True)]
        if g.pool:
            layers.append(Layer("maxpool", (0,), kernel=2, stride=2))
        layers.append(Layer("dense", (len(layers) - 1,), classes))
        return NetSpec(input_shape, classes, tuple(layers))

    def hardware(self, g):
        return HardwareGenotype(self.clock, g.budget)

    def features(self, g):
        return np.array([g.channels, g.kernel, g.pool, g.budget], float)

    def dumps(self, g):
        return dict(vars(g))

    def loads(self, obj):
        return Tiny(**obj)


def space(options):
    return TinySpace(options.clocks_mhz[0])
"""


def environment(folder: Path, **more: str) -> dict[str, str]:
    """One thread per process, and a cache of compiled simulations for this test session alone."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "COEXPLORE_CACHE": str(folder / "cache"), **more}


def flow(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "flow.cli", *map(str, arguments)]


def search_command(folder: Path, run: Path, *more: str) -> list[str]:
    """A search that no clock decides about: the time limit is far away."""
    space = folder / "tiny_space.py"
    if not space.exists():
        space.write_text(SPACE)
    options = {"board": "zcu102", "space": str(space), "trials": "30", "time": "2h", "seed": "7", "front-size": "3"}
    options |= {"workers": "2", "toolchain": "none", "accelerate": "all", "run": str(run)}
    given = dict(zip(more[::2], more[1::2], strict=True))
    options |= given
    return flow("search", "--json", *(x for k, v in options.items() for x in (f"--{k}", v)))


def call(
    command: list[str], folder: Path, env: Mapping[str, str] | None = None, limit: float = 240
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=dict(env or environment(folder)), capture_output=True, text=True, timeout=limit,
        check=False,
    )  # fmt: skip


def start(command: list[str], folder: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """In a process group of its own, as a shell starts it; Ctrl-C is heard also by tests in the background."""
    return subprocess.Popen(
        command, cwd=folder, env=dict(env or environment(folder)), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def kinds(run: Path) -> list[str]:
    """Kinds of the records journalled so far; also of a run at work."""
    try:
        return [r["kind"] for r in archive.read(run)]
    except archive.ArchiveError:
        return []


def when(process: subprocess.Popen[str], happened: Callable[[], bool], limit: float = 120) -> bool:
    """Wait for something while the process runs; False when it ended well before that."""
    end = time.monotonic() + limit
    while not happened():
        if process.poll() is not None:
            assert process.returncode == 0, process.communicate()[1]
            return False
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return True


def children(pid: int) -> list[int]:
    """Direct children of a process that run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[1] == str(pid) and fields[0] not in ("Z", "X"):
            found.append(int(stat.parent.name))
    return found


def workers(pid: int) -> list[int]:
    """Worker processes of a search: its children but for Python's resource tracker."""
    found = []
    for child in children(pid):
        try:
            command = Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            continue
        if b"spawn_main" in command:
            found.append(child)
    return found


def interrupt(process: subprocess.Popen[str], which: signal.Signals) -> tuple[str, str]:
    """The signal to the whole group, as a terminal sends it (SIGKILL: to the search alone); output until its end."""
    if which is signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, which)
    return process.communicate(timeout=60)


def front(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "front.json").read_text())
    return found


def essence(run: Path) -> list[tuple[Any, ...]]:
    """What must not depend on interruptions: the front's points and every measure of theirs, times left out."""
    points = front(run)["points"]
    return [(p["directory"], p["network"], p["budget"], p["objectives"], p["layers"]) for p in points]
