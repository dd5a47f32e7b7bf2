"""Where a program's maps lie is decided late: engines share a memory, and ends change sides from batch to batch.

A program compiled without ``ends`` addresses three regions, each from 0: the engine's own maps, the network's input and
its output.  ``references`` says where in the records those addresses stand, ``linked`` adds where the regions begin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flow.tiled import instruction
from flow.tiled.engine import RECORD
from flow.tiled.memory import offset_in
from flow.tiled.program import Program

OWN, INPUT, OUTPUT = 0, 1, 2  # regions that an address may lie in


def references(program: Program) -> tuple[NDArray[np.int64], ...]:
    """Positions of addresses in the flat records: of the engine's own maps, of the input, of the output."""
    steps, found = program.design.steps, program.places
    roots = {offset_in(steps, found, "input")[0]: INPUT, offset_in(steps, found, steps.graph.output)[0]: OUTPUT}
    region = {t: roots.get(offset_in(steps, found, t)[0], OWN) for t in found}
    positions: tuple[list[int], ...] = ([], [], [])
    for number, issue in enumerate(program.issued):
        if issue.iteration is None:
            continue
        step, record = steps.steps[issue.step], program.records[number]
        for part, tensor in (("load", step.source), ("residual", step.residual), ("store", step.out)):
            at = instruction.STARTS[part]
            if tensor is not None and record[at]:  # the process has something to do
                base = at + instruction.PARTS[part].index("base")
                positions[region[tensor]].append(number * RECORD + base)
    return tuple(np.array(p, np.int64) for p in positions)


def linked(
    records: NDArray[np.int32], positions: tuple[NDArray[np.int64], ...], starts: tuple[int, ...]
) -> NDArray[np.int32]:
    """The records with every region at a start of its own, in words."""
    flat = records.reshape(-1).copy()
    for where, start in zip(positions, starts, strict=True):
        flat[where] += np.int32(start)
    return flat.reshape(records.shape)
