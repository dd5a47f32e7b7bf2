"""Programs of the tiled engine: the interpreter against the integer graph, addresses, and hazards."""

from __future__ import annotations

import numpy as np
import pytest

from flow import board
from flow.design import Bound
from flow.estimate import share
from flow.tiled import Engine, TiledDesign, lower, tilings
from flow.tiled.interpret import run
from flow.tiled.layout import jobs
from flow.tiled.program import compile_program
from tests.large_networks import mobilenet_v2, resnet18
from tests.networks import lenet, random_draft, resnet8, sample

ENGINES = {
    "wide": Engine(tm=16, tn=8, granule=8, wp=8, acc_depth=64, in_depth=512, cache=256),
    "deep": Engine(tm=8, tn=32, granule=8, wp=4, acc_depth=40, in_depth=300, cache=0, taps=2),
    "tight": Engine(tm=8, tn=8, granule=4, wp=8, acc_depth=32, in_depth=420, cache=20, taps=1),
}


def designed(graph, engine: Engine, batch: int) -> TiledDesign:
    """A design with a given engine."""
    steps, place = lower(graph), board.load("zcu104")
    choices = tuple(tilings.best(j, batch, 16.0, 16.0) for j in jobs(steps, engine))
    assert all(choices)
    bound = Bound(1, "dsp", 0.0, True, 0.0)
    return TiledDesign(graph, place, 200.0, engine, 1, batch, steps, choices, bound, share(place, 1.0))


GRAPHS = {
    "sample": lambda: sample(),
    "lenet": lambda: lenet(),
    "resnet8": lambda: resnet8(),
    "resnet18": lambda: resnet18(40, 10, 8).graph(),
    "mobilenet": lambda: mobilenet_v2(32, 10).graph(),
    **{f"random{k}": (lambda k=k: random_draft(k, 7).graph()) for k in range(12)},
}


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("name", [n for n in GRAPHS if n not in ("resnet8", "mobilenet")])
def test_interpreter_agrees_with_the_graph(name: str, engine: Engine) -> None:
    graph = GRAPHS[name]()
    program = compile_program(designed(graph, engine, 2))
    t = graph.tensors["input"]
    images = np.random.default_rng(0).integers(t.quant.lo, t.quant.hi + 1, (3, *t.shape))
    assert np.array_equal(run(program, images), graph.evaluate(images)[graph.output])
