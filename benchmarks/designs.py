"""Whole designs by other people's generator (hls4ml) composed of the component laws, against their C synthesis reports.

Every layer becomes the blocks that hls4ml's templates make of it (benchmarks/hls4ml_blocks.py). DSP, block RAM, latency
and interval are the laws'. LUT and FF are sums of terms, a law times a count each; "laws" adds the terms as they are,
"other families" weighs them by what the processes of all other families of designs show (least squares of the relative
error, weights not negative), so no number of a design's own family is in its prediction. A family is one generator and
conversion style: the four of one repository differ in their window buffers. Where a file does not state the reuse
factor, the one nearest to what its processes' cycles allow is taken; latency and interval are then given as "with R
read off" and are no prediction of R. What the files do not hold cannot be predicted: which weights of a network of
constants are powers of two, and custom templates (face, yolo).

``--rule4ml PYTHON``: the same networks through rule4ml 0.2.0 (``pip install rule4ml==0.2.0`` in an environment of its
own, 3.3 GB) run by that interpreter, side by side. Data: ``../shared/data/designs`` or ``COEXPLORE_DATA``.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from benchmarks.hls4ml_blocks import Block, dataflow, levels
from flow.board import KINDS
from flow.cost.laws import Tool
from flow.toolchain.parse_device import device

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("COEXPLORE_DATA", ROOT / "../shared/data")) / "designs"
Rows = list[dict[str, Any]]
Json = dict[str, Any]
CYCLES = ("latency_cycles", "interval_cycles")


def width(text: str | None, otherwise: int = 16) -> int:
    m = re.search(r"<(\d+)", text or "")
    return int(m[1]) if m else otherwise


def family(d: Json) -> str:
    """Repository, and the folder that names the conversion style in the one that has several."""
    path = d["path"].split("/")
    return (
        path[2] if path[1] == "streaming_comparison" else f"{path[0].partition('__')[2]}/{path[1]}".split("/model")[0]
    )


def legal(wanted: float, n_in: int, products: int) -> int:
    """hls4ml's choice: the nearest factor that divides the products and the inputs, or is a multiple of those."""
    have = [r for r in range(1, products + 1) if products % r == 0 and (n_in % r == 0 or r % n_in == 0)]
    return min((r for r in have if r > 1 or wanted <= 1), key=lambda r: (abs(r - wanted), r), default=1)


def measured(d: Json, kind: str, positions: int, n_in: int, products: int) -> int:
    """The reuse factor that the cycles of the design's processes allow, where no file states it."""
    found = [p["lat_max"] for p in d["processes"] if p["module"].startswith(kind) and p["lat_max"]]
    have = [r for r in range(1, products + 1) if products % r == 0 and (n_in % r == 0 or r % n_in == 0)]
    if kind == "dense":
        each = max(found, default=1.0) - 20
    else:
        own = [c / positions for c in found if abs(c / positions - round(c / positions)) < 0.05]
        each = max(own, default=1.0)
        each -= 3 if each > 11 else 0
    return max(r for r in have if r <= max(1.0, each))


