"""Behaviour of the mock ``bambu``: it takes the real tool's options only, reads what it is given, and runs it.

Refused as by the real tool: unknown options, missing files, a top function that no source defines, loop PIPELINE,
DATAFLOW, UNROLL with a factor that is no literal. In place of RTL simulation the test bench and the source are
compiled with g++, with Bambu's kind of types: there ``ap_int<W>`` is another name of ``ac_int<W, true>`` (hls4ml
carries that class); without hls4ml, with native integers. Results come in the layout of 2024.10, or of later versions
with COEXPLORE_MOCK_LAYOUT=new.

COEXPLORE_MOCK_FAIL: hang; exit1; no_results; no_cycles; damaged; disagree; skipped (the top is never simulated).
COEXPLORE_MOCK_SPOIL: the "RTL" differs from the C source in its last value.
"""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

VERSION = "PandA 2024.10 - Revision c2ba6936ca2ed63137095fea0b630a1c66e20e63"
# Options of the real tool that the project may use -> what their values look like.
OPTIONS = {
    "--top-fname": r"[A-Za-z_]\w*",
    "--generate-tb": r".+",
    "--generate-interface": r"MINIMAL|INFER|WB4",
    "--compiler": r"I386_(GCC(49|[5-8])|CLANG(4|5|6|7|8|9|10|11|12|13|16))",
    "--std": r"(c|gnu)(99|11|14|17)|(c|gnu)\+\+(98|11|14|17)",
    "--device-name": r"xc7z020-1clg484(-VVD)?|xc7a100t-1csg324-VVD|xc7vx690t-3ffg1930-VVD|nangate45|asap7-TC",
    "--clock-period": r"\d+(\.\d+)?",
    "--simulate": None,
    "--simulator": r"VERILATOR|MODELSIM|XSIM|ICARUS",
}
ACCEPTED_PRAGMAS = ("INTERFACE", "INLINE", "UNROLL")
CYCLES_A_BEAT = 7  # of the pretended RTL


class Refused(Exception):
    """What the real tool would refuse; the message is what it prints."""


def main(argv):
    print(f"  High-Level Synthesis Tool\n  Politecnico di Milano - DEIB\nVersion: {VERSION} - Date 2024-10-01")
    if argv in (["--version"], ["-V"]):
        return 0
    print(f" ==  Bambu executed with: bambu {' '.join(argv)}", flush=True)
    mode = os.environ.get("COEXPLORE_MOCK_FAIL", "")
    if mode == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    try:
        if mode == "exit1":
            raise Refused(
                "block.cpp:9:1: error: use of undeclared identifier 'foo'\nerror -> Front-end compiler returns an error"
            )
        sources, options = arguments(argv)
        check_sources(sources)
        executions, beats = simulate(sources, options)
    except Refused as bad:
        print(bad, flush=True)
        return 1
    report(mode, options["--top-fname"], executions, beats * CYCLES_A_BEAT)
    return 0


def arguments(argv):
    sources, options = [], {}
    for word in argv:
        name, _, value = word.partition("=")
        if not word.startswith("-"):
            sources.append(Path(word))
        elif word.startswith("-I") or re.fullmatch(r"-v[0-4]", word):
            continue
        elif name not in OPTIONS:
            raise Refused(f"bambu: unrecognized option '{name}'")
        elif name in options:
            raise Refused(f"error -> option {name} given twice")
        elif not re.fullmatch(OPTIONS[name] or "", value):
            raise Refused(f"error -> bad value '{value}' of {name}")
        else:
            options[name] = value
    for path in [*sources, Path(options.get("--generate-tb", "."))]:
        if not path.exists():
            raise Refused(f"error -> Cannot open file {path}")
    for name in ("--top-fname", "--generate-tb", "--simulate"):
        if name not in options:
            raise Refused(f"error -> the mock expects {name}")
    if options.get("--generate-interface") != "INFER" or "CLANG" not in options.get("--compiler", ""):
        raise Refused("error -> HLS pragmas are read by Clang with --generate-interface=INFER only")
    defines = rf'^extern "C" void {options["--top-fname"]}\(.*\) \{{'
    if not any(re.search(defines, path.read_text(), re.MULTILINE) for path in sources):
        raise Refused(f"error -> Top function {options['--top-fname']} not found")
    return sources, options


def included(path, seen):
    """``path`` and what it includes by a relative name, all in its folder."""
    if path in seen or not path.is_file():
        return seen
    seen.append(path)
    for name in re.findall(r'^\s*#\s*include "([^"]+)"', path.read_text(), re.MULTILINE):
        included(path.parent / name, seen)
    return seen


