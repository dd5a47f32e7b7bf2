"""The parsers on small reports: every kind, the traps of each, and files that must be refused."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from mock_tools import mock_reports

from flow.toolchain import parse
from flow.toolchain.parse_values import bounds, count, nanoseconds

NUMBERS = {"latency": 640769, "interval": 2050, "clock_ns": None}
NUMBERS |= {"resources": {"bram18": 7, "dsp": 12, "ff": 3483, "lut": 28922, "uram": 0}}
NUMBERS |= {"available": {"bram18": 1824, "dsp": 2520, "ff": 548160, "lut": 274080, "uram": 0}}


def made(tool="Vitis HLS", version="2022.1", **numbers):
    return mock_reports.Run(tool, version, "xczu9eg-ffvb1156-2-e", "accel", 5.0, 0.6, NUMBERS | numbers)


def only(text, name="r"):
    reports = parse.read(text, name)
    assert len(reports) == 1
    return reports[0]


@pytest.mark.parametrize(
    ("tool", "version"), [("Vivado HLS", "2019.2"), ("Vitis HLS", "2022.1"), ("Vitis HLS", "2024.2")]
)
def test_csynth_xml_and_text_of_one_run_agree(tool, version):
    run = made(tool, version)
    xml, text = only(mock_reports.csynth_xml(run, False)), only(mock_reports.csynth(run, False))
    for report in (xml, text):
        assert (report.kind, report.tool, report.tool_version, report.top) == ("csynth", tool, version, "accel")
        assert (report.latency_min, report.latency_max) == (640769, 640769)
        assert (report.interval_min, report.interval_max) == (2050, 2050)
        assert (report.clock_target_ns, report.clock_estimated_ns) == (5.0, 3.5)
        assert dict(report.resources) == {"lut": 28922, "ff": 3483, "dsp": 12, "bram18": 7, "uram": 0}
        assert report.available["lut"] == 274080
        assert report.part == "xczu9eg-ffvb1156-2-e"
        assert report.warnings == ()
    assert text.details["tables"]["instance"][0]["lut"] == 28922


def test_overview_and_data_json():
    overview = only(mock_reports.overview(made(), False))
    assert (overview.kind, overview.top, overview.latency_max, overview.interval_max) == (
        "csynth",
        "accel",
        640769,
        2050,
    )
    assert (overview.latency_min, overview.resources["uram"], overview.resources["ff"]) == (None, None, 3483)
    data = only(mock_reports.data_json(made(), False))
    assert (data.kind, data.part, data.latency_max, data.resources["lut"]) == (
        "csynth",
        "xczu9eg-ffvb1156-2-e",
        640769,
        28922,
    )
    with pytest.raises(parse.ReportError, match="truncated"):
        parse.read(mock_reports.data_json(made(), False)[:-40], "d.json")


@pytest.mark.parametrize("vitis", [False, True])
def test_export(vitis):
    report = only(mock_reports.export(made(), vitis))
    assert (report.kind, report.resources["dsp"], report.clock_target_ns, report.clock_estimated_ns) == (
        "export",
        12,
        5.0,
        3.15,
    )
    assert report.details["stage"] == "implementation"
    assert report.warnings == ()
    text = mock_reports.export(made(), vitis)
    assert (
        "contradicts"
        in only(text.replace("met\n", "not met\n") if not vitis else text.replace("was met", "was not met")).warnings[0]
    )
    with pytest.raises(parse.ReportError, match="truncated"):
        parse.read(text[: text.index("Final timing" if not vitis else "* Timing was")], "e.rpt")


def test_cosim():
    report = only(mock_reports.cosim(made()))
    assert (report.kind, report.latency_min, report.latency_max, report.interval_max) == ("cosim", 640769, 640769, 2050)
    assert (report.details["status"], report.details["language"], report.details["execution_cycles"]) == (
        "Pass",
        "Verilog",
        640769,
    )
    failed = only(mock_reports.cosim(made()).replace("      Pass|", "      Fail|"))
    assert "status Fail" in failed.warnings[0]
    with pytest.raises(parse.ReportError, match="truncated"):
        parse.read(mock_reports.cosim(made()).rstrip().rpartition("\n")[0] + "\n", "c.rpt")


def test_undefined_values_are_none():
    for text in (
        mock_reports.csynth_xml(made(), True),
        mock_reports.csynth(made(), True),
        mock_reports.overview(made(), True),
    ):
        report = only(text)
        assert (report.latency_min, report.latency_max, report.interval_max) == (None, None, None)


def test_a_report_without_uram_does_not_say():
    text = mock_reports.csynth_xml(made("Vivado HLS", "2017.2"), False).replace("<URAM>0</URAM>\n", "")
    assert only(text).resources["uram"] is None
    assert only(text).available["uram"] is None


def test_over_the_device_and_too_slow_are_warnings():
    report = only(mock_reports.csynth(made(clock_ns=5.9, resources=NUMBERS["resources"] | {"dsp": 3000}), False))
    assert report.warnings == ("dsp: 3000 used, 2520 available on the device", "clock: 5.9 ns estimated, 5 ns wanted")


def test_of_two_clocks_the_first_is_not_lost_silently():
    """Vivado HLS prints no absolute times, so nothing else speaks of the clock."""
    text = mock_reports.csynth(made("Vivado HLS", "2018.3"), False)
    row = next(line for line in text.split("\n") if line.strip().startswith("|ap_clk"))
    assert row.count("5.00") == 1
    second = row.replace("ap_clk", "ap_slw").replace(" 5.00", "20.00").replace("|5.00", "|20.00")
    both = text.replace(row, f"{row}\n{second}", 1)
    assert "20.00" in both
    assert only(both).clock_target_ns == 5.0 and only(both).warnings == ()
    lost = only(both.replace(f"{row}\n", "", 1))
    assert lost.clock_target_ns == 20.0 and any("ap_clk has no row" in w for w in lost.warnings)


def test_available_is_not_available_slr():
    text = mock_reports.csynth(made(), False)
    row = next(line for line in text.split("\n") if line.startswith("|Available "))
    slr = row.replace("Available      ", "Available SLR  ").replace("274080", "137040")
    rule = "+" + "+".join("-" * len(c) for c in row.strip("|").split("|")) + "+"
    report = only(text.replace(row, f"{slr}\n{rule}\n{row}"))
    assert report.available["lut"] == 274080
    assert report.details["available_slr"]["lut"] == 137040


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("|Total  ", "|Totals ", "no row Total"),
        ("<LUT>28922</LUT>", "<LUT>28q22</LUT>", "no count"),
    ],
)
def test_damaged_cells_are_refused(old, new, says):
    text = mock_reports.csynth(made(), False) if old.startswith("|") else mock_reports.csynth_xml(made(), False)
    assert old in text
    with pytest.raises(parse.ReportError, match=says):
        parse.read(text.replace(old, new), "x.rpt")


def test_a_changed_number_contradicts_its_sum_or_percentage():
    text = mock_reports.csynth(made(), False)
    total = next(line for line in text.split("\n") if line.startswith("|Total"))
    assert any("not the sum" in w for w in only(text.replace(total, total.replace("28922", "28932"), 1)).warnings)
    assert any("not the printed" in w for w in only(text.replace("274080", "74080")).warnings)
    xml = mock_reports.csynth_xml(made(), False)
    assert any("not the printed" in w for w in only(xml.replace(">640769<", ">640779900<")).warnings)


LOOPS = """<SummaryOfLoopLatency>
<L><TripCount><range><min>1</min><max>512</max></range></TripCount>
<Latency><range><min>0</min><max>-1</max></range></Latency>
<IterationLatency>7</IterationLatency><Inner><TripCount>10</TripCount><Latency>12</Latency><PipelineII>1</PipelineII>
<PipelineDepth>3</PipelineDepth></Inner></L><L><TripCount>undef</TripCount><Latency>?</Latency></L>
</SummaryOfLoopLatency>
</PerformanceEstimates>"""


def test_xml_loops_nest_and_repeat():
    text = mock_reports.csynth_xml(made("Vivado HLS"), False).replace("</PerformanceEstimates>", LOOPS, 1)
    loops = only(text).loops
    assert [(x["name"], x["depth"], x["parent"]) for x in loops] == [("L", 0, None), ("Inner", 1, 0), ("L", 0, None)]
    assert (loops[0]["trip_count_min"], loops[0]["trip_count_max"], loops[0]["latency_max"]) == (1, 512, None)
    assert (loops[1]["ii"], loops[1]["pipeline_depth"], loops[1]["pipelined"]) == (1, 3, True)
    assert loops[2]["trip_count_max"] is None


@pytest.mark.parametrize(
    "hostile",
    [
        '<!DOCTYPE p [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>',
        '<!DOCTYPE p SYSTEM "file:///etc/passwd">',
        '<?xml version="1.0"?><!DOCTYPE p [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    ],
)
def test_document_types_and_entities_are_refused(hostile):
    with pytest.raises(parse.ReportError, match="refused"):
        parse.read(hostile + mock_reports.csynth_xml(made(), False), "h.xml")


def test_deep_nesting_is_refused():
    deep = "".join(f"<L{i}><TripCount>1</TripCount>" for i in range(5000)) + "".join(
        f"</L{i}>" for i in reversed(range(5000))
    )
    text = mock_reports.csynth_xml(made(), False)
    text = text.replace(
        "</PerformanceEstimates>", f"<SummaryOfLoopLatency>{deep}</SummaryOfLoopLatency></PerformanceEstimates>", 1
    )
    with pytest.raises(parse.ReportError, match="nested deeper"):
        parse.read(text, "d.xml")
    with pytest.raises(parse.ReportError):
        parse.read('{"Top":' + "[" * 100000, "d.json")


@pytest.mark.parametrize(
    "content", [b"", b" \n\n", b"hello\n", b"\x00\x01\x02", b"<html><body/></html>", b"{}", b"[1]\n"]
)
def test_what_is_no_report(tmp_path, content):
    path = tmp_path / "a report.rpt"
    path.write_bytes(content)
    with pytest.raises(parse.ReportError, match=r"a report\.rpt"):
        parse.parse(path)


def test_files_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "absent.rpt", tmp_path):
        with pytest.raises(parse.ReportError, match="cannot be read"):
            parse.parse(path)


def test_a_huge_log_is_read_at_both_ends(tmp_path):
    path = tmp_path / "big.log"
    with path.open("w") as file:
        file.write(
            "****** Vitis HLS - High-Level Synthesis from C, C++ and OpenCL v2022.1 (64-bit)\nERROR: [HLS 1] first\n"
        )
        line = "INFO: [HLS 200-10] " + "x" * 4000 + "\n"
        for _ in range(25_000):
            file.write(line)
        file.write("ERROR: [HLS 2] last\nINFO: [HLS 200-112] Total CPU user time: 1 seconds.\n")
    assert path.stat().st_size > 100_000_000
    report = parse.parse(path)[0]
    assert (report.tool, report.tool_version) == ("Vitis HLS", "2022.1")
    assert report.details["errors"] == ["[HLS 1] first", "[HLS 2] last"]


def test_other_huge_files_are_refused(tmp_path):
    path = tmp_path / "big.xml"
    with path.open("wb") as file:
        file.write(b"<profile>\n")
        file.write(b" " * parse.FILE_BYTES)
    with pytest.raises(parse.ReportError, match="more than"):
        parse.parse(path)


def test_the_top_is_known_from_the_xml_beside_it(tmp_path):
    run = made()
    text = mock_reports.csynth(run, False).replace("ap_rst_n", "ap_rst  ")
    (tmp_path / "accel_csynth.rpt").write_text(text)
    assert parse.parse(tmp_path / "accel_csynth.rpt")[0].kind == "csynth_module"
    (tmp_path / "csynth.xml").write_text(mock_reports.csynth_xml(run, False))
    assert parse.parse(tmp_path / "accel_csynth.rpt")[0].kind == "csynth"


def test_windows_line_ends_and_byte_order_mark():
    text = "\ufeff" + mock_reports.csynth(made(), False).replace("\n", "\r\n")
    assert only(text).latency_max == 640769


UTILIZATION = """Copyright 1986-2019 Xilinx, Inc. All Rights Reserved.
-----------------------------------------------------------
| Tool Version : Vivado v.2019.1 (lin64) Build 1
| Command      : report_utilization -file u.rpt
| Design       : top
| Device       : {device}
| Design State : {state}
-----------------------------------------------------------

