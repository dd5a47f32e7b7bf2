"""The journal: what a kill, a flipped byte, a second process, a full disk and a changed configuration do to it."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from flow import archive as archive_module
from flow.archive import Archive, ArchiveError, read

CONFIG = {"board": "zcu102", "trials": 100, "limits": {"latency_ms": 2.5}, "bits": [8, 4], "clock": None}
ENVIRONMENT = {"python": "3.11.7", "packages": {"numpy": "2.4.6"}}


def filled(run_dir, count=5):
    with Archive.create(run_dir, CONFIG, ENVIRONMENT) as a:
        for i in range(count):
            a.append({"kind": "trial", "trial": i, "name": f'tri"al\n{i} é', "objectives": {"accuracy": i / 7}})
    return run_dir / "journal.jsonl"


def child(code, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=60, **options
    )


def test_what_is_written_is_read(tmp_path):
    filled(tmp_path / "run")
    with Archive.open(tmp_path / "run") as a:
        assert [r["trial"] for r in a.of("trial")] == [0, 1, 2, 3, 4]
        assert a.of("trial")[3]["name"] == 'tri"al\n3 é'
        assert a.of("trial")[3]["objectives"] == {"accuracy": 3 / 7}
        assert a.config == {"board": "zcu102", "trials": 100, "limits": {"latency_ms": 2.5}, "bits": [8, 4]}
        assert a.environment == ENVIRONMENT
        a.append({"kind": "note", "text": "resumed"})
        assert a.records == read(tmp_path / "run")
    assert json.loads((tmp_path / "run/environment.json").read_text()) == ENVIRONMENT
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert names == {"config.toml", "environment.json", "journal.jsonl", "run.lock"}


def test_cut_at_every_byte_of_the_last_record(tmp_path):
    """Only the torn record goes; the run continues behind the one before it."""
    path = filled(tmp_path / "run")
    data = path.read_bytes()
    start = data[:-1].rfind(b"\n") + 1
    assert len(data) - start > 100
    for cut in range(start, len(data)):
        path.write_bytes(data[:cut])
        assert len(read(path.parent)) == 5  # the first record is the run's
        with Archive.open(path.parent) as a:
            assert [r["trial"] for r in a.of("trial")] == [0, 1, 2, 3]
            assert path.read_bytes() == data[:start]
            a.append({"kind": "trial", "trial": 4})
        assert [r.get("trial") for r in read(path.parent)] == [None, 0, 1, 2, 3, 4]


def test_every_flipped_byte_is_found_with_its_line(tmp_path):
    path = filled(tmp_path / "run", 2)
    data = path.read_bytes()
    rng = random.Random(0)
    for at in range(len(data) - 1):  # the last byte is the newline: without it the record counts as torn
        flipped = bytearray(data)
        flipped[at] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        line = data[:at].count(b"\n") + 1
        with pytest.raises(ArchiveError, match=f"journal.jsonl line {line} "):
            Archive.open(path.parent)
        assert path.read_bytes() == flipped  # evidence is not touched
    path.write_bytes(data)
    Archive.open(path.parent).close()


def test_lost_and_swapped_lines_are_found(tmp_path):
    path = filled(tmp_path / "run")
    lines = path.read_bytes().splitlines(keepends=True)
    for wrong, line in ((lines[:2] + lines[3:], 3), ([*lines[:2], lines[3], lines[2], *lines[4:]], 3)):
        path.write_bytes(b"".join(wrong))
        with pytest.raises(ArchiveError, match=f"line {line} is record 4: lines were lost"):
            read(path.parent)


def test_the_advice_for_a_damaged_line_works(tmp_path):
    path = filled(tmp_path / "run")
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b"al", b"AL")
    path.write_bytes(b"".join(lines))
    with pytest.raises(ArchiveError, match="cut it before line 4 and resume"):
        Archive.open(path.parent)
    path.write_bytes(b"".join(lines[:3]))
    with Archive.open(path.parent) as a:
        assert [r["trial"] for r in a.of("trial")] == [0, 1]


def test_another_schema_version_is_named(tmp_path, monkeypatch):
    path = filled(tmp_path / "run", 0)
    monkeypatch.setattr(archive_module, "VERSION", 2)
    with pytest.raises(ArchiveError, match="line 1 has schema version 1; this program reads version 2"):
        read(path.parent)


def test_ten_thousand_records_are_read_in_a_second(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    with Archive.create(tmp_path / "run", CONFIG, ENVIRONMENT) as a:
        for i in range(10_000):
            a.append(
                {
                    "kind": "trial",
                    "trial": i,
                    "objectives": {"accuracy": i / 7, "latency_ms": 1.5},
                    "genotype": "x" * 300,
                }
            )
    start = time.process_time()  # the processor's, so that other work does not count
    assert len(read(tmp_path / "run")) == 10_001
    assert time.process_time() - start < 3.0


# ---- one process at a time

HOLD = """
import sys, time
from pathlib import Path
from flow.archive import Archive
a = Archive.open(Path(sys.argv[1]))
a.append({"kind": "note", "text": "held"})
print("ready", flush=True)
time.sleep(60)
"""
FORK = HOLD.replace("print", "import os\nif os.fork() == 0:\n    print")  # the worker tells that it is there


def test_a_second_opener_is_refused_by_pid_and_a_dead_one_replaced_at_once(tmp_path):
    filled(tmp_path / "run")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE)
    assert holder.stdout.readline() == b"ready\n"
    with pytest.raises(ArchiveError, match=f"in use by process {holder.pid};"):
        Archive.open(tmp_path / "run")
    assert len(read(tmp_path / "run")) == 7  # reading needs no lock
    assert archive_module.runs(tmp_path)[0]["state"] == "running"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    start = time.perf_counter()
    with Archive.open(tmp_path / "run") as a:
        assert time.perf_counter() - start < 1.0
        assert a.of("note") == [{"kind": "note", "text": "held"}]
        with pytest.raises(ArchiveError, match=f"process {os.getpid()};"):
            Archive.open(tmp_path / "run")


def test_a_worker_that_outlives_its_killed_run_does_not_keep_the_lock(tmp_path):
    filled(tmp_path / "run")
    holder = subprocess.Popen(
        [sys.executable, "-c", FORK, str(tmp_path / "run")], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert holder.stdout.readline() == b"ready\n"
        holder.kill()
        holder.wait()
        assert os.killpg(holder.pid, 0) is None  # the worker lives
        Archive.open(tmp_path / "run").close()
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.stdout.close()


KILLED = """
import sys
from pathlib import Path
from flow.archive import Archive
with Archive.open(Path(sys.argv[1])) as a:
    for i in range(len(a.of("trial")), 100_000):
        a.append({"kind": "trial", "trial": i, "text": "x" * 2000})
        print(i, flush=True)
