"""Several products in one DSP: the header itself over every operand, and what a synthesizer makes of its RTL twin."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from flow import blocks, board, codegen, project
from flow.blocks import mac
from flow.design import Bound, Design
from flow.mapping.solve import realise
from flow.toolchain import gpp
from tests import networks

PORTS = {"DSP48E2": 27, "DSP48E1": 25}

# Every weight pair and activation through hls/mac.h; then whole chains at their extremes and at random.
PROGRAM = r"""
#include "mac.h"
#include <cstdio>
using namespace coexplore;
struct One {{
    static constexpr int PE = {rows}, SIMD = 1, ROWS = {rows}, FIELD = {field}, CHAIN = {chain};
    typedef Int<{packed}> Packed; typedef Int<{pair}> Pair; typedef Int<32> Acc; typedef Int<32> Product;
}};
struct Many : One {{ static constexpr int SIMD = 3 * {chain} + 1, PE = {rows} + 1; }};
template <class C, class W, class X> static long check(const W (&w)[C::PE][C::SIMD], const X (&x)[C::SIMD]) {{
    typename C::Acc sum[C::PE];
    Dot<C, MULT_PACKED>::apply(w, x, sum);
    long wrong = 0;
    for (int p = 0; p < C::PE; ++p) {{
        long want = 0;
        for (int s = 0; s < C::SIMD; ++s) want += (long)w[p][s] * (long)x[s];
        wrong += want != (long)sum[p];
    }}
    return wrong;
}}
int main() {{
    typedef Int<{w_bits}> W; typedef {x_type} X;
    long wrong = 0, cases = 0;
    const int lo = {w_lo}, hi = {w_hi}, n = hi - lo + 1;
    long all = 1;
    for (int r = 0; r < {rows}; ++r) all *= n;
    for (long i = 0; i < all; ++i) {{
        W w[{rows}][1];
        long rest = i;
        for (int r = 0; r < {rows}; ++r, rest /= n) w[r][0] = (W)(lo + rest % n);
        for (int a = {x_lo}; a <= {x_hi}; ++a, ++cases) {{
            X x[1] = {{(X)a}};
            wrong += check<One>(w, x);
        }}
    }}
    unsigned seed = 1;
    for (int t = 0; t < 200000; ++t, ++cases) {{
        W w[Many::PE][Many::SIMD];
        X x[Many::SIMD];
        const bool extreme = t % 2;
        for (int s = 0; s < Many::SIMD; ++s) {{
            for (int p = 0; p < Many::PE; ++p) {{
                seed = seed * 1664525u + 1013904223u;
                w[p][s] = (W)(extreme ? (seed >> 31 ? lo : hi) : lo + (int)((seed >> 8) % n));
            }}
            seed = seed * 1664525u + 1013904223u;
            x[s] = (X)(extreme ? (seed >> 31 ? {x_lo} : {x_hi}) : {x_lo} + (int)((seed >> 8) % ({x_hi} - {x_lo} + 1)));
        }}
        wrong += check<Many>(w, x);
    }}
    std::printf("%ld %ld\n", cases, wrong);
    return wrong != 0;
}}
"""


def exhaust(weights: mac.Range, x: mac.Range, port: int, rows: int, folder: Path) -> tuple[mac.Packing, int]:
    """Every combination of ``rows`` weights and an activation; returns the packing and the number of cases."""
    pack = mac.packing(weights, x, port, rows)
    assert pack is not None and pack.rows == rows
    bits = max(abs(x[0]).bit_length(), x[1].bit_length()) + (x[0] < 0)
    text = PROGRAM.format(
        rows=rows, field=pack.field, chain=pack.chain, packed=pack.packed_bits, pair=pack.pair_bits,
        w_bits=weights[1].bit_length() + 1, w_lo=weights[0], w_hi=weights[1], x_lo=x[0], x_hi=x[1],
        x_type=f"{'' if x[0] < 0 else 'U'}Int<{bits}>",
    )  # fmt: skip
    (folder / "p.cpp").write_text(text)
    headers = str(resources.files("flow.hls"))
    command = ["g++", "-O2", "-std=c++11", "-Wno-unknown-pragmas", "-DCOEXPLORE_NATIVE", f"-I{headers}", "p.cpp"]
    subprocess.run([*command, "-o", "p"], cwd=folder, check=True, capture_output=True)
    done = subprocess.run(["./p"], cwd=folder, check=True, capture_output=True, text=True)
    cases, wrong = map(int, done.stdout.split())
    assert wrong == 0
    return pack, cases


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
@pytest.mark.parametrize("device", PORTS)
@pytest.mark.parametrize("x", [(-128, 127), (0, 255)])
def test_two_int8_products_over_all_operands(device: str, x: mac.Range, tmp_path: Path) -> None:
    """All 2**24 triples (the full range of weights: -128 too)."""
    pack, cases = exhaust((-128, 127), x, PORTS[device], 2, tmp_path)
    assert cases >= 1 << 24 and pack.packed_bits <= PORTS[device] and pack.pair_bits <= 48


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
@pytest.mark.parametrize("device", PORTS)
@pytest.mark.parametrize(
    ("rows", "weights", "x"),
    [(3, (-7, 7), (0, 15)), (3, (-8, 7), (-8, 7)), (4, (-3, 3), (-4, 3)), (4, (-1, 1), (0, 15))],
)
def test_three_and_four_products_over_all_operands(
    device: str, rows: int, weights: mac.Range, x: mac.Range, tmp_path: Path
) -> None:
    pack, cases = exhaust(weights, x, PORTS[device], rows, tmp_path)
    assert cases > (weights[1] - weights[0] + 1) ** rows and pack.packed_bits <= PORTS[device]


@pytest.mark.slow
@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("place", ["zcu102", "pynq-z2"])
def test_packed_layers_in_c_simulation(place: str, native: bool, tmp_path: Path) -> None:
    """Three and four rows a DSP in whole layers, rows left over at the end."""
    d = networks.Draft((4, 6, 6))
    a = d.conv("input", 10, 3, weight_bits=4, bits=4)
    d.dense(d.conv(a, 14, 3, weight_bits=3, bits=3), 10, weight_bits=4)
    graph, target, foldings = d.graph(), board.load(place), {}
    for node in graph.nodes:
        every = [o.folding for o in blocks.options(graph, node, target)]
        packed = [f for f in every if f.mult == "packed" and f.pe > 1]
        foldings[node.id] = max(packed or every, key=lambda f: (f.pe, -f.simd))
    rows = {f.pe for f in foldings.values() if f.mult == "packed"}
    assert len(rows) > 1 and any(pe % 3 for pe in rows)
    bound = Bound(1, "stream", 0.0, False, 0.0)
    design = Design(graph, target, 200.0, foldings, realise(graph, target, foldings, 64), bound, target.available)
    project.write(codegen.plan(design).files, tmp_path / "p")
    x = d.images(12)
    got = gpp.simulate(tmp_path / "p" / "hls", x, codegen.describe(design), native)
    assert np.array_equal(got.outputs, graph.evaluate(x)[graph.output])


TWIN = """
module packed(input clk, input signed [{w}:0] w0, w1, input signed [{x}:0] a, output reg signed [{p}:0] p0, p1);
  reg signed [{k}:0] both; reg signed [{x}:0] held; reg signed [{m}:0] product;
  wire signed [{f}:0] low = product[{f}:0];
  always @(posedge clk) begin
    both <= (w1 <<< {field}) + w0; held <= a; product <= both * held;
    p0 <= low; p1 <= (product - low) >>> {field};
  end
