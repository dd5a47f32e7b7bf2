"""The engine's instruction: what each process does in one iteration, as RECORD numbers in a fixed order.

The order here is the order in memory and in ``hls/engine.h`` (its enumerations are written from these names).
Addresses and strides count port words.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flow.tiled.engine import RECORD, RUNS

LOAD = (
    "mode",  # 0 nothing, 1 blocks, 2 gather
    "base", "images", "image_stride", "rows", "cols", "width", "height",
    "depth",  # array words of a pixel in the buffer
    "whole",  # words of the one burst that brings everything; 0: a burst for each block, or row
    "row_words", "kernel", "stride", "pad", "pad_value", "runs",
    *(f"{what}{k}" for k in range(RUNS) for what in ("offset", "count", "words")),
)  # fmt: skip
COMPUTE = (
    "mode",  # 0 nothing, else the step's kind
    "tiles", "depth", "kh", "kw", "slices", "images", "rows", "cols", "sy", "sx", "dy", "dx",
    "y0", "x0",  # of the first window, in the loaded tile
    "in_rows", "in_cols", "in_depth", "pad_value", "is_signed", "first", "last",
    "steps",  # cycles of a position that compute
    "length",  # cycles of a position
    "position_words", "reach", "chunk", "taps",
)  # fmt: skip
WEIGHTS = ("tiles", "base", "words", "post", "cached", "fill")
RESIDUAL = (
    "tiles", "base", "corner", "tile_stride", "images", "image_stride", "rows", "cols", "width", "groups",
    "groups_last",
)  # fmt: skip
STORE = (
    "tiles", "base", "corner", "tile_stride", "images", "image_stride", "rows", "cols", "width", "groups",
    "groups_last",
    "wide", "lo", "hi", "zero", "up", "divisor", "magic", "magic_shift", "offset",
    "add", "add_signed", "left", "right", "left_minus", "right_minus", "add_offset", "add_up", "add_mult",
    "add_shift", "add_lo", "add_hi",
    "add_zero", "has_post",
)  # fmt: skip
PARTS = {"load": LOAD, "compute": COMPUTE, "weights": WEIGHTS, "residual": RESIDUAL, "store": STORE}
USED = sum(len(p) for p in PARTS.values())
assert USED <= RECORD, USED
STARTS = {name: sum(len(p) for p in list(PARTS.values())[:k]) for k, name in enumerate(PARTS)}


def encode(parts: dict[str, dict[str, int]]) -> NDArray[np.int32]:
    """One record; what is not given is 0, which does nothing. Raises KeyError for a field that does not exist."""
    out = np.zeros(RECORD, np.int32)
    for name, values in parts.items():
        fields = PARTS[name]
        for field, value in values.items():
            out[STARTS[name] + fields.index(field)] = int(value)
    return out


def decode(record: NDArray[Any], part: str) -> dict[str, int]:
    """The fields of one process."""
    at = STARTS[part]
    return {f: int(record[at + k]) for k, f in enumerate(PARTS[part])}
