"""The training ladder: which networks are trained next, and how far.

zero-cost scores, accuracies with shared weights (every new network) -> a few steps (many) -> short training (some)
  -> one epoch, full (flow/plan.py)

Every second place of a rung is for the network that may be the most accurate of all and that the run has time to train
fully. The others are for those that promise most per second: the hypervolume that the optimistic point, mean plus one
deviation of the accuracy expected of a network, would add, by the square root of its work. (By the whole work, large
networks would never be looked at.) A rung's result narrows the deviation, so what looked good by chance goes no
further. Decisions are journalled before they are carried out, so that a resumed run makes the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from flow import expect, plan, tasks
from flow.search import pareto
from flow.space.network import NetSpec
from flow.space.summary import training_work
from flow.study import Study
from flow.workers import Done, Failed, Task, Workers

SHARE = 0.22  # of the time limit for the quick rungs
LEAST = 10  # networks trained shortly, whatever the time
FEW, SHORT = 1 / 4, 1 / 6  # of a generation's size: networks that get a few steps, and short training
HALVED = 1 / 12  # short trainings where few steps come first: six glances cost less than one
NEAR = 0.02  # short trainings closer than this do not tell which network is the more accurate one
SCORE_S = 120.0
SAMPLED, STEPS = 64, 600  # networks of the space that share weights, and training steps through one of them each
SUPERNET_S = 3600.0


def climb(study: Study, pool: Workers, start: int) -> None:
    """The quick rungs of the generation that begins with candidate ``start``."""
    uses = study.config.accelerate
    if "proxies" in uses:
        score(study, pool)
    if "supernet" in uses and start:  # which networks the time allows is known after a first generation
        read_off(study, pool)
    size = study.config.generation
    if "few" in uses:
        rung(study, pool, start, "few", math.ceil(FEW * size))
    least = math.ceil((HALVED if "few" in uses and study.state.short else SHORT) * size)
    rung(study, pool, start, "short", least, size // 2)


def score(study: Study, pool: Workers) -> None:
    """Zero-cost scores of every feasible network that has none."""
    fresh = {c.spec.digest: c.spec for c in study.state.candidates.values() if c.feasible}
    fresh = {d: s for d, s in fresh.items() if d not in study.state.scores}
    work = [Task(d, tasks.score_network, (s.json(), study.settings), SCORE_S) for d, s in sorted(fresh.items())]
    for outcome in pool.run(work):
        record = {"kind": "scores", "network": outcome.key, "scores": {}, **told(outcome)}
        study.archive.append(record)
        study.learn_scores(record)


def supernet(study: Study, pool: Workers) -> Path | None:
    """The run's shared weights, trained once through random networks of its space; None where that failed."""
    path = study.checkpoint("supernet", "shared")
    if known := study.archive.of("supernet"):
        return None if "reason" in known[0] else path
    rng = np.random.default_rng(study.config.seed)
    sampled = [study.space.network(study.space.sample(rng), study.shape, study.classes) for _ in range(SAMPLED)]
    specs = sorted({s.digest: s.json() for s, fits in zip(sampled, able(study, sampled), strict=True) if fits}.values())
    work = Task("supernet", tasks.train_supernet, (specs, study.settings, STEPS, str(path)), SUPERNET_S)
    (outcome,) = pool.run([work])
    record: dict[str, Any] = {"kind": "supernet", "networks": len(specs), **told(outcome)}
    study.archive.append(record)
    study.note(f"supernet of {len(specs)} networks: {record.get('reason') or 'trained'} in {record['seconds']:.0f} s")
    return None if "reason" in record else path


def told(outcome: Done | Failed) -> dict[str, Any]:
    """What a task gave, or why it failed, for the journal."""
    return {"reason": outcome.reason, "seconds": outcome.seconds} if isinstance(outcome, Failed) else outcome.value


def read_off(study: Study, pool: Workers) -> None:
    """Accuracies of every feasible network with the supernet's weights."""
    fresh = {c.spec.digest: c.spec for c in study.state.candidates.values() if c.feasible}
    asked = {r["network"] for r in study.archive.of("shared")}
    fresh = {d: s for d, s in fresh.items() if d not in asked}
    path = supernet(study, pool) if fresh else None
    if path is None:
        return
    work = [
        Task(d, tasks.score_shared, (s.json(), study.settings, str(path)), SCORE_S) for d, s in sorted(fresh.items())
    ]
    for outcome in pool.run(work):
        record = {"kind": "shared", "network": outcome.key, "accuracy": None, **told(outcome)}
        study.archive.append(record)
        study.learn_shared(record)


def rung(study: Study, pool: Workers, start: int, name: str, count: int, most: int = 0) -> None:
    """Choose and train ``count`` networks on rung ``name``, up to ``most`` while the generation's share of the time
    lasts; fewer where fewer promise anything, or where that share is used up."""
    for record in study.archive.of("promotion"):
        if record["start"] == start and record.get("rung", "short") == name:
            break
    else:
        # Estimates are cheap and go on; training stops when its share of the time is used up.
        late = study.elapsed() > SHARE * study.config.time_s and len(study.state.short) >= LEAST
        chosen = [] if late else promising(study, name, max(count, most))
        # Once some networks are known, the time says how many more: many small generations get few each.
        least = 1 if name == "short" and len(study.state.short) >= LEAST else count
        chosen = chosen[: max(least, within(study, start, chosen, name))]
        record = {"kind": "promotion", "start": start, "rung": name, "networks": [s.digest for s in chosen]}
        record["parents"] = relatives(study, chosen) if name == "few" and "inherit" in study.config.accelerate else {}
        study.archive.append(record)
    done = study.state.few if name == "few" else study.state.short
    fresh = [study.state.specs[d] for d in record["networks"] if d not in done]
    study.train(pool, fresh, name, parents={d: study.checkpoint(p, "short") for d, p in record["parents"].items()})


