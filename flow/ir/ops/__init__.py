"""Integer operators: each is a frozen value with its own meaning (``evaluate``), shape rule and work (``macs``).

Tensors are ``(C, H, W)``; ``evaluate`` takes and gives batches ``(N, C, H, W)`` of int64.  These definitions are the
specification that the HLS blocks are judged by, and they are themselves judged by ONNX Runtime.
"""

from flow.ir.ops.base import Op, Pads, Range, Shape, frozen, window_extent, windows
from flow.ir.ops.eltwise import Add, Lookup, Mul
from flow.ir.ops.linear import Conv, ConvTranspose, Dense, dot_range, turned
from flow.ir.ops.move import Concat, DepthToSpace, Permute, Sample, Select
from flow.ir.ops.pool import Pool

__all__ = [
    "Add",
    "Concat",
    "Conv",
    "ConvTranspose",
    "Dense",
    "DepthToSpace",
    "Lookup",
    "Mul",
    "Op",
    "Pads",
    "Permute",
    "Pool",
    "Range",
    "Sample",
    "Select",
    "Shape",
    "dot_range",
    "frozen",
    "turned",
    "window_extent",
    "windows",
]
