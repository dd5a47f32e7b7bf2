"""The two targets of an estimate, never mixed: what C synthesis reports and what an implementation uses.

Blocks are composed of component laws, so an estimate predicts C synthesis. An implementation's numbers are that times
a ratio seen in real designs (targets.toml), which differs between resources and scatters: so each comes as p10, p50
and p90.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from functools import cache
from importlib import resources as files
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

from flow.board import KINDS, Resources

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


Target = Literal["csynth", "impl"]
_Z90 = NormalDist().inv_cdf(0.9)
SURE = 1e-9  # ratios that never differed


class Spread(NamedTuple):
    """Quantiles of a ratio: its logarithm is taken as normal below and above the median, with two widths."""

    p10: float
    p50: float
    p90: float

    def quantile(self, share: float) -> float:
        """The ratio that ``share`` of the samples do not exceed."""
        z = NormalDist().inv_cdf(share)
        end = self.p90 if z > 0 else self.p10
        return float(self.p50 * (end / self.p50) ** abs(z / _Z90))

    def below(self, ratio: float) -> float:
        """The share of samples that do not exceed ``ratio``."""
        if ratio <= 0:
            return 0.0
        end = self.p90 if ratio > self.p50 else self.p10
        width = abs(math.log(end / self.p50)) / _Z90
        distance = math.log(ratio / self.p50)
        if width < SURE:
            return 1.0 if distance >= -SURE else 0.0
        return NormalDist().cdf(distance / width)

    def times(self, other: Spread) -> Spread:
        """Quantiles of the product of two ratios that do not depend on each other: log-widths add in quadrature."""
        middle = self.p50 * other.p50
        down, up = (math.hypot(*(math.log(s[end] / s.p50) for s in (self, other))) for end in (0, 2))
        return Spread(middle * math.exp(-down), middle, middle * math.exp(up))


@cache
def data() -> dict[str, Any]:
    """targets.toml."""
    return tomllib.loads((files.files("flow.cost") / "targets.toml").read_text(encoding="utf-8"))


@cache
def spread(target: str, kind: str) -> Spread:
    """Quantiles of ``target`` over the C synthesis estimate, for a resource kind."""
    return Spread(**data()[target][kind])


def implementation(used: Resources) -> tuple[float, ...]:
    """Median amounts (by KINDS) that an implementation uses where C synthesis reports ``used``."""
    return tuple(n * spread("impl", k).p50 for k, n in zip(KINDS, used.tuple, strict=True))


def interval(target: Target, used: Resources) -> dict[str, tuple[int, int]]:
    """p10 and p90 of what ``target`` will show of each resource, where an estimate says ``used``."""
    pairs = [(k, n, spread(target, k)) for k, n in zip(KINDS, used.tuple, strict=True)]
    return {k: (math.floor(n * s.p10), math.ceil(n * s.p90)) for k, n, s in pairs}


@dataclass(frozen=True)
class Decision:
    """Which target a design must fit, and in what share of cases: of each resource by itself."""

    target: Target = "csynth"
    confidence: float = 0.5
    # By resource kind, target / estimate as reports of this search have it; of other kinds, as ``spread`` has it.
    known: tuple[tuple[str, Spread], ...] = ()

    def __post_init__(self) -> None:
        if self.target not in ("csynth", "impl"):
            raise ValueError(f"target {self.target!r}: csynth or impl")
        if not 0.5 <= self.confidence <= 0.99:
            raise ValueError(f"confidence {self.confidence}: 0.5 to 0.99")

    def ratio(self, kind: str) -> Spread:
        """Target / estimate."""
        return dict(self.known).get(kind) or spread(self.target, kind)

    def factor(self, kind: str) -> float:
        """What an estimate is multiplied by before it is compared with the device."""
        return self.ratio(kind).quantile(self.confidence)

    def budget(self, available: Resources) -> Resources:
        """The estimates that fit ``available`` with this confidence."""
        pairs = zip(KINDS, available.tuple, strict=True)
        return Resources(*(math.floor(n / self.factor(k) + 1e-9) for k, n in pairs))

    def judge(self, used: Resources, available: Resources) -> dict[str, Any]:
        """For each resource: the amount at this confidence, what there is, and the probability that it fits."""
        limits = {}
        for k, n, a in zip(KINDS, used.tuple, available.tuple, strict=True):
            sure = self.ratio(k).below(a / n) if n else 1.0
            limits[k] = {"used": math.ceil(n * self.factor(k) - 1e-9), "available": a, "probability": round(sure, 4)}
        least = min(x["probability"] for x in limits.values())
        return {"target": self.target, "confidence": self.confidence, "probability": least, "limits": limits}


CSYNTH = Decision()  # what C synthesis reports, by the median
