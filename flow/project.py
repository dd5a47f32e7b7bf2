"""A compiled project: the QDQ model that specifies it, design, HLS sources, evidence; written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flow import codegen, engines, estimate, mapping, system, tiled
from flow.board import Board, from_json
from flow.board import load as load_board
from flow.design import Design, Folding, Report, Violation
from flow.fixed import IntArray
from flow.ir import emit, onnx_file, passes, qdq
from flow.ir.graph import Graph
from flow.ir.onnx_file import ModelProto as ModelProto
from flow.tiled import cycles as engine_cycles
from flow.tiled import render
from flow.tiled import system as engine_system
from flow.tiled.cycles import TiledSimulation
from flow.tiled.program import compile_program
from flow.toolchain import gpp

MODEL = "model.onnx"
KEYS = ("graph", "board", "clock_mhz", "input", "output", "foldings", "streams", "processes", "bound", "available")
TILED_KEYS = ("graph", "board", "clock_mhz", "input", "output", "parameters", "copies", "batch", "tilings", "bound")
VECTORS = 4  # images bundled with the test bench


class ProjectError(ValueError):
    """A project that cannot be written or read; one line."""


@dataclass(frozen=True, eq=False)
class Compiled:
    """A design with its report and all files of its project (path -> content)."""

    design: Design
    report: Report
    files: dict[str, bytes]


@dataclass(frozen=True, eq=False)
class CompiledTiled:
    """The same of a network on the tiled engine."""

    design: tiled.TiledDesign
    report: Report
    files: dict[str, bytes]


def compile_for(
    engine: str, model: ModelProto, board: Board, goal: mapping.Goal, clock_mhz: float | None = None
) -> Compiled | CompiledTiled | mapping.NoFit:
    """A quantised model to a project with a stage per layer ("stream"), one engine for all ("tiled"), or "auto", the
    better of both (``engines.solve``). Raises ModelError or UnsupportedError."""
    if engine == "tiled":
        return compile_tiled(model, board, goal, clock_mhz)
    if engine == "stream":
        return compile_model(model, board, goal, clock_mhz)
    alone, _ = passes.headless(model)
    graph, whole = qdq.load(alone), qdq.load(model) if alone is not model else None
    found = engines.solve(graph, board, goal, clock_mhz, whole)
    return found if isinstance(found, mapping.NoFit) else completed(model, found, goal)


def completed(
    model: ModelProto, design: Design | tiled.TiledDesign, goal: mapping.Goal
) -> Compiled | CompiledTiled | mapping.NoFit:
    """The project of a design that is there already."""
    if isinstance(design, Design):
        return _compiled(passes.headless(model)[0], design, goal)
    return _compiled_tiled(model, design, goal)


def compile_model(
    model: ModelProto, board: Board, goal: mapping.Goal, clock_mhz: float | None = None, seed: int = 0
) -> Compiled | mapping.NoFit:
    """A quantised model to a project, without what the host does at its end (``passes.headless``).

    Raises ModelError or UnsupportedError; NoFit says what the board lacks.
    """
    model, _ = passes.headless(model)
    graph = qdq.load(model)
    design = mapping.solve(graph, board, goal, clock_mhz)
    return design if isinstance(design, mapping.NoFit) else _compiled(model, design, goal, seed)


def _compiled(model: ModelProto, design: Design, goal: mapping.Goal, seed: int = 0) -> Compiled | mapping.NoFit:
    graph = design.graph
    report = estimate.estimate(design, goal.decision, estimate.share(design.board, goal.max_utilisation))
    if not report.fits:
        return mapping.NoFit(report.violations)
    images = random_images(graph, VECTORS, seed)
    vectors = images, graph.evaluate(images)[graph.output]
    return Compiled(design, report, files(model, design, report, vectors))


def files(model: ModelProto, design: Design, report: Report, vectors: tuple[IntArray, IntArray]) -> dict[str, bytes]:
    """All files of one board's project; ``vectors``: images and expected outputs of its test bench."""
    found = {MODEL: model.SerializeToString(), **codegen.plan(design, vectors).files, **system.files(design)}
    return found | report_files(report)


def compile_tiled(
    model: ModelProto, board: Board, goal: mapping.Goal, clock_mhz: float | None = None, seed: int = 0
) -> CompiledTiled | mapping.NoFit:
    """A network on the tiled engine. Raises ModelError or UnsupportedError."""
    graph = qdq.load(model)
    design = tiled.solve(graph, board, goal, clock_mhz)
    return design if isinstance(design, mapping.NoFit) else _compiled_tiled(model, design, goal, seed)


def _compiled_tiled(
    model: ModelProto, design: tiled.TiledDesign, goal: mapping.Goal, seed: int = 0
) -> CompiledTiled | mapping.NoFit:
    graph, report = design.graph, design.report()
    if not report.fits:
        return mapping.NoFit(report.violations)
    if goal.max_energy_mj and (report.energy_mj or 0.0) > goal.max_energy_mj:
        return mapping.NoFit((Violation("energy_mj", round(report.energy_mj or 0.0, 6), goal.max_energy_mj),))
    images = random_images(graph, min(VECTORS, design.batch), seed)
    vectors = images, graph.evaluate(images)[graph.output]
    program = compile_program(design)
    found = {MODEL: model.SerializeToString(), **render.files(program, vectors), **engine_system.files(program)}
    return CompiledTiled(design, report, found | report_files(report))


