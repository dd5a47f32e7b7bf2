"""A network as a chain of parts, tiled engines or streaming stages, on one board or several: one value, and its report.

All parts work at once, each on images of its own.  In every step of the chain a part takes the ``images`` that its
predecessor finished in the step before and leaves its results for its successor: between two parts lies a buffer for
two steps' images, written on one side and read on the other (ping-pong), in the memory of the board.  Streaming stages
read and write it through a DMA, engines through their own ports, boards pass it on over their link.  All of them read
it byte by byte as it was written, so both ends of a joint agree on the arrangement (``Joint``).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

from flow import estimate, timing
from flow.board import Board, Resources
from flow.design import Bound, Design, LayerReport, Report, Violation, excess
from flow.ir.graph import Graph, digest_of
from flow.platform import Link, Platform
from flow.tiled import TiledDesign
from flow.tiled.design import MEMORY_EFFICIENCY
from flow.tiled.engine import port_count
from flow.tiled.layout import places
from flow.tiled.place import Place

Part: TypeAlias = Design | TiledDesign


class ChainError(ValueError):
    """Parts that do not go together."""


@dataclass(frozen=True)
class Joint:
    """A map between two parts, or at the chain's ends. ``place``: how an engine at either end sees it; None where both
    ends stream."""

    image_bytes: int
    place: Place | None


def part_images(part: Part) -> int:
    """Images that a part computes in one go."""
    return part.copies * part.batch if isinstance(part, TiledDesign) else 1


def linear(channels: int, height: int, width: int, granule: int) -> Place | None:
    """The arrangement of a stream's bytes, pixel after pixel with all its channels; None where channels fill no whole
    memory words, so that no engine could read it."""
    if channels % granule:
        return None
    return Place(height, width, (channels // granule,), tuple(range(channels)))


def is_linear(place: Place, granule: int) -> bool:
    """Whether a stream can read a map: no holes, one block or one pixel."""
    full = place.words * granule == len(place.slots) and place.slots == tuple(range(len(place.slots)))
    return full and not place.row_words and (len(place.blocks) == 1 or place.height * place.width == 1)


def ends(part: Part) -> tuple[Joint, Joint]:
    """What a part reads and what it writes."""
    if isinstance(part, TiledDesign):
        found, g = places(part.steps, part.engine), part.engine.granule
        inner = (found["input"], found[part.graph.output])
        first, last = (Joint(p.image_words * g, p) for p in inner)
        return first, last
    outer = (part.netlist.processes[0], part.netlist.processes[-1])
    first, last = (Joint(p.constant("WORDS") * p.constant("WIDTH") // 8, None) for p in outer)
    return first, last


def joint(source: Part, sink: Part) -> Joint:
    """The joint of two parts. Raises ChainError where the sink would not read what the source writes."""
    a, b = ends(source)[1], ends(sink)[0]
    if a.place is not None and b.place is not None:
        assert isinstance(source, TiledDesign) and isinstance(sink, TiledDesign)
        same = a.place == b.place and source.engine.granule == sink.engine.granule
    elif a.place is None and b.place is None:
        same = True
    else:
        engine = source if isinstance(source, TiledDesign) else sink
        assert isinstance(engine, TiledDesign)
        place = a.place or b.place
        same = place is not None and is_linear(place, engine.engine.granule)
    if not same or a.image_bytes != b.image_bytes:
        raise ChainError(
            f"a part writes {a.image_bytes} bytes as {a.place}, the next reads {b.image_bytes} as {b.place}"
        )
    return a if a.place is not None else b


@dataclass(frozen=True, eq=False)
class Chain:
    """Segments of a network in order, each a part on a board.

    ``places``: board of each part, an index into the platform's; ``boundaries``: part i holds nodes ``boundaries[i]``
    up to ``boundaries[i + 1]``; ``images``: of one step.  Cycles are of the first part's clock.
    """

    graph: Graph
    platform: Platform
    places: tuple[int, ...]
    boundaries: tuple[int, ...]
    parts: tuple[Part, ...]
    images: int
    bound: Bound

    def __post_init__(self) -> None:
        assert not any(self.images % part_images(p) for p in self.parts), "a step has whole batches"
        assert len(self.joints) == len(self.parts) + 1

    @cached_property
    def digest(self) -> str:
        return digest_of([self.platform.name, list(self.places), self.images, [p.digest for p in self.parts]])

    @property
    def clock_mhz(self) -> float:
        return self.parts[0].clock_mhz

    @cached_property
    def joints(self) -> tuple[Joint, ...]:
        """What the first part reads, what lies between the parts, what the last one writes."""
        between = (joint(a, b) for a, b in itertools.pairwise(self.parts))
        return (ends(self.parts[0])[0], *between, ends(self.parts[-1])[1])

    def links(self) -> tuple[Link | None, ...]:
        """The link behind each part but the last; None within a board."""
        pairs = itertools.pairwise(self.places)
        found = tuple(self.platform.link(a, b) if a != b else None for a, b in pairs)
        return found

    def link_us(self) -> tuple[float, ...]:
        """Time of one step's images on each link; 0 within a board."""
        sizes = (self.images * j.image_bytes for j in self.joints[1:-1])
        return tuple(n / (k.bandwidth_gb_s * 1e3) if k else 0.0 for n, k in zip(sizes, self.links(), strict=True))

    def part_us(self) -> tuple[float, ...]:
        """Time of one step of each part."""
        return tuple(step_cycles(p, self.images) / p.clock_mhz for p in self.parts)

    @cached_property
    def step_us(self) -> float:
        """Time of a step: the slowest part or link."""
        return max(*self.part_us(), *self.link_us(), 0.0)

    @property
    def interval_cycles(self) -> int:
        return math.ceil(self.step_us * self.clock_mhz / self.images - 1e-9)

    @property
    def latency_cycles(self) -> int:
        """From the start of a step's images to their last result: a step for every part and link."""
        stages = len(self.parts) + sum(k is not None for k in self.links())
        delay = sum(k.latency_us for k in self.links() if k)
        return math.ceil((stages * self.step_us + delay) * self.clock_mhz - 1e-9)

    def on(self, place: int) -> tuple[Part, ...]:
        """The parts of one board."""
        return tuple(p for p, b in zip(self.parts, self.places, strict=True) if b == place)

    def budget(self, place: int) -> Resources:
        """What all parts of a board may use together: the most that one of them was offered."""
        return Resources(*(max(kind) for kind in zip(*(p.available for p in self.on(place)), strict=True)))

    def memory_shares(self, place: int) -> float:
        """What the board's parts take of its memory's bandwidth: the engines' shares, and the words of streams and
        links."""
        image_us, board = self.step_us / self.images, self.on(place)[0].board
        parts = (p.memory if isinstance(p, TiledDesign) else stream_share(p, image_us) for p in self.on(place))
        hops = zip(self.links(), self.joints[1:-1], itertools.pairwise(self.places), strict=True)
        passed = sum(j.image_bytes for link, j, pair in hops if link and place in pair)
        return sum(parts) + bytes_share(passed, board, image_us)

    def violations(self) -> tuple[Violation, ...]:
        """Limits of every board that its parts together miss."""
        found: list[Violation] = []
        for b in dict.fromkeys(self.places):
            parts, name = self.on(b), f" of board {b}" if len(self.platform.boards) > 1 else ""
            over = excess(sum((used(p) for p in parts), Resources()), self.budget(b))
            ports = sum(p.copies * p.engine.ports for p in parts if isinstance(p, TiledDesign))
            if ports > port_count(parts[0].board):
                over += (Violation("ports", ports, port_count(parts[0].board)),)
            if self.memory_shares(b) > 1 + 1e-9:
                over += (Violation("memory bandwidth", round(self.memory_shares(b), 3), 1.0),)
            found += [replace(v, resource=v.resource + name) for v in over]
        return tuple(found)

    def report(self) -> Report:
        """The estimate of the whole, with one report a part."""
        reports = [p.report() if isinstance(p, TiledDesign) else estimate.estimate(p) for p in self.parts]
        return Report(
            fidelity="estimate",
            board=self.platform.name,
            clock_mhz=self.clock_mhz,
            latency_cycles=self.latency_cycles,
            interval_cycles=self.interval_cycles,
            energy_mj=energy_mj(self, reports),
            resources=sum((used(p) for p in self.parts), Resources()),
            available=sum((self.budget(b) for b in dict.fromkeys(self.places)), Resources()),
            violations=self.violations(),
            bound=self.bound,
            macs=sum(r.macs for r in reports),
            layers=tuple(layers(self, reports)),
            kind="chain",
            parts=tuple(reports),
            extra={"chain": summary(self)},
        )


