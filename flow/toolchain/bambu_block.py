"""One process of a compiled project as a folder of its own, for an HLS compiler that takes no whole accelerator.

The block is cut out of the generated ``hls/accel.cpp``: the same function with the same configuration and weights.
Three things differ from what the vendor's tool reads:

- Pragmas. ``KEPT_PRAGMAS`` is the one switch: HLS pragmas that it does not name, or with options that the second
  compiler refuses, become empty lines in the copies of the headers. The project's own files are not touched.
- Weights are arrays of C's integers (the types of the headers are templates), so that they are constants without
  constructors.
- A test bench in C++ with vectors: the beats that the block reads and writes in C simulation of the whole project,
  which is run here with the project's bundled images.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from flow.codegen import environment
from flow.fixed import IntArray
from flow.toolchain.runner import ToolError, run

# Name of an HLS pragma -> what may follow it. Everything else is left out for the second compiler: Bambu 2024.10
# refuses PIPELINE in loops and takes a literal only as UNROLL factor; DATAFLOW did not come through its co-simulation;
# storage and operator bindings are of the vendor's parts. ``axis port=x`` is the form that it was seen to honour.
KEPT_PRAGMAS = {
    "INTERFACE": re.compile(r"axis\s+port=\w+"),
    "INLINE": re.compile(r"(off)?"),
    "UNROLL": re.compile(r"(factor=\d+)?"),
}
MOST_VALUES = 1 << 22  # numbers in a block's vectors: they are compiled into the test bench
_PRAGMA = re.compile(r"\s*#\s*pragma\s+HLS\s+(\w+)\s*(.*?)\s*(?://.*)?", re.IGNORECASE)
_STREAM = re.compile(r"hls::stream<\s*(.+?)\s*>\s*&\s*(\w+)$")
_VECTOR = re.compile(r"Vec<(U?)Int<(\d+)>,\s*(\d+)>$")
_COMPILE_S = 300.0


class BlockError(ToolError):
    """A process that cannot stand alone, or a project that is not what the generator writes; one line."""


@dataclass(frozen=True)
class End:
    """A stream end of a block: ``lanes`` integers of ``bits`` a beat."""

    name: str
    bits: int
    signed: bool
    lanes: int
    is_input: bool

    @property
    def type(self) -> str:
        return f"coexplore::Vec<coexplore::{'Int' if self.signed else 'UInt'}<{self.bits}>, {self.lanes}>"


@dataclass(frozen=True)
class Block:
    """What ``accel.cpp`` says of a process. ``config``: lines of its struct; ``arguments``: of the call, in order."""

    id: str
    function: str
    header: str
    config: str
    ends: tuple[End, ...]
    arguments: tuple[str, ...]
    weights: str

    @property
    def top(self) -> str:
        return f"{self.id}_top"


@dataclass(frozen=True, eq=False)
class BlockFiles:
    """The folder's content; ``beats`` of each end for all ``images``; ``removed``: pragma -> how many were left out."""

    block: Block
    files: dict[str, bytes]
    images: int
    beats: dict[str, int]
    removed: dict[str, int] = field(default_factory=dict)


def prepare(project_dir: Path, process_id: str, images: int = 1) -> BlockFiles:
    """Files of the block, with vectors of the first ``images`` bundled images. Runs g++.

    Raises BlockError: no such process, one at the AXI ends, no bundled images, g++ missing or failing.
    """
    hls = Path(project_dir) / "hls"
    block = cut(hls, process_id)
    vectors = record(Path(project_dir), block, images)
    files: dict[str, bytes] = {}
    removed: dict[str, int] = {}
    library = headers_of(hls)
    for name in closure(block.header, library):
        text, gone = without_pragmas(library[name])
        files[name] = text.encode()
        for pragma in gone:
            removed[pragma] = removed.get(pragma, 0) + 1
    files["ap_axi_sdata.h"] = (resources.files("flow.hls") / "shim" / "ap_axi_sdata.h").read_bytes()
    view = {"block": block, "images": images, "ends": [(e, vectors[e.name]) for e in block.ends]}
    for name in ("block.h", "block.cpp", "block_tb.cpp", "block_vectors.h"):
        files[name] = environment().get_template(f"bambu_{name}.j2").render(view).encode()
    files["block_weights.h"] = native_weights(block.weights).encode()
    return BlockFiles(block, files, images, {n: v.shape[0] * v.shape[1] for n, v in vectors.items()}, removed)


