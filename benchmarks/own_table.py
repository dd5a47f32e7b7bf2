"""Train every cell over two operations on digits of 16x16 pixels: the table that tests and offline benchmarks use.

python benchmarks/own_table.py OUT.csv    some half an hour on one core
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from flow.space import Options, load
from flow.space.nas_bench_201 import EDGES, NasBench201
from flow.tabular.cells import cell
from flow.train import data, trainer

OPS = ("skip_connect", "nor_conv_1x1")
IMAGES, SIDE = 400, 16
EARLY = trainer.Recipe(1, 0, subset=IMAGES, batch=32, augment=False)
LATE = trainer.Recipe(3, 0, subset=IMAGES, batch=32, augment=False)


def small(images: data.Images) -> data.Images:
    """28x28 to 16x16: two pixels of border added, then the mean of four."""
    padded = np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2))).astype(np.uint16)
    n, c, h, w = padded.shape
    return padded.reshape(n, c, h // 2, 2, w // 2, 2).mean(axis=(3, 5)).round().astype(np.uint8)


def main(out: Path) -> None:
    torch.set_num_threads(1)
    full = data.load("digits")
    images = replace(full, **{f"{part}_x": small(getattr(full, f"{part}_x")) for part in ("train", "val", "test")})
    space = load("nas-bench-201", Options(weight_bits=(8,), activation_bits=(8,)))
    assert isinstance(space, NasBench201)
    known: dict[object, tuple[float, float]] = {}
    lines = [f"# name digits\n# shape 1x{SIDE}x{SIDE}\n# classes 10\n# ops {' '.join(OPS)}\ncell,early,late"]
    for ops in itertools.product(OPS, repeat=len(EDGES)):
        genotype = space.genotype({f"{j}<-{i}": op for (j, i), op in zip(EDGES, ops, strict=True)})
        key = cell(ops)
        if key not in known:
            spec = space.network(genotype, (1, SIDE, SIDE), 10)
            runs = [trainer.train(spec, images, how, 0) for how in (EARLY, LATE)]
            scores = [r.val_accuracy if isinstance(r, trainer.Trained) else 0.1 for r in runs]
            known[key] = scores[0], scores[1]
        lines.append(f"{space.cell(genotype)},{100 * known[key][0]:.2f},{100 * known[key][1]:.2f}")
        print(len(lines) - 1, lines[-1], flush=True)
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
