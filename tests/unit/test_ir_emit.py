"""When a written file is provably an exact oracle of the integers, and which graphs are never written."""

import numpy as np
import pytest

from flow.fixed import Quant, Requant
from flow.ir import emit, onnx_file
from flow.ir.graph import Graph, Node, Tensor
from flow.ir.ops import Add, Conv, Dense, Pool


def one(op, *quants, out):
    shape = op.shape([(1, 4, 4)] * len(quants))
    names = ["input", "input"][: len(quants)]
    return Graph((Node("L0", "", op, tuple(names)),), {"input": Tensor((1, 4, 4), quants[0]), "L0": Tensor(shape, out)})


class TestExactness:
    """The proof that float32 computes the integers, and its refusal where it cannot."""

    def test_wide_sums_are_listed(self):
        q16 = Quant(16, True, 1.0)
        small = Dense(np.full((1, 1, 4, 4), 31), np.zeros(1), Requant((0,), -32768, 32767))
        large = Dense(np.full((1, 1, 4, 4), 32), np.zeros(1), Requant((0,), -32768, 32767))
        assert emit.exact_in_float32(one(small, q16, out=q16)) == []
        assert emit.exact_in_float32(one(large, q16, out=q16)) == ["L0"]
        assert emit.model(one(large, q16, out=q16)).graph.node

    def test_a_listed_graph_really_can_differ(self):
        q16 = Quant(16, True, 1.0)
        weight = np.full((1, 1, 4, 4), 4095)
        weight[0, 0, 0, 0] = 4094
        graph = one(Dense(weight, np.array([1]), Requant((16,), -32768, 32767)), q16, out=q16)
        assert emit.exact_in_float32(graph) == ["L0"]
        rng = np.random.default_rng(0)
        x = rng.integers(-32768, 32768, (4000, 1, 4, 4))
        acc = x.reshape(4000, 16) @ weight.reshape(16) + 1
        x = x[np.argsort(np.abs(acc % 65536 - 32768))]  # nearest to a tie first
        (got,) = onnx_file.run(emit.model(graph), q16.real(x))
        want = graph.evaluate(x)["L0"].reshape(got.shape)
        assert np.abs(q16.real(want) - got).max() == 1

    def test_other_scales_are_listed(self):
        op = Pool("AveragePool", (1, 1), Requant((1,), -128, 127, (3,)))
        graph = one(op, Quant(8, True, 0.3), out=Quant(8, True, 0.2))
        assert emit.exact_in_float32(graph) == ["L0"]

    def test_averages_count_their_divisor(self):
        fine = Pool("AveragePool", (3, 3), Requant((0,), -128, 127, div=9))
        assert emit.exact_in_float32(one(fine, Quant(8, True, 1.0), out=Quant(8, True, 1.0))) == []
        wide = Pool("AveragePool", (3, 3), Requant((0,), -(1 << 31), (1 << 31) - 1, div=9))
        fits, exceeds = (one(wide, Quant(b, True, 1.0), out=Quant(32, True, 1.0)) for b in (20, 21))
        assert emit.exact_in_float32(fits) == [] and emit.exact_in_float32(exceeds) == ["L0"]


class TestEmitRefuses:
    """Graphs that contradict themselves never become a file."""

    q8 = Quant(8, True, 1.0)

    @pytest.mark.parametrize(
        ("op", "out", "words"),
        [
            (Pool("MaxPool", (2, 2), Requant((1,), -128, 127)), q8, "requantises by"),
            (Pool("MaxPool", (2, 2), Requant((0,), -128, 127), pads=(1, 1, 0, 0)), q8, "pads with 0"),
            (Pool("AveragePool", (2, 2), Requant((0,), -128, 127, div=4), offset=3), q8, "offset 3"),
            (
                Conv(np.ones((1, 1, 1, 1)), np.zeros(1), Requant((0,), 0, 1), pads=(1, 0, 0, 0), pad_value=2),
                q8,
                "zero point",
            ),
            (Conv(np.ones((1, 1, 1, 1)), np.zeros(1), Requant((0,), 0, 1, zero=3)), q8, "zero point"),
            (Conv(np.ones((1, 1, 1, 1)), np.array([1 << 40]), Requant((0,), 0, 1)), q8, "32 bits"),
            (Conv(np.full((1, 1, 1, 1), 1 << 40), np.zeros(1), Requant((0,), 0, 1)), q8, "32 bits"),
        ],
    )
    def test_contradictions(self, op, out, words):
        with pytest.raises(ValueError, match=words):
            emit.model(one(op, self.q8, out=out))

    def test_additions(self):
        with pytest.raises(ValueError, match="do not align"):
            emit.model(one(Add(Requant((0,), -128, 127), (1, 0)), self.q8, self.q8, out=self.q8))
        with pytest.raises(ValueError, match="offset"):
            emit.model(one(Add(Requant((0,), -128, 127), (0, 0), 5), self.q8, self.q8, out=self.q8))

    def test_wide_activations_inside(self):
        wide = Quant(20, True, 1.0)
        first = Pool("AveragePool", (1, 1), Requant((0,), wide.lo, wide.hi))
        nodes = (Node("L0", "", first, ("input",)), Node("L1", "", first, ("L0",)))
        tensors = {"input": Tensor((1, 2, 2), self.q8), "L0": Tensor((1, 2, 2), wide), "L1": Tensor((1, 2, 2), wide)}
        with pytest.raises(ValueError, match="at most 16"):
            emit.model(Graph(nodes, tensors))
