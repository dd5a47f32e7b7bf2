"""Reports of versions and families that no collected file has, in their documented formats: read right, or refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from mock_tools import mock_reports

from flow.toolchain import parse
from flow.toolchain.parse_values import printed, uncertainty

BAR = "=" * 64
OLD = f"""

{BAR}
== Vivado HLS Report for 'fir'
{BAR}
* Date:           Mon Jan  7 10:00:00 2019

* Version:        2018.3 (Build 2405991 on Thu Dec 06 23:56:15 MST 2018)
* Project:        fir_prj
* Solution:       solution1
* Product family: zynq
* Target device:  xc7z020clg400-1


{BAR}
== Performance Estimates
{BAR}
+ Timing (ns):
    * Summary:
    +--------+-------+----------+------------+
    |  Clock | Target| Estimated| Uncertainty|
    +--------+-------+----------+------------+
    |ap_clk  |  10.00|     8.510|        1.25|
    |slow    |  20.00|     8.510|        2.50|
    +--------+-------+----------+------------+

+ Latency (clock cycles):
    * Summary:
    +-----+-----+-----+-----+---------+
    |  Latency  |  Interval | Pipeline|
    | min | max | min | max |   Type  |
    +-----+-----+-----+-----+---------+
    |   34|    ?|   34|    ?|   none  |
    +-----+-----+-----+-----+---------+

    + Detail:
        * Instance:
        N/A

        * Loop:
        +----------+-----+-----+----------+-----------+-----------+--------+----------+
        |          |  Latency  | Iteration|  Initiation Interval  |  Trip  |          |
        | Loop Name| min | max |  Latency |  achieved |   target  |  Count | Pipelined|
        +----------+-----+-----+----------+-----------+-----------+--------+----------+
        |- Loop 1  |   32|    ?|  2 ~ ?   |          -|          -|      16|    no    |
        | + Inner  |    9|    9|         3|          1|          1|       8|    yes   |
        +----------+-----+-----+----------+-----------+-----------+--------+----------+



{BAR}
== Utilization Estimates
{BAR}
* Summary:
+-----------------+---------+-------+--------+-------+-----+
|       Name      | BRAM_18K| DSP48E|   FF   |  LUT  | URAM|
+-----------------+---------+-------+--------+-------+-----+
|DSP              |        -|      1|       -|      -|    -|
|Expression       |        -|      0|       0|     15|    -|
|FIFO             |        -|      -|       -|      -|    -|
|Instance         |        -|      -|       -|      -|    -|
|Memory           |        1|      -|       0|      0|    0|
|Multiplexer      |        -|      -|       -|     15|    -|
|Register         |        -|      -|      12|      -|    -|
+-----------------+---------+-------+--------+-------+-----+
|Total            |        1|      1|      12|     30|    0|
+-----------------+---------+-------+--------+-------+-----+
|Available        |      280|    220|  106400|  53200|    0|
+-----------------+---------+-------+--------+-------+-----+
|Utilization (%)  |    ~0   |   ~0  |   ~0   |   ~0  |    0|
+-----------------+---------+-------+--------+-------+-----+

+ Detail:
    * Instance:
    N/A

    * DSP48:
    +----------+--------+--------------+
    | Instance | Module |  Expression  |
    +----------+--------+--------------+
    |mac_U1    |mac     | i0 + i1 * i2 |
    +----------+--------+--------------+

    * Memory:
    +--------+--------+---------+---+----+-----+------+-----+------+-------------+
    | Memory | Module | BRAM_18K| FF| LUT| URAM| Words| Bits| Banks| W*Bits*Banks|
    +--------+--------+---------+---+----+-----+------+-----+------+-------------+
    |c_U     |fir_c   |        1|  0|   0|    0|    64|   16|     1|         1024|
    +--------+--------+---------+---+----+-----+------+-----+------+-------------+
    |Total   |        |        1|  0|   0|    0|    64|   16|     1|         1024|
    +--------+--------+---------+---+----+-----+------+-----+------+-------------+

    * FIFO:
    N/A

    * Expression:
    +----------------+----------+-------+---+----+------------+------------+
    |  Variable Name | Operation| DSP48E| FF| LUT| Bitwidth P0| Bitwidth P1|
    +----------------+----------+-------+---+----+------------+------------+
    |i_fu_1          |     +    |      0|  0|  15|           5|           1|
    +----------------+----------+-------+---+----+------------+------------+
    |Total           |          |      0|  0|  15|           5|           1|
    +----------------+----------+-------+---+----+------------+------------+

    * Multiplexer:
    +-----------+----+-----------+-----+-----------+
    |    Name   | LUT| Input Size| Bits| Total Bits|
    +-----------+----+-----------+-----+-----------+
    |ap_NS_fsm  |  15|          3|    1|          3|
    +-----------+----+-----------+-----+-----------+
    |Total      |  15|          3|    1|          3|
    +-----------+----+-----------+-----+-----------+

    * Register:
    +-----------+----+----+-----+-----------+
    |    Name   | FF | LUT| Bits| Const Bits|
    +-----------+----+----+-----+-----------+
    |acc_reg    |  12|   0|   16|          4|
    +-----------+----+----+-----+-----------+
    |Total      |  12|   0|   16|          4|
    +-----------+----+----+-----+-----------+



