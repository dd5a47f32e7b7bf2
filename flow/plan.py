"""The plan of the dear trainings: which networks get one epoch, which the full recipe, and how many epochs of it.

shortly trained networks -> one epoch of every image (the most accurate and those that add most to the front, in turn)
  -> finalists: the two most accurate networks, then by what each adds to the front, as many as the time allows
  -> epochs: enough for all, then as many as one worker has time for to the most accurate, then the rest

Time is what is left of the run's, in seconds of one worker; prices come from the measured pace of each network.
Decisions are journalled before they are carried out.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from flow import expect
from flow.search import pareto
from flow.space.network import NetSpec
from flow.space.summary import training_work
from flow.study import Candidate, RunError, Study, turn
from flow.workers import Workers

FINALISTS = 12  # networks trained fully at most
ACCURATE = 2  # of them chosen by accuracy alone: quick trainings cannot tell the best from the next
FIRST = 4  # of them trained to their end, before curves may give others up
ENOUGH, LONGEST = 0.6, 2.0  # of the recipe's epochs: the least a finalist gets, the most for the most accurate one
STEPS = tuple(s / 20 for s in range(40, 1, -1))  # shares of the epochs that are tried, the longest first
# Errors fall with the epochs to this power: 0.15 from a third of them to all (CIFAR-10, digits), 0.05 from 0.6 of them
# to twice as many (Fashion-MNIST); their mean, less what more work makes of the same epochs (docs/acceleration.md).
DECAY = 0.08
MARGIN = 0.95  # of the time for training that is planned with: paces are measured on short runs
PROOF, PROOF_S = 0.1, 45.0  # kept for compiling and proving: a share of the time limit, and seconds at least
ONCE = 0.1  # of the time limit for trainings of one epoch
RECENT = 8  # trainings that tell how loaded the machine is
LEAST = 3  # networks that are worth comparing by one epoch


def load(study: Study) -> float:
    """By what trainings take longer than their processor time, of late: other work on the machine comes and goes."""
    return float(np.median(study.state.loads[-RECENT:])) if study.state.loads else 1.0


def paces(study: Study, specs: Sequence[NetSpec]) -> list[float]:
    """Seconds of one core that training takes for an image: measured, or as the measured ones make likely."""
    known, slower = study.state.pace, 1.0
    if known and any(s.digest not in known for s in specs):
        slower = float(np.median([p / training_work(study.state.specs[d]) for d, p in known.items()]))
    return [known[s.digest] if s.digest in known else training_work(s) * slower for s in specs]


def prices(study: Study, specs: Sequence[NetSpec], recipe: str = "full") -> list[float]:
    """Seconds of one worker for a whole recipe."""
    from flow.train import trainer

    images = load(study) * trainer.recipe(recipe, study.images).passes(study.images)
    return [p * images for p in paces(study, specs)]


def price(study: Study, spec: NetSpec, recipe: str = "full") -> float:
    """The same of one network."""
    return prices(study, [spec], recipe)[0]


def reachable(study: Study, spec: NetSpec, accuracy: float, seconds: float) -> float:
    """``accuracy`` of a quick training as the epochs change it that one worker has ``seconds`` for: it compares
    networks by what the time allows, and is no forecast."""
    return expect.longer(accuracy, min(LONGEST, seconds / price(study, spec)), DECAY)


def room(study: Study) -> float:
    """Seconds that each worker has for full trainings from now on."""
    end = study.config.time_s - max(PROOF_S, PROOF * study.config.time_s)
    return max(end - study.elapsed(), 0.25 * study.config.time_s) * MARGIN


def runners(study: Study) -> list[Candidate]:
    """Candidates whose networks may be trained further: those trained furthest so far. Raises RunError for none."""
    good = [c for c in study.state.candidates.values() if c.feasible and c.spec.digest in study.state.pace]
    if study.config.mode == "sequential":  # the network that the first half handed on
        good = [c for c in good if c.number >= turn(study.config)] or good
    if not good:
        raise RunError(study.nothing_fits())
    further = [c for c in good if c.spec.digest in study.state.epoch]
    good, recipe = (further, "epoch") if further else (good, "short")
    return [c for c in good if not study.lacking(reached(study, c.spec), recipe)] or good


def affordable(study: Study, good: list[Candidate], seconds: float) -> list[Candidate]:
    """Those that one worker trains long enough in ``seconds``; where there are none, the cheapest."""
    cost = {c.spec.digest: ENOUGH * p for c, p in zip(good, prices(study, [c.spec for c in good]), strict=True)}
    found = [c for c in good if cost[c.spec.digest] <= seconds]
    return found or [min(good, key=lambda c: (cost[c.spec.digest], c.number))]


def narrow(study: Study, pool: Workers) -> None:
    """One epoch of every image for the best networks, where that is more than a short training."""
    from flow.train import trainer

    few = study.images <= trainer.SHORT_IMAGES
    if few or "halving" not in study.config.accelerate:
        return
    record = next((r for r in study.archive.of("promotion") if r.get("rung") == "epoch"), None)
    if record is None:
        chosen = hopeful(study, ONCE * study.config.time_s * study.config.workers)
        names = [s.digest for s in chosen] if len(chosen) >= LEAST else []
        record = {"kind": "promotion", "start": len(study.state.candidates), "rung": "epoch", "networks": names}
        study.archive.append(record)
        study.note(f"training {len(names)} networks for one epoch")
    fresh = [study.state.specs[d] for d in record["networks"] if d not in study.state.epoch]
    study.train(pool, fresh, "epoch", parents=own_weights(study, fresh))


def hopeful(study: Study, seconds: float) -> list[NetSpec]:
    """The most accurate and those that add most to the front, in turn, as long as ``seconds`` last."""
    left = room(study)
    order = ranked(study, affordable(study, runners(study), left), left)
    accurate = sorted(order, key=lambda s: (-reachable(study, s, reached(study, s), left), s.digest))
    chosen: list[NetSpec] = []
    for spec in chain.from_iterable(zip(accurate, order, strict=True)):
        cost = price(study, spec, "epoch")
        if spec not in chosen and cost <= seconds and len(chosen) < FINALISTS:
            chosen.append(spec)
            seconds -= cost
    return chosen


def own_weights(study: Study, specs: Iterable[NetSpec]) -> dict[str, Path]:
    """Network -> checkpoint of its own longest quick training, with ``inherit``."""
    if "inherit" not in study.config.accelerate:
        return {}
    places = {s.digest: [study.checkpoint(s.digest, r) for r in ("epoch", "short")] for s in specs}
    return {d: next(p for p in found if p.exists()) for d, found in places.items() if any(p.exists() for p in found)}


@dataclass(frozen=True)
class Finals:
    """Networks for full training in the order of their work, each one's share of the recipe's epochs, and the seeds
    that each is trained with."""

    specs: list[NetSpec]
    shares: dict[str, float]
    seeds: int


def finalists(study: Study) -> Finals:
    """Whom and how long to train. Journalled: a resumed run trains the same ones."""
    for record in study.archive.of("finalists"):
        return Finals([study.state.specs[d] for d in record["networks"]], record["shares"], record.get("seeds", 1))
    left, workers = room(study), study.config.workers
    order = ranked(study, affordable(study, runners(study), left), left)
    for seeds in range(study.config.seeds, 0, -1):  # several only where none is trained shorter for it
        shares = shared({s.digest: seeds * price(study, s) for s in order}, left, workers, curves(study))
        if min(shares.values()) >= 1:
            break
    # The longest first, by work and not by measured pace: trial numbers follow this order.
    specs = sorted((s for s in order if s.digest in shares), key=lambda s: (-training_work(s), s.digest))
    record = {"kind": "finalists", "networks": [s.digest for s in specs], "shares": shares, "seeds": seeds}
    study.archive.append(record)
    return Finals(specs, shares, seeds)


def curves(study: Study) -> bool:
    return "curves" in study.config.accelerate


def reached(study: Study, spec: NetSpec) -> float:
    """Accuracy of its furthest quick training."""
    return study.state.epoch.get(spec.digest, study.state.short[spec.digest])


def ranked(study: Study, good: list[Candidate], seconds: float) -> list[NetSpec]:
    """Trained networks: the two that become the most accurate in ``seconds`` of one worker, then by what each adds to
    the hypervolume of those before, by the square root of what its training costs."""
    best: dict[str, list[Candidate]] = {}
    for c in good:
        best.setdefault(c.spec.digest, []).append(c)
    accuracy = {d: reached(study, cs[0].spec) for d, cs in best.items()}
    pace = dict(zip(best, paces(study, [cs[0].spec for cs in best.values()]), strict=True))
    order = sorted(sorted(best), key=lambda d: -reachable(study, best[d][0].spec, accuracy[d], seconds))[:ACCURATE]
    while len(order) < len(best):
        have = study.points(
            [c for d in order for c in best[d]], np.array([accuracy[d] for d in order for _ in best[d]])
        )
        base = pareto.hypervolume(have, study.reference())

        def gain(d: str, have: np.ndarray = have, base: float = base) -> float:
            extra = study.points(best[d], np.full(len(best[d]), accuracy[d]))
            more = pareto.hypervolume(np.vstack([have, extra]), study.reference()) - base
            return more / math.sqrt(pace[d])

        rest = [d for d in sorted(best) if d not in order]
        order.append(max(rest, key=lambda d: (gain(d), accuracy[d])))
    return [best[d][0].spec for d in order]


def shared(prices: Mapping[str, float], seconds: float, workers: int, curves: bool) -> dict[str, float]:
    """Network -> share of the recipe's epochs, of the most accurate one and as many others as ``seconds`` allow.

    ``prices``: seconds of the whole recipe, the most accurate network first, then in the order of their worth. Where
    ``seconds`` are too few for the first one, it gets what there is, a tenth at least.
    """
    first, *others = prices

    def fits(shares: Mapping[str, float]) -> bool:
        return sum(makespan([prices[d] * shares[d] for d in p], workers) for p in parts(shares, curves)) <= seconds

    most = math.floor(100 * seconds / max(prices[first], 1e-9)) / 100
    chosen = {first: min(1.0, max(0.1, most))}
    for d in others:
        if len(chosen) < FINALISTS and fits({**chosen, d: ENOUGH}):
            chosen[d] = ENOUGH
    for group, most in (([first], LONGEST), ([d for d in chosen if d != first], 1.0)):
        longer = ({**chosen, **{d: max(s, chosen[d]) for d in group}} for s in STEPS if s <= most)
        chosen = next((c for c in longer if fits(c)), chosen)
    return chosen


def parts(shares: Mapping[str, float], curves: bool) -> list[list[str]]:
    """Networks trained together, then those trained after them. With ``curves``: the first few with as many epochs as
    most get, then the rest, which their curves may end; only curves of equally long trainings can be compared. (For
    fewer networks, waiting for the first ones would cost more than curves save.)"""
    common = min(shares.values())
    alike = [d for d in shares if shares[d] == common]
    first = alike[:FIRST] if curves and len(alike) >= 2 * FIRST else list(shares)
    return [p for p in (first, [d for d in shares if d not in first]) if p]


def makespan(seconds: Sequence[float], workers: int) -> float:
    """When the last of these tasks ends, each in turn, the longest first, on the worker that is free first."""
    free = [0.0] * workers
    for s in sorted(seconds, reverse=True):
        heapq.heappush(free, heapq.heappop(free) + s)
    return max(free)
