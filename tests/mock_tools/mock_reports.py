"""Reports in the formats of Vivado HLS 2019.2, Vitis HLS 2022.1 and Vitis Unified 2024.2, for given numbers."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

RESOURCES = ("bram18", "dsp", "ff", "lut", "uram")
_DEVICE = {"bram18": 1824, "dsp": 2520, "ff": 548160, "lut": 274080, "uram": 0}  # xczu9eg
# Medians of implementation over csynth on real designs (see the cost model's two targets).
_IMPLEMENTED = {"bram18": 0.47, "dsp": 1.0, "ff": 0.75, "lut": 0.48, "uram": 1.0}


@dataclass(frozen=True)
class Run:
    tool: str
    version: str
    part: str
    top: str
    clock_ns: float
    uncertainty_ns: float
    numbers: dict


def numbers(project: Path) -> dict:
    """From COEXPLORE_MOCK_NUMBERS, else the project's own estimate times COEXPLORE_MOCK_BIAS, else small ones."""
    if given := os.environ.get("COEXPLORE_MOCK_NUMBERS"):
        found = json.loads(Path(given).read_text(encoding="utf-8"))
    else:
        estimate = project / "report" / "estimate_network_performance.json"
        found = _estimated(json.loads(estimate.read_text(encoding="utf-8"))) if estimate.is_file() else {}
    resources = {"lut": 1000, "ff": 1200, "dsp": 4, "bram18": 2, "uram": 0} | found.get("resources", {})
    return {
        "latency": int(found.get("latency", 1000)),
        "interval": int(found.get("interval", 900)),
        "clock_ns": found.get("clock_ns"),
        "resources": {n: int(resources[n]) for n in RESOURCES},
        "available": {n: int((_DEVICE | (found.get("available") or {}))[n]) for n in RESOURCES},
    }


def _estimated(estimate: dict) -> dict:
    factors = {}
    for pair in filter(None, os.environ.get("COEXPLORE_MOCK_BIAS", "").split(",")):
        name, _, factor = pair.partition("=")
        factors[name.strip()] = float(factor)

    def scaled(name: str, value: float) -> int:
        return round(value * factors.get(name, 1.0))

    return {
        "latency": scaled("latency", estimate["latency_cycles"]),
        "interval": scaled("interval", estimate["interval_cycles"]),
        "resources": {n: scaled(n, v) for n, v in estimate["resources"].items()},
        "available": estimate.get("available"),
    }


def write(run: Run, step: str, place: Path, undefined: bool, unified: bool) -> list[Path]:
    """The reports of a step below ``place`` (a solution, or ``hls`` of the unified tool)."""
    if step == "cosim":
        return [_put(place / f"sim/report/{run.top}_cosim.rpt", cosim(run))]
    if step == "impl":
        name = "export_impl.rpt" if unified else f"{run.top}_export.rpt"
        return [_put(place / "impl/report/verilog" / name, export(run, unified))]
    text, xml = csynth(run, undefined), csynth_xml(run, undefined)
    folder = place / "syn/report"
    written = [_put(folder / "csynth.xml", xml), _put(folder / f"{run.top}_csynth.rpt", text)]
    written.append(_put(folder / f"{run.top}_csynth.xml", xml))
    written.append(_put(folder / "csynth.rpt", text if run.tool == "Vivado HLS" else overview(run, undefined)))
    if unified:
        written.append(_put(place / "hls_data.json", data_json(run, undefined)))
        _put(place.parent / "logs/hls_compile.log", "INFO: [HLS 200-112] Total CPU user time: 1 seconds.\n")
    return written


def _put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _estimate_ns(run: Run) -> float:
    return float(run.numbers["clock_ns"] or round(0.7 * run.clock_ns, 3))


def _absolute(cycles: int, run: Run) -> str:
    ns = cycles * max(run.clock_ns, _estimate_ns(run))
    for limit, unit, scale in ((100, "ns", 1), (1e5, "us", 1e3), (1e8, "ms", 1e6)):
        if ns < limit:
            return f"{ns / scale:.3f} {unit}"
    return f"{ns / 1e9:.3f} sec"


