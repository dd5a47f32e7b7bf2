"""The runner: exit codes, time limit, whole process groups ended, bounded log."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from flow.toolchain.runner import ToolError, run

PYTHON = sys.executable


def python(code):
    return [PYTHON, "-c", code]


def alive(pid):
    """Whether a process runs; a zombie that nobody collected (no init in a container) does not."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state not in ("Z", "X")


def gone(pids):
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline and any(map(alive, pids)):
        time.sleep(0.02)
    return not any(map(alive, pids))


def test_commands_in_order_until_one_fails(tmp_path):
    commands = [python("print('one')"), python("print('two'); raise SystemExit(3)"), python("print('three')")]
    result = run(commands, tmp_path, 30, log_path=tmp_path / "logs" / "log")
    assert (result.rc, result.timed_out, result.log_tail) == (3, False, "one\ntwo\n")
    assert (tmp_path / "logs" / "log").read_text() == "one\ntwo\n"


def test_environment_directory_and_both_outputs(tmp_path):
    folder = tmp_path / "a place; with $spaces"
    folder.mkdir()
    code = "import os, sys; print(os.environ['X'], os.getcwd()); sys.stderr.write('err'); print(sys.stdin.read())"
    result = run([python(code)], folder, 30, {"X": "$(touch bad)"}, log_path=tmp_path / "log")
    assert result.rc == 0
    assert f"$(touch bad) {folder}" in result.log_tail and "err" in result.log_tail
    assert list(folder.iterdir()) == []


def test_a_missing_program(tmp_path):
    with pytest.raises(ToolError, match="no-such-tool"):
        run([["no-such-tool"]], tmp_path, 5, log_path=tmp_path / "log")


def test_signals_show_in_the_exit_code(tmp_path):
    code = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    assert run([python(code)], tmp_path, 30, log_path=tmp_path / "log").rc == -signal.SIGSEGV


DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"
NESTED = f"""
import subprocess, sys, time
print(subprocess.Popen([sys.executable, "-c", {DEAF!r}]).pid, flush=True)
time.sleep(300)
"""
FAMILY = f"""
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
deaf = {DEAF!r}
nested = {NESTED!r}
pids = [os.getpid()]
pids.append(subprocess.Popen([sys.executable, "-c", deaf]).pid)
pids.append(subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True).pid)
grandparent = subprocess.Popen([sys.executable, "-c", nested], stdout=subprocess.PIPE, text=True)
pids += [grandparent.pid, int(grandparent.stdout.readline())]
print(*pids, flush=True)
"""


def test_the_time_limit_ends_a_deaf_family(tmp_path):
    start = time.monotonic()
    result = run([python(FAMILY + "time.sleep(300)")], tmp_path, 2.0, log_path=tmp_path / "log", grace_s=0.3)
    assert result.timed_out and result.rc == -signal.SIGKILL
    assert time.monotonic() - start < 10
    pids = [int(p) for p in result.log_tail.split()]
    assert len(pids) == 5 and gone(pids)


def test_what_an_orderly_command_leaves_behind_is_ended(tmp_path):
    start = time.monotonic()
    result = run([python(FAMILY)], tmp_path, 60, log_path=tmp_path / "log", grace_s=0.3)
    assert (result.rc, result.timed_out) == (0, False)
    assert time.monotonic() - start < 20
    assert gone([int(p) for p in result.log_tail.split()])


def test_sigterm_comes_before_sigkill(tmp_path):
    code = """
import signal, sys, time
def end(*_):
    print("tidied up", flush=True)
    open("tidy", "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(300)
"""
    result = run([python(code)], tmp_path, 1.0, log_path=tmp_path / "log", grace_s=5)
    assert result.timed_out and (tmp_path / "tidy").exists()


def test_the_log_and_its_tail_are_bounded(tmp_path):
    code = "import sys\nfor i in range(3000): sys.stdout.write('x' * 999 + '\\n')\nprint('the end')"
    result = run([python(code)], tmp_path, 30, log_path=tmp_path / "log", log_bytes=100_000)
    assert result.log_tail.endswith("the end\n") and len(result.log_tail) <= 1 << 16
    assert 100_000 <= (tmp_path / "log").stat().st_size < 100_200
    assert b"log cut here" in (tmp_path / "log").read_bytes()[-60:]


def test_one_limit_for_all_commands(tmp_path):
    result = run([python("import time; time.sleep(0.7)")] * 4, tmp_path, 1.0, log_path=tmp_path / "log", grace_s=0.1)
    assert result.timed_out and result.seconds < 3
