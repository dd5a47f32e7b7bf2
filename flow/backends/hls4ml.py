"""``flow compile --backend hls4ml``: the same quantised network as an hls4ml project, and its C simulation.

The project is written by hls4ml itself from the layers of `flow.backends.fixed_point`.  Beside it, in ``flow/``, lies
our own project for the same model and board; its foldings give hls4ml's reuse factors, so both aim at the same number
of products a cycle in every layer, and ``flow csim`` runs both.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flow import __version__, codegen, mapping, project
from flow.backends import fixed_point
from flow.backends.fixed_point import BackendError
from flow.board import Board
from flow.fixed import IntArray
from flow.ir import onnx_file, qdq
from flow.ir.graph import Graph
from flow.project import Compiled, CsimResult, ProjectError
from flow.toolchain.gpp import Simulation

NAME = "hls4ml"
TOP = "accel"
OURS = "flow"  # folder of our own project beside hls4ml's
VECTORS = 4  # images bundled with hls4ml's test bench
EXACT_DOUBLE = 53  # bits of a float64's significand: what hls4ml's simulation takes and gives


def compile_model(model: onnx_file.ModelProto, board: Board, goal: mapping.Goal, clock_mhz: float | None) -> Any:
    """Both projects' files as one `Compiled`, or a NoFit.  Raises BackendError for what hls4ml cannot do exactly."""
    ours = project.compile_model(model, board, goal, clock_mhz)
    if not isinstance(ours, Compiled):
        return ours
    graph, design = ours.design.graph, ours.design
    parallel = {n.id: design.foldings[n.id].pe * design.foldings[n.id].simd for n in graph.nodes}
    found = fixed_point.layers(graph, parallel)
    for tensor in ("input", graph.output):
        if graph.tensors[tensor].quant.bits > EXACT_DOUBLE:
            raise BackendError(f"tensor {tensor}: more than {EXACT_DOUBLE} bits do not pass hls4ml's float64 interface")
    files, rows = written(found, graph, board, design.clock_mhz)
    view = describe(graph, design.clock_mhz, board, rows)
    readme = codegen.environment().get_template("hls4ml_readme.md.j2").render(
        version=__version__, board=board.name, part=board.part, clock_mhz=design.clock_mhz, layers=rows, top=TOP
    )  # fmt: skip
    out = {project.MODEL: ours.files[project.MODEL], "README.md": readme.encode()}
    out["design.json"] = json.dumps(view, indent=1).encode()
    out |= {f"{NAME}/{k}": v for k, v in files.items()} | {f"{OURS}/{k}": v for k, v in ours.files.items()}
    return Compiled(design, ours.report, out)


def written(
    found: fixed_point.Layers, graph: Graph, board: Board, clock_mhz: float
) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """The files that hls4ml writes for the layers, and what it made of each layer."""
    from hls4ml.model.graph import ModelGraph

    images = project.random_images(graph, VECTORS)
    with tempfile.TemporaryDirectory() as work:
        place = Path(work) / NAME
        np.save(Path(work) / "in.npy", real_input(graph, images))
        np.save(Path(work) / "out.npy", real_output(graph, graph.evaluate(images)[graph.output]))
        config = {
            "OutputDir": str(place),
            "ProjectName": TOP,
            "Backend": "Vitis",
            "Part": board.part,
            "ClockPeriod": round(1e3 / clock_mhz, 4),
            "ClockUncertainty": "12.5%",
            "IOType": "io_stream",
            "InputData": f"{work}/in.npy",
            "OutputPredictions": f"{work}/out.npy",
            "HLSConfig": {
                "Model": {"Precision": "fixed<16,6>", "ReuseFactor": 1, "Strategy": "Resource"},
                "LayerName": found.config,
            },
        }
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                built = ModelGraph.from_layer_list(config, found.layers, ["input_1"], [found.output])
                built.write()
        except Exception as e:
            raise BackendError(f"hls4ml does not write this network: {type(e).__name__}: {e}") from e
        rows = [row(layer) for layer in built.get_layers()]
        settings = place / "hls4ml_config.yml"
        settings.write_text(portable(settings.read_text()))
        files = {p.relative_to(place).as_posix(): p.read_bytes() for p in sorted(place.rglob("*")) if p.is_file()}
    return files, rows


def portable(text: str) -> str:
    """hls4ml's settings without this machine's temporary paths: the project is where its settings are."""
    kept = [t for t in text.splitlines() if not t.startswith(("InputData:", "OutputPredictions:"))]
    return "\n".join("OutputDir: ." if t.startswith("OutputDir:") else t for t in kept) + "\n"


