"""How measures are named, ordered and written for people, and what each fidelity means."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

LABELS = {
    "accuracy": "Accuracy",
    "test_accuracy": "Test accuracy",
    "latency_ms": "Latency [ms]",
    "fps": "Throughput [images/s]",
    "energy_mj": "Energy [mJ/image]",
    "utilisation": "Utilisation",
    "interval_cycles": "Interval [cycles]",
    "latency_cycles": "Latency [cycles]",
    "dsp": "DSP",
    "lut": "LUT",
    "ff": "FF",
    "bram18": "BRAM [18\u00a0Kb]",
    "uram": "URAM",
    "macs": "MACs",
    "parameters": "Weights",
    "weights_bits": "Weights [bits]",
    "boards": "Boards",
}
SHARES = frozenset({"accuracy", "test_accuracy", "utilisation"})  # shown in per cent
FIDELITIES = {
    "proxy": ("estimated", "a training-free score: it ranks networks and is no accuracy"),
    "predicted": ("estimated", "predicted from other candidates"),
    "estimate": ("estimated", "this program's model of its blocks; no synthesis tool was asked"),
    "trained": ("measured", "the network was trained during the search and measured on its validation images"),
    "validation": ("measured", "measured on validation images, which the search has seen"),
    "test": (
        "measured",
        "measured by onnxruntime on the quantised ONNX, on test images that neither training nor search touched",
    ),
    "simulate": ("measured", "counted by a cycle simulation of the generated accelerator"),
    "exact": ("proved", "counted from the network itself"),
    "csim": ("proved", "the generated C++ was compiled and run: its outputs equal onnxruntime's bit for bit"),
    "rtlsim": ("proved", "the generated RTL was simulated: its outputs equal onnxruntime's bit for bit"),
    "csynth": ("reported", "the HLS tool's own report after synthesis"),
    "impl": ("reported", "the tool's own report after place and route"),
}


def label(name: str) -> str:
    """A heading with the unit."""
    return LABELS.get(name, name.replace("_", " "))


def ordered(names: Iterable[str]) -> list[str]:
    """Known measures in their usual order, then the others by name."""
    known = list(LABELS)
    return sorted(set(names), key=lambda n: (known.index(n) if n in LABELS else len(known), n))


def finite(value: Any) -> float | None:
    """A number as such; None for what is missing, not a number, NaN or infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def text(name: str, value: Any) -> str:
    """A value as people read it: accuracy in per cent, three significant digits or whole numbers with separators."""
    number = finite(value)
    if number is None:
        return "–" if value is None or isinstance(value, float) else str(value)
    if name in SHARES:
        return f"{100 * number:.2f} %"
    if number == int(number) and abs(number) < 1e15:
        return f"{int(number):,}"
    if abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.3g}" if abs(number) >= 1e-4 else f"{number:.2e}"


def duration(seconds: Any) -> str:
    """``4 min 07 s``."""
    number = finite(seconds)
    if number is None:
        return "–"
    if number < 60:
        return f"{number:.1f} s"
    minutes, rest = divmod(round(number), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def fidelity_word(fidelity: str) -> str:
    """The known fidelity that a phrase names ("onnxruntime, test split": test), else the phrase."""
    words = re.findall(r"[a-z]+", fidelity.lower())
    stems = {"training": "trained", "val": "validation", "prediction": "predicted", "estimated": "estimate"}
    found = [w for w in (stems.get(w, w) for w in words) if w in FIDELITIES]
    return found[0] if found else fidelity


def standing(fidelity: str) -> tuple[str, str]:
    """(estimated | measured | proved | reported | unknown, explanation) of a fidelity or of a phrase naming one."""
    return FIDELITIES.get(fidelity_word(fidelity), ("unknown", "a fidelity this report does not know"))


def rows_of(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested configuration as dotted keys and text."""
    rows: list[tuple[str, str]] = []
    for key, item in value.items():
        if isinstance(item, Mapping):
            rows += rows_of(item, f"{prefix}{key}.")
        elif isinstance(item, list | tuple):
            rows.append((f"{prefix}{key}", ", ".join(map(str, item))))
        elif item is not None:
            rows.append((f"{prefix}{key}", str(item)))
    return rows