"""


def test_killed_at_random_moments_no_reported_record_is_lost(tmp_path):
    filled(tmp_path / "run", 0)
    done = 0
    for delay in (0.0, 0.002, 0.011, 0.023):
        run = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "run")], stdout=subprocess.PIPE)
        first = run.stdout.readline()
        time.sleep(delay)
        run.kill()
        last = int(([first, *run.stdout.read().split(b"\n")[:-1]])[-1])
        run.wait()
        run.stdout.close()
        trials = [r["trial"] for r in read(tmp_path / "run") if r["kind"] == "trial"]
        assert trials == list(range(len(trials))) and len(trials) >= last + 1 > done
        done = last + 1


def test_an_interrupt_during_an_append_leaves_the_number_free(tmp_path, monkeypatch):
    filled(tmp_path / "run", 1)
    with Archive.open(tmp_path / "run") as a:

        def interrupted(handle):
            raise KeyboardInterrupt

        with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
            m.setattr(os, "fsync", interrupted)
            a.append({"kind": "trial", "trial": 1})
        a.append({"kind": "note", "text": "stopped by the user"})
    assert [r["kind"] for r in read(tmp_path / "run")] == ["run", "trial", "note"]


# ---- disks

FULL = """
import resource, sys
from pathlib import Path
from flow.archive import Archive, ArchiveError, write_atomic
a = Archive.open(Path(sys.argv[1]))
size = (a.run_dir / "journal.jsonl").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, -1))
append = lambda: a.append({"kind": "trial", "text": "x" * 500})
for write in (append, lambda: write_atomic(a.run_dir / "big", b"x" * 10000)):
    try:
        write()
    except ArchiveError as e:
        print(e)
