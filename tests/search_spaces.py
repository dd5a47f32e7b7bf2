"""Small synthetic spaces for tests of strategies."""

import numpy as np


class Grid:
    """Vectors of small integers, which are their own encoding."""

    def __init__(self, length=10, levels=8):
        self.length, self.levels = length, levels

    def sample(self, rng):
        return tuple(int(v) for v in rng.integers(self.levels, size=self.length))

    def mutate(self, genotype, rng):
        at, value = int(rng.integers(self.length)), int(rng.integers(self.levels))
        return (*genotype[:at], value, *genotype[at + 1 :])

    def crossover(self, a, b, rng):
        return tuple(x if take else y for x, y, take in zip(a, b, rng.random(self.length) < 0.5, strict=True))

    def features(self, genotype):
        return np.array(genotype, dtype=float)

    def dumps(self, genotype):
        return ",".join(map(str, genotype))

    def loads(self, text):
        return tuple(int(v) for v in text.split(","))


class Coded(Grid):
    def genes(self):
        return (self.levels,) * self.length

    def encode(self, genotype):
        return genotype

    def decode(self, indices):
        return tuple(indices)
