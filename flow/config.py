"""The configuration of a search run: what the command line says, checked, as one frozen value."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, fields
from typing import Any

from flow.modes import MODES

ACCELERATIONS = ("bounds", "proxies", "few", "halving", "curves", "inherit", "supernet")
# All but those that ranked worse than they cost (docs/acceleration.md).
USUAL = ("bounds", "proxies", "halving", "curves", "inherit")
# 0 where the command line leaves them out.
UNLIMITED = ("min_accuracy", "max_latency_ms", "min_fps", "max_energy_mj", "clock_mhz")
AS_GIVEN = ("data", "mode", "trials", "max_utilisation", "target", "confidence", "seed", "workers", "toolchain",
            "front_size", "device", "precision", "engine", "generation", "seeds")  # fmt: skip
OBJECTIVES = ("accuracy", "latency_ms", "utilisation")
LIMITED = ("lut", "ff", "dsp", "bram18", "uram")
MEASURES = ("latency_ms", "fps", "interval_cycles", "energy_mj", "utilisation", *LIMITED)  # of an accelerator
SHORT = {"latency": "latency_ms", "throughput": "fps", "interval": "interval_cycles", "energy": "energy_mj",
         "bram": "bram18"}  # fmt: skip


class ConfigError(ValueError):
    """A setting out of range; one line naming it."""


@dataclass(frozen=True)
class Config:
    """Settings of ``flow search``. Times in seconds, clock in MHz, ``trials`` joint candidates to estimate."""

    board: str = "zcu102"
    platform: str = ""
    space: str = "default"
    data: str = "digits"
    data_dir: str = ""
    strategy: str = "nsga2"
    option: tuple[str, ...] = ()  # NAME=VALUE, of the strategy
    system: str = ""  # the published system that the settings began with
    mode: str = "joint"
    network: str = ""  # hw-only: the quantised ONNX model
    objectives: tuple[str, ...] = ()  # hw-only: of MEASURES
    limits: tuple[str, ...] = ()  # hw-only: NAME=LIMIT, see limits()
    budget: float = 0.4  # share of the board that mode hw-aware holds
    trials: int = 240
    time_s: float = 300.0
    min_accuracy: float = 0.0  # of the front, on the validation split
    max_latency_ms: float = 0.0
    min_fps: float = 0.0
    max_energy_mj: float = 0.0
    max_utilisation: float = 0.8
    target: str = "csynth"
    confidence: float = 0.5
    weight_bits: tuple[int, ...] = (4, 6, 8)
    activation_bits: tuple[int, ...] = (4, 6, 8)
    clock_mhz: float = 0.0
    seed: int = 0
    workers: int = 2
    toolchain: str = "auto"
    front_size: int = 10
    device: str = "auto"
    precision: str = "auto"
    accelerate: tuple[str, ...] = USUAL
    engine: str = "local"
    generation: int = 24
    seeds: int = 1  # of each full training, where the time allows

    def __post_init__(self) -> None:
        limits: dict[str, tuple[float, float]] = {
            "trials": (1, 10**6),
            "time_s": (1, 10**7),
            "front_size": (1, 1000),
            "workers": (1, 512),
            "generation": (4, 10**5),
            "seeds": (1, 100),
        }
        limits |= {
            "max_utilisation": (0.001, 1),
            "budget": (0.001, 1),
            "confidence": (0.5, 0.99),
            "clock_mhz": (0, 1000),
            "min_accuracy": (0, 1),
            "seed": (0, 2**63),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"{name} is {getattr(self, name)}: give {low} to {high}")
        if self.mode not in MODES:
            raise ConfigError(f"mode {self.mode!r}: one of {', '.join(MODES)}")
        if self.mode == "hw-aware" and self.budget > self.max_utilisation:
            raise ConfigError(f"budget {self.budget:g} is above max_utilisation {self.max_utilisation:g}")
        if self.target not in ("csynth", "impl"):
            raise ConfigError(f"target {self.target!r}: csynth or impl")
        if self.engine not in ("local", "ray"):
            raise ConfigError(f"engine {self.engine!r}: local or ray")
        if unknown := sorted(set(self.accelerate) - set(ACCELERATIONS)):
            raise ConfigError(
                f"accelerate {unknown[0]!r}: give usual, all, none, or some of {', '.join(ACCELERATIONS)}"
            )
        self._check_given()
        for name in ("max_latency_ms", "min_fps", "max_energy_mj"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}: give a positive number")

    def _check_given(self) -> None:
        """What belongs to hardware search alone."""
        if self.mode != "hw-only":
            given = [n for n, v in (("--network", self.network), ("--objectives", self.objectives)) if v]
            given += [f"--max-{x.partition('=')[0]}" for x in self.limits]
            if given:
                raise ConfigError(f"{given[0]} is for mode hw-only; this is mode {self.mode}")
            return
        if not self.network:
            raise ConfigError("mode hw-only needs --network MODEL.onnx, the network that is given")
        if self.min_accuracy:
            raise ConfigError("--min-accuracy is for modes that search networks; mode hw-only is given one")
        if self.platform:
            raise ConfigError("mode hw-only works on one board; flow compile --platform maps a network to several")
        for name in self.objectives:
            if name in ("accuracy", "size", "boards"):
                raise ConfigError(f"objective {name}: {name} is the same for every accelerator of a given network")
            if name not in MEASURES:
                raise ConfigError(f"objective {name!r} is not one of {', '.join(MEASURES)}")

    def dict(self) -> dict[str, Any]:
        return asdict(self)


def from_dict(data: dict[str, Any]) -> Config:
    """Inverse of ``Config.dict``. Raises ConfigError naming an unknown key."""
    known = {f.name for f in fields(Config)}
    unknown = sorted(set(data) - known)
    if unknown:
        raise ConfigError(f"unknown setting {unknown[0]!r}; known: {', '.join(sorted(known))}")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    return Config(**values)


def options(texts: tuple[str, ...]) -> dict[str, Any]:
    """``NAME=VALUE`` as keyword arguments: numbers, true, false, else text. Raises ConfigError."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ConfigError(f"option {text!r}: give NAME=VALUE, for example population=32")
        if value in ("true", "false"):
            found[name] = value == "true"
        elif re.fullmatch(r"[+-]?\d+", value):
            found[name] = int(value)
        elif re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value):
            found[name] = float(value)
        else:
            found[name] = value
    return found


