"""Hardware search: accelerators for a given network (``flow search --mode hw-only --network M.onnx``).

genotype -> engine, clock, shares of the board -> mapping.solve | tiled.solve -> measures  (every candidate, estimated)
  -> strategy.tell -> front -> compile -> C simulation -> front.json, report.html

The network is fixed, so nothing is trained and every measure is a function of the hardware. What the foldings cannot
decide is searched: which engine, and what of each resource the mapper may use; the foldings are the mapper's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from flow import board as boards
from flow import estimate, mapping, project, search, tiled
from flow.archive import Archive
from flow.board import Board, Resources
from flow.config import Config, limits
from flow.config import options as option_values
from flow.cost.targets import Decision
from flow.design import Design, Report
from flow.files import write_atomic
from flow.front import write_front
from flow.ir import onnx_file, passes, qdq
from flow.mapping import Goal, NoFit
from flow.report import html
from flow.search import Trial, pareto
from flow.search.objectives import minimised, minimised_reference
from flow.space.hardware import BUDGETS, clocks
from flow.tiled.grids import GRIDS
from flow.workers import Done, Task, Workers

STREAM = ("throughput", "latency")  # what the mapper makes stages for
ENGINES = (*(f"stream {s}" for s in STREAM), *(f"tiled {g}" for g in GRIDS))
SHARES = ("lut", "dsp", "bram18")  # of the board, each by itself; flip-flops go with LUTs, URAM with block RAM
ESTIMATE_S = 600.0
IMAGES = 16  # of a front point's C simulation
Genotype = tuple[int, ...]  # engine, clock, shares


class TailorError(ValueError):
    """A network that cannot be searched for, or nothing that fits; one line."""


class Accelerators:
    """The space: a choice of each of ``ENGINES``, clocks and shares."""

    def __init__(self, clock_choices: Sequence[float], most: float) -> None:
        self.clocks = tuple(clock_choices)
        self.shares = tuple(b for b in BUDGETS if b <= most) or (most,)
        self.counts = (len(ENGINES), len(self.clocks), *[len(self.shares)] * len(SHARES))

    def sample(self, rng: np.random.Generator) -> Genotype:
        return tuple(int(rng.integers(n)) for n in self.counts)

    def mutate(self, genotype: Genotype, rng: np.random.Generator) -> Genotype:
        """One gene takes another value; a clock or a share often a neighbouring one."""
        at = int(rng.choice([i for i, n in enumerate(self.counts) if n > 1]))
        n, old = self.counts[at], genotype[at]
        near = [v for v in (old - 1, old + 1) if 0 <= v < n]
        other = int(rng.choice(near if at and rng.random() < 0.5 else [v for v in range(n) if v != old]))
        return (*genotype[:at], other, *genotype[at + 1 :])

    def crossover(self, a: Genotype, b: Genotype, rng: np.random.Generator) -> Genotype:
        return tuple(x if take else y for x, y, take in zip(a, b, rng.random(len(a)) < 0.5, strict=True))

    def features(self, genotype: Genotype) -> np.ndarray:
        engine = [float(genotype[0] == i) for i in range(len(ENGINES))]
        return np.array([*engine, *(v / max(1, n - 1) for v, n in zip(genotype[1:], self.counts[1:], strict=True))])

    def dumps(self, genotype: Genotype) -> str:
        return ",".join(map(str, genotype))

    def loads(self, text: str) -> Genotype:
        return tuple(int(v) for v in text.split(","))

    def genes(self) -> tuple[int, ...]:
        return self.counts

    def encode(self, genotype: Genotype) -> Genotype:
        return genotype

    def decode(self, indices: Sequence[int]) -> Genotype:
        return tuple(int(i) for i in indices)

    def hardware(self, genotype: Genotype) -> dict[str, Any]:
        """By name, as the journal keeps it."""
        shares = {name: self.shares[i] for name, i in zip(SHARES, genotype[2:], strict=True)}
        return {"engine": ENGINES[genotype[0]], "clock_mhz": self.clocks[genotype[1]], "shares": shares}


# ------------------------------------------------------------ one candidate


@lru_cache(maxsize=2)
def network(path: str) -> Any:
    """The model and its graph. Raises TailorError where it is not quantised."""
    model, _ = passes.headless(onnx_file.read(Path(path)))
    if not qdq.is_quantised(model):
        raise TailorError(f"{path} is not quantised: flow compile {path} --calibration X.npy writes a quantised model")
    return model, qdq.load(model)


def allowed(board: Board, shares: dict[str, float], caps: dict[str, int]) -> Resources:
    """What the mapper may use: the shares, and no more than the caps."""
    by = {"lut": "lut", "ff": "lut", "dsp": "dsp", "bram18": "bram18", "uram": "bram18"}
    part = {k: int(n * shares[by[k]]) for k, n in board.available.json().items()}
    return Resources(**{k: min(n, caps.get(k, n)) for k, n in part.items()})


def goal_of(settings: dict[str, Any], objective: str) -> Goal:
    decision = Decision(settings["target"], settings["confidence"])
    most = settings["max_latency_ms"] or None, settings["max_energy_mj"] or None
    return Goal(objective, 1.0, settings["min_fps"] or None, *most, decision)


def design_of(settings: dict[str, Any], hardware: dict[str, Any]) -> Any:
    """The mapper's design on the part of the board that the candidate may use, or NoFit."""
    _, graph = network(settings["network"])
    board = boards.load(settings["board"])
    part = replace(board, available=allowed(board, hardware["shares"], limits(settings["limits"], board.available)))
    kind, _, what = hardware["engine"].partition(" ")
    if kind == "stream":
        return mapping.solve(graph, part, goal_of(settings, what), hardware["clock_mhz"])
    grid: Any = GRIDS[what]
    return tiled.solve(graph, part, goal_of(settings, "throughput"), hardware["clock_mhz"], grid(board))


