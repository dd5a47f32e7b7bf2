"""The field's published models: golden values, HotNAS's hardware grid answered exactly, what their defects are worth.

    flow bench published

Published numbers: HotNAS's public exploration logs (latency at 100 MHz, seconds its search took), FPGA'15, Super-LIP.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from flow import board
from flow.published import grid, layers, roofline, tiled
from flow.published.tiled import CORRECTED, HOTNAS, SUPER_LIP, Engine, Rules

Rows = list[dict[str, Any]]
CLOCK_MHZ = 100.0
# name -> (layers as the log's code traced them, layers as they are, logged ms, logged seconds of search)
NETWORKS = {
    "AlexNet": (layers.ALEXNET, layers.ALEXNET, 4.0483, 408.65),
    "ResNet-18": (layers.resnet18(in_sequence=True), layers.resnet18(), 12.5744, 1282.79),
    "VGG-16": (layers.vgg16(), layers.vgg16(), 91.02528, 7400.35),
}
DEFECTS = {
    "stride_twice": "output divided by the stride a second time",
    "padded_map": "tiles cover the map plus its padding",
    "whole_edges": "the last tile takes as long as the first",
    "whole_weights": "whole weight tiles for layers with fewer channels",
    "no_halo": "input tile without its halo",
    "no_fill": "first load and last store free",
    "part_cycles": "transfers end within a cycle",
}


def tables(arguments: list[str]) -> Iterator[tuple[str, Rows]]:
    """Golden values, the grid, the defects."""
    yield "Golden values of the published equations", golden()
    yield f"HotNAS's grid, zcu102, {CLOCK_MHZ:g} MHz: the published search and all 9,000 points at once", answered()
    yield "What each defect is worth: cycles of the logged design, defects corrected one after another", corrected()


def golden() -> Rows:
    e = Engine(70, 36, 64, 32, 18, 6, 2)
    x, xe = layers.Layer(128, 192, 13, 13, 3, padding=1, batch=2), Engine(8, 32, 13, 13, 2, 2, 2, bits=32, tk=3)
    found = [
        ("HotNAS AlexNet, logged design [cycles]", 404_830, tiled.network_cycles(layers.ALEXNET, e, HOTNAS)),
        ("the same, strides counted once [cycles]", 827_846,
         tiled.network_cycles(layers.ALEXNET, e, replace(HOTNAS, stride_twice=False))),
        ("Super-LIP default [cycles]", 519_168, tiled.cycles(x, xe, SUPER_LIP)),
        ("Super-LIP default [DSP]", 1280, tiled.dsps(xe)),
        ("Super-LIP default [BRAM18]", 592, tiled.bram18(xe)),
        ("FPGA'15 AlexNet <64, 7> [cycles a group]", 1_002_946,
         sum(roofline.cycles(la, 64, 7) for la in layers.ALEXNET_GROUP)),
    ]  # fmt: skip
    return [{"what": w, "published": p, "ours": int(o), "equal": p == o} for w, p, o in found]


def answered() -> Rows:
    rows: Rows = []
    place = board.load("zcu102")
    for name, (traced, actual, logged, search_s) in NETWORKS.items():
        for what, stack, rules, check in (
            ("as published", traced, HOTNAS, "swapped"),
            ("corrected", actual, CORRECTED, "checked"),
        ):
            started = time.perf_counter()
            best = grid.best(stack, place, rules, check)  # type: ignore[arg-type]
            seconds = time.perf_counter() - started
            assert best is not None
            e = best.engine
            rows.append({
                "network": name, "model": what, "optimum [ms]": round(best.ms(CLOCK_MHZ), 5),
                "logged [ms]": logged, "Tm Tn Tr Tc": f"{e.tm} {e.tn} {e.tr} {e.tc}",
                "Wp Ip Op": f"{e.wp} {e.ip} {e.op}",
                "feasible": f"{best.feasible} of {best.points}", "seconds": round(seconds, 4),
                "their search [s]": search_s, "times": round(search_s / seconds),
            })  # fmt: skip
    return rows


def corrected() -> Rows:
    place = board.load("zcu102")
    designs = {}
    for name, (traced, actual, _, _) in NETWORKS.items():
        best = grid.best(traced, place, HOTNAS, "swapped")
        assert best is not None
        designs[name] = (best.engine, traced, actual)
    rows: Rows = []

    def row(what: str, rules: Rules, right: bool) -> None:
        cells = {n: round(tiled.network_cycles(a if right else t, e, rules)) for n, (e, t, a) in designs.items()}
        rows.append({"corrected so far": what, **cells})

    row("none: as published", HOTNAS, False)
    row("map sizes behind projections (ResNet)", HOTNAS, True)
    rules = HOTNAS
    for key, text in DEFECTS.items():
        rules = replace(rules, **{key: False})
        row(text, rules, True)
    assert rules == CORRECTED
    use = {n: f"{int(tiled.bram18(e))} of {place.available.bram18}" for n, (e, _, _) in designs.items()}
    rows.append({"corrected so far": "BRAM18 that the logged design needs (unchecked there)", **use})
    return rows
