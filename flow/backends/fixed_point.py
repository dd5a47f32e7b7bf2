"""Integer graph -> hls4ml's layers with the ap_fixed types that make its arithmetic the same, bit for bit.

hls4ml computes on real numbers in ``ap_fixed<W, I>``.  With scales that are powers of two, and zero points of zero, a
tensor's integers *are* such a number's bits: W is the width and W - I the exponent of the scale.  So

- a weight gets the exact value ``q * 2**k``; channels with scales of their own share the finest one's exponent;
- an accumulator is as wide as range analysis says, with products' exponent: nothing rounds or wraps in it;
- a result is cast once, by ``RND_CONV`` (half to even) and ``SAT``: what `flow.fixed.Requant.apply` does;
- an average divides in an accumulator with so many fraction bits that its truncated quotient rounds as the exact one:
  a quotient that is no tie is at least ``1 / (2 n)`` of an output unit away from one.

A limit inside a format (ReLU6) becomes casts between shifted formats (`Writer.clip`).
What hls4ml's streaming layers cannot do is refused, naming the node.  Dilated kernels and grouped convolutions, which
hls4ml lacks, are written out with zeros: the same function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flow.backends.layer_writer import BackendError as BackendError
from flow.backends.layer_writer import Writer, agree, fixed, refusal
from flow.blocks.pareto import divisors
from flow.fixed import IntArray, bits_for
from flow.ir.graph import Graph, Node
from flow.ir.ops import Add, Concat, Conv, Dense, Mul, Op, Pads, Pool, Sample, dot_range


@dataclass(frozen=True)
class Layers:
    """``layers``: hls4ml's layer list, first the input; ``config``: its LayerName table; ``output``: the last layer."""

    layers: list[dict[str, Any]]
    config: dict[str, dict[str, Any]]
    output: str


def layers(graph: Graph, parallel: Mapping[str, int]) -> Layers:
    """hls4ml's layers for ``graph``.

    ``parallel``: products a cycle of each Conv and Dense node, by id; its reuse factor follows.  Raises BackendError.
    """
    writer = Writer(graph, parallel)
    writer.entry()
    for node in graph.nodes:
        emit = EMITTERS.get(type(node.op))
        if emit is None:
            raise refusal(node, "hls4ml's streaming layers have no exact counterpart; compile with --backend flow")
        emit(writer, node)
        if writer.limited(node):
            writer.clip(node)
    return Layers(writer.layers, writer.config, graph.output)


def _parameters(w: Writer, node: Node, op: Conv | Dense) -> tuple[IntArray, int, NDArray[np.float64], dict[str, str]]:
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


def _finish(w: Writer, node: Node, inner: int, outer: int) -> None:
    """Strategy and reuse factor of a layer with ``inner * outer`` products for each output vector.

    hls4ml's resource strategy is right only when the factor divides ``inner`` or is ``inner`` times a divisor of
    ``outer``; hls4ml corrects others in most layers, and writes C++ that does not compile in the rest.
    """
    wanted = inner * outer / w.parallel.get(node.id, 1)
    legal = [*divisors(inner), *(inner * d for d in divisors(outer))]
    w.config[node.id] |= {"ReuseFactor": min(legal, key=lambda r: (abs(r - wanted), r)), "Strategy": "Resource"}


def _conv(w: Writer, node: Node) -> None:
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


def _dense(w: Writer, node: Node) -> None:
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


def _pool(w: Writer, node: Node) -> None:
    op, tensor = node.op, node.inputs[0]
    assert isinstance(op, Pool)
    q = w.graph.tensors[tensor].quant
    c, h, width = w.graph.tensors[tensor].shape
    average = op.kind == "AveragePool"
    agree(w, node, w.exponent(tensor))
    if op.kernel == (1, 1) and op.stride == (1, 1) and not any(op.pads):
        return _rescale(w, node, c * h * width)
    whole = op.kernel == (h, width) and not any(op.pads)
    if not whole and op.stride != op.kernel:
        raise refusal(node, f"strides {op.stride} differ from its window {op.kernel}; hls4ml's streams cannot overlap")
    if op.dilation != (1, 1) or (op.exclude and any(op.pads)):
        raise refusal(node, "is dilated, or leaves padding out of its mean; hls4ml has no such pooling")
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


