"""Search spaces: a genotype stands for a network and for how much of a board its accelerator may use.

A space is a module with ``space(options) -> Space``: one of this package, found by its name, or a user's own file.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from flow.space.hardware import BUDGETS, HardwareGenotype

if TYPE_CHECKING:
    from flow.ir.ops import Shape
    from flow.space.network import NetSpec


class SpaceError(ValueError):
    """A space that cannot be found or a genotype that is none of its space; one line."""


@dataclass(frozen=True)
class Options:
    """What the user narrows a space to.

    ``weight_bits``, ``activation_bits``: choices, 2 to 8.  ``max_clock_mhz``: the board's limit.  ``budgets``:
    fractions of the board to choose from; one entry fixes it, as ``clocks_mhz`` (empty: all up to the limit) fixes
    the clock.
    """

    weight_bits: tuple[int, ...] = (4, 6, 8)
    activation_bits: tuple[int, ...] = (4, 6, 8)
    max_clock_mhz: float = 300.0
    clocks_mhz: tuple[float, ...] = ()
    budgets: tuple[float, ...] = BUDGETS


@runtime_checkable
class Space(Protocol):
    """All that search strategies see.  A genotype ``g`` is a frozen, hashable value of the space's own type.

    All randomness comes from ``rng``: the same generator state gives the same genotypes.
    """

    name: str

    def sample(self, rng: np.random.Generator) -> Hashable:
        """A random genotype."""

    def mutate(self, g: Any, rng: np.random.Generator) -> Hashable:
        """A valid genotype that differs from ``g`` in about one gene."""

    def crossover(self, a: Any, b: Any, rng: np.random.Generator) -> Hashable:
        """A valid genotype whose genes come from ``a`` and ``b``."""

    def network(self, g: Any, input_shape: Shape, classes: int) -> NetSpec:
        """The network that ``g`` stands for, images (C, H, W)."""

    def hardware(self, g: Any) -> HardwareGenotype:
        """The hardware half."""

    def features(self, g: Any) -> NDArray[np.float64]:
        """A vector of fixed length for predictors."""

    def dumps(self, g: Any) -> dict[str, Any]:
        """JSON-able form of ``g``."""

    def loads(self, obj: object) -> Hashable:
        """Genotype of its JSON-able form; raises ``SpaceError`` with one line."""


def names() -> list[str]:
    """Names of the spaces shipped: modules here that define ``space``."""
    found = [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]
    return [n.replace("_", "-") for n in sorted(found) if hasattr(importlib.import_module(f"{__name__}.{n}"), "space")]


def load(name_or_path: str, options: Options | None = None) -> Space:
    """The space of that name, or of a user's ``.py`` file, which runs as the user's own code.

    Raises ``SpaceError`` when there is none or when it lacks a method of ``Space``.
    """
    if name_or_path.endswith(".py"):
        module = _from_file(Path(name_or_path))
    elif name_or_path in names():
        module = importlib.import_module(f"{__name__}.{name_or_path.replace('-', '_')}")
    else:
        raise SpaceError(f"no space {name_or_path!r}: there are {', '.join(names())}, or give a .py file")
    make = getattr(module, "space", None)
    if not callable(make):
        raise SpaceError(f"{name_or_path}: defines no function space(options)")
    found = make(options or Options())
    if not isinstance(found, Space):
        missing = [m for m in dir(Space) if not m.startswith("_") and not hasattr(found, m)]
        raise SpaceError(
            f"{name_or_path}: its space lacks {', '.join([*missing, *([] if hasattr(found, 'name') else ['name'])])}"
        )
    return found


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise SpaceError(f"no space file {path}")
    name = f"_space_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SpaceError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, ImportError, NameError, AttributeError, TypeError) as e:
        del sys.modules[name]
        raise SpaceError(f"{path}: {type(e).__name__}: {e}") from e
    return module
