"""The tiled engine: frames per second beside Vitis AI's at equal clock, simulation and traffic against their bounds.

    flow bench tiled            all tables
    flow bench tiled speed      the networks beside the DPU's published figures
    flow bench tiled published  one engine by the published equations and by our loop nest
    flow bench tiled chains     engines and streaming stages as a pipeline, on one board and on two, beside one engine

Vitis AI figures: model zoo of Vitis AI 2.5, int8, several threads: three DPU B4096 cores at 281 MHz on zcu102, two at
300 MHz on zcu104.  Ours are estimates and cycle simulations, no board measurements; assumptions: 0.8 of peak memory
bandwidth, 64 cycles to a burst's first word, 48 to a write's response, one clock for everything, 90 % of the board's
resources at C synthesis.  The networks have their true shapes and placeholder weights: cycles do not depend on values.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from flow import board, chain, platform
from flow.chain import cycles as chain_cycles
from flow.fixed import Quant, Requant
from flow.ir.graph import Graph, Node, Tensor
from flow.ir.ops import Add, Conv, Op, Pool
from flow.mapping import Goal, NoFit
from flow.published import layers as papers
from flow.published import tiled as equations
from flow.tiled import Engine, TiledDesign, lower, solve, tilings
from flow.tiled.cycles import simulate
from flow.tiled.layout import jobs
from flow.tiled.program import compile_program

Rows = list[dict[str, Any]]
SHARE = 0.9
REACH = 1 << 23  # accumulators of quantised networks stay below this (flow/ir/quantise.py)


@dataclass(frozen=True, eq=False)
class Shaped(Conv):
    """A convolution whose weights are one number seen everywhere: VGG-16's would fill a gigabyte as integers."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "bias", np.zeros(self.weight.shape[0], np.int64))

    def accumulator(self, ranges: list[tuple[int, int]]) -> tuple[int, int]:
        return -REACH, REACH


