"""Zero-cost proxies: scores of an untrained network from one batch; a higher score promises a higher accuracy.

=========== ======================================================================================================
nwot        Mellor et al., "Neural Architecture Search without Training", ICML 2021: log-determinant of the kernel of
            binary ReLU codes
jacov       the same paper's first version: correlation of the inputs' Jacobians
synflow     Tanaka et al., NeurIPS 2020: sum of weight times gradient with all weights positive, an image of ones and
            no normalisation; its logarithm
snip        Lee et al., ICLR 2019: sum of |weight times gradient| of the loss
grad_norm   Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021: sum of the layers' gradient norms
zen         Lin et al., "Zen-NAS", ICCV 2021: how strongly the features before the head answer to a perturbed input,
            the normalisations' scales multiplied back
params      number of weights and biases: the first baseline
flops       multiply-accumulates: the second
=========== ======================================================================================================

None of them sees bit widths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flow.space.network import INPUT, NetSpec
from flow.train.formats import Images, Labels
from flow.train.model import Net
from flow.train.ranking import NAMES
from flow.train.trainer import one_thread, to_real

PERTURBATION = 1e-2  # of zen's input
RIDGE = 1e-5  # what jacov adds to eigenvalues


def scores(spec: NetSpec, x: Images, y: Labels, seed: int = 0, names: Sequence[str] = NAMES) -> dict[str, float]:
    """``names``' scores of ``spec`` on a batch of uint8 images (N, C, H, W) with labels (N,), on one thread.

    What is not a finite number becomes the lowest float: such a network ranks last.  Raises ValueError for another
    name.
    """
    if unknown := set(names) - set(NAMES):
        raise ValueError(f"no proxy {sorted(unknown)[0]!r}: there are {', '.join(NAMES)}")
    found: dict[str, float] = {"params": float(spec.params), "flops": float(spec.macs)}
    with one_thread():
        images = to_real(torch.from_numpy(np.array(x)))
        if set(names) & {"nwot", "jacov", "snip", "grad_norm"}:
            found |= _from_a_batch(_net(spec, seed), images, torch.from_numpy(np.array(y)))
        if "synflow" in names:
            found["synflow"] = _synflow(_net(spec, seed))
        if "zen" in names:
            found["zen"] = _zen(_net(spec, seed), images.shape, seed)
    lowest = float(np.finfo(np.float32).min)
    return {n: found[n] if math.isfinite(found[n]) else lowest for n in names}


def _net(spec: NetSpec, seed: int) -> Net:
    return Net(spec, torch.Generator().manual_seed(seed)).train()


def _from_a_batch(net: Net, x: Tensor, y: Tensor) -> dict[str, float]:
    """One forward pass, one backward pass for the inputs' and one for the weights' gradients."""
    x.requires_grad_(True)
    values = net.tensors(x)
    out = values[-1].flatten(1)
    (jacobian,) = torch.autograd.grad(out, x, torch.ones_like(out), retain_graph=True)
    weights = list(net.weights.values())
    # Sums of residual branches are not normalised: without a common scale of the logits a saturated softmax would
    # decide the gradients.
    logits = out / out.detach().std().clamp(min=1e-12)
    gradients = torch.autograd.grad(F.cross_entropy(logits, y), weights)
    with torch.no_grad():
        codes = [v.detach() > 0 for v, layer in zip(values, net.spec.layers, strict=True) if layer.relu]
        return {
            "nwot": _nwot(codes),
            "jacov": _jacov(jacobian.flatten(1)),
            "snip": float(sum((w * g).abs().sum() for w, g in zip(weights, gradients, strict=True))),
            "grad_norm": float(sum(g.norm() for g in gradients)),
        }


def _nwot(codes: list[Tensor]) -> float:
    """Each layer adds to the kernel how many of its units two images switch alike."""
    if not codes:
        return math.nan
    kernel = np.zeros((len(codes[0]), len(codes[0])))
    for code in codes:
        on = code.flatten(1).to(torch.float32)
        off = 1.0 - on
        kernel += (on @ on.T + off @ off.T).numpy()
    sign, value = np.linalg.slogdet(kernel)
    return float(value) if sign > 0 else math.nan


def _jacov(jacobian: Tensor) -> float:
    rows = jacobian.numpy().astype(np.float64)
    if (rows.std(1) == 0).any():
        return math.nan
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(rows)) + RIDGE
    if (eigenvalues <= 0).any():
        return math.nan
    return float(-np.sum(np.log(eigenvalues) + 1.0 / eigenvalues))


def _synflow(net: Net) -> float:
    net.double()
    net.norms = nn.ModuleDict()
    with torch.no_grad():
        for group in (net.weights, net.biases):
            for p in group.values():
                p.abs_()
    out = net(torch.ones(1, *net.spec.input_shape, dtype=torch.float64))
    weights = list(net.weights.values())
    gradients = torch.autograd.grad(out.sum(), weights)
    flow = float(sum((w.detach() * g).abs().sum() for w, g in zip(weights, gradients, strict=True)))
    return math.log(flow) if flow > 0 else math.nan


@torch.no_grad()
def _zen(net: Net, shape: Sequence[int], seed: int) -> float:
    """Weights and inputs standard normal; ``features``: what the head (average and dense layer) reads."""
    generator = torch.Generator().manual_seed(seed)
    for p in net.weights.values():
        p.normal_(generator=generator)
    for norm in net.norms.values():
        assert isinstance(norm, nn.BatchNorm2d)
        norm.momentum = 1.0  # keeps the batch's own variance
    x = torch.randn(tuple(shape), generator=generator)
    near = x + PERTURBATION * torch.randn(tuple(shape), generator=generator)
    head = next((i for i, layer in enumerate(net.spec.layers) if layer.kind in ("gap", "dense")), len(net.spec.layers))
    source = net.spec.layers[head].inputs[0] if head < len(net.spec.layers) else head - 1
    if source == INPUT:
        return math.nan
    first, second = (net.tensors(v)[source] for v in (x, near))
    distance = float((first - second).abs().sum(1).mean())
    variances = [n.running_var for n in net.norms.values() if isinstance(n, nn.BatchNorm2d)]
    scales = [float(v.mean().sqrt()) for v in variances if v is not None]
    return math.log(distance) + sum(math.log(s) for s in scales) if distance > 0 and min(scales) > 0 else math.nan
