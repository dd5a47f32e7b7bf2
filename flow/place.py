"""Where a network goes, one board or several, behind one interface: mapped, compiled, read back, simulated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from flow import assembly, estimate, lint, mapping, pipeline, project
from flow import board as boards
from flow import platform as platforms
from flow.blocks import UnsupportedError
from flow.board import Board, Resources
from flow.chain import folder as chain_folder
from flow.chain.cycles import ChainSimulation
from flow.cost.targets import Decision
from flow.design import Design, Netlist, Report
from flow.fixed import IntArray
from flow.ir.graph import Graph
from flow.lint.finding import Finding
from flow.mapping import Goal, NoFit
from flow.mapping.objectives import GOOD_GAP
from flow.pipeline import System
from flow.platform import Platform
from flow.project import CsimResult, ModelProto
from flow.tiled.cycles import TiledSimulation

Place: TypeAlias = Board | Platform
Compiled: TypeAlias = project.Compiled | assembly.Compiled


def load(board: str, platform: str = "") -> Place:
    """A platform where one is named, else a board. Raises BoardError."""
    return platforms.load(platform) if platform else boards.load(board)


def clock_mhz(place: Place) -> float:
    """What runs on every board of the place."""
    return place.clock_mhz if isinstance(place, Board) else min(b.clock_mhz for b in place.boards)


def available(place: Place) -> Resources:
    """Everything there is; on several boards the sum."""
    if isinstance(place, Board):
        return place.available
    return sum((b.available for b in place.boards), Resources())


def solve(graph: Graph, place: Place, goal: Goal, clock: float | None = None) -> Design | System | NoFit:
    """The best design for a goal (``mapping.solve``, ``mapping.solve_platform``)."""
    if isinstance(place, Board):
        return mapping.solve(graph, place, goal, clock)
    return mapping.solve_platform(graph, place, goal, clock)


def evaluate(graph: Graph, place: Place, goal: Goal, clock: float | None = None) -> Report | NoFit:
    """The estimate of the best design, judged as the goal says; on one board without building it."""
    if isinstance(place, Board):
        return mapping.evaluate(graph, place, goal, clock)
    design = mapping.solve_platform(graph, place, goal, clock)
    return design if isinstance(design, NoFit) else report(design, goal)


def report(design: Design | System, goal: Goal, decision: Decision | None = None) -> Report:
    """The estimate of a design, judged as the goal says or by another decision."""
    decision = decision or goal.decision
    if isinstance(design, Design):
        allowed = estimate.share(design.board, goal.max_utilisation)
        return estimate.estimate(design, decision, allowed)
    return pipeline.estimate(design, decision, goal.max_utilisation)


def shares(found: Report, place: Place) -> list[float]:
    """Used share of every resource of every board in use, of the target and at the confidence asked for."""
    if isinstance(place, Board):
        return _shares(found, place)
    used = found.extra["platform"]["places"]
    return [s for part, b in zip(found.parts, used, strict=True) for s in _shares(part, place.boards[b])]


def _shares(found: Report, place: Board) -> list[float]:
    limits = found.decision["limits"].values() if found.decision else [{"used": n} for n in found.resources]
    return [x["used"] / a for x, a in zip(limits, place.available, strict=True) if a]


def compile_model(
    model: ModelProto, place: Place, goal: Goal, clock: float | None = None, seed: int = 0, batch: int = 1
) -> Compiled | NoFit:
    """A quantised model to the files of its project; see ``project`` and ``assembly``."""
    if isinstance(place, Board):
        return project.compile_model(model, place, goal, clock, seed)
    return assembly.compile_model(model, place, goal, clock, seed, batch)


def compile_for(
    engine: str, model: ModelProto, place: Place, goal: Goal, clock: float | None = None, batch: int = 1
) -> Compiled | project.CompiledTiled | chain_folder.Compiled | NoFit:
    """The same for an engine: "stream" (a stage per layer), "tiled" (one engine for all layers, on one board), "chain"
    (both as a pipeline) or "auto": the better of the first two (``engines.solve``), or a chain if that is faster.
    Stages as fast as their bound are taken without asking for chains, whose search takes far longer."""
    if engine == "chain":
        return chain_folder.compile_model(model, place, goal, clock)
    if isinstance(place, Platform):
        if engine == "tiled":
            raise ValueError("--engine tiled with --platform: one engine works on one board; --engine chain on several")
        found: Compiled | NoFit = assembly.compile_model(model, place, goal, clock, batch=batch)
        return _better(found, model, place, goal, clock) if engine == "auto" and batch == 1 else found
    single = project.compile_for(engine, model, place, goal, clock)
    reached = isinstance(single, project.Compiled) and single.design.bound.gap <= GOOD_GAP
    if engine != "auto" or reached:
        return single
    return _better(single, model, place, goal, clock)


def _better(
    found: Compiled | project.CompiledTiled | NoFit, model: ModelProto, place: Place, goal: Goal, clock: float | None
) -> Compiled | project.CompiledTiled | chain_folder.Compiled | NoFit:
    """What was found, or a chain where that is faster; a goal of latency or area is no chain's."""
    if goal.objective != "throughput" or isinstance(found, assembly.Compiled):
        return found
    try:
        other = chain_folder.compile_model(model, place, goal, clock)
    except UnsupportedError:
        return found
    if isinstance(other, NoFit) or len(other.design.parts) < 2:
        return found
    if isinstance(found, NoFit) or other.report.fps > found.report.fps:
        return other
    return found