{BAR}
== Interface
{BAR}
* Summary:
+-----------+-----+-----+------------+--------------+--------------+
| RTL Ports | Dir | Bits|  Protocol  | Source Object|    C Type    |
+-----------+-----+-----+------------+--------------+--------------+
|ap_clk     |  in |    1| ap_ctrl_hs |      fir     | return value |
+-----------+-----+-----+------------+--------------+--------------+

"""


def one(text: str) -> parse.ToolReport:
    (report,) = parse.read(text, "r.rpt")
    return report


def test_an_open_latency_and_two_clocks_of_2018_3() -> None:
    report = one(OLD)
    assert (report.tool, report.tool_version, report.part) == ("Vivado HLS", "2018.3", "xc7z020clg400-1")
    assert (report.latency_min, report.latency_max, report.interval_max) == (34, None, None)
    assert (report.clock_target_ns, report.details["clock_uncertainty_ns"]) == (10.0, 1.25)
    assert dict(report.resources) == {"lut": 30, "ff": 12, "dsp": 1, "bram18": 1, "uram": 0}
    outer, inner = report.loops
    assert (outer["iteration_latency_min"], outer["iteration_latency_max"], outer["latency_max"]) == (2, None, None)
    assert (inner["parent"], inner["ii"], inner["pipelined"]) == (0, 1, True)
    assert report.warnings == ()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("|acc_reg    |  12|", "|acc_reg    |  11|", "ff"),
        ("|    64|   16|", "|    65|   16|", "memory c_U"),
        ("|ap_NS_fsm  |  15|          3|", "|ap_NS_fsm  |  15|          4|", "input_size"),
        ("|    9|    9|         3|", "|    9|   19|         3|", "loop Inner"),
        ("|Available        |      280|", "|Available        |      380|", "available"),
        ("|    ~0   |   ~0  |", "|     1   |   ~0  |", "bram18"),
    ],
)
def test_what_stands_twice_is_compared(old: str, new: str, says: str) -> None:
    assert old in OLD
    found = one(OLD.replace(old, new)).warnings
    assert found and any(says in w for w in found), found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("|  10.00|     8.510|        1.25|", "|  10,00|     8.510|        1.25|"),
        ("|  106400|", "| 106.400|"),
        ("|  106400|", "|106 400 |"),
        ("|      16|    no", "| sixteen|    no"),
        ("DSP48E|   FF   |", "DSP48E|  FF_  |"),
    ],
)
def test_other_spellings_of_numbers_are_refused(old: str, new: str) -> None:
    """No tool writes decimal commas or groups of digits: a file that has them was edited."""
    assert old in OLD
    with pytest.raises(parse.ReportError, match=r"r\.rpt: "):
        parse.read(OLD.replace(old, new), "r.rpt")


VERSAL = """Copyright 1986-2022 Xilinx, Inc. All Rights Reserved.
----------------------------------------------------------------------
| Tool Version : Vivado v.2022.2 (lin64) Build 3671981
| Command      : report_utilization -file u.rpt
| Design       : accel
| Device       : xcvc1902-vsva2197-2MP-e-S
| Speed File   : -2MP
| Design State : Routed
----------------------------------------------------------------------

Utilization Design Information

Table of Contents
-----------------
1. Netlist Logic
1.1 Summary of Registers by Type
2. CLB Distribution
3. BLOCKRAM
4. ARITHMETIC

1. Netlist Logic
----------------

+----------------------------+-------+-------+------------+-----------+-------+
|          Site Type         |  Used | Fixed | Prohibited | Available | Util% |
+----------------------------+-------+-------+------------+-----------+-------+
| Registers                  | 20000 |     0 |          0 |   1799680 |  1.11 |
|   Register as Flip Flop    | 19990 |     0 |          0 |   1799680 |  1.11 |
|   Register as Latch        |    10 |     0 |          0 |   1799680 | <0.01 |
| CLB LUTs                   | 15000 |     0 |          0 |    899840 |  1.67 |
|   LUT as Logic             | 14000 |     0 |          0 |    899840 |  1.56 |
|   LUT as Memory            |  1000 |     0 |          0 |    449920 |  0.22 |
|     LUT as Distributed RAM |   400 |     0 |            |           |       |
|     LUT as Shift Register  |   600 |     0 |            |           |       |
| LOOKAHEAD8                 |    12 |     0 |          0 |    112480 |  0.01 |
+----------------------------+-------+-------+------------+-----------+-------+


