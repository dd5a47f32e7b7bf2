"""The program run in Python: the meaning of every instruction, on bytes.

Slow and plain; the C++ kernel is judged by the same results, and both by the integer graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flow.fixed import IntArray, divide_half_even
from flow.tiled import instruction
from flow.tiled.engine import PIXEL
from flow.tiled.program import Numbers, Program, pack_images, unpack_outputs
from flow.tiled.steps import CONV, DEPTHWISE, MAX

Bytes = NDArray[np.uint8]


def run(program: Program, images: IntArray) -> IntArray:
    """Integer images (N, C, H, W) to outputs (N, C, H, W), batch by batch."""
    batch = program.design.batch
    found = []
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        blank = np.zeros((batch - len(part), *part.shape[1:]), part.dtype)
        found.append(Machine(program).batch(np.concatenate([part, blank]))[: len(part)])
    return np.concatenate(found)


@dataclass(eq=False)
class Machine:
    """Memory and the state that outlives an instruction: the weight cache, unfinished sums."""

    program: Program
    memory: Bytes = field(init=False)
    cache: Bytes = field(init=False)
    sums: IntArray = field(init=False)

    def __post_init__(self) -> None:
        e = self.program.design.engine
        self.memory = np.zeros((self.program.arena.words, e.granule), np.uint8)
        self.cache = np.zeros((max(1, e.cache), e.wp), np.uint8)
        self.sums = np.zeros((e.acc_depth, e.tm), np.int64)
        self.engine = e
        self.features = self.program.design.jobs[0].features

    def batch(self, images: IntArray) -> IntArray:
        p = self.program
        start, stride = p.start("input")
        for k, data in enumerate(pack_images(p, images)):
            self.memory[start + k * stride :][: len(data) // self.engine.granule] = data.reshape(
                -1, self.engine.granule
            )
        for record in p.records:
            parts = {name: instruction.decode(record, name) for name in instruction.PARTS}
            if parts["compute"]["mode"]:
                self.iteration(parts)
        out = p.design.graph.output
        start, stride = p.start(out)
        words = p.places[out].image_words
        rows = [self.memory[start + k * stride :][:words].reshape(-1) for k in range(p.design.batch)]
        return unpack_outputs(p, np.stack(rows))

    def iteration(self, parts: dict[str, Numbers]) -> None:
        c = parts["compute"]
        tile = self.gather(parts["load"]) if parts["load"]["mode"] == 2 else self.load(parts["load"])
        numbers: IntArray = (tile.astype(np.int8) if c["is_signed"] else tile).astype(np.int64)
        for number, (post, words) in enumerate(self.weights(parts["weights"])):
            if c["mode"] == CONV:
                self.products(c, numbers, words.view(np.int8))
            else:
                self.window(c, numbers, words.view(np.int8))
            if c["last"]:
                self.store(parts["store"], parts["residual"], post, number, c["images"] * c["rows"] * c["cols"])

    # ----- in

    def load(self, f: Numbers) -> Bytes:
        """(images, rows, cols, channels of whole array words)."""
        e, found = self.engine, []
        for k in range(f["runs"]):
            for n in range(f[f"count{k}"]):
                width = f[f"words{k}"]
                part = np.zeros((f["images"], f["rows"], f["cols"], width * e.granule), np.uint8)
                for image in range(f["images"]):
                    at = f["base"] + image * f["image_stride"] + f[f"offset{k}"]
                    at += n * f["height"] * f["width"] * width
                    for y in range(f["rows"]):
                        line = self.memory[at + y * f["width"] * width :][: f["cols"] * width]
                        part[image, y] = line.reshape(f["cols"], -1)
                found.append(part)
        tile = np.concatenate(found, 3)
        blank = f["depth"] * e.tn - tile.shape[3]
        return np.pad(tile, ((0, 0), (0, 0), (0, 0), (0, blank)))

    def gather(self, f: Numbers) -> Bytes:
        e = self.engine
        wide = f["depth"] * e.tn
        tile = np.zeros((f["images"], f["rows"], f["cols"], wide), np.uint8)
        for image in range(f["images"]):
            for y in range(f["rows"]):
                at = f["base"] + image * f["image_stride"] + y * f["row_words"]
                line = self.memory[at : at + f["row_words"]].reshape(-1, PIXEL)[: f["width"]]
                edge = np.full((f["kernel"] + f["cols"] * f["stride"], PIXEL), f["pad_value"], np.int64).astype(
                    np.uint8
                )
                padded = np.concatenate([edge[: f["pad"]], line, edge])
                for x in range(f["cols"]):
                    window = padded[x * f["stride"] : x * f["stride"] + f["kernel"]].reshape(-1)
                    tile[image, y, x, : len(window)] = window
        return tile

    def weights(self, f: Numbers) -> Iterator[tuple[Bytes, Bytes]]:
        wp = self.engine.wp
        total = f["tiles"] * f["words"]
        words = self.program.weights.reshape(-1, wp)[f["base"] : f["base"] + total].copy()
        words[: f["cached"]] = self.cache[: f["cached"]]
        self.cache[: f["fill"]] = words[: f["fill"]]
        for t in range(f["tiles"]):
            part = words[t * f["words"] : (t + 1) * f["words"]]
            yield part[: f["post"]].reshape(-1), part[f["post"] :].reshape(-1)

    # ----- compute

    def at(self, c: Numbers, tile: IntArray, ky: int, kx: int) -> IntArray:
        """(images, rows, cols, channels) of the inputs at one kernel offset; ``kx`` in pixels. Padding outside."""
        y = c["y0"] + ky * c["dy"] + np.arange(c["rows"]) * c["sy"]
        x = c["x0"] + kx + np.arange(c["cols"]) * c["sx"]
        inside = ((y >= 0) & (y < c["in_rows"]))[:, None] & ((x >= 0) & (x < c["in_cols"]))
        rows, cols = np.clip(y, 0, c["in_rows"] - 1), np.clip(x, 0, c["in_cols"] - 1)
        return np.where(inside[None, :, :, None], tile[:, rows[:, None], cols], c["pad_value"])

    def products(self, c: Numbers, tile: IntArray, weights: NDArray[Any]) -> None:
        e = self.engine
        w = weights.astype(np.int64).reshape(c["depth"], c["kh"], c["kw"], e.tn, e.tm)
        pixels = c["images"] * c["rows"] * c["cols"]
        sums = np.zeros((pixels, e.tm), np.int64) if c["first"] else self.sums[:pixels]
        for n in range(c["depth"]):
            for ky in range(c["kh"]):
                for kx in range(c["kw"]):
                    x = self.at(c, tile[..., n * e.tn : (n + 1) * e.tn], ky, kx * c["dx"])
                    sums = sums + x.reshape(pixels, e.tn) @ w[n, ky, kx]
        self.sums[:pixels] = sums

    def window(self, c: Numbers, tile: IntArray, weights: NDArray[Any]) -> None:
        e = self.engine
        pixels = c["images"] * c["rows"] * c["cols"]
        size = c["position_words"] * e.wp
        start = e.taps - c["reach"]
        out = np.zeros((pixels, e.tm), np.int64)
        for part in range(c["slices"]):
            x = tile[..., part * e.lanes : (part + 1) * e.lanes]
            values = []
            for ky in range(c["kh"]):
                for chunk in range(c["kw"]):
                    taps = c["taps"] - chunk * e.taps if c["reach"] > 1 else 1
                    for t in range(min(c["reach"], taps)):
                        v = self.at(c, x, ky, chunk * c["chunk"] + t).reshape(pixels, -1)
                        if c["mode"] == DEPTHWISE:
                            at = (part * c["kh"] * c["kw"] + ky * c["kw"] + chunk) * size + (start + t) * e.lanes
                            v = v * weights[at : at + e.lanes].astype(np.int64)
                        values.append(v)
            found = np.stack(values)
            out[:, part * e.lanes : (part + 1) * e.lanes] = found.max(0) if c["mode"] == MAX else found.sum(0)
        self.sums[:pixels] = out

    # ----- out

    def store(self, f: Numbers, r: Numbers, post: Bytes, number: int, pixels: int) -> None:
        e = self.engine
        bias = post[: 4 * e.tm].copy().view("<i4").astype(np.int64)
        shift = post[4 * e.tm : 5 * e.tm].copy().view("<i1").astype(np.int64)
        mult = post[5 * e.tm :].copy().view("<i4").astype(np.int64) if self.features.multiplier else 1
        acc = (self.sums[:pixels] + bias) << f["up"]
        if f["divisor"]:
            value = divide_half_even(acc, np.int64(f["divisor"]))
        else:
            value = divide_half_even(acc * mult, np.int64(1) << shift)
        value = np.clip(value + f["zero"], f["lo"], f["hi"])
        groups = f["groups_last"] if number == f["tiles"] - 1 else f["groups"]
        where = self.words(f, number, groups)
        if f["add"]:
            other = self.memory[self.words(r, number, groups)].reshape(pixels, -1)
            other = other.astype(np.int8) if f["add_signed"] else other
            wide = np.zeros((pixels, e.tm), np.int64)
            wide[:, : other.shape[1]] = other[:, : e.tm]
            first = (value << f["left"]) * (-1 if f["left_minus"] else 1)
            second = (wide << f["right"]) * (-1 if f["right_minus"] else 1)
            both = (first + second + f["add_offset"]) << f["add_up"]
            value = divide_half_even(both * f["add_mult"], np.int64(1) << f["add_shift"])
            value = np.clip(value + f["add_zero"], f["add_lo"], f["add_hi"])
        if f["wide"]:
            data = value.astype("<i2").view(np.uint8)
        else:
            data = value.astype(np.uint8)
        data = data.reshape(pixels, -1)[:, : groups * e.granule]
        blank = groups * e.granule - data.shape[1]
        self.memory[where] = np.pad(data, ((0, 0), (0, blank))).reshape(-1, e.granule)

    def words(self, f: Numbers, number: int, groups: int) -> IntArray:
        """Addresses of an output tile's words, pixel by pixel."""
        image = np.arange(f["images"])[:, None, None, None] * f["image_stride"]
        y = np.arange(f["rows"])[:, None, None] * f["width"]
        x = np.arange(f["cols"])[:, None]
        out = f["base"] + number * f["tile_stride"] + (f["corner"] + y + x) * groups + np.arange(groups) + image
        return out.reshape(-1)