def objectives(text: str) -> tuple[str, ...]:
    """``latency,dsp``: measures by their names or short ones; ``Config`` refuses unknown ones."""
    words = [w.strip() for w in text.split(",") if w.strip()]
    return tuple(dict.fromkeys(SHORT.get(w, w) for w in words))


def limits(texts: tuple[str, ...], available: Any) -> dict[str, int]:
    """``dsp=0.5`` or ``dsp=1200``: most of a resource, as a share (up to 1) or a count. Raises ConfigError."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"\d+\.?\d*|\.\d+", value):
            raise ConfigError(f"limit {text!r}: give NAME=LIMIT, a share or a count, for example dsp=0.5")
        if name not in LIMITED:
            raise ConfigError(f"limit {text!r}: one of {', '.join(LIMITED)}")
        number, have = float(value), getattr(available, name)
        found[name] = int(number * have if number <= 1 else number)
        if number <= 0 or not found[name]:
            raise ConfigError(f"limit {text!r} leaves nothing of {have}: give a share or a count above 0")
    return found


def seconds(text: str) -> float:
    """``90``, ``90s``, ``10m`` or ``1.5h`` in seconds. Raises ConfigError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not found or not float(found[1]):
        raise ConfigError(f"time {text!r}: give seconds, or a number with s, m or h, for example 10m")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def accelerations(text: str) -> tuple[str, ...]:
    """``usual``, ``all``, ``none`` or names joined by commas; ``Config`` refuses unknown ones."""
    sets = {"usual": USUAL, "all": ACCELERATIONS, "none": ()}
    if text in sets:
        return sets[text]
    return tuple(w.strip() for w in text.split(","))


def epochs(text: str) -> dict[str, int]:
    """``26+10``: epochs in float, then quantisation-aware, as fields of a recipe. Raises ConfigError."""
    found = re.fullmatch(r"(\d{1,4})\+(\d{1,4})", text.strip())
    if not found or not int(found[1]) or not int(found[2]):
        raise ConfigError(f"epochs {text!r}: give float and quantisation-aware ones, for example 26+10")
    return {"epochs_float": int(found[1]), "epochs_qat": int(found[2])}


def bits(text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """``8``, ``4,8`` or ``2-8`` for weights and activations, or two of them joined by ``|``. Raises ConfigError."""
    parts = text.split("|")
    if len(parts) > 2:
        raise ConfigError(f"bits {text!r}: at most one | (weights|activations)")
    sets = []
    for part in parts:
        chosen: set[int] = set()
        for item in part.split(","):
            found = re.fullmatch(r"\s*(\d{1,2})(?:\s*-\s*(\d{1,2}))?\s*", item)
            low = int(found[1]) if found else 0
            high = int(found[2] or low) if found else 0
            if not 2 <= low <= high <= 8:
                raise ConfigError(f"bits {item!r}: widths of 2 to 8, for example 4,8 or 2-8")
            chosen |= set(range(low, high + 1))
        sets.append(tuple(sorted(chosen)))
    return sets[0], sets[-1]
