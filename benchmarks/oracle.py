"""Estimates against independent ones: latency by cycle simulation, DSP and BRAM by an open synthesiser.

Where branches meet, an estimate takes its latency from the simulation with finite FIFOs: the rows of chains, and of the
schedule alone, are the independent comparison. (The simulation is tested against a second one, cycle by cycle.)

``--designs N`` (200) random networks with random foldings; ``--twins N`` (120) small RTL twins of the memories and
multipliers that those designs use, put through Yosys (``pip install coexplore[rtl]``); 0 leaves them out.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flow import blocks, board, estimate, simulate, space, timing
from flow.blocks import conv
from flow.cost import laws
from flow.cost.laws import Tool
from flow.design import Bound, Design
from flow.mapping.solve import realise
from flow.space.network import random_graph

Rows = list[dict[str, Any]]
SHAPES = ((1, 8, 8), (3, 12, 12), (2, 16, 16))
FAMILIES = {"xcup": ("zcu102", Tool("vitis", "2022.1", True)), "xc7": ("pynq-z2", Tool("vivado", "2019.1", False))}
Twin = tuple[str, int, int]  # "memory", words, bits; "multiplier", a, b


def designs(count: int, place: board.Board, seed: int = 0) -> Iterator[Design]:
    """Networks of the default space, every node with a random folding of its own."""
    rng = np.random.default_rng(seed)
    networks = space.load("default", space.Options())
    for _ in range(count):
        shape = SHAPES[int(rng.integers(len(SHAPES)))]
        graph = random_graph(networks.network(networks.sample(rng), shape, 10))
        options = [blocks.options(graph, n, place) for n in graph.nodes]
        picked = [o[int(rng.integers(len(o)))] for o in options]
        foldings = {n.id: o.folding for n, o in zip(graph.nodes, picked, strict=True)}
        net = realise(graph, place, foldings, max(o.cycles for o in picked))
        bound = Bound(1, "stream", 0.0, False, 0.0)
        yield Design(graph, place, place.clock_mhz, foldings, net, bound, place.available)


def against_simulation(count: int) -> tuple[Rows, Counter[Twin]]:
    """Latency and interval of estimate and simulation; what primitives the designs use."""
    used: Counter[Twin] = Counter()
    errors: dict[str, list[float]] = {
        n: [] for n in ("latency", "latency of chains", "latency by the schedule alone", "interval")
    }
    for d in designs(count, board.load("zcu102")):
        r, s = estimate.estimate(d), simulate.simulate(d.netlist)
        assert s.latency_cycles and s.interval_cycles, f"deadlock: {s.deadlock}"
        alone = timing.analyse(d.netlist).latency_cycles
        errors["latency"].append(abs(r.latency_cycles / s.latency_cycles - 1))
        errors["latency by the schedule alone"].append(abs(alone / s.latency_cycles - 1))
        if all(len(p.inputs) < 2 for p in d.netlist.processes):
            errors["latency of chains"].append(abs(alone / s.latency_cycles - 1))
        errors["interval"].append(abs(r.interval_cycles / s.interval_cycles - 1))
        used.update(primitives(d))
    rows = []
    for name, found in errors.items():
        e = np.array(found or [0.0])
        rows.append({"measure": name, "designs": len(found), "exact": f"{np.mean(e == 0):.1%}",
                     "within 2 %": f"{np.mean(e <= 0.02):.1%}", "worst": f"{e.max():.3%}"})  # fmt: skip
    return rows, used


def primitives(d: Design) -> Iterator[Twin]:
    """Memories in block RAM and multipliers in DSP blocks of a design."""
    for p in d.netlist.processes:
        for m in p.memories:
            if m.impl == "bram":
                yield "memory", m.data.shape[0], int(np.prod(m.data.shape[1:])) * m.bits
        c = dict(p.constants)
        if p.function == "window_serial":
            words, bits = c["ROWS"] * c["W"] * c["CF"], p.inputs[0].width
            if words * bits >= laws.BRAM_FROM_BITS:
                yield "memory", words, bits
    for n in d.graph.nodes:
        folding = d.foldings[n.id]
        if conv.serves(n.op) and folding.mult == "dsp":
            la = conv.layer(d.graph, n)
            yield "multiplier", conv.bits_for(*la.weights)[0], la.x.bits + (not la.x.signed)


def verilog(twin: Twin, name: str) -> str:
    """A registered memory with one port to write and one to read, or a registered signed product, bound as ours are."""
    kind, a, b = twin
    if kind == "memory":
        address = max(1, (a - 1).bit_length())
        return (
            f"(* keep_hierarchy *) module {name}(input clk, input we, input [{address - 1}:0] wa, input [{b - 1}:0] d,"
            f" input [{address - 1}:0] ra, output reg [{b - 1}:0] q);\n"
            f' (* ram_style="block" *) reg [{b - 1}:0] m [0:{a - 1}];\n'
            " always @(posedge clk) begin if (we) m[wa] <= d; q <= m[ra]; end\nendmodule\n"
        )
    return (
        f"(* keep_hierarchy *) module {name}(input clk, input signed [{a - 1}:0] x, input signed [{b - 1}:0] y,"
        f" output reg signed [{a + b - 1}:0] p);\n reg signed [{a - 1}:0] xr; reg signed [{b - 1}:0] yr;\n"
        " always @(posedge clk) begin xr <= x; yr <= y; p <= xr * yr; end\nendmodule\n"
    )


def top(twins: Sequence[Twin]) -> str:
    """A module that uses all twins, so that none is swept away."""
    widest = max([b for _, _, b in twins] + [64])
    lines = [f"module top(input clk, input [{len(twins) - 1}:0] c, input signed [{widest - 1}:0] x,"
             f" input signed [{widest - 1}:0] y, output [{len(twins) - 1}:0] o);"]  # fmt: skip
    for k, (kind, a, b) in enumerate(twins):
        if kind == "memory":
            w = max(1, (a - 1).bit_length()) - 1
            lines.append(f" wire [{b - 1}:0] q{k}; t{k} u{k}(.clk(clk), .we(c[{k}]), .wa(x[{w}:0]), .d(x[{b - 1}:0]),"
                         f" .ra(y[{w}:0]), .q(q{k})); assign o[{k}] = ^q{k};")  # fmt: skip
        else:
            lines.append(f" wire signed [{a + b - 1}:0] q{k}; t{k} u{k}(.clk(clk), .x(x[{a - 1}:0]), .y(y[{b - 1}:0]),"
                         f" .p(q{k})); assign o[{k}] = ^q{k};")  # fmt: skip
    return "\n".join([*lines, "endmodule\n"])


def synthesised(twins: Sequence[Twin], family: str) -> list[tuple[int, int]]:
    """(BRAM in 18 Kb units, DSP blocks) of each twin by Yosys. Raises ValueError where it is not installed."""
    try:
        from pyosys import libyosys
    except ImportError:
        raise ValueError("bench oracle: pyosys is missing: pip install coexplore[rtl], or --twins 0") from None
    with tempfile.TemporaryDirectory() as folder:
        source, told, log = (Path(folder, n) for n in ("t.v", "stat.json", "log"))
        source.write_text("".join(verilog(t, f"t{k}") for k, t in enumerate(twins)) + top(twins))
        design = libyosys.Design()
        for command in (
            f"read_verilog {source}",
            f"synth_xilinx -family {family} -top top -run begin:map_cells -noiopad",
        ):
            libyosys.run_pass(f"tee -q -o {log} {command}", design)
        libyosys.run_pass(f"tee -q -o {told} stat -json", design)
        modules = {k.lstrip("\\"): v for k, v in json.loads(told.read_text())["modules"].items()}
    found = []
    for k in range(len(twins)):
        cells = modules[f"t{k}"]["num_cells_by_type"]
        ram = sum((2 if "36" in c else 1) * n for c, n in cells.items() if c.startswith("RAMB"))
        found.append((ram, sum(n for c, n in cells.items() if c.startswith("DSP"))))
    return found


def law(twin: Twin, tool: Tool) -> int:
    kind, a, b = twin
    if kind == "memory":
        return laws.memory(a, b, "bram", tool=tool).bram18
    return laws.multiplier(a, b, "dsp", tool).dsp


def against_yosys(twins: Sequence[Twin]) -> Iterator[tuple[str, Rows]]:
    """Exact shares, and every twin that differs."""
    rows, off = [], []
    for family, (_, tool) in FAMILIES.items():
        got = synthesised(twins, family)
        for kind, k in (("memory", 0), ("multiplier", 1)):
            own = [(t, law(t, tool), g[k]) for t, g in zip(twins, got, strict=True) if t[0] == kind]
            if own:
                exact = sum(a == b for _, a, b in own)
                rows.append({"family": family, "twins": kind, "measure": ("BRAM18", "DSP")[k], "sizes": len(own),
                             "exact": f"{exact / len(own):.1%}"})  # fmt: skip
            off += [
                {"family": family, "twin": f"{t[0]} {t[1]} x {t[2]}", "law": a, "Yosys": b} for t, a, b in own if a != b
            ]
    yield "Sizes that random designs use, most frequent first, by Yosys", rows
    if off:
        yield "Twins that differ (the laws follow C synthesis reports; Yosys also splits by depth)", off


def grid() -> list[Twin]:
    """Products of the widths that blocks bind to DSP blocks: plain up to 8 x 9 bits, packed up to 27 x 18."""
    plain = [("multiplier", a, b) for a in (5, 6, 7, 8) for b in (5, 6, 7, 8, 9)]
    packed = [("multiplier", a, b) for a in (19, 21, 23, 25) for b in (6, 8, 9, 12, 18)]
    return [*plain, *packed]


def tables(arguments: list[str]) -> Iterator[tuple[str, Rows]]:
    """Simulation, then Yosys."""
    given = {"--designs": 200, "--twins": 120}
    for name, value in zip(arguments[::2], arguments[1::2], strict=False):
        if name not in given or not value.isdigit():
            raise ValueError(f"bench oracle: {name} {value}: --designs N or --twins N")
        given[name] = int(value)
    rows, used = against_simulation(given["--designs"])
    yield "Block models against cycle simulation, random networks and foldings", rows
    if given["--twins"]:
        memories = [t for t, _ in used.most_common() if t[0] == "memory"][: given["--twins"]]
        seen = [t for t, _ in used.most_common() if t[0] == "multiplier"]
        yield from against_yosys([*memories, *dict.fromkeys([*seen, *grid()])])
