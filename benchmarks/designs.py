"""Whole designs by other people's generator (hls4ml) composed of the component laws, against their C synthesis reports.

A layer of ``n_in x n_out`` products with reuse factor R has ``ceil(n_in n_out / R)`` multipliers, a weight memory of R
words (resource strategy), sums behind the products and a stream behind itself; a convolution takes R + 5 cycles for a
pixel of its padded input (resource), R (latency strategy). Where a file does not state R, the one nearest to what its
processes' cycles allow is taken, and its latency is no prediction and left out. "corrected": each design by the
correction (flow/cost/calibrate.py) that all the others of its group give. What the files do not hold cannot be
predicted: pruned and quantised weights of the MLPs (most of their products are shifts or nothing), and the beats of
streams, which a region's latency needs. rule4ml 0.2.0 is not run beside: it takes a 3.3 GB installation.
Data: ``../shared/data/designs`` or ``COEXPLORE_DATA``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flow.board import KINDS, Resources
from flow.cost import calibrate, laws
from flow.cost.calibrate import Observation
from flow.cost.laws import Tool
from flow.toolchain.parse_device import device

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("COEXPLORE_DATA", ROOT / "../shared/data")) / "designs"
Rows = list[dict[str, Any]]
Json = dict[str, Any]
OVERHEAD = 5  # cycles a pixel beside R: conv_2d_cl of R = 3, 15, 18, 72 and 75 take 8, 20, 23, 78 and 80


@dataclass(frozen=True)
class Layer:
    """``positions``: input positions an image; ``out``: elements of its output stream and how deep that is."""

    kind: str
    n_in: int
    n_out: int
    positions: int
    weight_bits: int
    bits: int
    out: tuple[int, int]
    zeros: int = 0
    reuse: int | None = None


def at(layer: Layer, factor: int) -> Layer:
    """The layer with a stated reuse factor."""
    return replace(layer, reuse=factor)


def width(text: str | None, otherwise: int = 16) -> int:
    m = re.search(r"<(\d+)", text or "")
    return int(m[1]) if m else otherwise


def from_sources(d: Json) -> Iterator[Layer]:
    """Layers out of an hls4ml project's own parameters."""
    for x in d["network"]["layers"]:
        p, t, bits = x["params"], x.get("types", {}), width(x.get("in_type"))
        if x["op"].startswith("conv"):
            n_in = p["n_chan"] * p["kernel_size"]
            yield Layer("conv", n_in, p["n_filt"], p["in_height"] * p["in_width"], width(t.get("weight_t")), bits,
                        (p["n_filt"], p["out_height"] * p["out_width"]), p.get("n_zeros", 0),
                        p["reuse_factor"])  # fmt: skip
        elif x["op"].startswith("dense"):
            yield Layer("dense", p["n_in"], p["n_out"], 1, width(t.get("weight_t")), bits, (p["n_out"], 1),
                        p.get("n_zeros", 0), p["reuse_factor"])  # fmt: skip
        elif x["op"].startswith("leaky"):
            yield Layer("leaky", 1, 1, p["n_in"], 16, bits, (1, p["n_in"]))


def from_keras(d: Json) -> Iterator[Layer]:
    """Layers out of a Keras summary; hls4ml puts a padding layer before "same" convolutions."""
    h = w = c = 0
    stated = d["network"].get("reuse_factor_from_path")
    for x in d["network"]["layers"]:
        op = x["op"]
        if op == "InputLayer":
            _, h, w, c = x["batch_input_shape"]
        elif op == "Conv2D":
            k, same = x["kernel_size"], x["padding"] == "same"
            padded = (h + k[0] - 1) * (w + k[1] - 1) if same else h * w
            if same:
                yield Layer("pad", 1, 1, padded, 0, 16, (c, padded))
            n_in, (h, w) = c * k[0] * k[1], (h, w) if same else (h - k[0] + 1, w - k[1] + 1)
            c = x["filters"]
            yield Layer("conv", n_in, c, padded, 16, 16, (c, h * w), 0, int(stated) if stated else None)
        elif op == "LeakyReLU":
            yield Layer("leaky", 1, c, h * w, 16, 16, (c, h * w))
        elif op == "MaxPooling2D":
            h, w = h // x["strides"][0], w // x["strides"][1]
            yield Layer("pool", 1, 1, 4 * h * w, 0, 16, (c, h * w))
        elif op == "Dense":
            yield Layer("dense", c * h * w, x["units"], 1, 16, 16, (x["units"], 1), 0, int(stated) if stated else None)


def reuse(layer: Layer, d: Json) -> int:
    """The stated factor made legal as hls4ml does (it divides what there is), else from the cycles of its process."""
    products = layer.n_in * layer.n_out
    legal = [r for r in range(1, products + 1) if products % r == 0 and (layer.n_in % r == 0 or r % layer.n_in == 0)]
    wanted = layer.reuse
    if wanted is None:
        found = [p["lat_max"] for p in d["processes"] if p["module"].startswith(layer.kind) and p["lat_max"]]
        cycles = sorted(c / layer.positions for c in found if c % layer.positions < 30)
        each = max(cycles) if layer.kind == "dense" and cycles else min(cycles, key=lambda c: abs(c - 16), default=1.0)
        if layer.kind == "conv":
            own = [c / layer.positions for c in found if abs(c / layer.positions - round(c / layer.positions)) < 0.05]
            each = max(own, default=each)
        return max(r for r in legal if r <= max(1.0, each - 3 if each > 11 else each))
    return min((r for r in legal if r > 1 or wanted == 1), key=lambda r: (abs(r - wanted), r))


