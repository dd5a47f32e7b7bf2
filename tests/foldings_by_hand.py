"""Every legal folding of a layer, from what the blocks say of a single one: for comparison with the kernel."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from flow.blocks import depthwise, mac, matvec, pixels, pool, window
from flow.blocks.pareto import divisors
from flow.board import Resources
from flow.design import Folding, Multiplier, Option, stage_cycles

MULTIPLIERS: tuple[Multiplier, ...] = ("dsp", "lut", "packed")


def by_hand(la: matvec.Layer | depthwise.Layer, ultra: bool) -> list[Option]:
    """Every legal folding of a layer, from what is built for one: a few words for a few hundred foldings."""
    dense, g = isinstance(la, matvec.Layer), la.geometry
    windowed = g is not None and not g.trivial
    modes = ["serial"] + ["parallel"] * window.parallel_legal(g) if windowed else ["none"]
    outputs = la.outputs if dense else g.channels
    places = itertools.product(modes, divisors(outputs), divisors(la.lanes_of if dense else outputs))
    found = []
    for mode, pe, lanes in places:
        if not dense and pe != lanes:
            continue
        beat = lanes * (la.kernel if mode == "parallel" else 1)
        wide = divisors(beat if dense else la.kernel) if mode == "parallel" else [lanes if dense else 1]
        for simd, mult, memory in itertools.product(wide, ("lut", "dsp", "packed"), ("lutram", "bram")):
            f = Folding(pe, simd, lanes, mode, mult, memory)
            o = _built(la, f, beat, ultra) if not dense or simd >= lanes else None
            found += [o] if o else []
    return found


def _built(la: matvec.Layer | depthwise.Layer, f: Folding, beat: int, ultra: bool) -> Option | None:
    bits = beat * la.x.bits
    if isinstance(la, matvec.Layer):
        if f.mult == "packed" and mac.packing(la.weights, la.x_range, mac.wide_port(ultra), f.pe) is None:
            return None
        folds = matvec.folds(la, f)
        if f.memory == "bram" and la.groups * folds.nf * folds.sf <= 16:
            return None
        depth, iterations = matvec.depth(la, f.pe, f.simd, f.mult, ultra), folds.iterations
        cost = matvec.unit_cost(la, f, beat, ultra)
    else:
        if f.mult == "packed":
            return None
        depth, iterations = depthwise.depth(la, f), depthwise.iterations(la, f)
        cost = depthwise.unit_cost(la, f.pe, f.simd, bits, f.mult, f.memory, ultra)
    cycles = stage_cycles((iterations, depth))
    if f.window != "none":
        g = la.geometry
        assert g is not None
        cost += window.cost(g, f.lanes, f.window, la.x.bits)
        cycles = max(cycles, stage_cycles((window.iterations(g, f.lanes, f.window), window.DEPTH[f.window])))
    return Option(f, cycles, cost, 0 if f.window == "none" else bits)


def several(la: depthwise.Layer, ultra: bool) -> Iterator[Option]:
    """Foldings of several pixels a beat."""
    multipliers: tuple[Multiplier, ...] = ("lut", "dsp")
    for (mode, pe, lanes), mult in itertools.product(window.channelwise_pixels(la.geometry), multipliers):
        f = Folding(pe, la.kernel, lanes, mode, mult)
        bits = pe * la.kernel * la.x.bits
        cycles, cost = stage_cycles((depthwise.iterations(la, f), depthwise.depth(la, f))), Resources()
        if mode != "none":
            cycles = max(cycles, stage_cycles((window.iterations(la.geometry, lanes, mode), window.DEPTH[mode])))
            cost = window.cost(la.geometry, lanes, mode, la.x.bits)
        cost += depthwise.unit_cost(la, pe, la.kernel, bits, mult, f.memory, ultra)
        yield Option(f, cycles, cost, bits if mode != "none" else 0)


def pixel_foldings(la: matvec.Layer, ultra: bool) -> Iterator[Option]:
    """Foldings that are faster than any of one pixel a beat."""
    columns, g = la.inputs * la.kernel, la.geometry
    slowest = la.vectors if g is None else max(la.vectors, g.height * g.width)
    for wide, out in pixels.choices(la):
        for simd in divisors(columns):
            groups, sf = la.vectors // out, columns // simd
            if groups * sf >= slowest or la.outputs * simd * out > pixels.MOST_PRODUCTS:
                continue
            for mult in MULTIPLIERS:
                if mult == "packed" and not mac.packing(la.weights, la.x_range, mac.wide_port(ultra), la.outputs):
                    continue
                mode = "none" if g is None else "parallel"
                f = Folding(la.outputs * out, simd, wide * la.lanes_of, mode, mult)
                deep = matvec.depth(la, la.outputs, simd, mult, ultra)
                cycles, cost, inner = stage_cycles((groups * sf, deep)), pixels.unit_cost(la, f, ultra), 0
                if g is not None:
                    cycles = max(cycles, stage_cycles((window.iterations(g, f.lanes, mode), window.DEPTH[mode])))
                    cost += window.cost(g, f.lanes, mode, la.x.bits)
                    inner = out * columns * la.x.bits
                yield Option(f, cycles, cost, inner)


def pooled(la: pool.Layer) -> list[Option]:
    """Every undominated legal folding."""
    found = []
    g = la.geometry
    for mode, pe, lanes, unrolls in window.channelwise(g, la.whole):
        for unroll in unrolls:
            f = Folding(pe, unroll, lanes, mode)
            cycles, extra = stage_cycles((pool.iterations(la, f), pool.depth(la, f))), Resources()
            if mode != "none":
                cycles = max(cycles, stage_cycles((window.iterations(g, lanes, mode), window.DEPTH[mode])))
                extra = window.cost(g, lanes, mode, la.x.bits)
            beat_bits = pe * la.x.bits * (la.kernel if mode == "parallel" else 1)
            inner = beat_bits if mode != "none" else 0
            found.append(Option(f, cycles, pool.unit_cost(la, pe, unroll, beat_bits) + extra, inner))
    return found