def used(part: Part) -> Resources:
    """What C synthesis will report for a part."""
    return part.resources if isinstance(part, TiledDesign) else estimate.resources(part.netlist)


def step_cycles(part: Part, images: int) -> int:
    """Cycles of a part for a step: an engine's batches one after another; a stream's first image and the others."""
    if isinstance(part, TiledDesign):
        return images // part_images(part) * part.batch_cycles
    return timing.analyse(part.netlist).latency_cycles + (images - 1) * timing.slowest(part.netlist)


def stream_share(part: Design, image_us: float) -> float:
    """Share of the memory's bandwidth that a stream's words take at a time per image."""
    return bytes_share(sum(j.image_bytes for j in ends(part)), part.board, image_us)


def bytes_share(moved: int, board: Board, image_us: float) -> float:
    """Share of the memory's bandwidth that some bytes an image take; 0 on a board that does not state it."""
    whole = board.memory_gb_s * 1e3 * MEMORY_EFFICIENCY  # bytes a microsecond
    return moved / (image_us * whole) if whole else 0.0


def energy_mj(chain: Chain, reports: list[Report]) -> float | None:
    """Of an image: every part's dynamic power while it works, every board's static power all the time."""
    if not all(r.power for r in reports):
        return None
    image_us = chain.step_us / chain.images
    dynamic = sum(r.power["dynamic_w"] * r.interval_cycles / r.clock_mhz for r in reports)
    static = {b: r.power["static_w"] for b, r in zip(chain.places, reports, strict=True)}
    return (dynamic + sum(static.values()) * image_us) * 1e-3


