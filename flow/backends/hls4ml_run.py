"""``python -m flow.backends.hls4ml_run PROJECT IN.npy OUT.npy``: hls4ml's compile and predict, timed.

A process of its own, because hls4ml loads what it compiled into the running Python.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def main(project: str, source: str, target: str) -> None:
    """Compiles a copy of ``project``, so that it stays as written; the last line printed is JSON."""
    from hls4ml.converters import link_existing_project

    with tempfile.TemporaryDirectory() as work:
        place = Path(work) / "project"
        shutil.copytree(project, place)
        settings = place / "hls4ml_config.yml"
        settings.write_text(settings.read_text().replace("OutputDir: .\n", f"OutputDir: {place}\n"))
        (place / "build_lib.sh").chmod(0o755)
        with contextlib.redirect_stdout(sys.stderr):
            linked = link_existing_project(place)
            started = time.perf_counter()
            linked.compile()
            compile_s = time.perf_counter() - started
            images = np.load(source)
            started = time.perf_counter()
            found = linked.predict(images)
            seconds = time.perf_counter() - started
        np.save(target, np.asarray(found).reshape(len(images), -1))
    print(json.dumps({"compile_s": compile_s, "ms_per_image": 1e3 * seconds / len(images)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