def measured(settings: dict[str, Any], hardware: dict[str, Any]) -> dict[str, Any]:
    """What a worker answers: measures of the whole board, and violations."""
    began = time.perf_counter()
    design = design_of(settings, hardware)
    found: dict[str, Any] = {"objectives": {}, "violations": [], "seconds": 0.0}
    if isinstance(design, NoFit):
        found["violations"] = [v.json() for v in design.violations]
        over = [v.used / v.available - 1 if v.available else 1.0 for v in design.violations]
        found["violation"] = float(sum(max(0.0, x) for x in over)) or 1.0
    else:
        report = report_of(design, settings)
        found["violation"] = 0.0 if report.fits else 1.0
        found["violations"] = [v.json() for v in report.violations]
        found["objectives"] = measures(report, boards.load(settings["board"]))
    return found | {"feasible": found["violation"] == 0, "seconds": time.perf_counter() - began}


def report_of(design: Any, settings: dict[str, Any]) -> Report:
    if isinstance(design, Design):
        return estimate.estimate(design, Decision(settings["target"], settings["confidence"]), design.board.available)
    found: Report = design.report()
    return found


def measures(report: Report, board: Board) -> dict[str, float]:
    used = report.resources
    return {
        "latency_ms": report.latency_ms,
        "fps": report.fps,
        "interval_cycles": float(report.interval_cycles),
        "energy_mj": report.energy_mj or 0.0,
        "utilisation": max(u / a for u, a in zip(used.tuple, board.available.tuple, strict=True) if a),
        **{k: float(v) for k, v in used.json().items()},
    }


# ------------------------------------------------------------ a run


@dataclass(frozen=True)
class Seen:
    """A candidate and what is known of it."""

    number: int
    genotype: Genotype
    result: dict[str, Any]


def names(config: Config) -> list[str]:
    """The objectives."""
    return list(config.objectives or ("latency_ms", "utilisation"))


def check(config: Config) -> tuple[Accelerators, search.Strategy]:
    """Space and strategy, before there is a run folder. Raises BoardError, ModelError, TailorError or SearchError."""
    board = boards.load(config.board)
    network(config.network)
    limits(config.limits, board.available)
    own = (config.clock_mhz,) if config.clock_mhz else clocks(board.clock_mhz)
    space = Accelerators(own, config.max_utilisation)
    options: dict[str, Any] = {"batch": config.generation} if config.strategy in search.names() else {}
    options |= option_values(config.option)
    return space, search.load(config.strategy, space, config.seed, len(names(config)), **options)


