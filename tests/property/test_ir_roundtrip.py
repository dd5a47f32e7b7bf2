"""The central property: the integer graph, its ONNX file under ONNX Runtime, and the graph read back, are one thing."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from flow.fixed import Quant, Requant, bits_for
from flow.ir import curves, emit, moves, onnx_file, qdq
from flow.ir.graph import Graph, Node, Tensor
from flow.ir.messages import ModelError
from flow.ir.ops import Add, Concat, Conv, ConvTranspose, Dense, DepthToSpace, Mul, Permute, Pool, Sample, Select

QUICK = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


class Builder:
    """Draws a random graph whose formats are the tightest, as every producer of graphs here makes them."""

    def __init__(self, draw, zero_points: bool):
        self.draw, self.zero_points = draw, zero_points
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        shape = (draw(st.integers(1, 5)), draw(st.integers(1, 9)), draw(st.integers(1, 9)))
        self.wide = draw(st.sampled_from([False, False, True]))
        bits = draw(st.sampled_from([2, 3, 4, 6, 8, 8, *([12, 16] if self.wide else [])]))
        signed = draw(st.booleans())
        self.nodes, self.tensors = [], {}
        self.tensors["input"] = Tensor(shape, Quant(bits, signed, self.scale(), self.zero(bits, signed)))

    def scale(self):
        return 2.0 ** self.draw(st.integers(-9, 2))

    def zero(self, bits, signed):
        if not self.zero_points:
            return 0
        q = Quant(bits, signed, 1.0)
        return self.draw(st.integers(q.lo, q.hi))

    def limits(self):
        """Output integers ``lo..hi``, their zero point and format."""
        bits, signed = self.draw(st.sampled_from([(2, True), (3, False), (4, False), (6, True), (8, True), (8, False)]))
        if self.wide and self.draw(st.booleans()):
            bits = self.draw(st.sampled_from([10, 16]))
        full = Quant(bits, signed, 1.0)
        zero = self.zero(bits, signed)
        lo, hi = full.lo, full.hi
        if self.draw(st.booleans()):
            lo = zero  # ReLU
        if hi > lo and self.draw(st.integers(0, 3)) == 0:
            hi = self.draw(st.integers(lo, hi))  # ReLU6 and the like
        return lo, hi, zero

    def finish(self, op, inputs, lo, hi, zero, scale):
        name = f"L{len(self.nodes)}"
        shape = op.shape([self.tensors[i].shape for i in inputs])
        self.nodes.append(Node(name, "", op, tuple(inputs)))
        self.tensors[name] = Tensor(shape, Quant(*bits_for(lo, hi), scale, zero))

    def shifts(self, channels, acc_bits, out_bits):
        base = max(0, acc_bits - out_bits)
        many = channels if self.draw(st.booleans()) else 1
        return tuple(int(v) for v in base + self.rng.integers(-3, 3, many))

    def weights(self, *shape):
        bits = self.draw(st.sampled_from([2, 4, 8, *([12] if self.wide else [])]))
        return self.rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), shape)

    def linear(self, weight, quant):
        """Bias and requantisation such that float32 stays exact, or None."""
        bias = self.rng.integers(-3000, 3000, weight.shape[0])
        size = np.abs(weight.reshape(len(weight), -1)).sum(1).max() * max(
            quant.hi - quant.zero, quant.zero - quant.lo, 1
        )
        if size + 4000 >= emit.EXACT:
            return None
        lo, hi, zero = self.limits()
        shift = self.shifts(len(weight), int(size).bit_length(), (hi - lo).bit_length())
        bias = bias - quant.zero * weight.reshape(len(weight), -1).sum(1)
        return bias, Requant(shift, lo, hi, zero=zero), (lo, hi, zero, self.scale())

    def conv(self):
        source = self.draw(st.sampled_from(list(self.tensors)))
        (c, h, w), quant = self.tensors[source].shape, self.tensors[source].quant
        kh, kw = self.draw(st.integers(1, 4)), self.draw(st.integers(1, 4))
        groups = self.draw(st.sampled_from([g for g in range(1, c + 1) if c % g == 0]))
        oc = groups * self.draw(st.integers(1, 3))
        pads = tuple(self.draw(st.integers(0, 3)) for _ in range(4))
        dilation = (self.draw(st.integers(1, 2)), self.draw(st.integers(1, 2)))
        if h + pads[0] + pads[2] <= dilation[0] * (kh - 1) or w + pads[1] + pads[3] <= dilation[1] * (kw - 1):
            return
        weight = self.weights(oc, c // groups, kh, kw)
        if (found := self.linear(weight, quant)) is None:
            return
        stride = (self.draw(st.integers(1, 3)), self.draw(st.integers(1, 3)))
        op = Conv(weight, found[0], found[1], stride, pads, dilation, groups, quant.zero)
        self.finish(op, [source], *found[2])

    def conv_transpose(self):
        source = self.draw(st.sampled_from(list(self.tensors)))
        (c, h, w), quant = self.tensors[source].shape, self.tensors[source].quant
        groups = self.draw(st.sampled_from([g for g in (1, 2, c) if c % g == 0]))
        kernel, stride, dilation, pads, extra = (
            tuple(self.draw(st.integers(low, high)) for _ in range(2))
            for low, high in ((1, 4), (1, 3), (1, 2), (0, 1), (0, 2))
        )
        extra = tuple(min(e, s - 1) for e, s in zip(extra, stride, strict=True))
        weight = self.weights(groups * self.draw(st.integers(1, 3)), c // groups, *kernel)
        whole = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip((h, w), stride, dilation, kernel, strict=True)]
        end = tuple(self.draw(st.integers(0, 1)) if not e else 0 for e in extra)
        size = tuple(n + e - p - b for n, e, p, b in zip(whole, extra, pads, end, strict=True))
        if min(size) < 1 or (found := self.linear(weight, quant)) is None:
            return
        requant = found[1]
        if 1 < groups < len(weight):
            requant = replace(requant, shift=requant.shift[:1])
        op = ConvTranspose(weight, found[0], requant, size, stride, pads, dilation, groups, quant.zero)
        self.finish(op, [source], *found[2])

    def dense(self):
        source = self.draw(st.sampled_from(list(self.tensors)))
        weight = self.weights(self.draw(st.integers(1, 6)), *self.tensors[source].shape)
        if (found := self.linear(weight, self.tensors[source].quant)) is not None:
            self.finish(Dense(weight, found[0], found[1]), [source], *found[2])

    def max_pool(self):
        source = self.draw(st.sampled_from(list(self.tensors)))
        (_, h, w), quant = self.tensors[source].shape, self.tensors[source].quant
        kernel = (self.draw(st.integers(1, 3)), self.draw(st.integers(1, 3)))
        pads = tuple(self.draw(st.integers(0, k - 1)) for k in (*kernel, *kernel))
        if h + pads[0] + pads[2] < kernel[0] or w + pads[1] + pads[3] < kernel[1]:
            return
        stride = (self.draw(st.integers(1, 3)), self.draw(st.integers(1, 3)))
        requant = Requant((0,), quant.lo, quant.hi)
        op = Pool("MaxPool", kernel, requant, stride, pads, quant.lo if any(pads) else 0)
        self.finish(op, [source], quant.lo, quant.hi, quant.zero, quant.scale)

    def average_pool(self):
        source = self.draw(st.sampled_from(list(self.tensors)))
        (_, h, w), quant = self.tensors[source].shape, self.tensors[source].quant
        whole = self.draw(st.booleans())
        kernel = (h, w) if whole else (min(h, self.draw(st.integers(1, 3))), min(w, self.draw(st.integers(1, 3))))
        pads = (0, 0, 0, 0) if whole else tuple(self.draw(st.integers(0, k - 1)) for k in (*kernel, *kernel))
        if quant.bits > 8:
            return
        lo, hi, zero = self.limits()
        shift = self.draw(st.integers(-2, 2))
        n = kernel[0] * kernel[1]
        stride = (1, 1) if whole else (self.draw(st.integers(1, 3)), self.draw(st.integers(1, 3)))
        exclude = any(pads) and self.draw(st.booleans())
        requant = Requant((shift,), lo, hi, div=1 if exclude else n, zero=zero)
        op = Pool("AveragePool", kernel, requant, stride, pads, quant.zero, -n * quant.zero, exclude=exclude)
        if exclude and min(min(c) for c in op.counts((_, h, w))) < 1:
            return
        self.finish(op, [source], lo, hi, zero, quant.scale * 2.0**shift)

    def add(self):
        a = self.draw(st.sampled_from(list(self.tensors)))
        same = [t for t in self.tensors if self.tensors[t].shape == self.tensors[a].shape]
        b = self.draw(st.sampled_from(same))
        quants = [self.tensors[t].quant for t in (a, b)]
        finest = min(q.scale for q in quants)
        shift = tuple(int(np.log2(q.scale / finest)) for q in quants)
        if any(
            (max(abs(q.lo), abs(q.hi)) + abs(q.zero)) << s >= emit.EXACT // 4
            for q, s in zip(quants, shift, strict=True)
        ):
            return
        lo, hi, zero = self.limits()
        right = self.draw(st.integers(-2, 4))
        sign = self.draw(st.sampled_from([1, 1, -1]))
        first, second = (q.zero << s for q, s in zip(quants, shift, strict=True))
        op = Add(Requant((right,), lo, hi, zero=zero), shift, -first - sign * second, sign)
        self.finish(op, [a, b], lo, hi, zero, finest * 2.0**right)

    def mul(self):
        a = self.draw(st.sampled_from(list(self.tensors)))
        b = self.draw(st.sampled_from([t for t in self.tensors if self.tensors[t].shape == self.tensors[a].shape]))
        quants = [self.tensors[t].quant for t in (a, b)]
        sizes = [max(q.hi - q.zero, q.zero - q.lo) for q in quants]
        if sizes[0] * sizes[1] >= emit.EXACT:
            return
        lo, hi, zero = self.limits()
        right = self.draw(st.integers(-1, 9))
        op = Mul(Requant((right,), lo, hi, zero=zero), (quants[0].zero, quants[1].zero))
        self.finish(op, [a, b], lo, hi, zero, quants[0].scale * quants[1].scale * 2.0**right)

    def lookup(self):
        source = self.draw(st.sampled_from([t for t in self.tensors if self.tensors[t].quant.bits <= 12] or ["input"]))
        lo, hi, zero = self.limits()
        types = self.draw(st.sampled_from([("Sigmoid",), ("HardSwish",), ("Tanh", "Neg"), ("LeakyRelu",), ("Elu",)]))
        names = ["x", *(f"n{k}" for k in range(len(types)))]
        nodes = [helper.make_node(t, [names[k]], [names[k + 1]]) for k, t in enumerate(types)]
        out = Quant(*bits_for(lo, hi), self.scale(), zero)
        op = curves.tabulate(nodes[0], nodes, {}, names[-1], self.tensors[source], out, (lo, hi), emit.OPSET)
        self.finish(op, [source], op.requant.lo, op.requant.hi, zero, out.scale)

    def move(self):
        source = self.draw(st.sampled_from(list(self.tensors)))
        (c, h, w), quant = self.tensors[source].shape, self.tensors[source].quant
        kind = self.draw(st.sampled_from(["select", "sample", "permute", "depth to space", "concat"]))
        requant, inputs = Requant((0,), quant.lo, quant.hi), [source]
        fill = int(self.rng.integers(quant.lo, quant.hi + 1))
        if kind == "select":
            places = self.rng.integers(-1, c, self.draw(st.integers(1, 6)))
            op = Select(requant, tuple(places.tolist()), fill)
        elif kind == "sample":
            rows, columns = (self.rng.integers(-1, n, self.draw(st.integers(1, 9))).tolist() for n in (h, w))
            op = Sample(requant, tuple(rows), tuple(columns), fill)
        elif kind == "permute":
            shape = tuple(self.draw(st.integers(1, 4)) for _ in range(3))
            op = Permute(requant, self.rng.integers(-1, c * h * w, shape), fill)
        elif kind == "depth to space":
            if c % 4:
                return
            op = DepthToSpace(requant, 2)
        else:
            like = [t for t, v in self.tensors.items() if v.shape[1:] == (h, w) and v.quant.zero == quant.zero]
            like = [t for t in like if self.tensors[t].quant.scale == quant.scale]
            inputs = [source, self.draw(st.sampled_from(like))]
            quants = [self.tensors[t].quant for t in inputs]
            lo, hi = min(q.lo for q in quants), max(q.hi for q in quants)
            op = Concat(Requant((0,), lo, hi), 0)
            return self.finish(op, inputs, lo, hi, quant.zero, quant.scale)
        if isinstance(op, Select | Sample | Permute):
            plain = np.arange(c * h * w).reshape(1, c, h, w)
            index = replace(op, fill=-1).evaluate([plain])[0]
            found = moves.factor(index, (c, h, w), requant, op.fill if index.min() < 0 else 0)
            if len(found) != 1:
                return  # read back as fewer or more operators
            op = found[0]
        self.finish(op, inputs, quant.lo, quant.hi, quant.zero, quant.scale)


@st.composite
def graphs(draw, zero_points=False):
    b = Builder(draw, zero_points)
    kinds = [
        b.conv,
        b.conv,
        b.conv_transpose,
        b.dense,
        b.max_pool,
        b.average_pool,
        b.add,
        b.mul,
        b.lookup,
        b.move,
        b.move,
    ]
    for _ in range(draw(st.integers(1, 6))):
        draw(st.sampled_from(kinds))()
    if not b.nodes:
        b.average_pool() if b.tensors["input"].quant.bits <= 8 else b.max_pool()
    # everything must matter to the output: what the last node does not need is dropped
    by_id, keep, stack = {n.id: n for n in b.nodes}, set(), [b.nodes[-1].id] if b.nodes else []
    while stack:
        name = stack.pop()
        if name not in keep and name != "input":
            keep.add(name)
            stack.extend(by_id[name].inputs)
    nodes = [n for n in b.nodes if n.id in keep]
    ids = {"input": "input", **{n.id: f"L{k}" for k, n in enumerate(nodes)}}
    nodes = tuple(Node(ids[n.id], f"layer {k}", n.op, tuple(ids[i] for i in n.inputs)) for k, n in enumerate(nodes))
    return Graph(nodes, {ids[t]: b.tensors[t] for t in ids}) if nodes else None


def images_for(graph: Graph, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Integer images over the whole format, the extremes among them, and their real values."""
    rng, tensor = np.random.default_rng(seed), graph.tensors["input"]
    x = rng.integers(tensor.quant.lo, tensor.quant.hi + 1, (4, *tensor.shape))
    x[0], x[1] = tensor.quant.lo, tensor.quant.hi
    return x, tensor.quant.real(x)


