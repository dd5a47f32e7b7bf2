"""A compiled chain as a folder: the whole model, one complete project for each part, and what joins them.

DIR/model.onnx  the whole quantised network: the specification      DIR/design.json  parts, joints, memory, bound
DIR/part0/ ...  a project of its own, its model.onnx being the part's network; an engine's has hls/links.bin besides,
                which says where the addresses in its program stand
"""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flow import __version__, chain, codegen, mapping, project
from flow.board import Board, from_json
from flow.chain import cycles
from flow.chain.design import Chain, Part
from flow.chain.memory import Memory, allocate, side, turns
from flow.design import Bound, Report
from flow.fixed import IntArray
from flow.ir import onnx_file, passes, qdq
from flow.ir.graph import Graph
from flow.platform import Link, Platform
from flow.project import CsimResult, ModelProto, Project, ProjectError
from flow.tiled import TiledDesign, link, render
from flow.tiled.program import Program, compile_program, pack_images, unpack_outputs
from flow.toolchain import gpp

KIND = "chain"


@dataclass(frozen=True, eq=False)
class Compiled:
    """A chain with its report and all files of its folder (path -> content)."""

    design: Chain
    report: Report
    files: dict[str, bytes]


def compile_model(
    model: ModelProto, place: Board | Platform, goal: mapping.Goal, clock_mhz: float | None = None, seed: int = 0
) -> Compiled | mapping.NoFit:
    """A quantised model to a chain's folder. Raises ModelError or UnsupportedError; NoFit says what is short."""
    model, _ = passes.headless(model)
    graph = qdq.load(model)
    if isinstance(place, Platform):
        found = chain.solve_platform(graph, place, goal, clock_mhz)
    else:
        found = chain.solve(graph, place, goal, clock_mhz)
    return found if isinstance(found, mapping.NoFit) else compiled(model, found, seed)


def compiled(model: ModelProto, found: Chain, seed: int = 0) -> Compiled:
    """All files of a chain's folder."""
    report = found.report()
    programs = {k: compile_program(p) for k, p in enumerate(found.parts) if isinstance(p, TiledDesign)}
    files = {project.MODEL: model.SerializeToString()}
    files["design.json"] = json.dumps(describe(found, programs), indent=1).encode()
    images = project.random_images(found.graph, project.VECTORS, seed)
    for k, part in enumerate(found.parts):
        onnx = project.part_model(part.graph, f"part{k}")
        outputs = part.graph.evaluate(images)[part.graph.output]
        inside = _part_files(part, programs.get(k), (images, outputs), top(k))
        inside |= {project.MODEL: onnx.SerializeToString()}
        inside |= project.report_files(report.parts[k])
        files |= {f"part{k}/{name}": content for name, content in inside.items()}
        images = outputs
    files |= project.report_files(report)
    files["README.md"] = readme(found, programs).encode()
    return Compiled(found, report, files)


def top(part: int) -> str:
    """Name of a part's kernel."""
    return f"{codegen.TOP}{part}"


def _part_files(part: Part, program: Program | None, vectors: tuple[IntArray, IntArray], name: str) -> dict[str, bytes]:
    if program is None:
        assert not isinstance(part, TiledDesign)
        return dict(codegen.plan(part, vectors, name).files)
    return render.files(program, vectors, name) | {"hls/links.bin": link.table(program)}


def describe(found: Chain, programs: dict[int, Program]) -> dict[str, Any]:
    """``design.json`` of the whole."""
    return {
        "version": __version__,
        "kind": KIND,
        "digest": found.digest,
        "graph": found.graph.digest,
        "platform": {
            "name": found.platform.name,
            "boards": [b.json() for b in found.platform.boards],
            "links": [asdict(k) for k in found.platform.links],
            "reconfiguration_ms": found.platform.reconfiguration_ms,
        },
        "images": found.images,
        "bound": asdict(found.bound),
        "parts": [
            {"folder": f"part{k}", "kind": "tiled" if isinstance(p, TiledDesign) else "stream", "place": b,
             "top": top(k), "nodes": list(nodes), "digest": p.digest}
            for k, (p, b, nodes) in enumerate(
                zip(found.parts, found.places, itertools.pairwise(found.boundaries), strict=True)
            )
        ],
        "joint_bytes": [j.image_bytes for j in found.joints],
        "memory": {str(b): allocate(found, programs, b).json() for b in dict.fromkeys(found.places)},
    }  # fmt: skip


