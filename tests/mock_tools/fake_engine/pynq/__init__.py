"""A stand-in for PYNQ whose kernels run the compiled C++ of a tiled project on the memory that their registers name.

Environment: FAKE_DEVICE, a JSON file with ``bench`` (the project's test bench), ``hls`` (its folder), ``kernels``
(their names) and ``wide`` (whether addresses have two registers, as Vitis HLS makes them); FAKE_FAULT, ``hang``: no
kernel ever ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

POINTERS = ("maps", "residuals", "results", "weights", "program")
BASE = 0x7_0000_0000  # memory above 4 GiB where addresses are wide


class Buffer(np.ndarray):
    """Memory with a cache in front of it: the device sees what was flushed, the program what was invalidated."""

    memory: np.ndarray
    freed: bool
    device_address: int

    def flush(self) -> None:
        assert not self.freed, "buffer used after freebuffer"
        self.memory[...] = np.asarray(self)

    def invalidate(self) -> None:
        assert not self.freed, "buffer used after freebuffer"
        np.asarray(self)[...] = self.memory

    def freebuffer(self) -> None:
        assert not self.freed, "freed twice"
        self.freed = True


buffers: list[Buffer] = []


def facts() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(os.environ["FAKE_DEVICE"]).read_text())
    return found


def allocate(shape: tuple[int, ...], dtype: Any = "u4") -> Buffer:
    buffer = np.full(shape, 0xA5, dtype).view(Buffer)  # memory is not zeroed
    buffer.memory = np.full(shape, 0x5A, dtype)
    buffer.freed = False
    last = buffers[-1].device_address + buffers[-1].nbytes if buffers else (BASE if facts()["wide"] else 0x1000_0000)
    buffer.device_address = (last + 0xFFF) // 0x1000 * 0x1000
    buffers.append(buffer)
    return buffer


def at(address: int) -> Buffer:
    found = [b for b in buffers if b.device_address == address and not b.freed]
    assert found, f"no buffer begins at {address:#x}"
    return found[-1]


def layout() -> dict[str, dict[str, int]]:
    """The registers of the kernel as the tool numbers them: three words an address and count, or two."""
    found, offset = {"CTRL": {"address_offset": 0}}, 0x10
    for name in POINTERS:
        for part in ("_1", "_2") if facts()["wide"] else ("",):
            found[name + part] = {"address_offset": offset}
            offset += 4
        offset += 4
    return found | {"instructions": {"address_offset": offset}}


class Kernel:
    def __init__(self) -> None:
        self.names = {entry["address_offset"]: name for name, entry in layout().items()}
        self.values: dict[str, int] = {}
        self.status = 0x04

    def write(self, offset: int, value: int) -> None:
        assert isinstance(value, int) and 0 <= value < 2**32 and offset in self.names, f"no register at {offset:#x}"
        if offset:
            self.values[self.names[offset]] = value
            return
        assert value == 1 and self.status & 0x04, "started while it runs, or with more than a start"
        self.status = 0
        if os.environ.get("FAKE_FAULT") != "hang":
            self.work()
            self.status = 0x06

    def read(self, offset: int) -> int:
        assert offset == 0
        found = self.status
        self.status &= ~0x02  # done is cleared by reading
        return found

    def pointer(self, name: str) -> int:
        if name in self.values:
            return self.values[name]
        return self.values[name + "_1"] | self.values[name + "_2"] << 32

    def work(self) -> None:
        where = facts()
        maps, weights, program = (at(self.pointer(n)) for n in ("maps", "weights", "program"))
        assert self.pointer("residuals") == self.pointer("results") == self.pointer("maps")
        hls = Path(where["hls"])
        assert weights.memory.tobytes() == (hls / "weights.bin").read_bytes(), "weights were not flushed"
        assert self.values["instructions"] * 512 == program.memory.nbytes
        with tempfile.TemporaryDirectory() as work:
            memory, records = Path(work) / "memory", Path(work) / "program"
            memory.write_bytes(maps.memory.tobytes())
            records.write_bytes(program.memory.tobytes())
            subprocess.run(
                [where["bench"], "memory", str(memory), str(records), str(hls)], check=True, stdout=subprocess.DEVNULL
            )
            maps.memory[...] = np.frombuffer(memory.read_bytes(), np.uint8)


class Overlay:
    """Programs the device: everything starts from its initial state."""

    loaded = 0

    def __init__(self, bitfile_name: str) -> None:
        assert os.path.isabs(bitfile_name), "PYNQ looks for bare names among its own overlays"
        for suffix in (".bit", ".hwh"):
            assert Path(bitfile_name).with_suffix(suffix).is_file()
        Overlay.loaded += 1
        self.ip_dict = {name: {"registers": layout()} for name in facts()["kernels"]}
        for name in self.ip_dict:
            setattr(self, name, Kernel())
