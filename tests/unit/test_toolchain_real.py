"""The parsers on real reports: every value another parser read, and damaged copies of them."""

import csv
import os
import random
import time
from functools import cache
from pathlib import Path

import pytest

from flow.toolchain import parse, parse_device

DATA = Path(os.environ.get("COEXPLORE_DATA") or Path(__file__).parents[2] / "../shared/data") / "hls_reports"
pytestmark = pytest.mark.skipif(not (DATA / "expected.csv").is_file(), reason=f"no real reports at {DATA}")

_FIELDS = {
    **{"part": "part", "top": "top", "tool": "tool", "version": "tool_version", "wns_ns": "wns_ns"},
    **{"clk_target_ns": "clock_target_ns", "clk_est_ns": "clock_estimated_ns"},
    **{"lat_min": "latency_min", "lat_max": "latency_max", "ii_min": "interval_min", "ii_max": "interval_max"},
}
_DETAILS = {n: n for n in ("family", "project", "solution", "pipeline", "bram36")} | {
    "clk_uncert_ns": "clock_uncertainty_ns"
}
_KINDS = {
    **{"csynth_rpt": ("csynth", "csynth_module"), "csynth_xml": ("csynth", "csynth_module")},
    **{"csynth_rpt_overview": ("csynth",), "export_rpt": ("export",), "hls_log": ("log",)},
    **{"timing_synth": ("timing",), "util_impl": ("utilization",), "util_vsynth": ("utilization",)},
}
# Where an expected value is wrong: (fixture, column) -> (right value, line of the report that shows it). None so far.
EXCEPTIONS: dict[tuple[str, str], tuple[str, str]] = {}


@cache
def files() -> tuple[Path, ...]:
    return tuple(sorted(p for p in DATA.iterdir() if p.suffix in (".rpt", ".xml", ".log")))