Utilization Design Information

Table of Contents
-----------------
1. Logic
2. Memory
3. DSP

1. Logic
--------

+----------------+------+-------+-----------+-------+
|    Site Type   | Used | Fixed | Available | Util% |
+----------------+------+-------+-----------+-------+
| {kind} LUTs*     |  532 |     0 |     53200 |  1.00 |
| {kind} Registers |    5 |     0 |    106400 | <0.01 |
+----------------+------+-------+-----------+-------+


2. Memory
---------

+----------------+------+-------+-----------+-------+
|    Site Type   | Used | Fixed | Available | Util% |
+----------------+------+-------+-----------+-------+
| Block RAM Tile |  9.5 |     0 |       140 |  6.79 |
|   RAMB36/FIFO* |    7 |     0 |       140 |  5.00 |
|   RAMB18       |    5 |     0 |       280 |  1.79 |
{uram}+----------------+------+-------+-----------+-------+


3. DSP
------

+-----------+------+-------+-----------+-------+
| Site Type | Used | Fixed | Available | Util% |
+-----------+------+-------+-----------+-------+
| DSPs      |   16 |     0 |       220 |  7.27 |
+-----------+------+-------+-----------+-------+

"""


@pytest.mark.parametrize(
    ("kind", "device", "uram", "state", "stage"),
    [
        ("Slice", "7z020clg400-1", "", "Fully Placed", "placed"),
        ("CLB", "xcvu7p", "| URAM           |    1 |     0 |       960 |  0.10 |\n", "Synthesized", "synthesis"),
    ],
)
def test_utilization_of_two_families(kind, device, uram, state, stage):
    text = UTILIZATION.format(kind=kind, device=device, uram=uram, state=state)
    report = only(text)
    assert dict(report.resources) == {"lut": 532, "ff": 5, "dsp": 16, "bram18": 19, "uram": 1 if uram else None}
    assert dict(report.available) == {
        "lut": 53200,
        "ff": 106400,
        "dsp": 220,
        "bram18": 280,
        "uram": 960 if uram else None,
    }
    assert (report.kind, report.part, report.top, report.tool_version) == ("utilization", device, "top", "2019.1")
    assert (report.details["bram36"], report.details["stage"], report.warnings) == (9.5, stage, ())
    assert any("RAMB36" in w for w in only(text.replace("|    7 |", "|    8 |")).warnings)
    assert any("not the printed" in w for w in only(text.replace("|  532 |", "|  632 |")).warnings)
    with pytest.raises(parse.ReportError, match=r"3\. DSP"):
        parse.read(text[: text.index("\n3. DSP\n---")], "u.rpt")


HIERARCHY = """Copyright
| Tool Version : Vivado v.2021.1 (lin64) Build 1
| Command      : report_utilization -hierarchical -file u.rpt
| Design       : top
| Device       : xczu9eg
| Design State : Routed

