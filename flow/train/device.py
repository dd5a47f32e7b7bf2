"""Which processor trains, and in which number format its convolutions are fastest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "float32", "bfloat16")
NATIVE = ("avx512_bf16", "amx_bf16")  # CPU features that multiply bfloat16 in hardware; elsewhere it is emulated


class DeviceError(ValueError):
    """A processor that is not there; one line."""


def pick(name: str, has_cuda: Callable[[], bool] = torch.cuda.is_available) -> str:
    """``auto`` is the GPU where torch sees one, else the CPU.  Raises DeviceError for a GPU that is not there."""
    if name not in DEVICES:
        raise DeviceError(f"no device {name!r}: there are {', '.join(DEVICES)}")
    if name == "auto":
        return "cuda" if has_cuda() else "cpu"
    if name == "cuda" and not has_cuda():
        build = "this torch is a CPU build" if torch.version.cuda is None else "torch sees no GPU"
        raise DeviceError(f"--device cuda: {build}; take --device auto, or set up with TORCH_INDEX of a GPU build")
    return name


def bfloat16(name: str, device: str, cpu_flags: Callable[[], str] | None = None) -> bool:
    """Whether training steps multiply in bfloat16; ``auto``: where the processor does so natively."""
    if name not in PRECISIONS:
        raise DeviceError(f"no precision {name!r}: there are {', '.join(PRECISIONS)}")
    if name != "auto":
        return name == "bfloat16"
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    flags = (cpu_flags or _cpu_flags)().split()
    return any(f in flags for f in NATIVE)


def _cpu_flags() -> str:
    """Empty where the system does not say."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))), "")
