"""Component laws: by hand against published block shapes, and against rows of real reports where present."""

from __future__ import annotations

import collections
import csv
import gzip
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from flow.bench import load as benchmark
from flow.board import Resources
from flow.cost import laws, loops
from flow.cost.laws import LawError, Tool

DATA = Path(os.environ.get("COEXPLORE_DATA", Path(__file__).parents[2] / "../shared/data")) / "components"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no report rows at {DATA} (set COEXPLORE_DATA)")
VIVADO = Tool("vivado", "2019.1", ultrascale=False)

Row = dict[str, str]


def rows(table: str) -> Iterator[Row]:
    with gzip.open(DATA / f"{table}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def tool(row: Row) -> Tool:
    return Tool("vitis" if row["tool"] == "Vitis" else "vivado", row["version"], row["gen"].startswith("us"))


def share(name: str, hits: list[bool]) -> float:
    got = sum(hits) / len(hits)
    print(f"{name}: {sum(hits)} of {len(hits)} = {got:.2%}")
    return got


# ------------------------------------------------------------ against the report rows


def ports_by_memory() -> dict[tuple[str, str], int]:
    """(report, memory) -> number of ports in use: the reports list a multiplexer `<memory>_address1` per busy port."""
    found: dict[tuple[str, str], int] = collections.defaultdict(int)
    for row in rows("mux"):
        match = re.fullmatch(r"(.*)_(?:address|ce|we|d)(\d)", row["name"])
        if match:
            key = row["rid"], match[1]
            found[key] = max(found[key], int(match[2]) + 1)
    return found


@needs_data
def test_measured_memory() -> None:
    """At least 97 % of memories have exactly the predicted BRAM, by the size rule and, in BRAM, by the shape rule."""
    ports = ports_by_memory()
    auto, shape, deep = [], [], []
    for row in rows("memory"):
        n = ports.get((row["rid"], row["memory"].removesuffix("_U")), 1)
        words, bits, reported = int(row["words"]), int(row["bits"]), int(row["bram18"])
        copies, dual = -(-n // 2), n > 1
        auto.append(laws.memory(words, bits, "auto", True, copies, False, dual, tool(row)).bram18 == reported)
        if reported:
            got = laws.memory(words, bits, "bram", True, copies, False, dual, tool(row)).bram18
            shape.append(got == reported)
            if words > 9000 and row["gen"].startswith("us") and row["tool"] == "Vitis":
                deep.append(got == reported)
    assert share("memory BRAM, own choice of kind", auto) >= 0.97
    assert share("memory BRAM, kind given", shape) >= 0.97
    assert share("memory BRAM, deep UltraScale+ Vitis", deep) == 1


@needs_data
def test_measured_lutram() -> None:
    """Distributed memories: LUT and FF of plain ROM and RAM."""
    lut, ff = [], []
    for row in rows("memory"):
        if int(row["bram18"]) or "shift" in row["submodule"]:
            continue
        size = int(row["words"]), int(row["bits"])
        want = [laws.memory(*size, "lutram", rom) for rom in (True, False)]
        lut.append(int(row["lut"]) == want[0].lut)
        ff.append(int(row["ff"]) in (want[0].ff, want[1].ff))
    assert share("distributed LUT", lut) >= 0.90
    assert share("distributed FF", ff) >= 0.93


@needs_data
def test_measured_fifo() -> None:
    bram = [laws.fifo(int(r["depth"]), int(r["bits"]), tool(r)).bram18 == int(r["bram18"]) for r in rows("fifo")]
    assert share("FIFO BRAM", bram) >= 0.99
    srl = [
        laws.fifo(int(r["depth"]), int(r["bits"]), tool(r)).ff == int(r["ff"])
        for r in rows("fifo")
        if r["tool"] == "Vivado" and r["bram18"] == "0"
    ]
    assert share("shift-register FIFO FF (Vivado)", srl) >= 0.99


@needs_data
def test_measured_fifo_totals() -> None:
    """FIFO LUT only shows in module totals: every module within 10 % in LUT and FF."""
    fifos: dict[str, list[Row]] = collections.defaultdict(list)
    for row in rows("fifo"):
        fifos[row["rid"]].append(row)
    seen = 0
    for module in rows("module"):
        parts = fifos.get(module["rid"])
        if not parts or not module["s_FIFO_LUT"] or module["tool"] != "Vivado":
            continue
        total = sum((laws.fifo(int(p["depth"]), int(p["bits"]), tool(p)) for p in parts), Resources())
        assert abs(total.lut / float(module["s_FIFO_LUT"]) - 1) < 0.10, module["rid"]
        assert abs(total.ff / float(module["s_FIFO_FF"]) - 1) < 0.10, module["rid"]
        seen += 1
    assert seen >= 6


@needs_data
def test_measured_multiplier() -> None:
    dsp, lut = [], []
    for row in rows("instance"):
        if row["op"] != "mul":
            continue
        sizes = [int(float(row[k])) for k in ("wa", "wb", "wo")]
        got = laws.multiplier(sizes[0], sizes[1], "auto", tool(row), sizes[2])
        dsp.append(got.dsp == int(row["dsp"]))
        if row["dsp"] == "0" and max(sizes[:2]) <= 10:
            lut.append(got.lut == int(row["lut"]))
    assert share("multiplier DSP", dsp) >= 0.99
    assert share("multiplier LUT in logic", lut) == 1


@needs_data
def test_measured_expression_products() -> None:
    """Products that stayed expressions (Vivado 2019): LUT by the larger width."""
    hits = [
        laws.multiplier(int(r["p0"]), int(r["p1"]), "auto", tool(r)).lut == int(r["lut"])
        for r in rows("expression")
        if r["op"] == "*" and r["dsp"] == "0" and max(int(r["p0"]), int(r["p1"])) <= 10
    ]
    assert share("product LUT (Vivado expressions)", hits) == 1


@needs_data
def test_measured_multiply_add() -> None:
    hits = [laws.multiply_add(int(r["wa"]), int(r["wb"]), tool(r)).dsp == 1 for r in rows("dsp") if r["wa"] and r["wb"]]
    assert share("multiply-add: one DSP block", hits) >= 0.99


@needs_data
def test_measured_expressions() -> None:
    """Per tool release, since one release gives most rows."""
    found: dict[str, dict[str, list[bool]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    for row in rows("expression"):
        if row["gen"] == "us":  # UltraScale without plus: no such board here
            continue
        width, lut, at = max(int(row["p0"]), int(row["p1"])), int(row["lut"]), tool(row)
        release = f"{row['tool']} {row['version']} {row['gen']}"
        if row["op"] in ("+", "-"):
            shares = lut in (laws.adder(width, at).lut, laws.adder(width, at, ternary=True).lut)
            found["sum"][release].append(shares)
        elif row["op"] == "icmp":
            found["comparison"][release].append(laws.comparator(width, at).lut == lut)
        elif row["op"] in ("and", "or", "xor"):
            found["logic"][release].append(laws.logic(width).lut == lut)
    for kind, least in (("sum", 0.85), ("comparison", 0.99), ("logic", 1.0)):
        for release, hits in found[kind].items():
            got = share(f"{kind} LUT, {release}", hits)
            assert len(hits) < 50 or got >= least, (kind, release)


@needs_data
def test_measured_mux() -> None:
    near: dict[str, list[bool]] = collections.defaultdict(list)
    for row in rows("mux"):
        got = laws.mux(int(row["inputs"]), int(row["bits"]), tool(row)).lut
        near[f"{row['tool']} {row['version']}"].append(abs(got - int(row["lut"])) <= 1)
    for release, hits in near.items():
        share(f"mux LUT within 1, {release}", hits)
    assert share("mux LUT within 1", [h for hits in near.values() for h in hits]) >= 0.99
    assert all(sum(hits) / len(hits) >= 0.95 for hits in near.values())


@needs_data
def test_measured_register() -> None:
    """Rows with LUT are shift registers; those have their own law."""
    plain, shift = [], []
    for row in rows("register"):
        if row["lut"] == "0":
            plain.append(laws.register(int(row["bits"]), int(row["const_bits"])).ff == int(row["ff"]))
        else:
            shift.append((int(row["lut"]), int(row["ff"])) == (laws.shift_register().lut, laws.shift_register().ff))
    assert share("register FF", plain) >= 0.999
    assert share("shift register FF and LUT", shift) >= 0.90


@needs_data
def test_measured_loops() -> None:
    piped, plain = [], []
    passes = benchmark("cost").__globals__["passes"]
    for row in rows("loop"):
        trip, latency, iteration = (row[k] for k in ("trip_max", "lat_max", "iter_max"))
        if not (trip and latency and iteration):
            continue
        trip_n, latency_n, iteration_n = (int(float(x)) for x in (trip, latency, iteration))
        trip_n = passes(row, trip_n)
        if row["pipelined"] == "yes" and row["ii"]:
            piped.append(loops.pipelined_loop(trip_n, int(float(row["ii"])), iteration_n) == latency_n)
        elif row["pipelined"] == "no":
            plain.append(loops.loop(trip_n, iteration_n) == latency_n)
    assert share("pipelined loop latency", piped) >= 0.97
    assert share("other loop latency", plain) >= 0.99


@needs_data
def test_measured_dataflow_interval() -> None:
    inner: dict[str, list[int]] = collections.defaultdict(list)
    for row in rows("perfinst"):
        if row["ii_max"]:
            inner[row["rid"]].append(int(float(row["ii_max"])))
    hits = [
        loops.dataflow_interval(inner[m["rid"]]) == int(float(m["ii_max"]))
        for m in rows("module")
        if m["ptype"] == "dataflow" and m["ii_max"] and inner[m["rid"]]
    ]
    assert share("dataflow interval", hits) >= 0.93


# --------------------------------------------------------------------- by hand


@pytest.mark.parametrize(
    ("words", "bits", "blocks"),
    [(512, 36, 1), (513, 36, 2), (1024, 18, 1), (2048, 9, 1), (4096, 4, 1), (8192, 2, 1), (16384, 1, 1), (16385, 1, 2)],
)
def test_a_block_ram_holds_its_aspect_ratios(words: int, bits: int, blocks: int) -> None:
    assert laws.memory(words, bits, "bram", tool=VIVADO) == Resources(bram18=blocks)


def test_memory_options() -> None:
    assert laws.memory(512, 36, "bram", true_dual_port=True) == Resources(bram18=2)
    assert laws.memory(512, 36, "bram", copies=3, ping_pong=True) == Resources(bram18=6)
    assert laws.memory(4096, 72, "uram") == Resources(uram=1)
    assert laws.memory(4097, 73, "uram", ping_pong=True) == Resources(uram=8)
    assert laws.memory(16, 8) == Resources(lut=2, ff=8)
    assert laws.memory(16, 8, rom=False, ping_pong=True) == Resources(lut=4, ff=32)
    assert laws.memory(128, 8).bram18 == 1 and laws.memory(127, 8).bram18 == 0
    with pytest.raises(LawError, match="UltraRAM"):
        laws.memory(4096, 72, "uram", tool=VIVADO)


def test_deep_ultrascale_memories_mix_ratios() -> None:
    assert laws.bram18(9248, 32) == 22  # 18 + 9 + 4 + 1 bits in 36 Kb blocks: 5, 3, 2 and 1 of them
    assert laws.bram18(9248, 32, tool=VIVADO) == 32


@pytest.mark.parametrize(
    ("a", "b", "want"), [(8, 8, (0, 40)), (10, 10, (0, 62)), (11, 5, (1, 6)), (16, 16, (1, 5)), (71, 4, (0, 177))]
)
def test_multiplier_choice(a: int, b: int, want: tuple[int, int]) -> None:
    got = laws.multiplier(a, b)
    assert (got.dsp, got.lut) == want
    assert laws.multiplier(b, a) == got


def test_multiplier_bound() -> None:
    assert laws.multiplier(8, 8, "dsp").dsp == 1
    assert laws.multiplier(16, 16, "lut") == Resources(lut=159)
    assert laws.multiplier(8, 1) == Resources(lut=8)
    assert laws.multiplier(32, 32).dsp == 4
    assert laws.multiplier(32, 32, out_bits=32).dsp == 3
    assert laws.multiplier(25, 25, tool=VIVADO).dsp == 2


def test_tools_differ() -> None:
    assert laws.mux(10).lut == 54 and laws.mux(10, tool=VIVADO).lut == 47
    assert laws.adder(8).lut == 15 and laws.adder(12, VIVADO).lut == 12 and laws.adder(16, ternary=True).lut == 16
    assert laws.comparator(32).lut == 20 and laws.comparator(32, Tool("vitis", "2023.1")).lut == 39


def test_times() -> None:
    assert loops.pipelined_loop(100, 1, 5) == 103
    assert loops.pipelined_loop(0, 1, 5) == 0
    assert loops.passes(13, 2) == 7 and loops.passes(400, 50) == 8
    assert loops.pipelined_loop(loops.passes(13, 2), 4, 6) == 29  # a real row: 6 trips printed, 29 cycles
    assert loops.loop(10, 7) == 70
    assert loops.module(103) == 105
    assert loops.dataflow_interval([7, 100, 3]) == 101


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: laws.memory(0, 8),
        lambda: laws.memory(8, 0),
        lambda: laws.memory(8, 8, copies=0),
        lambda: laws.fifo(0, 8),
        lambda: laws.multiplier(8, 0),
        lambda: laws.adder(0),
        lambda: laws.mux(0),
        lambda: laws.register(4, 5),
        lambda: loops.pipelined_loop(1, 0, 1),
        lambda: loops.pipelined_loop(-1, 1, 1),
        lambda: loops.passes(4, 0),
        lambda: loops.loop(-1, 1),
        lambda: loops.module(-1),
        lambda: loops.dataflow_interval([]),
        lambda: Tool("quartus"),  # type: ignore[arg-type]
        lambda: Tool("vitis", "latest"),
    ],
)
def test_nonsense_is_refused(wrong: object) -> None:
    with pytest.raises(LawError):
        wrong()  # type: ignore[operator]


def test_costs_grow_with_size() -> None:
    for at in (laws.DEFAULT, VIVADO, Tool("vivado", "2019.2"), Tool("vitis", "2025.2", ultrascale=False)):
        for bits in range(1, 80):
            if not at.ultrascale:  # UltraScale mixes aspect ratios: see bram18
                assert laws.bram18(3000, bits + 1, tool=at) >= laws.bram18(3000, bits, tool=at)
            assert laws.bram18(300 * bits + 300, 36, tool=VIVADO) >= laws.bram18(300 * bits, 36, tool=VIVADO)
            assert laws.fifo(512, bits + 1, at).bram18 >= laws.fifo(512, bits, at).bram18
        for inputs in range(1, 400):
            assert laws.mux(inputs + 1, tool=at).lut >= laws.mux(inputs, tool=at).lut
