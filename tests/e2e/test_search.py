"""Searches from start to front.json: what they leave, and that no interruption changes it."""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import shutil
import signal
import time
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from flow import archive
from flow.search import pareto
from tests.e2e import small

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all of pytest's worker processes."""
    base = tmp_path_factory.getbasetemp()
    found = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "search"
    found.mkdir(exist_ok=True)
    return found


@pytest.fixture(scope="module")
def reference(folder: Path) -> Path:
    """An uninterrupted run; whichever process needs it first makes it."""
    run = folder / "reference"
    with (folder / "reference.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (run / "front.json").exists():
            done = small.call(small.search_command(folder, run), folder)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout) == small.front(run)
            assert "run folder" in done.stderr and "30/30 candidates estimated" in done.stderr
    return run


def test_front_json(reference: Path) -> None:
    front = small.front(reference)
    assert set(front) >= {"objectives", "reference", "hypervolume", "trials", "points"}
    assert front["objectives"] == ["accuracy", "latency_ms", "utilisation"] and len(front["reference"]) == 3
    assert front["hypervolume"] > 0 and front["trials"] >= 30 and 2 <= len(front["points"]) <= 3
    values = []
    for p in front["points"]:
        assert set(p) >= {"trial", "objectives", "fidelity", "directory"}
        o = p["objectives"]
        assert {"accuracy", "test_accuracy", "latency_ms", "fps", "utilisation"} <= set(o)
        assert {"lut", "ff", "dsp", "bram18", "uram"} <= set(o)
        assert p["fidelity"]["latency_ms"] == "estimate" and p["fidelity"]["accuracy"] == "validation"
        assert o["fps"] == pytest.approx(p["clock_mhz"] * 1e6 / o["interval_cycles"])
        assert 0.5 < o["test_accuracy"] <= 1 and o["utilisation"] <= 0.8
        assert p["csim"]["bit_exact"] and p["csim"]["images"] >= 1000 and p["csim"]["reference"] == "onnxruntime"
        values.append((-o["accuracy"], o["latency_ms"], o["utilisation"]))
    assert all(pareto.nondominated(values)), "a front point is dominated"


def test_every_front_directory_is_a_compiled_project(reference: Path, folder: Path) -> None:
    for p in small.front(reference)["points"]:
        place = reference / p["directory"]
        for name in (
            "model.onnx",
            "design.json",
            "README.md",
            "hls/run_hls.tcl",
            "hls/hls_config.cfg",
            "hls/accel.cpp",
        ):
            assert (place / name).is_file(), name
        performance = json.loads((place / "report/estimate_network_performance.json").read_text())
        assert performance["latency_ms"] == pytest.approx(p["objectives"]["latency_ms"]) and performance["fits"]
        done = small.call(small.flow("csim", place, "--images", "50", "--json"), folder)
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert result["bit_exact"] and result["images"] == 50 and result["mismatches"] == 0