class Sketch:
    """Collects nodes of 8-bit maps."""

    def __init__(self, size: int, real: bool = False) -> None:
        self.rng = (
            np.random.default_rng(size) if real else None
        )  # stages keep their weights: what they cost depends on them
        self.quant = Quant(8, False, 2.0**-4)
        self.tensors = {"input": Tensor((3, size, size), self.quant)}
        self.nodes: list[Node] = []

    def add(self, op: Op, *inputs: str) -> str:
        ident = f"L{len(self.nodes)}"
        self.tensors[ident] = Tensor(op.shape([self.tensors[i].shape for i in inputs]), self.quant)
        self.nodes.append(Node(ident, ident, op, inputs))
        return ident

    def conv(self, x: str, out: int, kernel: int, stride: int = 1, groups: int = 1, pad: int | None = None) -> str:
        shape = (out, self.tensors[x].shape[0] // groups, kernel, kernel)
        p = kernel // 2 if pad is None else pad
        weight = np.broadcast_to(np.int64(1), shape)
        kind: type[Conv] = Shaped
        if self.rng is not None:
            weight, kind = self.rng.integers(-127, 128, shape), Conv
        bias = np.zeros(out, np.int64)
        return self.add(kind(weight, bias, Requant((8,), 0, 255), (stride, stride), (p, p, p, p), (1, 1), groups), x)

    def pool(self, x: str, kernel: int = 2, stride: int = 2, pad: int = 0) -> str:
        return self.add(Pool("MaxPool", (kernel, kernel), Requant((0,), 0, 255), (stride, stride), (pad,) * 4), x)

    def average(self, x: str) -> str:
        _, h, w = self.tensors[x].shape
        return self.add(Pool("AveragePool", (h, w), Requant((0,), 0, 255, div=h * w)), x)

    def graph(self) -> Graph:
        return Graph(tuple(self.nodes), self.tensors)


def resnet18(real: bool = False) -> Graph:
    s = Sketch(224, real)
    x = s.pool(s.conv("input", 64, 7, 2), 3, 2, 1)
    for k in range(4):
        for block in range(2):
            m, stride = 64 << k, 2 if k and not block else 1
            y = s.conv(s.conv(x, m, 3, stride), m, 3)
            x = s.add(Add(Requant((1,), 0, 255)), y, s.conv(x, m, 1, stride) if stride > 1 else x)
    s.conv(s.average(x), 1000, 1)
    return s.graph()


def vgg16() -> Graph:
    s = Sketch(224)
    x = "input"
    for m, repeat in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(repeat):
            x = s.conv(x, m, 3)
        x = s.pool(x)
    s.conv(s.conv(s.conv(x, 4096, 7, pad=0), 4096, 1), 1000, 1)
    return s.graph()


def mobilenet_v2(real: bool = False) -> Graph:
    s = Sketch(224, real)
    x, n = s.conv("input", 32, 3, 2), 32
    for expand, m, repeat, stride in (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    ):
        for k in range(repeat):
            y = s.conv(x, n * expand, 1) if expand > 1 else x
            y = s.conv(s.conv(y, n * expand, 3, stride if k == 0 else 1, n * expand), m, 1)
            x, n = s.add(Add(Requant((1,), 0, 255)), y, x) if k else y, m
    s.conv(s.average(s.conv(x, 1280, 1)), 1000, 1)
    return s.graph()


CASES = (  # network, board, MHz, Vitis AI's images a second
    (resnet18, "zcu102", 281.0, 499.0),
    (vgg16, "zcu102", 281.0, 40.9),
    (mobilenet_v2, "zcu104", 300.0, 609.0),
)


def tables(arguments: list[str]) -> Iterator[tuple[str, Rows]]:
    """Speed and traffic; the published equations."""
    if "chains" in arguments:
        for row in chains():
            yield f"A chain beside one engine (estimate and cycle simulation): {row['network']} on {row['on']}", [row]
        return
    if "published" not in arguments:
        yield "Images a second beside Vitis AI's DPU, equal clock (estimate and cycle simulation)", [*speed()]
    if "speed" not in arguments:
        yield (
            "AlexNet's convolutions on HotNAS's engine (70 x 36): published equations and ours, cycles",
            [*published()],
        )


def speed() -> Iterator[dict[str, Any]]:
    for network, name, clock, dpu in CASES:
        design = solve(network(), board.load(name), Goal(max_utilisation=SHARE), clock)
        if isinstance(design, NoFit):
            yield {"network": network.__name__, "board": name, "estimate": str(design)}
            continue
        found = simulate(compile_program(design))
        e, fps = design.engine, clock * 1e6 / design.interval_cycles
        real = clock * 1e6 / found.interval_cycles
        yield {
            "network": network.__name__,
            "board": name,
            "MHz": clock,
            "engines": f"{design.copies} x {e.tm}x{e.tn}",
            "batch": design.batch,
            "dsp": design.resources.dsp,
            "estimate": round(fps, 1),
            "simulated": round(real, 1),
            "Vitis AI": dpu,
            "times": round(real / dpu, 2),
            "sim / est cycles": round(found.latency_cycles / design.batch_cycles, 3),
            "GB/s": round(design.traffic_bytes / design.batch * fps / 1e9, 2),
            "traffic / least of all tilings": round(design.traffic_bytes / design.least_bytes, 3),
            "traffic / each byte once": round(design.traffic_bytes / design.compulsory_bytes, 3),
            "gap": f"{100 * design.bound.gap:.2f} %",
        }


CHAINS = (
    (mobilenet_v2, "zcu102", 281.0, ""),
    (resnet18, "zcu102", 281.0, ""),
    (mobilenet_v2, "zcu104", 300.0, ""),
    (resnet18, "pynq-z2", 100.0, ""),
    (mobilenet_v2, "zcu102", 281.0, "two-zcu102"),
    (resnet18, "zcu102", 281.0, "two-zcu102"),
)


def chains() -> Iterator[dict[str, Any]]:
    for network, name, clock, several in CHAINS:
        graph, goal, started = network(real=True), Goal(max_utilisation=SHARE), time.process_time()
        one = solve(graph, board.load(name), goal, clock)
        if several:
            found = chain.solve_platform(graph, platform.load(several), goal, clock)
        else:
            found = chain.solve(graph, board.load(name), goal, clock)
        if isinstance(one, NoFit) or isinstance(found, NoFit):
            yield {"network": network.__name__, "on": several or name, "estimate": str(found)}
            continue
        run, alone = chain_cycles.simulate(found), clock * 1e6 / one.interval_cycles
        yield {
            "network": network.__name__,
            "on": several or name,
            "MHz": clock,
            "one engine": round(alone, 1),
            "chain": round(clock * 1e6 / found.interval_cycles, 1),
            "simulated": round(clock * 1e6 / run.interval_cycles, 1),
            "times": round(one.interval_cycles / found.interval_cycles, 2),
            "sim / est": round(run.interval_cycles / found.interval_cycles, 3),
            "parts (nodes)": "; ".join(_part(found, k) for k in range(len(found.parts))),
            "images a step": found.images,
            "latency ms": round(found.latency_cycles / clock / 1e3, 1),
            "CPU s": round(time.process_time() - started, 1),
        }


def _part(found: chain.Chain, k: int) -> str:
    p, size = found.parts[k], found.boundaries[k + 1] - found.boundaries[k]
    where = f"board {found.places[k]}: " if len(set(found.places)) > 1 else ""
    kind = f"{p.copies} x {p.engine.tm}x{p.engine.tn}" if isinstance(p, TiledDesign) else "stages"
    return f"{where}{kind} ({size})"


def published() -> Iterator[dict[str, Any]]:
    """The same array and unlimited ports: what the equations say, right and as published, and what our nest says.

    Our array needs one side to divide the other: 72 x 36 in place of 70 x 36.
    """
    theirs = equations.Engine(70, 36, 64, 32, 18, 6, 2)
    ours = Engine(72, 36, granule=4, wp=24, acc_depth=2048, in_depth=8192, cache=0, taps=3, packing=False)
    for la in papers.ALEXNET:
        weight = np.broadcast_to(np.int64(1), (la.m, la.n, la.k, la.k))
        size = (la.r - 1) * la.stride + la.k - 2 * la.padding
        op = Shaped(
            weight, weight, Requant((8,), 0, 255), (la.stride, la.stride), (la.padding,) * 4, (1, 1), 1
        )  # fmt: skip
        quant = Quant(8, False, 2.0**-4)
        graph = Graph(
            (Node("L0", "L0", op, ("input",)),),
            {"input": Tensor((la.n, size, size), quant), "L0": Tensor(op.shape([(la.n, size, size)]), quant)},
        )
        job = jobs(lower(graph), ours)[0]
        choice = tilings.best(job, 1, 1e9, 1e9)
        yield {
            "layer": f"{la.n}->{la.m} {la.r}x{la.c} k{la.k} s{la.stride}",
            "as published": int(equations.cycles(la, theirs, equations.HOTNAS)),
            "published, corrected": int(equations.cycles(la, theirs)),
            "our nest": choice.cycles if choice else "no tile fits",
            "array at work": tilings.ideal(job),
            "gathered": "yes" if job.gathered else "no",
        }
