"""Programs of the tiled engine: the interpreter against the integer graph, addresses, and hazards."""

from __future__ import annotations

import numpy as np
import pytest

from flow import board
from flow.design import Bound
from flow.estimate import share
from flow.tiled import Engine, TiledDesign, instruction, lower, tilings
from flow.tiled.cycles import simulate
from flow.tiled.interpret import Machine, run
from flow.tiled.layout import jobs
from flow.tiled.nest import DISTANCE
from flow.tiled.program import compile_program
from tests.large_networks import mobilenet_v2, resnet18
from tests.networks import lenet, random_draft, resnet8, sample

ENGINES = {
    "wide": Engine(tm=16, tn=8, granule=8, wp=8, acc_depth=64, in_depth=512, cache=256),
    "deep": Engine(tm=8, tn=32, granule=8, wp=4, acc_depth=40, in_depth=300, cache=0, taps=2),
    "tight": Engine(tm=8, tn=8, granule=4, wp=8, acc_depth=32, in_depth=420, cache=20, taps=1, double_buffer=False),
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


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ["sample", "lenet", "random2", "random7"])
def test_nothing_is_read_before_it_is_surely_stored(name: str, batch: int) -> None:
    """Every word of memory bears the number of the iteration that stored it last; loads look at the numbers."""
    program = compile_program(designed(GRAPHS[name](), ENGINES["wide"], batch))
    assert len(program.records) < 256  # numbers are bytes
    machine = Machine(program)
    for number, record in enumerate(program.records, start=1):
        parts = {p: instruction.decode(record, p) for p in instruction.PARTS}
        seen = [np.zeros(1, np.uint8)]
        if parts["load"]["mode"]:
            seen.append(machine.load(parts["load"]) if parts["load"]["mode"] == 1 else machine.gather(parts["load"]))
        for part in ("residual", "store"):
            f = parts[part]
            for tile in range(f["tiles"]):
                where = machine.words(f, tile, f["groups_last"] if tile == f["tiles"] - 1 else f["groups"])
                if part == "residual":
                    seen.append(machine.memory[where])
                else:
                    machine.memory[where] = number
        stamps = np.concatenate([s.reshape(-1).astype(int) for s in seen])
        assert stamps.max() <= max(0, number - DISTANCE)


def test_maps_that_live_together_lie_apart() -> None:
    program = compile_program(designed(GRAPHS["mobilenet"](), ENGINES["wide"], 2))
    arena = program.arena
    for a in arena.lives:
        for b in arena.lives:
            x, y = arena.lives[a], arena.lives[b]
            if a < b and x.first <= y.last and y.first <= x.last:
                assert arena.starts[a] + x.words <= arena.starts[b] or arena.starts[b] + y.words <= arena.starts[a]
    assert arena.words < 0.5 * sum(life.words for life in arena.lives.values())  # space is used again


@pytest.mark.parametrize("name", ["sample", "lenet", "resnet8", "resnet18", "random4"])
@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_simulation_moves_what_the_estimate_says_and_ends(name: str, engine: Engine) -> None:
    design = designed(GRAPHS[name](), engine, 2)
    found = simulate(compile_program(design))
    assert not found.deadlock
    assert found.traffic_bytes == design.traffic_bytes
    assert found.latency_cycles >= sum(tilings.ideal(j) for j in design.jobs) * design.batch
