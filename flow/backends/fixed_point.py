"""Integer graph -> hls4ml's layers with the ap_fixed types that make its arithmetic the same, bit for bit.

hls4ml computes on real numbers in ``ap_fixed<W, I>``.  With scales that are powers of two, and zero points of zero, a
tensor's integers *are* such a number's bits: W is the width and W - I the exponent of the scale.  So

- a weight gets the exact value ``q * 2**k``; channels with scales of their own share the finest one's exponent;
- an accumulator is as wide as range analysis says, with products' exponent: nothing rounds or wraps in it;
- a result is cast once, by ``RND_CONV`` (half to even) and ``SAT``: what `flow.fixed.Requant.apply` does;
- an average divides in an accumulator with so many fraction bits that its truncated quotient rounds as the exact one:
  a quotient that is no tie is at least ``1 / (2 n)`` of an output unit away from one.

What hls4ml's streaming layers cannot do is refused, naming the node.  Dilated kernels and grouped convolutions, which
hls4ml lacks, are written out with zeros: the same function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flow.blocks.pareto import divisors
from flow.fixed import IntArray, Quant, bits_for, is_power_of_two
from flow.ir.graph import Graph, Node
from flow.ir.ops import Add, Conv, Dense, Op, Pads, Pool, dot_range

ROUNDED = ",RND_CONV,SAT"
SYMMETRIC = ",RND_CONV,SAT_SYM"


class BackendError(ValueError):
    """A network that the other compiler cannot express exactly: one line with node, reason and way out."""


@dataclass(frozen=True)
class Layers:
    """``layers``: hls4ml's layer list, first the input; ``config``: its LayerName table; ``output``: the last layer."""

    layers: list[dict[str, Any]]
    config: dict[str, dict[str, Any]]
    output: str


def fixed(bits: int, signed: bool, exponent: int, cast: str = "") -> str:
    """The hls4ml type of ``bits`` wide integers times ``2**exponent``."""
    return f"{'' if signed else 'u'}fixed<{bits},{bits + exponent}{cast}>"


def layers(graph: Graph, parallel: Mapping[str, int]) -> Layers:
    """hls4ml's layers for ``graph``.

    ``parallel``: products a cycle of each Conv and Dense node, by id; its reuse factor follows.  Raises BackendError.
    """
    writer = _Writer(graph, parallel)
    writer.entry()
    for node in graph.nodes:
        emit = EMITTERS.get(type(node.op))
        if emit is None:
            raise refusal(node, "hls4ml's streaming layers have no exact counterpart; compile with --backend flow")
        emit(writer, node)
    return Layers(writer.layers, writer.config, graph.output)


def refusal(node: Node, reason: str) -> BackendError:
    return BackendError(f"node {node.name!r} ({node.op.kind}): {reason}")


def exponent(quant: Quant, where: str) -> int:
    """k of a scale 2**k. Raises BackendError for any other format that ap_fixed cannot be."""
    if not is_power_of_two(quant.scale):
        raise BackendError(f"{where}: scale {quant.scale:g} is no power of two, as ap_fixed needs; quantise so")
    if quant.zero:
        raise BackendError(f"{where}: zero point {quant.zero}; ap_fixed has none, quantise symmetrically or unsigned")
    return round(math.log2(quant.scale))