def readme(found: Chain, programs: dict[int, Program]) -> str:
    """How the parts go together."""
    maps = {b: allocate(found, programs, b) for b in dict.fromkeys(found.places)}
    view: dict[str, Any] = {
        "version": __version__,
        "digest": found.digest,
        "images": found.images,
        "interval": found.interval_cycles,
        "fps": f"{found.report().fps:.6g}",
        "parts": [
            {"folder": f"part{k}", "top": top(k), "board": p.board.name, "place": b, "layers": len(p.graph.nodes),
             "tiled": isinstance(p, TiledDesign), "copies": getattr(p, "copies", 1), "batch": getattr(p, "batch", 1)}
            for k, (p, b) in enumerate(zip(found.parts, found.places, strict=True))
        ],
        "joints": [
            {"number": k, "bytes": j.image_bytes, "starts": {b: m.joints[k] for b, m in maps.items() if k in m.joints}}
            for k, j in enumerate(found.joints)
        ],
        "sizes": {b: m.size for b, m in maps.items()},
    }  # fmt: skip
    return codegen.environment().get_template("chain_readme.md.j2").render(view)


@dataclass(frozen=True, eq=False)
class Folder:
    """Read back."""

    folder: Path
    model: ModelProto
    graph: Graph
    view: dict[str, Any]
    parts: tuple[Project, ...]

    @cached_property
    def chain(self) -> Chain:
        """The chain, each part rebuilt from its project."""
        v = self.view
        designs: tuple[Part, ...] = tuple(p.engine() if p.is_tiled else p.design() for p in self.parts)
        p = v["platform"]
        boards = tuple(from_json(b) for b in p["boards"])
        platform = Platform(p["name"], boards, tuple(Link(**k) for k in p["links"]), p["reconfiguration_ms"])
        return Chain(
            self.graph, platform, tuple(x["place"] for x in v["parts"]), (0, *(x["nodes"][1] for x in v["parts"])),
            designs, v["images"], Bound(**v["bound"]),
        )  # fmt: skip


def is_project(folder: Path) -> bool:
    """Whether a folder holds a chain."""
    return project.kind(folder) == KIND


def load(folder: Path) -> Folder:
    """Raises ProjectError or ModelError naming what is missing or wrong."""
    folder = Path(folder)
    view = json.loads((folder / "design.json").read_text())
    missing = [k for k in ("graph", "parts", "platform", "bound", "images") if k not in view]
    if missing:
        raise ProjectError(f"{folder / 'design.json'}: not a design of this tool: it has no {missing[0]!r}")
    model = onnx_file.read(folder / project.MODEL)
    graph = qdq.load(model)
    if graph.digest != view["graph"]:
        raise ProjectError(f"{folder}: {project.MODEL} is not the network that design.json was made from: compile it")
    parts = tuple(project.load(folder / str(p["folder"])) for p in view["parts"])
    for part, p in zip(view["parts"], parts, strict=True):
        if p.view["digest"] != part["digest"]:
            raise ProjectError(f"{p.folder}: another design than {folder / 'design.json'} names: compile it again")
    return Folder(folder, model, graph, view, parts)


def simulate(loaded: Folder) -> cycles.ChainSimulation:
    """A step of the chain, cycle by cycle."""
    return cycles.simulate(loaded.chain)


def csim(loaded: Folder, images: IntArray, native: bool = True, reference: IntArray | None = None) -> CsimResult:
    """C-simulate the whole chain, step by step on the boards' memories, against onnxruntime on the whole model."""
    want = project.runtime_outputs(loaded.model, loaded.graph, images) if reference is None else reference
    return project.judged(loaded.graph, images, Run(loaded, native).images(images), want)