def without_pragmas(text: str) -> tuple[str, list[str]]:
    """A header without the HLS pragmas that ``KEPT_PRAGMAS`` does not allow, line numbers kept; and their names."""
    lines, gone = [], []
    source = iter(text.split("\n"))
    for line in source:
        m = _PRAGMA.fullmatch(line.rstrip("\\"))
        form = KEPT_PRAGMAS.get(m[1].upper()) if m else None
        if m is None or (form is not None and form.fullmatch(m[2]) and not line.endswith("\\")):
            lines.append(line)
            continue
        gone.append(m[1].upper())
        lines.append("")
        while line.endswith("\\"):
            line = next(source, "")
            lines.append("")
    return "\n".join(lines), gone


def headers_of(hls: Path) -> dict[str, str]:
    """The project's own copies of the library's headers."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(hls.glob("*.h"))}


def closure(header: str, library: dict[str, str]) -> list[str]:
    """``header`` and the headers it includes."""
    found: list[str] = []
    todo = [header]
    while todo:
        name = todo.pop()
        if name in library and name not in found:
            found.append(name)
            todo += re.findall(r'^#include "(\w+\.h)"', library[name], re.MULTILINE)
    return sorted(found)


_CONSTANTS = re.compile(r"^static const coexplore::(U?)Int<(\d+)> ", re.MULTILINE)


def native_weights(text: str) -> str:
    """The weights file with arrays of C's integers, each as wide as needed."""

    kinds = ((8, "char"), (16, "short"), (32, "int"), (64, "long long"))

    def native(m: re.Match[str]) -> str:
        kind = next(name for most, name in kinds if int(m[2]) <= most)
        return f"static const {'unsigned' if m[1] else 'signed'} {kind} "

    return _CONSTANTS.sub(native, text)


def _source(hls: Path) -> str:
    path = hls / "accel.cpp"
    if not path.is_file():
        raise BlockError(f"{path} does not exist: {hls.parent} is no compiled project (flow compile makes one)")
    return path.read_text(encoding="utf-8")


def cut(hls: Path, process_id: str) -> Block:
    """The process out of ``hls/accel.cpp``. Raises BlockError for one that is not there or has an AXI end."""
    text = _source(hls)
    known = re.findall(r"^struct (\w+)_config \{", text, re.MULTILINE)
    if process_id not in known:
        raise BlockError(f"{hls.parent} has no process {process_id!r}; its processes: {', '.join(known)}")
    config = re.search(rf"^struct {process_id}_config \{{\n(.*?)^\}};", text, re.MULTILINE | re.DOTALL)
    shell = re.search(rf"^void {process_id}\(([^\n]*)\) \{{\n(.*?)^\}}", text, re.MULTILINE | re.DOTALL)
    call = re.search(rf"^    (\w+)<{process_id}_config>\((.*)\);", shell[2], re.MULTILINE) if shell else None
    if config is None or shell is None or call is None:
        raise BlockError(f"{hls / 'accel.cpp'}: process {process_id} is not as the generator writes it")
    ends = tuple(_end(formal, process_id) for formal in re.split(r", (?=hls::|unsigned )", shell[1]))
    header = next((n for n, c in headers_of(hls).items() if re.search(rf"\bvoid {call[1]}\(", c)), None)
    if header is None:
        raise BlockError(f"{hls / 'accel.cpp'}: process {process_id} calls {call[1]}, which no header defines")
    _whole_beats(process_id, call[1], config[1])
    weights = hls / "weights" / f"{process_id}.h"
    constants = weights.read_text(encoding="utf-8") if weights.is_file() else ""
    return Block(process_id, call[1], header, config[1], ends, tuple(call[2].split(", ")), constants)


def _end(formal: str, process_id: str) -> End:
    m = _STREAM.fullmatch(formal)
    beat = _VECTOR.fullmatch(m[1]) if m else None
    if m is None or beat is None:
        raise BlockError(
            f"process {process_id} has an AXI4-Stream end ({formal}), of the vendor's types: choose another one"
        )
    return End(m[2], int(beat[2]), not beat[1], int(beat[3]), m[2].startswith("in"))