1.1 Summary of Registers by Type
--------------------------------

+-------+--------------+-------------+--------------+
| Total | Clock Enable | Synchronous | Asynchronous |
+-------+--------------+-------------+--------------+
| 10    |            _ |           - |            - |
| 19990 |          Yes |       Reset |            - |
+-------+--------------+-------------+--------------+


2. CLB Distribution
-------------------

+-----------+------+-------+------------+-----------+-------+
| Site Type | Used | Fixed | Prohibited | Available | Util% |
+-----------+------+-------+------------+-----------+-------+
| SLICE     | 4000 |     0 |          0 |    112480 |  3.56 |
+-----------+------+-------+------------+-----------+-------+


3. BLOCKRAM
-----------

+----------------------+------+-------+------------+-----------+-------+
|       Site Type      | Used | Fixed | Prohibited | Available | Util% |
+----------------------+------+-------+------------+-----------+-------+
| Block RAM Tile       | 92.5 |     0 |          0 |       967 |  9.57 |
|   RAMB36E5           |   90 |     0 |          0 |       967 |  9.31 |
|   RAMB18E5           |    5 |     0 |          0 |      1934 |  0.26 |
| URAM                 |   16 |     0 |          0 |       463 |  3.46 |
+----------------------+------+-------+------------+-----------+-------+


4. ARITHMETIC
-------------

+---------------+------+-------+------------+-----------+-------+
|   Site Type   | Used | Fixed | Prohibited | Available | Util% |
+---------------+------+-------+------------+-----------+-------+
| DSP Slices    |  120 |     0 |          0 |      1968 |  6.10 |
|   DSP58       |  120 |     0 |            |           |       |
+---------------+------+-------+------------+-----------+-------+
"""


def test_utilization_of_versal() -> None:
    report = one(VERSAL)
    assert dict(report.resources) == {"lut": 15000, "ff": 20000, "dsp": 120, "bram18": 185, "uram": 16}
    assert dict(report.available) == {"lut": 899840, "ff": 1799680, "dsp": 1968, "bram18": 1934, "uram": 463}
    assert (report.tool_version, report.details["stage"], report.warnings) == ("2022.2", "routed", ())
    for old, new, says in (
        ("|   LUT as Logic             | 14000 |", "|   LUT as Logic             | 14001 |", "CLB LUTs"),
        ("|     LUT as Shift Register  |   600 |", "|     LUT as Shift Register  |   601 |", "LUT as Memory"),
        ("| 19990 |          Yes", "| 19991 |          Yes", "summary by type"),
        ("|   RAMB36E5           |   90 |", "|   RAMB36E5           |   91 |", "RAMB36E5"),
        ("| DSP Slices    |  120 |", "| DSP Slices    |  121 |", "DSP Slices"),
        ("| URAM                 |   16 |", "| URAM                 |   17 |", "URAM"),
    ):
        assert any(says in w for w in one(VERSAL.replace(old, new)).warnings), old
    with pytest.raises(parse.ReportError, match="no number"):
        one(VERSAL.replace("|  6.10 |", "|  6,10 |"))


TIMING = """| Tool Version : Vivado v.2021.1 (lin64) Build 3247384
| Design       : accel
| Device       : 7z020-clg400
| Design State : Routed

Timing Summary Report

------------------------
| Design Timing Summary
| ---------------------
------------------------

    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)      THS(ns)
    -------      -------  ---------------------  -------------------      -------      -------
      0.412        0.000                      0                 1200        0.031        0.000


All user specified timing constraints are met.

------------------------
| Clock Summary
| -------------
------------------------

Clock             Waveform(ns)         Period(ns)      Frequency(MHz)
-----             ------------         ----------      --------------
ap_clk            {0.000 1.666}        3.333           300.030
  clk_half        {0.000 3.333}        6.666           150.015

------------------------
| Timing Details
| --------------
------------------------

Slack (MET) :             0.412ns  (required time - arrival time)
  Source:                 a/C
        (rising edge-triggered cell FDRE clocked by ap_clk  {rise@0.000ns fall@1.666ns period=3.333ns})
  Destination:            b/D
  Path Group:             ap_clk
  Path Type:              Setup (Max at Slow Process Corner)
  Requirement:            3.333ns  (ap_clk rise@3.333ns - ap_clk rise@0.000ns)
  Data Path Delay:        2.800ns  (logic 1.000ns (35.714%)  route 1.800ns (64.286%))

                         required time                          3.500
                         arrival time                          -3.088
  -------------------------------------------------------------------
                         slack                                  0.412

