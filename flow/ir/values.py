"""What an ONNX tensor is while a graph is read: a constant, a feature map, or work that waits for its quantiser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from flow.fixed import IntArray, Quant, Requant
from flow.ir.ops import Op, Shape


@dataclass(frozen=True, eq=False)
class Constant:
    """A stored array, as in the file."""

    values: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Codes:
    """Stored integers that bear a scale: a QuantizeLinear of a constant."""

    values: IntArray


@dataclass(frozen=True, eq=False)
class Parameter:
    """Dequantised constant: ``values`` (zero point subtracted) times ``scale`` (one, or one per index of ``axis``)."""

    values: IntArray
    scale: tuple[Fraction, ...]
    axis: int = 0


@dataclass(frozen=True)
class Image:
    """The network's float input before its QuantizeLinear, limited to ``lo..hi``."""

    shape: Shape
    rank: int
    lo: float = -np.inf
    hi: float = np.inf


@dataclass(frozen=True)
class Stored:
    """Integers of a graph tensor: the output of QuantizeLinear.  ``rank`` is 4, or 2 after a flatten."""

    tensor: str
    rank: int


@dataclass(frozen=True)
class Real:
    """Real values of a graph tensor: the output of DequantizeLinear."""

    tensor: str
    rank: int


class Finer(NamedTuple):
    """`Pending.step` and `Pending.build` of an accumulator with smaller units."""

    step: tuple[Fraction, ...]
    build: Callable[[Requant], Op]


@dataclass(frozen=True, eq=False)
class Pending:
    """A float operator whose output is not quantised yet.

    ``step``: the real value of one accumulator unit, before ``div`` (one, or one per output channel).
    ``passed``: zero point that the accumulator still holds.  ``natural``: the format in which the values already are
    exact integers, if any.  ``source``: the pending operator in front of a MaxPool, which is quantised first (exact
    because rounding and limits are monotone); ``after`` then gives the MaxPool of that tensor.  ``rebias``: the same
    operator with a bias added.  ``refine``: what holds a bias that is no integer of the accumulator to within half of
    a given real value.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    shape: Shape
    rank: int
    step: tuple[Fraction, ...]
    build: Callable[[Requant], Op]
    div: int = 1
    passed: int = 0
    lo: float = -np.inf
    hi: float = np.inf
    natural: Quant | None = None
    source: Pending | None = None
    after: Callable[[str], Pending] | None = None
    rebias: Callable[[Constant | Parameter], Pending] | None = None
    refine: Callable[[Fraction], Finer | None] | None = None


@dataclass(frozen=True, eq=False)
class Curve:
    """A function of each element of a graph tensor, not quantised yet: ``nodes`` lead from "x" to ``result``.

    ``shape`` is ONNX's own, batch first.  ``lo`` and ``hi`` limit the result.
    """

    name: str
    tensor: str
    rank: int
    nodes: tuple[NodeProto, ...]
    constants: dict[str, NDArray[Any]]
    result: str
    lo: float = -np.inf
    hi: float = np.inf


@dataclass(frozen=True, eq=False)
class Joined:
    """Maps behind one another along ``axis`` of (C, H, W), not put together yet."""

    name: str
    parts: tuple[Feature, ...]
    axis: int
    shape: Shape
    rank: int


@dataclass(frozen=True, eq=False)
class Moved:
    """Elements of ``source`` elsewhere: flat (C, H, W) positions in ONNX's shape, or ``-1 - k`` for ``fill[k]``.

    ``passing``: a layout that the next operator changes again (a Transpose in front of a Reshape).
    """

    name: str
    source: Feature
    index: IntArray
    fill: tuple[float, ...] = ()
    passing: bool = False


Feature = Image | Stored | Real | Pending | Curve | Joined | Moved
Value = Constant | Codes | Parameter | Feature
