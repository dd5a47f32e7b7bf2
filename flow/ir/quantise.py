"""Post-training quantisation: float ONNX and calibration images to QDQ ONNX with power-of-two scales.

A tensor's scale is the power of two with the least mean squared error over the calibration images: clipping rare
large values often costs less than coarse steps.  Weights have one scale per output channel.  With formats of at most
16 bits together, a channel whose worst accumulator would reach 2**24 gets a coarser scale, so that ONNX Runtime's
float32 arithmetic stays exact (`flow.ir.emit.exact_in_float32`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from flow.fixed import IntArray, Quant
from flow.ir import emit, operators, passes, qdq
from flow.ir.chains import chains
from flow.ir.importer import ROLES, attributes
from flow.ir.onnx_file import ModelError, run, shown
from flow.ir.ops import turned

SAMPLES = 1 << 18  # values kept of a tensor, over all images
CANDIDATES = 5  # exponents tried, from the one that clips nothing downwards
CHUNK = 32  # images measured at a time
Samples = NDArray[np.float32]


def quantise(
    model: ModelProto,
    calibration: NDArray[np.float32],
    weight_bits: int = 8,
    activation_bits: int = 8,
    output_bits: int = 16,
) -> ModelProto:
    """QDQ ONNX of a float model, in the pattern of `emit.model`: power-of-two scales, bias in int32.

    ``calibration``: images (N, C, H, W) as the network will see them.  ``output_bits``: of the network's output, wider
    than other activations so that close logits stay apart.  Raises ModelError.
    """
    for what, bits, least in (
        ("weights", weight_bits, 2),
        ("activations", activation_bits, 2),
        ("output", output_bits, 2),
    ):
        if not least <= bits <= 16:
            raise ModelError(f"{bits} bits for {what}; {least} to 16 are supported")
    operators.load()
    if len(model.graph.output) != 1:
        raise ModelError(f"{len(model.graph.output)} outputs; networks have one, split the model")
    model = passes.simplify(passes.headless(model)[0])
    passes.refuse_unknown(model, {name for name, role in ROLES.items() if role != "quantiser"})
    images = _images(model, calibration)
    points = _points(model)
    samples = _samples(model, points, images)
    formats: dict[str, Quant] = {}
    for together in _groups(model, points):
        last = together == [model.graph.output[0].name]
        values = np.concatenate([samples[name] for name in together])
        formats |= dict.fromkeys(together, _format(values, output_bits if last else activation_bits))
    exact = weight_bits + activation_bits <= 16
    return emit.model(qdq.load(_Insertion(model, formats, weight_bits, exact).model()))


def _images(model: ModelProto, calibration: NDArray[np.float32]) -> NDArray[np.float32]:
    stored = {t.name for t in model.graph.initializer}
    value = next(i for i in model.graph.input if i.name not in stored)
    shape = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)[1:]
    images = np.asarray(calibration, np.float32)
    if len(images) == 0 or images.ndim < 2 or (images.shape[1:] != shape and images[0].size != math.prod(shape)):
        raise ModelError(f"calibration images are {images.shape}, the network takes (N, {', '.join(map(str, shape))})")
    if not np.isfinite(images).all():
        raise ModelError("calibration images hold NaN or infinity; clean them")
    return images.reshape(len(images), *shape)


def _points(model: ModelProto) -> list[str]:
    """Tensors to quantise: the input, each measured operator's output behind its own Relu or Clip, each function's."""
    graph = model.graph
    stored = {t.name for t in graph.initializer}
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = chains(model)
    points = [i.name for i in graph.input if i.name not in stored]
    for node in graph.node:
        name = node.output[0]
        measured = ROLES[node.op_type] in ("measured", "curve")
        if not measured or name in found.inside or all(i in stored for i in node.input if i):
            continue
        while name != graph.output[0].name and name not in found.ends:
            after = readers.get(name, [])
            if len(after) != 1 or ROLES[after[0].op_type] != "limit" or after[0].output[0] in found.inside:
                break
            name = after[0].output[0]
        points.append(name)
    return list(dict.fromkeys(points + [n for n in found.ends if n not in points]))


def _groups(model: ModelProto, points: list[str]) -> list[list[str]]:
    """The points, those that a Concat joins together: with one format for all, joining them moves bits only.

    The network's input keeps its own.
    """
    makers = {o: n for n in model.graph.node for o in n.output}
    network = nx.Graph()
    network.add_nodes_from(points)
    for node in model.graph.node:
        if node.op_type != "Concat":
            continue
        ends = [node.output[0], *node.input]
        origins = [_origin(name, makers, set(points)) for name in ends]
        kept = [o for o in origins if o in network and o in makers]
        network.add_edges_from(itertools.pairwise(kept))
    place = {name: k for k, name in enumerate(points)}
    return [sorted(group, key=place.__getitem__) for group in nx.connected_components(network)]


def _origin(name: str, makers: Mapping[str, NodeProto], points: set[str]) -> str:
    """The point whose format a tensor has."""
    while name not in points and name in makers and makers[name].input:
        name = makers[name].input[0]
    return name


def _samples(model: ModelProto, points: list[str], images: Samples) -> dict[str, Samples]:
    """Values of each point over the images: every image's extremes and an even subsample."""
    probe = ModelProto()
    probe.CopyFrom(model)
    known = {v.name for v in [*probe.graph.output, *probe.graph.input]}
    for name in points:
        if name not in known:
            probe.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    order = [o.name for o in probe.graph.output]
    quota = max(64, SAMPLES // len(images))
    kept: dict[str, list[Samples]] = {p: [] for p in points}
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK]
        found = dict(zip(order, run(probe, chunk), strict=True))
        for name in points:
            flat = found.get(name, chunk).reshape(len(chunk), -1)
            if not np.isfinite(flat).all():
                raise ModelError(f"tensor {shown(name)} becomes NaN or infinite on the calibration images; check both")
            step = max(1, -(-flat.shape[1] // quota))
            parts = (flat[:, ::step], flat.min(1, keepdims=True), flat.max(1, keepdims=True))
            kept[name].append(np.concatenate(parts, axis=1).ravel())
    return {name: np.concatenate(parts) for name, parts in kept.items()}


def _format(values: Samples, bits: int) -> Quant:
    """Unsigned when no value is negative; the power-of-two scale of least mean squared error."""
    signed = bool(values.min() < 0)
    return Quant(bits, signed, 2.0 ** _exponent(values, Quant(bits, signed, 1.0)))


def _exponent(values: NDArray[np.floating], integers: Quant) -> int:
    most = float(np.abs(values).max(initial=0))
    if most == 0:
        return -integers.bits
    top = math.ceil(math.log2(most / max(1, integers.hi)))

    def error(k: int) -> float:
        q = np.clip(np.rint(values / 2.0**k), integers.lo, integers.hi)
        return float(np.square(q * 2.0**k - values, dtype=np.float64).sum())

    return min(range(top, top - CANDIDATES, -1), key=error)


@dataclass
class _Insertion:
    """A simplified float model and the formats chosen; `model` writes the QDQ graph."""

    float_model: ModelProto
    formats: dict[str, Quant]
    weight_bits: int
    exact: bool  # keep accumulators provably exact in float32
    weights: dict[str, NDArray[Any]] = field(default_factory=dict)
    nodes: list[NodeProto] = field(default_factory=list)
    stored: list[TensorProto] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)  # float tensor -> its dequantised twin
    scale: dict[str, Quant] = field(default_factory=dict)  # of every tensor, inherited through PASSED

    def model(self) -> ModelProto:
        graph = self.float_model.graph
        self.weights = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.scale = dict(self.formats)
        inputs = [i for i in graph.input if i.name not in self.weights]
        self._quantised(inputs[0].name, "qdq_input")
        for k, node in enumerate(graph.node):
            self._node(node, f"qdq_{k}")
        kept = {i for n in self.nodes for i in n.input}
        self.stored.extend(t for t in graph.initializer if t.name in kept)
        name = graph.output[0].name
        output = helper.make_tensor_value_info(self.renamed.get(name, name), TensorProto.FLOAT, None)
        body = helper.make_graph(self.nodes, "quantised", inputs, [output], self.stored)
        return helper.make_model(body, ir_version=emit.IR_VERSION, opset_imports=list(self.float_model.opset_import))

    def _node(self, node: NodeProto, prefix: str) -> None:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.name = node.name or node.output[0]
        source, out = node.input[0], node.output[0]
        if node.op_type in ("Conv", "ConvTranspose", "Gemm"):
            copy.input[1:] = self._parameters(node, prefix)
        elif ROLES[node.op_type] in ("passed", "limit") and source in self.scale:
            for name in node.output:
                self.scale.setdefault(name, self.scale[source])
        copy.input[:] = [self.renamed.get(i, i) for i in copy.input]
        self.nodes.append(copy)
        if out in self.formats:
            self._quantised(out, prefix)

    def _constant(self, name: str, values: NDArray[np.generic] | np.generic) -> str:
        self.stored.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def _quantised(self, name: str, prefix: str) -> None:
        """Clip to the format's range where the storage type is wider, QuantizeLinear, DequantizeLinear."""
        quant, real = self.formats[name], name
        storage = emit.storage(quant, name)
        if (quant.lo, quant.hi) != (np.iinfo(storage).min, np.iinfo(storage).max):
            bounds = [
                self._constant(f"{prefix}_{k}", np.float32(v * quant.scale))
                for k, v in (("lo", quant.lo), ("hi", quant.hi))
            ]
            real = f"{prefix}_clipped"
            self.nodes.append(helper.make_node("Clip", [name, *bounds], [real]))
        scale = self._constant(f"{prefix}_scale", np.float32(quant.scale))
        zero = self._constant(f"{prefix}_zero", storage(0))
        self.nodes.append(helper.make_node("QuantizeLinear", [real, scale, zero], [f"{prefix}_q"]))
        self.nodes.append(helper.make_node("DequantizeLinear", [f"{prefix}_q", scale, zero], [f"{prefix}_dq"]))
        self.renamed[name] = f"{prefix}_dq"

    def _parameters(self, node: NodeProto, prefix: str) -> list[str]:
        """Names of the dequantised weight and bias."""
        if any(n not in self.weights for n in node.input[1:]) or (
            node.op_type == "Gemm" and attributes(node).get("transB") != 1
        ):
            raise ModelError(f"{node.op_type} {shown(node.name)}: its weights are computed; store them as constants")
        weight, axis, transposed = self.weights[node.input[1]].astype(np.float64), 0, node.op_type == "ConvTranspose"
        groups = attributes(node).get("group", 1)
        if transposed:
            weight = turned(weight, groups)
            axis = 1 if groups == 1 else 0
        bias = self.weights[node.input[2]] if len(node.input) > 2 else np.zeros(len(weight))
        source = self.scale[node.input[0]]
        integers, scale = weight_integers(weight, bias.astype(np.float64), source, self.weight_bits, self.exact)
        if transposed and 1 < groups < len(weight):  # ONNX has one scale for all of its channels
            integers = np.rint(integers * (scale / scale.max()).reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int64)
            scale = scale.max(keepdims=True)
        dtype = np.int8 if self.weight_bits <= 8 else np.int16
        terms = np.rint(bias / (scale * source.scale)).astype(np.int32)
        values = (turned(integers, groups) if transposed else integers).astype(dtype)
        return [
            self._parameter(f"{prefix}_w", values, scale, axis),
            self._parameter(f"{prefix}_b", terms, scale * source.scale, 0),
        ]

    def _parameter(self, name: str, values: NDArray[Any], scale: NDArray[np.float64], axis: int) -> str:
        """A stored array and its DequantizeLinear."""
        steps = scale.astype(np.float32) if len(scale) > 1 or len(values) == 1 else np.float32(scale[0])
        inputs = [self._constant(name, values), self._constant(f"{name}s", steps)]
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}r"], axis=axis))
        return f"{name}r"


