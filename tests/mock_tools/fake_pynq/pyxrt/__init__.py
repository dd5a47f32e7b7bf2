"""A stand-in for XRT's pyxrt whose card runs the compiled C++ of a project's kernels.

Environment: FAKE_DEVICE, a JSON file with ``program``, ``words_in``, ``bytes_in`` (an image's), ``word_in`` and
``word_out`` (bytes of a word); FAKE_FAULT, ``drop``: the first word ever written is lost. Signatures are those of XRT's
pybind11 module.
"""

from __future__ import annotations

import enum
import json
import os
import subprocess
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
        self.process: subprocess.Popen[bytes] | None = None
        self.loaded = 0

    def load_xclbin(self, path: str) -> str:
        assert Path(path).is_file()
        if self.process is not None:
            self.process.stdin.close()
            self.process.stdout.close()
            self.process.wait()
        self.facts = json.loads(Path(os.environ["FAKE_DEVICE"]).read_text())
        self.process = subprocess.Popen(
            [self.facts["program"], str(self.facts["words_in"])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self.loaded += 1
        return f"uuid-{self.loaded}"

    def command(self, kernel: int, words: int, data: bytes = b"") -> bool:
        assert self.process is not None
        self.process.stdin.write(kernel.to_bytes(4, "little") + words.to_bytes(4, "little") + data)
        return self.read(1) == b"\1"

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            block = self.process.stdout.read(size - len(data))
            assert block, "the card's program ended"
            data += block
        return data


class kernel:
    def __init__(self, card: device, uuid: str, name: str) -> None:
        assert uuid == f"uuid-{card.loaded}", "another xclbin is loaded"
        assert name in ("mm2s", "s2mm"), f"no kernel {name} with a control port"
        self.card, self.uuid, self.name = card, uuid, name

    def group_id(self, argument: int) -> int:
        assert argument == 0, "only argument 0 is a pointer"
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
        a, b = (
            (self.memory, self.host)
            if direction is xclBOSyncDirection.XCL_BO_SYNC_BO_TO_DEVICE
            else (self.host, self.memory)
        )
        a[offset : offset + size] = b[offset : offset + size]


class run:
    def __init__(self, of: kernel) -> None:
        self.kernel, self.arguments, self.started = of, {}, False

    def set_arg(self, index: int, value: bo | int) -> None:
        assert (index == 0 and isinstance(value, bo)) or (index == 1 and type(value) is int and value < 2**31)
        self.arguments[index] = value

    def start(self) -> None:
        assert set(self.arguments) == {0, 1}
        self.started = True
        if self.kernel.name == "mm2s":
            memory, words = self.arguments[0], self.arguments[1]
            facts = self.kernel.card.facts
            data = bytes(memory.memory[: words * facts["word_in"]])
            assert len(data) == words * facts["word_in"], "reads beyond the buffer"
            if os.environ.get("FAKE_FAULT") == "drop":
                del os.environ["FAKE_FAULT"]
                words, data = words - 1, data[facts["word_in"] :]
            self.kernel.card.command(0, words, data)

    def wait(self, milliseconds: int) -> ert_cmd_state:
        assert self.started and milliseconds > 0
        if self.kernel.name == "s2mm":
            memory, words = self.arguments[0], self.arguments[1]
            if not self.kernel.card.command(1, words):
                return ert_cmd_state.ERT_CMD_STATE_TIMEOUT
            size = words * self.kernel.card.facts["word_out"]
            assert size <= memory.size_, "writes beyond the buffer"
            memory.memory[:size] = self.kernel.card.read(size)
        return ert_cmd_state.ERT_CMD_STATE_COMPLETED
