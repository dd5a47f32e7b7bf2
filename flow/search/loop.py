"""The plain search loop for evaluations that are function calls: benchmarks, conformance, tables of known results."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from flow.search import Exhausted, Genotype, SearchError, Strategy, Trial, free_numbers


def drive(
    strategy: Strategy,
    evaluate: Callable[[int, Genotype], Trial],
    count: int,
    known: Iterable[Trial] = (),
    batch: int = 8,
) -> list[Trial]:
    """Trials 0 .. count-1 by number, fewer where the space is exhausted.

    ``known``: finished trials of an interrupted run; they are told, not evaluated again.
    Raises SearchError where the strategy proposes nothing although nothing is outstanding.
    """
    done = {t.number: t for t in known}
    strategy.tell(list(done.values()))
    while True:
        numbers = free_numbers(set(done))
        want = max(1, min(batch, count - len(done)))
        if len(done) >= count:
            break
        try:
            proposals = strategy.ask(want)
        except Exhausted:
            break
        if not proposals:
            raise SearchError(f"{type(strategy).__name__} proposes nothing although all {len(done)} trials are told")
        trials = [evaluate(number, genotype) for number, genotype in zip(numbers, proposals, strict=False)]
        strategy.tell(trials)
        done.update((t.number, t) for t in trials)
    return [done[n] for n in sorted(done)]
