"""A search run from its start, or from where it was interrupted, to front.json and report.html.

genotype -> NetSpec -> estimate -> short training -> tell               (flow/explore.py)
  -> full training -> true weights -> front -> compile -> C simulation  (flow/conclude.py)
  -> front.json, report.html                                           (flow/results.py)
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from flow import conclude, explore, results, tailor
from flow.archive import Archive
from flow.config import Config, from_dict
from flow.ray_workers import RayPool
from flow.study import RunError, Say, Study, parts
from flow.workers import Pool


def start(config: Config, folder: Path, say: Say) -> dict[str, Any]:
    """A new run in ``folder``. Raises RunError, ArchiveError, BoardError, SpaceError, SearchError or DataError."""
    if config.mode == "hw-only":
        tailor.check(config)
    else:
        parts(config)
    archive = Archive.create(folder, config.dict(), results.environment())
    say(f"run folder {folder}")
    return carry_out(config, archive, say)


def resume(folder: Path, say: Say) -> dict[str, Any]:
    """Go on with an interrupted run, or do nothing but write its results again when it is complete."""
    archive = Archive.open(folder)
    return carry_out(from_dict(archive.config), archive, say)


def carry_out(config: Config, archive: Archive, say: Say) -> dict[str, Any]:
    """Explore and conclude, with workers ended and the lock released whatever happens."""
    with archive, workers(config) as pool:
        if config.mode == "hw-only":
            return tailor.carry_out(config, archive, say, pool)
        study = Study(config, archive, say)
        began = time.monotonic()
        try:
            explore.explore(study, pool)
            front = results.write(study, conclude.conclude(study, pool))
        finally:
            archive.append({"kind": "time", "elapsed": time.monotonic() - began})
        study.note(f"{len(front['points'])} points on the front, hypervolume {front['hypervolume']:.4f}")
        return front


def workers(config: Config) -> Pool | RayPool:
    """The pool of ``config.engine``; raises EngineError where there is no cluster."""
    return RayPool() if config.engine == "ray" else Pool(config.workers)


def rewrite(folder: Path) -> Path:
    """A finished run's report.html, written again from its journal. Raises RunError for an unfinished run."""
    with Archive.open(folder) as archive:
        if archive.config.get("mode") == "hw-only":
            raise RunError(f"{folder} is a hardware search: flow resume {folder} writes its report again")
        study = Study(from_dict(archive.config), archive, lambda text: None)
        study.replay()
        proofs = {conclude.key(r): r for r in archive.of("proof")}
        if not proofs or not (folder / "front.json").is_file():
            raise RunError(f"{folder} is not finished: flow resume {folder}")
        directories = {p["directory"] for p in json.loads((folder / "front.json").read_text())["points"]}
        results.write(study, [p for p in proofs.values() if p["directory"] in directories])
    return folder / "report.html"