def weight_integers(
    weight: NDArray[np.float64], bias: NDArray[np.float64], source: Quant, bits: int, exact: bool
) -> tuple[IntArray, NDArray[np.float64]]:
    """Integers of ``weight`` (OC, ...) and a power-of-two scale for each output channel.

    ``bias`` must fit 2**30 accumulator units; with ``exact`` every partial sum stays below 2**24 units whatever the
    input, at the price of coarser weights in the channels that would exceed it.
    """
    integers = Quant(bits, True, 1.0)
    flat = weight.reshape(len(weight), -1)
    size = max(source.hi - source.zero, source.zero - source.lo)
    exponents = [_exponent(row, integers) if row.any() else None for row in flat]
    blank = min((e for e in exponents if e is not None), default=-integers.bits)
    out, scale = np.zeros(flat.shape, np.int64), np.zeros(len(flat))
    for c, (row, found) in enumerate(zip(flat, exponents, strict=True)):
        k = blank if found is None else found
        while True:
            q = np.clip(np.rint(row / 2.0**k), integers.lo, integers.hi)
            term = abs(bias[c]) / (2.0**k * source.scale)
            if term < 1 << 30 and (not exact or np.abs(q).sum() * size + term + 1 < emit.EXACT):
                break
            k += 1
        out[c], scale[c] = q, 2.0**k
    return out.reshape(weight.shape), scale
