"""What one search run knows and does in one folder: its configuration, journal, candidates and trained networks.

Every result is journalled before it is used, and every decision depends on the journal, the configuration and the seed
alone: resuming is replaying.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from flow import expect, feedback, place, search, space, tasks
from flow.archive import Archive
from flow.board import Board
from flow.config import OBJECTIVES, Config
from flow.config import options as option_values
from flow.cost import calibrate
from flow.place import Place
from flow.search import modes
from flow.search.curves import Ended
from flow.search.encoded import TextSpace
from flow.space.network import NetSpec, from_json
from flow.space.summary import training_work
from flow.toolchain import vendor
from flow.workers import Done, Failed, Task, Workers

# Errors fall with the images that training reads to this power, from short to full trainings: 0.17 at the median of 48
# networks on Fashion-MNIST, a tenth of them below this (docs/acceleration.md).
LEARNING = 0.15
Say = Callable[[str], None]
# What a trial's record holds of its estimate.
RESULT = ("feasible", "violation", "violations", "objectives", "seconds", "cpu_seconds", "failure", "gap", "fidelity",
          "tool", "raw", "shares", "filled")  # fmt: skip


class RunError(ValueError):
    """A run that cannot start or found nothing; one line."""


@dataclass
class Candidate:
    """A joint candidate: network, hardware and what is known of both."""

    number: int
    genotype: Any
    spec: NetSpec
    clock_mhz: float
    budget: float
    result: dict[str, Any]

    @property
    def feasible(self) -> bool:
        return bool(self.result["feasible"])


@dataclass
class State(expect.Known):
    """Everything the search knows, rebuilt from the journal on resume; networks by their digest."""

    candidates: dict[int, Candidate] = field(default_factory=dict)
    told: dict[int, float | None] = field(default_factory=dict)  # the accuracy that the strategy heard last
    pace: dict[str, float] = field(default_factory=dict)  # seconds per image and epoch where nothing else runs
    loads: list[float] = field(default_factory=list)  # by what each training so far took longer than that
    epoch: dict[str, float] = field(default_factory=dict)
    full: dict[str, float] = field(default_factory=dict)
    curves: dict[str, Ended] = field(default_factory=dict)  # of full trainings that were not given up
    seeds: dict[str, dict[str, float | None]] = field(default_factory=dict)  # full accuracies by seed
    given_up: set[str] = field(default_factory=set)


@dataclass(frozen=True, eq=False)
class Parts:
    """What a configuration names: made before the run folder, so that a wrong name leaves nothing behind."""

    board: Place
    space: space.Space
    data: Any
    strategy: search.Strategy
    tool: vendor.Tool | None


def parts(config: Config) -> Parts:
    """Raises BoardError, SpaceError, DataError, SearchError or ToolError."""
    board = place.load(config.board, config.platform)
    clock = config.clock_mhz or place.clock_mhz(board)
    options = space.Options(
        weight_bits=config.weight_bits,
        activation_bits=config.activation_bits,
        max_clock_mhz=clock,
        clocks_mhz=(clock,),
    )
    found, strategy = searched(config, options)
    tool = None if config.platform else vendor.choose(config.toolchain)
    return Parts(board, found, tasks.dataset(config.data, config.data_dir), strategy, tool)


def searched(config: Config, options: space.Options) -> tuple[space.Space, search.Strategy]:
    """The space as the mode narrows it, and the strategy on it."""
    narrow = {"hw-aware": config.budget, "nested": config.max_utilisation, "nas": config.max_utilisation}
    if config.mode in narrow:
        options = replace(options, budgets=(narrow[config.mode],))
    found = space.load(config.space, options)
    if config.mode in narrow and (other := unlike(found, narrow[config.mode])) is not None:
        raise space.SpaceError(
            f"space {config.space} does not take its accelerators from options.budgets (it gives {other:g}): mode "
            f"{config.mode} needs that"
        )
    own: dict[str, Any] = {"batch": config.generation} if config.strategy in search.names() else {}
    own |= option_values(config.option)
    seen = TextSpace(found)
    if config.mode not in ("nas", "sequential"):
        return found, search.load(config.strategy, seen, config.seed, len(OBJECTIVES), **own)
    largest = space.load(config.space, replace(options, budgets=(max(options.budgets),)))
    held = largest.sample(np.random.default_rng(config.seed))
    return found, modes.strategy(
        config.mode, config.strategy, seen, config.seed, len(OBJECTIVES), held=held, first=turn(config), **own
    )


def turn(config: Config) -> int:
    """Candidates of a sequential search's first half: whole generations where there are enough."""
    half = config.trials // 2
    return max(1, half // config.generation * config.generation or half)


def unlike(found: space.Space, budget: float) -> float | None:
    """A share of the board other than ``budget`` that the space gives although it was narrowed to that."""
    rng = np.random.default_rng(0)
    budgets = [found.hardware(found.sample(rng)).budget for _ in range(8)]
    return next((b for b in budgets if b != budget), None)


class Study:
    """One search in one folder."""

    def __init__(self, config: Config, archive: Archive, say: Say) -> None:
        self.config, self.archive, self.say = config, archive, say
        self.folder = archive.run_dir
        self.settings = config.dict()
        self.calibrations: list[tuple[int, list[dict[str, Any]]]] = []  # first trial of the generation, observations
        made = parts(config)
        self.board, self.space, self.strategy, self.tool = made.board, made.space, made.strategy, made.tool
        self.shape, self.classes = made.data.input_shape, len(made.data.classes)
        self.images = len(made.data.train_x)
        self.state = State()
        self.started = time.monotonic()
        self.spent = sum(float(r.get("elapsed", 0)) for r in archive.of("time"))

    def elapsed(self) -> float:
        """Seconds worked on this run, earlier starts counted."""
        return self.spent + time.monotonic() - self.started

    def note(self, text: str) -> None:
        self.say(f"[{self.elapsed():6.1f} s] {text}")

    def candidate(self, number: int, genotype: Any) -> Candidate:
        spec = self.space.network(genotype, self.shape, self.classes)
        self.state.specs[spec.digest] = spec
        hardware = self.space.hardware(genotype)
        return Candidate(number, genotype, spec, hardware.clock_mhz, hardware.budget, {})

    def accuracies(self, specs: list[NetSpec]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and uncertainty of each network's short-training accuracy; measured ones have none."""
        return expect.accuracies(self.state, specs)

    @property
    def blind(self) -> bool:
        """True while the search looks at accuracy alone."""
        early = len(self.state.candidates) < turn(self.config)
        return self.config.mode == "nas" or (self.config.mode == "sequential" and early)

    def points(self, candidates: list[Candidate], accuracy: np.ndarray) -> np.ndarray:
        """Minimised (-accuracy, log10 latency, utilisation), the latter two the same for all while ``blind``."""
        if self.blind:
            return np.column_stack([-accuracy, np.zeros(len(accuracy)), np.full(len(accuracy), 0.5)])
        rows = [
            (-a, math.log10(c.result["objectives"]["latency_ms"]), c.result["objectives"]["utilisation"])
            for c, a in zip(candidates, accuracy, strict=True)
        ]
        return np.array(rows, float).reshape(-1, 3)

    def reference(self) -> tuple[float, float, float]:
        """Chance accuracy, 1 s, the whole board."""
        return (-1.0 / self.classes, 3.0, 1.0)

    def train(
        self,
        pool: Workers,
        specs: list[NetSpec],
        recipe: str,
        shares: Mapping[str, float] | None = None,
        parents: Mapping[str, Path] | None = None,
        needed: Mapping[str, float] | None = None,
        after: Sequence[NetSpec] = (),
        seeds: int = 1,
    ) -> None:
        """Train networks in parallel; accuracies and paces go to the state and the journal.

        ``shares``: of the recipe's epochs, where not all; ``parents``: checkpoints whose weights they begin with;
        ``seeds``: trainings of each network, of which the best counts;
        ``needed``: accuracies below which, told by the curves of the networks ``after``, a training is given up.
        """
        ended = [self.state.curves[s.digest] for s in after if s.digest in self.state.curves]
        curves = [(e.curve, e.final) for e in ended]
        work = []
        longest = {s.digest: training_work(s) * (shares or {}).get(s.digest, 1.0) for s in specs}
        for s in sorted(specs, key=lambda s: (-longest[s.digest], s.digest)):  # first: no worker is left alone with it
            how = {"recipe": recipe, "share": (shares or {}).get(s.digest, 1.0), "seeds": seeds}
            if parents and s.digest in parents:
                how["parent"] = str(parents[s.digest])
            if needed and curves:
                how |= {"curves": curves, "needed": needed.get(s.digest, 0.0)}
            arguments = (s.json(), self.settings, how, str(self.checkpoint(s.digest, recipe)))
            work.append(Task(s.digest, tasks.train_candidate, arguments, 4 * self.config.time_s + 600, trains=True))
        for outcome in pool.run(work):
            record: dict[str, Any] = {"kind": "train", "network": outcome.key, "recipe": recipe}
            if isinstance(outcome, Failed):
                record |= {"diverged": True, "reason": outcome.reason, "seconds": outcome.seconds}
            else:
                record |= outcome.value
            record["spec"] = self.state.specs[outcome.key].json()
            self.archive.append(record)
            self.learn(record)
            if recipe == "full":
                self.note(f"trained {outcome.key[:8]} fully in {record['seconds']:.0f} s: {told(record)}")

    def learn(self, record: dict[str, Any]) -> None:
        """Take a training record into the state. A diverged network counts as a guess."""
        digest, recipe = record["network"], record["recipe"]
        if record.get("given_up"):
            self.state.given_up.add(digest)
            return
        accuracy = float(record.get("val_accuracy", 1.0 / self.classes))
        getattr(self.state, recipe)[digest] = accuracy
        if not record["diverged"] and recipe in ("short", "epoch"):
            by_time = record["seconds"] / max(
                1, record["epochs"] * record["images"]
            )  # journals before there were paces
            self.state.pace[digest] = record.get("pace", by_time)
            self.state.loads.append(record.get("load", 1.0))
        if recipe == "full":
            self.state.seeds[digest] = record.get("seeds", {})
        if not record["diverged"] and recipe == "full" and "curve" in record:
            self.state.curves[digest] = Ended(tuple(record["curve"]), accuracy)

    def learn_scores(self, record: dict[str, Any]) -> None:
        """Take a record of zero-cost scores into the state; none where the scoring failed."""
        if record["scores"]:
            self.state.scores[record["network"]] = record["scores"]

    def learn_shared(self, record: dict[str, Any]) -> None:
        """Take an accuracy with shared weights into the state; none where they do not cover the network."""
        if record["accuracy"] is not None:
            self.state.shared[record["network"]] = record["accuracy"]

    def checkpoint(self, digest: str, recipe: str) -> Path:
        folder: Path = self.folder / "networks"
        folder.mkdir(exist_ok=True)
        return folder / f"{digest}-{recipe}.npz"

    def lacking(self, accuracy: float, recipe: str = "short") -> float:
        """By how much a network stays below the accuracy that is asked for, as far as its expected or measured
        accuracy after ``recipe`` foretells; 0 where it does not."""
        from flow.train import trainer

        least = self.config.min_accuracy
        if not least:
            return 0.0
        full, here = (trainer.recipe(r, self.images).passes(self.images) for r in ("full", recipe))
        return max(0.0, least - expect.longer(accuracy, full / here, LEARNING))

    def trial(self, c: Candidate, accuracy: float | None) -> search.Trial:
        self.state.told[c.number] = accuracy if accuracy is not None else self.state.told.get(c.number)
        if accuracy is None or not c.feasible:
            return search.Trial(c.number, c.genotype, (math.inf,) * 3, max(c.result["violation"], 1e-9))
        if (lacking := self.lacking(accuracy)) > 0:
            return search.Trial(c.number, c.genotype, (math.inf,) * 3, lacking)
        o = c.result["objectives"]
        return search.Trial(c.number, c.genotype, (-accuracy, math.log10(o["latency_ms"]), o["utilisation"]))

    def replay(self) -> None:
        """Rebuild state and strategy from the journal."""
        told = []
        for record in self.archive.records:
            if record["kind"] == "train":
                if record["network"] not in self.state.specs:
                    self.state.specs[record["network"]] = from_json(record["spec"])
                self.learn(record)
            elif record["kind"] == "scores":
                self.learn_scores(record)
            elif record["kind"] == "shared":
                self.learn_shared(record)
            elif record["kind"] == "trial":
                c = self.candidate(record["trial"], self.space.loads(record["genotype"]))
                c.result = {k: record[k] for k in RESULT if k in record}
                self.state.candidates[c.number] = c
                told.append(self.trial(c, record["accuracy"]))
            elif record["kind"] == "calibration":
                told += self.recalibrated(record)
            elif record["kind"] == "remapped":
                told += self.remapped(record)
        if told:
            self.strategy.tell(told)
            self.note(f"resumed with {len(told)} candidates and {len(self.state.short)} trained networks")

    def judged(self, outcome: Done | Failed, result: dict[str, Any], name: str) -> bool:
        """Put reported numbers in the place of estimated ones; the journal keeps both.

        The design that was synthesised has its trained weights, the candidate stand-ins: a report is evidence about the
        estimate of the former (``raw``, ``shares``).
        """
        record: dict[str, Any] = {"kind": "tool", "candidate": name, "estimated": dict(result["objectives"])}
        if isinstance(outcome, Failed):
            record |= {"reason": outcome.reason}
        else:
            own = ("raw", "shares")
            record |= {k: outcome.value[k] for k in own}
            record["reported"] = {k: v for k, v in outcome.value.items() if k not in own}
        self.archive.append(record)
        return self.believe(record, result)

    def recalibrate(self, start: int) -> None:
        """Score all candidates anew by the reports so far; the strategy hears of those that it knows.

        Once for each generation with a report, and journalled: a resumed run does the same at the same place.
        """
        if not isinstance(self.board, Board):
            return  # a search over several boards synthesises nothing
        known = [r for r in self.archive.of("calibration") if r["start"] == start]
        reports = self.archive.of("tool")
        rows = [o for r in reports for o in feedback.observations(r, feedback.family(self.board))]
        if known or not rows or len(rows) == len(self.calibrations[-1][1] if self.calibrations else ()):
            for c in self.state.candidates.values():  # those estimated since
                c.result = feedback.judged(c.result, self.settings_at(math.inf), self.board)
            return
        record = {"kind": "calibration", "start": start, "observations": calibrate.plain(rows)}
        self.archive.append(record)
        again = self.recalibrated(record)
        if again:
            self.strategy.tell(again)
        found = calibrate.calibrate(rows)
        factors = ", ".join(f"{m} x {found.factor(m, rows[-1].tool, rows[-1].family):.2f}" for m in found.fits)
        self.note(f"{len(reports)} reports: {factors}; {len(again)} earlier candidates scored anew")

    def recalibrated(self, record: dict[str, Any]) -> list[search.Trial]:
        """Take a journalled calibration; the trials of earlier generations that it changes."""
        self.calibrations.append((record["start"], record["observations"]))
        assert isinstance(self.board, Board)
        settings, changed = self.settings_at(math.inf), []
        for c in self.state.candidates.values():
            before = c.result["objectives"], c.result["feasible"]
            c.result = feedback.judged(c.result, settings, self.board)
            if (c.result["objectives"], c.result["feasible"]) != before and c.number < record["start"]:
                changed.append(c)
        return [self.trial(c, self.accuracy_of(c)) for c in changed]

    def remapped(self, record: dict[str, Any]) -> list[search.Trial]:
        """Take candidates that were mapped anew; their trials."""
        for number, result in record["results"].items():
            self.state.candidates[int(number)].result = result
        again = [self.state.candidates[int(n)] for n in record["results"]]
        return [self.trial(c, self.accuracy_of(c)) for c in again]

    def accuracy_of(self, c: Candidate) -> float | None:
        """What the strategy was told of a candidate's network, else what is expected of it."""
        told = self.state.told.get(c.number)
        return told if told is not None or not c.feasible else float(self.accuracies([c.spec])[0][0])

    def settings_at(self, start: float) -> dict[str, Any]:
        """Settings of a step of the generation that begins at ``start``: with the reports of earlier generations."""
        known = [rows for at, rows in self.calibrations if at < start]
        return {**self.settings, "calibration": known[-1]} if known else self.settings

    def judgement(self, name: str) -> dict[str, Any] | None:
        """The journal's record of an earlier synthesis, so that a resumed run does not repeat it."""
        return next((r for r in self.archive.of("tool") if r["candidate"] == name), None)

    def believe(self, record: dict[str, Any], result: dict[str, Any]) -> bool:
        """Reported numbers of a journalled synthesis into ``result``; False where it failed and the estimate stands."""
        name = record["candidate"]
        if "reason" in record:
            self.note(f"{name}: synthesis failed, the estimate stands: {record['reason']}")
            return False
        reported = record["reported"]
        result["objectives"] = {**result["objectives"], **reported["objectives"]}
        result["fidelity"], result["tool"] = reported["fidelity"], reported["tool"]
        if reported["violations"] and "feasible" in result:
            result |= {"feasible": False, "violations": reported["violations"], "violation": reported["violation"]}
        self.note(f"{name}: {reported['tool']} reports {reported['objectives']['latency_ms']:.4g} ms "
                  f"(estimated {record['estimated']['latency_ms']:.4g} ms)")  # fmt: skip
        return True

    def nothing_fits(self) -> str:
        short: dict[str, tuple[float, float]] = {}
        for c in self.state.candidates.values():
            for v in c.result.get("violations", []):
                now = short.get(v["resource"])
                if now is None or v["used"] < now[0]:
                    short[v["resource"]] = (v["used"], v["available"])
        said = "; ".join(f"{k}: at least {u:g} needed, {a:g} available" for k, (u, a) in sorted(short.items()))
        return (
            f"no candidate fits {self.board.name} within the limits ({said or 'none was estimated'}): raise "
            "--max-utilisation, relax --max-latency-ms or --min-fps, or take a larger board"
        )


def told(record: Mapping[str, Any]) -> str:
    """A training record in words."""
    if record.get("given_up"):
        return f"given up after {record['epochs']} epochs: its curve stays below what the front needs"
    return f"validation accuracy {record['val_accuracy']:.4f}" if "val_accuracy" in record else "diverged"