def _dsp(run: Run) -> str:
    return "DSP48E" if run.tool == "Vivado HLS" else "DSP"


def csynth_xml(run: Run, undefined: bool) -> str:
    n = run.numbers
    vitis = run.tool == "Vitis HLS"
    latency, interval = ("undef", "undef") if undefined else (n["latency"], n["interval"])
    time = "undef" if undefined else _absolute(n["latency"], run)
    tags = {"bram18": "BRAM_18K", "dsp": _dsp(run), "ff": "FF", "lut": "LUT", "uram": "URAM"}

    def amounts(values: dict) -> str:
        return "\n".join(f"<{tags[r]}>{values[r]}</{tags[r]}>" for r in RESOURCES)

    parts = [
        f"<profile>\n\n<ReportVersion>\n<Version>{run.version}</Version>\n</ReportVersion>\n",
        "<UserAssignments>\n<unit>ns</unit>\n<ProductFamily>zynquplus</ProductFamily>",
        f"<Part>{run.part}</Part>\n<TopModelName>{run.top}</TopModelName>",
        f"<TargetClockPeriod>{run.clock_ns:.2f}</TargetClockPeriod>",
        f"<ClockUncertainty>{run.uncertainty_ns:.2f}</ClockUncertainty>",
        *(["<FlowTarget>vivado</FlowTarget>"] if vitis else []),
        "</UserAssignments>\n\n<PerformanceEstimates>\n<PipelineType>dataflow</PipelineType>",
        "<SummaryOfTimingAnalysis>\n<unit>ns</unit>",
        f"<EstimatedClockPeriod>{_estimate_ns(run):.3f}</EstimatedClockPeriod>\n</SummaryOfTimingAnalysis>",
        "<SummaryOfOverallLatency>\n<unit>clock cycles</unit>",
        *(f"<{case}-caseLatency>{latency}</{case}-caseLatency>" for case in ("Best", "Average", "Worst")),
        *(f"<{case}-caseRealTimeLatency>{time}</{case}-caseRealTimeLatency>" for case in ("Best", "Average", "Worst")),
        *([] if undefined else [f"<DataflowPipelineThroughput>{interval}</DataflowPipelineThroughput>"]),
        f"<Interval-min>{interval}</Interval-min>\n<Interval-max>{interval}</Interval-max>",
        "</SummaryOfOverallLatency>\n</PerformanceEstimates>\n\n<AreaEstimates>\n<Resources>",
        amounts(n["resources"]) + "\n</Resources>\n<AvailableResources>",
        amounts(n["available"]) + "\n</AvailableResources>\n</AreaEstimates>\n\n<InterfaceSummary>",
        _ports(run) + "</InterfaceSummary>\n",
        *([_module_information(run, latency, interval)] if vitis else []),
        "</profile>\n",
    ]
    return "\n".join(parts)


def _ports(run: Run) -> str:
    rows = [
        ("ap_clk", run.top, "return value", "ap_ctrl_hs", "in", 1),
        ("ap_rst_n", run.top, "return value", "ap_ctrl_hs", "in", 1),
    ]
    rows += [
        ("in_s_TDATA", "in_s", "pointer", "axis", "in", 64),
        ("out_s_TDATA", "out_s", "pointer", "axis", "out", 32),
    ]
    return "".join(
        f"<RtlPorts>\n<name>{name}</name>\n<Object>{thing}</Object>\n<Type>{kind}</Type>\n<Scope></Scope>\n"
        f"<IOProtocol>{protocol}</IOProtocol>\n<IOConfig></IOConfig>\n<Dir>{way}</Dir>\n<Bits>{bits}</Bits>\n"
        f"<Attribute>data</Attribute>\n<CType>int</CType>\n</RtlPorts>\n"
        for name, thing, kind, protocol, way, bits in rows
    )


