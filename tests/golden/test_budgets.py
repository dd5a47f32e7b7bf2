"""Accepted budgets of reference designs: a change that makes one slower or larger fails with the numbers side by side.

``budgets/*.json`` hold the estimate, layer by layer, and what a tool's report says once parsed (of the mock of
Vitis HLS: it takes the project as the tool would, and reports the estimate, with fixed factors, in the tool's format).
``pytest tests/golden --update-golden`` accepts today's numbers; the difference then shows in version control.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flow import board, mapping, project
from flow.ir import emit
from flow.toolchain import vendor
from tests import networks
from tests.integration.test_blocks_csim import rescaled
from tests.mock_tools import fixture

FOLDER = Path(__file__).resolve().parent / "budgets"
DESIGNS = [
    ("sample", "zcu102", 0.2), ("sample", "pynq-z2", 0.8), ("lenet", "zcu102", 0.1), ("lenet", "pynq-z2", 0.8),
    ("resnet8", "zcu102", 0.4), ("resnet8", "pynq-z2", 0.8),
]  # fmt: skip
BIAS = "lut=1.2,ff=0.9,latency=1.1,interval=1.05"
# Relative growth that is no regression, and what is always let pass in the measure's own unit.
TOLERANCE = {"lut": (0.02, 20), "ff": (0.02, 20), "latency_cycles": (0.01, 5), "latency_max": (0.01, 5)}
TOLERANCE |= {"clock_estimated_ns": (0.0, 0.001)}
Budget = dict[str, dict[str, float]]  # block -> measure -> value


def measured(network: str, place: str, share: float, folder: Path) -> Budget:
    """Today's numbers of a reference design, estimated and reported."""
    model = emit.model(rescaled(getattr(networks, network)()))
    compiled = project.compile_model(model, board.load(place), mapping.Goal(max_utilisation=share))
    assert isinstance(compiled, project.Compiled), str(compiled)
    found: Budget = {"design": {"interval_cycles": compiled.report.interval_cycles}}
    found["design"] |= {"latency_cycles": compiled.report.latency_cycles, **compiled.report.resources.json()}
    for x in compiled.report.layers:
        found[f"{x.id} {x.op}"] = {"interval_cycles": x.interval_cycles, **x.resources.json()}
    project.write(compiled.files, folder)
    tool = vendor.choose("vitis_hls")
    assert tool is not None
    top = vendor.synthesise(tool, folder, 60)[0]
    names = ("latency_max", "interval_max", "clock_estimated_ns")
    found["csynth report"] = {n: float(getattr(top, n)) for n in names} | {
        k: float(v) for k, v in top.resources.items() if v is not None
    }
    return found


def allowed(measure: str, value: float) -> float:
    relative, absolute = TOLERANCE.get(measure, (0.0, 0))
    return value + max(value * relative, absolute)


def regressions(accepted: Budget, now: Budget) -> list[str]:
    """A line for each number that got worse: block, measure, accepted, now; and for blocks that came or went."""
    lines = [f"{b:18} is gone" for b in accepted if b not in now]
    lines += [f"{b:18} is new" for b in now if b not in accepted]
    for block, measures in accepted.items():
        for measure, old in measures.items():
            new = now.get(block, {}).get(measure, old)
            if new > allowed(measure, old):
                change = f"{new / old - 1:+.1%}" if old else "from none"
                lines.append(f"{block:18} {measure:18} accepted {old:>10g}   now {new:>10g}   {change}")
    return lines


def verdict(name: str, accepted: Budget, now: Budget) -> None:
    worse = regressions(accepted, now)
    if worse:
        hint = "if this is meant: pytest tests/golden --update-golden"
        pytest.fail("\n".join([f"{name} got slower or larger than its accepted budget", *worse, hint]), pytrace=False)


def golden(name: str) -> Budget:
    path = FOLDER / f"{name}.json"
    assert path.is_file(), f"{path} is missing: pytest tests/golden --update-golden"
    found: Budget = json.loads(path.read_text())
    return found


@pytest.fixture(autouse=True)
def mock_tool(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    fixture.mock_path(monkeypatch, ["vitis_hls"])
    monkeypatch.setenv("COEXPLORE_MOCK_BIAS", BIAS)
    yield


@pytest.mark.parametrize(("network", "place", "share"), DESIGNS)
def test_budget(network: str, place: str, share: float, tmp_path: Path, update_golden: bool) -> None:
    now, name = measured(network, place, share, tmp_path / "p"), f"{network}-{place}"
    if update_golden:
        FOLDER.mkdir(exist_ok=True)
        (FOLDER / f"{name}.json").write_text(json.dumps(now, indent=1) + "\n")
    verdict(name, golden(name), now)


def test_every_golden_file_is_used() -> None:
    assert {p.name for p in FOLDER.iterdir()} == {f"{n}-{b}.json" for n, b, _ in DESIGNS}


def worse(change: tuple[str, str, float]) -> Any:
    block, measure, factor = change
    now = copy.deepcopy(golden("lenet-zcu102"))
    now[block][measure] *= factor
    return now


@pytest.mark.parametrize(
    ("block", "measure"),
    [("L0 Conv", "lut"), ("L4 Gemm", "interval_cycles"), ("design", "latency_cycles"), ("csynth report", "dsp"),
     ("csynth report", "latency_max"), ("design", "bram18")],
)  # fmt: skip
def test_worse_numbers_fail_with_both_side_by_side(block: str, measure: str) -> None:
    """Of every kind; the message names the block, the measure, the accepted and the new number."""
    accepted = golden("lenet-zcu102")
    now = worse((block, measure, 1.2))
    with pytest.raises(pytest.fail.Exception) as e:
        verdict("lenet-zcu102", accepted, now)
    head, line, hint = str(e.value).splitlines()
    assert "lenet-zcu102" in head and "--update-golden" in hint
    assert line.startswith(block) and measure in line and "+20.0%" in line
    assert f"{accepted[block][measure]:g}" in line and f"{now[block][measure]:g}" in line


def test_noise_and_improvements_pass() -> None:
    accepted = golden("lenet-zcu102")
    verdict("same", accepted, accepted)
    for change in (("L0 Conv", "lut", 1.005), ("design", "latency_cycles", 0.5), ("L5 Gemm", "interval_cycles", 0.9)):
        verdict("better", accepted, worse(change))


def test_a_block_that_comes_or_goes_fails() -> None:
    accepted = golden("lenet-zcu102")
    without = {k: v for k, v in accepted.items() if k != "L2 Conv"}
    for a, b, word in ((accepted, without, "gone"), (without, accepted, "new")):
        with pytest.raises(pytest.fail.Exception, match=rf"L2 Conv +is {word}"):
            verdict("lenet", a, b)


def test_a_slower_block_is_noticed_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only altered files: a tool that reports more is a regression too."""
    monkeypatch.setenv("COEXPLORE_MOCK_BIAS", BIAS.replace("lut=1.2", "lut=1.5"))
    now = measured("lenet", "zcu102", 0.1, tmp_path / "p")
    with pytest.raises(pytest.fail.Exception) as e:
        verdict("lenet-zcu102", golden("lenet-zcu102"), now)
    lines = str(e.value).splitlines()
    assert len(lines) == 3 and lines[1].startswith("csynth report") and " lut " in lines[1] and "+25.0%" in lines[1]
