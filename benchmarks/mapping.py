"""The mapper: proved gaps and seconds on known networks, ResNet-8's throughput, joint evaluations a second, scaling.

``flow bench mapping [gaps] [resnet8] [rate] [scaling]``: all parts without a word. Networks have the published layers
and random weights (tests/large_networks.py); nothing here needs a tool's report. Seconds are CPU time: "cold" with
empty caches, "warm" with options and converters remembered, as inside a search; whatever depends on the interval is
computed anew.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from flow import blocks, engines, estimate, explain, mapping, pipeline, simulate, space  # noqa: E402
from flow import board as boards  # noqa: E402
from flow.board import Board  # noqa: E402
from flow.design import Design  # noqa: E402
from flow.ir.graph import Graph  # noqa: E402
from flow.mapping import Goal  # noqa: E402
from flow.mapping.solve import answer  # noqa: E402
from flow.mapping.task import Task  # noqa: E402
from flow.pipeline import System  # noqa: E402
from flow.platform import Link, Platform  # noqa: E402
from flow.space.network import random_graph  # noqa: E402
from flow.tasks import EFFORT  # noqa: E402
from flow.workers import OBJECTS  # noqa: E402
from tests import large_networks, networks  # noqa: E402

Row = dict[str, Any]
BOARDS = ("zcu102", "zc706", "pynq-z2", "u250")
NETWORKS: dict[str, Callable[[], Graph]] = {
    "ResNet-8": networks.resnet8,
    "LeNet-5": networks.lenet,
    "SqueezeNet": lambda: large_networks.squeezenet().graph(),
    "MobileNetV2": lambda: large_networks.mobilenet_v2().graph(),
    "ResNet-18": lambda: large_networks.resnet18().graph(),
    "Inception-v1": lambda: large_networks.inception_v1().graph(),
    "DenseNet-121": lambda: large_networks.densenet121().graph(),
    "VGG-16": lambda: large_networks.vgg16().graph(),
}


def tables(arguments: list[str]) -> Iterator[tuple[str, list[Row]]]:
    parts = {"gaps": gaps, "resnet8": resnet8, "rate": rate, "scaling": scaling}
    unknown = [a for a in arguments if a not in parts]
    if unknown:
        raise ValueError(f"no part {unknown[0]!r}: {', '.join(parts)}")
    mapping.solve(networks.lenet(), boards.load("zcu102"))  # kernels compiled
    for name in arguments or parts:
        yield from parts[name]()


def forget() -> None:
    """Empty every cache that a search would have filled."""
    kernels = {v for m in sys.modules.values() for k, v in vars(m).items() if k == "_library"}
    for name, module in list(sys.modules.items()):
        if name.startswith(("flow.blocks.", "flow.mapping.", "flow.tiled.", "flow.cost.laws", "flow.layout")):
            for value in vars(module).values():
                if hasattr(value, "cache_clear") and value not in (*kernels, blocks.modules):
                    value.cache_clear()


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    found = call()
    return found, time.process_time() - started


def gaps() -> Iterator[tuple[str, list[Row]]]:
    for name, make in NETWORKS.items():
        graph = make()
        yield f"{name}, {len(graph.nodes)} nodes", [gap(graph, boards.load(b)) for b in BOARDS]


def gap(graph: Graph, board: Board) -> Row:
    """The better of a stage a layer and one engine for all, the bound over both."""
    forget()
    graph.derived.clear()
    found, cold = timed(lambda: engines.solve(graph, board))
    found, warm = timed(lambda: engines.solve(graph, board))
    if isinstance(found, mapping.NoFit):
        return {"board": board.name, "engine": "none", "short": str(found)}
    kind = "stream" if isinstance(found, Design) else "tiled"
    interval = round(found.bound.interval_cycles * (1 + found.bound.gap))
    return {
        "board": board.name, "engine": kind, "interval": interval, "bound": found.bound.interval_cycles,
        "gap_percent": round(100 * found.bound.gap, 2), "limit": found.bound.limit,
        "fps": round(found.clock_mhz * 1e6 / interval, 1), "cold_s": round(cold, 2), "warm_ms": round(1e3 * warm, 1),
    }  # fmt: skip


def resnet8() -> Iterator[tuple[str, list[Row]]]:
    graph, rows = networks.resnet8(), []
    for share in (0.8, 1.0):
        board = boards.load("zcu102")
        found = mapping.solve(graph, board, Goal(max_utilisation=share), 200.0)
        assert isinstance(found, Design)
        report = estimate.estimate(found)
        seen = simulate.simulate(found.netlist)
        off = abs((seen.interval_cycles or 0) / report.interval_cycles - 1)
        late = abs((seen.latency_cycles or 0) / report.latency_cycles - 1)
        rows.append(
            {
                "share_of_board": share, "fps": round(report.fps), "interval": report.interval_cycles,
                "bound": found.bound.interval_cycles, "gap_percent": round(100 * found.bound.gap, 2),
                "limit": found.bound.limit, **report.resources.json(), "fits": report.fits,
                "arithmetic_bound_fps": round(arithmetic_fps(graph, found)),
                "simulated_interval_off_percent": round(100 * off, 2),
                "simulated_latency_off_percent": round(100 * late, 2),
            }
        )  # fmt: skip
    yield "ResNet-8, int8, zcu102 at 200 MHz (fpgaConvNet's own estimate: 4,829 fps with 2,393 DSP)", rows


def arithmetic_fps(graph: Graph, design: Design) -> float:
    """Images a second if every multiplier that the budget holds, in DSPs and LUTs, worked every cycle."""
    cycles = explain.arithmetic(graph, design.board, design.available)
    return design.clock_mhz * 1e6 / cycles["arithmetic_bound_cycles"]


STEPS = ("genotype, network", "graph", "options, bound", "choice, schedules", "report")


def rate() -> Iterator[tuple[str, list[Row]]]:
    """New networks, options of unseen layers included; the same again; their neighbours by one mutation each; and new
    ones late in a search, when most layers have been met.

    As ``flow.tasks.estimate_candidate`` evaluates them, workers' setting of the garbage collector included.
    """
    gc.set_threshold(OBJECTS)
    place, board = space.load("default"), boards.load("zcu102")
    rng = np.random.default_rng(0)
    first, more = ([timed(lambda: place.sample(rng)) for _ in range(n)] for n in (100, 200))
    beside = [timed(lambda g=g: place.mutate(g, rng)) for g, _ in more]
    later, late = ([timed(lambda: place.sample(rng)) for _ in range(n)] for n in (1000, 200))
    sets = {"first 100": first, "after them 200": more, "the same 200": more, "mutated 200": beside}
    sets |= {"then new 1,000": later, "after them 200 more": late}
    rows = [rated(label, place, board, drawn) for label, drawn in sets.items()]
    yield "joint evaluations a second of processor time on one core: network, its best accelerator, full estimate", rows


def rated(label: str, place: Any, board: Board, drawn: list[tuple[Any, float]]) -> Row:
    found = [evaluation(place, board, genotype, seconds) for genotype, seconds in drawn]
    spent = np.array([times for times, _ in found]).sum(0)
    gaps = np.array([gap for _, gap in found if gap is not None])
    row: Row = {"networks": label, "a second": round(len(drawn) / float(spent.sum()), 1)}
    row |= {f"{k} ms": round(1e3 * float(t) / len(drawn), 2) for k, t in zip(STEPS, spent, strict=True)}
    return row | {"fit": len(gaps), "gap within 1 %": f"{round(100 * float(np.mean(gaps <= 0.01)))} %"}


def evaluation(place: Any, board: Board, genotype: Any, drawing: float) -> tuple[list[float], float | None]:
    """Seconds by step and the gap: what ``mapping.evaluate`` does, step by step."""
    spec, making = timed(lambda: place.network(genotype, (3, 32, 32), 10))
    graph, building = timed(lambda: random_graph(spec))
    hardware = place.hardware(genotype)
    goal = Goal(max_utilisation=min(0.8, hardware.budget), effort=EFFORT)
    task, listing = timed(lambda: Task(graph, board, goal, hardware.clock_mhz))
    found, choosing = timed(lambda: answer(task))
    times = [drawing + making, building, listing, choosing]
    if isinstance(found, mapping.NoFit):
        return [*times, 0.0], None
    report, telling = timed(lambda: task.report(found, 0.0))
    return [*times, telling], report.bound.gap


def chain(layers: int, channels: int = 32) -> Graph:
    d = networks.Draft((3, 32, 32), seed=layers)
    x = "input"
    for k in range(layers - 1):
        x = d.conv(x, channels if k % 3 else channels // 2, 3 if k % 2 else 1)
    d.dense(d.global_average(x), 10)
    return d.graph()


def scaling() -> Iterator[tuple[str, list[Row]]]:
    rows = []
    board = boards.load("u250")
    for layers in (10, 30, 100, 300, 1000):
        rows.append({"layers": layers, **gap(chain(layers), board)})
    yield "time against layers", rows
    rows = []
    for channels in (8, 16, 32, 64, 128, 256):
        graph = chain(20, channels)
        choices = sum(len(blocks.options(graph, n, board)) for n in graph.nodes)
        rows.append({"channels": channels, "foldings": choices, **gap(graph, board)})
    yield "time against choices, 20 layers", rows
    graph, place = chain(60), boards.load("zc706")
    rows = [boarded(graph, [place] * count) for count in (1, 2, 3, 4, 6, 8)]
    yield "time against boards, 60 layers", rows


def boarded(graph: Graph, places: list[Board]) -> Row:
    """A chain of boards, each linked to the next."""
    forget()
    links = tuple(Link(i, i + 1, 10.0, 1.0) for i in range(len(places) - 1))
    found, cold = timed(lambda: mapping.solve_platform(graph, Platform("row", tuple(places), links)))
    _, warm = timed(lambda: mapping.solve_platform(graph, Platform("row", tuple(places), links)))
    assert isinstance(found, System)
    gap_percent = round(100 * found.bound.gap, 2)
    return {"boards": len(places), "fps": round(found.clock_mhz * 1e6 / pipeline.interval_cycles(found), 1),
            "gap_percent": gap_percent, "cold_s": round(cold, 2), "warm_s": round(warm, 2)}  # fmt: skip
