"""Hardware search: accelerators for a given network, objectives and limits by name."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from flow import board, cli, estimate, mapping, run, tailor
from flow.config import Config, ConfigError, limits
from flow.ir import emit
from flow.search import conformance, load
from flow.tiled.grids import GRIDS
from tests import networks


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    d = networks.Draft((3, 8, 8))
    d.dense(d.conv(d.conv("input", 8), 8), 10)
    path = tmp_path_factory.mktemp("model") / "net.onnx"
    path.write_bytes(emit.model(d.graph()).SerializeToString())
    return path


def config(model, **more):
    given = {"board": "zcu102", "mode": "hw-only", "network": str(model), "trials": 16, "generation": 8, "workers": 1}
    return Config(**{**given, "objectives": ("latency_ms", "dsp", "lut"), "front_size": 2, **more})


def test_the_space_keeps_the_contract_of_strategies():
    space = tailor.Accelerators((100.0, 200.0), 0.8)
    conformance.check(lambda s, seed, m: load("nsga2", s, seed, m), space, 40)
    rng = np.random.default_rng(0)
    for _ in range(50):
        g = space.sample(rng)
        assert space.mutate(g, rng) != g and space.loads(space.dumps(g)) == space.decode(space.encode(g)) == g
    assert {tailor.ENGINES[i].split()[1] for i in range(len(tailor.ENGINES))} == {*tailor.STREAM, *GRIDS}


def test_limits_are_shares_or_counts():
    have = board.load("zcu102").available
    assert limits(("dsp=0.5", "lut=30000"), have) == {"dsp": have.dsp // 2, "lut": 30000}
    for text, message in (("dsp=0", "above 0"), ("slices=3", "one of lut, ff, dsp"), ("dsp", "NAME=LIMIT")):
        with pytest.raises(ConfigError, match=message):
            limits((text,), have)


def test_a_run_keeps_its_limits_and_its_front_is_true(model, tmp_path):
    said: list[str] = []
    front = run.start(config(model, limits=("dsp=40", "lut=0.1")), tmp_path / "run", said.append)
    written = json.loads((tmp_path / "run" / "front.json").read_text())
    assert written["objectives"] == ["latency_ms", "dsp", "lut"] and written["trials"] == 16
    have = board.load("zcu102").available
    assert written["reference"] == [1000.0, 40.0, int(0.1 * have.lut)]
    assert 1 <= len(front["points"]) <= 2
    for p in front["points"]:
        assert p["objectives"]["dsp"] <= 40 and p["objectives"]["lut"] <= 0.1 * have.lut
        assert p["csim"]["bit_exact"] and (tmp_path / "run" / p["directory"] / "design.json").is_file()
        performance = json.loads(
            (tmp_path / "run" / p["directory"] / "report" / "estimate_network_performance.json").read_text()
        )
        assert performance["resources"] == p["resources"] and performance["fits"] and p["available"] == have.json()
        assert performance["latency_ms"] == pytest.approx(p["objectives"]["latency_ms"])
    values = [tuple(p["objectives"][n] for n in written["objectives"]) for p in front["points"]]
    assert not any(a != b and all(x <= y for x, y in zip(a, b, strict=True)) for a in values for b in values)
    curve = written["anytime"]
    assert [r["trials"] for r in curve] == [8, 16]
    assert all(a["hypervolume"] <= b["hypervolume"] for a, b in itertools.pairwise(curve))
    assert "Anytime" in (tmp_path / "run" / "report.html").read_text()
    # The same seed on two workers, interrupted: the same front.
    journal = (tmp_path / "run" / "journal.jsonl").read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    for name in ("config.toml", "environment.json"):
        (other / name).write_bytes((tmp_path / "run" / name).read_bytes())
    (other / "journal.jsonl").write_bytes(b"".join(journal.splitlines(True)[:9]) + b"torn")
    again = run.resume(other, said.append)
    assert [p["objectives"] for p in again["points"]] == [p["objectives"] for p in front["points"]]


def test_a_limit_is_the_mapper_s_budget(model):
    """Half the DSPs: the very design that the mapper finds on a board with half of them."""
    settings = config(model, limits=("dsp=0.5",)).dict()
    hardware = {"engine": "stream throughput", "clock_mhz": 200.0, "shares": dict.fromkeys(tailor.SHARES, 0.8)}
    found = tailor.measured(settings, hardware)
    assert found["feasible"] and found["objectives"]["dsp"] <= board.load("zcu102").available.dsp / 2
    free = tailor.measured(config(model).dict(), hardware)
    assert free["objectives"]["fps"] >= found["objectives"]["fps"]
    graph = tailor.network(str(model))[1]
    half = replace(board.load("zcu102"), available=tailor.allowed(
        board.load("zcu102"), hardware["shares"], {"dsp": board.load("zcu102").available.dsp // 2}))  # fmt: skip
    plain = mapping.solve(graph, half, mapping.Goal(max_utilisation=1.0), 200.0)
    assert found["objectives"]["dsp"] == estimate.estimate(plain).resources.dsp


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--mode hw-only", "mode hw-only needs --network"),
        ("--network {model}", "--network is for mode hw-only"),
        ("--mode hw-only --network {model} --objectives accuracy", "accuracy is the same for every accelerator"),
        ("--mode hw-only --network {model} --objectives speed", "objective 'speed' is not one of latency_ms"),
        (
            "--mode hw-only --network {model} --max-lut 500 --objectives dsp",
            "no accelerator keeps the limits; short of",
        ),
        ("--mode hw-only --network missing.onnx", "missing.onnx"),
        ("--max-dsp 100", "--max-dsp is for mode hw-only"),
    ],
)
def test_wrong_settings_are_one_line(model, tmp_path, capsys, words, message):
    given = words.format(model=model).split()
    code = cli.main(["search", "--trials", "4", "--workers", "1", "--run", str(tmp_path / "r"), *given])
    assert code == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error
