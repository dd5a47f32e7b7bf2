"""Whole hls4ml designs by the laws: what the files determine, and what is fitted without a family."""

from __future__ import annotations

import sys

import pytest

from flow.bench import load
from flow.cost.laws import Tool

DESIGNS = load("designs").__globals__
Block, dataflow = DESIGNS["Block"], DESIGNS["dataflow"]
needs_data = pytest.mark.skipif(
    not DESIGNS["DATA"].is_dir(), reason=f"no designs at {DESIGNS['DATA']} (COEXPLORE_DATA)"
)
VIVADO = Tool("vivado", "2018.2")


@needs_data
def test_what_the_laws_alone_give_of_streamed_networks() -> None:
    found = [p for p in DESIGNS["predictions"](DESIGNS["designs"]()) if not p.design.parallel]
    assert len(found) >= 20

    def median(k: str) -> float:
        errors = sorted(abs(p.laws[k] / p.design.reported[k] - 1) for p in found if p.design.reported[k])
        return float(errors[len(errors) // 2])

    assert median("dsp") < 0.01 and median("bram18") < 0.08
    assert median("latency_cycles") < 0.05 and median("interval_cycles") < 0.01


@needs_data
def test_no_design_is_in_its_own_weights() -> None:
    """A family's LUT may be anything: what the others say of it stays."""
    found = DESIGNS["designs"]()
    d = next(x for x in found if not x.parallel)
    rest = [x for x in found if x.family != d.family]
    assert rest and all(x.family != d.family for x in rest)
    (p,) = [q for q in DESIGNS["predictions"](found) if q.design is d]
    alone = DESIGNS["amounts"](d, DESIGNS["weights"](rest))
    assert p.others["lut"] == alone["lut"] and p.others["ff"] == alone["ff"]


@needs_data
def test_tables() -> None:
    titles = [title for title, rows in load("designs")([]) if rows]
    assert len(titles) == 4 and titles[1].startswith("streamed CNNs")


def test_wrong_words_and_an_interpreter_without_rule4ml() -> None:
    with pytest.raises(ValueError, match="usage: flow bench designs"):
        next(iter(load("designs")(["--rule4ml"])))
    with pytest.raises(ValueError, match="rule4ml"):
        list(DESIGNS["rule4ml"](sys.executable, []))


def test_reuse_factors_are_legal_ones() -> None:
    """hls4ml takes the nearest factor that divides the inputs or is a multiple of them."""
    assert {w: DESIGNS["legal"](w, 75, 75 * 16) for w in (1, 2, 4, 18, 72)} == {1: 1, 2: 3, 4: 3, 18: 15, 72: 75}


def test_blocks_by_hand() -> None:
    """A real process: 36 inputs, 8 outputs, R = 2: 144 DSP, 64 blocks of weights; its window FIFOs stay in LUTs."""
    conv = Block("conv", (4, 8), (10, 10), (8, 8), (3, 3, 1), reuse=2, products=288, strategy="resource")
    found = conv.fixed(VIVADO)
    assert (conv.multipliers, found.dsp, found.bram18) == (144, 144, 64) and conv.busy() == 700
    wide = Block("conv", (3, 4), (20, 20), (16, 16), (5, 5, 1), reuse=3, products=300, strategy="resource")
    assert wide.fixed(VIVADO).bram18 == 45 + 75 and wide.busy() == 3200  # 80 deep windows are block RAM
    assert dataflow([wide, conv]) == (3200, 3201)
