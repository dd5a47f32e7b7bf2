"""The library of component tables: provenance, cross-validation, and what is refused; the benchmark's verdicts."""

from __future__ import annotations

import os
import re
from importlib import resources
from pathlib import Path

import pytest

from flow.bench import load as benchmark
from flow.board import Resources
from flow.cost import fit, laws, library, rows, targets
from flow.cost.laws import Tool
from flow.cost.library import LibraryError

TEXT = (resources.files("flow.cost") / "components.toml").read_text(encoding="utf-8")
DATA = Path(os.environ.get("COEXPLORE_DATA", Path(__file__).parents[2] / "../shared/data")) / "components"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no report rows at {DATA} (set COEXPLORE_DATA)")
VITIS, VIVADO = Tool("vitis", "2023.1"), Tool("vivado", "2019.1", ultrascale=False)


def test_every_entry_says_where_it_comes_from() -> None:
    found = library.parse(TEXT, "components.toml")
    assert {e.component for e in found.entries} == set(library.MUST)
    for e in found.entries:
        assert e.samples >= len(e.values) and e.versions and e.repositories >= 1
        assert all(e.since <= library.release(v) < e.until for v in e.versions), (e.component, e.versions)
        assert (e.validation is None) == (e.repositories == 1)
        if e.validation:
            assert e.validation.rows == e.samples or (e.component == "sum" and e.validation.rows > e.samples / 3)


@pytest.mark.parametrize("line", ["samples", "repositories", "versions", "validation"])
def test_no_provenance_no_library(line: str) -> None:
    """An entry without it is refused, wherever it stands."""
    start = TEXT.index("validation =")
    at = TEXT.rindex("[[entry]]", 0, start)
    entry = re.sub(rf"^{line} = .*\n", "", TEXT[at:], count=1, flags=re.MULTILINE)
    with pytest.raises(LibraryError, match=line if line != "validation" else "not cross-validated"):
        library.parse(TEXT[:at] + entry, "components.toml")
    with pytest.raises(LibraryError, match="no source"):
        library.parse(TEXT.replace("source = ", "origin = "), "components.toml")


@pytest.mark.parametrize(("measure", "worse"), [("near", "0.7"), ("sum_error", "0.5")])
def test_a_fit_that_does_not_hold_is_refused(measure: str, worse: str) -> None:
    entry = TEXT.index('component = "mux"')
    changed = TEXT[:entry] + re.sub(rf"{measure} = [-0-9.]+", f"{measure} = {worse}", TEXT[entry:], count=1)
    with pytest.raises(LibraryError, match=r"mux predicts .* not used"):
        library.parse(changed, "components.toml")


@needs_data
@pytest.mark.slow
def test_stated_cross_validation_holds_and_so_do_the_verdicts() -> None:
    """``flow bench cost`` fits anew; it raises where the files state anything else."""
    found = dict(benchmark("cost")([]))
    verdicts = next(iter(found.values()))
    assert len(verdicts) == 10 and all(r["holds"] == "yes" for r in verdicts), verdicts
    module = next(r for t, r in found.items() if t.startswith("Module totals"))
    assert len(module) == 13 and any(r["lut error"] == "none" for r in module)  # what is given is not counted
    data = targets.data()["csynth"]
    assert data["samples"] == module[-1]["modules"]


@needs_data
def test_a_wrong_table_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed value is noticed, whatever it is; on two small tables of the data."""
    load = benchmark("cost")
    module = load.__globals__
    small = [r for r in module["table"]("mux") if r["repo"] != "hououin/CNN-FPGA"]
    samples = [s for r in small if (s := fit.sample("mux", r, module["tool"](r), r["repo"]))]
    monkeypatch.setitem(module, "samples", lambda: tuple(samples))
    with pytest.raises(ValueError, match="is not what the data gives"):
        module["stated"]()


def test_nearest_entry() -> None:
    """A release between or beyond the fitted ones takes the nearest entry of its family, then the formula."""
    now = library.current()
    own = next(iter(now.ordered("sum", "vitis", (2024, 1), "us")))
    assert (own.family, own.series) == ("vitis", "us")
    assert not list(now.ordered("comparator", "vitis", (2022, 2), "us")), "Vitis counted like Vivado then"
    assert laws.comparator(32, Tool("vitis", "2022.2")) == laws.comparator(32, Tool("vivado", "2019.2"))
    assert laws.adder(1000, VITIS).lut == 1007 and laws.mux(1000, 1, VIVADO).lut == 4 * 1000 + 17 + 128
    fadd = laws.core("fadd", 32, VIVADO)
    assert fadd and fadd.dsp == 2 and fadd.ff > 200
    assert laws.core("nosuchcore", 32, VITIS) is None


def test_interpolation_between_sizes() -> None:
    e = library.Entry("sum", "vitis", "us", (2022, 1), (2100, 1), {4: (10, 0, 0), 8: (20, 4, 0)}, 9, 1, ("2023.1",))
    assert [e.at(n) for n in (3, 4, 6, 8, 9)] == [None, (10, 0, 0), (15, 2, 0), (20, 4, 0), None]


def test_what_is_fitted_is_what_was_sampled() -> None:
    """By hand: three rows of two repositories; the mode wins, an inner sum of three terms is no sample."""
    made = [
        fit.sample("expression", {"op": "+", "p0": "9", "p1": "4", "lut": lut, "ff": 0, "dsp": 0}, VITIS, repository)
        for lut, repository in (("16", "a"), ("16", "b"), ("14", "b"), ("9", "b"))
    ]
    assert fit.sample("expression", {"op": "xor", "p0": "9", "p1": "4", "lut": "9"}, VITIS, "a") is None
    found = fit.validated([s for s in made if s])
    (entry,) = found.entries
    assert dict(entry.values) == {9: (16, 0, 0)} and entry.repositories == 2 and entry.samples == 4
    assert entry.validation == library.Validation(3, 0.6667, 0.6667, 0.0435)  # the inner sum has its own law
    assert "validation = { rows = 3" in fit.text(found)


def test_rows_of_a_report() -> None:
    """Rows as a parser gives them, numbers as numbers; what has no law is None."""
    muxes = [{"name": "buf_address1", "inputs": 3}, {"name": "buf_we0", "inputs": 2}]
    seen = rows.context(muxes)
    row = {"name": "buf_U", "submodule": "x", "words": 4096, "bits": 8, "banks": 1}
    assert rows.predicted("memory", row, VIVADO, seen) == Resources(bram18=2)
    assert rows.predicted("fifo", {"depth": 64, "bits": 18}, VIVADO, seen).bram18 == 1  # type: ignore[union-attr]
    assert rows.predicted("register", {"bits": 12, "const_bits": 2, "lut": 0}, VITIS, seen) == Resources(ff=10)
    assert rows.predicted("instance", {"submodule": "top_conv_relu_s"}, VITIS, seen) is None
    assert rows.core({"submodule": "cnn_fadd_32ns_32ncud"}) == ("fadd", 32)
    assert rows.predicted("dsp", {"wa": 8, "wb": 8}, VITIS, seen) == Resources(dsp=1)


def test_targets_have_sources() -> None:
    for target in ("csynth", "impl"):
        data = targets.data()[target]
        assert data["samples"] > 40 and len(data["source"]) > 40
        for kind in ("lut", "ff", "dsp", "bram18", "uram"):
            s = targets.spread(target, kind)
            assert 0 < s.p10 <= s.p50 <= s.p90
