"""Movement of data as arrays of positions: which operators bring elements to where an index array says.

ONNX's Reshape, Transpose, Slice, Gather, Pad, Resize and their relatives only say which element goes where.  Reading
them applies each to an array of flat positions (ONNX Runtime does it, so the meaning is its own), and `factor` finds
the cheapest operators for the result: rows and columns by index, channels by index, depth to space, or any element
anywhere.
"""

from __future__ import annotations

import numpy as np

from flow.fixed import IntArray, Requant
from flow.ir.ops import DepthToSpace, Op, Permute, Sample, Select, Shape


def factor(index: IntArray, source: Shape, requant: Requant, fill: int) -> list[Op]:
    """Operators, first to last, that bring a (C, H, W) map of shape ``source`` to the order of ``index``.

    ``index`` (C', H', W') holds flat positions in ``source``; all negative entries stand for ``fill``.  Empty when
    nothing moves.
    """
    index = np.maximum(index, -1)
    if index.shape == source and np.array_equal(index.reshape(-1), np.arange(index.size)):
        return []
    found = _separable(index, source, requant, fill)
    if found is None:
        found = _blocks(index, source, requant)
    return [Permute(requant, index, fill)] if found is None else found


def _separable(index: IntArray, source: Shape, requant: Requant, fill: int) -> list[Op] | None:
    """Channels, rows and columns moved on their own."""
    (_, h, w), inside = source, index >= 0
    if not inside.any():
        return None
    at = [int(np.argmax(inside.any(tuple(k for k in range(3) if k != axis)))) for axis in range(3)]
    channels = np.where(inside[:, at[1], at[2]], index[:, at[1], at[2]] // (h * w), -1)
    rows = np.where(inside[at[0], :, at[2]], index[at[0], :, at[2]] % (h * w) // w, -1)
    columns = np.where(inside[at[0], at[1]], index[at[0], at[1]] % w, -1)
    c, y, x = channels[:, None, None], rows[None, :, None], columns[None, None, :]
    want = np.where((c < 0) | (y < 0) | (x < 0), -1, (c * h + y) * w + x)
    if not np.array_equal(want, index):
        return None
    found: list[Op] = []
    if not np.array_equal(channels, np.arange(source[0])):
        found.append(Select(requant, tuple(channels.tolist()), fill))
    if not (np.array_equal(rows, np.arange(h)) and np.array_equal(columns, np.arange(w))):
        found.append(Sample(requant, tuple(rows.tolist()), tuple(columns.tolist()), fill))
    # Whatever shrinks the map comes first.
    return found if index.shape[0] <= source[0] else found[::-1]


def _blocks(index: IntArray, source: Shape, requant: Requant) -> list[Op] | None:
    """Depth to space, channels put into its order first."""
    (c, h, w), (oc, oh, ow) = source, index.shape
    size = oh // h
    if size < 2 or (oh, ow) != (h * size, w * size) or oc * size**2 != c or index.min() < 0:
        return None
    order = index[:, :size, :size] // (h * w)  # (c, a, b) -> input channel
    channels = order.transpose(1, 2, 0).reshape(-1)
    first = Select(requant, tuple(channels.tolist()))
    last = DepthToSpace(requant, size)
    plain = np.arange(c * h * w, dtype=np.int64).reshape(1, c, h, w)
    if sorted(channels.tolist()) != list(range(c)):
        return None
    if not np.array_equal(last.evaluate([first.evaluate([plain])])[0], index):
        return None
    return [last] if np.array_equal(channels, np.arange(c)) else [first, last]