Utilization Design Information

Table of Contents
-----------------
1. Utilization by Hierarchy

1. Utilization by Hierarchy
---------------------------

+--------------+--------+------------+------------+---------+------+-----+--------+--------+------+------------+
|   Instance   | Module | Total LUTs | Logic LUTs | LUTRAMs | SRLs | FFs | RAMB36 | RAMB18 | URAM | DSP Blocks |
+--------------+--------+------------+------------+---------+------+-----+--------+--------+------+------------+
| top          |  (top) |        100 |         90 |       6 |    4 | 200 |      3 |      1 |    0 |          5 |
|   (top)      |  (top) |         10 |         10 |       0 |    0 |  20 |      0 |      0 |    0 |          0 |
|   part       |   part |         90 |         80 |       6 |    4 | 180 |      3 |      1 |    0 |          5 |
+--------------+--------+------------+------------+---------+------+-----+--------+--------+------+------------+

"""


def test_utilization_by_hierarchy():
    report = only(HIERARCHY)
    assert dict(report.resources) == {"lut": 100, "ff": 200, "dsp": 5, "bram18": 7, "uram": 0}
    assert [(m["instance"], m["depth"]) for m in report.modules] == [("(top)", 1), ("part", 1)]
    with pytest.raises(parse.ReportError, match="truncated"):
        parse.read(HIERARCHY[: HIERARCHY.index("|   part")], "u.rpt")


TIMING = """| Tool Version : Vivado v.2025.2 (lin64) Build 1
| Command      : report_timing_summary
| Design       : accel
| Device       : 7z020-clg484
| Design State : Routed