def check_sources(sources):
    """HLS pragmas of every file that the front end reads."""
    files = []
    for path in sources:
        included(path, files)
    for path in files:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            m = re.match(r"\s*#\s*pragma\s+HLS\s+(\w+)\s*(.*)", line, re.IGNORECASE)
            where = f"{path}:{number}:1"
            if m is None:
                continue
            if m[1].upper() not in ACCEPTED_PRAGMAS:
                raise Refused(
                    f"{where}: error: #pragma HLS {m[1]} not supported\nerror -> Front-end compiler returns an error"
                )
            if m[1].upper() == "UNROLL" and m[2] and not re.fullmatch(r"factor\s*=\s*\d+", m[2]):
                raise Refused(
                    f"{where}: error: #pragma HLS unroll malformed pragma, Token: {m[2]}\nerror -> Front-end compiler"
                )


def types(folder):
    """Options that give the compiler types of Bambu's kind; ``folder`` takes the headers that name them."""
    found = importlib.util.find_spec("hls4ml")
    if found is None or found.origin is None:
        return ["-DCOEXPLORE_NATIVE"]
    templates = Path(found.origin).parent / "templates"
    (folder / "ap_int.h").write_text(
        "#include <ac_int.h>\n"
        "template <int W> using ap_int = ac_int<W, true>;\n"
        "template <int W> using ap_uint = ac_int<W, false>;\n"
    )
    shutil.copy(templates / "vivado" / "ap_types" / "hls_stream.h", folder)
    return [f"-I{folder}", f"-I{templates / 'quartus' / 'ac_types'}"]


def simulate(sources, options):
    """Run the test bench, calls of the top function counted; (executions, beats written)."""
    top, bench = options["--top-fname"], Path(options["--generate-tb"])
    if os.environ.get("COEXPLORE_MOCK_FAIL") == "skipped":
        return 0, 0
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        text = bench.read_text()
        calls = text.replace(f"        {top}(", f'        std::fprintf(stderr, "call\\n"); {top}(')
        if os.environ.get("COEXPLORE_MOCK_SPOIL"):
            calls = calls.replace("(long long)beat.lane[l] !=", "(long long)beat.lane[l] + (compared == 0) !=")
        (folder / "bench.cpp").write_text(calls)
        command = ["g++", "-std=" + options["--std"], "-O1", "-w", f"-I{Path.cwd()}", *types(folder)]
        command += [str(p.resolve()) for p in sources] + [str(folder / "bench.cpp"), "-o", str(folder / "program")]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode:
            raise Refused(built.stderr + "\nerror -> Front-end compiler returns an error during compilation")
        ran = subprocess.run([str(folder / "program")], capture_output=True, text=True, check=False, timeout=120)
        print(ran.stdout)
        if ran.returncode:
            raise Refused("error -> Simulation not correct!")
        vectors = (Path.cwd() / "block_vectors.h").read_text()
        beats = sum(int(n) for n in re.findall(r"out\d+_beats = (\d+)", vectors))
        executions = ran.stderr.count("call\n")
        return executions, executions * beats


def report(mode, top, executions, cycles):
    print(f"    Total estimated area: 4321\n  Total number of flip-flops in function {top}: 820")
    if mode == "no_cycles":
        return
    average = cycles / executions if executions else 0.0
    if os.environ.get("COEXPLORE_MOCK_LAYOUT") == "new":
        runs = "".join(f"<run>{cycles // executions}</run>" for _ in range(executions))
        text = f'<application version="x"><resources/><timing><simulation return_value="0">{runs}</simulation>'
        text += "</timing></application>"
        name = "bambu_results.xml"
    else:
        shown = average + (100 if mode == "disagree" else 0)
        text = f'<bambu_results bambu_version="{VERSION}" benchmark_name="{top}_0">\n  <CYCLES value="{shown}"/>\n'
        text += '  <HLS_execution_time value="1.5"/>\n</bambu_results>\n'
        taken = len(list(Path.cwd().glob("bambu_results_*.xml")))
        name = f"bambu_results_{taken}.xml"
    if mode != "no_results":
        Path(name).write_text('<?xml version="1.0"?>\n' + (text[: len(text) // 2] if mode == "damaged" else text))
    print(f"  Total cycles             : {cycles} cycles")
    print(f"  Number of executions     : {executions}")
    print(f"  Average execution        : {int(average)} cycles")
