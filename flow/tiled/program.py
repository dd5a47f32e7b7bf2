"""Design -> program: instructions, weights and addresses; and which iterations must wait for which.

The engine's processes overlap: while iteration t computes, t + 1 loads and t - 1 stores.  Its instruction queues hold
one record, so an iteration's reads begin only when the iteration three before it has stored everything (the argument is
in docs/tiled-engine.md).  The compiler therefore puts empty iterations between a map's last writer and its first reader
where they are closer than that, and nothing else keeps them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flow.blocks import UnsupportedError
from flow.blocks.requant import division
from flow.tiled import instruction, weights
from flow.tiled.design import TiledDesign
from flow.tiled.engine import FEWEST, PIXEL, RUNS
from flow.tiled.layout import places
from flow.tiled.memory import Arena, allocate, offset_in
from flow.tiled.nest import DISTANCE, Iteration, Job, iterations
from flow.tiled.place import Place
from flow.tiled.steps import Step

Numbers = dict[str, int]


@dataclass(frozen=True, eq=False)
class Issue:
    """One iteration as issued: its record, its step (-1: none) and its place in the nest."""

    step: int
    iteration: Iteration | None


@dataclass(frozen=True, eq=False)
class Program:
    """What the engine reads: ``records`` (n, RECORD), ``weights`` (bytes), and where images go in and results come out.

    Addresses count words of ``granule`` bytes in one region of ``arena.words`` words.
    """

    design: TiledDesign
    records: NDArray[np.int32]
    weights: NDArray[np.uint8]
    arena: Arena
    places: Mapping[str, Place]
    issued: tuple[Issue, ...] = field(repr=False)

    @property
    def stalls(self) -> int:
        """Empty iterations."""
        return sum(i.step < 0 for i in self.issued)

    def start(self, tensor: str) -> tuple[int, int]:
        """First word of a tensor's first image, and words from image to image."""
        return address(self.design, self.places, self.arena, tensor)


def address(design: TiledDesign, found: Mapping[str, Place], arena: Arena, tensor: str) -> tuple[int, int]:
    root, inside = offset_in(design.steps, found, tensor)
    return arena.starts[root] + inside, found[root].image_words


def compile_program(design: TiledDesign) -> Program:
    """The program of a design. Raises UnsupportedError naming a step that the instruction cannot express."""
    found = places(design.steps, design.engine)
    arena = allocate(design.steps, found, design.batch)
    records: list[NDArray[np.int32]] = []
    issued: list[Issue] = []
    data: list[NDArray[np.uint8]] = []
    at = 0
    order = Order(design)
    for k, (step, job, choice) in enumerate(zip(design.steps.steps, design.jobs, design.choices, strict=True)):
        maker = Maker(design, found, arena, step, job)
        parts = weights.stream(job, step, found[step.source], found[step.out], choice.tiling.chunk or job.depth)
        starts = np.cumsum([0, *(len(p) for tile in parts for p in tile)]) // design.engine.wp + at
        at = int(starts[-1])
        data += [p for tile in parts for p in tile]
        for it in iterations(job, choice.tiling, design.batch):
            for _ in range(order.stalls(k, it, len(records))):
                records.append(instruction.encode({}))
                issued.append(Issue(-1, None))
            chunk = it.n0 // (choice.tiling.chunk or job.depth)
            first = it.m0 * len(parts[0]) + chunk
            size = len(parts[it.m0][chunk]) // design.engine.wp
            records.append(maker.record(it, int(starts[first]), size))
            issued.append(Issue(k, it))
            order.wrote(k, it, len(records) - 1)
    packed = np.concatenate(data) if data else np.zeros(0, np.uint8)
    return Program(design, np.stack(records), packed, arena, found, tuple(issued))


