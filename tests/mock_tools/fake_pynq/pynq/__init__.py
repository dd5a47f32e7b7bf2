"""A stand-in for PYNQ whose device runs the compiled C++ of a project.

Environment: FAKE_DEVICE, a JSON file with ``program``, ``words_in``, ``words_out``, ``bytes_in`` and ``bytes_out`` (an
image's); FAKE_LATCH, ``early``: a call reads the batch length when it starts, as soon as the call before has read its
image, ``late``: when its own image comes; FAKE_FAULT, ``drop``: the first word ever sent is lost.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np


class Buffer(np.ndarray):
    """Memory with a cache in front of it: the device sees what was flushed, the program what was invalidated."""

    memory: np.ndarray
    freed: bool

    def flush(self) -> None:
        assert not self.freed, "buffer used after freebuffer"
        self.memory[...] = np.asarray(self)

    def invalidate(self) -> None:
        assert not self.freed, "buffer used after freebuffer"
        np.asarray(self)[...] = self.memory

    def freebuffer(self) -> None:
        self.freed = True


def allocate(shape: tuple[int, ...], dtype: Any = "u4") -> Buffer:
    buffer = np.full(shape, 0xA5, dtype).view(Buffer)  # memory is not zeroed
    buffer.memory = np.full(shape, 0x5A, dtype)
    buffer.freed = False
    return buffer


class Device:
    """The accelerator and the two streams."""

    def __init__(self) -> None:
        self.facts = json.loads(Path(os.environ["FAKE_DEVICE"]).read_text())
        words = [str(self.facts[k]) for k in ("words_in", "words_out")]
        self.process = subprocess.Popen(
            [self.facts["program"], *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.images = 0
        self.latched: int | None = None
        self.restart = False
        self.waiting = b""
        self.results: list[tuple[bytes, bool]] = []

    def start(self, control: int) -> None:
        assert control & ~0x81 == 0, f"control {control:#x}: only start and auto-restart can be written"
        self.restart = bool(control & 0x80)
        if control & 1:
            self.latched = self.images
        self.work()

    def work(self) -> None:
        size = self.facts["bytes_in"]
        while self.latched is not None and len(self.waiting) >= size:
            early = os.environ.get("FAKE_LATCH", "early") == "early"
            images = self.latched if early else self.images
            self.latched = self.images if self.restart else None
            image, self.waiting = self.waiting[:size], self.waiting[size:]
            self.process.stdin.write(images.to_bytes(4, "little") + image)
            data, last = self.read(self.facts["bytes_out"]), self.read(self.facts["words_out"])
            word = len(data) // len(last)
            self.results += [(data[i * word : (i + 1) * word], bool(last[i])) for i in range(len(last))]

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            block = self.process.stdout.read(size - len(data))
            assert block, "the device's program ended"
            data += block
        return data

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class Registers:
    def __init__(self, device: Device) -> None:
        self.device = device

    def write(self, offset: int, value: int) -> None:
        assert isinstance(value, int) and 0 <= value < 2**32
        if offset == 0x00:
            self.device.start(value)
        elif offset == 0x10:
            self.device.images = value
        else:
            raise AssertionError(f"no register at {offset:#x}")


class Channel:
    """One direction of an AXI DMA in simple mode, as pynq.lib.dma shows it."""

    limit = (1 << 26) - 1

    def __init__(self, device: Device) -> None:
        self.device = device
        self.running = True
        self.buffer: Buffer | None = None
        self.first = True

    def arm(self, array: Buffer) -> None:
        assert isinstance(array, Buffer) and not array.freed, "only memory from allocate can be moved"
        assert array.nbytes <= self.limit, "longer than the length register"
        if not self.running or (not self.first and not self.idle):
            raise RuntimeError("DMA channel not idle")
        self.first = False
        self.buffer = array


class SendChannel(Channel):
    def transfer(self, array: Buffer) -> None:
        self.arm(array)
        array.flush()
        data = array.memory.tobytes()
        if os.environ.get("FAKE_FAULT") == "drop":
            del os.environ["FAKE_FAULT"]
            data = data[4:]
        self.device.waiting += data
        self.device.work()

    @property
    def idle(self) -> bool:
        return not self.first and len(self.device.waiting) < self.device.facts["bytes_in"]

    def wait(self) -> None:
        while not self.idle:
            pass


class ReceiveChannel(Channel):
    done = False

    def transfer(self, array: Buffer) -> None:
        self.arm(array)
        self.done = False

    @property
    def idle(self) -> bool:
        """After TLAST, and not before."""
        if self.buffer is None or self.done or self.first:
            return self.done
        ends = [i for i, (_, last) in enumerate(self.device.results) if last]
        if ends:
            packet = b"".join(word for word, _ in self.device.results[: ends[0] + 1])
            del self.device.results[: ends[0] + 1]
            assert len(packet) <= self.buffer.nbytes, "a packet longer than the buffer: undefined behaviour"
            self.buffer.memory.reshape(-1).view(np.uint8)[: len(packet)] = np.frombuffer(packet, np.uint8)
            self.done = True
        return self.done

    def wait(self) -> None:
        while not self.idle:
            pass
        assert self.buffer is not None
        self.buffer.invalidate()


class DMA:
    def __init__(self, device: Device) -> None:
        self.sendchannel, self.recvchannel = SendChannel(device), ReceiveChannel(device)


class Overlay:
    """Programs the device: everything starts from its initial state."""

    current: Device | None = None
    loaded = 0

    def __init__(self, bitfile_name: str) -> None:
        assert os.path.isabs(bitfile_name), "PYNQ looks for bare names among its own overlays"
        for suffix in (".bit", ".hwh"):
            assert Path(bitfile_name).with_suffix(suffix).is_file()
        if Overlay.current is not None:
            Overlay.current.close()
        Overlay.current = device = Device()
        Overlay.loaded += 1
        self.accel_0, self.axi_dma_0 = Registers(device), DMA(device)
