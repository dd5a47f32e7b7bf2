"""The wire between two boards: a process of the schedule and the simulation; no code is generated for it."""

from __future__ import annotations

from math import ceil

import numpy as np

from flow.board import Resources
from flow.design import Port, Process
from flow.fixed import IntArray


def word_cycles(words: int, width: int, bandwidth_gb_s: float, clock_mhz: float) -> int:
    """Cycles for ``words`` of ``width`` bits over a link; a word a cycle at most."""
    bytes_a_cycle = bandwidth_gb_s * 1e3 / clock_mhz
    return max(words, ceil(words * width / 8 / bytes_a_cycle - 1e-9))


def link(ident: str, port: Port, bandwidth_gb_s: float, clock_mhz: float) -> Process:
    """AXI words of ``port`` at the link's rate. Its latency delays every word alike and is added elsewhere."""
    return Process(
        id=ident,
        node=ident,
        header="",
        function="link",
        constants=(("WORDS", port.beats),),
        types=(),
        inputs=(port,),
        outputs=(port,),
        iterations=word_cycles(port.beats, port.width, bandwidth_gb_s, clock_mhz),
        depth=2,
        resources=Resources(),
    )


def schedule_link(p: Process) -> tuple[list[IntArray], list[IntArray]]:
    """Words spread evenly over the iterations."""
    times = np.arange(p.constant("WORDS"), dtype=np.int64) * p.iterations // p.constant("WORDS")
    return [times], [times]


SCHEDULES = {"link": schedule_link}