class Order:
    """Which iteration wrote which rows of which image last: the distance that reads keep from it."""

    def __init__(self, design: TiledDesign) -> None:
        self.design = design
        self.writer: dict[str, NDArray[np.int64]] = {}  # tensor -> (image, row): last iteration that stored there
        self.parts = dict(design.steps.joins)

    def wrote(self, k: int, it: Iteration, number: int) -> None:
        if not it.last:
            return
        step = self.design.steps.steps[k]
        rows = self.writer.setdefault(step.out, np.full((self.design.batch, step.shape.r), -(1 << 40), np.int64))
        rows[it.image : it.image + it.images, it.rows.at : it.rows.at + it.rows.outputs] = number

    def last(self, tensor: str, images: slice, rows: slice) -> int:
        """Latest iteration that stored any of these rows."""
        if tensor in self.parts:
            return max(self.last(p, images, rows) for p in self.parts[tensor])
        wrote = self.writer.get(tensor)
        return -(1 << 40) if wrote is None else int(wrote[images, rows].max())

    def stalls(self, k: int, it: Iteration, number: int) -> int:
        """Empty iterations needed before iteration ``number``."""
        step = self.design.steps.steps[k]
        images = slice(it.image, it.image + it.images)
        late = self.last(step.source, images, slice(it.rows.low, it.rows.low + it.rows.span))
        if step.residual:
            rows = slice(it.rows.at, it.rows.at + it.rows.outputs)
            late = max(late, self.last(step.residual, images, rows))
        return max(0, late + DISTANCE - number)


