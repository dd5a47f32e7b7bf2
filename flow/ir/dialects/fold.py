"""What stands between quantisers in real models and means nothing to hardware: folded into scales and limits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from flow.ir.dialects.qoperator import given
from flow.ir.dialects.rewriter import Rewriter, fitting, refusal

Floats = NDArray[np.float64]
PER_CHANNEL = ("BatchNormalization", "Mul", "Div", "Add", "Sub")


def folded(model: ModelProto) -> ModelProto:
    """The model itself when there is nothing to fold."""
    work = Rewriter(model)
    graph = _Graph(model, work)
    changed = False
    for node in model.graph.node:
        fold = graph.clip if node.op_type == "Clip" else graph.affine if node.op_type in PER_CHANNEL else None
        if fold is not None and fitting(partial(fold, node), node):
            changed = True
        else:
            graph.keep(node)
    return work.finished({o.domain for o in model.opset_import}) if changed else model


@dataclass
class _Graph:
    """The nodes kept so far (in ``work.nodes``), by what they write."""

    model: ModelProto
    work: Rewriter

    def __post_init__(self) -> None:
        self.made: dict[str, NodeProto] = {}
        self.renamed: dict[str, str] = {}
        self.outputs = {o.name for o in self.model.graph.output}
        self.readers: dict[str, int] = {}
        for node in self.model.graph.node:
            for name in node.input:
                self.readers[name] = self.readers.get(name, 0) + 1

    def keep(self, node: NodeProto) -> None:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [self.renamed.get(i, i) for i in node.input]
        self.work.nodes.append(copy)
        for name in copy.output:
            self.made[name] = copy

    def alone(self, name: str) -> bool:
        return self.readers.get(name, 0) == 1 and name not in self.outputs

    def clip(self, node: NodeProto) -> bool:
        """A Clip of integers behind QuantizeLinear: in front of it, in real numbers; a constant's is carried out."""
        source = self.renamed.get(node.input[0], node.input[0])
        maker = self.made.get(source)
        if maker is None or maker.op_type != "QuantizeLinear" or not self.alone(source):
            return False
        work, inputs = self.work, [*maker.input, ""]
        scale, zero = work.array(maker, 1), work.constants.get(inputs[2], np.zeros((), np.uint8))
        ends = [work.array(node, k) if k < len(node.input) and node.input[k] else None for k in (1, 2)]
        if inputs[0] in work.constants:
            limits = [None if e is None else int(e.reshape(())) for e in ends]
            self._stored(node, maker, work.constants[inputs[0]], scale, zero, limits)
            return True
        if scale.size != 1:
            raise refusal(node, "limits integers with several scales; quantise activations per tensor")
        s, z = np.float32(scale.reshape(())), int(zero.reshape(()))
        names = ["" if e is None else work.constant("limit", np.float32((int(e.reshape(())) - z) * s)) for e in ends]
        real = work.fresh(f"{inputs[0]}_limited")
        work.nodes.remove(maker)
        work.add("Clip", [inputs[0], *names], real)
        maker.input[0] = real
        work.nodes.append(maker)
        self.renamed[node.output[0]] = source
        return True

    def _stored(
        self, node: NodeProto, maker: NodeProto, values: NDArray[Any], scale: NDArray[Any], zero: NDArray[Any],
        limits: list[int | None],
    ) -> None:  # fmt: skip
        shape = [1] * values.ndim
        if scale.size > 1:
            shape[given(maker).get("axis", 1)] = -1
        q = np.rint(values.astype(np.float32) / scale.reshape(shape)) + zero.astype(np.float64).reshape(shape)
        info = np.iinfo(zero.dtype)
        low, high = (b if e is None else e for e, b in zip(limits, (info.min, info.max), strict=True))
        integers = np.clip(np.clip(q, info.min, info.max), low, high).astype(zero.dtype)
        self.work.nodes.remove(maker)
        self.renamed[node.output[0]] = self.work.constant(f"{node.output[0]}_stored", integers)

    def affine(self, node: NodeProto) -> bool:
        """``a x + c`` per channel behind Conv or Gemm with dequantised weights: scales times a, bias a b + c."""
        found = self._terms(node)
        if found is None:
            return False
        source, a, c = found
        linear = self.made.get(source)
        if linear is None or linear.op_type not in ("Conv", "Gemm") or not self.alone(source):
            return False
        weight = self.made.get(linear.input[1])
        if weight is None or weight.op_type != "DequantizeLinear" or weight.input[0] not in self.work.constants:
            return False
        axis = 0 if linear.op_type == "Conv" or given(linear).get("transB") else 1
        stored = self.work.constants[weight.input[0]]
        channels = stored.shape[axis]
        bias = self._bias(linear, channels)
        if bias is None or any(v.size not in (1, channels) for v in (a, c)):
            return False
        a, c = (np.broadcast_to(v, channels).astype(np.float64) for v in (a, c))
        self._scaled(linear, weight, stored, axis, a)
        linear.input[2:] = [self.work.constant(f"{source}_bias", (a * bias + c).astype(np.float32))]
        if linear.op_type == "Gemm":
            for k in [k for k in linear.attribute if k.name == "beta"]:
                linear.attribute.remove(k)
        self.work.nodes.remove(linear)  # behind its new constants
        self.work.nodes.append(linear)
        linear.output[0] = node.output[0]
        self.made[node.output[0]] = linear
        return True

    def _scaled(self, linear: NodeProto, weight: NodeProto, stored: NDArray[Any], axis: int, a: Floats) -> None:
        """New weights: a's size goes into the scales, its sign into the integers, a zero makes them zero."""
        work = self.work
        shape = [1] * stored.ndim
        shape[axis] = -1
        per = [1] * stored.ndim
        scale = work.array(weight, 1)
        zero = work.array(weight, 2).astype(np.int64) if len(weight.input) > 2 and weight.input[2] else np.zeros(1)
        if scale.size > 1 or zero.size > 1:
            per[given(weight).get("axis", 1)] = -1
        integers = (stored.astype(np.int64) - zero.reshape(per if zero.size > 1 else [1] * stored.ndim)) * np.sign(
            a
        ).reshape(shape)
        size = np.where(a == 0, 1.0, np.abs(a))
        scales = (np.broadcast_to(scale.astype(np.float64).reshape(-1), stored.shape[axis]) * size).astype(np.float32)
        dtype = np.int8 if np.abs(integers).max(initial=0) <= 127 else np.int32
        base = linear.output[0]
        names = [work.constant(f"{base}_weight", integers.astype(dtype)), work.constant(f"{base}_scale", scales)]
        linear.input[1] = work.add("DequantizeLinear", names, work.fresh(f"{base}_dequantised"), axis=axis)
        self.made[linear.input[1]] = work.nodes[-1]

    def _bias(self, linear: NodeProto, channels: int) -> Floats | None:
        """The real bias of a linear operator; None when it is computed."""
        if len(linear.input) < 3 or not linear.input[2]:
            return np.zeros(channels)
        name, work = linear.input[2], self.work
        factor = given(linear).get("beta", 1.0) if linear.op_type == "Gemm" else 1.0
        if name in work.constants:
            return np.broadcast_to(work.constants[name].reshape(-1) * factor, channels).astype(np.float64)
        maker = self.made.get(name)
        if maker is None or maker.op_type != "DequantizeLinear" or maker.input[0] not in work.constants:
            return None
        values = work.constants[maker.input[0]].reshape(-1) * work.array(maker, 1).astype(np.float64).reshape(-1)
        return np.broadcast_to(values * factor, channels).astype(np.float64)

    def _terms(self, node: NodeProto) -> tuple[str, Floats, Floats] | None:
        """``(x, a, c)`` of a node that computes ``a x + c`` with one number a channel; None for any other."""
        stored = [self.work.constants.get(i) for i in node.input]
        if node.op_type == "BatchNormalization":
            if any(v is None for v in stored[1:]) or len([o for o in node.output if o]) > 1:
                return None
            gamma, beta, mean, var = (np.asarray(v, np.float64) for v in stored[1:5])
            a = gamma / np.sqrt(var + given(node).get("epsilon", 1e-5))
            return self.renamed.get(node.input[0], node.input[0]), a, beta - a * mean
        known = [k for k, v in enumerate(stored) if v is not None]
        if len(node.input) != 2 or len(known) != 1 or (node.op_type in ("Div", "Sub") and known[0] == 0):
            return None
        source = self.renamed.get(node.input[1 - known[0]], node.input[1 - known[0]])
        values = np.asarray(stored[known[0]], np.float64)
        rank = 4 if source in self.made and self.made[source].op_type == "Conv" else 2
        full = values.reshape([1] * (rank - values.ndim) + list(values.shape)) if values.ndim <= rank else values
        if full.ndim != rank or any(n != 1 for k, n in enumerate(full.shape) if k != 1):
            return None
        v = full.reshape(-1)
        if node.op_type == "Div" and not v.all():
            return None
        one, nil = np.ones_like(v), np.zeros_like(v)
        if node.op_type == "Mul":
            return source, v, nil
        if node.op_type == "Div":
            return source, one / v, nil
        return source, one, -v if node.op_type == "Sub" else v