def from_sources(d: Json) -> Iterator[Block]:
    """Blocks of an hls4ml project's own parameters."""
    parallel = d["network"]["io"] == "io_parallel"
    buffer = "none" if parallel else "serial"
    depth = d["network"]["fifo_depths"][0] if len(d["network"]["fifo_depths"]) == 1 else None
    layers, alive = d["network"]["layers"], 1.0
    for x in layers:
        p, t = x["params"], x.get("types", {})
        bits = width(x.get("in_type"))
        wide = {"bits": bits, "out_bits": width(x.get("out_type"), bits), "buffer": buffer, "depth": depth}
        grid = p.get("in_height", 1), p.get("in_width", 1)
        made = p.get("out_height", grid[0]), p.get("out_width", grid[1])
        kind = next((k for k in ("conv", "dense", "leaky", "relu", "zeropad", "pool", "softmax", "sigmoid")
                     if x["op"].startswith(k)), "")  # fmt: skip
        if kind in ("conv", "dense"):
            n_in = p["n_chan"] * p["kernel_size"] if kind == "conv" else p["n_in"]
            n_out = p["n_filt"] if kind == "conv" else p["n_out"]
            window = (p["filt_height"], p["filt_width"], p["stride_height"]) if kind == "conv" else (1, 1, 1)
            kept = n_in * n_out - (p.get("n_zeros", 0) if p["reuse_factor"] == 1 else 0)
            kept, alive = round(kept * alive), 1 - (1 - kept / (n_in * n_out)) ** n_in if parallel else 1.0
            yield Block(kind, (p["n_chan"] if kind == "conv" else n_in, n_out), grid, made, window,
                        weight_bits=width(t.get("weight_t")), sum_bits=width(t.get("accum_t")),
                        reuse=p["reuse_factor"], products=max(1, kept),
                        strategy=p.get("strategy", "nnet::resource").partition("::")[2], **wide)  # fmt: skip
        elif kind in ("leaky", "relu"):
            c = p["n_in"] if parallel else _channels(layers, x)
            side = 1 if parallel else math.isqrt(max(1, p["n_in"] // c))
            yield Block(kind, (c, c), (side, side), (side, side), **wide)
        elif kind in ("zeropad", "pool"):
            window = (p["pool_height"], p["pool_width"], p["stride_height"]) if kind == "pool" else (1, 1, 1)
            yield Block("pad" if kind == "zeropad" else kind, (p["n_chan"], p["n_chan"]), grid, made, window, **wide)
        elif kind in ("softmax", "sigmoid"):
            yield Block("softmax", (p["n_in"], p["n_in"]), (1, 1), (1, 1), strategy="stable", **wide)


def _channels(layers: list[Json], x: Json) -> int:
    """Of the convolution before an activation."""
    before = [y["params"]["n_filt"] for y in layers[: layers.index(x)] if "n_filt" in y["params"]]
    return int(before[-1]) if before else 1


def from_keras(d: Json) -> Iterator[Block]:
    """Blocks of a Keras summary; hls4ml puts a padding layer before "same" convolutions."""
    net, c, grid = d["network"], 0, (0, 0)
    stated, buffer = net.get("reuse_factor_from_path"), "lines" if "line_buffer" in d["path"] else "window"
    strategy = net.get("strategy_from_path") or "resource"
    for x in net["layers"]:
        op = x["op"]
        if op == "InputLayer":
            grid, c = tuple(x["batch_input_shape"][1:3]), x["batch_input_shape"][3]
        elif op == "Conv2D":
            k, made = x["kernel_size"], grid
            if x["padding"] == "same":
                padded = grid[0] + k[0] - 1, grid[1] + k[1] - 1
                yield Block("pad", (c, c), grid, padded, buffer=buffer)
                grid = padded
            else:
                made = grid[0] - k[0] + 1, grid[1] - k[1] + 1
            n_in, n_out = c * k[0] * k[1], x["filters"]
            r = legal(int(stated), n_in, n_in * n_out) if stated else \
                measured(d, "conv", grid[0] * grid[1], n_in, n_in * n_out)  # fmt: skip
            yield Block("conv", (c, n_out), grid, made, (k[0], k[1], 1), sum_bits=16, reuse=r, products=n_in * n_out,
                        strategy=strategy, buffer=buffer)  # fmt: skip
            grid, c = made, n_out
        elif op == "LeakyReLU":
            yield Block("leaky", (c, c), grid, grid, buffer=buffer)
        elif op == "MaxPooling2D":
            s = x["strides"][0]
            made = grid[0] // s, grid[1] // s
            yield Block("pool", (c, c), grid, made, (s, s, s), buffer=buffer)
            grid = made
        elif op == "Dense":
            n_in, n_out = c * grid[0] * grid[1], x["units"]
            r = legal(int(stated), n_in, n_in * n_out) if stated else measured(d, "dense", 1, n_in, n_in * n_out)
            yield Block("dense", (n_in, n_out), grid, (1, 1), reuse=r, products=n_in * n_out, strategy=strategy,
                        buffer=buffer)  # fmt: skip
            yield Block("softmax", (n_out, n_out), (1, 1), (1, 1), reuse=1 if r <= 4 else 4, buffer=buffer)


@dataclass(frozen=True)
class Design:
    """A design file: its blocks, its tool, and what C synthesis reported."""

    name: str
    family: str
    tool: Tool
    release: str
    parallel: bool
    stated: bool  # its reuse factors, so that cycles are a prediction
    blocks: tuple[Block, ...]
    reported: dict[str, float]
    processes: tuple[tuple[Block, float, float], ...]  # block, LUT and FF of its own process where both are matched


def read(d: Json) -> Design:
    brand = "vivado" if d["tool"] == "Vivado HLS" else "vitis"
    chip = device(d["part"]) or "unknown"
    tool = Tool(brand, d["version"], not chip.startswith("7"))  # type: ignore[arg-type]
    keras = "keras" in d["network"].get("format", "")
    blocks = tuple(from_keras(d) if keras else from_sources(d))
    reported = {k: float(d[k] or 0) for k in KINDS}
    reported |= {"latency_cycles": float(d["lat_max"]), "interval_cycles": float(d["ii_max"])}
    parallel = d["network"].get("io") == "io_parallel"
    stated = not keras or d["network"].get("reuse_factor_from_path") is not None
    name = f"{d['n']:02d} {Path(d['path']).stem[:16]}"
    return Design(name, family(d), tool, f"{d['tool']} {d['version']}", parallel, stated, blocks, reported,
                  tuple(matched(blocks, d)))  # fmt: skip


_MODULES = {"conv": "conv", "dense": "dense", "leaky": "leaky", "relu": "relu", "pad": "zeropad", "pool": "pool"}
_MODULES |= {"softmax": "s(?:oftmax|igmoid)"}


def matched(blocks: tuple[Block, ...], d: Json) -> Iterator[tuple[Block, float, float]]:
    """Blocks of a kind and processes of its name, both in the order of the network (hls4ml numbers configurations)."""
    for kind, name in _MODULES.items():
        own = [b for b in blocks if b.kind == kind]
        found = [i for i in d["instances"] if re.match(name, i["module"])]
        number = {i["inst"]: re.search(r"config(\d+)", i["module"], re.IGNORECASE) for i in found}
        found.sort(key=lambda i: int(m[1]) if (m := number[i["inst"]]) else 1 << 30)
        if len(own) == len(found):
            yield from ((b, float(i["lut"]), float(i["ff"])) for b, i in zip(own, found, strict=True))


def designs() -> list[Design]:
    """All hls4ml designs whose blocks are known. Raises ValueError where the data is absent."""
    if not DATA.is_dir():
        raise ValueError(f"{DATA} is missing: set COEXPLORE_DATA to the folder that holds designs/")
    every = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(DATA.glob("*.json"))]
    return [read(d) for d in every if d["kind"] == "hls4ml" and d["ii_max"] != d["lat_max"] + 1]


def group(b: Block) -> str:
    """Blocks whose terms are weighed alike."""
    style = "parallel" if b.buffer == "none" else ""
    return f"{style} {b.kind} {b.strategy}".strip()


Weights = dict[tuple[str, int], np.ndarray]


def weights(training: list[Design]) -> Weights:
    """(group, 0 for LUT or 1 for FF) -> weight of each term; least squares of the relative error, a family one vote."""
    rows: dict[tuple[str, int], list[tuple[np.ndarray, float]]] = {}
    families = [d.family for d in training]
    for d in training:
        vote = 1 / math.sqrt(families.count(d.family) * max(1, len(d.processes)))
        for b, *amounts in d.processes:
            for i, (terms, reported) in enumerate(zip(b.terms(d.tool), amounts, strict=True)):
                if reported > 0:
                    rows.setdefault((group(b), i), []).append((np.array(terms) * vote / reported, vote))
    return {k: nnls(np.array([a for a, _ in own]), np.array([v for _, v in own]))[0] for k, own in rows.items()}


def amounts(d: Design, by: Weights | None) -> dict[str, float]:
    """LUT, FF, DSP and block RAM of a design; ``by`` None adds the terms as they are.

    LUT of a parallel layer is one law (the sums of its constants), so there is nothing to weigh.
    """
    total = {"lut": 0.0, "ff": 0.0, "dsp": 0.0, "bram18": 0.0, "uram": 0.0}
    for b in d.blocks:
        exact, stream = b.fixed(d.tool), b.stream(d.tool)
        total["dsp"] += exact.dsp
        total["bram18"] += exact.bram18 + stream.bram18
        for i, (name, terms) in enumerate(zip(("lut", "ff"), b.terms(d.tool), strict=True)):
            own = by.get((group(b), i)) if by is not None and (b.buffer != "none" or i) else None
            total[name] += stream[i] + float(np.array(terms) @ (own if own is not None else np.ones(len(terms))))
    return total


def cycles(d: Design, training: list[Design]) -> dict[str, float]:
    """Latency and interval. A parallel design: a cycle a layer and what a level of its sums takes in the others."""
    if not d.parallel:
        return dict(zip(CYCLES, dataflow(d.blocks), strict=True))
    pairs = [tree(o) for o in training if o.parallel]
    slope = sum((r - fixed) * n for n, fixed, r in pairs) / sum(n * n for n, _, _ in pairs) if pairs else 0.5
    n, fixed, _ = tree(d)
    return {"latency_cycles": fixed + slope * n, "interval_cycles": 1.0}


def tree(d: Design) -> tuple[float, float, float]:
    """Levels of all sums, cycles without them (four of a softmax by two tables), and the reported latency."""
    dense = [b for b in d.blocks if b.kind == "dense"]
    fixed = len(dense) + 4 * sum(b.kind == "softmax" for b in d.blocks)
    return float(sum(map(levels, dense))), float(fixed), d.reported["latency_cycles"]


@dataclass(frozen=True)
class Predicted:
    """A design's numbers by the laws alone and with weights of the others."""

    design: Design
    laws: dict[str, float]
    others: dict[str, float]


def predictions(found: list[Design]) -> list[Predicted]:
    """Each design without its family; parallel ones, which are one family, without the design itself."""
    out = []
    for d in found:
        rest = [o for o in found if o.family != d.family or (d.parallel and o is not d)]
        time = cycles(d, rest)
        out.append(Predicted(d, amounts(d, None) | time, amounts(d, weights(rest)) | time))
    return out


def mape(pairs: list[tuple[float, float]]) -> str:
    """Mean of |predicted / reported - 1| over designs that report any."""
    errors = [abs(a / b - 1) for a, b in pairs if b > 0]
    return f"{np.mean(errors):.1%} (median {np.median(errors):.1%}, {len(errors)})" if errors else "none"


MEASURES = ("lut", "ff", "dsp", "bram18", *CYCLES)


def errors(found: list[Predicted]) -> Rows:
    rows = []
    for k in MEASURES:
        ours = [p for p in found if p.design.reported.get(k)]
        if not ours:
            continue
        row = {"measure": k}
        for title, numbers in (("laws", "laws"), ("other families", "others")):
            row[title] = mape([(getattr(p, numbers)[k], p.design.reported[k]) for p in ours])
        row["with R read off"] = ""
        if k in CYCLES:
            row["laws"] = mape([(p.laws[k], p.design.reported[k]) for p in ours if p.design.stated])
            row["other families"] = ""
            row["with R read off"] = mape([(p.laws[k], p.design.reported[k]) for p in ours if not p.design.stated])
        rows.append(row)
    return rows


BOARDS = {"vu9p": "alveo-u200", "u50": "alveo-u250"}  # u200: the same die; u250: the nearest that rule4ml knows


def network(d: Json) -> Json | None:
    """A design as rule4ml can take it: one strategy, precision and factor; None for other boards and branches."""
    chip = device(d["part"])
    if chip not in BOARDS:
        return None
    design, layers = read(d), []
    keras = "keras" in d["network"].get("format", "")
    for x in d["network"]["layers"]:
        op = x["op"]
        if op == "Conv2D":
            layers.append(["conv", x["filters"], x["kernel_size"], x["padding"]])
        elif op == "MaxPooling2D":
            layers.append(["pool", x["strides"]])
        elif op in ("LeakyReLU", "relu"):
            layers.append(["relu"])
        elif op == "Flatten":
            layers.append(["flatten"])
        elif op.lower() == "dense":
            layers += [["dense", x["units"] if keras else x["params"]["n_out"]]] + [["softmax"]] * keras
        elif op == "softmax":
            layers.append(["softmax"])
    weighted = [b for b in design.blocks if b.strategy in ("latency", "resource") and b.kind != "softmax"]
    shape = d["network"]["layers"][0]["batch_input_shape"][1:] if keras else [weighted[0].n_in]
    release = {"2018.2": "2019.1", "2019.2.1": "2019.2"}.get(d["version"], d["version"])
    return {
        "name": f"n{d['n']}", "input": shape, "layers": layers, "board": BOARDS[chip], "strategy": weighted[0].strategy,
        "precision": f"ap_fixed<{max(b.bits for b in weighted)}, 6>", "tool": release,
        "reuse_factor": max(b.reuse for b in weighted if b.kind == weighted[0].kind),
        "hls4ml": "1.1.0" if release >= "2022" else "0.8.1",
    }  # fmt: skip


def rule4ml(python: str, found: list[Predicted]) -> Iterator[tuple[str, Rows]]:
    """Its default models (graph networks of 0.2.0) beside ours, on the designs that it can be given."""
    nets = {}
    for path in sorted(DATA.glob("*.json")):
        d = json.loads(path.read_text(encoding="utf-8"))
        own = next((p for p in found if p.design.name.startswith(f"{d['n']:02d} ")), None)
        if own is not None and (net := network(d)):
            nets[own.design.name] = net
    run = subprocess.run([python, str(ROOT / "benchmarks/rule4ml_run.py")], input=json.dumps(list(nets.values())),
                         capture_output=True, text=True, check=False)  # fmt: skip
    if run.returncode:
        raise ValueError(f"--rule4ml {python}: {run.stderr.strip().splitlines()[-1] if run.stderr else 'failed'}")
    theirs = dict(zip(nets, json.loads(run.stdout.strip().splitlines()[-1]), strict=True))
    both = [p for p in found if p.design.name in theirs]
    for title, parallel in (("MLPs", True), ("streamed CNNs", False)):
        own = [p for p in both if p.design.parallel == parallel]
        rows = []
        for k in MEASURES:
            pairs = {p.design.name: p.design.reported[k] for p in own}
            rows.append({"measure": k, "ours": mape([(p.others[k], pairs[p.design.name]) for p in own]),
                         "rule4ml 0.2.0": mape([(theirs[n][k], r) for n, r in pairs.items()])})  # fmt: skip
        yield f"{title}: mean absolute error, ours (weights of other families) and rule4ml", rows
    yield (
        "rule4ml design by design: predicted / reported",
        [
            {"design": p.design.name}
            | {k: f"{theirs[p.design.name][k]:.0f} / {p.design.reported[k]:.0f}" for k in MEASURES}
            for p in both
        ],
    )


def tables(arguments: list[str]) -> Iterator[tuple[str, Rows]]:
    """Errors by column and family, then design by design; ``--rule4ml PYTHON`` adds rule4ml's."""
    if arguments and (len(arguments) != 2 or arguments[0] != "--rule4ml"):
        raise ValueError(f"bench designs: {' '.join(arguments)}; usage: flow bench designs [--rule4ml PYTHON]")
    found = predictions(designs())
    groups = {"MLPs, a multiplier for every product": True, "streamed CNNs": False}
    for title, parallel in groups.items():
        own = [p for p in found if p.design.parallel == parallel]
        yield f"{title}: mean absolute error by column (median, designs)", errors(own)
    by_family = []
    for name in sorted({p.design.family for p in found}):
        own = [p for p in found if p.design.family == name]
        by_family.append({"family left out": name, "designs": len(own)} | {
            k: mape([(p.others[k], p.design.reported[k]) for p in own]).partition(" ")[0] for k in MEASURES
        })  # fmt: skip
    yield "By family: mean absolute error, weights of the other families", by_family
    yield (
        "Design by design: predicted / reported",
        [
            {"design": p.design.name, "tool": p.design.release}
            | {k: f"{p.others[k]:.0f} / {p.design.reported[k]:.0f}" for k in MEASURES}
            for p in found
        ],
    )
    if arguments:
        yield from rule4ml(arguments[1], found)