def judge(graph: Graph) -> None:
    model = emit.model(graph)
    assert emit.exact_in_float32(graph) == []
    x, real = images_for(graph, 1)
    assert np.array_equal(graph.tensors["input"].quant.quantise(real), x)
    (got,) = onnx_file.run(model, real)
    quant = graph.tensors[graph.output].quant
    want = graph.evaluate(x)[graph.output]
    assert np.array_equal(got.reshape(want.shape), quant.real(want))
    back = qdq.load(onnx_file.checked(model))
    assert back.tensors == graph.tensors
    assert back.digest == graph.digest
    assert [n.name for n in back.nodes] == [n.name for n in graph.nodes]
    assert qdq.notes(model) == ()


@QUICK
@given(graphs())
def test_graph_equals_onnxruntime_bit_for_bit_and_reads_back(graph):
    if graph is not None:
        judge(graph)


def gathering() -> Graph:
    """Two groups of two input channels, each with an output channel of its own scale."""
    weight = np.array([[[[1]], [[0]]], [[[0]], [[-1]]]])
    requant = Requant((-3, -2), -2, 1)
    op = ConvTranspose(weight, np.array([-1154, -2755]), requant, (2, 1), (2, 1), groups=2)
    tensors = {"input": Tensor((4, 1, 1), Quant(2, False, 1.0)), "L0": Tensor((2, 2, 1), Quant(2, True, 1.0))}
    return Graph((Node("L0", "layer 0", op, ("input",)),), tensors)


def test_a_transposed_convolution_that_gathers_its_groups() -> None:
    """ONNX has its scales along the input channels: one for each, alike within a group."""
    graph = gathering()
    judge(graph)
    model = emit.model(graph)
    scale = next(i for i in model.graph.initializer if i.name == "L0_weight_scale")
    values = numpy_helper.to_array(scale).copy()
    assert len(values) == 4
    values[1] *= 2
    scale.CopyFrom(numpy_helper.from_array(values, scale.name))
    with pytest.raises(ModelError, match="weight scales lie along another axis"):
        qdq.load(model)


@QUICK
@given(graphs(zero_points=True))
def test_zero_points_too(graph):
    if graph is not None:
        judge(graph)
