"""Windows as ONNX describes them: strides, padding, dilation, automatic padding, rounding up."""

from __future__ import annotations

from typing import Any

from onnx import NodeProto

from flow.ir.importer import (
    Importer,
    attributes,
    refusal,
)
from flow.ir.ops import Op, Shape


def window(importer: Importer, node: NodeProto, shape: Shape, kernel: tuple[int, ...]) -> dict[str, Any]:
    """Stride, pads (auto_pad and ceil_mode resolved) and dilation of a window operator over ``shape``.

    ``given`` are the pads without what ceil_mode adds.
    """
    a = spatial(node)
    if len(kernel) != 2:
        raise refusal(node, f"a {len(kernel)}-dimensional window is not supported; use two dimensions")
    stride, dilation = tuple(a.get("strides", (1, 1))), tuple(a.get("dilations", (1, 1)))
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    pads = list(a.get("pads", (0, 0, 0, 0)))
    mode = a.get("auto_pad", b"NOTSET")
    if mode in (b"SAME_UPPER", b"SAME_LOWER"):
        total = [max(0, (-(-n // s) - 1) * s + e - n) for n, s, e in zip(shape[1:], stride, extent, strict=True)]
        small = [t // 2 for t in total]
        big = [t - t // 2 for t in total]
        pads = small + big if mode == b"SAME_UPPER" else big + small
    elif mode == b"VALID":
        pads = [0, 0, 0, 0]
    elif mode != b"NOTSET":
        raise refusal(node, "its auto_pad is unknown; use explicit pads")
    grown = list(pads)
    if a.get("ceil_mode"):
        for k in (0, 1):
            size = shape[1 + k] + pads[k] + pads[k + 2]
            count = -(-(size - extent[k]) // stride[k]) + 1
            if (count - 1) * stride[k] >= shape[1 + k] + pads[k]:
                count -= 1  # ONNX drops windows that start in the end padding
            grown[k + 2] = max(pads[k + 2], (count - 1) * stride[k] + extent[k] - shape[1 + k] - pads[k])
    return {"stride": stride, "pads": tuple(grown), "dilation": dilation, "given": tuple(pads)}


def transposed_window(node: NodeProto, shape: Shape, kernel: tuple[int, int]) -> dict[str, Any]:
    """Output size, stride, pads (top, left) and dilation of a ConvTranspose, as ONNX defines them."""
    a = spatial(node)
    stride, dilation = tuple(a.get("strides", (1, 1))), tuple(a.get("dilations", (1, 1)))
    extra, pads = a.get("output_padding", (0, 0)), list(a.get("pads", (0, 0, 0, 0)))
    mode, wanted = a.get("auto_pad", b"NOTSET"), a.get("output_shape")
    if len(kernel) != 2 or len(stride) != 2 or (wanted is not None and len(wanted) not in (2, 4)):
        raise refusal(node, "only windows of one or two dimensions are supported")
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    whole = [(n - 1) * s + r + e for n, s, r, e in zip(shape[1:], stride, reach, extra, strict=True)]
    if mode in (b"SAME_UPPER", b"SAME_LOWER") and wanted is None:
        wanted = [n * s for n, s in zip(shape[1:], stride, strict=True)]
    if wanted is not None:
        total = [max(0, n - w) for n, w in zip(whole, wanted[-2:], strict=True)]
        small, big = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = small + big if mode == b"SAME_UPPER" else big + small
        if any(w > n for w, n in zip(wanted[-2:], whole, strict=True)):
            raise refusal(node, f"its output_shape {list(wanted)} exceeds {whole}; use output_padding")
    elif mode == b"VALID":
        pads = [0, 0, 0, 0]
    elif mode != b"NOTSET":
        raise refusal(node, "its auto_pad is unknown; use explicit pads")
    size = tuple(n - pads[k] - pads[k + 2] for k, n in enumerate(whole))
    return {"size": size, "stride": stride, "pads": (pads[0], pads[1]), "dilation": dilation}


def spatial(node: NodeProto) -> dict[str, Any]:
    """The node's attributes, a window along one axis written as one of height 1."""
    a = attributes(node)
    sizes = [len(a[k]) for k in ("kernel_shape", "strides", "dilations") if k in a] or [len(a.get("pads", [])) // 2]
    if sizes[0] == 1:
        a |= {k: [1, *a[k]] for k in ("kernel_shape", "strides", "dilations") if k in a}
        a |= {k: [0, a[k][0], 0, a[k][1]] for k in ("pads",) if k in a}
        a |= {k: [0, *a[k]] for k in ("output_padding",) if k in a}
    return a


def shaped(node: NodeProto, op: Op, inputs: list[Shape]) -> Shape:
    try:
        return op.shape(inputs)
    except ValueError as e:
        raise refusal(node, f"{e}; export the model again") from None
