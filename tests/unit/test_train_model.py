"""The pieces of quantisation-aware training against definitions written another way."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flow.fixed import Quant
from flow.space.network import INPUT, Layer, NetSpec, same
from flow.train.model import MAX_CHANNEL_SPREAD, Net, fit_exponents, snap
from flow.train.trainer import augmented, to_real

SPEC = NetSpec(
    (1, 12, 12),
    3,
    (
        Layer("conv", (INPUT,), 6, 3, 1, same(3), relu=True),
        Layer("conv", (0,), 6, 3, 1, same(3), groups=6, weight_bits=4, activation_bits=4),
        Layer("add", (0, 1), relu=True),
        Layer("gap", (2,)),
        Layer("dense", (3,), 3),
    ),
)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 8), st.booleans(), st.integers(-9, 3), st.integers(0, 2**31))
def test_snap_is_quantise_and_back(bits: int, signed: bool, exponent: int, seed: int) -> None:
    quant = Quant(bits, signed, 2.0**exponent)
    # Halves of steps, so that ties occur, and values beyond the range.
    x = np.random.default_rng(seed).integers(-600, 600, 500).astype(np.float32) * np.float32(quant.scale / 2)
    got = snap(torch.from_numpy(x), quant.scale, quant.lo, quant.hi).numpy()
    assert np.array_equal(got, quant.real(quant.quantise(x)))


def test_snap_passes_gradients_inside_the_range_only() -> None:
    x = torch.tensor([-1.0, 0.3, 2.6, 9.0], requires_grad=True)
    snap(x, 0.5, 0, 7).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0.0, 1.0, 1.0, 0.0]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([(-7, 7), (-1, 1), (0, 15), (-128, 127)]), st.integers(0, 2**31), st.floats(1e-4, 1e3))
def test_fitted_exponents_have_the_least_error_of_all(limits: tuple[int, int], seed: int, size: float) -> None:
    lo, hi = limits
    x = torch.from_numpy(np.random.default_rng(seed).normal(0, size, (3, 200)).astype(np.float32))
    x = x.abs() if lo == 0 else x

    def error(row: torch.Tensor, exponent: int) -> float:
        return float((torch.clamp(torch.round(row / 2.0**exponent), lo, hi) * 2.0**exponent - row).square().sum())

    for row, e in zip(x, fit_exponents(x, lo, hi).tolist(), strict=True):
        assert error(row, e) <= min(error(row, k) for k in range(-25, 15)) * (1 + 1e-5)


def test_fitting_nothing_but_zeros_is_finite() -> None:
    assert fit_exponents(torch.zeros(2, 5), -127, 127).abs().max() < 30


def trained_statistics(seed: int) -> Net:
    net = Net(SPEC, torch.Generator().manual_seed(seed))
    for k in range(3):
        net(torch.rand(16, 1, 12, 12, generator=torch.Generator().manual_seed(k)))
    for norm in net.norms.values():
        torch.nn.init.uniform_(norm.weight, 0.2, 2.0)
        torch.nn.init.uniform_(norm.bias, -1.0, 1.0)
    return net.eval()


def test_folding_changes_nothing_but_rounding() -> None:
    net = trained_statistics(0)
    x = torch.rand(8, 1, 12, 12)
    with torch.no_grad():
        before = net(x)
        net.fold()
        assert len(net.norms) == 0
        assert torch.allclose(net(x), before, atol=1e-5)


def test_calibration_needs_folding_first_and_state_needs_calibration() -> None:
    net = trained_statistics(1)
    with pytest.raises(ValueError, match="fold"):
        net.calibrate(torch.rand(4, 1, 12, 12))
    net.fold()
    with pytest.raises(ValueError, match="calibrated"):
        net.state()


def test_weights_get_one_scale_per_layer_or_per_channel_as_the_layer_says() -> None:
    net = trained_statistics(2)
    net.fold()
    with torch.no_grad():
        net.weights["1"][0] *= 1e-6  # a dead channel must not get a scale that makes its bias enormous
        net.weights["1"][1] *= 16
    net.calibrate(torch.rand(4, 1, 12, 12))
    assert len(set(net.weight_exponents[0].tolist())) == 1
    per_channel = net.weight_exponents[1]
    assert len(set(per_channel.tolist())) > 1
    assert int(per_channel.max() - per_channel.min()) <= MAX_CHANNEL_SPREAD
    biases = net.biases["1"].detach().abs() / torch.exp2(per_channel.float()) / 2.0 ** net.source_exponent(1)
    assert float(biases.max()) <= 2**20


def test_one_channel_of_huge_weights_does_not_silence_the_others() -> None:
    net = trained_statistics(5)
    net.fold()
    with torch.no_grad():
        net.weights["1"][0] *= 4096  # what folding makes of a channel whose inputs are almost always zero
    net.calibrate(torch.rand(4, 1, 12, 12))
    wanted, got = net.weights["1"].detach(), net.parameters_of(1)[0].detach()
    error = (got - wanted).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1)
    assert error[1:].max() < 0.2 and error[0] <= 1.0
    assert int(net.weight_exponents[1].max() - net.weight_exponents[1].min()) <= MAX_CHANNEL_SPREAD


def test_a_channel_that_never_varies_folds_to_its_constant() -> None:
    net, x = trained_statistics(6).eval(), torch.rand(4, 1, 12, 12)
    with torch.no_grad():
        norm = net.norms["1"]
        norm.running_var[0], norm.running_mean[0], norm.bias[0] = 1e-10, 0.0, 0.75
        net.weights["1"][0] *= 1e-9
        before = net(x)
        net.fold()
        assert not net.weights["1"][0].any() and net.biases["1"][0] == pytest.approx(0.75)
        assert torch.allclose(net(x), before, atol=1e-5)


def test_every_parameter_learns_in_every_mode() -> None:
    net = Net(SPEC, torch.Generator().manual_seed(3))
    x, y = torch.rand(32, 1, 12, 12), torch.arange(32) % 3
    for mode in ("float", "qat"):
        if mode == "qat":
            net.fold()
            net.calibrate(x)
        net.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, (mode, name)


def test_a_restored_state_computes_the_same() -> None:
    net = trained_statistics(4)
    net.fold()
    net.calibrate(to_real(torch.randint(0, 256, (8, 1, 12, 12), dtype=torch.uint8)))
    x = to_real(torch.randint(0, 256, (8, 1, 12, 12), dtype=torch.uint8))
    with torch.no_grad():
        assert torch.equal(Net.restore(SPEC, *net.state())(x), net(x))


def test_augmentation_shifts_and_mirrors_each_image_by_itself() -> None:
    x = torch.zeros(64, 1, 16, 16, dtype=torch.uint8)
    x[:, 0, 8, 5] = 200
    moved = augmented(x, "shift", torch.Generator().manual_seed(0))
    places = {tuple(p[2:]) for p in moved.nonzero().tolist()}
    assert len(places) > 4 and all(abs(r - 8) <= 2 and abs(c - 5) <= 2 for r, c in places)
    flipped = augmented(x, "flip", torch.Generator().manual_seed(0))
    assert {p[3] for p in flipped.nonzero().tolist()} == {5, 10} and {p[2] for p in flipped.nonzero().tolist()} == {8}
    assert torch.equal(augmented(x, "none", torch.Generator()), x)