def _module_information(run: Run, latency: object, interval: object) -> str:
    n = run.numbers
    area = "".join(
        f"<{tag}>{n['resources'][r]}</{tag}>\n<AVAIL_{short}>{n['available'][r]}</AVAIL_{short}>\n"
        for r, tag, short in (
            ("bram18", "BRAM_18K", "BRAM"), ("dsp", "DSP", "DSP"), ("ff", "FF", "FF"), ("lut", "LUT", "LUT"),
            ("uram", "URAM", "URAM"),
        )
    )  # fmt: skip
    return (
        f"<RTLDesignHierarchy>\n<TopModule>\n<ModuleName>{run.top}</ModuleName>\n</TopModule>\n</RTLDesignHierarchy>\n"
        f"<ModuleInformation>\n<Module>\n<Name>{run.top}</Name>\n<PerformanceEstimates>\n<SummaryOfOverallLatency>\n"
        f"<Best-caseLatency>{latency}</Best-caseLatency>\n<Worst-caseLatency>{latency}</Worst-caseLatency>\n"
        f"<PipelineInitiationInterval>{interval}</PipelineInitiationInterval>\n<PipelineType>dataflow</PipelineType>\n"
        f"</SummaryOfOverallLatency>\n</PerformanceEstimates>\n<AreaEstimates>\n<Resources>\n{area}</Resources>\n"
        "</AreaEstimates>\n</Module>\n</ModuleInformation>\n"
    )


def _table(header: list[str], groups: list[list[list[object]]], indent: str = "") -> str:
    """An HLS table: rules around the header and after each group of rows."""
    width = [max(len(str(r[k])) for g in [[header], *groups] for r in g) + 1 for k in range(len(header))]
    rule = indent + "+" + "+".join("-" * w for w in width) + "+\n"

    def line(row: list[object]) -> str:
        first = f"{row[0]!s:<{width[0]}}"
        return (
            indent + "|" + "|".join([first, *(f"{c!s:>{w}}" for c, w in zip(row[1:], width[1:], strict=True))]) + "|\n"
        )

    return rule + line(list(header)) + rule + "".join("".join(map(line, g)) + rule for g in groups)


def _head(run: Run, title: str, prefix: str = "") -> str:
    solution = "solution1" if run.tool == "Vivado HLS" else "solution1 (Vivado IP Flow Target)"
    bar = "=" * 64
    return (
        f"\n\n{bar}\n== {title}\n{bar}\n{prefix and '+ General Information: '}\n"
        f"{prefix}* Date:           Mon Jan  1 00:00:00 2024\n\n"
        f"{prefix}* Version:        {run.version} (Build 0 on Jan 1 2024)\n"
        f"{prefix}* Project:        hls_prj\n{prefix}* Solution:       {solution}\n"
        f"{prefix}* Product family: zynquplus\n{prefix}* Target device:  {run.part}\n\n\n"
    )


def _section(name: str) -> str:
    bar = "=" * 64
    return f"{bar}\n== {name}\n{bar}\n"


