"""The laws of composition against real reports: the shares that docs/evidence-dataflow.md states."""

import statistics

import pytest
from networks import sample

from benchmarks import dataflow_regions as bench
from flow.timing import slowest

HERE = bench.folder()
needs_reports = pytest.mark.skipif(
    not (HERE / "module.csv.gz").is_file(), reason="rows of real reports are not here (COEXPLORE_DATA)"
)


@pytest.fixture(scope="module")
def tables():
    return {name: bench.rows(HERE / f"{name}.csv.gz") for name in ("module", "perfinst", "loop")}


@needs_reports
def test_interval_of_real_regions_is_the_slowest_process_plus_one(tables):
    found = bench.regions(tables["module"], tables["perfinst"])
    assert len(found) == 29
    assert sum(r.interval_error == 0 for r in found) == 28
    assert [r.interval_error for r in found if r.interval_error] == [-1]


@needs_reports
def test_latency_of_real_regions_is_bounded_by_its_processes(tables):
    found = bench.regions(tables["module"], tables["perfinst"])
    assert all(r.slowest_latency <= r.latency <= sum(r.latencies) + 1 for r in found)
    errors = [r.latency_error for r in found]
    assert 0.04 < statistics.median(errors) < 0.06
    assert 0.45 < max(errors) < 0.50  # why the latency of our designs is simulated, not composed


@needs_reports
def test_process_law_on_real_modules_around_one_pipelined_loop(tables):
    found = bench.loop_modules(tables["module"], tables["perfinst"], tables["loop"])
    alone = [p for p in found if not p.calls]
    assert (sum(p.error == 0 for p in alone), len(alone)) == (237, 242)
    single = [p for p in alone if p.ii == 1]
    assert (sum(p.error == 0 for p in single), len(single)) == (80, 81)
    assert max(abs(p.error) for p in alone) == 5
    # Where the loop calls functions, their cycles come on top: the law is a lower bound there, and ours call none.
    assert all(p.error > 0 for p in found if p.calls)


@needs_reports
def test_the_report_states_the_shares(capsys):
    assert bench.main([]) == 0
    out = capsys.readouterr().out
    assert "interval = slowest process + 1: 28 of 29 (96.6 %) exact" in out
    assert "237 of 242" in out and "80 of 81" in out


def test_missing_folder_is_said(tmp_path, capsys):
    assert bench.main([str(tmp_path)]) == 1
    assert str(tmp_path) in capsys.readouterr().err


def test_undefined_cycles_leave_a_region_out(tmp_path):
    module = {"rid": "1", "ptype": "dataflow", "module": "m", "tool": "Vitis", "version": "0"}
    parts = [{"rid": "1", "ii_max": n, "lat_max": n} for n in ("10", "20")]
    (whole,) = bench.regions([{**module, "ii_max": "21", "lat_max": "25"}], parts)
    assert (whole.predicted_interval, whole.interval_error, whole.slowest_latency) == (21, 0, 20)
    assert bench.regions([{**module, "ii_max": "?", "lat_max": "25"}], parts) == []
    assert bench.regions([{**module, "ii_max": "21", "lat_max": "25"}], [*parts, {**parts[0], "ii_max": ""}]) == []


def test_designs_are_timed_by_the_law_that_is_measured_here():
    """The netlist's interval is that of the benchmark's law over its processes."""
    from flow import board, mapping

    design = mapping.solve(sample(), board.load("zcu102"), mapping.Goal("throughput", 0.8, None, None))
    cycles = tuple(p.cycles for p in design.netlist.processes)
    region = bench.Region("accel", "", slowest(design.netlist), max(cycles), cycles, cycles)
    assert region.interval_error == 0
    for p in design.netlist.processes:
        assert bench.LoopModule(p.id, "", p.cycles, p.iterations, 1, p.depth, 0).error == 0