"""


def test_timing_of_two_clocks() -> None:
    report = one(TIMING)
    assert (report.wns_ns, report.clock_target_ns, report.warnings) == (0.412, 3.333, ())
    assert [c["name"] for c in report.details["clocks"]] == ["ap_clk", "clk_half"]
    for old, new, says in (
        ("      0.412        0.000", "      0.512        0.000", "worst path"),
        ("-3.088", "-3.188", "required and arrival"),
        ("ap_clk rise@3.333ns", "ap_clk rise@3.433ns", "requirement"),
        ("3.333           300.030", "3.233           300.030", "MHz"),
    ):
        assert any(says in w for w in one(TIMING.replace(old, new, 1)).warnings), old
    cut = TIMING.replace("ap_clk            {0.000 1.666}        3.333           300.030\n", "")
    assert any("no clock ap_clk" in w for w in one(cut).warnings)
    with pytest.raises(parse.ReportError, match="no clock"):
        one(TIMING.replace("{0.000 1.666} ", "{0.000 1.666 "))


def test_data_json_of_a_third_of_a_clock_and_a_percentage() -> None:
    numbers = {
        "latency": 100, "interval": 101, "clock_ns": None,
        "resources": {"bram18": 7, "dsp": 12, "ff": 3483, "lut": 28922, "uram": 3},
        "available": {"bram18": 1824, "dsp": 2520, "ff": 548160, "lut": 274080, "uram": 0},
    }  # fmt: skip
    run = mock_reports.Run("Vitis HLS", "2024.1", "xczu9eg-ffvb1156-2-e", "accel", 5.0, 0.6, numbers)
    data = json.loads(mock_reports.data_json(run, False))
    data["ClockInfo"] |= {"ClockPeriod": "3.333333", "Uncertainty": "27%"}
    data["ModuleInfo"]["Metrics"]["accel"].setdefault("Timing", {}).update(Target="3.33", Estimate="2.400")
    report = one(json.dumps(data))
    assert report.clock_target_ns == pytest.approx(3.333333)
    assert report.details["clock_uncertainty_ns"] == pytest.approx(0.9)
    assert report.warnings == ("uram: 3 used, 0 available on the device",)
    data["ModuleInfo"]["Metrics"]["accel"]["Timing"]["Target"] = "3.43"
    assert any("ClockInfo" in w for w in one(json.dumps(data)).warnings)


@pytest.mark.parametrize("version", ["2018.3", "2019.2", "2020.1", "2021.1", "2022.2", "2023.1", "2024.1", "2025.1"])
def test_every_release_without_a_warning(version: str) -> None:
    numbers = {
        "latency": 1000, "interval": 1001, "clock_ns": None,
        "resources": {"bram18": 7, "dsp": 12, "ff": 3483, "lut": 28922, "uram": 5},
        "available": {"bram18": 624, "dsp": 1728, "ff": 460800, "lut": 230400, "uram": 96},
    }  # fmt: skip
    tool = "Vivado HLS" if version < "2020.2" else "Vitis HLS"
    run = mock_reports.Run(tool, version, "xczu7ev-ffvc1156-2-e", "accel", 10 / 3, 0.9, numbers)
    for text in (mock_reports.csynth_xml(run, False), mock_reports.csynth(run, False)):
        report = one(text)
        assert (report.tool_version, report.resources["uram"], report.warnings) == (version, 5, ())


def test_ranges_and_percentages_as_values() -> None:
    assert printed("0 ns ~ 5.150 us", "r") is None and printed("?", "r") is None
    assert uncertainty("12.50%", 8.0, "r") == 1.0 and uncertainty("1.25", 10.0, "r") == 1.25
    assert uncertainty("-", 10.0, "r") is None and uncertainty("27%", None, "r") is None
    with pytest.raises(parse.ReportError):
        uncertainty("12,5%", 8.0, "r")


def test_text_and_xml_in_one_folder_are_compared(tmp_path: Path) -> None:
    numbers = {
        "latency": 1000, "interval": 1001, "clock_ns": None,
        "resources": {"bram18": 7, "dsp": 12, "ff": 3483, "lut": 28922, "uram": 0},
        "available": {"bram18": 1824, "dsp": 2520, "ff": 548160, "lut": 274080, "uram": 0},
    }  # fmt: skip
    run = mock_reports.Run("Vivado HLS", "2019.2", "xczu9eg-ffvb1156-2-e", "accel", 5.0, 0.6, numbers)
    text = tmp_path / "accel_csynth.rpt"
    text.write_text(mock_reports.csynth(run, False))
    xml = text.with_suffix(".xml")
    xml.write_text(mock_reports.csynth_xml(run, False))
    assert parse.parse(xml)[0].warnings == () and parse.parse(text)[0].warnings == ()
    xml.write_text(xml.read_text().replace("<LUT>28922</LUT>", "<LUT>28932</LUT>"))
    for path in (xml, text):
        assert any(w.startswith("lut: ") for w in parse.parse(path)[0].warnings), path
