"""Mapping anew inside a search: what a report changes is mapped again, told, journalled and replayed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flow import explore
from flow.archive import Archive
from flow.config import Config
from flow.search import Trial
from flow.study import Study
from flow.workers import Done, Failed, Task
from tests.e2e import small

LUT = 274_080  # of zcu102
LIMIT = 0.04


class Here:
    """Tasks one after another in this process."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def run(self, tasks: list[Task]) -> Iterator[Done | Failed]:
        for t in tasks:
            self.done.append(t.key)
            yield Done(t.key, t.function(*t.arguments), 0.0)


def study(folder: Path, new: bool) -> Study:
    space = folder / "tiny_space.py"
    space.write_text(small.SPACE)
    config = Config(space=str(space), trials=8, generation=4, max_utilisation=LIMIT, toolchain="none", seed=3)
    run = folder / "run"
    return Study(config, Archive.create(run, config.dict(), {}) if new else Archive.open(run), lambda text: None)


def generation(s: Study, pool: Here, start: int) -> None:
    fresh = [s.candidate(n, g) for n, g in enumerate(s.strategy.ask(4), start)]
    explore.estimate(s, pool, fresh, start)  # type: ignore[arg-type]
    for c in fresh:  # as accurate as it is large
        accuracy = 0.5 + c.spec.macs * 1e-7
        s.learn({"network": c.spec.digest, "recipe": "short", "diverged": False, "val_accuracy": accuracy,
                 "images": 100, "seconds": 1.0, "epochs": 1})  # fmt: skip


def report(s: Study, number: int, factor: float) -> None:
    """A report of that many times a candidate's LUTs, of the design that it has."""
    result = s.state.candidates[number].result
    raw = result["raw"]
    said = {k: raw[k] for k in ("latency_ms", "interval_cycles", "fps", "ff", "dsp", "bram18")}
    said |= {"lut": factor * raw["lut"], "utilisation": factor * raw["lut"] / LUT}
    over = [{"resource": "lut", "used": said["lut"], "available": LIMIT * LUT}] if said["utilisation"] > LIMIT else []
    value = {"objectives": said, "tool": "V 1", "fidelity": "csynth", "violations": over, "violation": 1.0 * bool(over),
             "raw": raw, "shares": result["shares"]}  # fmt: skip
    s.judged(Done("x", value, 0.0), result, f"candidate {number}")


def results(s: Study) -> dict[int, dict[str, Any]]:
    timed = ("seconds", "cpu_seconds")
    return {n: {k: v for k, v in c.result.items() if k not in timed} for n, c in s.state.candidates.items()}


def test_earlier_candidates_are_mapped_anew_and_replayed(tmp_path: Path) -> None:
    s, pool = study(tmp_path, new=True), Here()
    s.replay()
    generation(s, pool, 0)
    explore.tell(s, list(s.state.candidates.values()))
    before = results(s)
    generation(s, pool, 4)
    told: list[Trial] = []
    tell = s.strategy.tell
    s.strategy.tell = lambda trials: (told.extend(trials), tell(trials))[1]  # type: ignore[method-assign]
    report(s, 4, 3.0)
    s.recalibrate(4)
    over = [n for n in before if not s.state.candidates[n].feasible]
    assert over, "designs that three times the LUTs push out"
    pool.done.clear()
    explore.remap(s, pool, 4)  # type: ignore[arg-type]
    (record,) = s.archive.of("remapped")
    assert set(map(int, record["results"])) <= set(over) and record["start"] == 4 and len(pool.done) <= 8
    for n in map(int, record["results"]):
        c = s.state.candidates[n]
        assert c.feasible and c.result["objectives"]["utilisation"] <= LIMIT
        assert c.result["raw"]["lut"] < before[n]["raw"]["lut"]
        assert [t for t in told if t.number == n][-1].values[1] == math.log10(c.result["objectives"]["latency_ms"])
    explore.tell(s, [s.state.candidates[n] for n in range(4, 8)])
    known = results(s)
    s.archive.close()

    again = study(tmp_path, new=False)
    again.replay()
    assert results(again) == known
    count = len(again.archive.records)
    pool.done.clear()
    again.recalibrate(4)
    explore.remap(again, pool, 4)  # type: ignore[arg-type]
    assert not [n for n in pool.done if int(n) < 4] and len(again.archive.records) == count, "once a generation"
    again.archive.close()


def test_without_reports_nothing_is(tmp_path: Path) -> None:
    s, pool = study(tmp_path, new=True), Here()
    s.replay()
    generation(s, pool, 0)
    explore.remap(s, pool, 0)  # type: ignore[arg-type]
    assert len(pool.done) == 4 and not s.archive.of("remapped")
    s.archive.close()