def csynth(run: Run, undefined: bool) -> str:
    n = run.numbers
    latency, interval = ("?", "?") if undefined else (n["latency"], n["interval"])
    time = "?" if undefined else _absolute(n["latency"], run)
    timing = [["ap_clk", f"{run.clock_ns:.2f} ns", f"{_estimate_ns(run):.3f} ns", f"{run.uncertainty_ns:.2f} ns"]]
    used, device = n["resources"], n["available"]
    percent = [
        "~0" if 0 < 100 * used[r] < device[r] else 100 * used[r] // device[r] if device[r] else 0 for r in RESOURCES
    ]
    columns = ["BRAM_18K", _dsp(run), "FF", "LUT", "URAM"]
    none = ["-"] * 5
    categories = [["DSP", *none], ["Expression", *none], ["FIFO", *none], ["Instance", *(used[r] for r in RESOURCES)]]
    categories += [["Memory", *none], ["Multiplexer", *none], ["Register", *none]]
    totals = [["Total", *(used[r] for r in RESOURCES)]]
    summary = [categories, totals, [["Available", *(device[r] for r in RESOURCES)]], [["Utilization (%)", *percent]]]
    instances = [
        [["process_U0", "process", *(used[r] for r in RESOURCES)]],
        [["Total", "", *(used[r] for r in RESOURCES)]],
    ]
    empty = "".join(
        f"    * {t}: \n    N/A\n\n" for t in (_dsp(run), "Memory", "FIFO", "Expression", "Multiplexer", "Register")
    )
    ports = [
        [
            ["ap_clk", "in", 1, "ap_ctrl_hs", run.top, "return value"],
            ["ap_rst_n", "in", 1, "ap_ctrl_hs", run.top, "return value"],
        ]
    ]
    return (
        _head(run, f"{run.tool} Report for '{run.top}'")
        + _section("Performance Estimates")
        + "+ Timing: \n    * Summary: \n"
        + _table(["Clock", "Target", "Estimated", "Uncertainty"], [timing], "    ")
        + "\n+ Latency: \n    * Summary: \n"
        + _cycles(latency, interval, time)
        + "\n    + Detail: \n        * Instance: \n        N/A\n\n        * Loop: \n        N/A\n\n\n\n"
        + _section("Utilization Estimates")
        + "* Summary: \n"
        + _table(["Name", *columns], summary)
        + "\n+ Detail: \n    * Instance: \n"
        + _table(["Instance", "Module", *columns], instances, "    ")
        + "\n"
        + empty
        + "\n\n"
        + _section("Interface")
        + "* Summary: \n"
        + _table(["RTL Ports", "Dir", "Bits", "Protocol", "Source Object", "C Type"], ports)
        + "\n"
    )


def _cycles(latency: object, interval: object, time: str) -> str:
    """The latency summary, whose header spans pairs of columns."""
    rule = "    +" + "+".join("-" * w for w in (12, 12, 12, 12, 12, 12, 10)) + "+\n"
    return (
        rule
        + f"    |{'Latency (cycles)':^25}|{'Latency (absolute)':^25}|{'Interval':^25}|{'Pipeline':^10}|\n"
        + "    |" + "|".join(f"{w:^12}" for w in ("min", "max") * 3) + f"|{'Type':^10}|\n"
        + rule
        + "    |" + "|".join(f"{c!s:>12}" for c in (latency, latency, time, time, interval, interval))
        + f"|{'dataflow':>10}|\n"
        + rule
    )  # fmt: skip


def overview(run: Run, undefined: bool) -> str:
    n = run.numbers
    latency, interval = ("-", "-") if undefined else (n["latency"], n["interval"])
    header = [
        "Modules & Loops",
        "Issue Type",
        "Slack",
        "Latency (cycles)",
        "Latency (ns)",
        "Iteration Latency",
        "Interval",
    ]
    header += ["Trip Count", "Pipelined", "BRAM", "DSP", "FF", "LUT", "URAM"]
    used = [f"{n['resources'][r]} (1%)" if n["resources"][r] else "-" for r in RESOURCES]
    row = [f"+ {run.top}*", "-", "0.00", latency, "1.0e+03", "-", interval, "-", "dataflow", *used]
    empty = "".join(
        "\n" + _section(s)
        for s in ("HW Interfaces", "SW I/O Information", "Bind Op Report", "Bind Storage Report", "Pragma Report")
    )
    return (
        _head(run, f"Synthesis Summary Report of '{run.top}'", "    ")
        + "+ Performance & Resource Estimates: \n    \n    PS: '+' for module; 'o' for loop; '*' for dataflow\n"
        + _table(header, [[row]], "    ")
        + empty
        + "\n"
    )


def cosim(run: Run) -> str:
    n = run.numbers
    rule = "+----------+----------+" + "-" * 47 + "+" + "-" * 47 + "+" + "-" * 22 + "+\n"
    cells = [n["latency"]] * 3 + [n["interval"]] * 3

    def row(name: str, status: str, values: list, total: object) -> str:
        return f"|{name:>10}|{status:>10}|" + "|".join(f"{v:>15}" for v in values) + f"|{total:>22}|\n"

    return (
        "Report time       : Mon Jan  1 00:00:00 UTC 2024.\n"
        "Solution          : solution1.\nSimulation tool   : xsim.\n\n"
        + rule
        + f"|{'':10}|{'':10}|{'Latency(Clock Cycles)':^47}|{'Interval(Clock Cycles)':^47}| Total Execution Time |\n"
        + "+   RTL    +  Status  +" + "-" * 47 + "+" + "-" * 47 + "+    (Clock Cycles)    +\n"
        + f"|{'':10}|{'':10}|" + "|".join(f"{w:^15}" for w in ("min", "avg", "max") * 2) + f"|{'':22}|\n"
        + rule
        + row("VHDL", "NA", ["NA"] * 6, "NA")
        + row("Verilog", "Pass", cells, n["latency"])
        + rule
        + "\n"
    )  # fmt: skip


