"""Put the mock tools on PATH."""

import atexit
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent
_VENDOR = ("vitis-run", "v++", "vitis_hls", "vivado_hls", "vivado")
PROGRAMS = {"vitis-run": ("vitis-run", "v++"), "vitis_hls": ("vitis_hls",), "vivado_hls": ("vivado_hls",)}


def mock_path(monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...] | list[str]) -> Path:
    """PATH with the mocks of ``names`` (keys of ``PROGRAMS``) first and no real vendor tool; returns their folder."""
    folder = Path(tempfile.mkdtemp(prefix="mock tools "))  # a space, as in "C:/Program Files"
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name in names:
        for program in PROGRAMS[name]:
            wrapper = folder / program
            wrapper.write_text(
                f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(_HERE / program))} "$@"\n'
            )
            wrapper.chmod(0o755)
    rest = [p for p in os.environ.get("PATH", "").split(os.pathsep) if not any(Path(p, v).exists() for v in _VENDOR)]
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), *rest]))
    for name in [n for n in os.environ if n.startswith("COEXPLORE_MOCK_")]:
        monkeypatch.delenv(name)
    return folder
