"""C++ kernels of the package: compiled on first use, kept in the user's cache by content, loaded with ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path

OPTIONS = ("-std=c++11", "-O3", "-ffp-contract=off", "-shared", "-fPIC")


class NativeError(ValueError):
    """A kernel not compiled yet and no C++ compiler, or one that cannot compile it; one line."""


def library(source: str) -> ctypes.CDLL:
    """The kernel in ``flow/<source>``; callers remember it. Raises NativeError."""
    code = resources.files("flow").joinpath(source).read_bytes()
    digest = hashlib.sha256("\0".join([*OPTIONS, ""]).encode() + code).hexdigest()[:24]
    folder = Path(os.environ.get("COEXPLORE_CACHE", Path.home() / ".cache" / "coexplore")) / "kernels"
    target = folder / f"{Path(source).stem}-{digest}.so"
    if not target.exists():
        compiler = shutil.which(os.environ.get("CXX", "g++"))
        if compiler is None:
            raise NativeError("g++ is not on PATH: install g++ (Debian: apt-get install g++) or set CXX")
        folder.mkdir(parents=True, exist_ok=True)
        compile_to(compiler, code, source, target)
    return ctypes.CDLL(str(target))


def compile_to(compiler: str, code: bytes, source: str, target: Path) -> None:
    """Compile ``code``; ``target`` appears whole or not at all. Raises NativeError naming ``source``."""
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        file, built = Path(work) / "kernel.cpp", Path(work) / "kernel.so"
        file.write_bytes(code)
        command = [compiler, *OPTIONS, str(file), "-o", str(built)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            words = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
            raise NativeError(f"{source}: does not compile: {words[0] if words else 'g++ failed'}")
        os.replace(built, target)