def expected_rows():
    if not (DATA / "expected.csv").is_file():
        return []
    with (DATA / "expected.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def found_value(report: parse.ToolReport, column: str):
    plain = report.json()
    if column in _FIELDS:
        return plain[_FIELDS[column]]
    if column in _DETAILS:
        return plain["details"].get(_DETAILS[column])
    if column in ("lut", "ff", "dsp", "bram18", "uram"):
        return plain["resources"][column]
    if column.startswith("avail_"):
        return plain["available"][column.removeprefix("avail_")]
    if column == "dataflow":
        ends = plain["details"].get("dataflow_interval")
        return ends[0] if ends and ends[0] == ends[1] else None
    return {"n_loops": len(report.loops), "n_modules": len(report.modules), "is_top": int(report.kind == "csynth")}[
        column
    ]


@pytest.mark.parametrize("row", expected_rows(), ids=lambda r: r["fixture"])
def test_every_expected_value(row):
    report = parse.parse(DATA / row["fixture"])[0]
    assert report.kind in _KINDS[row["kind"]]
    for column, wanted in row.items():
        if column in ("fixture", "repo", "path", "commit", "kind", "blob") or wanted == "":
            continue
        if (row["fixture"], column) in EXCEPTIONS:
            wanted, line = EXCEPTIONS[row["fixture"], column]
            assert line in (DATA / row["fixture"]).read_text(encoding="utf-8", errors="replace")
        got = found_value(report, column)
        same = float(wanted) == got if isinstance(got, int | float) else wanted == got
        assert same, f"{row['fixture']} {column}: expected {wanted!r}, got {got!r}"


def test_all_reports_have_an_expectation():
    assert {p.name for p in files()} == {r["fixture"] for r in expected_rows()}


def test_at_least_200_reports_per_second():
    start = time.process_time()  # the processor's, so that other work does not count
    for path in files():
        parse.parse(path)
    assert len(files()) / (time.process_time() - start) > 200


def test_no_false_contradiction():
    """What is checked (sums, percentages, absolute times, intervals) holds in every real report of the set."""
    known = ("used, ", "0 cycles", "estimated, ", "minimum", "closing line", "worst slack")
    for path in files():
        for report in parse.parse(path):
            assert [w for w in report.warnings if not any(k in w for k in known)] == [], path.name


def test_collections_hold_the_co_simulation_too():
    both = [parse.parse(p) for p in files() if b"CO-SIMULATION RESULT" in p.read_bytes()]
    assert both and all([r.kind for r in reports] == ["csynth", "cosim"] for reports in both)
    assert all(r[1].latency_max is not None and r[1].details["status"] == "Pass" for r in both)


def test_detail_tables_balance():
    """Rows sum to the total of their table, and the tables to the module: 100 % of real reports do."""
    checked = 0
    for path in files():
        for report in parse.parse(path):
            for table in report.details.get("tables", {}).values():
                total = next((r for r in table if r.get("name") == "Total"), None)
                for resource in ("lut", "ff", "dsp", "bram18"):
                    rows = [r.get(resource) for r in table if r is not total]
                    if (
                        total is not None
                        and isinstance(total.get(resource), int)
                        and all(isinstance(r, int) for r in rows)
                    ):
                        assert sum(rows) == total[resource], (path.name, resource)
                        checked += 1
    assert checked > 150


def damaged(path: Path, rng: random.Random) -> list[tuple[str, str]]:
    data = path.read_bytes()
    text = data.decode("utf-8", errors="replace")
    lines = text.split("\n")
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    flipped, other = bytearray(data), 0
    for _ in range(4):
        at, bit = rng.randrange(len(flipped)), 1 << rng.randrange(8)
        other += chr(flipped[at]).isdecimal() and chr(flipped[at] ^ bit).isdecimal()
        flipped[at] ^= bit
    digits = [i for i, c in enumerate(text) if c.isdigit()]
    at = rng.choice(digits)
    return [
        ("cut", text[: rng.randrange(len(text))]),
        ("swapped", "\n".join(lines)),
        ("flipped to another digit" if other else "flipped", flipped.decode("utf-8", errors="replace")),
        ("digit", text[:at] + str((int(text[at]) + rng.randrange(1, 10)) % 10) + text[at + 1 :]),
    ]


@pytest.mark.parametrize("copies", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_damaged_reports_are_refused_or_read(copies):
    """Damaged copies of every report (15,040 in the slow run): a ReportError or reports, never anything else.

    Cut, with swapped lines or with flipped bits, a copy is refused, warns, or says the same numbers (or fewer): not one
    says another number silently. One digit for another is noticed where the file has that number, or one that follows
    from it, a second time: docs/reports.md lists the numbers that stand once.
    """
    rng = random.Random(20240101 + copies)
    cut = noticed = 0
    silent: dict[str, list[str]] = {}
    seen: dict[str, int] = {}
    for path in files():
        whole = parse.parse(path)[0]
        for _ in range(copies):
            for how, text in damaged(path, rng):
                try:
                    reports = parse.read(text, path.name)
                except parse.ReportError as refused:
                    assert path.name in str(refused) and "\n" not in str(refused)
                    reports = None
                if reports is not None:
                    assert all(isinstance(r, parse.ToolReport) and r.json() for r in reports)
                seen[how] = seen.get(how, 0) + 1
                if reports is not None and silently_wrong(whole, reports[0]):
                    silent.setdefault(how, []).append(path.name)
                # A log has no end mark; everything else has.
                if how == "cut" and path.suffix != ".log":
                    cut += 1
                    noticed += reports is None
    print({how: (len(silent.get(how, ())), n) for how, n in seen.items()})
    assert noticed / cut > 0.97, f"{noticed} of {cut}"
    assert {"cut", "swapped", "flipped"} & silent.keys() == set(), silent
    text_reports = [n for n in silent.get("digit", []) if "csynth_rpt_V" in n]
    assert len(text_reports) / seen["digit"] < 0.005  # 26 of 94 files; only their clocks stand once
    assert len(silent.get("digit", [])) / seen["digit"] < 0.05


_NUMBERS = (
    "latency_min",
    "latency_max",
    "interval_min",
    "interval_max",
    "clock_target_ns",
    "clock_estimated_ns",
    "wns_ns",
)


def silently_wrong(whole: parse.ToolReport, found: parse.ToolReport) -> bool:
    """Another number than in the undamaged report, and no warning that was not there before."""
    pairs = [(getattr(whole, n), getattr(found, n)) for n in _NUMBERS]
    pairs += [(whole.resources[k], found.resources[k]) for k in whole.resources]
    pairs += [(whole.available[k], found.available[k]) for k in whole.available]
    return any(b is not None and a != b for a, b in pairs) and set(found.warnings) <= set(whole.warnings)


def test_the_device_is_known_by_its_name():
    parts = ("xc7z020-clg400-1", "7z020clg400", "xcu250-figd2104-2L-e", "xcku060-ffva1156-2-e")
    assert [parse_device.device(p) for p in parts] == ["7z020", "7z020", "u250", "ku060"]
    assert parse_device.device("xczu9eg-ffvb1156-2-e") == "zu9eg" and parse_device.device("") is None
    path = next(p for p in files() if "xml_VivadoHLS_2019.1" in p.name)
    text = path.read_text().replace("<LUT>53200</LUT>", "<LUT>53300</LUT>")
    assert any("has 53200" in w for w in parse.read(text, "x")[0].warnings)


def test_cut_at_a_line_is_refused_or_says_the_same():
    """Where a cut goes unnoticed, only what stands behind all values is missing. Logs have no end mark."""
    for path in files():
        if path.suffix == ".log":
            continue
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
        whole = plain(parse.parse(path)[0])
        for k in range(1, len(lines), max(1, len(lines) // 20)):
            try:
                found = parse.read("\n".join(lines[:k]) + "\n", str(path))
            except parse.ReportError:
                continue
            assert plain(found[0]) == whole, (path.name, k)


def plain(report: parse.ToolReport):
    return {k: v for k, v in report.json().items() if k not in ("details", "warnings")}