Timing Summary Report

------------------------------------------------------------------------------------------------
| Design Timing Summary
| ---------------------
------------------------------------------------------------------------------------------------

    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)      THS(ns)     WPWS(ns)
    -------      -------  ---------------------  -------------------      -------      -------     --------
     -1.791    -3552.662                   6269                77242        0.066        0.000        1.958


Timing constraints are not met.

------------------------------------------------------------------------------------------------
| Clock Summary
| -------------
------------------------------------------------------------------------------------------------

Clock   Waveform(ns)         Period(ns)      Frequency(MHz)
-----   ------------         ----------      --------------
ap_clk  {0.000 2.500}        5.000           200.000

------------------------------------------------------------------------------------------------
| Timing Details
| --------------
------------------------------------------------------------------------------------------------

"""


def test_timing_summary():
    report = only(TIMING)
    assert (report.kind, report.wns_ns, report.clock_target_ns, report.part) == ("timing", -1.791, 5.0, "7z020-clg484")
    assert report.details["stage"] == "routed"
    assert report.warnings == ("timing: worst slack -1.791 ns: the clock is not met",)
    assert len(only(TIMING.replace("6269", "   0")).warnings) == 2
    praised = TIMING.replace("Timing constraints are not met.", "All user specified timing constraints are met.")
    assert any("contradicts" in w for w in only(praised).warnings)
    for end in ("| Clock Summary", "     -1.791", "| Timing Details"):
        with pytest.raises(parse.ReportError):
            parse.read(TIMING[: TIMING.index(end)], "t.rpt")


LOG = """****** Vitis HLS - High-Level Synthesis from C, C++ and OpenCL v2024.1 (64-bit)
INFO: [HLS 200-1510] Running: set_top accel
INFO: [HLS 200-1611] Setting target device to 'xcu50-fsvh2104-2-e'
INFO: [SYN 201-201] Setting up clock 'default' with a period of 5ns.
INFO: [SYN 201-201] Setting up clock 'default' with an uncertainty of 1.35ns.
WARNING: [HLS 207-5292] unused parameter
WARNING: [HLS 200-40] Part selection
ERROR: [HLS 207-1] some trouble
ERROR: [Common 17-345] A valid license was not found for feature 'HLS'
"""


def test_log():
    report = only(LOG)
    assert (report.kind, report.tool, report.tool_version, report.top) == ("log", "Vitis HLS", "2024.1", "accel")
    assert (report.part, report.clock_target_ns, report.details["clock_uncertainty_ns"]) == (
        "xcu50-fsvh2104-2-e",
        5.0,
        1.35,
    )
    assert (len(report.details["errors"]), report.details["warning_count"]) == (2, 2)
    assert "may be cut" in report.warnings[0]


def test_json_is_plain():
    text = json.dumps(only(mock_reports.csynth(made(), False)).json())
    keys = list(json.loads(text))
    assert (
        keys[:18]
        == (
            "file kind tool tool_version part top clock_target_ns clock_estimated_ns latency_min latency_max"
            " interval_min interval_max"
            " resources available loops modules wns_ns warnings"
        ).split()
    )


def test_values():
    assert [count(t, "x") for t in ("7", " 8 ", "?", "undef", "-", "-1", "-3", "", None, "4294967295", "NA")] == [
        7,
        8,
    ] + [None] * 9
    assert [bounds(t, "x") for t in ("5", "1 ~ 512", "27 ~ ?", "?", "926 ~ 1377")] == [
        (5, 5), (1, 512), (27, None), (None, None), (926, 1377)
    ]  # fmt: skip
    assert [nanoseconds(t, "x") for t in ("5.00", "5.00 ns", "5.150 us", "0.958 ms", "48.298 sec", "?")] == [
        5.0, 5.0, 5150.0, 958000.0, 48.298e9, None
    ]  # fmt: skip
    for bad in ("7a", "1e5", "~0", "9" * 30, "1 2"):
        with pytest.raises(parse.ReportError):
            count(bad, "x")
