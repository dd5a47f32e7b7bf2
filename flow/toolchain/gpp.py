"""C simulation with g++: compile a project's test bench once, run any number of images through it."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flow.codegen import pack, unpack
from flow.fixed import IntArray


class SimulationError(ValueError):
    """g++ is missing, the project does not compile, or its test bench failed."""


@dataclass(frozen=True, eq=False)
class Simulation:
    """Outputs (N, C, H, W) and what it took; ``compile_s`` is 0 when an earlier build was reused."""

    outputs: IntArray
    compile_s: float
    ms_per_image: float


def vendor_headers() -> Path:
    """Xilinx's ap_types headers (Apache-2.0), from the hls4ml package; not imported, only located."""
    spec = importlib.util.find_spec("hls4ml")
    if spec is None or spec.origin is None:
        raise SimulationError("hls4ml is not installed: pip install 'hls4ml>=1.3,<1.4' for the ap_int headers")
    return Path(spec.origin).parent / "templates" / "vivado" / "ap_types"


def flags(native: bool) -> list[str]:
    """Compiler options: native integers and full optimisation, or Xilinx's types."""
    common = ["-std=c++11", "-Wno-unknown-pragmas", "-Wno-attributes"]
    if native:
        return [*common, "-O3", "-march=native", "-DCOEXPLORE_NATIVE"]
    return [*common, "-O1", f"-I{vendor_headers()}", f"-I{resources.files('flow.hls') / 'shim'}"]


def build(folder: Path, native: bool, timeout_s: float = 600) -> tuple[Path, float]:
    """The test bench of ``folder`` (a project's ``hls/``) as a program, kept in a cache by content digest.

    Returns its path and the seconds spent compiling. Raises SimulationError with the compiler's first error.
    """
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise SimulationError("g++ is not on PATH: install g++ (Debian: apt-get install g++) or set CXX")
    options = flags(native)
    digest = hashlib.sha256("\0".join([compiler, *options]).encode())
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".h", ".cpp"):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    cache = Path(os.environ.get("COEXPLORE_CACHE", Path.home() / ".cache" / "coexplore")) / "csim"
    program = cache / digest.hexdigest()[:24]
    if program.exists():
        return program, 0.0
    cache.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=cache) as work:
        target = Path(work) / "tb"
        command = [compiler, *options, "accel.cpp", "tb.cpp", "-o", str(target)]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired:
            raise SimulationError(f"{folder}: g++ did not finish within {timeout_s:g} s") from None
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
            raise SimulationError(f"{folder}: does not compile: {lines[0] if lines else 'g++ failed'}")
        os.replace(target, program)
    return program, time.perf_counter() - started


def simulate(folder: Path, images: IntArray, view: dict[str, dict[str, object]], native: bool = True) -> Simulation:
    """Run integer ``images`` (N, C, H, W) through the project in ``folder``.

    ``view``: the "input" and "output" tables of design.json. Raises SimulationError.
    """
    program, compile_s = build(folder, native)
    end = view["output"]
    with tempfile.TemporaryDirectory() as work:
        inputs, outputs = Path(work) / "in.bin", Path(work) / "out.bin"
        inputs.write_bytes(pack(images, int(str(view["input"]["slot_bits"]))))
        command = [str(program), str(inputs), str(outputs), str(folder.resolve())]  # where its data files lie
        done = subprocess.run(command, capture_output=True, text=True, cwd=work, check=False)
        if done.returncode or not outputs.exists():
            words = (done.stderr or done.stdout).strip().splitlines()
            raise SimulationError(f"{folder}: C simulation failed: {words[-1] if words else done.returncode}")
        shape = end["shape"]
        assert isinstance(shape, list)
        c, h, w = (int(n) for n in shape)
        values = unpack(outputs.read_bytes(), int(str(end["slot_bits"])), bool(end["signed"]), (c, h, w))
    fields = done.stdout.split()
    return Simulation(values, compile_s, float(fields[fields.index("ms_per_image") + 1]))


def run_kernel(
    folder: Path, memory: NDArray[np.uint8], program: NDArray[np.int32], native: bool = True
) -> tuple[NDArray[np.uint8], float, float]:
    """Run a tiled engine once on a whole memory (bytes) with a linked program.

    Returns the memory afterwards, seconds spent compiling and milliseconds of the run. Raises SimulationError.
    """
    bench, compile_s = build(folder, native)
    with tempfile.TemporaryDirectory() as work:
        data, records = Path(work) / "memory.bin", Path(work) / "program.bin"
        data.write_bytes(memory.tobytes())
        records.write_bytes(program.astype("<i4").tobytes())
        command = [str(bench), "memory", str(data), str(records), str(folder.resolve())]
        done = subprocess.run(command, capture_output=True, text=True, cwd=work, check=False)
        if done.returncode:
            words = (done.stderr or done.stdout).strip().splitlines()
            raise SimulationError(f"{folder}: C simulation failed: {words[-1] if words else done.returncode}")
        after = np.frombuffer(data.read_bytes(), np.uint8).copy()
    fields = done.stdout.split()
    return after, compile_s, float(fields[fields.index("ms") + 1])
