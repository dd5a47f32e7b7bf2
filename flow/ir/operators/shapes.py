"""ONNX operators of a QDQ graph that compute nothing: constants, copies, and changes of shape."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from onnx import NodeProto, numpy_helper

from flow.ir.importer import (
    Constant,
    Image,
    Importer,
    Parameter,
    Pending,
    Real,
    Stored,
    Value,
    attributes,
    operator,
    refusal,
)


@operator("Identity", "Dropout")
def identity(importer: Importer, node: NodeProto) -> Value:
    if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
        mode = importer.array(node, 2)
        if mode is not None and mode.any():
            raise refusal(node, "drops in training mode; export the network for inference")
    return importer.value(node, 0)


@operator("Transpose")
def transpose(importer: Importer, node: NodeProto) -> Value:
    value = importer.value(node, 0)
    perm = attributes(node).get("perm")
    if isinstance(value, Parameter):
        order = tuple(perm or range(value.values.ndim)[::-1])
        return Parameter(value.values.transpose(order), value.scale, order.index(value.axis) if order else 0)
    if isinstance(value, Constant):
        return Constant(value.values.transpose(perm))
    raise refusal(node, "transposing feature maps is not supported; export in (N, C, H, W) layout")


@operator("Constant")
def constant(importer: Importer, node: NodeProto) -> Value:
    (name, value), *_ = attributes(node).items()
    if name == "value":
        return Constant(numpy_helper.to_array(value))
    if name in ("value_float", "value_floats", "value_int", "value_ints"):
        return Constant(np.asarray(value, np.float32 if "float" in name else np.int64))
    raise refusal(node, f"a constant of kind {name} is not supported; store a dense tensor")


@operator("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def reshape(importer: Importer, node: NodeProto) -> Value:
    """Shape changes that keep (C, H, W) or flatten it to one dimension."""
    value = importer.value(node, 0)
    if not isinstance(value, (Image, Stored, Real, Pending)):
        raise refusal(node, "reshaping constants is not supported; store the constant in its final shape")
    c, h, w = importer.shape_of(value)
    now = [1, c, h, w] if value.rank == 4 else [1, c * h * w]
    target = RESHAPES[node.op_type](importer, node, now)
    if len(target) == 2 and target == [1, c * h * w]:
        return replace(value, rank=2)
    if target == [1, c, h, w]:
        return replace(value, rank=4)
    raise refusal(node, f"reshapes {now} to {target}; only flattening (C, H, W) is supported")


def _axes(importer: Importer, node: NodeProto, rank: int) -> list[int]:
    """Axes from the attribute (opset < 13) or the second input."""
    given = attributes(node).get("axes")
    if given is None:
        array = importer.array(node, 1)
        if array is None:
            raise refusal(node, "drops every dimension of size 1, the batch too; name the axes")
        given = array.ravel().tolist()
    return [int(a) % rank for a in given]


def _flattened(importer: Importer, node: NodeProto, now: list[int]) -> list[int]:
    axis = attributes(node).get("axis", 1) % (len(now) + 1)
    return [int(np.prod(now[:axis])), int(np.prod(now[axis:]))]


def _reshaped(importer: Importer, node: NodeProto, now: list[int]) -> list[int]:
    given = importer.array(node, 1)
    if given is None:
        raise refusal(node, "its target shape is missing; export the model again")
    target = [int(v) for v in given]
    if not attributes(node).get("allowzero"):
        target = [now[k] if v == 0 and k < len(now) else v for k, v in enumerate(target)]
    if -1 in target:
        rest = -int(np.prod(target))
        target[target.index(-1)] = int(np.prod(now)) // rest if rest > 0 else 0
    return target


def _squeezed(importer: Importer, node: NodeProto, now: list[int]) -> list[int]:
    axes = _axes(importer, node, len(now))
    return [v for k, v in enumerate(now) if k not in axes]


def _unsqueezed(importer: Importer, node: NodeProto, now: list[int]) -> list[int]:
    axes = _axes(importer, node, len(now) + 2)
    out = list(now)
    for a in sorted(axes):
        out.insert(a, 1)
    return out


RESHAPES = {"Flatten": _flattened, "Reshape": _reshaped, "Squeeze": _squeezed, "Unsqueeze": _unsqueezed}
