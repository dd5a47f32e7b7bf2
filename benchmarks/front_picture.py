"""Draw a finished run's Pareto front as SVG, as the README shows one: python benchmarks/front_picture.py RUN OUT.svg"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from flow import results
from flow.archive import Archive
from flow.config import from_dict
from flow.report import html
from flow.study import Study


def main(run: Path, out: Path) -> None:
    with Archive.open(run) as archive:
        study = Study(from_dict(archive.config), archive, lambda text: None)
        study.replay()
        trials = [results.shown(study, c) for _, c in sorted(study.state.candidates.items())]
    out.write_text(html.pareto_svg(json.loads((run / "front.json").read_text()), trials), encoding="utf-8")
    print(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
