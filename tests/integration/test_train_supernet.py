"""Shared weights: slices of one set, trained through all networks, read with each network's own normalisation."""

from pathlib import Path

import numpy as np
import pytest
import torch

from flow.space.network import INPUT, Layer, NetSpec, same
from flow.train.data import load
from flow.train.model import Net
from flow.train.supernet import Supernet, places
from flow.train.trainer import to_real


def network(width: int, kernel: int = 3, deep: bool = False) -> NetSpec:
    layers = [Layer("conv", (INPUT,), 8, kernel, 2, same(kernel), relu=True)]
    layers.append(Layer("conv", (0,), 8, 3, 2, same(3), groups=8, relu=True))
    layers.append(Layer("conv", (1,), width, 1, relu=True))
    if deep:
        layers.append(Layer("conv", (2,), width, 3, 1, same(3), relu=True))
    layers.append(Layer("gap", (len(layers) - 1,)))
    layers.append(Layer("dense", (len(layers) - 1,), 10))
    return NetSpec((1, 28, 28), 10, tuple(layers))


SPECS = [network(16), network(24, deep=True), network(12, kernel=5)]


def test_places_do_not_depend_on_what_a_network_lacks() -> None:
    small, deep = places(SPECS[0]), places(SPECS[1])
    assert [small[i] for i in (0, 1, 2)] == [deep[i] for i in (0, 1, 2)] and small[4] == deep[5]
    assert len(set(deep.values())) == len(deep)


def test_a_network_is_a_slice_of_the_shared_weights() -> None:
    shared = Supernet(SPECS, 0)
    assert all(map(shared.covers, SPECS)) and not shared.covers(network(32))
    wide, small = shared.parameters_of(SPECS[1]), shared.parameters_of(SPECS[0])
    assert torch.equal(small["weights.2"], wide["weights.2"][:16])
    assert torch.equal(small["weights.0"], shared.parameters_of(SPECS[2])["weights.0"][:, :, 1:4, 1:4])
    assert {n: p.shape for n, p in small.items()} == {n: p.shape for n, p in Net(SPECS[0]).named_parameters()}
    with pytest.raises(ValueError, match="do not cover"):
        shared.score(network(32), load("digits"))


def test_training_through_all_makes_each_better_than_chance() -> None:
    data = load("digits")
    shared = Supernet(SPECS, 1)
    losses = shared.train(SPECS, data, 400)
    assert np.mean(losses[-20:]) < 0.7 * np.mean(losses[:20])
    found = [shared.score(s, data) for s in SPECS]
    assert min(found) > 0.3
    # Without normalisation of its own a network reads other networks' statistics: the point of recalibrating.
    net = Net(SPECS[0]).eval()
    for name, value in shared.parameters_of(SPECS[0]).items():
        net.get_parameter(name).data.copy_(value)
    with torch.no_grad():
        stale = net(to_real(torch.from_numpy(np.array(data.val_x)))).argmax(1).numpy()
    assert found[0] > np.mean(stale == data.val_y)
    assert found == [shared.score(s, data) for s in SPECS]


def test_shared_weights_come_back_from_their_file(tmp_path: Path) -> None:
    shared, path = Supernet(SPECS, 2), tmp_path / "supernet.npz"
    shared.save(path)
    again = Supernet.load(path)
    for spec in SPECS:
        wanted, got = shared.parameters_of(spec), again.parameters_of(spec)
        assert wanted.keys() == got.keys() and all(torch.equal(wanted[n], got[n]) for n in wanted)
    assert not again.covers(network(32)) and [p.name for p in tmp_path.iterdir()] == ["supernet.npz"]
