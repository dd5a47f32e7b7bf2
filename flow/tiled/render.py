"""Program -> the files of an HLS project: the same headers for every engine, parameters and data by the design."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from flow import __version__
from flow.blocks import UnsupportedError, mac
from flow.blocks.requant import ctype, division, signed_bits
from flow.codegen import CFLAGS, SOURCES, TOP, constant, environment, included, pack
from flow.design import Multiplier
from flow.fixed import IntArray
from flow.tiled import instruction
from flow.tiled.engine import GATHER, LINE_WORDS, PIXEL, RECORD, RUNS, W, X, queue_depth
from flow.tiled.place import Place
from flow.tiled.program import Program
from flow.tiled.steps import CONV, DEPTHWISE, MAX, Step

SECOND_DEPTH = 512  # residual words that may wait
WIDEST = 64  # bits of the output stage's numbers, as C simulation has them


def files(program: Program, vectors: tuple[IntArray, IntArray] | None = None, top: str = TOP) -> dict[str, bytes]:
    """Path -> content of everything under ``hls/``, and ``design.json``; ``top``: the kernel's name."""
    view = describe_engine(program) | {"top": top}
    env = environment()
    out: dict[str, bytes] = {}
    view |= {
        "sources": ["accel.cpp"],
        "tb_files": ["tb.cpp"],
        "data_files": ["weights.bin", "program.bin"],
        "uncertainty": 12.5,
        "cflags": CFLAGS,
    }
    out["hls/weights.bin"] = program.weights.tobytes()
    out["hls/program.bin"] = program.records.astype("<i4").tobytes()
    if vectors is not None:
        out["hls/tb_inputs.bin"] = pack(vectors[0], slot(program, "input"))
        out["hls/tb_expected.bin"] = pack(vectors[1], slot(program, program.design.graph.output))
        view["data_files"] += ["tb_inputs.bin", "tb_expected.bin"]
    names = {"accel.h": "engine.h", "accel.cpp": "engine.cpp", "tb.cpp": "engine_tb.cpp"}
    for name in (*SOURCES, "hls_config.cfg", "run_hls.tcl"):
        out[f"hls/{name}"] = env.get_template(f"{names.get(name, name)}.j2").render(view).encode()
    out |= {f"hls/{name}": content for name, content in included(out[f"hls/{n}"] for n in SOURCES).items()}
    out["design.json"] = json.dumps(describe(program) | {"top": top}, indent=1).encode()
    return out


