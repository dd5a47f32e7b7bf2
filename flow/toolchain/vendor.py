"""Vitis Unified, Vitis HLS and Vivado HLS: which is installed, what it is asked to do, whether to believe its reports.

A compiled project's ``hls/`` holds ``hls_config.cfg``, ``run_hls.tcl``, the sources and the test bench. Vitis Unified
reads the configuration file, the older tools run the Tcl script. Reports are found by pattern, and count only when they
are newer than the start of the run and name the right top. ``synth/done.json`` beside ``hls/`` records the digest of
the inputs and of the reports, so that nothing is run twice.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from flow.toolchain import checks, parse_log
from flow.toolchain.parse import ReportError, ToolReport, parse
from flow.toolchain.runner import RunResult, ToolError, run

__all__ = ["STEPS", "Tool", "ToolError", "available", "choose", "commands", "synthesise"]

STEPS = ("csim", "csynth", "cosim", "impl")
# In order of preference. Vitis Unified needs both of its programs.
PROGRAMS = {"vitis-run": ("vitis-run", "v++"), "vitis_hls": ("vitis_hls",), "vivado_hls": ("vivado_hls",)}
STEP_VARIABLE = "COEXPLORE_HLS_STEP"  # read by run_hls.tcl: vitis-run --tcl passes no arguments on
WORK = "hls_work"  # the unified tool's work directory, under hls/
_VERSION_LIMIT_S = 60.0
_VERSION = re.compile(r"(?<!\d)(20\d\d\.\d(?:\.\d)?)(?!\d)")
_MESSAGE_CHARACTERS = 300


@dataclass(frozen=True)
class Tool:
    """An installed HLS tool; ``version`` is None where it does not say."""

    name: str
    path: str
    version: str | None

    @property
    def unified(self) -> bool:
        return self.name == "vitis-run"


def available() -> list[Tool]:
    """The HLS tools on PATH, preferred first. Asking for versions takes seconds, so the answer is kept per PATH."""
    return list(_available(os.environ.get("PATH", "")))


@functools.cache
def _available(path: str) -> tuple[Tool, ...]:
    found = []
    for name, programs in PROGRAMS.items():
        places = [shutil.which(p, path=path) for p in programs]
        if all(places):
            # v++ documents --version; the other tools -version.
            program, option = (places[-1], "--version") if name == "vitis-run" else (places[0], "-version")
            found.append(Tool(name, str(places[0]), version_of(str(program), option)))
    return tuple(found)


def version_of(program: str, option: str) -> str | None:
    """The version a program prints, else the one in its path (``.../Vitis/2024.2/bin``)."""
    with tempfile.TemporaryDirectory() as folder:  # the tools write logs where they start
        try:
            result = run([[program, option]], Path(folder), _VERSION_LIMIT_S, log_path=Path(folder, "log"))
        except ToolError:
            result = RunResult(1, False, 0.0, "")
    m = re.search(r"\bv" + _VERSION.pattern, result.log_tail) or _VERSION.search(os.path.realpath(program))
    return m[1] if m else None


def choose(name: str = "auto") -> Tool | None:
    """``auto``: the preferred installed tool or None; ``none``: None; a name: that tool.

    Raises ToolError for a tool that is not installed, or for a name that is none.
    """
    if name == "none":
        return None
    if name != "auto" and name not in PROGRAMS:
        raise ToolError(f"unknown toolchain {name!r}; known: auto, none, {', '.join(PROGRAMS)}")
    found = available()
    if name == "auto":
        return found[0] if found else None
    tool = next((t for t in found if t.name == name), None)
    if tool is None:
        wanted = " and ".join(PROGRAMS[name])
        installed = f"installed: {', '.join(t.name for t in found)}" if found else "no HLS tool is installed"
        raise ToolError(f"{name} is not available: {wanted} not on PATH ({installed}); use --toolchain auto or none")
    return tool


def commands(tool: Tool, step: str) -> list[list[str]]:
    """The commands of ``step``, to be run in ``hls/``; ``cosim`` and ``impl`` begin with C synthesis.

    Raises ToolError for an unknown step.
    """
    if step not in STEPS:
        raise ToolError(f"unknown step {step!r}; known: {', '.join(STEPS)}")
    if not tool.unified:
        return [[tool.path, "-f", "run_hls.tcl", step]]
    options = ["--config", "hls_config.cfg", "--work_dir", WORK]
    compiler = str(Path(tool.path).with_name("v++")) if Path(tool.path).with_name("v++").exists() else "v++"
    synthesis = [compiler, "-c", "--mode", "hls", *options]
    if step == "csynth":
        return [synthesis]
    last = [tool.path, "--mode", "hls", f"--{step}", *options]
    return [last] if step == "csim" else [synthesis, last]


def synthesise(tool: Tool, project_dir: Path, timeout_s: float, impl: bool = False) -> list[ToolReport]:
    """Reports of C synthesis of a compiled project (the top's first), and with ``impl`` of the implementation.

    Returns at once when this tool already did the same inputs. Raises ToolError: the tool failed (its message is
    quoted), hung, wrote no report, only an old one, a damaged one, one of another top, or one without latency.
    """
    project_dir = Path(project_dir)
    hls = project_dir / "hls"
    top = _top(hls)
    key = _key(tool, hls, impl)
    if (done := _recorded(project_dir, key)) is not None:
        return _judged(done, top, impl, tool, "")
    before = {path: _stamp(path) for path in _candidates(hls)}
    began = time.time()
    step = "impl" if impl else "csynth"
    result = run(
        commands(tool, step),
        hls,
        timeout_s,
        {STEP_VARIABLE: step},
        log_path=project_dir / "synth" / f"{tool.name}-{step}.log",
    )
    log = _text_of(project_dir / "synth" / f"{tool.name}-{step}.log") + result.log_tail
    if result.timed_out:
        raise ToolError(f"{tool.name} {step} did not finish in {timeout_s:g} s; all its processes were ended")
    if result.rc != 0:
        raise ToolError(f"{tool.name} {step} failed with status {result.rc}: {_quote(log)}")
    # A second of tolerance: file systems round their time stamps.
    fresh = [p for p in _candidates(hls) if p.stat().st_mtime >= began - 1.0 and before.get(p) != _stamp(p)]
    if not any(p.name == "csynth.xml" for p in fresh):
        raise ToolError(_missing(tool, step, bool(before), log))
    reports = _judged(fresh, top, impl, tool, log)
    _record(project_dir, key, [Path(r.file) for r in reports])
    return reports


_TOP = re.compile(r"^\s*(?:syn\.top\s*=\s*|set_top\s+\{?)([A-Za-z_]\w*)", re.MULTILINE)


def _top(hls: Path) -> str:
    """The top function, as the configuration or the script says."""
    scripts = [hls / "hls_config.cfg", hls / "run_hls.tcl"]
    for path in scripts:
        if not path.is_file():
            raise ToolError(f"{path} does not exist: {hls.parent} is no compiled project (flow compile makes one)")
    for path in scripts:
        if m := _TOP.search(path.read_text(encoding="utf-8", errors="replace")):
            return m[1]
    raise ToolError(f"{hls / 'hls_config.cfg'} names no top function (syn.top=)")


def _candidates(hls: Path) -> Iterator[Path]:
    """Files under ``hls/`` whose names are those of reports, wherever a version puts them."""
    for folder, _, names in os.walk(hls):
        parts = Path(folder).relative_to(hls).parts
        if "report" in parts:
            for name in sorted(names):
                if name == "csynth.xml" or ("syn" in parts and name.endswith("_csynth.rpt")):
                    yield Path(folder, name)
                elif "impl" in parts and name.endswith((".rpt",)):
                    yield Path(folder, name)


def _stamp(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _missing(tool: Tool, step: str, old: bool, log: str) -> str:
    said = f"; it said: {_quote(log)}" if parse_log.reason(log) else ""
    if old:
        return f"{tool.name} {step} ended well but left only an old csynth.xml, from before this run{said}"
    return f"{tool.name} {step} ended well but wrote no csynth.xml anywhere under hls/{said}"


def _quote(log: str) -> str:
    """The tool's own words on one line: its explaining error, else the last line it wrote."""
    lines = [line for line in log.splitlines() if line.strip()]
    text = parse_log.reason(log) or (lines[-1] if lines else "it wrote nothing")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= _MESSAGE_CHARACTERS else text[: _MESSAGE_CHARACTERS - 3] + "..."


def _text_of(path: Path) -> str:
    """Both ends of a log: the first errors and the last words."""
    with path.open("rb") as file:
        head = file.read(1 << 20)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(len(head), size - (1 << 20)))
        return (head + b"\n" + file.read()).decode("utf-8", errors="replace")