def layers(chain: Chain, reports: list[Report]) -> list[LayerReport]:
    """All layers, under their ids in the whole network."""
    found = []
    for part, report, (first, end) in zip(chain.parts, reports, itertools.pairwise(chain.boundaries), strict=True):
        ids = {inner.id: outer.id for inner, outer in zip(part.graph.nodes, chain.graph.nodes[first:end], strict=True)}
        found += [replace(x, id=ids.get(x.id, x.id)) for x in report.layers]
    return found


def summary(chain: Chain) -> dict[str, Any]:
    """The chain's own numbers, for the report's JSON."""
    each = zip(chain.parts, chain.places, itertools.pairwise(chain.boundaries), chain.part_us(), strict=True)
    return {
        "images": chain.images,
        "step_us": chain.step_us,
        "parts": [
            {
                "kind": "tiled" if isinstance(p, TiledDesign) else "stream",
                "board": p.board.name,
                "place": b,
                "nodes": list(nodes),
                "busy": us / chain.step_us,
                "memory_share": p.memory
                if isinstance(p, TiledDesign)
                else stream_share(p, chain.step_us / chain.images),
                "resources": used(p).json(),
            }
            for p, b, nodes, us in each
        ],
        "joint_bytes": [j.image_bytes for j in chain.joints],
        "link_us": list(chain.link_us()),
    }
