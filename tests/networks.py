"""Integer networks for tests: small fixed ones and random ones of every supported operator."""

from __future__ import annotations

import numpy as np
from onnx import helper

from flow.fixed import Quant, Requant, bits_for
from flow.ir import curves
from flow.ir.graph import Graph, Node, Tensor
from flow.ir.ops import Add, Concat, Conv, ConvTranspose, Dense, DepthToSpace, Mul, Op, Permute, Pool, Sample, Select


class Draft:
    """Collects nodes; ``graph()`` freezes them."""

    def __init__(self, shape: tuple[int, int, int], quant: Quant | None = None, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors = {"input": Tensor(shape, quant or Quant(8, False, 2.0**-8))}
        self.nodes: list[Node] = []

    def add(self, op: Op, *inputs: str, quant: Quant) -> str:
        ident = f"L{len(self.nodes)}"
        self.tensors[ident] = Tensor(op.shape([self.tensors[i].shape for i in inputs]), quant)
        self.nodes.append(Node(ident, f"node/{ident}", op, inputs))
        return ident

    def conv(
        self, x: str, out: int, kernel: int | tuple[int, int] = 3, *, stride=(1, 1), pads=None, dilation=(1, 1),
        groups=1, weight_bits=8, bits=8, signed=False, per_channel=False,
    ) -> str:  # fmt: skip
        kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
        t = self.tensors[x]
        if pads is None:
            ph, pw = dilation[0] * (kh - 1), dilation[1] * (kw - 1)
            pads = (ph // 2, pw // 2, ph - ph // 2, pw - pw // 2)
        top = max(1, (1 << (weight_bits - 1)) - 1)
        w = self.rng.integers(-top, top + 1, (out, t.shape[0] // groups, kh, kw))
        n = w[0].size
        bias = self.rng.integers(-50 * top, 50 * top + 1, out)
        lo, hi = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
        spread = int(np.log2(max(1.0, top * t.quant.hi * np.sqrt(n) / max(hi, 1))))
        shift = tuple(int(s) for s in self.rng.integers(spread, spread + 3, out)) if per_channel else (spread + 1,)
        op = Conv(w, bias, Requant(shift, lo, hi), stride, pads, dilation, groups)
        return self.add(op, x, quant=Quant(bits, signed, 2.0**-4))

    def transposed(self, x: str, out: int, kernel: int, *, stride=(2, 2), groups=1) -> str:
        """The output is ``stride`` times the input, cut at the end."""
        (c, h, w), size = self.tensors[x].shape, (kernel, kernel)
        weight = self.rng.integers(-127, 128, (out, c // groups, *size))
        bias, requant = self.rng.integers(-5000, 5000, out), Requant((8,), -128, 127)
        op = ConvTranspose(weight, bias, requant, (h * stride[0], w * stride[1]), stride, (1, 0), groups=groups)
        return self.add(op, x, quant=Quant(8, True, 2.0**-4))

    def dense(self, x: str, out: int, *, weight_bits=8, bits=8) -> str:
        t = self.tensors[x]
        top = max(1, (1 << (weight_bits - 1)) - 1)
        w = self.rng.integers(-top, top + 1, (out, *t.shape))
        bias = self.rng.integers(-50 * top, 50 * top + 1, out)
        hi = (1 << (bits - 1)) - 1
        shift = int(np.log2(max(1.0, top * t.quant.hi * np.sqrt(w[0].size) / hi)))
        return self.add(Dense(w, bias, Requant((shift,), -hi - 1, hi)), x, quant=Quant(bits, True, 2.0**-4))

    def pool(self, x: str, kind: str = "MaxPool", kernel=(2, 2), stride=None, pads=(0, 0, 0, 0)) -> str:
        q = self.tensors[x].quant
        div = 1 if kind == "MaxPool" else kernel[0] * kernel[1]
        op = Pool(kind, kernel, Requant((0,), q.lo, q.hi, div=div), stride or kernel, pads, q.lo if div == 1 else 0)
        return self.add(op, x, quant=q)

    def inner_average(self, x: str) -> str:
        """3x3 windows, padding not counted."""
        q = self.tensors[x].quant
        op = Pool("AveragePool", (3, 3), Requant((0,), q.lo, q.hi), (1, 1), (1, 1, 1, 1), 0, exclude=True)
        return self.add(op, x, quant=q)

    def global_average(self, x: str) -> str:
        _, h, w = self.tensors[x].shape
        return self.pool(x, "AveragePool", (h, w))

    def residual(self, a: str, b: str, *, bits=8) -> str:
        return self.add(Add(Requant((1,), 0, (1 << bits) - 1), (0, 1)), a, b, quant=Quant(bits, False, 2.0**-4))

    def product(self, a: str, b: str, *, bits=8) -> str:
        quants = [self.tensors[t].quant for t in (a, b)]
        shift = sum(q.bits for q in quants) - bits
        out = Quant(bits, any(q.signed for q in quants), 2.0**-4)
        return self.add(Mul(Requant((shift,), out.lo, out.hi)), a, b, quant=out)

    def difference(self, a: str, b: str, *, bits=8) -> str:
        out = Quant(bits, True, 2.0**-4)
        return self.add(Add(Requant((1,), out.lo, out.hi), (0, 0), 3, -1), a, b, quant=out)

    def function(self, x: str, kind: str = "Sigmoid", *, bits=8, channels=False) -> str:
        """An activation by table; with ``channels`` one PRelu slope for each."""
        t = self.tensors[x]
        slope = {"s": np.linspace(-1, 1, t.shape[0], dtype=np.float32).reshape(-1, 1, 1)} if channels else {}
        node = helper.make_node("PRelu" if channels else kind, ["x", *slope], ["y"])
        full = Quant(bits, True, 2.0**-4)
        op = curves.tabulate(node, [node], slope, "y", t, full, (full.lo, full.hi), 21)
        return self.add(op, x, quant=Quant(*bits_for(op.requant.lo, op.requant.hi), full.scale))

    def concat(self, a: str, b: str, axis: int = 0) -> str:
        quants = [self.tensors[t].quant for t in (a, b)]
        lo, hi = min(q.lo for q in quants), max(q.hi for q in quants)
        return self.add(Concat(Requant((0,), lo, hi), axis), a, b, quant=Quant(*bits_for(lo, hi), quants[0].scale))

    def passed(self, op: Op, x: str) -> str:
        return self.add(op, x, quant=self.tensors[x].quant)

    def same(self, x: str) -> Requant:
        q = self.tensors[x].quant
        return Requant((0,), q.lo, q.hi)

    def channels(self, x: str, order: tuple[int, ...]) -> str:
        return self.passed(Select(self.same(x), order, 1), x)

    def pixels(self, x: str, rows: tuple[int, ...], columns: tuple[int, ...]) -> str:
        return self.passed(Sample(self.same(x), rows, columns, 1), x)

    def anywhere(self, x: str, shape: tuple[int, int, int]) -> str:
        """Every element of the output from some element of the input."""
        size = int(np.prod(self.tensors[x].shape))
        return self.passed(Permute(self.same(x), self.rng.integers(-1, size, shape), 1), x)

    def depth_to_space(self, x: str) -> str:
        return self.passed(DepthToSpace(self.same(x), 2), x)

    def graph(self) -> Graph:
        return Graph(tuple(self.nodes), self.tensors)

    def images(self, n: int) -> np.ndarray:
        t = self.tensors["input"]
        return self.rng.integers(t.quant.lo, t.quant.hi + 1, (n, *t.shape))


def sample() -> Graph:
    """Every block once, with a residual branch: about 110 k products."""
    return sample_draft().graph()


def sample_draft() -> Draft:
    d = Draft((3, 16, 16))
    a = d.conv("input", 8)
    b = d.conv(a, 8, per_channel=True)
    c = d.conv(b, 8, groups=8)
    e = d.residual(a, c)
    f = d.pool(e)
    g = d.conv(f, 16, 5, stride=(2, 2))
    h = d.conv(g, 12, 1)
    i = d.pool(h, "AveragePool", (3, 3), (1, 1), (1, 1, 1, 1))
    d.dense(d.global_average(i), 10)
    return d


def gallery_draft(seed: int = 0) -> Draft:
    """Every block that computes or moves single elements."""
    d = Draft((4, 6, 5), Quant(8, True, 2.0**-4), seed)
    a = d.function(d.conv("input", 4, 3, signed=True), "HardSwish")
    b = d.function("input", channels=True)
    c = d.product(a, d.difference(b, "input"))
    e = d.concat(d.concat(c, a), d.conv("input", 6, 1), 0)
    f = d.concat(d.concat(e, c), d.concat(c, e), 1 + seed % 2)
    g = d.channels(f, (5, 9, 0, 13, 1, 2)) if seed % 2 else d.channels(f, tuple(range(4, 10)))
    h = d.pixels(g, (-1, 0, 1, 2, 3), (1, 2, 3)) if seed % 3 else d.pixels(g, (3, 3, 0, -1, 2), (0, 0, 1))
    i = d.anywhere(h, (3, 5, 4))
    j = d.pixels(
        d.channels(d.depth_to_space(d.channels(d.conv(i, 12, 1), tuple(range(8)))), (1, 0)), (0, 0, 1, 2, 4), (0, 1)
    )
    j = d.transposed(j, 2, 3, stride=(2, 1 + seed % 2))
    k = d.inner_average(d.pixels(d.channels(j, (0,)), (1, 2), (0, 1)))
    d.dense(k, 4)
    return d


def lenet() -> Graph:
    """LeNet-5 shape: 28x28 digits, two 5x5 convolutions, three dense layers."""
    d = Draft((1, 28, 28), seed=5)
    x = d.pool(d.conv("input", 6, 5))
    x = d.pool(d.conv(x, 16, 5, pads=(0, 0, 0, 0)))
    x = d.dense(x, 120)
    x = d.dense(x, 84)
    d.dense(x, 10)
    return d.graph()


def resnet8() -> Graph:
    """ResNet-8 of MLPerf Tiny: 32x32x3, 12.5 M products."""
    d = Draft((3, 32, 32), seed=8)
    x = d.conv("input", 16)
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        y = d.conv(d.conv(x, channels, stride=(stride, stride)), channels)
        skip = x if stride == 1 else d.conv(x, channels, 1, stride=(stride, stride), pads=(0, 0, 0, 0))
        x = d.residual(y, skip)
    d.dense(d.global_average(x), 10)
    return d.graph()


def random_draft(seed: int, layers: int = 5) -> Draft:
    """A random chain of operators with an occasional residual; every format, kernel, stride and padding is drawn."""
    rng = np.random.default_rng(seed)
    h, w = (int(n) for n in rng.integers(5, 14, 2))
    bits = int(rng.integers(2, 9))
    signed = bool(rng.random() < 0.5)
    d = Draft((int(rng.choice([1, 2, 3, 4, 6])), h, w), Quant(bits, signed, 2.0**-7), seed)
    x = "input"
    for _ in range(layers):
        c, h, w = d.tensors[x].shape
        kind = rng.choice(["conv", "conv", "depthwise", "grouped", "max", "average", "residual", "pointwise"])
        formats = {"weight_bits": int(rng.integers(2, 9)), "bits": int(rng.integers(2, 9))}
        formats["signed"] = bool(rng.random() < 0.3)
        formats["per_channel"] = bool(rng.random() < 0.4)
        kernel = (int(rng.integers(1, min(5, h) + 1)), int(rng.integers(1, min(5, w) + 1)))
        stride = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
        pads = tuple(int(rng.integers(0, k)) for k in (kernel[0], kernel[1], kernel[0], kernel[1]))
        if kind == "conv":
            pairs = zip(kernel, (h, w), strict=True)
            dil = tuple(int(rng.integers(1, 3)) if k > 1 and 2 * (k - 1) < n else 1 for k, n in pairs)
            x = d.conv(x, int(rng.choice([2, 3, 4, 6, 8])), kernel, stride=stride, pads=pads, dilation=dil, **formats)
        elif kind == "pointwise":
            x = d.conv(x, int(rng.choice([2, 4, 6])), 1, **formats)
        elif kind == "depthwise" and c > 1:
            x = d.conv(x, c, kernel, stride=stride, pads=pads, groups=c, **formats)
        elif kind == "grouped" and c % 2 == 0:
            x = d.conv(x, 2 * int(rng.integers(1, 4)), kernel, stride=stride, pads=pads, groups=2, **formats)
        elif kind in ("max", "average"):
            k = (min(2, h), min(2, w))
            inner = tuple(int(rng.integers(0, n)) for n in (*k, *k))
            x = d.pool(x, "MaxPool" if kind == "max" else "AveragePool", k, stride, inner)
        elif kind == "residual":
            x = d.residual(x, d.conv(x, c, 3, bits=d.tensors[x].quant.bits))
    d.dense(d.global_average(x) if rng.random() < 0.5 else x, int(rng.integers(2, 11)))
    return d