def cost(layer: Layer, r: int, tool: Tool, parallel: bool) -> Resources:
    """One layer with its output stream."""
    total = Resources() if parallel or layer.out[1] < 2 else laws.fifo(layer.out[1], layer.out[0] * layer.bits, tool)
    if layer.kind == "leaky":
        one = laws.multiplier(layer.bits, layer.weight_bits, "auto", tool) + laws.comparator(layer.bits, tool)
        return total + (one + laws.register(2 * layer.bits)).times(layer.out[0])
    if layer.kind not in ("conv", "dense"):
        return total
    multipliers = -(-(layer.n_in * layer.n_out - (layer.zeros if r == 1 else 0)) // r)
    wide = layer.bits + layer.weight_bits
    one = laws.multiplier(layer.bits, max(2, layer.weight_bits), "auto", tool) + laws.adder(wide, tool)
    total += (one + laws.register(wide)).times(max(multipliers, 0))
    if r > 1:
        total += laws.memory(r, multipliers * layer.weight_bits, tool=tool)
        total += laws.mux(min(r, 64), layer.bits, tool).times(max(1, multipliers // max(1, layer.n_out)))
    held = layer.n_in * layer.bits if layer.kind == "conv" and not parallel else layer.out[0] * layer.bits
    return total + laws.register(held)


@dataclass(frozen=True)
class Predicted:
    """A design's numbers; ``interval`` None where it would not be a prediction."""

    name: str
    group: str
    tool: str
    family: str
    reported: dict[str, float]
    estimated: dict[str, float]
    shares: dict[str, dict[str, float]]


def predict(d: Json) -> Predicted:
    family = "vivado" if d["tool"] == "Vivado HLS" else "vitis"
    chip = device(d["part"]) or "unknown"
    tool = Tool(family, d["version"], not chip.startswith("7"))  # type: ignore[arg-type]
    parallel = d["network"].get("io") == "io_parallel"
    layers = list(from_keras(d) if "keras" in d["network"].get("format", "") else from_sources(d))
    total, by = Resources(), {}
    slowest, stated = 0.0, True
    for layer in layers:
        r = reuse(layer, d) if layer.kind in ("conv", "dense") else 1
        own = cost(layer, r, tool, parallel)
        total += own
        by[layer.kind] = by.get(layer.kind, Resources()) + own
        if layer.kind in ("conv", "dense"):
            stated = stated and layer.reuse is not None
            slowest = max(slowest, layer.positions * (r + OVERHEAD if r > 1 else r))
    estimated = {k: float(n) for k, n in zip(KINDS, total.tuple, strict=True)}
    reported = {k: float(d[k] or 0) for k in KINDS}
    if stated and not parallel:
        estimated["interval_cycles"], reported["interval_cycles"] = slowest + 1, float(d["ii_max"])
    shares = {k: {n: v[i] / total[i] for n, v in by.items()} for i, k in enumerate(KINDS) if total[i]}
    group = "MLPs, a multiplier for every product" if parallel else "streamed CNNs"
    name = f"{d['n']:02d} {Path(d['path']).stem[:24]}"
    return Predicted(name, group, f"{d['tool']} {d['version']}", chip, reported, estimated, shares)


def predictions() -> list[Predicted]:
    """All dataflow or pipelined hls4ml designs with layers. Raises ValueError where the data is absent."""
    if not DATA.is_dir():
        raise ValueError(f"{DATA} is missing: set COEXPLORE_DATA to the folder that holds designs/")
    every = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(DATA.glob("*.json"))]
    return [predict(d) for d in every if d["kind"] == "hls4ml" and d["ii_max"] != d["lat_max"] + 1]


def corrected(all_of_them: list[Predicted], p: Predicted) -> dict[str, float]:
    """By the correction that the other designs give."""
    rows = [
        Observation(k, o.tool, o.family, o.estimated[k], o.reported[k], o.shares.get(k, {}))
        for o in all_of_them
        if o is not p and o.group == p.group
        for k in o.estimated
        if o.estimated[k] > 0 and o.reported[k] > 0
    ]
    found = calibrate.calibrate(rows)
    return {k: n * found.factor(k, p.tool, p.family, p.shares.get(k, {})) for k, n in p.estimated.items()}


def mape(pairs: list[tuple[float, float]]) -> str:
    """Mean of |predicted / reported - 1| over designs that report any."""
    errors = [abs(a / b - 1) for a, b in pairs if b > 0]
    return f"{np.mean(errors):.1%} (median {np.median(errors):.1%}, {len(errors)} designs)" if errors else "none"


def tables(arguments: list[str]) -> Iterator[tuple[str, Rows]]:
    """Errors by column, then design by design. Takes no arguments."""
    found = predictions()
    measures = [k for k in (*KINDS, "interval_cycles") if any(p.reported.get(k) for p in found)]
    for group in sorted({p.group for p in found}):
        own = [p for p in found if p.group == group]
        rows = []
        for k in measures:
            raw = [(p.estimated[k], p.reported[k]) for p in own if k in p.estimated]
            better = [(corrected(found, p)[k], p.reported[k]) for p in own if k in p.estimated]
            if any(b for _, b in raw):
                rows.append({"measure": k, "laws": mape(raw), "corrected by the others": mape(better)})
        yield f"hls4ml through the component laws, {group}: mean absolute error by column", rows
    yield "Design by design: laws / reported", [
        {"design": p.name, "tool": p.tool} | {
            k: f"{p.estimated[k]:.0f} / {p.reported[k]:.0f}" if k in p.estimated else "" for k in measures
        } for p in found
    ]  # fmt: skip