def export(run: Run, unified: bool) -> str:
    used = {r: round(run.numbers["resources"][r] * _IMPLEMENTED[r]) for r in RESOURCES}
    achieved = round(_estimate_ns(run) * 0.9, 3)
    lines = [
        f"{k + ':':<6}{used[r]:>12}"
        for k, r in (("LUT", "lut"), ("FF", "ff"), ("DSP", "dsp"), ("BRAM", "bram18"), ("URAM", "uram"))
    ]
    met = achieved <= run.clock_ns
    if not unified:
        return (
            f"\n\nImplementation tool: Xilinx Vivado v.{run.version}\nProject:             hls_prj\n"
            f"Solution:            solution1\nDevice target:       {run.part}\n"
            "Report date:         Mon Jan 01 00:00:00 UTC 2024\n\n"
            "#=== Post-Implementation Resource usage ===\nSLICE:            0\n"
            + "\n".join(lines)
            + "\nSRL:              0\n"
            f"#=== Final timing ===\nCP required:    {run.clock_ns:.3f}\n"
            f"CP achieved post-synthesis:    {achieved:.3f}\n"
            f"CP achieved post-implementation:    {achieved:.3f}\nTiming {'' if met else 'not '}met\n"
        )
    bar = "=" * 64
    periods = [["Target", f"{run.clock_ns:.3f}"], ["Post-Synthesis", achieved], ["Post-Route", achieved]]
    return (
        _head(run, "Vivado Place & Route Results", "    ")
        + f"{bar}\n== Place & Route Resource Summary\n{bar}\n" + "\n".join(lines) + "\nSRL:              0\n\n"
        + f"{bar}\n== Place & Route Timing Summary\n{bar}\n* Timing was {'' if met else 'not '}met\n"
        + _table(["Timing", "Period (ns)"], [periods])
    )  # fmt: skip


def data_json(run: Run, undefined: bool) -> str:
    n = run.numbers
    latency, interval = ("", "") if undefined else (str(n["latency"]), str(n["interval"]))
    short = {"bram18": "BRAM", "dsp": "DSP", "ff": "FF", "lut": "LUT", "uram": "URAM"}
    area = {("BRAM_18K" if r == "bram18" else short[r]): str(n["resources"][r]) for r in RESOURCES}
    area |= {f"AVAIL_{short[r]}": str(n["available"][r]) for r in RESOURCES}
    device, package, *speed = run.part.split("-", 2)
    metrics = {
        "Latency": {f"Latency{case}": latency for case in ("Best", "Avg", "Worst")}
        | {"PipelineII": interval, "PipelineType": "dataflow"},
        "Timing": {"Target": f"{run.clock_ns:.2f}", "Estimate": f"{_estimate_ns(run):.3f}"},
        "Area": area,
    }  # fmt: skip
    data = {
        "Top": run.top,
        "Target": {"Family": "zynquplus", "Device": device, "Package": "-" + package, "Speed": "-" + "".join(speed)},
        "HlsSolution": {"FlowTarget": "vivado"},
        "ClockInfo": {
            "ClockName": "ap_clk",
            "ClockPeriod": f"{run.clock_ns:g}",
            "Uncertainty": f"{run.uncertainty_ns:g}",
        },
        "ModuleInfo": {"Metrics": {run.top: metrics}},
        "GenData": {"DataVersion": "0.2", "ToolName": "vitis_hls", "ToolVersion": run.version},
    }
    return json.dumps(data, indent=2) + "\n"