@dataclass(frozen=True, eq=False)
class Maker:
    """Writes the records of one step."""

    design: TiledDesign
    found: Mapping[str, Place]
    arena: Arena
    step: Step
    job: Job

    def record(self, it: Iteration, base: int, size: int) -> NDArray[np.int32]:
        """``base``, ``size``: weight words of the iteration's first output tile."""
        parts = {
            "load": self._gather(it) if self.job.gathered else self._load(it),
            "compute": self._compute(it),
            "weights": self._weights(it, base, size),
            "residual": self._residual(it),
            "store": self._store(it),
        }
        return instruction.encode(parts)

    def _place(self, tensor: str) -> tuple[int, int]:
        return address(self.design, self.found, self.arena, tensor)

    def _span(self, it: Iteration) -> tuple[int, int]:
        """First input block and how many that the iteration loads."""
        blocks = self.found[self.step.source].blocks
        if self.job.windowed:
            return it.m0, 1
        if it.nn == self.job.depth:
            return 0, len(blocks)
        lanes = self.design.engine.tn // self.design.engine.granule
        edges = np.cumsum([0, *blocks])
        first = int(np.searchsorted(edges, it.n0 * lanes))
        last = int(np.searchsorted(edges, min(edges[-1], (it.n0 + it.nn) * lanes)))
        if edges[first] != it.n0 * lanes or edges[last] != min(edges[-1], (it.n0 + it.nn) * lanes):
            raise UnsupportedError(f"{self.step.name!r}: its input is too large for the engine's buffer; enlarge it")
        return first, last - first

    def _load(self, it: Iteration) -> Numbers:
        e, place = self.design.engine, self.found[self.step.source]
        start, stride = self._place(self.step.source)
        first, count = self._span(it)
        runs = _runs(place, first, count)
        if len(runs) > RUNS:
            raise UnsupportedError(f"{self.step.name!r}: its input is joined of too many parts ({len(runs)} runs)")
        words = sum(place.blocks[first : first + count])
        full = it.cols.span == place.width and it.rows.span == place.height
        one = full and (it.images == 1 or (stride == place.image_words and words == place.words))
        out = {
            "mode": 1, "base": start + it.image * stride, "images": it.images, "image_stride": stride,
            "rows": it.rows.span, "cols": it.cols.span, "width": place.width, "height": place.height,
            "depth": -(-words * e.granule // e.tn),
            "whole": it.images * it.rows.span * it.cols.span * words if one else 0,
            "runs": len(runs),
        }  # fmt: skip
        for k, (block, n, width) in enumerate(runs):
            corner = (it.rows.low * place.width + it.cols.low) * width
            out |= {f"offset{k}": place.start(block) + corner, f"count{k}": n, f"words{k}": width}
        return out

    def _gather(self, it: Iteration) -> Numbers:
        s, place = self.step.shape, self.found["input"]
        start, stride = self._place("input")
        return {
            "mode": 2, "base": start + it.image * stride + it.rows.low * place.row_words, "images": it.images,
            "image_stride": stride, "rows": it.rows.span, "cols": it.cols.outputs, "width": place.width,
            "depth": self.job.depth, "row_words": place.row_words, "kernel": s.kernel[1], "stride": s.stride[1],
            "pad": s.pads[1], "pad_value": self.step.pad_value,
        }  # fmt: skip

    def _compute(self, it: Iteration) -> Numbers:
        s, job, e = self.step.shape, self.job, self.design.engine
        gathered = job.gathered
        pixels = it.images * it.rows.outputs * it.cols.outputs
        scan = it.images * it.rows.outputs * ((it.cols.outputs - 1) * s.stride[1] + job.reach)
        steps = scan if job.windowed else pixels
        dilated = s.dilation[1] > 1
        return {
            "mode": s.kind, "tiles": it.mb, "depth": it.nn, "kh": s.kernel[0],
            "kw": self._columns(),
            "slices": job.slices(it.m0) if job.windowed else 1,
            "images": it.images, "rows": it.rows.outputs, "cols": it.cols.outputs,
            "sy": s.stride[0], "sx": 1 if gathered else s.stride[1], "dy": s.dilation[0],
            "dx": 1 if gathered else s.dilation[1],
            "y0": it.rows.at * s.stride[0] - s.pads[0] - it.rows.low,
            "x0": 0 if gathered else it.cols.at * s.stride[1] - s.pads[1] - it.cols.low,
            "in_rows": it.rows.span, "in_cols": it.cols.outputs if gathered else it.cols.span,
            "in_depth": self._depth(it),
            "pad_value": self.step.pad_value, "is_signed": int(self.step.signed), "first": int(it.first),
            "last": int(it.last), "steps": steps, "length": max(steps, job.position_words + 1, FEWEST),
            "position_words": job.position_words, "reach": job.reach,
            "chunk": s.dilation[1] if dilated else e.taps, "taps": s.kernel[1],
        }  # fmt: skip

    def _columns(self) -> int:
        """Kernel columns, or for windows the passes along them."""
        s, job = self.step.shape, self.job
        if job.gathered:
            return 1
        if not job.windowed:
            return s.kernel[1]
        return s.kernel[1] if s.dilation[1] > 1 else -(-s.kernel[1] // self.design.engine.taps)

    def _depth(self, it: Iteration) -> int:
        """Array words of a pixel in the buffer."""
        e = self.design.engine
        if self.job.windowed:
            return -(-self.found[self.step.source].blocks[it.m0] * e.granule // e.tn)
        return it.nn

    def _weights(self, it: Iteration, base: int, size: int) -> Numbers:
        post = self.design.engine.post_words(self.job.features) if it.last else 0
        total = it.mb * size
        cached = min(total, self.design.engine.cache) if it.nn == self.job.depth else 0
        return {
            "tiles": it.mb, "base": base, "words": size, "post": post,
            "cached": 0 if it.fresh else cached, "fill": cached if it.fresh else 0,
        }  # fmt: skip

    def _area(self, it: Iteration, tensor: str) -> Numbers:
        """Where the iteration's outputs lie in a map of the output's arrangement."""
        place, job = self.found[tensor], self.job
        start, stride = self._place(tensor)
        groups, last = job.widths[it.m0], job.widths[it.m0 + it.mb - 1]
        return {
            "tiles": it.mb, "base": start + it.image * stride + place.start(it.m0),
            "corner": it.rows.at * place.width + it.cols.at,
            "tile_stride": place.height * place.width * groups, "images": it.images, "image_stride": stride,
            "rows": it.rows.outputs, "cols": it.cols.outputs, "width": place.width, "groups": groups,
            "groups_last": last,
        }  # fmt: skip

    def _residual(self, it: Iteration) -> Numbers:
        return self._area(it, self.step.residual) if self.step.residual and it.last else {}

    def _store(self, it: Iteration) -> Numbers:
        if not it.last:
            return {}
        r = self.step.post.requant
        up = 0 if self.step.multiplies else max(0, -min(r.shift))
        out = self._area(it, self.step.out) | {
            "wide": int(self.step.shape.out_bytes > 1), "lo": r.lo, "hi": r.hi, "zero": r.zero, "up": up,
            "has_post": 1,
        }  # fmt: skip
        if r.div != 1:
            lo, hi = self.design.graph.accumulator(self.design.graph.node(self.step.nodes[0]))
            d = division(r.div << max(0, max(r.shift) + up), lo << up, hi << up)
            out |= {
                "divisor": d["DIV_D"], "magic": d["DIV_M"], "magic_shift": d["DIV_P"],
                "offset": d["DIV_OFFSET"],
            }  # fmt: skip
        return out | self._addition()

    def _addition(self) -> Numbers:
        add = self.step.post.add
        if add is None or self.step.residual is None:
            return {}
        r = add.requant
        if len(r.shift) > 1 or len(r.mult) > 1:
            raise UnsupportedError(f"{self.step.name!r}: an addition with scales per channel")
        up = max(0, -r.shift[0])
        return {
            "add": 1, "add_signed": int(self.design.graph.tensors[self.step.residual].quant.signed),
            "left": add.left_shift[0], "right": add.left_shift[1], "left_minus": int(self.step.post.minus[0]),
            "right_minus": int(self.step.post.minus[1]), "add_offset": add.offset, "add_up": up,
            "add_mult": r.mult[0], "add_shift": r.shift[0] + up, "add_lo": r.lo, "add_hi": r.hi, "add_zero": r.zero,
        }  # fmt: skip


def _runs(place: Place, first: int, count: int) -> list[tuple[int, int, int]]:
    """Blocks ``first`` .. as runs of equal width: (first block, how many, words)."""
    out: list[tuple[int, int, int]] = []
    for b in range(first, first + count):
        if out and out[-1][2] == place.blocks[b]:
            out[-1] = (out[-1][0], out[-1][1] + 1, out[-1][2])
        else:
            out.append((b, 1, place.blocks[b]))
    return out


def pack_images(program: Program, images: NDArray[np.int64]) -> NDArray[np.uint8]:
    """A batch of integer images (N, C, H, W) as the words of the network's input."""
    place, g = program.places["input"], program.design.engine.granule
    n, c, h, w = images.shape
    if place.row_words:
        out = np.zeros((n, h, place.row_words * g // PIXEL, PIXEL), np.uint8)
        out[:, :, :w, :c] = images.transpose(0, 2, 3, 1).astype(np.uint8)
        return out.reshape(n, -1)
    parts, at = [], 0
    for block in place.blocks:
        wide = np.zeros((n, h, w, block * g), np.uint8)
        part = images[:, at : at + block * g].transpose(0, 2, 3, 1)
        wide[..., : part.shape[3]] = part.astype(np.uint8)
        parts.append(wide.reshape(n, -1))
        at += block * g
    return np.concatenate(parts, 1)


def unpack_outputs(program: Program, data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Results (N, C, H, W) from the words (N, bytes) of the network's output."""
    design = program.design
    tensor = design.graph.tensors[design.graph.output]
    place, element = program.places[design.graph.output], -(-tensor.quant.bits // 8)
    kind = np.dtype(f"<{'i' if tensor.quant.signed else 'u'}{element}")
    _, h, w = tensor.shape
    parts, at = [], 0
    for block in place.blocks:
        size = block * design.engine.granule
        part = data[:, at : at + h * w * size].copy().view(kind).reshape(len(data), h, w, -1)
        parts.append(part)
        at += h * w * size
    all_ = np.concatenate(parts, 3)[..., list(place.slots)]
    return all_.astype(np.int64).transpose(0, 3, 1, 2)


def walk(program: Program) -> Iterator[tuple[int, Iteration, NDArray[np.int32]]]:
    """Iterations that do something: (step, place in the nest, record)."""
    for issue, record in zip(program.issued, program.records, strict=True):
        if issue.iteration is not None:
            yield issue.step, issue.iteration, record
