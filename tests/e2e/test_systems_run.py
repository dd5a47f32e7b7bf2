"""Every published system and every mode starts, runs and finishes a search of a few tiny networks on real digits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flow import systems
from flow.archive import read
from tests.e2e import small

pytestmark = pytest.mark.slow

SPACE = """
import numpy as np
from flow.space.hardware import HardwareGenotype
from flow.space.network import INPUT, Layer, NetSpec, same

CHANNELS = (3, 4, 6, 8)


class Coded:
    name = "coded"

    def __init__(self, clock, budgets):
        self.clock, self.budgets = clock, budgets

    def genes(self):
        return (len(CHANNELS), 2, len(self.budgets))

    def encode(self, g):
        return g

    def decode(self, indices):
        return tuple(int(i) for i in indices)

    def halves(self):
        return (0, 0, 1)

    def join(self, a, b):
        return (*a[:2], b[2])

    def sample(self, rng):
        return tuple(int(rng.integers(n)) for n in self.genes())

    def mutate(self, g, rng):
        free = [i for i, n in enumerate(self.genes()) if n > 1]
        at = int(rng.choice(free))
        other = (g[at] + 1 + int(rng.integers(self.genes()[at] - 1))) % self.genes()[at]
        return (*g[:at], other, *g[at + 1:])

    def crossover(self, a, b, rng):
        return tuple((x, y)[int(rng.integers(2))] for x, y in zip(a, b))

    def network(self, g, shape, classes):
        conv = Layer("conv", (INPUT,), CHANNELS[g[0]], 3, 2, same(3), relu=True)
        pool = (Layer("maxpool", (0,), kernel=2, stride=2),) if g[1] else ()
        return NetSpec(shape, classes, (conv, *pool, Layer("dense", (len(pool),), classes)))

    def hardware(self, g):
        return HardwareGenotype(self.clock, self.budgets[g[2]])

    def features(self, g):
        return np.array(g, float)

    def dumps(self, g):
        return {"genes": list(g)}

    def loads(self, obj):
        return tuple(obj["genes"])


def space(options):
    return Coded(options.clocks_mhz[0], options.budgets)
"""
WORDS = [*(("--system", name) for name in systems.names()), ("--mode", "sequential")]


@pytest.mark.parametrize("words", WORDS, ids=lambda w: w[1])
def test_a_tiny_search_from_start_to_front(words: tuple[str, str], tmp_path: Path) -> None:
    """The system's strategy, mode, reward and limits; the space is tiny, which the command line may say."""
    (tmp_path / "coded.py").write_text(SPACE)
    run = tmp_path / "run"
    given = {"space": "coded.py", "trials": "6", "generation": "6", "front-size": "1", "time": "2h", "workers": "1",
             "toolchain": "none", "accelerate": "none", "run": str(run)}  # fmt: skip
    options = [x for k, v in given.items() for x in (f"--{k}", v)]
    done = small.call(small.flow("search", "--json", *words, *options), tmp_path)
    assert done.returncode == 0, done.stderr
    front = json.loads(done.stdout)
    assert front["points"] and all(p["csim"]["bit_exact"] for p in front["points"])
    assert sum(r["kind"] == "trial" for r in read(run)) == 6