class Search:
    """One hardware search in one folder."""

    def __init__(self, config: Config, archive: Archive, say: Any) -> None:
        self.config, self.archive, self.say = config, archive, say
        self.settings = config.dict()
        self.board = boards.load(config.board)
        self.names = names(config)
        self.space, self.strategy = check(config)
        self.seen: list[Seen] = []
        self.began = time.monotonic()

    def trial(self, s: Seen) -> Trial:
        values = minimised(self.names, s.result["objectives"]) if s.result["feasible"] else None
        if values is None:
            return Trial(s.number, s.genotype, (math.inf,) * len(self.names), max(s.result["violation"], 1e-9))
        return Trial(s.number, s.genotype, values)

    def explore(self, pool: Workers) -> None:
        for r in self.archive.of("trial"):
            self.seen.append(Seen(r["trial"], self.space.loads(r["genotype"]), r))
        self.strategy.tell([self.trial(s) for s in self.seen])
        while len(self.seen) < self.config.trials and time.monotonic() - self.began < self.config.time_s:
            start = len(self.seen)
            try:
                want = min(self.config.generation - start % self.config.generation, self.config.trials - start)
                genotypes = self.strategy.ask(want)
            except search.Exhausted:
                self.say("the space is exhausted")
                break
            self.generation(pool, start, genotypes)

    def generation(self, pool: Workers, start: int, genotypes: list[Genotype]) -> None:
        hardware = [self.space.hardware(g) for g in genotypes]
        work = [Task(str(i), measured, (self.settings, h), ESTIMATE_S) for i, h in enumerate(hardware)]
        found: dict[int, dict[str, Any]] = {}
        for outcome in pool.run(work):
            failed = {"objectives": {}, "violations": [], "violation": 1e6, "feasible": False, "seconds": 0.0}
            done = isinstance(outcome, Done)
            found[int(outcome.key)] = outcome.value if done else failed | {"failure": outcome.reason}  # type: ignore[union-attr]
        fresh = [Seen(start + i, g, found[i]) for i, g in enumerate(genotypes)]
        self.archive.append(*(
            {"kind": "trial", "trial": s.number, "genotype": self.space.dumps(s.genotype), **h, **s.result}
            for s, h in zip(fresh, hardware, strict=True)
        ))  # fmt: skip
        self.seen += fresh
        self.strategy.tell([self.trial(s) for s in fresh])
        good = sum(s.result["feasible"] for s in self.seen)
        self.say(f"{len(self.seen)}/{self.config.trials} accelerators estimated, {good} fit")

    # -------------------------------------------------------- what it leaves

    def front(self) -> list[Seen]:
        """The undominated, the most different ``front_size`` of them, the first objective's best first."""
        good = [s for s in self.seen if s.result["feasible"]]
        if not good:
            short = sorted({v["resource"] for s in self.seen for v in s.result["violations"]})
            raise TailorError(f"{self.config.network}: no accelerator keeps the limits; short of {', '.join(short)}")
        values = np.array([self.trial(s).values for s in good])
        first = np.unique(values[pareto.nondominated(values)], axis=0, return_index=True)[1]
        kept = np.flatnonzero(pareto.nondominated(values))[first]
        chosen = pareto.select(values[kept], np.zeros(len(kept)), self.config.front_size)[0]
        order = sorted(chosen.tolist(), key=lambda i: tuple(values[kept[i]]))
        return [good[int(kept[i])] for i in order]

    def reference(self) -> dict[str, float]:
        """Natural units: 1 s, no image, 1 J, the whole board, or the limit that was given."""
        c = self.config
        most = {"latency_ms": c.max_latency_ms or 1000.0, "fps": c.min_fps, "energy_mj": c.max_energy_mj or 1000.0}
        most |= {"utilisation": 1.0, "interval_cycles": 1e3 * (c.max_latency_ms or 1000.0) * self.board.clock_mhz}
        caps = limits(c.limits, self.board.available)
        return most | {k: float(caps.get(k, n)) for k, n in self.board.available.json().items()}

    def anytime(self, front: Sequence[Seen]) -> list[dict[str, Any]]:
        """Hypervolume, as a share of the reference box, and IGD+ to the final front, in units of that box, after each
        generation."""
        reference = np.array(minimised_reference(self.names, [self.reference()[n] for n in self.names]))
        final = np.array([self.trial(s).values for s in front])
        low = np.minimum(final.min(axis=0), reference)
        span = np.where(reference > low, reference - low, 1.0)
        rows = []
        for end in sorted({*range(self.config.generation, len(self.seen), self.config.generation), len(self.seen)}):
            good = [self.trial(s).values for s in self.seen[:end] if s.result["feasible"]]
            points = (np.array(good).reshape(-1, len(self.names)) - low) / span
            volume = pareto.hypervolume(points, (reference - low) / span)
            distance = pareto.igd_plus(points, (final - low) / span) if len(points) else None
            rows.append({"trials": end, "hypervolume": round(volume, 6), "igd_plus": distance and round(distance, 6)})
        return rows

    def prove(self, s: Seen, directory: str) -> dict[str, Any]:
        """Compile a front point and simulate it against ONNX Runtime."""
        model, graph = network(self.config.network)
        hardware = self.space.hardware(s.genotype)
        design = replace(design_of(self.settings, hardware), board=self.board)
        compiled = project.completed(model, design, goal_of(self.settings, "throughput"))
        if isinstance(compiled, NoFit):
            raise TailorError(f"trial {s.number}: {compiled}")
        folder = self.archive.run_dir / directory
        if not (folder / project.MODEL).exists():
            project.write(compiled.files, folder)
        loaded = project.load(folder)
        checked = project.csim(loaded, project.random_images(graph, IMAGES))
        return {
            "trial": s.number, "objectives": s.result["objectives"], "directory": directory, **hardware,
            "fidelity": dict.fromkeys(s.result["objectives"], "estimate"), "csim": checked.json(),
            "resources": compiled.report.resources.json(), "available": self.board.available.json(),
        }  # fmt: skip

    def conclude(self) -> dict[str, Any]:
        """front.json, report.html and a project a front point."""
        chosen = self.front()
        points = []
        for s in chosen:
            points.append(self.prove(s, f"trials/{s.number:04d}"))
            self.say(f"trial {s.number}: {'bit-exact' if points[-1]['csim']['bit_exact'] else 'NOT bit-exact'}")
        reference = [self.reference()[n] for n in self.names]
        curve = {"anytime": self.anytime(chosen)}
        front = write_front(self.archive.run_dir, self.names, reference, points, len(self.seen), curve)
        page = html.render(front, [self.shown(s) for s in self.seen], {**self.meta(points), **curve})
        write_atomic(self.archive.run_dir / "report.html", page.encode())
        return front

    def shown(self, s: Seen) -> dict[str, Any]:
        hardware = self.space.hardware(s.genotype)
        shares = ", ".join(f"{v:.0%} of {k}" for k, v in hardware["shares"].items())
        return {
            "trial": s.number, "objectives": s.result["objectives"],
            "fidelity": dict.fromkeys(s.result["objectives"], "estimate"), "feasible": s.result["feasible"],
            "violations": s.result["violations"], "trained": False, "seconds": s.result["seconds"],
            "summary": f"{hardware['engine']}, {hardware['clock_mhz']:g} MHz, {shares}",
        }  # fmt: skip

    def meta(self, points: list[dict[str, Any]]) -> dict[str, Any]:
        folder = self.archive.run_dir / points[0]["directory"]
        environment = self.archive.environment
        return {
            "board": self.board.name, "data": Path(self.config.network).name, "space": "given network",
            "strategy": self.config.strategy, "seed": self.config.seed, "version": environment["coexplore"],
            "commands": [f"flow csim {folder}", f"flow synth {folder}"], "config": self.settings,
            "environment": environment, "started": environment.get("started", ""),
            "seconds": time.monotonic() - self.began,
        }  # fmt: skip


def carry_out(config: Config, archive: Archive, say: Any, pool: Workers) -> dict[str, Any]:
    """Explore and conclude; raises TailorError where nothing fits."""
    run = Search(config, archive, say)
    run.explore(pool)
    return run.conclude()