def within(study: Study, start: int, chosen: list[NetSpec], name: str) -> int:
    """How many of ``chosen`` can be trained before the quick rungs' share of the time, spread evenly over all
    candidates, is used up to the generation that begins at ``start``."""
    so_far = min(1.0, (start + study.config.generation) / study.config.trials)
    seconds = (SHARE * study.config.time_s * so_far - study.elapsed()) * study.config.workers
    costs = np.cumsum(plan.prices(study, chosen, name))
    return int(np.sum(costs <= seconds))


def able(study: Study, specs: Sequence[NetSpec]) -> list[bool]:
    """Which of them one worker is likely to train long enough in what will be left of the time."""
    return [plan.ENOUGH * p <= spare(study) for p in plan.prices(study, specs)]


def spare(study: Study) -> float:
    """About the seconds that each worker will have for full trainings."""
    return study.config.time_s / 2


def promising(study: Study, name: str, count: int) -> list[NetSpec]:
    """At most ``count`` networks for rung ``name``: the most hopeful and those that add most, in turn."""
    behind = study.state.short if name == "short" else {**study.state.few, **study.state.short}
    feasible = [c for _, c in sorted(study.state.candidates.items()) if c.feasible]
    mean, deviation = study.accuracies([c.spec for c in feasible])
    points = study.points(feasible, mean)
    hopeful = study.points(feasible, np.minimum(mean + deviation, 1.0))
    known = np.array([c.spec.digest in study.state.short for c in feasible], bool)
    work = np.array([training_work(c.spec) for c in feasible], float)
    fresh = {i for i, c in enumerate(feasible) if c.spec.digest not in behind}
    # What there is no time to train fully is not worth a short training, unless there is nothing else.
    in_time = {i for i, fits in enumerate(able(study, [c.spec for c in feasible])) if fits}
    fresh = fresh & in_time or fresh
    fresh = {i for i in fresh if not study.lacking(float(mean[i] + deviation[i]))} or fresh
    hopes = {feasible[i].spec.digest: min(float(mean[i] + deviation[i]), 1.0) for i in sorted(fresh & in_time)}
    accurate_ones = accurate(study, hopes, (count + 1) // 2)
    chosen: list[NetSpec] = []
    taken = {s.digest for s in accurate_ones}
    fresh = {i for i in fresh if feasible[i].spec.digest not in taken}
    known |= np.array([c.spec.digest in taken for c in feasible], bool)
    order: list[int] = []
    most: dict[int, float] = {}  # gains only shrink as more networks are known: earlier ones are bounds of later ones
    while fresh and len(accurate_ones) + len(chosen) < count:
        order = [i for i in order if i in fresh]
        if not order:  # whatever another one dominates, its work counted too, is worth no more than that one
            every = np.array(sorted(fresh))
            order = every[pareto.nondominated(np.column_stack([hopeful[every], work[every]]))].tolist()
        front = points[known][pareto.nondominated(points[known])]
        exact: set[int] = set()

        def rank(i: int, most: dict[int, float] = most) -> tuple[float, float, int]:
            return most.get(i, math.inf) / math.sqrt(work[i]), float(mean[i]), -feasible[i].number

        while (best := max(order, key=rank)) not in exact:
            asked = [i for i in order if i not in most] or [best]
            most.update(zip(asked, pareto.gains(hopeful[asked], front, study.reference()).tolist(), strict=True))
            exact |= set(asked)
        if most[best] <= 0 and "bounds" in study.config.accelerate:
            break  # even its most optimistic accuracy adds nothing
        chosen.append(feasible[best].spec)
        same = {i for i in fresh if feasible[i].spec.digest == feasible[best].spec.digest}
        fresh -= same
        known[list(same)] = True
    return [s for pair in zip_longest(accurate_ones, chosen) for s in pair if s is not None]


def accurate(study: Study, hopes: dict[str, float], count: int) -> list[NetSpec]:
    """At most ``count`` networks that may become as accurate, in the time for one, as the best shortly trained one, the
    most hopeful first.

    ``hopes``: optimistic accuracies of the networks that there is time to train.
    """
    specs, seconds = study.state.specs, spare(study)
    known = [plan.reachable(study, specs[d], a, seconds) for d, a in study.state.short.items()]
    least = max(known, default=0.0) - NEAR
    hopes = {d: plan.reachable(study, specs[d], hope, seconds) for d, hope in hopes.items()}
    order = sorted((-hope, d) for d, hope in hopes.items() if hope > least)
    return [specs[d] for _, d in order[:count]]


def relatives(study: Study, chosen: list[NetSpec]) -> dict[str, str]:
    """Network -> the shortly trained network most like it, whose weights it begins with."""
    trained = [d for d in sorted(study.state.short) if d in study.state.pace]
    if not trained or not chosen:
        return {}
    near = expect.nearest([study.state.specs[d] for d in trained], chosen)
    return {s.digest: trained[i] for s, i in zip(chosen, near, strict=True)}
