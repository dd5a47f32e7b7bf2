"""Design -> BuildPlan: every file of a compiled project, and the commands that build it. Writes nothing itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from flow import __version__, extensions
from flow.design import Design, Memory, Port, Process
from flow.fixed import IntArray
from flow.ir.graph import digest_of

TOP = "accel"
CFLAGS = "-std=c++11"
SOURCES = ("accel.h", "accel.cpp", "tb.cpp")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w{0,62}\Z", re.ASCII)


def identifier(text: str) -> str:
    """Jinja filter: generated names only. Raises ValueError for anything that is no C identifier."""
    if not _IDENTIFIER.match(text):
        raise ValueError(f"{text!r} is no C identifier; names from outside never reach generated code")
    return text


@cache
def environment() -> Environment:
    """The one Jinja environment of the project's templates."""
    env = Environment(
        loader=PackageLoader("flow.templates", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    env.filters["identifier"] = identifier
    return env


@dataclass(frozen=True, eq=False)
class BuildPlan:
    """Files (path relative to the project -> content), commands to run in ``hls/``, and a digest of all contents."""

    files: dict[str, bytes]
    commands: tuple[tuple[str, ...], ...]
    digest: str


def headers() -> dict[str, bytes]:
    """The hand-written C++ library, and what extensions add to it."""
    folder = resources.files("flow.hls")
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name.endswith(".h")} | extensions.headers()


def included(sources: Iterable[bytes]) -> dict[str, bytes]:
    """The part of the C++ library that ``sources`` include, directly or through one another."""
    library, found, left = headers(), dict[str, bytes](), list(sources)
    while left:
        for name in re.findall(r'^#include "([^"]+)"', left.pop().decode(), re.MULTILINE):
            if name in library and name not in found:
                found[name] = library[name]
                left.append(library[name])
    return found


def array_type(m: Memory) -> str:
    return f"coexplore::{'Int' if m.signed else 'UInt'}<{m.bits}>"


def initialiser(data: IntArray) -> str:
    """C initialiser list of nested braces, 32 numbers a line."""
    if data.ndim > 1:
        return "{" + ",\n".join(initialiser(x) for x in data) + "}"
    numbers = [str(int(v)) for v in data]
    lines = [", ".join(numbers[i : i + 32]) for i in range(0, len(numbers), 32)]
    return "{" + ",\n".join(lines) + "}"


def weights_file(process: Process) -> str:
    """Definition of a process's constant arrays."""
    parts = [f"// Constants of {process.id}; dimension 0 is the depth, the others are read in one cycle.\n"]
    for m in process.memories:
        shape = "".join(f"[{n}]" for n in m.data.shape)
        parts.append(f"static const {array_type(m)} {process.id}_{m.name}{shape} =\n{initialiser(m.data)};\n")
    return "\n".join(parts)


def constant(name: str, value: int) -> str:
    kind = "int" if -(2**31) <= value < 2**31 else "long long"
    suffix = "" if kind == "int" else "LL"
    return f"static constexpr {kind} {name} = {value}{suffix};"


def plan(design: Design, vectors: tuple[IntArray, IntArray] | None = None, top: str = TOP) -> BuildPlan:
    """The project's generated files.

    ``vectors``: integer images (N, C, H, W) and the expected outputs (N, C, H, W) for the self-checking test bench;
    ``top``: the accelerator's name, which differs where several are in one system.
    """
    net, graph = design.netlist, design.graph
    env = environment()
    view: dict[str, Any] = {
        "version": __version__,
        "digest": design.digest,
        "top": top,
        "board": design.board.name,
        "part": design.board.part,
        "clock_ns": round(1e3 / design.clock_mhz, 4),
        "uncertainty": 12.5,
        "cflags": CFLAGS,
    }
    processes = [process_view(p, design) for p in net.processes]
    view["processes"] = processes
    view["streams"] = [
        {"name": s.name, "type": element_type(s.port), "depth": s.depth, "storage": s.storage} for s in net.streams
    ]
    source, sink = net.processes[0], net.processes[-1]
    view["source"] = dict(source.constants)
    view["sink"] = dict(sink.constants)
    view["in_elements"] = int(np.prod(graph.tensors["input"].shape))
    view["out_elements"] = int(np.prod(graph.tensors[graph.output].shape))
    view["headers"] = sorted({p.header for p in net.processes})
    weights = {f"weights/{p.id}.h": weights_file(p) for p in net.processes if p.memories}
    view["weights"] = sorted(weights)
    view["images"] = 0 if vectors is None else len(vectors[0])
    files: dict[str, bytes] = {f"hls/{name}": text.encode() for name, text in weights.items()}
    data_files = []
    if vectors is not None:
        files["hls/tb_inputs.bin"] = pack(vectors[0], view["source"]["SLOT"])
        files["hls/tb_expected.bin"] = pack(vectors[1], view["sink"]["SLOT"])
        data_files = ["tb_inputs.bin", "tb_expected.bin"]
    view |= {"sources": ["accel.cpp"], "tb_files": ["tb.cpp"], "data_files": data_files}
    for name in (*SOURCES, "hls_config.cfg", "run_hls.tcl"):
        files[f"hls/{name}"] = env.get_template(f"{name}.j2").render(view).encode()
    files |= {f"hls/{name}": content for name, content in included(files[f"hls/{n}"] for n in SOURCES).items()}
    files["design.json"] = json.dumps(describe(design) | {"top": top}, indent=1).encode()
    digest = digest_of([(k, v) for k, v in sorted(files.items())])
    return BuildPlan(files, (("vitis-run", "--mode", "hls", "--csim", "--config", "hls_config.cfg"),), digest)


def element_type(port: Port) -> str:
    """C++ type of a stream's beats."""
    return f"Vec<{'Int' if port.signed else 'UInt'}<{port.bits}>, {port.lanes}>"


def process_view(p: Process, design: Design) -> dict[str, Any]:
    """What the templates see of a process: strings and numbers only."""
    net = design.netlist
    args: list[dict[str, str]] = []
    for kind, ports in (("sink", p.inputs), ("source", p.outputs)):
        for i, port in enumerate(ports):
            found = [s.name for s in net.streams if getattr(s, kind) == (p.id, i)]
            external = "in" if kind == "sink" else "out"
            top_port = "source" if kind == "sink" else "sink"
            kind_type = element_type(port) if found else f"Axis<{port.width}>"
            args.append({"actual": found[0] if found else top_port, "formal": f"{external}{i}", "type": kind_type})
    return {
        "id": identifier(p.id),
        "function": identifier(p.function),
        "constants": [constant(identifier(k), v) for k, v in p.constants],
        "types": [(identifier(k), v) for k, v in p.types],
        "args": args,
        "memories": [
            {
                "name": f"{p.id}_{identifier(m.name)}",
                "impl": m.impl,
                "dims": [] if m.banked else list(range(2, m.data.ndim + 1)),
                "banked": m.banked,
                "whole": m.impl == "registers",
            }
            for m in p.memories
        ],
        "images": p.function == "to_axis",
    }


def pack(values: IntArray, slot: int) -> bytes:
    """Images as the accelerator streams them: rows, columns, channels innermost; ``slot`` bits an element."""
    flat = values.transpose(0, 2, 3, 1).reshape(len(values), -1)
    width = np.dtype(f"<i{slot // 8}")
    return flat.astype(np.int64).astype(width, casting="unsafe").tobytes()


def unpack(data: bytes, slot: int, signed: bool, shape: tuple[int, int, int]) -> IntArray:
    """Inverse of ``pack``."""
    c, h, w = shape
    flat = np.frombuffer(data, np.dtype(f"<{'i' if signed else 'u'}{slot // 8}"))
    return flat.astype(np.int64).reshape(-1, h, w, c).transpose(0, 3, 1, 2)


def describe(design: Design) -> dict[str, Any]:
    """``design.json``: enough to rebuild the design from ``model.onnx``, and to read it."""
    g = design.graph
    return {
        "version": __version__,
        "digest": design.digest,
        "graph": g.digest,
        "board": design.board.name,
        "board_data": design.board.json(),
        "part": design.board.part,
        "clock_mhz": design.clock_mhz,
        "top": TOP,
        "input": tensor_view(g.tensors["input"].shape, g.tensors["input"].quant, design, 0),
        "output": tensor_view(g.tensors[g.output].shape, g.tensors[g.output].quant, design, -1),
        "foldings": {k: f.json() for k, f in design.foldings.items()},
        "available": design.available.json(),
        "bound": asdict(design.bound),
        "streams": [
            {"name": s.name, "source": list(s.source), "sink": list(s.sink), "depth": s.depth,
             "bits": s.port.width, "beats": s.port.beats, "storage": s.storage}
            for s in design.netlist.streams
        ],
        "processes": [
            {"id": p.id, "node": p.node, "function": p.function, "iterations": p.iterations, "depth": p.depth,
             "cycles": p.cycles, "resources": p.resources.json()}
            for p in design.netlist.processes
        ],
    }  # fmt: skip


def tensor_view(shape: tuple[int, int, int], quant: Any, design: Design, process: int) -> dict[str, Any]:
    p = design.netlist.processes[process]
    return {
        "shape": list(shape),
        "bits": quant.bits,
        "signed": quant.signed,
        "scale": quant.scale,
        "zero": quant.zero,
        "slot_bits": p.constant("SLOT"),
        "axis_bits": p.constant("WIDTH"),
        "words": p.constant("WORDS"),
    }
