"""Planted defects: small edits of generated projects, each with the rule that must find it and the file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flow import board, codegen, mapping
from tests import networks


@dataclass(frozen=True)
class Defect:
    """Replace ``old`` by ``new`` once in ``edited`` of project ``base``; ``file`` is where ``rule`` must point."""

    name: str
    base: str
    rule: str
    edited: str
    old: str
    new: str
    file: str
    also: tuple[str, ...] = ()  # rules that find its consequences, in the same file
    more: tuple[tuple[str, str], ...] = ()  # further replacements


@cache
def files(base: str) -> dict[str, bytes]:
    """A generated project: "add" (fork, converters, adder), "conv" (parallel window) or "serial" (serial window)."""
    if base == "add":
        draft = networks.Draft((2, 4, 4))
        draft.residual("input", "input")
    else:
        draft = networks.Draft((2, 5, 5))
        draft.dense(draft.conv("input", 2), 2)
    goal = mapping.Goal(objective="area" if base == "serial" else "throughput")
    design = mapping.solve(draft.graph(), board.load("zcu102"), goal)
    assert not isinstance(design, mapping.NoFit)
    return codegen.plan(design).files


def write(content: dict[str, bytes], folder: Path) -> Path:
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def plant(defect: Defect, folder: Path) -> Path:
    """Write the project with its defect."""
    content = dict(files(defect.base))
    text = content[defect.edited].decode()
    for old, new in ((defect.old, defect.new), *defect.more):
        assert old in text, f"{defect.name}: {defect.edited} no longer holds {old!r}"
        text = text.replace(old, new, 1)
    content[defect.edited] = text.encode("latin-1")
    return write(content, folder)


TOP = "hls/accel.cpp"
BODY = "    input_axis("  # first statement of the dataflow region
ADD = "        const typename C::In0 x = a.read();\n"
SUM = "            result.lane[l] = requantise<C>(sum, 1, 0);\n"
REQUANT = "    return saturate<C>(Rounding<C, C::ROUND>::apply(acc, mult, shift));\n"
FORK = "        const typename C::Beat beat = in.read();\n"


def top(name: str, rule: str, old: str, new: str, *also: str) -> Defect:
    return Defect(name, "add", rule, TOP, old, new, TOP, also)


def add(name: str, rule: str, new: str, old: str = ADD) -> Defect:
    """A defect in the adder's loop; ``new`` comes before the line unless it repeats it."""
    return Defect(name, "add", rule, "hls/add.h", old, new if old in new or old != ADD else new + old, "hls/add.h")


def requant(name: str, rule: str, new: str, *also: str) -> Defect:
    """A defect in requantise, which runs in the adder's pipeline."""
    return Defect(name, "add", rule, "hls/requant.h", REQUANT, new + REQUANT, "hls/requant.h", also)


def plumb(name: str, rule: str, old: str, new: str, *also: str) -> Defect:
    return Defect(name, "add", rule, "hls/stream.h", old, new, "hls/stream.h", also)


def conv(name: str, rule: str, file: str, old: str, new: str, *also: str, base: str = "conv") -> Defect:
    return Defect(name, base, rule, file, old, new, file, also)


HELPER = "template <class C> inline typename C::OutT requantise("
II = "#pragma HLS PIPELINE II=1\n"
FLOW = "#pragma HLS DATAFLOW"
LOOP = "    for (int i = 0; i < C::ITERATIONS; ++i) {\n" + II

