"""C simulation side by side: ours (native integers, ap_int) and hls4ml's, on one quantised network each.

``flow bench csim [lenet] [resnet8] [images=N] [ap-types]``: LeNet without arguments; ``ap-types`` adds our own
simulation in Xilinx's integer types, whose compilation takes minutes. Every simulation runs the same images, is
compared with ONNX Runtime on the same QDQ model, and compiles afresh. Weights are random: times do not depend on them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from flow import board, mapping, project
from flow.backends import hls4ml
from flow.ir import quantise

BOARD = "zcu102"


def tables(arguments: list[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """One table a network. Raises ValueError for a word that is none of them."""
    words = [w for w in arguments if not w.startswith("images=") and w != "ap-types"]
    images = int(next((w.partition("=")[2] for w in arguments if w.startswith("images=")), 20))
    if images < 1 or any(w not in NETWORKS for w in words):
        raise ValueError(f"networks are {', '.join(NETWORKS)}; images=N has N above zero")
    for name in words or ["lenet"]:
        model, shape = NETWORKS[name]()
        calibration = np.random.default_rng(0).random((16, *shape), dtype=np.float32)
        yield name, rows(quantise.quantise(model, calibration), images, "ap-types" in arguments)


def rows(model: ModelProto, images: int, ap_types: bool) -> list[dict[str, Any]]:
    """hls4ml's simulation and ours of one quantised model."""
    made = hls4ml.compile_model(model, board.load(BOARD), mapping.Goal(), None)
    assert isinstance(made, project.Compiled), made
    before = os.environ.get("COEXPLORE_CACHE")
    with tempfile.TemporaryDirectory() as work:
        os.environ["COEXPLORE_CACHE"] = f"{work}/cache"  # nothing compiled earlier is reused
        try:
            project.write(made.files, Path(work) / "p")
            x = project.random_images(made.design.graph, images)
            both = hls4ml.csim(Path(work) / "p", x)
            found = {"flow, native integers": both.ours, "hls4ml, ap_fixed": both.peer}
            if ap_types:
                found["flow, ap_int"] = project.csim(project.load(Path(work) / "p" / "flow"), x, native=False)
        finally:
            os.environ.pop("COEXPLORE_CACHE")
            os.environ |= {} if before is None else {"COEXPLORE_CACHE": before}
    return [
        {
            "simulation": name,
            "compile_s": round(r.compile_s, 1),
            "ms_per_image": round(r.ms_per_image, 3),
            "images": r.images,
            "outputs_that_differ": r.mismatches,
            "compile_ratio": round(r.compile_s / both.ours.compile_s, 1),
            "run_ratio": round(r.ms_per_image / both.ours.ms_per_image, 1),
        }
        for name, r in found.items()
    ]


class Chain:
    """A float ONNX network written node by node; ``shape`` follows the last tensor."""

    def __init__(self, *shape: int) -> None:
        self.rng, self.shape, self.start = np.random.default_rng(1), shape, shape
        self.nodes: list[Any] = []
        self.stored: list[TensorProto] = []

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def weights(self, *shape: int) -> list[str]:
        """Normal weights of He's variance, and a small bias."""
        fan = int(np.prod(shape[1:]))
        values = (self.rng.normal(size=shape) * np.sqrt(2 / fan), self.rng.normal(size=shape[0]) / 8)
        names = [f"w{len(self.stored)}", f"w{len(self.stored)}b"]
        self.stored += [numpy_helper.from_array(v.astype(np.float32), n) for v, n in zip(values, names, strict=True)]
        return names

    def conv(self, x: str, outputs: int, inputs: int, kernel: int = 3, stride: int = 1, pad: int | None = None) -> str:
        pads = [kernel // 2 if pad is None else pad] * 4
        return self.node("Conv", x, *self.weights(outputs, inputs, kernel, kernel), strides=[stride] * 2, pads=pads)

    def relu(self, x: str) -> str:
        return self.node("Relu", x)

    def dense(self, x: str, outputs: int, inputs: int) -> str:
        return self.node("Gemm", x, *self.weights(outputs, inputs), transB=1)

    def model(self, output: str) -> tuple[ModelProto, tuple[int, ...]]:
        ends = [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
            for n, s in (("x", ["N", *self.start]), (output, ["N", 10]))
        ]
        graph = helper.make_graph(self.nodes, "network", ends[:1], ends[1:], self.stored)
        opsets = [helper.make_opsetid("", 17)]
        return helper.make_model(graph, ir_version=9, opset_imports=opsets), self.start


def lenet() -> tuple[ModelProto, tuple[int, ...]]:
    """LeNet-5 on 28x28 digits."""
    c = Chain(1, 28, 28)
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    x = c.node("MaxPool", c.relu(c.conv("x", 6, 1, 5)), **pool)
    x = c.node("MaxPool", c.relu(c.conv(x, 16, 6, 5, pad=0)), **pool)
    x = c.relu(c.dense(c.node("Flatten", x), 120, 400))
    return c.model(c.dense(c.relu(c.dense(x, 84, 120)), 10, 84))


def resnet8() -> tuple[ModelProto, tuple[int, ...]]:
    """ResNet-8 of MLPerf Tiny, batch normalisation folded: 32x32x3, 12.5 M products."""
    c = Chain(3, 32, 32)
    x, inputs = c.relu(c.conv("x", 16, 3)), 16
    for outputs, stride in ((16, 1), (32, 2), (64, 2)):
        y = c.conv(c.relu(c.conv(x, outputs, inputs, stride=stride)), outputs, outputs)
        skip = x if stride == 1 else c.conv(x, outputs, inputs, 1, stride, 0)
        x, inputs = c.relu(c.node("Add", y, skip)), outputs
    x = c.node("Flatten", c.node("GlobalAveragePool", x))
    return c.model(c.dense(x, 10, 64))


NETWORKS: dict[str, Callable[[], tuple[ModelProto, tuple[int, ...]]]] = {"lenet": lenet, "resnet8": resnet8}