@dataclass(frozen=True, eq=False)
class Loaded:
    """A compiled folder read back, whatever is in it."""

    inner: project.Project | assembly.Assembly | chain_folder.Folder

    @property
    def graph(self) -> Graph:
        return self.inner.graph

    def tiled(self) -> TiledSimulation | ChainSimulation | None:
        """The cycle simulation of a tiled engine or a chain; None where there are only stages (``netlist``)."""
        inner = self.inner
        if isinstance(inner, chain_folder.Folder):
            return chain_folder.simulate(inner)
        return project.simulate_tiled(inner) if isinstance(inner, project.Project) and inner.is_tiled else None

    def netlist(self) -> Netlist:
        """The processes, of all boards and their links together. Raises ValueError for boards of several clocks."""
        if isinstance(self.inner, project.Project):
            return self.inner.design().netlist
        if isinstance(self.inner, chain_folder.Folder):
            raise ValueError(f"{self.inner.folder} is a chain; its streaming parts have netlists of their own")
        return pipeline.netlist(self.inner.system())

    def csim(self, images: IntArray, native: bool = True, reference: IntArray | None = None) -> CsimResult:
        """C simulation against onnxruntime on the whole model, or against given outputs."""
        if isinstance(self.inner, project.Project):
            return project.csim(self.inner, images, native, reference)
        if isinstance(self.inner, chain_folder.Folder):
            return chain_folder.csim(self.inner, images, native, reference)
        return assembly.csim(self.inner, images, native, reference)


def folders(folder: Path) -> list[Path]:
    """The projects of a compiled folder: itself, or one for each board or part."""
    if chain_folder.is_project(folder):
        return [p.folder for p in chain_folder.load(folder).parts]
    return [p.folder for p in assembly.load(folder).parts] if assembly.is_project(folder) else [folder]


def findings(folder: Path) -> list[Finding]:
    """Lint of a compiled folder, of every board's project where there are several, files named from the folder."""
    parts = folders(folder)
    if parts == [folder]:
        return lint.lint(folder)
    return [replace(f, file=f"{p.relative_to(folder).as_posix()}/{f.file}") for p in parts for f in lint.lint(p)]


def read(folder: Path) -> Loaded:
    """Raises ProjectError or ModelError."""
    module: Any = assembly if assembly.is_project(folder) else project
    if chain_folder.is_project(folder):
        module = chain_folder
    return Loaded(module.load(folder))
