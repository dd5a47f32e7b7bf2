"""One set of weights shared by many networks of a space, trained once; each network's accuracy is read off it.

After Guo et al., "Single Path One-Shot NAS with Uniform Sampling", ECCV 2020 (one random network a step; batch
normalisation computed anew for each network before it is scored) and Yu et al., "Slimmable Neural Networks", ICLR
2019 (narrow layers are slices of wide ones).

A weight's place is its kind, the map size it gives and its position among the layers of that kind and size: it
depends on no space's genes, so every space has a supernet.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from flow.space.network import NetSpec
from flow.train.data import Dataset
from flow.train.model import Net
from flow.train.trainer import augmented, one_thread, score, to_real

Place = str
RECALIBRATION = 512  # images that batch normalisation is computed on before a network is scored
LR, DECAY = 0.03, 0.01


def places(spec: NetSpec) -> dict[int, Place]:
    """Layer with weights -> where its weights lie."""
    count: Counter[str] = Counter()
    found = {}
    for i, layer in enumerate(spec.layers):
        if layer.weighted:
            kind = f"{layer.kind}{'-depthwise' if layer.groups > 1 else ''}-{spec.shapes()[i][1]}"
            found[i] = f"{kind}-{count[kind]}".replace(".", "-")
            count[kind] += 1
    return found


class Supernet:
    """Shared weights of ``specs`` and of every other network whose layers' places they cover."""

    def __init__(self, specs: Sequence[NetSpec], seed: int) -> None:
        shapes: dict[Place, tuple[int, ...]] = {}
        for spec in specs:
            for i, place in places(spec).items():
                shape: tuple[int, ...] = spec.weight_shape(i)
                shapes[place] = tuple(map(max, shape, shapes.get(place, shape)))
        generator = torch.Generator().manual_seed(seed)
        self.weights, self.scales, self.offsets = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()
        for place, shape in sorted(shapes.items()):
            deviation = (2.0 / np.prod(shape[1:])) ** 0.5
            self.weights[place] = nn.Parameter(torch.randn(shape, generator=generator) * deviation)
            self.scales[place] = nn.Parameter(torch.ones(shape[0]))
            self.offsets[place] = nn.Parameter(torch.zeros(shape[0]))
        self.seed = seed

    def save(self, path: Path) -> None:
        """Written whole or not at all."""
        groups = {"w": self.weights, "s": self.scales, "o": self.offsets}
        arrays = {f"{g} {place}": p.detach().numpy() for g, group in groups.items() for place, p in group.items()}
        part = path.with_suffix(f".{os.getpid()}.part")
        with part.open("wb") as f:
            np.savez(f, **arrays)
        os.replace(part, path)

    @classmethod
    def load(cls, path: Path) -> Supernet:
        """What ``save`` wrote; to score with, not to train further."""
        found = cls([], 0)
        groups = {"w": found.weights, "s": found.scales, "o": found.offsets}
        with np.load(path, allow_pickle=False) as z:
            for key in z.files:
                groups[key[0]][key[2:]] = nn.Parameter(torch.from_numpy(z[key]))
        return found

    def covers(self, spec: NetSpec) -> bool:
        """Whether every layer of ``spec`` has shared weights at least as large."""
        return all(
            p in self.weights and all(a <= b for a, b in zip(spec.weight_shape(i), self.weights[p].shape, strict=True))
            for i, p in places(spec).items()
        )

    def parameters_of(self, spec: NetSpec) -> dict[str, Tensor]:
        """Slices of the shared weights under the names of ``Net(spec)``'s parameters."""
        found: dict[str, Tensor] = {}
        for i, place in places(spec).items():
            shape = spec.weight_shape(i)
            shared = self.weights[place]
            window = tuple(
                slice((n - m) // 2, (n - m) // 2 + m) if axis >= 2 else slice(m)
                for axis, (m, n) in enumerate(zip(shape, shared.shape, strict=True))
            )
            found[f"weights.{i}"] = shared[window]
            offset = self.offsets[place][: shape[0]]
            if spec.layers[i].kind == "conv":
                found[f"norms.{i}.weight"], found[f"norms.{i}.bias"] = self.scales[place][: shape[0]], offset
            else:
                found[f"biases.{i}"] = offset
        return found

    def train(self, specs: Sequence[NetSpec], data: Dataset, steps: int, batch: int = 32) -> list[float]:
        """``steps`` batches, each through one random network of ``specs``; returns the losses."""
        generator = torch.Generator().manual_seed(self.seed)
        every = [p for group in (self.weights, self.scales, self.offsets) for p in group.values()]
        optimizer = torch.optim.AdamW(every, LR, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps + 1)
        x, y = torch.from_numpy(np.array(data.train_x)), torch.from_numpy(np.array(data.train_y))
        nets = [Net(s).train() for s in specs]
        losses = []
        with one_thread():
            for _ in range(steps):
                k = int(torch.randint(len(specs), (), generator=generator))
                index = torch.randint(len(x), (batch,), generator=generator)
                images = to_real(augmented(x[index], data.augment, generator))
                out: Any = functional_call(nets[k], self.parameters_of(specs[k]), (images,))
                loss = F.cross_entropy(out, y[index])
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
        return losses

    def score(self, spec: NetSpec, data: Dataset, images: int = 500) -> float:
        """Accuracy of ``spec`` with the shared weights on ``images`` of the validation split, its batch normalisation
        computed anew on training images.  Raises ValueError where the shared weights do not cover it."""
        if not self.covers(spec):
            raise ValueError(f"network {spec.digest} has layers that the shared weights do not cover")
        net = Net(spec)
        with one_thread(), torch.no_grad():
            for name, value in self.parameters_of(spec).items():
                net.get_parameter(name).copy_(value)
            for norm in net.norms.values():
                assert isinstance(norm, nn.BatchNorm2d)
                norm.momentum = 1.0  # one batch decides
            net.train()(to_real(torch.from_numpy(np.array(data.train_x[:RECALIBRATION]))))
            stride = max(1, len(data.val_x) // images)
            return score(net, data.val_x[::stride][:images], data.val_y[::stride][:images])
