"""front.json: the result of a run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from flow.files import ArchiveError, json_bytes, write_atomic
from flow.search import SearchError
from flow.search.objectives import minimised, minimised_reference
from flow.search.pareto import hypervolume

FRONT = "front.json"


def write_front(
    run_dir: Path,
    objectives: Sequence[str],
    reference: Sequence[float],
    points: Sequence[Mapping[str, Any]],
    trials: int,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write front.json and return what it holds.

    ``objectives``: names of measures; ``reference``: the hypervolume's reference point in the same order, in natural
    units (accuracy 0.1 and latency 10 ms, not negated). Each point: ``trial``, ``objectives`` (every measure by name,
    finite or None, those of the search present), ``fidelity``, ``directory`` relative to the run folder, and whatever
    else the report should show. The hypervolume is of the measures as they are, maximised ones negated; it is in the
    product of their units; ``more``: further keys.

    Raises ArchiveError for a point that must not be on a front, and where the file cannot be
    written.
    """
    path = Path(run_dir) / FRONT
    values = [_front_values(path, objectives, p) for p in points]
    try:
        volume = hypervolume(values, minimised_reference(objectives, reference))
    except SearchError as e:
        raise ArchiveError(f"{path}: {e}") from None
    front = {
        "objectives": list(objectives),
        "reference": [float(r) for r in reference],
        "hypervolume": volume,
        "trials": trials,
        "points": [dict(p) for p in points],
        **(more or {}),
    }
    data = json_bytes(front, str(path))
    write_atomic(path, data + b"\n")
    result: dict[str, Any] = json.loads(data)
    return result


def _front_values(path: Path, objectives: Sequence[str], point: Mapping[str, Any]) -> tuple[float, ...]:
    where = f"{path}: trial {point.get('trial')}"
    missing = [k for k in ("trial", "objectives", "fidelity", "directory") if k not in point]
    if missing:
        raise ArchiveError(f"{where} has no {missing[0]!r}")
    for name, value in point["objectives"].items():
        if value is not None and not math.isfinite(value):
            raise ArchiveError(f"{where}: {name} is {value}: not on a front")
    folder = PurePosixPath(point["directory"])
    if folder.is_absolute() or ".." in folder.parts:
        raise ArchiveError(f"{where}: directory {point['directory']!r} is not inside the run folder")
    values = minimised(objectives, point["objectives"])
    if values is None:
        raise ArchiveError(f"{where} lacks one of the objectives {', '.join(objectives)}")
    return values
