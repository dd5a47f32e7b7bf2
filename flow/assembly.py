"""A compiled network on several boards as a folder: the whole model, and one complete project for each part.

DIR/model.onnx  the whole quantised network: the specification      DIR/design.json  parts, places, links, bound
DIR/board0/ ... a project as ``flow compile`` writes one, its model.onnx being the part's network
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flow import __version__, codegen, mapping, pipeline, project
from flow.design import Bound, Design, Report
from flow.fixed import IntArray
from flow.ir import onnx_file, qdq
from flow.ir.graph import Graph
from flow.pipeline import System
from flow.platform import Link, Platform
from flow.project import CsimResult, ModelProto, Project, ProjectError
from flow.toolchain.gpp import Simulation

KIND = "system"


@dataclass(frozen=True, eq=False)
class Compiled:
    """A system with its report and all files of its folder (path -> content)."""

    design: System
    report: Report
    files: dict[str, bytes]


def compile_model(
    model: ModelProto, platform: Platform, goal: mapping.Goal, clock_mhz: float | None = None, seed: int = 0,
    batch: int = 1,
) -> Compiled | mapping.NoFit:  # fmt: skip
    """A quantised model to one project a board. Raises ModelError or UnsupportedError; NoFit says what is short."""
    graph = qdq.load(model)
    system = mapping.solve_platform(graph, platform, goal, clock_mhz, batch)
    if isinstance(system, mapping.NoFit):
        return system
    report = pipeline.estimate(system, goal.decision, goal.max_utilisation)
    if not report.fits:
        return mapping.NoFit(report.violations)
    files = {project.MODEL: model.SerializeToString(), "design.json": json.dumps(describe(system), indent=1).encode()}
    images = project.random_images(graph, project.VECTORS, seed)
    for i, part in enumerate(system.parts):
        onnx = project.part_model(part.graph, f"board{i}")
        inside, images = _part_files(onnx, part, report.parts[i], images)
        files |= {f"board{i}/{name}": content for name, content in inside.items()}
    files |= project.report_files(report)
    files["README.md"] = readme(system).encode()
    return Compiled(system, report, files)


def _part_files(onnx: ModelProto, part: Design, report: Report, images: IntArray) -> tuple[dict[str, bytes], IntArray]:
    """A part's project, with the images that reach it as test vectors, and what leaves it."""
    outputs = part.graph.evaluate(images)[part.graph.output]
    return project.files(onnx, part, report, (images, outputs)), outputs


def describe(system: System) -> dict[str, Any]:
    """``design.json`` of the whole."""
    links = [asdict(k) for k in system.links()]
    return {
        "version": __version__,
        "kind": KIND,
        "digest": system.digest,
        "graph": system.graph.digest,
        "platform": {
            "name": system.platform.name,
            "boards": [b.name for b in system.platform.boards],
            "links": [asdict(k) for k in system.platform.links],
            "reconfiguration_ms": system.platform.reconfiguration_ms,
        },
        "mode": system.mode,
        "batch": system.batch,
        "bound": asdict(system.bound),
        "parts": [
            {"folder": f"board{i}", "place": place, "board": part.board.name, "clock_mhz": part.clock_mhz,
             "nodes": [system.boundaries[i], system.boundaries[i + 1]], "fastest": fastest, "digest": part.digest,
             "link": links[i] if i < len(links) else None}
            for i, (part, place, fastest) in enumerate(zip(system.parts, system.places, system.fastest, strict=True))
        ],
    }  # fmt: skip


def readme(system: System) -> str:
    """How the boards go together."""
    view: dict[str, Any] = {
        "version": __version__,
        "digest": system.digest,
        "mode": system.mode,
        "batch": system.batch,
        "parts": [
            {"folder": f"board{i}", "place": b, "board": p.board.name, "layers": len(p.graph.nodes),
             "bits": p.netlist.processes[-1].constant("WIDTH"), "words": p.netlist.processes[-1].constant("WORDS")}
            for i, (p, b) in enumerate(zip(system.parts, system.places, strict=True))
        ],
        "links": [asdict(k) for k in system.links()],
    }  # fmt: skip
    return codegen.environment().get_template("assembly_readme.md.j2").render(view)


@dataclass(frozen=True, eq=False)
class Assembly:
    """Read back from its folder."""

    folder: Path
    model: ModelProto
    graph: Graph
    view: dict[str, Any]
    parts: tuple[Project, ...]

    def system(self) -> System:
        """The system, each part rebuilt from its project."""
        v = self.view
        designs = tuple(p.design() for p in self.parts)
        nodes = [part["nodes"] for part in v["parts"]]
        return System(
            self.graph, _platform(v["platform"], designs, v["parts"]), tuple(p["place"] for p in v["parts"]),
            (0, *(n[1] for n in nodes)), designs, tuple(p["fastest"] for p in v["parts"]), Bound(**v["bound"]),
            v["mode"], v["batch"],
        )  # fmt: skip


def _platform(view: dict[str, Any], designs: tuple[Design, ...], parts: list[dict[str, Any]]) -> Platform:
    """The recorded platform; boards without a part do not matter any more."""
    boards = [designs[0].board] * len(view["boards"])
    for part, design in zip(parts, designs, strict=True):
        boards[part["place"]] = design.board
    links = tuple(Link(**k) for k in view["links"])
    return Platform(view["name"], tuple(boards), links, view["reconfiguration_ms"])


def is_project(folder: Path) -> bool:
    """Whether a folder holds a network on several boards."""
    return project.kind(folder) == KIND


def load(folder: Path) -> Assembly:
    """Raises ProjectError or ModelError naming what is missing or wrong."""
    folder = Path(folder)
    view = json.loads((folder / "design.json").read_text())
    missing = [k for k in ("graph", "parts", "platform", "bound", "mode", "batch") if k not in view]
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
    return Assembly(folder, model, graph, view, parts)


def csim(assembly: Assembly, images: IntArray, native: bool = True, reference: IntArray | None = None) -> CsimResult:
    """C-simulate all parts, the outputs of one being the inputs of the next, against onnxruntime on the whole model."""
    want = project.runtime_outputs(assembly.model, assembly.graph, images) if reference is None else reference
    done = Simulation(images, 0.0, 0.0)
    for part in assembly.parts:
        got = project.run_csim(part, done.outputs, native)
        done = Simulation(got.outputs, done.compile_s + got.compile_s, done.ms_per_image + got.ms_per_image)
    return project.judged(assembly.graph, images, done, want)