@dataclass
class _Writer:
    """Layers written so far; lives within one call of `layers`."""

    graph: Graph
    parallel: Mapping[str, int]
    layers: list[dict[str, Any]] = field(default_factory=list)
    config: dict[str, dict[str, Any]] = field(default_factory=dict)
    flat: set[str] = field(default_factory=set)  # tensors that are one-dimensional in hls4ml

    def add(self, name: str, kind: str, inputs: list[str], precision: dict[str, str], **attributes: Any) -> str:
        self.layers.append({"class_name": kind, "name": name, "inputs": inputs, **attributes})
        self.config[name] = {"Precision": precision}
        return name

    def entry(self) -> None:
        c, h, w = self.graph.tensors["input"].shape
        shape = [c] if h == w == 1 else [h, w, c]
        self.add("input_1", "InputLayer", [], {"result": self.type("input")}, input_shape=shape)
        if len(shape) == 1:
            self.flat.add("input")

    def type(self, tensor: str, cast: str = "") -> str:
        q = self.graph.tensors[tensor].quant
        return fixed(q.bits, q.signed, self.exponent(tensor), cast)

    def exponent(self, tensor: str) -> int:
        where = "the network's input" if tensor == "input" else f"node {self.graph.node(tensor).name!r}"
        return exponent(self.graph.tensors[tensor].quant, where)

    def result(self, node: Node) -> str:
        """The type of a node's output, with the cast that its requantisation means."""
        q, req = self.graph.tensors[node.id].quant, node.op.requant
        if set(req.mult) != {1}:
            raise refusal(node, "its scale ratio is no power of two, as ap_fixed needs; quantise so")
        if (req.lo, req.hi) == (q.lo, q.hi):
            return self.type(node.id, ROUNDED)
        if q.signed and (req.lo, req.hi) == (-q.hi, q.hi):
            return self.type(node.id, SYMMETRIC)
        limits = f"{req.lo}..{req.hi} of {q.bits} bits"
        raise refusal(node, f"is limited to {limits}; hls4ml's streams saturate at whole formats only, widen its Clip")

    def name(self, tensor: str) -> str:
        return "input_1" if tensor == "input" else tensor

    def source(self, node: Node, flat: bool, position: int = 0) -> list[str]:
        """The layer that gives an input, reshaped when it is flat and a map is wanted, or the other way round."""
        tensor = node.inputs[position]
        name = self.name(tensor)
        if flat == (tensor in self.flat):
            return [name]
        c, h, w = self.graph.tensors[tensor].shape
        reshaped = f"{node.id}_shape{position}"
        shape = [c * h * w] if flat else [h, w, c]
        self.add(reshaped, "Reshape", [name], {"result": self.type(tensor)}, target_shape=shape)
        return [reshaped]


def _agree(w: _Writer, node: Node, accumulator: int) -> None:
    """An operator without weights must scale by what its tensors' scales say: hls4ml knows real values only."""
    if {w.exponent(node.id) - s for s in node.op.requant.shift} != {accumulator}:
        raise refusal(node, "requantises by another ratio than its tensors' scales say; quantise again")


def _parameters(w: _Writer, node: Node, op: Conv | Dense) -> tuple[IntArray, int, NDArray[np.float64], dict[str, str]]:
    """Weight integers with their common exponent, real biases, and the four types."""
    source = w.graph.tensors[node.inputs[0]].quant
    x, out = w.exponent(node.inputs[0]), w.exponent(node.id)
    # Each channel's accumulator has an exponent of its own; the finest one serves all.
    up = (max(op.requant.shift) - np.array(op.requant.shift, np.int64)).astype(np.int64)
    finest = out - max(op.requant.shift)
    weight: IntArray = op.weight << up.reshape(-1, *[1] * (op.weight.ndim - 1))
    bias: IntArray = op.bias << up
    lo, hi = dot_range(weight, bias, min(0, source.lo), source.hi)
    wb, bb, ab = (
        bits_for(min(a, -1), max(b, 0))
        for a, b in ((int(weight.min()), int(weight.max())), (int(bias.min()), int(bias.max())), (lo, hi))
    )
    types = {
        "weight": fixed(*wb, finest - x),
        "bias": fixed(*bb, finest),
        "accum": fixed(*ab, finest),
        "result": w.result(node),
    }
    return weight, finest - x, bias.astype(np.float64) * 2.0**finest, types