endmodule
module plain(input clk, input signed [{w}:0] w0, w1, input signed [{x}:0] a, output reg signed [{p}:0] p0, p1);
  reg signed [{w}:0] u0, u1; reg signed [{x}:0] held;
  always @(posedge clk) begin u0 <= w0; u1 <= w1; held <= a; p0 <= u0 * held; p1 <= u1 * held; end
endmodule
"""
SYNTHESIS = """
import json, sys
from pyosys import libyosys as ys
counts = {}
for top in ("packed", "plain"):
    design = ys.Design()
    for command in (f"read_verilog {sys.argv[1]}", f"synth_xilinx -family {sys.argv[2]} -top {top} -flatten -noiopad"):
        ys.run_pass(command, design)
    ys.run_pass(f"tee -q -o {sys.argv[1]}.json stat -json", design)
    cells = json.load(open(sys.argv[1] + ".json"))["design"]["num_cells_by_type"]
    counts[top] = sum(n for kind, n in cells.items() if kind.startswith("DSP48"))
print(json.dumps(counts))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("family", "device"), [("xcup", "DSP48E2"), ("xc7", "DSP48E1")])
def test_a_synthesizer_gives_the_packed_pair_one_dsp(family: str, device: str, tmp_path: Path) -> None:
    """Yosys maps the RTL twin of a packed int8 pair to one DSP, two separate products to two."""
    pytest.importorskip("pyosys", reason="pyosys is not installed: pip install coexplore[rtl]")
    pack = mac.packing((-127, 127), (-128, 127), PORTS[device], 2)
    assert pack is not None
    text = TWIN.format(
        w=7, x=7, p=15, k=pack.packed_bits - 1, m=pack.packed_bits + 7, f=pack.field - 1, field=pack.field
    )
    (tmp_path / "twin.v").write_text(text)
    done = subprocess.run(
        [sys.executable, "-c", SYNTHESIS, str(tmp_path / "twin.v"), family], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.strip().splitlines()[-1]) == {"packed": 1, "plain": 2}


def test_packing_is_refused_where_it_does_not_fit() -> None:
    assert mac.packing((-32767, 32767), (-128, 127), 27, 8) is None  # 16-bit weights
    assert mac.packing((-127, 127), (0, 1 << 18), 27, 8) is None  # wider than the narrow port
    assert mac.packing((-127, 127), (-128, 127), 27, 1) is None  # one row shares with nobody
