"""PandA-Bambu, an open HLS compiler, on one process of a compiled project.

What a run shows is ``CLAIM`` and no more: Bambu is given no loop pipelining and no dataflow region, so its cycles are
those of sequential loops and say nothing of the interval that a vendor's tool reaches; its areas are its own estimates
for its own device.

Options and outputs as in Bambu's sources (github.com/ferrandi/PandA-bambu: examples, src/HLS/evaluation): results are
in ``bambu_results_N.xml`` up to 2024 (one element an objective) and in ``bambu_results.xml`` of later versions (an
``application`` with the cycles of each run); both are read, and the summary in the log.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from flow.toolchain import bambu_block
from flow.toolchain.bambu_block import BlockFiles
from flow.toolchain.runner import ToolError, run
from flow.toolchain.vendor import Tool

CLAIM = "one block, sequential loops, accepted by a second HLS compiler and simulated RTL equal to C"
COMPILER = "I386_CLANG16"  # its Clang reads the HLS pragmas; the GCC front ends do not
DEVICE = "xc7z020-1clg484-VVD"  # a device whose characterisation comes with Bambu; simulation needs no vendor tool
FOLDER = "bambu"  # of a project: one folder a block, and its log
_VERSION = re.compile(r"PandA (\d+\.\d+(?:\.\d+)?)")
_VERSION_LIMIT_S = 60.0
_MESSAGE_CHARACTERS = 300


@dataclass(frozen=True, eq=False)
class BlockPlan:
    """A block's folder and the commands to run in it."""

    content: BlockFiles
    commands: tuple[tuple[str, ...], ...]

    @property
    def files(self) -> dict[str, bytes]:
        return self.content.files


@dataclass(frozen=True)
class Measured:
    """Bambu's numbers: cycles of all executions together, and estimates where it prints them."""

    total_cycles: int
    executions: int
    area_estimate: int | None
    flip_flop_estimate: int | None


@dataclass(frozen=True)
class BlockResult:
    """A block that went through. ``claim`` says what that shows; estimates are Bambu's own, for ``device``.

    ``cycles_per_image``: sequential loops. ``compared``: values of the output streams, all equal to C simulation.
    """

    process: str
    function: str
    tool: str
    version: str | None
    device: str
    clock_ns: float
    images: int
    compared: int
    simulated_equal: bool
    cycles_per_image: float
    area_estimate: int | None
    flip_flop_estimate: int | None
    pragmas_left_out: dict[str, int]
    folder: str
    seconds: float
    fidelity: str = "open-hls-block"
    claim: str = CLAIM

    def json(self) -> dict[str, Any]:
        return asdict(self)


def available() -> Tool | None:
    """Bambu, when ``bambu`` is on PATH. Asking for its version takes a moment, so the answer is kept per PATH."""
    return _available(os.environ.get("PATH", ""))


@functools.cache
def _available(path: str) -> Tool | None:
    program = shutil.which("bambu", path=path)
    if program is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        try:
            said = run([[program, "--version"]], Path(folder), _VERSION_LIMIT_S, log_path=Path(folder, "log")).log_tail
        except ToolError:
            return None
    m = _VERSION.search(said)
    # Printers and genomics have programs of that name, too.
    return Tool("bambu", program, m[1]) if m else None


def choose() -> Tool:
    """Bambu. Raises ToolError where it is not installed."""
    tool = available()
    if tool is None:
        raise ToolError("bambu is not available: PandA-Bambu's bambu not on PATH; see docs/open-hls.md")
    return tool


def plan(project_dir: Path, process_id: str, images: int = 1, program: str = "bambu") -> BlockPlan:
    """Files and commands for one process of a compiled project; writes nothing, but runs g++ to record vectors.

    Raises BlockError (a ToolError) for a process that cannot stand alone.
    """
    content = bambu_block.prepare(Path(project_dir), process_id, images)
    command = (
        program,
        "block.cpp",
        f"--top-fname={content.block.top}",
        "--generate-tb=block_tb.cpp",
        "--generate-interface=INFER",
        f"--compiler={COMPILER}",
        "--std=gnu++14",
        "-I.",
        f"--device-name={DEVICE}",
        f"--clock-period={bambu_block.clock_ns(Path(project_dir)):g}",
        "--simulate",
        "--simulator=VERILATOR",
        "-v2",
    )
    return BlockPlan(content, (command,))