def _finish(w: _Writer, node: Node, inner: int, outer: int) -> None:
    """Strategy and reuse factor of a layer with ``inner * outer`` products for each output vector.

    hls4ml's resource strategy is right only when the factor divides ``inner`` or is ``inner`` times a divisor of
    ``outer``; hls4ml corrects others in most layers, and writes C++ that does not compile in the rest.
    """
    wanted = inner * outer / w.parallel.get(node.id, 1)
    legal = [*divisors(inner), *(inner * d for d in divisors(outer))]
    w.config[node.id] |= {"ReuseFactor": min(legal, key=lambda r: (abs(r - wanted), r)), "Strategy": "Resource"}


def _conv(w: _Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Conv)
    weight, k, bias, types = _parameters(w, node, op)
    if any(op.pads) and op.pad_value:
        raise refusal(node, f"pads with {op.pad_value}; hls4ml pads with zero, quantise symmetrically or unsigned")
    weight = dilated(weight, op.dilation)
    c, h, width = w.graph.tensors[node.inputs[0]].shape
    oc, oh, ow = w.graph.tensors[node.id].shape
    kind, values = "DepthwiseConv2D", {"depthwise_data": weight.transpose(2, 3, 0, 1) * 2.0**k, "depth_multiplier": 1}
    inner, outer = c, weight[0].size
    if not op.depthwise:
        weight = dense_groups(weight, op.groups)
        inner, outer = weight[0].size, oc
        kind, values = "Conv2D", {"weight_data": weight.transpose(2, 3, 1, 0) * 2.0**k}
    top, left, bottom, right = op.pads
    w.add(
        node.id, kind, w.source(node, flat=False), types,
        in_height=h, in_width=width, out_height=oh, out_width=ow, n_chan=c, n_filt=oc, bias_data=bias,
        filt_height=weight.shape[2], filt_width=weight.shape[3], stride_height=op.stride[0], stride_width=op.stride[1],
        pad_top=top, pad_left=left, pad_bottom=bottom, pad_right=right, data_format="channels_last", **values,
    )  # fmt: skip
    _finish(w, node, inner, outer)


def dilated(weight: IntArray, dilation: tuple[int, int]) -> IntArray:
    """The same kernel (O, I, H, W) with zeros between its positions."""
    o, i, kh, kw = weight.shape
    out = np.zeros((o, i, (kh - 1) * dilation[0] + 1, (kw - 1) * dilation[1] + 1), np.int64)
    out[:, :, :: dilation[0], :: dilation[1]] = weight
    return out


def dense_groups(weight: IntArray, groups: int) -> IntArray:
    """(O, I / groups, H, W) with zeros where a group does not look: (O, I, H, W)."""
    o, i, kh, kw = weight.shape
    out = np.zeros((o, i * groups, kh, kw), np.int64)
    per = o // groups
    for g in range(groups):
        out[g * per : (g + 1) * per, g * i : (g + 1) * i] = weight[g * per : (g + 1) * per]
    return out


def _dense(w: _Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Dense)
    weight, k, bias, types = _parameters(w, node, op)
    matrix = weight.transpose(2, 3, 1, 0).reshape(-1, len(weight))  # rows in the order of a flattened (H, W, C)
    n_in, n_out = matrix.shape
    inputs = w.source(node, flat=True)
    values = {"weight_data": matrix * 2.0**k, "bias_data": bias}
    w.add(node.id, "Dense", inputs, types, n_in=n_in, n_out=n_out, **values)
    w.flat.add(node.id)
    _finish(w, node, n_in, n_out)


