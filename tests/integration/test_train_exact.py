"""What training simulates in float32 is what the integer graph computes, bit for bit, every tensor of a network."""

import numpy as np
import pytest
import torch

from flow.ir.graph import Graph
from flow.space import load
from flow.space.network import INPUT, Layer, NetSpec, same
from flow.train.export import to_graph
from flow.train.model import Net
from flow.train.trainer import Recipe, Trained, to_real


def random_trained(spec: NetSpec, seed: int) -> Trained:
    """Random weights, normalisation statistics far from standard, scales fitted to random images."""
    generator = torch.Generator().manual_seed(seed)
    net = Net(spec, generator)
    for norm in net.norms.values():
        assert isinstance(norm, torch.nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.normal_(0, 0.5, generator=generator)
        norm.running_var.uniform_(0.05, 4.0, generator=generator)
        torch.nn.init.uniform_(norm.weight, 0.05, 3.0, generator=generator)
        torch.nn.init.normal_(norm.bias, 0, 0.5, generator=generator)
    net.eval()
    net.fold()
    net.calibrate(to_real(torch.randint(0, 256, (16, *spec.input_shape), dtype=torch.uint8, generator=generator)))
    return Trained(spec, *net.state(), Recipe(0, 0), seed, 0.0, (), 0.0)


def differing(trained: Trained, graph: Graph, x: np.ndarray) -> dict[str, int]:
    """Number of differing values of each tensor."""
    with torch.no_grad():
        simulated = trained.net().tensors(to_real(torch.from_numpy(x)))
    exact = graph.evaluate(x.astype(np.int64), every=True)
    steps = {f"L{i}": v.numpy().astype(np.float64) / 2.0 ** trained.exponents[i] for i, v in enumerate(simulated)}
    return {k: int((v != exact[k]).sum()) for k, v in steps.items()}


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_of_the_space(seed: int) -> None:
    rng = np.random.default_rng(seed)
    space = load("default")
    shape = [(1, 28, 28), (3, 16, 16), (1, 13, 13)][seed % 3]
    spec = space.network(space.sample(rng), shape, 7)
    while spec.macs > 1_000_000:
        spec = space.network(space.sample(rng), shape, 7)
    trained = random_trained(spec, seed)
    x = rng.integers(0, 256, (6, *shape), dtype=np.uint8)
    assert not any(differing(trained, to_graph(trained), x).values())


def test_odd_layers_of_other_spaces() -> None:
    """Even windows, padded pools of signed maps, divisors 36 and 49 (ties and no ties), dense layers in a row."""
    layers = (
        Layer("conv", (INPUT,), 8, 6, 1, same(6), weight_bits=3, activation_bits=8),
        Layer("maxpool", (0,), kernel=3, stride=2, padding=(1, 1, 1, 1)),
        Layer("avgpool", (1,), kernel=3, stride=1, padding=(1, 1, 1, 1), activation_bits=5),
        Layer("conv", (2,), 8, 3, 1, same(3), groups=2, relu=True, weight_bits=2, activation_bits=3),
        Layer("add", (3, 2), activation_bits=7),
        Layer("add", (4, 1), relu=True, activation_bits=8),
        Layer("avgpool", (5,), kernel=6, stride=1, activation_bits=8),
        Layer("dense", (6,), 12, relu=True, weight_bits=5, activation_bits=6),
        Layer("dense", (7,), 4),
    )
    for size in (13, 14):
        spec = NetSpec((2, size, size), 4, layers)
        for seed in range(4):
            trained = random_trained(spec, seed)
            x = np.random.default_rng(seed).integers(0, 256, (16, 2, size, size), dtype=np.uint8)
            assert not any(differing(trained, to_graph(trained), x).values())


@pytest.mark.parametrize("size", [6, 7])
def test_averages_round_ties_to_even(size: int) -> None:
    """Global averages by 36 (where sums hit exact halves) and by 49 (where they never do)."""
    spec = NetSpec((4, size, size), 4, (Layer("gap", (INPUT,)), Layer("dense", (0,), 4)))
    trained = random_trained(spec, 0)
    x = np.random.default_rng(0).integers(0, 256, (4000, 4, size, size), dtype=np.uint8)
    graph = to_graph(trained)
    shift = trained.exponents[0] + 8
    ties = (2 * x.astype(np.int64).sum((2, 3)) % (size * size * 2 ** (shift + 1))) == size * size * 2**shift
    assert bool(ties.any()) == (size == 6 or shift > 0)
    assert not any(differing(trained, graph, x).values())