class Outside(HTMLParser):
    """Collects everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "data", "action", "srcset", "poster") and not (value or "").startswith(
                ("#", "data:")
            ):
                self.found.append(f"{tag} {name}={value}")
        assert tag not in ("iframe", "object", "embed", "base", "link")


def test_the_report_is_one_page_by_itself(reference: Path) -> None:
    page = (reference / "report.html").read_text()
    parser = Outside()
    parser.feed(page)
    local = [x for x in parser.found if re.search(r"(https?:)?//", x) or x.split()[0] in ("script", "img")]
    assert not local, local
    assert not re.search(r"@import|url\(\s*['\"]?(?!data:|#)", page)
    for p in small.front(reference)["points"]:
        assert p["directory"] in page
    assert "flow csim" in page and "<svg" in page


def test_the_journal_is_complete(reference: Path) -> None:
    records = archive.read(reference)
    count = Counter(r["kind"] for r in records)
    assert count["run"] == 1 and count["trial"] == 30 and count["finalists"] == 1 and count["promotion"] == 4
    assert [r["trial"] for r in records if r["kind"] == "trial"] == list(range(30))
    assert count["supernet"] == 1 and count["shared"] == len({r["network"] for r in records if r["kind"] == "scores"})
    assert all(0.05 <= r["accuracy"] <= 1.0 for r in records if r["kind"] == "shared")
    assert_nothing_twice(reference)
    (summary,) = (r for r in archive.runs(reference.parent) if r["run"] == str(reference))
    assert summary["state"] == "finished" and summary["trials"] == 30 and summary["error"] is None


def assert_nothing_twice(run: Path) -> None:
    """No candidate, training, refinement or proof is journalled twice."""
    names = {
        "trial": ("trial",),
        "train": ("network", "recipe"),
        "refine": ("network",),
        "supernet": (),
        "shared": ("network",),
        "promotion": ("start", "rung"),
    }
    names |= {"proof": ("network", "clock_mhz", "budget", "objective"), "finalists": ()}
    records = archive.read(run)
    count = Counter((r["kind"], *(r[k] for k in names[r["kind"]])) for r in records if r["kind"] in names)
    assert max(count.values()) == 1, [k for k, n in count.items() if n > 1]


def test_killed_at_random_moments_and_resumed(reference: Path, folder: Path) -> None:
    """kill -9, three times, at moments that no one chose: the same front, nothing lost, nothing done twice."""
    run, rng = folder / "killed", random.Random(os.environ.get("COEXPLORE_TEST_SEED", "1"))
    command, seen, kills = small.search_command(folder, run), 0, 0
    while kills < 3:
        process = small.start(command, folder)
        more = seen + rng.randint(1, 20)
        if not small.when(process, lambda more=more: len(small.kinds(run)) >= more):  # type: ignore[misc]
            break
        time.sleep(rng.uniform(0, 0.7))
        orphans = small.workers(process.pid)
        small.interrupt(process, signal.SIGKILL)
        kills += 1
        kept = small.kinds(run)
        assert len(kept) >= more, "journalled records are lost"
        seen, command = len(kept), small.flow("resume", run, "--json")
        end = time.monotonic() + 15
        while any(Path(f"/proc/{p}").exists() for p in orphans) and time.monotonic() < end:
            time.sleep(0.05)
        assert not any(Path(f"/proc/{p}").exists() for p in orphans), "workers outlive a killed search"
    assert kills >= 2
    done = small.call(small.flow("resume", run, "--json"), folder)
    assert done.returncode == 0, done.stderr
    assert small.essence(run) == small.essence(reference)
    assert_nothing_twice(run)
    told = [
        {k: v for k, v in r.items() if k not in ("seconds", "cpu_seconds")}
        for r in archive.read(run) if r["kind"] == "trial"
    ]  # fmt: skip
    want = [
        {k: v for k, v in r.items() if k not in ("seconds", "cpu_seconds")}
        for r in archive.read(reference) if r["kind"] == "trial"
    ]  # fmt: skip
    assert [{k: v for k, v in t.items() if k != "gap"} for t in told] == [
        {k: v for k, v in t.items() if k != "gap"} for t in want
    ]


def test_ctrl_c_once_and_twice_and_a_lost_worker(reference: Path, folder: Path) -> None:
    """Exit 130 and no process left after Ctrl-C; a second process is kept out; a killed worker costs nothing."""
    run = folder / "interrupted"
    process = small.start(small.search_command(folder, run), folder)
    assert small.when(process, lambda: "train" in small.kinds(run))
    os.killpg(process.pid, signal.SIGSTOP)  # else it may be done before the second has started
    second = small.call(small.flow("resume", run), folder)
    os.killpg(process.pid, signal.SIGCONT)
    assert second.returncode == 1 and f"in use by process {process.pid}" in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1
    pool = small.workers(process.pid)
    assert pool
    _, stderr = small.interrupt(process, signal.SIGINT)
    assert process.returncode == 130 and stderr.strip().endswith("interrupted; nothing that was finished is lost")
    assert "Traceback" not in stderr and not any(Path(f"/proc/{p}").exists() for p in pool)

    process = small.start(small.flow("resume", run), folder)
    assert small.when(process, lambda: small.kinds(run).count("trial") >= 24)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = small.interrupt(process, signal.SIGINT)
    assert process.returncode in (130, -signal.SIGINT) and "front" not in stderr.splitlines()[-1]

    process = small.start(small.flow("resume", run, "--json"), folder)
    assert small.when(process, lambda: bool(small.workers(process.pid)) and "finalists" in small.kinds(run))
    os.kill(small.workers(process.pid)[0], signal.SIGKILL)
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr
    assert small.essence(run) == small.essence(reference)
    assert_nothing_twice(run)


def test_a_finished_run(reference: Path, folder: Path) -> None:
    """Resumed: nothing is done again. Searched into: refused. Reported: the same page again."""
    run = folder / "finished"
    shutil.copytree(reference, run)
    before = small.kinds(run)
    done = small.call(small.flow("resume", run, "--json"), folder)
    assert done.returncode == 0
    after = small.kinds(run)
    assert Counter(after) - Counter(before) == Counter({"time": 1})
    refused = small.call(small.search_command(folder, run), folder)
    assert refused.returncode == 1 and "already holds a run; resume it" in refused.stderr
    assert small.kinds(run) == after
    (run / "report.html").unlink()
    done = small.call(small.flow("report", run), folder)
    assert done.returncode == 0 and done.stdout.strip() == str(run / "report.html")
    assert "<svg" in (run / "report.html").read_text()
    human = small.call(small.flow("runs", folder), folder)
    assert human.returncode == 0 and "finished" in human.stdout


def test_a_damaged_journal_is_refused_with_its_line(reference: Path, folder: Path) -> None:
    run = folder / "damaged"
    run.mkdir()
    for name in ("config.toml", "environment.json"):
        (run / name).write_bytes((reference / name).read_bytes())
    journal = bytearray((reference / "journal.jsonl").read_bytes())
    journal[journal.index(b"\n") + 60] ^= 1
    (run / "journal.jsonl").write_bytes(journal)
    done = small.call(small.flow("resume", run), folder)
    assert done.returncode == 1 and "line 2 is damaged" in done.stderr and len(done.stderr.splitlines()) == 1


def test_rate_of_evaluations(reference: Path) -> None:
    spent = [r["cpu_seconds"] for r in archive.read(reference) if r["kind"] == "trial"]
    assert len(spent) == 30 and min(spent) > 0
    page = (reference / "report.html").read_text()
    assert "Candidates mapped and estimated" in page and str(round(30 / sum(spent), 1)) in page
