"""The mock tools' behaviour; see the package's docstring. Run as a script, it is the back end of ``stubs.tcl``."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import mock_reports

VERSIONS = {"vivado_hls": "2019.2", "vitis_hls": "2022.1", "vitis-run": "2024.2", "v++": "2024.2"}
BANNERS = {
    "vivado_hls": "Vivado(TM) HLS - High-Level Synthesis from C, C++ and SystemC v2019.2 (64-bit)",
    "vitis_hls": "****** Vitis HLS - High-Level Synthesis from C, C++ and OpenCL v2022.1 (64-bit)",
    "vitis-run": "****** vitis-run v2024.2 (64-bit)",
    "v++": "****** v++ v2024.2 (64-bit)",
}
_HERE = Path(__file__).resolve()


class Refused(Exception):
    """What the real tool would refuse; the message is its ERROR line."""


def main(program: str, argv: list[str]) -> int:
    if argv in (["-version"], ["--version"]):
        print(BANNERS[program])
        return 0
    if calls := os.environ.get("COEXPLORE_MOCK_CALLS"):
        with open(calls, "a", encoding="utf-8") as file:
            file.write(json.dumps([program, *argv]) + "\n")
    print(BANNERS[program], flush=True)
    try:
        rc = _fail() or (_unified(program, argv) if program in ("vitis-run", "v++") else _script(program, argv))
    except Refused as bad:
        print(f"ERROR: {bad}", flush=True)
        rc = 1
    print("INFO: [HLS 200-112] Total CPU user time: 1 seconds. Total elapsed time: 1 seconds.", flush=True)
    return rc


def _mode() -> str:
    return os.environ.get("COEXPLORE_MOCK_FAIL", "")


def _fail() -> int:
    """Failures before any work."""
    if _mode() == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sleeper = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
        pids = [os.getpid()]
        for own_session in (False, True):
            pids.append(subprocess.Popen([sys.executable, "-c", sleeper], start_new_session=own_session).pid)
        if note := os.environ.get("COEXPLORE_MOCK_PIDS"):
            Path(note).write_text("\n".join(map(str, pids)), encoding="utf-8")
        time.sleep(600)
    if _mode() == "licence":
        print("ERROR: [Common 17-345] A valid license was not found for feature 'HLS' and/or device 'xczu9eg'.")
        return 1
    if _mode() == "bad_part":
        print("WARNING: [HLS 200-40] No boards.\nERROR: [HLS 200-1023] Part 'xc0none' is not installed.")
        return 1
    if _mode() == "exit1":
        print("ERROR: [HLS 207-3776] use of undeclared identifier 'foo' (accel.cpp:3:1)")
        return 1
    return 0


def _script(program: str, argv: list[str]) -> int:
    if len(argv) < 2 or argv[0] != "-f":
        raise Refused(f"[HLS 200-1] usage: {program} -f SCRIPT [ARGUMENT...]")
    return _tcl(program, argv[1], argv[2:])


def _tcl(flavour: str, script: str, arguments: list[str]) -> int:
    if not Path(script).is_file():
        raise Refused(f"[HLS 200-2] cannot open '{script}'")
    tclsh = shutil.which("tclsh")
    if tclsh is None:
        raise Refused("the mock tools need tclsh")
    stubs = str(_HERE.with_name("stubs.tcl"))
    return subprocess.run(
        [tclsh, stubs, flavour, sys.executable, str(_HERE), script, *arguments], check=False
    ).returncode


_SINGLE = (
    "part",
    "hls.clock",
    "hls.clock_uncertainty",
    "hls.flow_target",
    "hls.syn.top",
    "hls.syn.cflags",
    "hls.syn.compile.pipeline_style",
    "hls.tb.cflags",
)
_SINGLE += (
    "hls.csim.clean",
    "hls.package.output.format",
    "hls.package.output.syn",
    "hls.vivado.flow",
    "hls.syn.csimflags",
)
_MANY = ("hls.syn.file", "hls.tb.file")


def config(path: Path) -> dict[str, list[str]]:
    """The configuration file; an unknown key, a key twice, or a bad value is refused as by the tool."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if m := re.fullmatch(r"\[(\w+)\]", line):
            section = m[1] + "."
            continue
        key, equals, value = line.partition("=")
        key = section + key.strip()
        if not equals or key not in _SINGLE + _MANY:
            raise Refused(f"[v++ 82-4503] {path.name}: unrecognised option '{key}'")
        if key in found and key in _SINGLE:
            raise Refused(f"[v++ 82-4504] {path.name}: option '{key}' cannot be specified more than once")
        found.setdefault(key, []).append(value.strip())
    for key in ("part", "hls.clock", "hls.syn.top", "hls.syn.file"):
        if key not in found:
            raise Refused(f"[v++ 82-4505] {path.name}: option '{key}' is required")
    for key, pattern in (("hls.clock", r"[\d.]+(ns|MHz)"), ("hls.clock_uncertainty", r"[\d.]+(%|ns)")):
        if key in found and not re.fullmatch(pattern, found[key][0]):
            raise Refused(f"[v++ 82-4506] {path.name}: bad value '{found[key][0]}' of '{key}'")
    for name in found["hls.syn.file"] + found.get("hls.tb.file", []):
        if not (path.parent / name).exists():
            raise Refused(f"[HLS 200-642] file '{name}' does not exist")
    return found


