"""Networks on several boards: Co-Exploration's networks on 1 to 3, 60 layers on 4, and how time grows.

    flow bench platforms [scaling]

Published: Jiang et al., TCAD 2020 report pipeline efficiencies of 73 to 99.7 % for these networks on XC7Z015 boards, by
engines that take weights from memory; ours are streams with all weights on chip. ``scaling`` adds the curves.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from flow import mapping, pipeline, platform, space
from flow.ir.graph import Graph
from flow.mapping import Goal, NoFit
from flow.pipeline import System
from flow.platform import Link, Platform
from flow.published import boards as published
from flow.space.co_explore_cifar import PUBLISHED
from flow.space.network import random_graph
from flow.space.stack import Stack

Rows = list[dict[str, Any]]
CLASS = "three-7z015"


def tables(arguments: list[str]) -> Iterator[tuple[str, Rows]]:
    """Co-Exploration's networks by their own equations and by our designs, 60 layers over four boards, scaling."""
    yield (
        "Co-Exploration's networks on XC7Z015 boards by the published equations (16 bit, weights from memory)",
        theirs(),
    )
    yield "Co-Exploration's networks on XC7Z015 boards as our streams (weights on chip, whole boards)", ours()
    yield "60 layers with weights over four zcu102", [row(name, g, chain("four-zcu102", 4)) for name, g in sixty()]
    if "scaling" in arguments:
        yield (
            "Time against layers, four zcu102",
            [row(f"{n} convolutions", plain(n), chain("four-zcu102", 4)) for n in (15, 30, 60, 120)],
        )
        yield (
            "Time against boards, 60 convolutions",
            [row(f"{k} boards", plain(60), chain("four-zcu102", k)) for k in (1, 2, 4, 8)],
        )


def chain(name: str, count: int) -> Platform:
    """``count`` boards of a platform's kind in a row."""
    p = platform.load(name)
    links = tuple(Link(i, i + 1, p.links[0].bandwidth_gb_s, p.links[0].latency_us) for i in range(count - 1))
    return replace(p, boards=(p.boards[0],) * count, links=links)


def theirs() -> Rows:
    rows: Rows = []
    for name, layers in PUBLISHED.items():
        for count in (1, 2, 3):
            found = published.best(published.cifar(layers), chain(CLASS, count))
            even = published.best(published.cifar(layers), chain(CLASS, count), balanced=True)
            rows.append({
                "network": name, "boards": count, "layers a board": " + ".join(map(str, found.counts)),
                "images/s": round(found.fps, 1), "efficiency": f"{found.pipeline.efficiency:.1%}",
                "U of each board": " ".join(f"{u:.0%}" for u in found.pipeline.utilisations),
                "best balanced": f"{even.pipeline.efficiency:.1%} at {even.fps:.1f}/s",
                "seconds": round(found.seconds, 2),
            })  # fmt: skip
    return rows


def ours() -> Rows:
    rows: Rows = []
    for bits in (8, 4):
        cifar = space.load("co-explore-cifar", space.Options(weight_bits=(bits,), activation_bits=(8,)))
        for name, genotype in cifar.published().items():
            graph = random_graph(cifar.network(genotype, (3, 32, 32), 10))
            rows += [row(f"{name}, {bits}-bit weights", graph, chain(CLASS, count), 1.0) for count in (1, 2, 3)]
    return rows


def sixty() -> Iterator[tuple[str, Graph]]:
    yield "60 convolutions", plain(60)
    s = Stack((3, 32, 32))
    s.conv(16, 3)
    for width in (16, 32, 64):
        for block in range(9):
            stride, before = (2 if width > 16 and block == 0 else 1), s.tip
            s.conv(width, 3, stride)
            deep = s.conv(width, 3, relu=False)
            side = before if stride == 1 else s.conv(width, 1, stride, relu=False, source=before)
            s.sum(deep, side, (8, 8), relu=True)
    yield "residual, 57 convolutions, 27 additions", random_graph(s.finish(10))


def plain(count: int) -> Graph:
    """3x3 convolutions of 16, 32 and 64 channels at 32, 16 and 8 pixels."""
    s = Stack((3, 32, 32))
    for i in range(count):
        third = 3 * i // count
        s.conv(16 << third, 3, 2 if third and 3 * (i - 1) // count < third else 1)
    return random_graph(s.finish(10))


def row(name: str, graph: Graph, place: Platform, max_utilisation: float = 0.8) -> dict[str, Any]:
    """One network on one platform; the time is that of a first solution, options of layers not yet known."""
    started = time.perf_counter()
    found = mapping.solve_platform(graph, place, Goal(max_utilisation=max_utilisation))
    seconds = time.perf_counter() - started
    out: dict[str, Any] = {"network": name, "boards": len(place.boards), "nodes": len(graph.nodes)}
    if isinstance(found, NoFit):
        names = ("cuts", "interval", "proved bound", "gap", "images/s", "efficiency")
        return {**out, **dict.fromkeys(names, "-"), "cuts": str(found), "seconds": round(seconds, 2)}
    return {**out, **_numbers(found), "seconds": round(seconds, 2)}


def _numbers(found: System) -> dict[str, Any]:
    r = pipeline.estimate(found)
    return {
        "cuts": " ".join(map(str, found.boundaries[1:-1])) or "-",
        "interval": r.interval_cycles,
        "proved bound": found.bound.interval_cycles,
        "gap": f"{found.bound.gap:.1%}",
        "images/s": round(r.fps),
        "efficiency": f"{r.extra['pipeline']['efficiency']:.1%}",
    }
