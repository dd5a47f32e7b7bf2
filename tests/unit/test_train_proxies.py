"""Zero-cost proxies against closed forms, scipy, and the published scores of NAS-Bench-201 networks."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import rankdata, spearmanr

from flow.space.network import INPUT, Layer, NetSpec, same
from flow.train import proxies, ranking
from flow.train.model import Net

X = np.random.default_rng(0).integers(0, 256, (8, 3, 8, 8), dtype=np.uint8)
Y = np.arange(8) % 10


def chain(width: int = 4) -> NetSpec:
    layers = (
        Layer("conv", (INPUT,), width, 3, 2, same(3), relu=True),
        Layer("conv", (0,), width, 3, 1, same(3), relu=True),
        Layer("gap", (1,)),
        Layer("dense", (2,), 10),
    )
    return NetSpec((3, 8, 8), 10, layers)


def test_synflow_of_a_chain_is_layers_times_its_output() -> None:
    """With positive weights the network is linear in each layer, so every layer's sum is the output's (Euler)."""
    spec = chain()
    net = Net(spec, torch.Generator().manual_seed(3)).double()
    net.norms = torch.nn.ModuleDict()
    for p in net.parameters():
        p.data.abs_()
    out = float(net(torch.ones(1, 3, 8, 8, dtype=torch.float64)).detach().sum())
    assert proxies.scores(spec, X, Y, 3, ["synflow"])["synflow"] == pytest.approx(math.log(3 * out))


def test_nwot_counts_switches_alike() -> None:
    codes = np.random.default_rng(1).random((6, 50)) < 0.5
    kernel = np.array([[(a == b).sum() for b in codes] for a in codes], float)
    assert proxies._nwot([torch.from_numpy(codes)]) == pytest.approx(np.linalg.slogdet(kernel)[1])


def test_gradient_scores_by_hand() -> None:
    """A single dense layer: d loss / d w = (softmax - onehot) x / N with logits of unit deviation."""
    spec = NetSpec((3, 8, 8), 10, (Layer("gap", (INPUT,)), Layer("dense", (0,), 10)))
    net = Net(spec, torch.Generator().manual_seed(0))
    w = net.weights["1"].detach().numpy()[:, :, 0, 0]
    features = (X / 256).mean((2, 3))
    out = features @ w.T
    scale = out.std(ddof=1)
    soft = np.exp(out / scale) / np.exp(out / scale).sum(1, keepdims=True)
    gradient = (soft - np.eye(10)[Y]).T @ features / len(X) / scale
    found = proxies.scores(spec, X, Y, 0)
    assert found["grad_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-4)
    assert found["snip"] == pytest.approx(np.abs(gradient * w).sum(), rel=1e-4)
    # No ReLU and no normalisation: nothing for these two to read; such a network ranks last.
    assert found["nwot"] == found["zen"] == float(np.finfo(np.float32).min)


def test_the_seed_decides_and_every_score_is_finite() -> None:
    first, again = (proxies.scores(chain(), X, Y, 1) for _ in range(2))
    assert first == again and tuple(first) == ranking.NAMES and all(map(math.isfinite, first.values()))
    assert first["params"] == chain().params and first["flops"] == chain().macs
    assert proxies.scores(chain(), X, Y, 2)["nwot"] != first["nwot"]
    assert proxies.scores(chain(), X, Y, 1, ["zen"]) == {"zen": first["zen"]}
    with pytest.raises(ValueError, match="no proxy 'magic'"):
        proxies.scores(chain(), X, Y, 1, ["magic"])


def test_ranks_and_correlation_agree_with_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, 40), rng.random(40)
    assert ranking.ranks(a) == pytest.approx((rankdata(a) - 1) / 39)
    assert ranking.correlation(a, b) == pytest.approx(spearmanr(a, b)[0])
    assert ranking.correlation([1, 1, 1], [1, 2, 3]) is None and ranking.correlation([1, 2], [1, 2]) is None


def test_the_ensemble_is_the_mean_rank() -> None:
    table = [{"zen": 1.0, "snip": 5.0}, {"zen": 2.0, "snip": 4.0}, {"zen": 3.0, "snip": 6.0}]
    assert ranking.ensemble(table, ["zen", "snip"]) == pytest.approx([0.25, 0.25, 1.0])
