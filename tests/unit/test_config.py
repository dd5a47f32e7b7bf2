"""Settings of a search run: limits, text forms, the way to TOML and back."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path

import pytest

from flow import config
from flow.archive import Archive
from flow.config import Config, ConfigError, bits, from_dict, seconds


@pytest.mark.parametrize(
    ("text", "value"),
    [("90", 90.0), ("90s", 90.0), ("10m", 600.0), ("1.5h", 5400.0), (" 2 m ", 120.0), ("0.5", 0.5)],
)
def test_seconds(text: str, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "m", "10x", "-5", "0", "0m", "1h30m", "nan", "1e3", "ten"])
def test_bad_seconds(text: str) -> None:
    with pytest.raises(ConfigError, match=r"give seconds.*10m") as e:
        seconds(text)
    assert repr(text) in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("text", "weights", "activations"),
    [
        ("8", (8,), (8,)),
        ("4,8", (4, 8), (4, 8)),
        ("2-8", (2, 3, 4, 5, 6, 7, 8), (2, 3, 4, 5, 6, 7, 8)),
        ("8|4,8", (8,), (4, 8)),
        ("8,4,8", (4, 8), (4, 8)),
        (" 2 - 3 , 6 | 5", (2, 3, 6), (5,)),
    ],
)
def test_bits(text: str, weights: tuple[int, ...], activations: tuple[int, ...]) -> None:
    assert bits(text) == (weights, activations)


@pytest.mark.parametrize("text", ["", "1", "9", "16", "8-4", "4,", "4|", "a", "4|4|4", "-4", "2-9"])
def test_bad_bits(text: str) -> None:
    with pytest.raises(ConfigError, match="bits"):
        bits(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trials", 0), ("trials", 10**7), ("time_s", 0.0), ("time_s", math.nan), ("workers", 0), ("front_size", 0),
        ("max_utilisation", 0.0), ("max_utilisation", 1.01), ("max_utilisation", math.nan), ("clock_mhz", -1.0),
        ("clock_mhz", 2000.0), ("seed", -1), ("min_fps", -1.0), ("max_latency_ms", -0.1), ("min_fps", math.nan),
        ("max_latency_ms", math.inf),
    ],
)  # fmt: skip
def test_limits_name_the_setting(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"^{name} is "):
        Config(**{name: value})  # type: ignore[arg-type]


def test_there_and_back(tmp_path: Path) -> None:
    """Through TOML, as a resumed run reads it: every setting but the default, types kept."""
    full = Config(
        board="pynq-z2", platform="p.toml", space="my/space.py", data="cifar10", data_dir="d", strategy="random",
        trials=7, time_s=12.5, min_accuracy=0.5, max_latency_ms=3.5, min_fps=30.0, max_energy_mj=2.0,
        max_utilisation=0.5,
        weight_bits=(3,),
        activation_bits=(2, 8), clock_mhz=150.0, seed=2**40, workers=3, toolchain="none", front_size=4,
        target="impl", confidence=0.9,
        device="cpu", precision="float32", accelerate=("curves", "halving"), engine="ray", generation=48, seeds=3,
        option=("population=32",), system="nahas", budget=0.3,
    )  # fmt: skip
    own = {"network": "net.onnx", "objectives": ("latency_ms", "dsp"), "limits": ("dsp=0.5",)}
    given = replace(full, mode="hw-only", platform="", min_accuracy=0.0, **own)  # type: ignore[arg-type]
    same = [f.name for f in fields(Config) if getattr(full, f.name) == f.default == getattr(given, f.name)]
    assert not same, f"not tested: {same}"
    for n, settings in enumerate((full, given)):
        assert from_dict(settings.dict()) == settings
        with Archive.create(tmp_path / str(n), settings.dict(), {}) as archive:
            assert from_dict(archive.config) == settings
        with Archive.open(tmp_path / str(n)) as archive:
            assert from_dict(archive.config) == settings


def test_an_accuracy_is_asked_for_only_where_networks_are_searched() -> None:
    with pytest.raises(ConfigError, match="--min-accuracy is for modes that search networks"):
        Config(mode="hw-only", network="net.onnx", min_accuracy=0.9)


def test_an_unknown_key_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting 'trails'; known: .*trials"):
        from_dict({"trails": 3})


def test_objectives_are_those_of_the_front() -> None:
    assert config.OBJECTIVES == ("accuracy", "latency_ms", "utilisation")


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("all", config.ACCELERATIONS),
        ("usual", config.USUAL),
        ("none", ()),
        ("curves", ("curves",)),
        ("bounds, inherit", ("bounds", "inherit")),
    ],
)
def test_accelerations_are_switches(text: str, chosen: tuple[str, ...]) -> None:
    assert Config(accelerate=config.accelerations(text)).accelerate == chosen


def test_an_unknown_acceleration_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"accelerate 'magic': .*bounds, proxies"):
        Config(accelerate=config.accelerations("curves,magic"))
