"""Weights handed from a parent to a child: the overlap is copied, an unchanged child computes what its parent did."""

import numpy as np
import pytest
import torch

from flow.space.network import INPUT, Layer, NetSpec, same
from flow.train.inherit import matches, start
from flow.train.model import Net


def network(width: int, kernel: int = 3, extra: bool = False, depthwise: bool = True) -> NetSpec:
    layers = [Layer("conv", (INPUT,), 8, 3, 1, same(3), relu=True)]
    if depthwise:
        layers.append(Layer("conv", (len(layers) - 1,), 8, 3, 1, same(3), groups=8, relu=True))
    layers.append(Layer("conv", (len(layers) - 1,), width, kernel, 2, same(kernel), relu=True))
    if extra:
        layers.append(Layer("conv", (len(layers) - 1,), width, 1, relu=True))
    layers.append(Layer("gap", (len(layers) - 1,)))
    layers.append(Layer("dense", (len(layers) - 1,), 5))
    return NetSpec((3, 8, 8), 5, tuple(layers))


def folded(spec: NetSpec) -> Net:
    net = Net(spec, torch.Generator().manual_seed(0))
    x = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    net.train()
    for _ in range(60):
        net(x)
    net.eval().fold()
    return net


def arrays(net: Net) -> dict[str, np.ndarray]:
    groups = (("weight", net.weights), ("bias", net.biases))
    return {f"{i}.{k}": p.detach().numpy() for k, group in groups for i, p in group.items()}


def test_an_unchanged_child_computes_what_its_parent_did() -> None:
    spec = network(12)
    parent = folded(spec)
    child = Net(spec, torch.Generator().manual_seed(9)).eval()
    x = torch.rand(256, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    child.begin_with(start(spec, spec, arrays(parent), 0), x)
    for mode in (child.eval(), child.train()):  # with the stored statistics, and with the batch's own
        with torch.no_grad():
            assert torch.allclose(mode(x), parent(x), atol=2e-3)
    assert set(child.norms) == {"0", "1", "2"}


def test_wider_child_with_a_larger_window_keeps_the_parents_part() -> None:
    parent, child = network(12), network(16, kernel=5)
    given = arrays(folded(parent))
    begun = start(child, parent, given, 0)
    assert np.array_equal(begun["2.weight"][:12, :, 1:4, 1:4], given["2.weight"])
    assert begun["2.weight"][12:].std() == pytest.approx(given["2.weight"].std(), rel=0.2)
    assert np.array_equal(begun["2.bias"][:12], given["2.bias"]) and not begun["2.bias"][12:].any()
    assert np.array_equal(begun["4.weight"][:, :12], given["4.weight"])


def test_layers_match_by_kind_and_order() -> None:
    assert matches(network(8, extra=True), network(8)) == [(0, 0), (1, 1), (2, 2), (5, 4)]
    assert matches(network(8, depthwise=False), network(8)) == [(0, 0), (1, 2), (3, 4)]
