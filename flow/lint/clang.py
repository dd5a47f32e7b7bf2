"""libclang: one parse of a project with Xilinx's headers; every diagnostic that matters is a finding.

Parsing the C++ library and the ap_int headers takes two seconds, so they are kept as a precompiled header in the cache
folder, keyed by their paths, sizes and times.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from clang import cindex

from flow.lint.finding import Finding, LintError
from flow.lint.source import Project
from flow.toolchain.gpp import SimulationError, vendor_headers

HEADERS = ("ap_int.h", "hls_stream.h", "ap_axi_sdata.h")
WARNINGS = (
    "uninitialized", "sometimes-uninitialized", "return-type", "array-bounds", "division-by-zero", "unsequenced",
    "shift-count-overflow", "shift-count-negative", "tautological-constant-out-of-range-compare", "self-assign",
    "constant-conversion", "infinite-recursion", "varargs", "vla-extension",
)  # fmt: skip


def library() -> Any:
    """libclang with the functions that its Python module does not declare."""
    lib = cindex.conf.lib
    if not hasattr(lib, "clang_getCursorBinaryOperatorKind"):
        raise LintError("libclang is too old: pip install 'libclang>=17,<19'")
    for name in ("clang_getCursorBinaryOperatorKind", "clang_getCursorUnaryOperatorKind", "clang_EvalResult_getKind"):
        getattr(lib, name).restype = ctypes.c_int
    for name in ("clang_getCursorBinaryOperatorKind", "clang_getCursorUnaryOperatorKind", "clang_Cursor_Evaluate",
                 "clang_Cursor_getVarDeclInitializer"):  # fmt: skip
        getattr(lib, name).argtypes = [cindex.Cursor]
    lib.clang_Cursor_getVarDeclInitializer.restype = cindex.Cursor
    for name in ("clang_EvalResult_getKind", "clang_EvalResult_getAsLongLong", "clang_EvalResult_dispose"):
        getattr(lib, name).argtypes = [ctypes.c_void_p]
    lib.clang_Cursor_Evaluate.restype = ctypes.c_void_p
    lib.clang_EvalResult_getAsLongLong.restype = ctypes.c_longlong
    return lib


@cache
def include_folders() -> tuple[str, ...]:
    """g++'s system include folders, which hold the compiler headers that libclang's wheel lacks."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise LintError("g++ is not on PATH: install g++ (Debian: apt-get install g++) or set CXX")
    command = [compiler, "-E", "-v", "-x", "c++", os.devnull]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    m = re.search(r"#include <\.\.\.> search starts here:\n(.*?)\nEnd of search list", text, re.DOTALL)
    if m is None:
        raise LintError(f"{compiler} -E -v names no include folders")
    return tuple(line.strip() for line in m.group(1).splitlines())


@cache
def vendor_folders() -> tuple[str, str]:
    """Xilinx's headers and the shim for what they lack; synthesis uses the tool's own."""
    try:
        return str(vendor_headers()), str(resources.files("flow.hls") / "shim")
    except SimulationError as e:
        raise LintError(str(e)) from None


@cache
def options() -> tuple[str, ...]:
    """Compiler options: C++14, Xilinx's types, the warnings that are findings."""
    folders = [*include_folders(), *vendor_folders()]
    out = ["-std=c++14", "-nostdinc", "-ferror-limit=20", "-Wno-everything"]
    out += [part for f in folders for part in ("-isystem", f)]
    return (*out, *(f"-W{w}" for w in WARNINGS))


@cache
def precompiled() -> str | None:
    """Path of the precompiled header; None where the cache folder cannot be written."""
    digest = hashlib.sha256("\0".join([str(cindex.__file__), *options()]).encode())
    for folder in options()[1:]:
        for name in HEADERS:
            path = Path(folder) / name
            if path.is_file():
                digest.update(f"{path}\0{path.stat().st_size}\0{path.stat().st_mtime_ns}\0".encode())
    cache_folder = Path(os.environ.get("COEXPLORE_CACHE", Path.home() / ".cache" / "coexplore")) / "lint"
    target = cache_folder / f"{digest.hexdigest()[:24]}.pch"
    if target.exists():
        return str(target)
    try:
        cache_folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_folder) as work:
            header = cache_folder / f"{digest.hexdigest()[:24]}.h"  # the precompiled header names it, so it stays
            if not header.exists():
                header.write_text("".join(f"#include <{h}>\n" for h in HEADERS))
            unit = cindex.Index.create().parse(str(header), args=["-x", "c++-header", *options()], options=2)
            if any(d.severity >= cindex.Diagnostic.Error for d in unit.diagnostics):
                return None  # the full parse says why
            unit.save(str(Path(work) / "pch"))
            os.replace(Path(work) / "pch", target)
    except OSError:
        return None
    return str(target)


def translation_unit(project: Project, main: str) -> Any:
    """Parse one source file. Raises LintError when clang cannot start."""
    library()
    unsaved = [(str(project.root / s.file), s.parsed) for s in project.sources.values() if s.parsed != s.text]
    path = str(project.root / main)
    text = "".join(s.text for s in project.sources.values())
    arguments = ["-x", "c++", *options()]
    ready = precompiled() if all(f"#include <{h}>" in text for h in HEADERS) else None
    for extra in ([["-include-pch", ready]] if ready else []) + [[]]:
        try:
            unit = cindex.Index.create().parse(path, args=[*extra, *arguments], unsaved_files=unsaved)
        except cindex.TranslationUnitLoadError:
            if not extra:
                raise LintError(f"{path}: libclang cannot parse it") from None
            continue
        if not any("precompiled" in d.spelling or "PCH" in d.spelling for d in unit.diagnostics):
            break
    return unit


def relative(project: Project, name: str) -> str | None:
    """A path as findings show it; None for files outside the project."""
    try:
        return Path(os.path.realpath(name)).relative_to(os.path.realpath(project.root)).as_posix()
    except ValueError:
        return None


def included(project: Project, main: str, unit: Any) -> set[str]:
    """The project's files that a source file reads."""
    names = (relative(project, i.include.name) for i in unit.get_includes())
    return {main} | {n for n in names if n is not None}


def diagnostics(project: Project, main: str, unit: Any) -> list[Finding]:
    """Errors anywhere, and chosen warnings in the project's own files."""
    out = []
    for d in unit.diagnostics:
        place = d.location.file and relative(project, d.location.file.name)
        message = d.spelling + (f" [{d.option}]" if d.option else "")
        if d.severity >= cindex.Diagnostic.Error:
            out.append(Finding(place or main, d.location.line if place else 1, "parse", message))
        elif place:
            out.append(Finding(place, d.location.line, "compiler", message))
    return out