DEFECTS = (
    Defect(
        "top that is not there",
        "add",
        "project",
        "hls/hls_config.cfg",
        "syn.top=accel",
        "syn.top=other",
        TOP,
        ("pragma-place",),
    ),
    # what C++ may not say
    top("stream by value", "parse", " > &in0, hls::stream<Vec<", " > in0, hls::stream<Vec<"),
    top("syntax error", "parse", BODY, "    nothing(" + BODY.strip()),
    top("missing header", "parse", '#include "add.h"', '#include "adder.h"'),
    top(
        "uninitialised local",
        "compiler",
        "    from_axis<",
        "    int n;\n    if (n > 0) n = 1;\n    from_axis<",
        "uninitialised",
    ),
    requant("recursion", "recursion", "    if (mult > 9) return requantise<C>(acc, mult - 1, shift);\n"),
    requant("new", "dynamic-memory", "    int *p = new int(mult);\n    delete p;\n", "pointer"),
    requant("malloc", "dynamic-memory", "    __builtin_free(__builtin_malloc(4)), free(malloc(4));\n"),
    requant("exception", "exception", "    if (mult < 0) throw 1;\n"),
    requant("goto", "goto", "    if (mult < 0) goto end;\nend:\n"),
    requant("assembly", "assembly", '    asm("nop");\n'),
    requant("standard container", "library", "    std::deque<int> kept;\n"),
    requant("printing", "system-call", '    printf("%d", mult);\n'),
    requant("function pointer", "function-pointer", "    int (*f)(int) = 0;\n    if (mult < 0) mult = f(mult);\n"),
    requant("pointer", "pointer", "    int *p = &mult;\n    *p = 1;\n"),
    requant("floating point", "floating-point", "    acc = (typename C::Acc)(int)((float)(int)acc * 0.5f);\n"),
    Defect(
        "virtual function",
        "add",
        "virtual",
        "hls/requant.h",
        HELPER,
        "struct Base {\n    virtual int f() { return 1; }\n};\n" + HELPER,
        "hls/requant.h",
    ),
    requant("reserved identifier", "reserved-name", "    const int __scale = mult;\n    (void)__scale;\n"),
    Defect("non-ASCII byte", "add", "encoding", "hls/add.h", "finest scale", "finest scal\xe9", "hls/add.h"),
    # loops
    requant("while loop", "loop-bound", "    while (mult > 8) mult = mult - 1;\n"),
    plumb(
        "bound read at run time",
        "loop-bound",
        "    for (int i = 0; i < C::ITERATIONS; ++i) {\n" + II + FORK,
        "    const int n = in.read().lane[0];\n    for (int i = 0; i < n; ++i) {\n#pragma HLS PIPELINE II=1\n" + FORK,
    ),
    plumb("break", "loop-bound", FORK, FORK + "        if (beat.lane[0] == 0) break;\n"),
    add(
        "inner loop with a run-time bound",
        "pipeline-inner-loop",
        ADD + "        int n = 0;\n        for (int j = 0; j < (int)x.lane[0]; ++j) n += j;\n        (void)n;\n",
    ),
    plumb("loop without directive", "pipeline-missing", LOOP + FORK, LOOP.split("#")[0] + FORK),
    # pragma grammar
    plumb("misspelled pragma", "pragma-unknown", II + FORK, "#pragma HLS PIPLINE II=1\n" + FORK, "pipeline-missing"),
    add("not an HLS pragma", "pragma-unknown", "#pragma HSL UNROLL\n", "#pragma HLS UNROLL\n"),
    top("deprecated pragma", "pragma-unknown", FLOW, "#pragma HLS CLOCK domain=x\n#pragma HLS DATAFLOW"),
    add("misspelled option", "pragma-option", "#pragma HLS PIPELINE IL=1\n", II),
    top(
        "option missing",
        "pragma-option",
        "#pragma HLS STREAM variable=s0 depth",
        "#pragma HLS STREAM depth",
        "stream-depth",
    ),
    add("interval of zero", "pragma-value", "#pragma HLS PIPELINE II=0\n", II),
    add("interval that is no number", "pragma-value", "#pragma HLS PIPELINE II=1.5\n", II),
    top("negative depth", "pragma-value", "variable=s0 depth=2", "variable=s0 depth=-2"),
    plumb(
        "unknown partition",
        "pragma-value",
        "variable=held complete",
        "variable=held type=full",
        "port-pressure",
        "memory-dependence",
    ),
    conv("operator without that implementation", "pragma-value", "hls/mac.h", "op=mul impl=dsp", "op=mul impl=lut"),
    conv(
        "ROM in UltraRAM",
        "pragma-value",
        "hls/window.h",
        "variable=lines type=ram_2p",
        "variable=lines type=rom_1p impl=uram",
        "port-pressure",
    ),
    top(
        "unknown interface mode",
        "pragma-value",
        "INTERFACE axis port=sink",
        "INTERFACE mode=axi4 port=sink",
        "interface-mode",
    ),
    # pragmas in their place
    plumb(
        "variable nowhere in scope",
        "pragma-variable",
        "variable=held",
        "variable=heldd",
        "port-pressure",
        "memory-dependence",
    ),
    plumb(
        "variable of an inner block",
        "pragma-variable",
        "variable=held",
        "variable=beat",
        "port-pressure",
        "memory-dependence",
    ),
    top(
        "stream pragma on something else",
        "pragma-variable",
        "STREAM variable=s0",
        "STREAM variable=images",
        "stream-depth",
    ),
    conv(
        "dimension beyond the rank",
        "pragma-dim",
        "hls/window.h",
        "variable=lines complete dim=3",
        "variable=lines complete dim=4",
        "port-pressure",
    ),
    plumb(
        "partition of a scalar",
        "pragma-dim",
        "    int count = 0, reads = 0, writes = 0;\n",
        "    int count = 0, reads = 0, writes = 0;\n#pragma HLS ARRAY_PARTITION variable=count complete\n",
    ),
    plumb(
        "UNROLL outside a loop",
        "pragma-place",
        "    static unsigned image = 0;\n",
        "    static unsigned image = 0;\n#pragma HLS UNROLL\n",
    ),
    plumb(
        "PIPELINE in a branch",
        "pragma-place",
        "            const typename C::In beat = in.read();\n",
        "#pragma HLS PIPELINE II=1\n            const typename C::In beat = in.read();\n",
    ),
    plumb(
        "pragma outside functions",
        "pragma-place",
        "namespace coexplore {\n",
        "namespace coexplore {\n#pragma HLS INLINE\n",
    ),
    top(
        "interface of an inner function",
        "pragma-place",
        "#pragma HLS INLINE off\n",
        "#pragma HLS INLINE off\n#pragma HLS INTERFACE axis port=in0\n",
    ),
    top("DATAFLOW and PIPELINE", "pragma-conflict", FLOW, FLOW + "\n#pragma HLS PIPELINE II=1"),
    top(
        "depth said twice",
        "pragma-conflict",
        "#pragma HLS STREAM variable=s1 depth=2\n",
        "#pragma HLS STREAM variable=s1 depth=2\n#pragma HLS STREAM variable=s1 depth=4\n",
    ),
    plumb(
        "memory binding of registers",
        "pragma-conflict",
        "variable=held complete dim=0\n",
        "variable=held complete dim=0\n#pragma HLS BIND_STORAGE variable=held type=ram_2p impl=bram\n",
    ),
    # interfaces
    top(
        "argument without interface",
        "interface-missing",
        "#pragma HLS INTERFACE s_axilite port=images bundle=control\n",
        "",
    ),
    top(
        "no control interface", "interface-missing", "#pragma HLS INTERFACE s_axilite port=return bundle=control\n", ""
    ),
    top(
        "interface of no argument",
        "interface-port",
        "s_axilite port=images",
        "s_axilite port=images bundle=control\n#pragma HLS INTERFACE s_axilite port=batch",
    ),
    top("stream on AXI-Lite", "interface-mode", "INTERFACE axis port=sink", "INTERFACE s_axilite port=sink"),
    Defect(
        "stream words without TLAST",
        "add",
        "axis-type",
        "hls/types.h",
        "using Axis = ap_axiu<W, 0, 0, 0>;",
        "struct Axis {\n    ap_uint<W> data;\n    ap_uint<W / 8> keep, strb;\n    ap_uint<1> last;\n};",
        TOP,
    ),
    # dataflow
    top("condition in the region", "dataflow-body", BODY, "    if (images == 0) images = 1;\n" + BODY),
    top(
        "conditional process",
        "dataflow-body",
        "    L0_add(s2, s4, s5);",
        "    if (images) L0_add(s2, s4, s5);",
        "stream-producer",
        "stream-consumer",
    ),
    top("loop in the region", "dataflow-body", BODY, "    for (int k = 0; k < 2; ++k) images += k;\n" + BODY),
    top("expression as argument", "dataflow-body", "sink, images);", "sink, images + 1);"),
    top("static variable in the region", "dataflow-body", BODY, "    static int calls;\n" + BODY),
    top("inlined process", "dataflow-body", "#pragma HLS INLINE off\n    add<", "#pragma HLS INLINE\n    add<"),
    top(
        "two producers",
        "stream-producer",
        BODY,
        BODY.replace("input_axis(", "L0_add(s2, s4, s5);\n    input_axis("),
        "stream-consumer",
        "dataflow-order",
    ),
    top("no producer", "stream-producer", "L0_add_gear1(s3, s4);", "", "stream-consumer"),
    top(
        "process twice",
        "stream-consumer",
        "    L0_add_gear0(s1, s2);\n",
        "    L0_add_gear0(s1, s2);\n    L0_add_gear0(s1, s2);\n",
        "stream-producer",
    ),
    top(
        "read before written",
        "dataflow-order",
        "    input_axis(source, s0);\n    input_fork0(s0, s1, s3);\n",
        "    input_fork0(s0, s1, s3);\n    input_axis(source, s0);\n",
    ),
    top(
        "unused stream",
        "stream-unused",
        BODY,
        '    hls::stream<Vec<UInt<8>, 4> > s99("s99");\n#pragma HLS STREAM variable=s99 depth=2\n' + BODY,
    ),
    Defect(
        "stream read and written by one process",
        "add",
        "stream-direction",
        "hls/stream.h",
        FORK,
        FORK + "        in.write(beat);\n",
        TOP,
        ("stream-producer",),
    ),
    top("stream without depth", "stream-depth", "#pragma HLS STREAM variable=s2 depth=2\n", ""),
    top("stream without name", "stream-name", 's0("s0")', "s0"),
    top("no DATAFLOW", "dataflow-missing", FLOW + "\n", ""),
    Defect(
        "variable written by two processes",
        "add",
        "dataflow-shared",
        "hls/stream.h",
        "template <class C> void gearbox(",
        "static int turns;\ntemplate <class C> void gearbox(",
        TOP,
        (),
        (("            ++reads;\n", "            ++reads;\n            turns = reads;\n"),),
    ),
    # memories and time
    plumb(
        "read before written in a turn",
        "uninitialised",
        "            beat.lane[l] = axis_get<typename C::Out::Element, C::SLOT>(word, l);\n",
        "            typename C::Out::Element e;\n            beat.lane[l] = e;\n",
    ),
    plumb(
        "registers made a memory",
        "port-pressure",
        "#pragma HLS ARRAY_PARTITION variable=held complete dim=0\n",
        "",
        "memory-dependence",
    ),
    conv(
        "two reads of one ROM port",
        "port-pressure",
        "hls/matvec.h",
        "bias[row][p] : acc[p])",
        "(bias[row][p] + bias[C::GROUPS * C::NF - 1 - row][p]) : acc[p])",
        base="serial",
    ),
    conv(
        "line buffer in one-port memory",
        "port-pressure",
        "hls/window.h",
        "variable=lines type=ram_2p",
        "variable=lines type=ram_1p",
    ),
    conv(
        "read, change, write without independence",
        "memory-dependence",
        "hls/window.h",
        "#pragma HLS DEPENDENCE variable=lines type=inter false\n",
        "",
    ),
    plumb(
        "multiplication in a recurrence",
        "recurrence",
        "image + 1 >= images;\n        out.write(word);",
        "image + 1 >= images;\n        image = image * image % 1000003;\n        out.write(word);",
    ),
    conv(
        "long chain from turn to turn",
        "recurrence",
        "hls/matvec.h",
        "        if (sf == C::SF - 1) out.write(result);\n",
        "        at = at / 7 * 3 + sub;\n        if (sf == C::SF - 1) out.write(result);\n",
        base="serial",
    ),
    conv("number too wide for its type", "array-init", "hls/weights/L0_matvec.h", "=\n{{{", "=\n{{{1"),
    conv("table with a number missing", "array-init", "hls/weights/L0_matvec.h", "=\n{{{", "=\n{{{1,"),
)