def _pool(w: _Writer, node: Node) -> None:
    op, tensor = node.op, node.inputs[0]
    assert isinstance(op, Pool)
    q = w.graph.tensors[tensor].quant
    c, h, width = w.graph.tensors[tensor].shape
    average = op.kind == "AveragePool"
    _agree(w, node, w.exponent(tensor))
    if op.kernel == (1, 1) and op.stride == (1, 1) and not any(op.pads):
        return _rescale(w, node, c * h * width)
    whole = op.kernel == (h, width) and not any(op.pads)
    if not whole and op.stride != op.kernel:
        raise refusal(node, f"strides {op.stride} differ from its window {op.kernel}; hls4ml's streams cannot overlap")
    if any(op.pads) and (op.pad_value or (q.lo < 0 and not average)):
        raise refusal(node, "pads a signed map; hls4ml pads with zero, put the pooling behind a Relu")
    acc = _average_type(w, node, op) if average else w.type(tensor)
    inputs = w.source(node, flat=False)
    inputs, h, width = _padded(w, node, op.pads, inputs, (c, h, width))
    place: dict[str, Any] = {"in_height": h, "in_width": width, "n_filt": c, "data_format": "channels_last"}
    kind, types = "Average" if average else "Max", {"accum": acc, "result": w.result(node)}
    if whole:
        w.add(node.id, f"Global{kind}Pooling2D", inputs, types, **place)
        w.flat.add(node.id)
        return
    _, oh, ow = w.graph.tensors[node.id].shape
    w.add(
        node.id, f"{kind}Pooling2D", inputs, types, **place, out_height=oh, out_width=ow, pool_height=op.kernel[0],
        pool_width=op.kernel[1], stride_height=op.stride[0], stride_width=op.stride[1], pad_top=0, pad_bottom=0,
        pad_left=0, pad_right=0, count_pad=True,
    )  # fmt: skip


def _average_type(w: _Writer, node: Node, op: Pool) -> str:
    """Accumulator of a mean over n: the sum's integers and fraction bits that keep its quotient off false ties."""
    size = op.kernel[0] * op.kernel[1]
    if op.requant.div not in (1, size) or op.offset:
        raise refusal(node, "its divisor is not its window's size; hls4ml has no such mean")
    lo, hi = w.graph.accumulator(node)
    bits, _ = bits_for(min(lo, -1), hi)
    x, out = w.exponent(node.inputs[0]), w.exponent(node.id)
    fraction = (2 * size).bit_length() + 1 + max(0, x - out)
    return fixed(bits + fraction, True, x - fraction)


def _padded(
    w: _Writer, node: Node, pads: Pads, inputs: list[str], shape: tuple[int, int, int]
) -> tuple[list[str], int, int]:
    """A ZeroPadding2D in front, when there are pads; and the map's height and width behind it."""
    c, h, width = shape
    top, left, bottom, right = pads
    if not any(pads):
        return inputs, h, width
    name, oh, ow = f"{node.id}_pad", h + top + bottom, width + left + right
    w.add(
        name, "ZeroPadding2D", inputs, {"result": w.type(node.inputs[0])}, in_height=h, in_width=width, out_height=oh,
        out_width=ow, n_chan=c, pad_top=top, pad_left=left, pad_bottom=bottom, pad_right=right,
        data_format="channels_last",
    )  # fmt: skip
    return [name], oh, ow


def _rescale(w: _Writer, node: Node, n: int) -> None:
    """A change of format alone: a linear activation casts."""
    flat = node.inputs[0] in w.flat
    w.add(node.id, "Activation", [w.name(node.inputs[0])], {"result": w.result(node)}, activation="linear", n_in=n)
    if flat:
        w.flat.add(node.id)


def _add(w: _Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Add)
    finest = {w.exponent(i) - s for i, s in zip(node.inputs, op.left_shift, strict=True)}
    if len(finest) > 1 or op.offset:
        raise refusal(node, "its shifts do not align its inputs' scales; quantise again")
    _agree(w, node, finest.pop())
    flat = all(i in w.flat for i in node.inputs)
    inputs = [w.source(node, flat, k)[0] for k in (0, 1)]
    w.add(node.id, "Merge", inputs, {"result": w.result(node)}, op="add")
    if flat:
        w.flat.add(node.id)


EMITTERS: dict[type[Op], Callable[[_Writer, Node], None]] = {Conv: _conv, Dense: _dense, Pool: _pool, Add: _add}
