"""Proof that a strategy keeps the contract of :mod:`flow.search`, for those here and for anybody's own.

from flow.search import conformance, load
conformance.check(lambda space, seed, objectives: load("my/strategy.py", space, seed, objectives), space)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from flow.search import Exhausted, Genotype, Space, Strategy, Trial
from flow.search.loop import drive
from flow.search.pareto import hypervolume, nondominated
from flow.search.random import create as random_search

Factory: TypeAlias = Callable[[Space, int, int], Strategy]
Evaluate: TypeAlias = Callable[[int, Genotype], Trial]


class ConformanceError(AssertionError):
    """A strategy breaks the contract; the message says where."""


def problem(space: Space, objectives: int, limit: float | None = None) -> Evaluate:
    """Smooth conflicting objectives on any space: distances of the features, scaled over samples, to one corner each.

    ``limit``: what the mean scaled feature may be at most without violation; None for no limit.
    """
    rng = np.random.default_rng(20240229)
    seen = np.array([_vector(space, space.sample(rng)) for _ in range(64)])
    low, span = seen.min(axis=0), np.ptp(seen, axis=0)

    def evaluate(number: int, genotype: Genotype) -> Trial:
        x = np.clip((_vector(space, genotype) - low) / np.where(span > 0, span, 1.0), 0.0, 1.0)
        corner = [(np.arange(len(x)) * objectives // max(1, len(x)) == j).astype(float) for j in range(objectives)]
        values = tuple(float(np.sqrt(((x - c) ** 2).mean())) for c in corner)
        excess = 0.0 if limit is None else max(0.0, float(x.mean()) - limit)
        return Trial(number, genotype, values, excess)

    return evaluate


def check(factory: Factory, space: Space, trials: int = 64) -> None:
    """Take the strategy through every rule of the contract. Raises ConformanceError at the first one broken.

    The space should hold many more than ``trials`` genotypes; in a smaller one the run ends where the strategy is
    exhausted.
    """
    for objectives in (1, 2, 3):
        evaluate = problem(space, objectives)
        whole = drive(factory(space, 1, objectives), evaluate, trials)
        _require(len(whole) > 0, "proposes nothing at all")
        _no_duplicates(space, whole)
        _deterministic(factory, space, evaluate, objectives, whole)
        _replays(factory, space, evaluate, objectives, whole)
    _survives_infeasible(factory, space, trials)
    _not_silly(factory, space, trials)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConformanceError(message)


def _vector(space: Space, genotype: Genotype) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(space.features(genotype), dtype=np.float64).ravel()


def _keys(space: Space, trials: list[Trial]) -> list[str]:
    return [space.dumps(t.genotype) for t in trials]


def _no_duplicates(space: Space, trials: list[Trial]) -> None:
    first: dict[str, int] = {}
    for trial, key in zip(trials, _keys(space, trials), strict=True):
        _require(key not in first, f"trial {trial.number} proposes trial {first.get(key)} again: {key}")
        first[key] = trial.number


def _deterministic(factory: Factory, space: Space, evaluate: Evaluate, objectives: int, whole: list[Trial]) -> None:
    """The same seed gives the same run however many proposals are asked for at a time; another seed another run."""
    for batch in (1, 3, len(whole)):
        again = drive(factory(space, 1, objectives), evaluate, len(whole), batch=batch)
        _same(space, whole, again, f"asked {batch} at a time, seed 1 gives another run than asked 8 at a time")
    other = drive(factory(space, 2, objectives), evaluate, len(whole))
    _require(
        len(whole) < 8 or _keys(space, whole) != _keys(space, other),
        "seeds 1 and 2 give the same run: the seed is ignored",
    )


def _replays(factory: Factory, space: Space, evaluate: Evaluate, objectives: int, whole: list[Trial]) -> None:
    """Stopped anywhere, with gaps where workers were busy, told in any order, it continues as if never stopped."""
    rng = np.random.default_rng(0)
    for stop in sorted({0, 1, len(whole) // 2, len(whole) // 2 + 1, len(whole) - 1}):
        told = [whole[i] for i in rng.permutation(stop)]
        again = drive(factory(space, 1, objectives), evaluate, len(whole), known=told)
        _same(space, whole, again, f"told {stop} trials of an interrupted run, it continues differently")
        busy = {int(stop - 1 - i) for i in range(min(stop, 3)) if i != 1}
        rest = [_reloaded(space, t) for t in told if t.number not in busy]
        again = drive(factory(space, 1, objectives), evaluate, len(whole), known=rest)
        _same(
            space,
            whole,
            again,
            f"stopped after {stop} trials with numbers {sorted(busy)} unfinished, it continues differently",
        )


def _reloaded(space: Space, trial: Trial) -> Trial:
    """The trial as a journal gives it back: its genotype through text."""
    return Trial(trial.number, space.loads(space.dumps(trial.genotype)), trial.values, trial.violation)


def _same(space: Space, whole: list[Trial], again: list[Trial], message: str) -> None:
    for a, b, t in zip(_keys(space, whole), _keys(space, again), whole, strict=False):
        _require(a == b, f"{message}; first at trial {t.number}: {a} became {b}")
    _require(len(whole) == len(again), f"{message}: {len(whole)} trials became {len(again)}")


def _survives_infeasible(factory: Factory, space: Space, trials: int) -> None:
    """Nothing feasible, everything failed, or most of it: proposals keep coming and stay new."""

    def failed(number: int, genotype: Genotype) -> Trial:
        return Trial.failed(number, genotype, 2)

    def over(number: int, genotype: Genotype) -> Trial:
        return Trial(number, genotype, (1.0, float(number)), 1.0 + number % 5)

    reach = len(drive(factory(space, 3, 2), problem(space, 2), trials))
    for what, evaluate in (("failed", failed), ("infeasible", over), ("mostly infeasible", problem(space, 2, 0.25))):
        try:
            found = drive(factory(space, 3, 2), evaluate, trials)
        except (ArithmeticError, LookupError, ValueError) as e:
            raise ConformanceError(f"with every trial {what} it stops with {type(e).__name__}: {e}") from e
        _no_duplicates(space, found)
        _require(len(found) >= reach // 2, f"with every trial {what} it stops after {len(found)} of {reach} trials")
    strategy = factory(space, 3, 2)
    try:
        one = strategy.ask(1)
    except Exhausted as e:
        raise ConformanceError("ask(1) of a fresh strategy finds the space exhausted") from e
    _require(len(one) == 1, f"ask(1) of a fresh strategy gives {len(one)} proposals")


def _not_silly(factory: Factory, space: Space, trials: int) -> None:
    """At least 80 % of random search's median hypervolume.

    One that maximises, or stays where it started, falls below.
    """
    evaluate = problem(space, 2)

    def median(of: Factory) -> float:
        return float(np.median([_volume(drive(of(space, seed, 2), evaluate, trials)) for seed in range(5)]))

    mine, random = median(factory), median(lambda s, seed, m: random_search(s, seed, m))
    _require(
        mine >= 0.8 * random, f"median hypervolume {mine:.4f} on a smooth problem; random search reaches {random:.4f}"
    )


def _volume(trials: list[Trial]) -> float:
    values = np.array([t.values for t in trials if t.feasible]).reshape(-1, 2)
    return hypervolume(values[nondominated(values)], (1.1, 1.1))
