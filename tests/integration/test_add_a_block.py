"""docs/add-a-block.md is true: its example, taken out of the page into a package of its own, computes exactly."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flow import blocks
from flow.ir import onnx_file
from tests.unit.test_ir_quantise import chain, conv

ROOT = Path(__file__).parents[2]
DISTRIBUTION = "[coexplore.blocks]\nmean = mean_block\n"
SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from flow import board, lint, mapping, project, simulate
from flow.ir import onnx_file, quantise
folder = Path(sys.argv[1])
images = np.random.default_rng(0).normal(size=(8, 3, 9, 10)).astype(np.float32)
model = quantise.quantise(onnx_file.read(folder / "model.onnx"), images)
compiled = project.compile_model(model, board.load("pynq-z2"), mapping.Goal())
assert [n.op.kind for n in compiled.design.graph.nodes].count("Mean") == 1
project.write(compiled.files, folder / "p")
loaded = project.load(folder / "p")
for native in (True, False):
    result = project.csim(loaded, project.random_images(loaded.graph, 5, 1), native)
    assert result.bit_exact and result.mismatches == 0, result
assert not lint.lint(folder / "p")
seen = simulate.simulate(compiled.design.netlist, 3)
assert (seen.latency_cycles, seen.interval_cycles) == (compiled.report.latency_cycles, compiled.report.interval_cycles)
print("exact")
"""


def extracted(folder: Path) -> None:
    """The page's files, and what an installed distribution would declare."""
    page = (ROOT / "docs" / "add-a-block.md").read_text(encoding="utf-8")
    files = re.findall(r"^`(mean_block/\S+)`:\n\n```\w+\n(.*?)^```$", page, re.M | re.S)
    assert len(files) == 3 and 'mean = "mean_block"' in page
    for name, text in files:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "mean_block" / "__init__.py").touch()
    info = folder / "mean_block-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mean-block\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(DISTRIBUTION, encoding="utf-8")


def test_the_example_of_the_page_is_a_block(tmp_path: Path) -> None:
    extracted(tmp_path)
    model = chain(conv(4, 3), ("Relu", [], {}), ("Mean", ["$1"], {}), conv(2, 4))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
        "COEXPLORE_CACHE": str(tmp_path / "c"),
    }
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.strip().endswith("exact"), done.stderr[-2000:]


def test_without_the_package_the_operator_is_refused_by_name() -> None:
    from flow.ir import quantise

    model = onnx_file.checked(chain(conv(4, 3), ("Mean", ["$0"], {})))
    with pytest.raises(onnx_file.ModelError, match=r"'layer 1' \(Mean\): the operator is not supported"):
        quantise.quantise(model, np.zeros((2, 3, 9, 10), np.float32))
    assert all(m.__name__.startswith("flow.blocks.") for m in blocks.modules())
