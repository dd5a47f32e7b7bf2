"""Where a program's maps lie is decided late: engines share a memory, and ends change sides from batch to batch.

``references`` says where in the records addresses stand, ``linked`` moves them: the engine's own maps to a region of
its own, the network's input and output to wherever they are passed on.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flow.tiled import instruction
from flow.tiled.engine import RECORD
from flow.tiled.memory import offset_in
from flow.tiled.program import Program

OWN, INPUT, OUTPUT = 0, 1, 2  # what an address may be of


def references(program: Program) -> tuple[NDArray[np.int32], ...]:
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
    return tuple(np.array(p, np.int32) for p in positions)


def starts(program: Program) -> tuple[int, int, int]:
    """First words of the engine's own region, of the input and of the output, as compiled."""
    output = offset_in(program.design.steps, program.places, program.design.graph.output)[0]
    return 0, program.arena.starts["input"], program.arena.starts[output]


def linked(program: Program, own: int, source: int, sink: int) -> NDArray[np.int32]:
    """The records with the three regions beginning at these words."""
    flat = program.records.reshape(-1).copy()
    moved = zip(references(program), (own, source, sink), starts(program), strict=True)
    for where, new, old in moved:
        flat[where] += np.int32(new - old)
    return flat.reshape(program.records.shape)


def table(program: Program) -> bytes:
    """For drivers: how many references of each kind, the three starts, then the positions, as little-endian int32."""
    found = references(program)
    head = np.array([*(len(p) for p in found), *starts(program)], np.int32)
    return np.concatenate([head, *found]).astype("<i4").tobytes()
