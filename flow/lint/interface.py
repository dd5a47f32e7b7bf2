"""The top function's ports: every argument has one INTERFACE of a fitting mode, AXI4-Stream words carry TLAST."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from flow.lint.finding import Finding
from flow.lint.grammar import Parsed
from flow.lint.places import Attached
from flow.lint.program import Function, Program
from flow.lint.source import Project

# Words of VHDL-2008 (IEEE 1076) and Verilog-2005 (IEEE 1364) that C++ allows as names: HLS renames such a port in the
# RTL ("in" becomes "in_r"), and the block design and drivers then look for a port that is not there.
KEYWORDS = frozenset(
    """abs access after alias all always architecture array assert assign attribute begin block body buf buffer
    bufif0 bufif1 bus casex casez cell cmos component config configuration constant deassign defparam design
    disable disconnect downto edge elsif end endcase endconfig endfunction endgenerate endmodule endprimitive
    endspecify endtable endtask entity event exit file force forever fork function generate generic genvar
    group guarded highz0 highz1 ifnone impure in incdir include inertial initial inout input instance integer
    is join label large liblist library linkage literal localparam loop macromodule map medium mod module nand
    negedge new next nmos nor noshowcancelled notif0 notif1 null of on open others out output package
    parameter pmos port posedge postponed primitive procedure process pull0 pull1 pulldown pullup
    pulsestyle_ondetect pulsestyle_onevent pure range rcmos real realtime record reg register reject release
    rem repeat report rnmos rol ror rpmos rtran rtranif0 rtranif1 scalared select severity shared
    showcancelled signal sla sll small specify specparam sra srl strong0 strong1 subtype supply0 supply1 table
    task then time to tran tranif0 tranif1 transport tri tri0 tri1 triand trior trireg type unaffected units
    until use variable vectored wait wand weak0 weak1 when wire with wor xnor""".split()
)
MODES = {"stream": {"axis"}, "array": {"m_axi", "ap_memory", "bram"}, "scalar": {"s_axilite", "ap_none", "ap_vld"}}


def check(project: Project, top: Function, attached: Attached) -> Iterator[Finding]:
    """All rules on the top function's ports."""
    found: dict[str, list[Parsed]] = {}
    for p in attached.of(top.body):
        if p.name == "INTERFACE" and p.options.get("port"):
            found.setdefault(p.options["port"], []).append(p)
    names = {p.name for p in top.params} | {"return"}
    for port, pragmas in found.items():
        if port not in names:
            first = pragmas[0].pragma
            yield Finding(first.file, first.line, "interface-port", f"{top.name} has no argument {port}")
    for decl in top.params:
        kind = "stream" if decl.stream else "array" if decl.dims or decl.pointer else "scalar"
        modes = {p.options.get("mode", "").lower() for p in found.get(decl.name, [])}
        if not modes:
            yield Finding(top.file, top.line, "interface-missing", f"argument {decl.name} has no INTERFACE pragma")
        elif not modes & MODES[kind]:
            first = found[decl.name][0].pragma
            text = f"{decl.name} is a {kind}, its mode must be {' or '.join(sorted(MODES[kind]))}"
            yield Finding(first.file, first.line, "interface-mode", text)
        if decl.stream:
            yield from words(top, decl.name, decl.element)
    control = {p.options.get("mode", "").lower() for p in found.get("return", [])}
    if "s_axilite" not in control:
        text = "return has no INTERFACE s_axilite: a processor could not start the accelerator"
        yield Finding(top.file, top.line, "interface-missing", text)
    if top.result != "void":
        yield Finding(top.file, top.line, "interface-port", f"{top.name} returns {top.result}; the top returns void")
    for name in (top.name, *(p.name for p in top.params)):
        if name.lower() in KEYWORDS:
            text = f"{name} is a VHDL or Verilog keyword: the RTL port is renamed {name}_r"
            yield Finding(top.file, top.line, "reserved-name", text)


def words(top: Function, name: str, element: str) -> Iterator[Finding]:
    """An AXI4-Stream port's word: ap_axiu or ap_axis (they have TLAST) of whole bytes."""
    m = re.fullmatch(r"hls::stream<(?:ap_axi[us]<(\d+), .*|hls::axis<.*)>", element)
    if m is None:
        text = f"{name} streams {element[12:-1]}, which has no TLAST: use ap_axiu; a DMA would never complete"
        yield Finding(top.file, top.line, "axis-type", text)
    elif m[1] and (int(m[1]) % 8 or int(m[1]) > 4096):
        yield Finding(
            top.file, top.line, "axis-type", f"{name} is {m[1]} bits wide; TDATA has whole bytes, at most 512"
        )


def reserved(program: Program, functions: Iterable[Function]) -> Iterator[Finding]:
    """Identifiers that C++ keeps for the implementation ([lex.name])."""
    for cursor in program.definitions:
        f = program.function(cursor)
        if f is not None:
            for name, line in ((f.name, f.line), *((d.name, d.line) for d in (*f.params, *f.locals))):
                if re.search(r"__|^_[A-Z]", name):
                    yield Finding(f.file, line, "reserved-name", f"{name} is reserved for the compiler")
    for d in program.globals:
        if re.search(r"__|^_", d.name):
            yield Finding(d.file or "", d.line, "reserved-name", f"{d.name} is reserved for the compiler")
