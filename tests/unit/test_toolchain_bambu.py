"""Bambu on single blocks: what is left out of the sources, that blocks are self-checking, and what a run may claim."""

import os
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from networks import sample

from flow import board, cli, codegen, mapping, project
from flow.toolchain import bambu, bambu_block
from flow.toolchain.bambu_block import BlockError, without_pragmas
from flow.toolchain.runner import ToolError

MOCK = Path(__file__).parents[1] / "mock_tools" / "bambu"
IMAGES = 2
needs_gpp = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")


@pytest.fixture(scope="module")
def design():
    found = mapping.solve(sample(), board.load("zcu102"), mapping.Goal("throughput", 0.08, None, None))
    assert not isinstance(found, mapping.NoFit)
    return found


@pytest.fixture(scope="module")
def images(design):
    return project.random_images(design.graph, IMAGES)


@pytest.fixture(scope="module")
def compiled(design, images, tmp_path_factory):
    """A compiled project's files for the tool chains."""
    folder = tmp_path_factory.mktemp("projects") / "one"
    expected = design.graph.evaluate(images)[design.graph.output]
    project.write(codegen.plan(design, (images, expected)).files, folder)
    return folder


@pytest.fixture
def tool(monkeypatch, tmp_path):
    """The mock on PATH, no real bambu."""
    folder = tmp_path / "bin of mocks"
    folder.mkdir()
    wrapper = folder / "bambu"
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(MOCK))} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), os.environ["PATH"]]))
    for name in [n for n in os.environ if n.startswith("COEXPLORE_MOCK_")]:
        monkeypatch.delenv(name)
    return bambu.choose()


@pytest.fixture
def folder(compiled, tmp_path):
    return Path(shutil.copytree(compiled, tmp_path / "project"))


@pytest.fixture(scope="module")
def adder(compiled):
    """The block of the addition, prepared once."""
    return bambu_block.prepare(compiled, "L3_add")


@pytest.fixture
def prepared(monkeypatch, adder):
    """Runs of the tool take the prepared block: these tests are about the tool."""
    monkeypatch.setattr(bambu_block, "prepare", lambda project_dir, process_id, images: adder)


def process(design, function, node=None):
    return next(p for p in design.netlist.processes if p.function == function and node in (None, p.node))


def channels_last(tensor):
    """(N, C, H, W) as the accelerator streams it, flat."""
    return tensor.transpose(0, 2, 3, 1).reshape(-1)


# ---------------------------------------------------------------- the switch


def test_pragmas_are_left_out_by_one_switch():
    text = "\n".join(
        [
            "for (;;) {",
            "#pragma HLS PIPELINE II=1 // fast",
            "  #  pragma hls unroll",
            "#pragma HLS UNROLL factor=4",
            "#pragma HLS UNROLL factor=C::PE",
            "#pragma HLS INLINE off",
            "#pragma HLS ARRAY_PARTITION \\",
            "    variable=x complete",
            "#pragma HLS INTERFACE axis port=in0",
            "#pragma HLS INTERFACE s_axilite port=return",
            "#pragma HLS DATAFLOW",
            "#pragma once",
            "}",
        ]
    )
    kept, gone = without_pragmas(text)
    assert gone == ["PIPELINE", "UNROLL", "ARRAY_PARTITION", "INTERFACE", "DATAFLOW"]
    assert kept.count("\n") == text.count("\n")  # messages of the compiler keep their line numbers
    assert [line for line in kept.split("\n") if line] == [
        "for (;;) {",
        "  #  pragma hls unroll",
        "#pragma HLS UNROLL factor=4",
        "#pragma HLS INLINE off",
        "#pragma HLS INTERFACE axis port=in0",
        "#pragma once",
        "}",
    ]


def test_weights_become_plain_c():
    text = "static const coexplore::Int<4> a[2] =\n{1, -2};\nstatic const coexplore::UInt<9> b[1] =\n{300};\n"
    text += "static const coexplore::Int<17> c[1] =\n{-65536};\n"
    assert bambu_block.native_weights(text) == (
        "static const signed char a[2] =\n{1, -2};\nstatic const unsigned short b[1] =\n{300};\n"
        "static const signed int c[1] =\n{-65536};\n"
    )