print((a.run_dir / "journal.jsonl").stat().st_size == size, sorted(p.name for p in a.run_dir.iterdir()))
resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
a.append({"kind": "note", "text": "space again"})
"""


def test_no_room_for_a_whole_record(tmp_path):
    """A file size limit makes the system write a part of the record and then fail, as a full disk does."""
    path = filled(tmp_path / "run")
    done = child(FULL, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"cannot write {path}: File too large"
    assert lines[1] == f"cannot write {path.parent / 'big'}: File too large"
    assert lines[2] == "True ['config.toml', 'environment.json', 'journal.jsonl', 'run.lock']"
    assert read(path.parent)[-1] == {"kind": "note", "text": "space again"}


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    filled(tmp_path / "run")

    def full(handle, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Archive.open(tmp_path / "run") as a:
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(ArchiveError, match=r"cannot write .*journal\.jsonl: No space left on device"):
            a.append({"kind": "note"})
        monkeypatch.undo()
        a.append({"kind": "note"})


READ_ONLY = """
import os, sys
from pathlib import Path
from flow.archive import Archive, ArchiveError
if os.geteuid() == 0:
    os.setuid(65534)
create = lambda p: Archive.create(p, {}, {})
for do in (lambda p: create(p / "new"), create, lambda p: Archive.open(p / "run")):
    try:
        do(Path(sys.argv[1]))
    except ArchiveError as e:
        print(e)
"""


def test_a_read_only_folder_is_named_and_nothing_left():
    """As an ordinary user: root may write anywhere."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        filled(folder / "run")
        for p in (folder / "run").iterdir():
            p.chmod(0o444)
        (folder / "empty").mkdir()
        for p in (folder / "run", folder / "empty", folder):
            p.chmod(0o555)
        done = child(READ_ONLY, folder)
        assert done.returncode == 0, done.stderr
        new, occupied, opened = done.stdout.splitlines()
        assert new == f"cannot create {folder / 'new'}: Permission denied"
        assert occupied == f"{folder} is not empty (empty); name a new folder for the run"
        assert opened == f"cannot lock {folder / 'run' / 'run.lock'}: Permission denied"
        assert sorted(p.name for p in folder.iterdir()) == ["empty", "run"]
        for p in (folder, folder / "run"):
            p.chmod(0o755)


def test_create_leaves_nothing_behind_when_it_fails(tmp_path, monkeypatch):
    real = os.replace

    def failing(source, target):
        if Path(target).name == "journal.jsonl":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(ArchiveError, match="No space left"):
        Archive.create(tmp_path / "run", CONFIG, ENVIRONMENT)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with pytest.raises(ArchiveError, match="No space left"):
        Archive.create(tmp_path / "mine", CONFIG, ENVIRONMENT)
    assert list((tmp_path / "mine").iterdir()) == []


