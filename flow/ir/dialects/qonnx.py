"""QONNX: Quant, BipolarQuant and Trunc as Clip, QuantizeLinear and DequantizeLinear; weights become stored integers.

QONNX adds the zero point before it rounds, ONNX after: with an odd zero point the two differ by one unit on exact
ties.  A binary (-1, +1) activation has no QuantizeLinear and is refused; binary weights are integers like others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from flow.ir.dialects.qoperator import given
from flow.ir.dialects.rewriter import Rewriter, refusal

Floats = NDArray[np.float64]
ROUNDING: dict[str, Callable[[Floats], Floats]] = {
    "ROUND": np.rint,
    "HALF_EVEN": np.rint,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "DOWN": np.trunc,
    "ROUND_TO_ZERO": np.trunc,
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
    "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - 0.5),
}
NEAREST = ("ROUND", "HALF_EVEN")


def mode(node: NodeProto) -> str:
    raw = given(node).get("rounding_mode", b"ROUND")
    return (raw.decode() if isinstance(raw, bytes) else str(raw)).upper()


def limits(work: Rewriter, node: NodeProto, bits: float) -> tuple[int, int]:
    """Least and greatest integer of ``bits`` by the node's ``signed`` and ``narrow``."""
    a = given(node)
    signed, narrow = a.get("signed", 1), a.get("narrow", 0)
    if bits != int(bits) or not 1 <= bits <= 32:
        raise refusal(node, f"{bits:g} bits; whole numbers from 1 to 32 are supported")
    n = int(bits)
    if signed:
        return -(1 << (n - 1)) + (1 if narrow else 0), (1 << (n - 1)) - 1
    return 0, (1 << n) - 1 - (1 if narrow else 0)


def quant(work: Rewriter, node: NodeProto) -> None:
    scale, zero = work.array(node, 1).astype(np.float32), work.array(node, 2).astype(np.float64)
    bits = work.scalar(node, 3)
    lo, hi = limits(work, node, bits)
    _parameters(node, scale, zero)
    if node.input[0] not in work.constants:
        activation(work, node, scale, zero, lo, hi)
        return
    values = work.constants[node.input[0]].astype(np.float32)
    if mode(node) not in ROUNDING:
        raise refusal(node, f"rounding mode {mode(node)[:20]} is unknown; use ROUND")
    if bits == 1 and given(node).get("signed", 1):
        integers = np.where(values / scale + zero >= 0, 1, -1) - zero
    else:
        integers = ROUNDING[mode(node)](np.clip((values / scale).astype(np.float64) + zero, lo, hi)) - zero
    parameter(work, node, integers, scale)


def _parameters(node: NodeProto, scale: NDArray[Any], zero: NDArray[Any]) -> None:
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise refusal(node, "scales are finite and positive; train or quantise again")
    if (zero != np.rint(zero)).any():
        raise refusal(node, "its zero point is no integer; quantise again")


def parameter(work: Rewriter, node: NodeProto, integers: NDArray[Any], scale: NDArray[Any]) -> None:
    """Integers (zero point subtracted) and their DequantizeLinear in the place of a quantised constant."""
    axes = [k for k, n in enumerate(scale.shape) if n > 1]
    if len(axes) > 1 or scale.ndim > integers.ndim > 0:
        raise refusal(node, f"scales of shape {list(scale.shape)} vary along several axes; use one a channel")
    dtype = np.int8 if np.abs(integers).max(initial=0) <= 127 else np.int32  # 16 bits need a later opset
    stored = work.constant(f"{node.output[0]}_integers", integers.astype(dtype))
    flat = scale.reshape(-1) if axes else scale.reshape(-1)[0]
    extra: dict[str, Any] = {"axis": axes[0] + integers.ndim - scale.ndim} if axes else {}
    work.add("DequantizeLinear", [stored, work.constant(f"{node.output[0]}_scale", flat)], node.output[0], **extra)


def activation(work: Rewriter, node: NodeProto, scale: NDArray[Any], zero: NDArray[Any], lo: int, hi: int) -> None:
    if scale.size != 1 or zero.size != 1:
        raise refusal(node, "feature maps have one scale each here; quantise activations per tensor")
    if mode(node) not in NEAREST:
        raise refusal(node, f"rounds by {mode(node)[:20]}; QuantizeLinear rounds half to even, use ROUND")
    if (lo, hi) == (-1, 0):
        raise refusal(node, "a binary activation (-1, +1) has no QuantizeLinear; use two bits")
    if hi > 65535:
        raise refusal(node, "more than 16 bits for a feature map; quantise it with 16 or fewer")
    z = int(zero.reshape(-1)[0])
    signed = lo < 0
    dtype = (np.int8 if hi <= 127 else np.int16) if signed else (np.uint8 if hi <= 255 else np.uint16)
    info, base, real = np.iinfo(dtype), node.output[0], node.input[0]
    if not info.min <= z <= info.max:
        raise refusal(node, f"zero point {z} is outside its type; quantise again")
    s = np.float32(scale.reshape(-1)[0])
    if (lo, hi) != (info.min, info.max):
        ends = [work.constant(f"{base}_{k}", np.float32((v - z) * s)) for k, v in (("lo", lo), ("hi", hi))]
        real = work.add("Clip", [real, *ends], work.fresh(f"{base}_clipped"), node.name)
    names = [work.constant(f"{base}_scale", s), work.constant(f"{base}_zero", dtype(z))]
    work.quantised(real, names[0], names[1], stored := work.fresh(f"{base}_stored"))
    work.add("DequantizeLinear", [stored, *names], base)


def bipolar(work: Rewriter, node: NodeProto) -> None:
    scale = work.array(node, 1).astype(np.float32)
    _parameters(node, scale, np.zeros(1))
    if node.input[0] not in work.constants:
        raise refusal(node, "a binary activation (-1, +1) has no QuantizeLinear; use two bits")
    values = work.constants[node.input[0]]
    parameter(work, node, np.where(values >= 0, 1, -1), scale)


def trunc(work: Rewriter, node: NodeProto) -> None:
    """Dropping low bits: a second quantiser with a coarser scale.  Rounding to nearest only."""
    scale, zero = work.array(node, 1).astype(np.float32), work.array(node, 2).astype(np.float64)
    newer = len(node.input) > 5  # version 2 of the operator gives the output's scale
    before, after = work.scalar(node, 3), work.scalar(node, 5 if newer else 4)
    coarse = work.array(node, 4).astype(np.float32) if newer else scale * np.float32(2.0 ** (before - after))
    if zero.any():
        raise refusal(node, "truncates around a zero point; quantise symmetrically")
    _parameters(node, coarse, zero)
    lo, hi = limits(work, node, after)
    activation(work, node, coarse, zero, lo, hi)


REWRITES: dict[str, Callable[[Rewriter, NodeProto], None]] = {
    "Quant": quant,
    "IntQuant": quant,
    "BipolarQuant": bipolar,
    "Trunc": trunc,
}
