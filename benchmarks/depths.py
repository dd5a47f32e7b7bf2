"""Pipeline depths that the blocks assume: beside real loops and cores, and what they are of a design's latency.

Data: ``../shared/data/components`` or ``COEXPLORE_DATA``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from benchmarks.cost import DATA, Rows, table
from benchmarks.oracle import designs
from flow import board, estimate
from flow.blocks import mac, stream, window
from flow.cost import fit

__all__ = ["DATA", "tables"]

# Pipeline depths that the blocks assume, and rows of real reports that do the same: (what, assumed, table, pattern of
# the module or operator and of the loop). A loop's iteration latency counts its stages.
DEPTHS = (
    ("multiply-add in a DSP", mac.latency(2, "dsp"), "dsp", "mac_muladd", ""),
    ("product in logic, up to 10 bits", mac.latency(1, "lut"), "instance", "mul", ""),
    ("beat from stream to stream", stream.AXIS_DEPTH, "loop", "zeropad|relu", "(?!Loop 1)"),
    ("window that shifts", window.DEPTH["parallel"], "loop", "pooling2d", r"Loop 1\.1|Loop 1\.2\.1"),
    ("buffer behind an address", window.DEPTH["serial"], "loop", "conv_2d_cl_me|dense_ss", r"Loop 1\.2|Loop 1$"),
)


def depths() -> Rows:
    """Assumed pipeline depths beside those of real loops and cores that do the same; the clock is their target."""
    out = []
    for what, assumed, name, module, loop in DEPTHS:
        found, clocks = [], set()
        for r in table(name):
            if name == "loop":
                wanted = re.match(module, r["module"]) and re.match(loop, r["loop"]) and r["ii"] == "1"
                cell = r["iter_max"]
            else:
                small = name == "dsp" or max(int(r["wa"] or 99), int(r["wb"] or 99)) <= fit.PRODUCT
                wanted, cell = r["op"] == module and small, r["stages"]
            if wanted and cell:
                found.append(int(float(cell)))
                clocks.add(f"{float(r['clk_target']):g}")
        row = {"what": what, "assumed": assumed, "rows": len(found), "least": min(found)}
        row |= {"median": int(np.median(found)), "most": max(found), "clocks [ns]": " ".join(sorted(clocks))}
        out.append(row)
    return out


def shares(count: int) -> Rows:
    """Random designs: all depths together, and two cycles a process, as shares of the latency of an image alone."""
    found = []
    for d in designs(count, board.load("zcu102")):
        cycles = estimate.estimate(d).latency_cycles
        processes = d.netlist.processes
        found.append((sum(p.depth for p in processes) / cycles, 2 * len(processes) / cycles))
    out = []
    for name, v in zip(("all depths", "two cycles a process"), np.array(found).T, strict=True):
        row = {"share of latency": name, "designs": count, "median": f"{np.median(v):.1%}"}
        out.append(row | {"p90": f"{np.quantile(v, 0.9):.1%}", "most": f"{v.max():.1%}"})
    return out


def tables(arguments: list[str]) -> Iterator[tuple[str, Rows]]:
    """Both tables. Takes no arguments."""
    if arguments:
        raise ValueError(f"bench depths: unknown arguments {' '.join(arguments)}; it takes none")
    yield "Pipeline depths that blocks assume, beside real loops and cores", depths()
    yield "What depths are of a design's latency", shares(25)