@needs_gpp
def test_plan_leaves_the_vendors_files_alone(design, compiled):
    before = {p: p.read_bytes() for p in compiled.rglob("*") if p.is_file()}
    planned = bambu.plan(compiled, process(design, "matvec").id)
    assert {p: p.read_bytes() for p in compiled.rglob("*") if p.is_file()} == before
    assert b"#pragma HLS PIPELINE" in before[compiled / "hls" / "matvec.h"]
    assert planned.content.removed["PIPELINE"] >= 1
    sources = b"".join(planned.files.values())
    assert b"PIPELINE II" not in sources and b"pragma HLS DATAFLOW" not in sources
    assert b"#pragma HLS UNROLL" in sources and b"#pragma HLS INTERFACE axis port=in0" in sources


# ------------------------------------------------------------- blocks alone


@needs_gpp
@pytest.mark.parametrize(
    ("function", "node"),
    [("matvec", "L1"), ("depthwise", "L2"), ("add", "L3"), ("pool", "L4"), ("pool_global", "L8"), ("matvec", "L9")],
)
def test_recorded_outputs_are_the_integer_networks(design, compiled, images, function, node):
    """The vectors come out of C simulation; the node's integer operator is computed apart from any C++."""
    block = bambu_block.cut(compiled / "hls", process(design, function, node).id)
    beats = bambu_block.record(compiled, block, IMAGES)
    tensors = design.graph.evaluate(images, every=True)
    assert np.array_equal(beats["out0"].reshape(-1), channels_last(tensors[node]))


@needs_gpp
def test_recorded_windows_are_the_networks(design, compiled, images):
    """A 2x2 pooling window of the stream holds the four pixels of the map, in some order of positions."""
    block = bambu_block.cut(compiled / "hls", process(design, "window_parallel", "L4").id)
    (end,) = (e for e in block.ends if not e.is_input)
    beats = bambu_block.record(compiled, block, IMAGES)["out0"]
    lanes = end.lanes // 4
    got = beats.reshape(IMAGES, 8, 8, -1, 2, 2, lanes).transpose(0, 3, 6, 1, 4, 2, 5).reshape(IMAGES, -1, 16, 16)
    assert np.array_equal(got, design.graph.evaluate(images, every=True)["L3"])


@needs_gpp
@pytest.mark.parametrize("function", ["matvec", "window_parallel", "pool", "add"])
def test_block_folder_checks_itself(design, compiled, tmp_path, function):
    content = bambu_block.prepare(compiled, process(design, function).id, IMAGES)
    for name, data in content.files.items():
        (tmp_path / name).write_bytes(data)
    bambu_block.check(tmp_path)
    # ... and notices one wrong number.
    vectors = (tmp_path / "block_vectors.h").read_text()
    head, mark, tail = vectors.partition("out0_values[] = {\n")
    first, comma, rest = tail.partition(",")
    (tmp_path / "block_vectors.h").write_text(head + mark + str(int(first) ^ 1) + comma + rest)
    with pytest.raises(BlockError, match="FAIL: 1 of"):
        bambu_block.check(tmp_path)


@needs_gpp
def test_blocks_that_cannot_stand_alone(design, compiled, tmp_path, monkeypatch):
    with pytest.raises(BlockError, match="no process 'nothing'; its processes: input_axis, "):
        bambu.plan(compiled, "nothing")
    for name in ("input_axis", "output_axis"):
        with pytest.raises(BlockError, match=f"process {name} has an AXI4-Stream end"):
            bambu.plan(compiled, name)
    with pytest.raises(BlockError, match="last beat is partly filled"):
        bambu.plan(compiled, "output_axis_gear0")  # 10 outputs, 4 a word
    with pytest.raises(BlockError, match=r"3 images asked for, 2 bundled"):
        bambu.plan(compiled, "L3_add", images=3)
    with pytest.raises(BlockError, match="no compiled project"):
        bambu.plan(tmp_path, "L3_add")
    monkeypatch.setattr(bambu_block, "MOST_VALUES", 100)
    with pytest.raises(BlockError, match="more than the 100"):
        bambu.plan(compiled, "L3_add")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BlockError, match="g\\+\\+ is not on PATH"):
        bambu.plan(compiled, "L3_add")


# ------------------------------------------------------------ the tool (mock)


