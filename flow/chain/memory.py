"""What lies where in a board's memory: both sides of the joints, and every engine's own maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flow.chain.design import Chain, part_images
from flow.tiled import TiledDesign
from flow.tiled.program import Program

PAGE = 4096  # bytes; joints and regions begin at multiples of it


@dataclass(frozen=True)
class Memory:
    """Byte addresses in one buffer of ``size`` bytes. ``joints``: first byte of a joint's two sides, by its number;
    ``regions``: of each engine's own maps, by (part, copy)."""

    size: int
    joints: Mapping[int, int]
    regions: Mapping[tuple[int, int], int]

    def json(self) -> dict[str, Any]:
        return {
            "size": self.size,
            "joints": {str(k): v for k, v in self.joints.items()},
            "regions": {f"{k}.{c}": v for (k, c), v in self.regions.items()},
        }


def allocate(chain: Chain, programs: Mapping[int, Program], place: int) -> Memory:
    """The memory of one board; ``programs``: of its engines, by part."""
    at, joints, regions = 0, {}, {}
    for k, part in enumerate(chain.parts):
        if chain.places[k] != place:
            continue
        for j in (k, k + 1):
            if j not in joints:
                joints[j] = at
                at += _pages(2 * chain.images * chain.joints[j].image_bytes)
        if isinstance(part, TiledDesign):
            for c in range(part.copies):
                regions[k, c] = at
                at += _pages(programs[k].arena.words * part.engine.granule)
    return Memory(at, joints, regions)


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE


def side(chain: Chain, memory: Memory, joint: int, parity: int, image: int) -> int:
    """First byte of an image of a step on one side of a joint."""
    return memory.joints[joint] + (parity * chain.images + image) * chain.joints[joint].image_bytes


def turns(chain: Chain, part: int) -> list[tuple[int, int]]:
    """A part's work of a step as (copy, first image), in the order in which each copy does it."""
    p = chain.parts[part]
    if not isinstance(p, TiledDesign):
        return [(0, 0)]
    batches = range(0, chain.images, p.batch)
    assert chain.images % part_images(p) == 0
    return [(k % p.copies, first) for k, first in enumerate(batches)]