def _judged(paths: Iterable[Path], top: str, impl: bool, tool: Tool, log: str) -> list[ToolReport]:
    """Parsed reports, the top's XML first; the rest of the top's. Raises ToolError for what cannot be believed."""
    synthesis, others, tops = None, [], set()
    for path in paths:
        if path.name.endswith("_csynth.rpt") and path.name != f"{top}_csynth.rpt":
            continue
        try:
            found = parse(path)
        except ReportError as bad:
            if path.name == "csynth.xml" or path.name == f"{top}_csynth.rpt":
                raise ToolError(f"{tool.name} left a report that cannot be used: {bad}") from None
            continue  # Vivado writes reports of many more kinds
        if path.name == "csynth.xml":
            tops.add(found[0].top)
            synthesis = found[0] if found[0].top == top else synthesis
        else:
            others += found
    if synthesis is None:
        raise ToolError(f"{tool.name} reported on {', '.join(sorted(str(t) for t in tops))}, not on the top {top}")
    _usable(synthesis, tool)
    others = [r for r in others if r.kind in ("csynth", "csynth_module", "export", "utilization", "timing")]
    if impl and not any(r.kind in ("export", "utilization") for r in others):
        raise ToolError(f"{tool.name} impl ended well but wrote no report of the implementation: {_quote(log)}")
    return [_compared(synthesis, others), *others]


