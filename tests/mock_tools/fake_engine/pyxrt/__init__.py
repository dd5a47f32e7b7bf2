"""A stand-in for XRT's pyxrt whose compute units run the compiled C++ of a tiled project on their buffers.

Environment: FAKE_DEVICE, a JSON file with ``bench``, ``hls`` and ``kernels`` (compute units as the link names them);
FAKE_FAULT, ``hang``: no kernel ever ends. Signatures are those of XRT's pybind11 module.
"""

from __future__ import annotations

import enum
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np


class ert_cmd_state(enum.IntEnum):
    ERT_CMD_STATE_NEW = 1
    ERT_CMD_STATE_COMPLETED = 4
    ERT_CMD_STATE_TIMEOUT = 8


class xclBOSyncDirection(enum.Enum):
    XCL_BO_SYNC_BO_TO_DEVICE = 0
    XCL_BO_SYNC_BO_FROM_DEVICE = 1


class device:
    def __init__(self, index: int) -> None:
        assert index == 0, "one card"
        self.loaded = 0

    def load_xclbin(self, path: str) -> str:
        assert Path(path).is_file()
        self.facts = json.loads(Path(os.environ["FAKE_DEVICE"]).read_text())
        self.loaded += 1
        return f"uuid-{self.loaded}"


class kernel:
    def __init__(self, card: device, uuid: str, name: str) -> None:
        assert uuid == f"uuid-{card.loaded}", "another xclbin is loaded"
        found = re.fullmatch(r"(\w+):\{(\w+)\}", name)
        assert found and found[2] in card.facts["kernels"], f"no compute unit {name}"
        self.card = card

    def group_id(self, argument: int) -> int:
        assert argument in range(5), "arguments 0 to 4 are pointers"
        return 0


class bo:
    normal = 0

    def __init__(self, card: device, size: int, flags: int, group: int) -> None:
        self.size_, self.host, self.memory = size, bytearray(b"\xa5" * size), bytearray(b"\x5a" * size)

    def write(self, data: np.ndarray, seek: int) -> None:
        raw = memoryview(data).cast("B")
        assert seek + len(raw) <= self.size_
        self.host[seek : seek + len(raw)] = raw

    def read(self, size: int, skip: int) -> np.ndarray:
        assert skip + size <= self.size_
        return np.frombuffer(bytes(self.host[skip : skip + size]), np.int8)

    def sync(self, direction: xclBOSyncDirection, size: int, offset: int) -> None:
        assert offset + size <= self.size_
        to = direction is xclBOSyncDirection.XCL_BO_SYNC_BO_TO_DEVICE
        a, b = (self.memory, self.host) if to else (self.host, self.memory)
        a[offset : offset + size] = b[offset : offset + size]


class run:
    def __init__(self, of: kernel) -> None:
        self.kernel, self.arguments, self.done = of, {}, False

    def set_arg(self, index: int, value: bo | int) -> None:
        assert (index in range(5) and isinstance(value, bo)) or (index == 5 and type(value) is int)
        self.arguments[index] = value

    def start(self) -> None:
        assert set(self.arguments) == set(range(6))
        maps, residuals, results, weights, program, count = (self.arguments[k] for k in range(6))
        assert maps is residuals is results and count * 512 == program.size_
        if os.environ.get("FAKE_FAULT") == "hang":
            return
        hls = Path(self.kernel.card.facts["hls"])
        assert bytes(weights.memory) == (hls / "weights.bin").read_bytes()
        with tempfile.TemporaryDirectory() as work:
            memory, records = Path(work) / "memory", Path(work) / "program"
            memory.write_bytes(bytes(maps.memory))
            records.write_bytes(bytes(program.memory))
            bench = self.kernel.card.facts["bench"]
            subprocess.run(
                [bench, "memory", str(memory), str(records), str(hls)], check=True, stdout=subprocess.DEVNULL
            )
            maps.memory[:] = memory.read_bytes()
        self.done = True

    def wait(self, milliseconds: int) -> ert_cmd_state:
        assert milliseconds > 0
        return ert_cmd_state.ERT_CMD_STATE_COMPLETED if self.done else ert_cmd_state.ERT_CMD_STATE_TIMEOUT
