"""Where a run's time went, how many candidates it evaluated a second, and how well each cheap ranking foresaw the
dearer ones: read off its journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flow.train import ranking

if TYPE_CHECKING:
    from flow.study import Study

NAMES = {"few": "a few steps", "short": "short training", "epoch": "one epoch", "full": "full training"}


def evaluations(study: Study) -> list[dict[str, Any]]:
    """One row: candidates mapped and estimated, and how many a second of processor time on one core."""
    spent = [c.result["cpu_seconds"] for c in study.state.candidates.values() if c.result.get("cpu_seconds")]
    gaps = [c.result["gap"] for c in study.state.candidates.values() if c.result.get("gap") is not None]
    if not spent:
        return []
    row = {
        "candidates": len(spent),
        "CPU seconds": round(sum(spent), 2),
        "a CPU second": round(len(spent) / sum(spent), 1),
    }
    return [row | {"fit": len(gaps), "proved within 1 %": sum(g <= 0.01 for g in gaps)}]


def rungs(study: Study) -> list[dict[str, Any]]:
    """One row a rung: networks, seconds of work, and how many were given up or diverged."""
    scores = study.archive.of("scores")
    rows = [_rung("zero-cost scores", scores)] if scores else []
    if shared := study.archive.of("shared"):
        row = _rung("shared weights", shared)
        rows.append(
            row | {"seconds": row["seconds"] + round(sum(r["seconds"] for r in study.archive.of("supernet")), 1)}
        )
    trained = study.archive.of("train")
    rows += [_rung(text, [r for r in trained if r["recipe"] == name]) for name, text in NAMES.items()]
    return [r for r in rows if r["networks"]]


def _rung(text: str, records: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "rung": text,
        "networks": len(records),
        "seconds": round(sum(r["seconds"] for r in records), 1),
        "given up": sum(bool(r.get("given_up")) for r in records),
        "diverged": sum(bool(r.get("diverged")) for r in records),
    }


def rankings(study: Study) -> list[dict[str, Any]]:
    """Spearman's rank correlation of each ranking with short and full accuracies, over the networks that have both;
    None for fewer than three. ``params`` and ``flops`` are the baselines that a proxy has to beat."""
    state = study.state
    rows = [_row(n, {d: s[n] for d, s in state.scores.items() if n in s}, study) for n in ranking.INFORMATIVE]
    if state.scores:
        digests = sorted(state.scores)
        mean = ranking.ensemble([state.scores[d] for d in digests], ranking.INFORMATIVE)
        rows.append(_row("ensemble of these", dict(zip(digests, mean.tolist(), strict=True)), study))
    rows.append(_row("shared weights", state.shared, study))
    rows.append(_row("params (baseline)", {d: float(s.params) for d, s in state.specs.items()}, study))
    rows.append(_row("flops (baseline)", {d: float(s.macs) for d, s in state.specs.items()}, study))
    rows.append(_row("a few steps", state.few, study))
    rows.append(_row("short training", state.short, study))
    rows.append(_row("one epoch", state.epoch, study))
    return [r for r in rows if r["networks"]]


def _row(name: str, values: dict[str, float], study: Study) -> dict[str, Any]:
    def against(truth: dict[str, float]) -> float | None:
        both = sorted(values.keys() & truth.keys())
        found = ranking.correlation([values[d] for d in both], [truth[d] for d in both])
        return None if found is None else round(found, 3)

    known = values.keys() & study.state.short.keys()
    return {
        "ranking": name,
        "networks": len(known),
        "with short training": None if name == "short training" else against(study.state.short),
        "with full training": against(study.state.full),
    }