def part_model(graph: Graph, name: str) -> ModelProto:
    """The ONNX of a part of a network: what its project specifies is what a reader of the file gets.

    Raises ProjectError where reading it does not give the graph back.
    """
    model = onnx_file.checked(emit.model(graph))
    if qdq.load(model).digest != graph.digest:
        raise ProjectError(f"{name}: the part's ONNX does not give its graph back")
    return model


def report_files(report: Report) -> dict[str, bytes]:
    """FINN's report files, below ``report/``: names that users know."""
    layers = report.layers
    reports = {
        "estimate_network_performance.json": report.json(),
        "estimate_layer_cycles.json": {x.id: x.interval_cycles for x in layers},
        "estimate_layer_resources.json": {x.id: x.resources.json() for x in layers}
        | {"total": report.resources.json()},
        "op_and_param_counts.json": {x.id: {"op": x.op, "name": x.name, "macs": x.macs} for x in layers},
    }
    return {f"report/{name}": json.dumps(content, indent=1).encode() for name, content in reports.items()}


def random_images(graph: Graph, n: int, seed: int = 0) -> IntArray:
    """Integers over the whole input format, (N, C, H, W)."""
    t = graph.tensors["input"]
    return np.random.default_rng(seed).integers(t.quant.lo, t.quant.hi + 1, (n, *t.shape), dtype=np.int64)