def row(layer: Any) -> dict[str, Any]:
    """What hls4ml made of one layer."""
    types = {k: getattr(layer.get_attr(f"{k}_t"), "precision", None) for k in ("weight", "bias", "accum")}
    out = {"name": layer.name, "kind": layer.class_name, "reuse_factor": layer.get_attr("reuse_factor") or ""}
    out |= {k: "" if t is None else str(t) for k, t in types.items()}
    return out | {"result": str(layer.get_output_variable().type.precision)}


def describe(graph: Graph, clock_mhz: float, board: Board, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """``design.json`` of such a project."""
    import hls4ml

    return {
        "version": __version__,
        "backend": NAME,
        "hls4ml": hls4ml.__version__,
        "graph": graph.digest,
        "board": board.name,
        "part": board.part,
        "clock_mhz": clock_mhz,
        "layers": rows,
    }


def real_input(graph: Graph, images: IntArray) -> Any:
    """Integer images (N, C, H, W) as the float64 (N, H, W, C) that hls4ml's top function takes."""
    t = graph.tensors["input"]
    real = (images * t.quant.scale).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(real.reshape(len(images), -1) if t.shape[1:] == (1, 1) else real)


def real_output(graph: Graph, outputs: IntArray) -> Any:
    """Integer outputs (N, C, H, W) as real numbers (N, elements), channels innermost."""
    return (outputs * graph.tensors[graph.output].quant.scale).transpose(0, 2, 3, 1).reshape(len(outputs), -1)


# ---------------------------------------------------------------------- C simulation


@dataclass(frozen=True)
class Comparison:
    """hls4ml's C simulation and ours, each against ONNX Runtime on the same images."""

    peer: CsimResult
    ours: CsimResult

    @property
    def bit_exact(self) -> bool:
        return self.peer.bit_exact and self.ours.bit_exact

    def text(self) -> str:
        """Two lines for people."""
        return f"hls4ml  {self.peer.text()}\nflow    {self.ours.text()}"

    def json(self) -> dict[str, Any]:
        """hls4ml's numbers in the layout of ``flow csim --json``, ours under "flow"."""
        return {"backend": NAME, **self.peer.json(), "flow": self.ours.json()}


def is_project(folder: Path) -> bool:
    """True for a folder that `compile_model` made."""
    return (folder / NAME / "hls4ml_config.yml").is_file() and (folder / OURS / "design.json").is_file()


def csim(folder: Path, images: IntArray, native: bool = True) -> Comparison:
    """Compile and run both C simulations on integer ``images`` (N, C, H, W).  Raises BackendError or ProjectError."""
    loaded = load(folder)
    want = project.runtime_outputs(loaded.model, loaded.graph, images)
    peer = project.judged(loaded.graph, images, simulate(folder / NAME, loaded.graph, images), want)
    return Comparison(peer, project.csim(loaded, images, native, want))


def load(folder: Path) -> project.Project:
    """Our own project beside hls4ml's.  Raises ProjectError when the two are not of one model."""
    loaded = project.load(folder / OURS)
    model = onnx_file.read(folder / project.MODEL)
    if qdq.load(model).digest != loaded.graph.digest:
        raise ProjectError(f"{folder}: {project.MODEL} is not the network of {OURS}/: compile it again")
    return loaded


def simulate(folder: Path, graph: Graph, images: IntArray, timeout_s: float = 3600) -> Simulation:
    """hls4ml's own compile and predict, in a process of their own.

    A failed assertion in hls4ml's C++ ends the process that loaded it; here that becomes a BackendError.
    """
    with tempfile.TemporaryDirectory() as work:
        source, target = Path(work) / "in.npy", Path(work) / "out.npy"
        np.save(source, real_input(graph, images))
        command = [sys.executable, "-m", "flow.backends.hls4ml_run", str(folder), str(source), str(target)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired:
            raise BackendError(f"{folder}: hls4ml's C simulation did not end within {timeout_s:g} s") from None
        if done.returncode or not target.exists():
            words = (done.stderr or done.stdout).strip().splitlines() or [f"exit status {done.returncode}"]
            first = next((w for w in words if "error:" in w or "Assertion" in w), words[-1])
            raise BackendError(f"{folder}: hls4ml's C simulation failed: {first.strip()}")
        real = np.load(target)
        times = json.loads(done.stdout.strip().splitlines()[-1])
    t = graph.tensors[graph.output]
    c, h, w = t.shape
    whole = np.rint(real / t.quant.scale).astype(np.int64).reshape(len(images), h, w, c).transpose(0, 3, 1, 2)
    return Simulation(whole, float(times["compile_s"]), float(times["ms_per_image"]))
