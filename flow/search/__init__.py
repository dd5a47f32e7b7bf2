"""Search strategies behind one ask/tell interface. Strategies see genotypes and numbers, nothing of the hardware.

The contract of a strategy, checked by :mod:`flow.search.conformance`:

* Trials are numbered 0, 1, 2, ... ``ask(n)`` proposes genotypes for the ``n`` lowest numbers neither told nor asked
  for, in that order; in an unbroken run that is simply counting on. :func:`free_numbers` gives the numbers where a
  resumed run has gaps.
* Proposal number k is a function of the seed, k, and told trials of earlier generations only (random numbers of
  proposal k come from ``default_rng([seed, k])``). So telling a fresh strategy what the journal holds, in any order,
  and asking on gives the very proposals of an uninterrupted run, on any number of workers.
* ``ask`` may return fewer than ``n``: the next generation waits until every trial before it is told. ``[]`` means
  "tell the outstanding trials first". So every proposal must be told, a failed one with :meth:`Trial.failed`.
* :class:`Exhausted` is raised when bounded retries find no genotype that was not proposed before.
* Telling a trial's number again replaces it (a trained accuracy after an estimated one). A run that must be
  reproducible does so between generations: after all of one are told, before the next is asked for.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import itertools
import math
import pkgutil
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Genotype: TypeAlias = Any  # opaque: only a Space reads it
Floats: TypeAlias = NDArray[np.float64]


class SearchError(ValueError):
    """A strategy that does not exist, a wrong option, or a trial that cannot be told."""


class Exhausted(SearchError):
    """No genotype was found that had not been proposed before."""


class Space(Protocol):
    """What a strategy needs of a search space. Genotypes are values: no method changes its arguments."""

    def sample(self, rng: np.random.Generator, /) -> Genotype:
        """A random genotype."""

    def mutate(self, genotype: Genotype, rng: np.random.Generator, /) -> Genotype:
        """A neighbour of ``genotype``."""

    def crossover(self, a: Genotype, b: Genotype, rng: np.random.Generator, /) -> Genotype:
        """A mixture of two genotypes."""

    def features(self, genotype: Genotype, /) -> Any:
        """A vector of numbers, of the same length for every genotype."""

    def dumps(self, genotype: Genotype, /) -> str:
        """Text from which ``loads`` makes an equal genotype; equal genotypes give equal text."""

    def loads(self, text: str, /) -> Genotype:
        """The genotype that ``dumps`` wrote."""


@dataclass(frozen=True)
class Trial:
    """One evaluated genotype.

    ``values``: every objective, to be MINIMISED (see :mod:`flow.search.objectives`). ``violation``: 0 where every
    limit is kept, else the sum of relative excesses, ``inf`` for a failure. Raises SearchError for NaN, for an
    infinite value of a feasible trial, and for a negative violation.
    """

    number: int
    genotype: Genotype
    values: tuple[float, ...]
    violation: float = 0.0
    info: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        values = tuple(float(v) for v in self.values)
        violation = float(self.violation)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "violation", violation)
        object.__setattr__(self, "info", MappingProxyType(dict(self.info)))
        if self.number < 0:
            raise SearchError(f"trial number {self.number} is negative")
        if any(math.isnan(v) for v in values) or math.isnan(violation):
            raise SearchError(
                f"trial {self.number}: NaN among {values}, violation {violation}; tell it with Trial.failed(...)"
            )
        if violation < 0:
            raise SearchError(f"trial {self.number}: violation {violation} is negative; 0 means feasible")
        if violation == 0 and not all(math.isfinite(v) for v in values):
            raise SearchError(
                f"trial {self.number}: infinite value in {values} without violation; use Trial.failed(...)"
            )

    @property
    def feasible(self) -> bool:
        return self.violation == 0

    @classmethod
    def failed(cls, number: int, genotype: Genotype, objectives: int, **info: Any) -> Trial:
        """A trial whose evaluation gave no usable numbers: worse than every other, never on a front."""
        return cls(number, genotype, (math.inf,) * objectives, math.inf, info)


class Strategy(Protocol):
    """Proposes genotypes and learns from told trials; the contract is the module's docstring."""

    def ask(self, n: int, /) -> list[Genotype]:
        """At most ``n`` new genotypes, for the lowest free numbers in order.

        ``[]``: tell the outstanding trials first.
        """

    def tell(self, trials: Sequence[Trial], /) -> None:
        """Results, in any order and grouping.

        Raises SearchError where a trial is not what was proposed at its number.
        """


def free_numbers(taken: Container[int]) -> Iterator[int]:
    """The numbers that the next proposals get: 0, 1, 2, ... without those told or outstanding."""
    return itertools.filterfalse(taken.__contains__, itertools.count())


def names() -> list[str]:
    """Strategies that come with the package: the modules here that define ``create``.

    Wrappers of optional packages (they name them in ``REQUIRES``) are loaded by name like the others, but not listed.
    """
    found = {m.name: importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)}
    return sorted(n for n, m in found.items() if hasattr(m, "create") and not hasattr(m, "REQUIRES"))


def load(name: str, space: Space, seed: int, objectives: int, **options: Any) -> Strategy:
    """The strategy ``name`` on ``space`` with ``objectives`` values a trial.

    ``name``: a module of this package (``nsga2``), any importable module (``mylab.search``) or a Python file
    (``my/search.py``) that defines ``create(space, seed, objectives, **options) -> Strategy``. Options are those of
    ``create``. Raises SearchError for an unknown name (with the nearest ones), a module without ``create``, or an
    unknown option.
    """
    create = _creator(name)
    if objectives < 1:
        raise SearchError(f"strategy {name} needs at least 1 objective, not {objectives}")
    parameters = inspect.signature(create).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        known = [p for p in parameters if p not in ("space", "seed", "objectives")]
        for option in options:
            if option not in known:
                raise SearchError(f"strategy {name} has no option {option!r}; it has: {', '.join(known) or 'none'}")
    strategy: Strategy = create(space, seed, objectives, **options)
    return strategy


def _creator(name: str) -> Callable[..., Any]:
    if name.endswith(".py"):
        module = _from_file(Path(name))
    else:
        full = name if "." in name else f"{__name__}.{name}"
        try:
            module = importlib.import_module(full)
        except ModuleNotFoundError as e:
            if e.name is None or not (full == e.name or full.startswith(e.name + ".")):
                raise SearchError(f"strategy {name!r} needs the Python module {e.name!r}: install it") from None
            near = difflib.get_close_matches(name.lower(), names(), 3, 0.4) or names()
            raise SearchError(
                f"unknown strategy {name!r}; nearest: {', '.join(near)} (or give a module or a .py file)"
            ) from None
    create = getattr(module, "create", None)
    if not callable(create):
        raise SearchError(
            f"{name!r} is not a strategy: it defines no create(space, seed, objectives); known: {', '.join(names())}"
        )
    return create  # type: ignore[no-any-return]


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise SearchError(f"strategy file {path} does not exist")
    spec = importlib.util.spec_from_file_location(f"strategy_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise SearchError(f"strategy file {path} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