def _average_type(w: Writer, node: Node, op: Pool) -> str:
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
    w: Writer, node: Node, pads: Pads, inputs: list[str], shape: tuple[int, int, int]
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


def _rescale(w: Writer, node: Node, n: int) -> None:
    """A change of format alone: a linear activation casts."""
    flat = node.inputs[0] in w.flat
    w.add(node.id, "Activation", [w.name(node.inputs[0])], {"result": w.result(node)}, activation="linear", n_in=n)
    if flat:
        w.flat.add(node.id)


def _merge(w: Writer, node: Node, kind: str, accumulator: int) -> None:
    """An element-wise operator of two maps, cast once from the accumulator of that exponent."""
    agree(w, node, accumulator)
    flat = all(i in w.flat for i in node.inputs)
    inputs = [w.source(node, flat, k)[0] for k in (0, 1)]
    w.add(node.id, "Merge", inputs, {"result": w.result(node)}, op=kind)
    if flat:
        w.flat.add(node.id)


def _add(w: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Add)
    finest = {w.exponent(i) - s for i, s in zip(node.inputs, op.left_shift, strict=True)}
    if len(finest) > 1 or op.offset:
        raise refusal(node, "its shifts do not align its inputs' scales; quantise again")
    _merge(w, node, "add" if op.sign > 0 else "subtract", finest.pop())


def _mul(w: Writer, node: Node) -> None:
    _merge(w, node, "multiply", sum(w.exponent(i) for i in node.inputs))


def _concat(w: Writer, node: Node) -> None:
    op = node.op
    assert isinstance(op, Concat)
    if op.axis or any(w.exponent(i) != w.exponent(node.id) for i in node.inputs):
        raise refusal(node, "joins maps along another axis than channels, or of other scales; use --backend flow")
    inputs = [w.source(node, False, k)[0] for k in (0, 1)]
    w.add(node.id, "Concatenate", inputs, {"result": w.type(node.id)}, op="concatenate3d", axis=3)


def _sample(w: Writer, node: Node) -> None:
    """Enlargement by whole factors, or zero padding."""
    op, tensor = node.op, node.inputs[0]
    assert isinstance(op, Sample)
    c, h, width = w.graph.tensors[tensor].shape
    factors, size = (len(op.rows) // h, len(op.columns) // width), (len(op.rows), len(op.columns))
    result = {"result": w.type(tensor)}
    place: dict[str, Any] = {"in_height": h, "in_width": width, "n_chan": c, "data_format": "channels_last"}
    place |= {"out_height": size[0], "out_width": size[1]}
    repeated = [tuple(k // f for k in range(n * f)) for n, f in zip((h, width), factors, strict=True)]
    if (op.rows, op.columns) == tuple(repeated):
        w.add(node.id, "Resize", w.source(node, flat=False), result, algorithm="nearest", **place)
        return
    before = [next((k for k, i in enumerate(places) if i >= 0), 0) for places in (op.rows, op.columns)]
    after = [total - n - b for total, n, b in zip(size, (h, width), before, strict=True)]
    padded = [(-1,) * b + tuple(range(n)) + (-1,) * a for b, n, a in zip(before, (h, width), after, strict=True)]
    if op.fill or (op.rows, op.columns) != tuple(padded):
        raise refusal(node, "neither enlarges by whole factors nor pads with zeros; use --backend flow")
    ends = dict(zip(("pad_top", "pad_left", "pad_bottom", "pad_right"), (*before, *after), strict=True))
    w.add(node.id, "ZeroPadding2D", w.source(node, flat=False), result, **place, **ends)


EMITTERS: dict[type[Op], Callable[[Writer, Node], None]] = {
    Conv: _conv,
    Dense: _dense,
    Pool: _pool,
    Add: _add,
    Mul: _mul,
    Concat: _concat,
    Sample: _sample,
}