def synthesise_block(tool: Tool, project_dir: Path, process_id: str, timeout_s: float, images: int = 1) -> BlockResult:
    """Compile one process with Bambu and simulate its RTL on the project's first ``images`` bundled images.

    Works in ``bambu/PROCESS`` of the project, which is written anew; the log lies beside it. Raises ToolError: the
    process cannot stand alone, its test bench fails in C, Bambu failed (its message is quoted), hung, left no cycles.
    """
    project_dir = Path(project_dir)
    planned = plan(project_dir, process_id, images, tool.path)
    folder = project_dir / FOLDER / process_id
    if folder.exists():
        shutil.rmtree(folder)  # Bambu numbers its results; those of an earlier run must not be taken for this one's
    folder.mkdir(parents=True)
    for name, content in planned.files.items():
        (folder / name).write_bytes(content)
    bambu_block.check(folder)
    log = folder.with_name(f"{process_id}.log")
    began = time.monotonic()
    done = run(planned.commands, folder, timeout_s, log_path=log)
    text = log.read_text(encoding="utf-8", errors="replace")
    if done.timed_out:
        raise ToolError(f"bambu did not finish {process_id} in {timeout_s:g} s; all its processes were ended")
    if done.rc:
        raise ToolError(f"bambu failed on {process_id} with status {done.rc}: {quote(text)} (log: {log})")
    found = parse(folder, text, planned.content.block.top)
    if found.executions != images or found.total_cycles < 1:
        raise ToolError(
            f"bambu simulated {process_id} {found.executions} times in {found.total_cycles} cycles,"
            f" not {images} images: nothing is shown (log: {log})"
        )
    return _result(tool, planned, found, folder, time.monotonic() - began)


def _result(tool: Tool, planned: BlockPlan, found: Measured, folder: Path, seconds: float) -> BlockResult:
    content = planned.content
    block = content.block
    return BlockResult(
        process=block.id,
        function=block.function,
        tool=tool.name,
        version=tool.version,
        device=DEVICE,
        clock_ns=float(next(o for o in planned.commands[0] if o.startswith("--clock-period=")).partition("=")[2]),
        images=content.images,
        compared=sum(content.beats[e.name] * e.lanes for e in block.ends if not e.is_input),
        simulated_equal=True,  # Bambu compares its RTL with C, and the test bench both with the recorded beats
        cycles_per_image=found.total_cycles / found.executions,
        area_estimate=found.area_estimate,
        flip_flop_estimate=found.flip_flop_estimate,
        pragmas_left_out=dict(content.removed),
        folder=str(folder),
        seconds=round(seconds, 3),
    )


def quote(log: str) -> str:
    """The tool's own words on one line: the compiler's first error, else the tool's last, else the last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    compiler = [line for line in lines if re.search(r":\d+: (fatal )?error: ", line)]
    own = [line for line in lines if line.startswith("error ->")]
    text = compiler[0] if compiler else own[-1] if own else lines[-1] if lines else "it wrote nothing"
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= _MESSAGE_CHARACTERS else text[: _MESSAGE_CHARACTERS - 3] + "..."


def parse(folder: Path, log: str, top: str) -> Measured:
    """Cycles out of the results file, checked against the log's summary; estimates out of the log.

    Raises ToolError for no results, damaged ones, ones without cycles, or ones that disagree with the log.
    """
    executions, total = _summary(log)
    results = sorted(folder.glob("bambu_results*.xml"))
    if not results:
        raise ToolError(f"bambu ended well but left no bambu_results*.xml in {folder}: {quote(log)}")
    average = _average(results[-1])
    # The tool prints whole cycles, rounded down, and writes doubles.
    if abs(total / max(1, executions) - average) >= 1:
        raise ToolError(f"{results[-1]}: {average:g} cycles an execution, but the log says {total} for {executions}")
    area, flip_flops = _estimates(log, top)
    return Measured(total, executions, area, flip_flops)


def _summary(log: str) -> tuple[int, int]:
    """Executions and the cycles of all, as printed after the simulation."""
    runs = re.search(r"Number of executions\s*:\s*(\d+)", log)
    cycles = re.search(r"Total cycles\s*:\s*(\d+) cycles", log)
    if runs is None or cycles is None:
        raise ToolError(f"bambu ended well but reported no simulated cycles: {quote(log)}")
    return int(runs[1]), int(cycles[1])


def _average(path: Path) -> float:
    """Cycles an execution, of either layout."""
    try:
        root = ElementTree.parse(path).getroot()
        if root.tag == "bambu_results":
            element = root.find("CYCLES")
            if element is not None:
                return float(element.attrib["value"])
        elif root.tag == "application":
            runs = [float(e.text or "") for e in root.iterfind("./timing/simulation/run")]
            if runs:
                return sum(runs) / len(runs)
    except (OSError, ElementTree.ParseError, KeyError, ValueError) as bad:
        raise ToolError(f"{path}: not readable as Bambu's results ({bad})") from None
    raise ToolError(f"{path}: no cycles in it: was the simulation run?")


def _estimates(log: str, top: str) -> tuple[int | None, int | None]:
    """Estimated area and flip-flops of the top function; None where this version prints none."""
    flip_flops = re.search(rf"Total number of flip-flops in function {re.escape(top)}: (\d+)", log)
    if flip_flops is None:
        return None, None
    areas = re.findall(r"Total estimated area: (\d+)", log[: flip_flops.start()])
    return (int(areas[-1]) if areas else None), int(flip_flops[1])