class Run:
    """The chain at work: kernels by C simulation, links and DMAs as copies, all on the buffers of ``memory``."""

    def __init__(self, loaded: Folder, native: bool) -> None:
        self.loaded, self.chain, self.native = loaded, loaded.chain, native
        self.programs = {k: compile_program(p) for k, p in enumerate(self.chain.parts) if isinstance(p, TiledDesign)}
        places = dict.fromkeys(self.chain.places)
        self.maps: dict[int, Memory] = {b: allocate(self.chain, self.programs, b) for b in places}
        self.memory: dict[int, NDArray[np.uint8]] = {b: np.zeros(m.size, np.uint8) for b, m in self.maps.items()}
        self.compile_s = self.ms = 0.0

    def images(self, images: IntArray) -> gpp.Simulation:
        """Outputs of integer images (N, C, H, W)."""
        chain, outputs = self.chain, []
        groups = [images[k : k + chain.images] for k in range(0, len(images), chain.images)]
        last = len(chain.parts)
        for step in range(len(groups) + last):
            if step >= last:
                outputs.append(self._take(step - last, len(groups[step - last])))
            for k in reversed(range(last)):  # what a part writes now, its successor reads in the next step
                if 0 <= step - k < len(groups):
                    if k == 0:
                        self._give(step, groups[step])
                    self._part(k, (step - k) % 2, len(groups[step - k]))
        return gpp.Simulation(np.concatenate(outputs), self.compile_s, self.ms / len(images))

    def _bytes(self, place: int, joint: int, parity: int, image: int, count: int = 1) -> NDArray[np.uint8]:
        at, each = side(self.chain, self.maps[place], joint, parity, image), self.chain.joints[joint].image_bytes
        return self.memory[place][at : at + count * each].reshape(count, each)

    def _give(self, group: int, images: IntArray) -> None:
        """Images into the first joint, as the host puts them there."""
        program = self.programs.get(0)
        if program is not None:
            data = pack_images(program, images)
        else:
            slot = int(self.loaded.parts[0].view["input"]["slot_bits"])
            data = np.frombuffer(codegen.pack(images, slot), np.uint8).reshape(len(images), -1)
        self._bytes(self.chain.places[0], 0, group % 2, 0, len(images))[:, : data.shape[1]] = data

    def _take(self, group: int, count: int) -> IntArray:
        last = len(self.chain.parts) - 1
        data = self._bytes(self.chain.places[last], last + 1, group % 2, 0, count)
        program = self.programs.get(last)
        return unpack_outputs(program, data) if program is not None else self._streamed(last, "output", data)

    def _streamed(self, part: int, end: str, data: NDArray[np.uint8]) -> IntArray:
        view = self.loaded.parts[part].view[end]
        c, h, w = (int(n) for n in view["shape"])
        slot = int(view["slot_bits"])
        return codegen.unpack(data[:, : c * h * w * slot // 8].tobytes(), slot, bool(view["signed"]), (c, h, w))

    def _part(self, k: int, parity: int, count: int) -> None:
        """One part's step, and its results over the link where the next part is on another board."""
        if k in self.programs:
            self._engine(k, parity, count)
        else:
            self._stream(k, parity, count)
        here, after = self.chain.places[k], self.chain.places[k + 1 : k + 2]
        if after and after[0] != here:
            self._bytes(after[0], k + 1, parity, 0, count)[:] = self._bytes(here, k + 1, parity, 0, count)

    def _stream(self, k: int, parity: int, count: int) -> None:
        place, loaded = self.chain.places[k], self.loaded.parts[k]
        images = self._streamed(k, "input", self._bytes(place, k, parity, 0, count))
        got = project.run_csim(loaded, images, self.native)
        self._spent(got.compile_s, got.ms_per_image * count)
        slot = int(loaded.view["output"]["slot_bits"])
        data = np.frombuffer(codegen.pack(got.outputs, slot), np.uint8).reshape(count, -1)
        self._bytes(place, k + 1, parity, 0, count)[:, : data.shape[1]] = data

    def _engine(self, k: int, parity: int, count: int) -> None:
        program, place = self.programs[k], self.chain.places[k]
        g, here = program.design.engine.granule, self.maps[place]
        for copy, first in turns(self.chain, k):
            if first >= count:
                break
            ends = (side(self.chain, here, j, parity, first) // g for j in (k, k + 1))
            records = link.linked(program, here.regions[k, copy] // g, *ends)
            folder = self.loaded.parts[k].folder / "hls"
            self.memory[place], compile_s, ms = gpp.run_kernel(folder, self.memory[place], records, self.native)
            self._spent(compile_s, ms)

    def _spent(self, compile_s: float, ms: float) -> None:
        self.compile_s += compile_s
        self.ms += ms