def _usable(report: ToolReport, tool: Tool) -> None:
    open_values = [n for n in ("latency_max", "interval_max", "clock_estimated_ns") if getattr(report, n) is None]
    open_values += [n for n in ("lut", "ff", "dsp", "bram18") if report.resources[n] is None]
    if open_values:
        raise ToolError(
            f"{tool.name} reported no {open_values[0]} for {report.top} ({report.file}): undefined,"
            " as for a loop whose trip count is no constant"
        )


def _compared(report: ToolReport, others: list[ToolReport]) -> ToolReport:
    """The XML's report; where the text of the same run says something else, that is one more warning."""
    text = next((r for r in others if r.kind.startswith("csynth") and r.top == report.top), None)
    if text is None:
        return report
    told = checks.compared(report, text, ("the XML", "the text report"))
    return dataclasses.replace(report, warnings=report.warnings + told)


_OUTPUTS = ("hls_prj", "hls_component", WORK, "logs", "__pycache__")
_INPUT_SUFFIXES = (".c", ".cc", ".cpp", ".h", ".hpp", ".cfg", ".tcl", ".ini")


def _key(tool: Tool, hls: Path, impl: bool) -> str:
    """Digest of the tool, the goal and the inputs under ``hls/``: sources, scripts, and files that these name.

    Anything else there (logs, journals, work folders) is the tool's own and changes with each run.
    """
    named = (hls / "hls_config.cfg").read_text(encoding="utf-8", errors="replace")
    digest = hashlib.sha256(json.dumps([tool.name, tool.version, impl]).encode())
    for folder, names, files in os.walk(hls):
        names[:] = sorted(n for n in names if n not in _OUTPUTS and not n.startswith("."))
        for name in sorted(f for f in files if f.endswith(_INPUT_SUFFIXES) or f in named):
            path = Path(folder, name)
            digest.update(json.dumps([path.relative_to(hls).as_posix(), _sha256(path)]).encode())
    return digest.hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _record(project_dir: Path, key: str, paths: list[Path]) -> None:
    """Written under another name and moved, so that a killed run leaves no half record."""
    reports = {p.relative_to(project_dir).as_posix(): _sha256(p) for p in paths}
    target = project_dir / "synth" / "done.json"
    half = target.with_suffix(".tmp")
    half.write_text(json.dumps({"digest": key, "reports": reports}, indent=1) + "\n", encoding="utf-8")
    half.replace(target)


def _recorded(project_dir: Path, key: str) -> list[Path] | None:
    """Reports of an earlier run on the same inputs, if all are still what they were."""
    try:
        done = json.loads((project_dir / "synth" / "done.json").read_text(encoding="utf-8"))
        reports: dict[str, str] = done["reports"]
        if done["digest"] != key or not reports:
            return None
        if any(_sha256(project_dir / name) != digest for name, digest in reports.items()):
            return None
        return [project_dir / name for name in reports]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # no record, or a damaged one: the run is simply done again