def test_absent_bambu(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bambu.available() is None
    with pytest.raises(ToolError, match="bambu is not available"):
        bambu.choose()


def test_another_program_of_that_name_is_not_it(monkeypatch, tmp_path):
    other = tmp_path / "bambu"
    other.write_text("#!/bin/sh\necho BambuStudio-02.03.01.51\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bambu.available() is None


@needs_gpp
@pytest.mark.parametrize("layout", ["2024", "new"])
def test_a_block_goes_through(design, folder, tool, monkeypatch, layout):
    monkeypatch.setenv("COEXPLORE_MOCK_LAYOUT", layout)
    p = process(design, "matvec", "L1")
    result = bambu.synthesise_block(tool, folder, p.id, 120, images=IMAGES)
    assert (result.process, result.function, result.version) == (p.id, "matvec", "2024.10")
    assert result.compared == IMAGES * p.outputs[0].beats * p.outputs[0].lanes
    assert result.cycles_per_image == 7 * p.outputs[0].beats  # what the mock pretends, from the log and the XML
    assert (result.area_estimate, result.flip_flop_estimate) == (4321, 820)
    assert result.clock_ns == 5.0 and result.images == IMAGES and result.simulated_equal
    assert result.claim == (
        "one block, sequential loops, accepted by a second HLS compiler and simulated RTL equal to C"
    )


@needs_gpp
@pytest.mark.parametrize("pragma", ["PIPELINE", "DATAFLOW"])
def test_the_switch_is_needed(folder, tool, monkeypatch, pragma):
    """With the pragma let through, the compiler refuses the block, and its message is passed on."""
    import re

    if pragma == "DATAFLOW":
        header = folder / "hls" / "add.h"
        header.write_text(header.read_text().replace("#pragma HLS PIPELINE II=1", "#pragma HLS DATAFLOW"))
    monkeypatch.setitem(bambu_block.KEPT_PRAGMAS, pragma, re.compile(".*"))
    with pytest.raises(ToolError, match=rf"add\.h:\d+:1: error: #pragma HLS {pragma} not supported"):
        bambu.synthesise_block(tool, folder, "L3_add", 60)


@needs_gpp
@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("exit1", "block.cpp:9:1: error: use of undeclared identifier"),
        ("no_results", "left no bambu_results"),
        ("no_cycles", "reported no simulated cycles"),
        ("damaged", "not readable as Bambu's results"),
        ("disagree", "but the log says"),
        ("skipped", "nothing is shown"),
    ],
)
def test_failures_of_the_tool_are_one_line(folder, tool, prepared, monkeypatch, mode, message):
    monkeypatch.setenv("COEXPLORE_MOCK_FAIL", mode)
    with pytest.raises(ToolError, match=message) as caught:
        bambu.synthesise_block(tool, folder, "L3_add", 60)
    assert "\n" not in str(caught.value)


@needs_gpp
def test_old_results_are_not_taken_for_new_ones(folder, tool, prepared, monkeypatch):
    old = folder / "bambu" / "L3_add" / "bambu_results_0.xml"
    old.parent.mkdir(parents=True)
    old.write_text('<bambu_results><CYCLES value="1"/></bambu_results>')
    monkeypatch.setenv("COEXPLORE_MOCK_FAIL", "no_results")
    with pytest.raises(ToolError, match="left no bambu_results"):
        bambu.synthesise_block(tool, folder, "L3_add", 60)


@needs_gpp
def test_rtl_that_differs_is_a_failure(folder, tool, prepared, monkeypatch):
    monkeypatch.setenv("COEXPLORE_MOCK_SPOIL", "1")
    with pytest.raises(ToolError, match="Simulation not correct"):
        bambu.synthesise_block(tool, folder, "L3_add", 60)


@needs_gpp
def test_a_hanging_tool_is_ended(folder, tool, prepared, monkeypatch):
    monkeypatch.setenv("COEXPLORE_MOCK_FAIL", "hang")
    with pytest.raises(ToolError, match="did not finish L3_add in 1 s"):
        bambu.synthesise_block(tool, folder, "L3_add", 1)


@needs_gpp
def test_command_line(folder, tool, capsys):
    assert cli.main(["synth", str(folder), "--toolchain", "bambu", "--block", "L3_add", "--json"]) == 0
    out = capsys.readouterr().out
    assert '"fidelity": "open-hls-block"' in out and '"process": "L3_add"' in out
    for arguments, message in (
        (["--toolchain", "bambu"], "give --block PROCESS"),
        (["--toolchain", "vitis_hls", "--block", "L3_add"], "--block is for --toolchain bambu"),
        (["--toolchain", "bambu", "--block", "L3_add", "--impl"], "--impl is for Vivado"),
        (["--toolchain", "bambu", "--block", "../x"], "no process '../x'"),
    ):
        assert cli.main(["synth", str(folder), *arguments]) == 1
        assert message in capsys.readouterr().err