def test_create_refuses_a_used_folder_and_takes_what_a_killed_create_left(tmp_path):
    filled(tmp_path / "run")
    with pytest.raises(ArchiveError, match="already holds a run; resume it"):
        Archive.create(tmp_path / "run", CONFIG, ENVIRONMENT)
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.tex").write_text("")
    with pytest.raises(ArchiveError, match=r"not empty \(thesis\.tex\)"):
        Archive.create(tmp_path / "home", CONFIG, ENVIRONMENT)
    assert [p.name for p in (tmp_path / "home").iterdir()] == ["thesis.tex"]
    (tmp_path / "killed").mkdir()
    for name in ("config.toml", "run.lock", ".environment.json.12ab34cd"):
        (tmp_path / "killed" / name).write_text("half")
    Archive.create(tmp_path / "killed", CONFIG, ENVIRONMENT).close()
    (tmp_path / "file").write_text("")
    with pytest.raises(ArchiveError, match=r"cannot create .*/file"):
        Archive.create(tmp_path / "file", CONFIG, ENVIRONMENT)


def test_folders_that_are_no_runs(tmp_path):
    with pytest.raises(ArchiveError, match="none does not exist"):
        Archive.open(tmp_path / "none")
    with pytest.raises(ArchiveError, match="is not a run folder"):
        Archive.open(tmp_path)
    assert list(tmp_path.iterdir()) == []
    path = filled(tmp_path / "run", 0)
    path.write_bytes(path.read_bytes()[:-20])
    for opener in (Archive.open, read):
        with pytest.raises(ArchiveError, match="holds no complete record; delete the folder"):
            opener(tmp_path / "run")


# ---- configuration


def test_changed_configuration_is_refused_saying_what(tmp_path):
    path = filled(tmp_path / "run")
    other = CONFIG | {"board": "pynq-z2", "limits": {"latency_ms": 2.5, "power_w": 3}}
    with pytest.raises(
        ArchiveError, match=r"changed now: board: 'zcu102' -> 'pynq-z2'; limits\.power_w: \(absent\) -> 3;"
    ):
        Archive.open(path.parent, other)
    config = path.parent / "config.toml"
    config.write_text(config.read_text().replace("2.5", "25.0"))
    with pytest.raises(ArchiveError, match=r"changed in .*config\.toml: limits\.latency_ms: 2\.5 -> 25\.0"):
        Archive.open(path.parent)
    config.write_text("board = ")
    with pytest.raises(ArchiveError, match=r"config\.toml: not valid TOML"):
        Archive.open(path.parent)
    config.unlink()
    with pytest.raises(ArchiveError, match=r"cannot read .*config\.toml"):
        Archive.open(path.parent)


def test_a_larger_budget_is_adopted_and_kept(tmp_path):
    path = filled(tmp_path / "run")
    with Archive.open(path.parent, CONFIG | {"trials": 500}, may_change=["trials"]) as a:
        assert a.config["trials"] == 500
    with Archive.open(path.parent) as a:
        assert a.config["trials"] == 500 and len(a.of("config")) == 1
    with pytest.raises(ArchiveError, match="trials: 500 -> 100"):
        Archive.open(path.parent, CONFIG)


def test_records_that_cannot_be_kept(tmp_path):
    with Archive.create(tmp_path / "run", CONFIG, ENVIRONMENT) as a:
        with pytest.raises(ArchiveError, match=r"record 2 \(train\).*null"):
            a.append({"kind": "train", "loss": float("nan")})
        with pytest.raises(ArchiveError, match="not JSON"):
            a.append({"kind": "trial", "genotype": {1, 2}})
        for record in ({}, {"kind": 3}, {"kind": "run"}):
            with pytest.raises(ArchiveError, match='needs a text "kind"'):
                a.append(record)
        np = pytest.importorskip("numpy")
        a.append({"kind": "trial", "dsp": np.int64(3), "fits": np.bool_(True)})
    assert read(tmp_path / "run")[1:] == [{"kind": "trial", "dsp": 3, "fits": True}]
    with pytest.raises(ArchiveError, match="is closed"):
        a.append({"kind": "note"})
    with pytest.raises(ArchiveError, match="cannot be kept in TOML"):
        Archive.create(tmp_path / "other", {"a": {"b": object()}}, {})
    assert not (tmp_path / "other").exists()