def _whole_beats(process_id: str, function: str, config: str) -> None:
    """A width converter's last beat may be partly filled; what its spare lanes hold is nobody's to compare."""
    c = {k: int(v) for k, v in re.findall(r"(\w+) = (-?\d+)", config)}
    if function == "gearbox" and c["A"] * c["READS"] != c["B"] * c["WRITES"]:
        raise BlockError(
            f"process {process_id}: its last beat is partly filled, so not every lane has a value to compare:"
            " choose another one"
        )


def record(project_dir: Path, block: Block, images: int) -> dict[str, IntArray]:
    """Beats (images, beats, lanes) at each end of ``block`` in C simulation of the whole project (native integers)."""
    hls = project_dir / "hls"
    view = _view(project_dir)
    bundled = hls / "tb_inputs.bin"
    slot, words = int(view["input"]["slot_bits"]), int(view["input"]["words"])
    elements = int(np.prod(view["input"]["shape"]))
    held = bundled.stat().st_size // (elements * slot // 8) if bundled.is_file() else 0
    if not 1 <= images <= held:
        raise BlockError(f"{bundled}: {images} images asked for, {held} bundled; give 1 to {held}")
    text = _source(hls)
    body = text[text.index('extern "C" void') :]
    calls = re.findall(r"^    (\w+)\((.*)\);$", body, re.MULTILINE)
    position = [name for name, _ in calls].index(block.id)
    view = {
        "block": block,
        "streams": re.findall(r"^    hls::stream<(.+) > (\w+)\(", body, re.MULTILINE),
        "before": calls[:position],
        "actual": list(zip(calls[position][1].split(", "), block.ends, strict=True)),
        "source": re.findall(r"&(\w+)", body)[0],
        "width": int(view["input"]["axis_bits"]),
        "slot": slot,
        "words": words,
        "lanes": int(view["input"]["axis_bits"]) // slot,
        "elements": elements,
    }
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "taps.cpp").write_bytes(environment().get_template("bambu_taps.cpp.j2").render(view).encode())
        _gpp(work, ["taps.cpp", f"-I{hls.resolve()}"], [str(bundled.resolve()), str(images)], "recording vectors")
        return {e.name: _beats(work / e.name, e, images) for e in block.ends}


def _beats(path: Path, end: End, images: int) -> IntArray:
    values = np.fromfile(path, "<i8").astype(np.int64)
    if values.size > MOST_VALUES:
        raise BlockError(f"{end.name} moves {values.size} values, more than the {MOST_VALUES} a test bench can hold")
    return values.reshape(images, -1, end.lanes)


def _view(project_dir: Path) -> dict[str, Any]:
    path = project_dir / "design.json"
    try:
        view = json.loads(path.read_text(encoding="utf-8"))
        view["input"]["slot_bits"], view["clock_mhz"]
    except (OSError, ValueError, KeyError, TypeError) as bad:
        raise BlockError(f"{path} is not readable as a compiled project's ({bad}): compile it again") from None
    return dict(view)


def clock_ns(project_dir: Path) -> float:
    """The project's clock period."""
    return round(1e3 / float(_view(Path(project_dir))["clock_mhz"]), 4)


def check(folder: Path) -> None:
    """Run the block's own test bench with g++ and native integers. Raises BlockError if it does not pass."""
    with tempfile.TemporaryDirectory() as work:
        sources = [str((folder / name).resolve()) for name in ("block.cpp", "block_tb.cpp")]
        _gpp(Path(work), sources, [], f"{folder}: test bench")


def _gpp(work: Path, sources: list[str], arguments: list[str], what: str) -> None:
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise BlockError("g++ is not on PATH: install g++ (Debian: apt-get install g++) or set CXX")
    options = ["-std=c++11", "-O1", "-w", "-DCOEXPLORE_NATIVE"]
    build = [compiler, *options, *sources, "-o", "program"]
    done = run([build, ["./program", *arguments]], work, _COMPILE_S, log_path=work / "log")
    if done.rc or done.timed_out:
        lines = [line for line in done.log_tail.splitlines() if "error" in line] or done.log_tail.splitlines()
        said = " ".join(lines[0].split()) if lines else f"status {done.rc}"
        raise BlockError(f"{what} failed with g++: {'time limit' if done.timed_out else said}")
