"""What lint accepts for engines, loops of unknown length and ping-pong arrays, and the defects close to each."""

from __future__ import annotations

from pathlib import Path

import pytest

from flow.lint import lint
from tests.lint_corpus import BODY, TOP, Defect, plant

WORDS = """    for (int i = 0; i < C::WORDS; ++i) {
#pragma HLS PIPELINE II=1
        const typename C::In beat = in.read();
"""
SOME = WORDS.replace("C::WORDS", "(int)images")
COUNTED = SOME.replace("#pragma HLS PIPELINE", "#pragma HLS LOOP_TRIPCOUNT min=1 max=9\n#pragma HLS PIPELINE")
FILL = """namespace {
void fill(int held[4]) {
#pragma HLS INLINE off
fill_held:
    for (int i = 0; i < 4; ++i) {
#pragma HLS PIPELINE II=1
        held[i] = i;
    }
}

void drain(const int held[4], hls::stream<int> &sums) {
#pragma HLS INLINE off
drain_held:
    for (int i = 0; i < 4; ++i) {
#pragma HLS PIPELINE II=1
        sums.write(held[i]);
    }
}

void swallow(hls::stream<int> &sums) {
#pragma HLS INLINE off
swallow_sums:
    for (int i = 0; i < 4; ++i) {
#pragma HLS PIPELINE II=1
        sums.read();
    }
}
"""
DECLARED = """    int held[4];
    hls::stream<int > sums("sums");
#pragma HLS STREAM variable=sums depth=4
"""
TWICE = """    hls::stream<int > again("again");
#pragma HLS STREAM variable=again depth=4
"""
PASSED = "    fill(held);\n    drain(held, sums);\n    swallow(sums);\n"


def loop(name: str, rule: str, new: str) -> Defect:
    return Defect(name, "add", rule, "hls/stream.h", WORDS, new, "hls/stream.h")


def region(name: str, rule: str, declared: str, calls: str) -> Defect:
    return Defect(name, "add", rule, TOP, BODY, declared + calls + BODY, TOP, more=(("namespace {\n", FILL),))


ACCEPTED = (
    loop("loop of unknown length with its count", "", COUNTED),
    region("array filled by one process and read by the next", "", DECLARED, PASSED),
)
DEFECTS = (
    loop("loop of unknown length", "loop-bound", SOME),
    loop("count without a largest", "pragma-option", COUNTED.replace(" max=9", "")),
    loop("count without a pipeline", "pipeline-missing", COUNTED.replace("#pragma HLS PIPELINE II=1\n", "")),
    region(
        "array read by two processes", "dataflow-shared", DECLARED + TWICE,
        PASSED + "    drain(held, again);\n    swallow(again);\n",
    ),
    region("array filled twice", "dataflow-shared", DECLARED, "    fill(held);\n" + PASSED),
    region(
        "array read before it is filled", "dataflow-shared", DECLARED,
        "    drain(held, sums);\n    fill(held);\n    swallow(sums);\n",
    ),
    region(
        "array that outlives the region", "dataflow-shared", DECLARED.replace("int held", "static int held"), PASSED
    ),
)  # fmt: skip


@pytest.mark.parametrize("accepted", ACCEPTED, ids=lambda d: d.name)
def test_what_engines_need_is_accepted(accepted: Defect, tmp_path: Path) -> None:
    assert lint(plant(accepted, tmp_path)) == []


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda d: d.name)
def test_what_is_close_to_it_is_found(defect: Defect, tmp_path: Path) -> None:
    found = lint(plant(defect, tmp_path))
    assert (defect.rule, defect.file) in {(f.rule, f.file) for f in found}, found
