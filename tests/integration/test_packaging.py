"""The wheel holds the whole package and works installed elsewhere; importing the command line is quick."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Folder in the repository -> where the wheel has it.
FOLDERS = {"flow": "flow", "templates": "flow/templates", "hls": "flow/hls", "boards": "flow/boards"}
HEAVY = ("torch", "onnx", "onnxruntime", "hls4ml", "scipy", "matplotlib", "pandas")
needs_cli = pytest.mark.skipif(not (ROOT / "flow/cli.py").is_file(), reason="this tree has no flow/cli.py")


def run(command: list[str], cwd: Path) -> str:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV_"))}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def sources() -> list[str]:
    """Files of the package as git knows them, relative to the root."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("not a git checkout: nothing to compare the wheel with")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *FOLDERS]
    listed = [f for f in run(command, ROOT).split("\0") if f and (ROOT / f).is_file()]
    assert {f.split("/")[0] for f in listed} == set(FOLDERS)
    return listed


@pytest.fixture(scope="module")
def wheel(sources: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without network, from a copy, so that nothing left over in the working tree gets in."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for file in [*sources, "pyproject.toml", "README.md"]:
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, copy / file)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel"]
    run([*pip, "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(out), str(copy)], copy)
    (built,) = out.glob("coexplore-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it and this environment's packages behind it. Returns its bin folder."""
    home = tmp_path_factory.mktemp("elsewhere") / "env"
    run([sys.executable, "-m", "venv", "--without-pip", str(home)], home.parent)
    python = home / "bin/python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), "install"]
    run([*pip, "--no-deps", "--no-index", str(wheel)], home.parent)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run([str(python), "-c", where], home.parent).strip())
    # Only after the installation, which would otherwise find (and replace) this environment's own copy.
    (site / "behind.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return home / "bin"


@pytest.mark.slow
def test_the_wheel_holds_the_files_of_the_repository(wheel: Path, sources: list[str]) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {f for f in archive.namelist() if ".dist-info/" not in f}
    expected = {f"{FOLDERS[top]}/{rest}" for top, _, rest in (f.partition("/") for f in sources)}
    assert sorted(expected - packed) == []
    assert sorted(packed - expected) == []


@pytest.mark.slow
def test_the_wheel_works_elsewhere(installed: Path, sources: list[str], tmp_path: Path) -> None:
    code = """
import json
from importlib import resources
import flow, flow.board, flow.platform
def files(place, prefix=""):
    for entry in sorted(place.iterdir(), key=lambda e: e.name):
        if entry.is_dir() and entry.name != "__pycache__":
            yield from files(entry, prefix + entry.name + "/")
        elif entry.is_file():
            yield prefix + entry.name
print(json.dumps({
    "home": flow.__file__,
    "version": flow.__version__,
    "boards": [b.name for b in flow.board.every()],
    "boards/platforms": [p.name for p in flow.platform.every()],
    "templates": list(files(resources.files("flow.templates"))),
    "hls": list(files(resources.files("flow.hls"))),
}))
"""
    got = json.loads(run([str(installed / "python"), "-c", code], tmp_path))
    assert Path(got["home"]).is_relative_to(installed.parent)
    for folder in ("templates", "hls"):
        want = {f.partition("/")[2] for f in sources if f.startswith(f"{folder}/")}
        assert set(got[folder]) == want
    for folder in ("boards", "boards/platforms"):
        want = {Path(f).stem for f in sources if Path(f).parent.as_posix() == folder and f.endswith(".toml")}
        assert set(got[folder]) == want


@pytest.mark.slow
@needs_cli
def test_the_installed_command_lists_the_boards(installed: Path, tmp_path: Path) -> None:
    out = run([str(installed / "flow"), "boards"], tmp_path)
    assert "zcu102" in out and "pynq-z2" in out
    assert list(tmp_path.iterdir()) == []


@needs_cli
def test_the_command_line_imports_nothing_heavy(tmp_path: Path) -> None:
    code = f"import sys, flow.cli; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert run([sys.executable, "-c", code], tmp_path).strip() == "[]"


@needs_cli
def test_help_answers_in_half_a_second(tmp_path: Path) -> None:
    """Processor time, the best of three, so that a busy machine does not fail it."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert "search" in run([sys.executable, "-m", "flow.cli", "--help"], tmp_path)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(once() for _ in range(3)) < 0.5


def test_the_values_at_the_bottom_import_nothing_heavy(tmp_path: Path) -> None:
    code = f"import sys, flow.board, flow.cost.laws, flow.search; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert run([sys.executable, "-c", code], tmp_path).strip() == "[]"