def write(files: dict[str, bytes], folder: Path) -> None:
    """Write a project under a temporary name and rename it into place; an older project there is replaced.

    Raises ProjectError when the place is taken by something else or cannot be written; then nothing is left behind.
    """
    folder = Path(folder)
    if folder.exists() and not ((folder / "design.json").is_file() or not any(folder.iterdir())):
        raise ProjectError(f"{folder} is not empty and holds no compiled project: give another --out")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as e:
        raise ProjectError(f"cannot write {folder}: {e.strerror or e}") from None
    try:
        for name, content in files.items():
            path = work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            if path.suffix == ".sh":
                path.chmod(0o755)
        work.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(work, folder)
    except OSError as e:
        raise ProjectError(f"cannot write {folder}: {e.strerror or e}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


@dataclass(frozen=True, eq=False)
class Project:
    """A project read back from its folder."""

    folder: Path
    model: ModelProto
    graph: Graph
    view: dict[str, Any]  # design.json

    @property
    def is_tiled(self) -> bool:
        return bool(self.view.get("engine") == "tiled")

    def board(self) -> Board:
        recorded = self.view.get("board_data")
        return from_json(recorded) if recorded else load_board(self.view["board"])

    def engine(self) -> tiled.TiledDesign:
        """The design of a tiled project, rebuilt from the model and the recorded tilings."""
        return tiled.rebuild(self.graph, self.board(), self.view)

    def design(self) -> Design:
        """The design of a streaming project, rebuilt from the model and the recorded foldings."""
        if self.is_tiled:
            raise ProjectError(f"{self.folder} is a project of the tiled engine; it has no stages of its own")
        board = self.board()
        foldings = {k: Folding(**f) for k, f in self.view["foldings"].items()}
        return mapping.rebuild(self.graph, board, self.view, foldings)


def kind(folder: Path) -> str | None:
    """What a folder of several projects says it is; None for everything else: ``load`` says what is wrong with it."""
    try:
        view = json.loads((Path(folder) / "design.json").read_text())
    except (OSError, ValueError):
        return None
    return str(view["kind"]) if isinstance(view, dict) and "kind" in view else None


def load(folder: Path) -> Project:
    """Read a compiled project. Raises ProjectError or ModelError naming what is missing or wrong."""
    folder = Path(folder)
    path = folder / "design.json"
    if not path.is_file():
        raise ProjectError(f"{folder} holds no compiled project (no design.json): make one with flow compile")
    try:
        view = json.loads(path.read_text())
    except ValueError as e:
        raise ProjectError(f"{path}: not valid JSON: {e}") from None
    if isinstance(view, dict) and view.get("backend", "flow") != "flow":
        raise ProjectError(f"{folder} is an {view['backend']} project: flow csim runs it; ours is in {folder / 'flow'}")
    keys = TILED_KEYS if isinstance(view, dict) and view.get("engine") == "tiled" else KEYS
    missing = [k for k in keys if k not in view] if isinstance(view, dict) else list(keys)
    if missing:
        raise ProjectError(f"{path}: not a design of this tool: it has no {missing[0]!r}")
    model = onnx_file.read(folder / MODEL)
    graph = qdq.load(model)
    if graph.digest != view["graph"]:
        raise ProjectError(f"{folder}: {MODEL} is not the network that design.json was made from: compile it again")
    return Project(folder, model, graph, view)


@dataclass(frozen=True)
class CsimResult:
    """The comparison of C simulation with onnxruntime. ``reference``: what the outputs were compared with.

    That is onnxruntime, unless its float32 arithmetic differs and is not provably exact on this network: then the
    integer network is the specification, and ``runtime_equal`` (share of outputs) and ``runtime_max_abs_diff`` (in
    output integers) say how far onnxruntime is from it.
    """

    bit_exact: bool
    images: int
    outputs: int
    mismatches: int
    max_abs_diff: int
    compile_s: float
    ms_per_image: float
    reference: str = "onnxruntime"
    runtime_equal: float | None = None
    runtime_max_abs_diff: int | None = None

    def text(self) -> str:
        """One line for people."""
        verdict = "bit-exact" if self.bit_exact else f"{self.mismatches} outputs differ, by up to {self.max_abs_diff}"
        line = (
            f"{verdict}: {self.images} images, {self.outputs} outputs each, against {self.reference}; "
            f"compiled in {self.compile_s:.1f} s, {self.ms_per_image:.3f} ms an image"
        )
        if self.runtime_equal is None:
            return line
        share, most = f"{100 * self.runtime_equal:.2f} %", self.runtime_max_abs_diff
        return f"{line}; onnxruntime's float32 gives the same integer in {share} of outputs, at most {most} away"

    def json(self) -> dict[str, Any]:
        return asdict(self)


def simulate_tiled(project: Project) -> TiledSimulation:
    """One batch of a tiled project through its engine, cycle by cycle."""
    return engine_cycles.simulate(compile_program(project.engine()))


def csim(project: Project, images: IntArray, native: bool = True, reference: IntArray | None = None) -> CsimResult:
    """C-simulate integer images (N, C, H, W) and compare every output with onnxruntime's on the project's model."""
    want = runtime_outputs(project.model, project.graph, images) if reference is None else reference
    return judged(project.graph, images, run_csim(project, images, native), want)


def judged(graph: Graph, images: IntArray, got: gpp.Simulation, runtime: IntArray) -> CsimResult:
    """A simulation against onnxruntime's outputs, or, where float32 is not exact, against the integer network's."""
    result = compared(got.outputs, runtime, got.compile_s, got.ms_per_image)
    if result.bit_exact or not emit.exact_in_float32(graph):
        return result
    want = graph.evaluate(images)[graph.output]
    result, away = compared(got.outputs, want, got.compile_s, got.ms_per_image), np.abs(want - runtime)
    return replace(
        result,
        reference="the integer network",
        runtime_equal=float((away == 0).mean()),
        runtime_max_abs_diff=int(away.max(initial=0)),
    )


def run_csim(project: Project, images: IntArray, native: bool = True) -> gpp.Simulation:
    """C-simulate integer images (N, C, H, W) without judging them."""
    return gpp.simulate(project.folder / "hls", images, project.view, native)


def compared(outputs: IntArray, want: IntArray, compile_s: float, ms_per_image: float) -> CsimResult:
    """Outputs (N, C, H, W) against the reference's."""
    diff = np.abs(outputs - want)
    wrong = int(np.count_nonzero(diff))
    worst = int(diff.max()) if diff.size else 0
    return CsimResult(wrong == 0, len(want), int(want[0].size), wrong, worst, round(compile_s, 3), ms_per_image)


def runtime_outputs(model: ModelProto, graph: Graph, images: IntArray) -> IntArray:
    """Integers (N, C, H, W) that onnxruntime's real outputs stand for."""
    real = onnx_file.run(model, graph.tensors["input"].quant.real(images))[0]
    out = graph.tensors[graph.output]
    scaled = real.astype(np.float64) / out.quant.scale + out.quant.zero
    return np.rint(scaled).astype(np.int64).reshape(len(images), *out.shape)


def integers(graph: Graph, array: NDArray[Any], where: str) -> IntArray:
    """A user's images as the network's integers: real numbers are quantised, integers taken as they are.

    (N, C, H, W), one image without N, or channels last are taken. Raises ProjectError on any other shape or range.
    """
    t = graph.tensors["input"]
    c, h, w = t.shape
    if array.ndim == 3 and h == 1 and array.shape[1:] == (c, w):
        array = array[:, :, None]
    if array.ndim == 3:
        array = array[None]
    if array.ndim == 4 and array.shape[1:] == (h, w, c) and array.shape[1:] != t.shape:
        array = array.transpose(0, 3, 1, 2)
    if array.shape[1:] != t.shape or not len(array):
        raise ProjectError(f"{where}: images have shape {tuple(array.shape)}; the network takes (N, {c}, {h}, {w})")
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise ProjectError(f"{where}: images hold NaN or infinity")
        return t.quant.quantise(array)
    if not np.issubdtype(array.dtype, np.integer):
        raise ProjectError(f"{where}: images are {array.dtype}; give real numbers or integers")
    values = array.astype(np.int64)
    if values.min() < t.quant.lo or values.max() > t.quant.hi:
        raise ProjectError(f"{where}: integers outside {t.quant.lo}..{t.quant.hi}, the network's input format")
    return values