def slot(program: Program, tensor: str) -> int:
    """Bits of an element outside: whole bytes."""
    return 8 * -(-program.design.graph.tensors[tensor].quant.bits // 8)


def describe_engine(program: Program) -> dict[str, Any]:
    """What the templates see: strings and numbers only."""
    d, e = program.design, program.design.engine
    f = d.jobs[0].features
    streams = [(f"to_{part}", "int", len(fields)) for part, fields in instruction.PARTS.items()]
    streams += [
        ("words", "weight_word", queue_depth(e)),
        ("post", "weight_word", 2 * e.post_words(f)),
        ("second", "feature_word", SECOND_DEPTH),
        ("sums", "engine_config::Result", e.acc_depth),
    ]
    return {
        "version": __version__,
        "digest": d.digest,
        "top": TOP,
        "board": d.board.name,
        "part": d.board.part,
        "clock_ns": round(1e3 / d.clock_mhz, 4),
        "tm": e.tm,
        "tn": e.tn,
        "granule": e.granule,
        "wp": e.wp,
        "acc_memory": e.acc_memory,
        "in_memory": e.in_memory,
        "cache_memory": e.cache_memory,
        "double_buffer": e.double_buffer,
        "record": RECORD,
        "batch": d.batch,
        "memory": program.arena.words,
        "weights": len(program.weights) // e.wp,
        "instructions": len(program.records),
        "feature_burst": min(256, 4096 // e.granule),  # AXI: no burst crosses 4 KB, at most 256 beats
        "weight_burst": min(256, 4096 // e.wp),
        "constants": [constant(k, v) for k, v in _constants(program).items()],
        "types": _types(program),
        "parts": [(part, instruction.STARTS[part], fields) for part, fields in instruction.PARTS.items()],
        "streams": [{"name": n, "type": t, "depth": k} for n, t, k in streams],
        "maps": [map_view(program, "network_input", "input"), map_view(program, "network_output", d.graph.output)],
    }


def _constants(program: Program) -> dict[str, int]:
    e, f = program.design.engine, program.design.jobs[0].features
    place = program.places["input"]
    kind: Multiplier = "packed" if e.packing else "dsp"
    return {
        "G": e.granule, "NB": e.tn // e.granule, "TM": e.tm, "TN": e.tn, "WP": e.wp,
        "ACC_DEPTH": e.acc_depth, "IN_DEPTH": e.in_depth, "CACHE": max(1, e.cache), "TAPS": e.taps, "LANES": e.lanes,
        "RECORD": RECORD, "RUNS": RUNS, "MEMORY": program.arena.words, "WEIGHTS": len(program.weights) // e.wp,
        "PROGRAM": program.records.size, "POST_WORDS": e.post_words(f),
        "PIXEL": PIXEL, "LINE": LINE_WORDS if place.row_words else 1, "HOLD": GATHER + 2 * e.granule // PIXEL,
        "USES_WINDOWS": int(f.window or f.depthwise), "USES_DEPTHWISE": int(f.depthwise),
        "USES_RESIDUAL": int(f.residual), "USES_MULTIPLIER": int(f.multiplier), "USES_DIVISION": int(f.divide),
        "USES_WIDE": int(f.wide), "USES_GATHER": int(f.gather),
        "MODE_CONV": CONV, "MODE_DEPTHWISE": DEPTHWISE, "MODE_MAX": MAX, "LEAST": X[0],
        "PE": e.tm, "SIMD": e.tn, **dict(mac.constants(W, X, kind, program.design.board.ultrascale, e.tm)),
    }  # fmt: skip


def _types(program: Program) -> list[tuple[str, str]]:
    d = program.design
    kind: Multiplier = "packed" if d.engine.packing else "dsp"
    widest = max(output_bits(program, s) for s in d.steps.steps)
    return [
        ("X", ctype(signed_bits(*X), True)),
        ("Acc", ctype(d.jobs[0].features.acc_bits, True)),
        ("Sum", ctype(widest, True)),
        *mac.types(W, X, kind, d.board.ultrascale, d.engine.tm),
    ]


def output_bits(program: Program, step: Step) -> int:
    """Signed width of every number of the output stage for a step; 34 bits hold the instruction's own numbers.

    Raises UnsupportedError above 64 bits, where C simulation would differ.
    """
    graph = program.design.graph
    bits = [34]
    lo, hi = graph.accumulator(graph.node(step.nodes[0])) if step.nodes else (X[0], X[1])
    if step.nodes and graph.node(step.nodes[0]).op is step.post.add:
        lo, hi = X
    r, add = step.post.requant, step.post.add
    up = max(0, -min(r.shift))
    top = max(r.mult) * (max(-lo, hi) << up)
    bits.append((top + (1 << max(0, *r.shift) << up) + abs(r.zero)).bit_length() + 1)
    if r.div != 1:
        d = division(r.div << max(0, max(r.shift) + up), lo << up, hi << up)
        reach = (max(-lo, hi) << up) + d["DIV_OFFSET"] * d["DIV_D"]
        bits.append((2 * reach * d["DIV_M"]).bit_length() + 1)
    if add is not None:
        a = add.requant
        both = (1 << (16 + add.left_shift[0])) + (1 << (9 + add.left_shift[1])) + abs(add.offset)
        both = both * max(a.mult) << max(0, -a.shift[0])
        bits.append((both + (1 << max(0, a.shift[0]))).bit_length() + 1)
    if max(bits) > WIDEST:
        raise UnsupportedError(f"{step.name!r}: its output stage needs {max(bits)} bits, more than {WIDEST}")
    return max(bits)


def map_view(program: Program, name: str, tensor: str) -> dict[str, Any]:
    """Byte addresses of a map's channels, for test bench and driver."""
    t, place, g = program.design.graph.tensors[tensor], program.places[tensor], program.design.engine.granule
    c, h, w = t.shape
    element = -(-t.quant.bits // 8)
    start, stride = program.start(tensor)
    starts, rows, pixels = _addresses(place, c, element, g)
    return {
        "name": name, "channels": c, "rows": h, "cols": w, "element": element, "first_word": start,
        "image_words": stride, "start": starts, "row": rows, "pixel": pixels,
    }  # fmt: skip


def _addresses(place: Place, channels: int, element: int, granule: int) -> tuple[list[int], list[int], list[int]]:
    if place.row_words:
        return list(range(channels)), [place.row_words * granule] * channels, [PIXEL] * channels
    edges = np.cumsum([0, *(b * granule // element for b in place.blocks)])
    block = np.searchsorted(edges, np.array(place.slots), side="right") - 1
    width = np.array(place.blocks)[block] * granule
    start = np.array([place.start(int(b)) for b in block]) * granule + (np.array(place.slots) - edges[block]) * element
    return start.tolist(), (width * place.width).tolist(), width.tolist()


def describe(program: Program) -> dict[str, Any]:
    """``design.json``: enough to rebuild the design from ``model.onnx``, and to read it."""
    d, g = program.design, program.design.graph
    return {
        "version": __version__,
        "engine": "tiled",
        "digest": d.digest,
        "graph": g.digest,
        "board": d.board.name,
        "board_data": d.board.json(),
        "part": d.board.part,
        "clock_mhz": d.clock_mhz,
        "top": TOP,
        "input": _ends(program, "input"),
        "output": _ends(program, g.output),
        "parameters": d.engine.json(),
        "copies": d.copies,
        "batch": d.batch,
        "tilings": [list(c.tiling) for c in d.choices],
        "memory": d.memory,
        "entry": d.steps.entry.json() if d.steps.entry else None,
        "available": d.available.json(),
        "allowed": d.allowed.json() if d.allowed else None,
        "decision": {"target": d.decision.target, "confidence": d.decision.confidence},
        "bound": asdict(d.bound),
        "instructions": len(program.records),
        "stalls": program.stalls,
        "memory_words": program.arena.words,
    }


def _ends(program: Program, tensor: str) -> dict[str, Any]:
    t = program.design.graph.tensors[tensor]
    start, stride = program.start(tensor)
    return {
        "shape": list(t.shape), "bits": t.quant.bits, "signed": t.quant.signed, "scale": t.quant.scale,
        "zero": t.quant.zero, "slot_bits": slot(program, tensor), "first_word": start, "image_words": stride,
    }  # fmt: skip