def _unified(program: str, argv: list[str]) -> int:
    words = list(argv)
    if words[:1] == ["-c"] and program == "v++":
        words.pop(0)
    options: dict[str, str] = {}
    flags = {"v++": (), "vitis-run": ("--csim", "--cosim", "--package", "--impl")}[program]
    steps = [w for w in words if w in flags]
    words = [w for w in words if w not in flags]
    for name, value in zip(words[::2], words[1::2], strict=False):
        if name not in ("--mode", "--config", "--work_dir", "--tcl"):
            raise Refused(f"[{program} 60-600] unrecognised option '{name}'")
        options[name] = value
    if len(words) % 2 or options.get("--mode") != "hls" or len(steps) > 1:
        raise Refused(f"[{program} 60-601] bad command line: {' '.join(argv)}")
    if "--tcl" in options:
        return _tcl("vitis-run", options["--tcl"], [])
    found = config(Path(options["--config"]))
    place = Path(options["--work_dir"]) / "hls"
    step = steps[0][2:] if steps else "csynth"
    if step == "csim":
        print("INFO: [SIM 211-1] CSim done with 0 errors.")
        return 0
    if step in ("cosim", "impl") and not (place / "syn/report/csynth.xml").is_file():
        raise Refused("[v++ 82-1] run C synthesis first")
    clock = _clock(found["hls.clock"][0])
    uncertainty = found.get("hls.clock_uncertainty", ["27%"])[0]
    ns = clock * float(uncertainty[:-1]) / 100 if uncertainty.endswith("%") else float(uncertainty[:-2])
    sources = found["hls.syn.file"]
    report(step, "vitis-run", place, found["hls.syn.top"][0], found["part"][0], clock, ns, sources)
    return 0


def _clock(text: str) -> float:
    return float(text[:-2]) if text.endswith("ns") else 1000 / float(text[:-3])


def report(
    step: str,
    flavour: str,
    place: Path,
    top: str,
    part: str,
    clock_ns: float,
    uncertainty_ns: float,
    sources: list[str],
) -> None:
    """Check the sources as a compiler would, then write the reports of ``step`` below ``place``."""
    text = "".join(Path(s).read_text(encoding="utf-8", errors="replace") for s in sources)
    if not re.search(rf"\b{re.escape(top)}\s*\(", text):
        raise Refused(f"[HLS 200-637] Cannot find the top function '{top}' in the source files.")
    if not re.fullmatch(r"xc[a-z0-9]+-[a-z0-9-]+[a-z0-9]*", part, re.IGNORECASE):
        raise Refused(f"[HLS 200-1023] Part '{part}' is not installed.")
    fail = _mode()
    if fail == "no_report":
        return
    report_file = place / "syn/report/csynth.xml"
    if fail == "stale" and report_file.exists():
        return
    run = mock_reports.Run(
        tool="Vivado HLS" if flavour == "vivado_hls" else "Vitis HLS",
        version=VERSIONS[flavour],
        part=part,
        top="another" if fail == "other_top" else top,
        clock_ns=clock_ns,
        uncertainty_ns=uncertainty_ns,
        numbers=mock_reports.numbers(Path.cwd().parent),
    )
    written = mock_reports.write(run, step, place, undefined=fail == "undef", unified=flavour == "vitis-run")
    for path in written:
        if fail == "stale":
            os.utime(path, (1.6e9, 1.6e9))
        if fail == "truncated":
            data = path.read_bytes()
            path.write_bytes(data[: len(data) * 3 // 5])


if __name__ == "__main__":
    step, flavour, place, top, part, period, uncertainty, *sources = sys.argv[1:]
    try:
        report(step, flavour, Path(place), top, part, float(period), float(uncertainty), sources)
    except Refused as refused:
        print(f"ERROR: {refused}", flush=True)
        sys.exit(1)
