"""Grammar of HLS pragmas: names, options, values.

Names and options as UG1399 ("HLS Pragmas") documents them and as AMD's open front end accepts them
(github.com/Xilinx/hls-llvm-project, clang/lib/Parse/ParseXlxPragma.cpp and PlatformBasic for memories). Options that
the front end marks as deprecated or ignored are not listed, so they are findings.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from flow.lint.finding import Finding
from flow.lint.source import Pragma

INT, VARIABLE, PORT, WORD = "int", "variable", "port", "word"
Values = str | frozenset[str]


@dataclass(frozen=True)
class Form:
    """What a pragma may say: ``name=value`` options, bare words, and which of them it must have."""

    options: dict[str, Values]
    words: frozenset[str] = frozenset()
    required: tuple[str, ...] = ()
    alternatives: dict[str, str] = field(default_factory=dict)  # bare word -> the option it stands for


def choice(text: str) -> frozenset[str]:
    return frozenset(text.split())


PARTITION = choice("cyclic block complete")
MODES = choice(
    "m_axi axis s_axilite ap_memory bram ap_fifo ap_none ap_hs ap_ack ap_vld ap_ovld "
    "ap_ctrl_none ap_ctrl_hs ap_ctrl_chain"
)
STORAGE = {  # type -> implementations (UG1399 BIND_STORAGE; PlatformBasic::getMemoryTypeImpl)
    "fifo": choice("auto bram lutram uram memory srl"),
    "ram_1p": choice("auto bram lutram uram"),
    "ram_1wnr": choice("auto bram lutram uram"),
    "ram_2p": choice("auto bram lutram uram"),
    "ram_s2p": choice("auto bram bram_ecc lutram uram uram_ecc"),
    "ram_t2p": choice("auto bram uram"),
    "rom_1p": choice("auto bram lutram"),
    "rom_2p": choice("auto bram lutram"),
    "rom_np": choice("auto bram lutram"),
}
OPERATIONS = {  # op -> implementations (UG1399 BIND_OP)
    **dict.fromkeys(("mul",), choice("auto dsp fabric")),
    **dict.fromkeys(("add", "sub"), choice("auto dsp fabric")),
    **dict.fromkeys(("fadd", "fsub"), choice("auto fabric fulldsp primitivedsp")),
    "fmul": choice("auto fabric meddsp maxdsp fulldsp primitivedsp"),
    **dict.fromkeys(("fdiv", "fsqrt", "frsqrt", "frecip", "flog"), choice("auto fabric meddsp maxdsp fulldsp")),
    "fexp": choice("auto fabric meddsp fulldsp"),
    **dict.fromkeys(("dadd", "dsub", "dmul"), choice("auto fabric meddsp maxdsp fulldsp")),
}
CORES = re.compile(r"(?i)(FIFO|RAM_1P|RAM_2P|RAM_S2P|RAM_T2P|ROM_1P|ROM_2P|ROM_nP)(_BRAM|_LUTRAM|_URAM|_SRL)?\Z")

ARRAY = Form(
    {"variable": VARIABLE, "type": PARTITION, "factor": INT, "dim": INT}, PARTITION, ("variable",),
    dict.fromkeys(PARTITION, "type"),
)  # fmt: skip
VITIS: dict[str, Form] = {
    "AGGREGATE": Form({"variable": VARIABLE, "compact": choice("none bit byte auto")}, frozenset(), ("variable",)),
    "ARRAY_PARTITION": ARRAY,
    "ARRAY_RESHAPE": ARRAY,
    "BIND_OP": Form(
        {"variable": VARIABLE, "op": frozenset(OPERATIONS), "impl": WORD, "latency": INT},
        frozenset(),
        ("variable", "op"),
    ),
    "BIND_STORAGE": Form(
        {"variable": VARIABLE, "type": frozenset(STORAGE), "impl": WORD, "latency": INT},
        frozenset(),
        ("variable", "type"),
    ),
    "DATAFLOW": Form({}, choice("disable_start_propagation")),
    "DEPENDENCE": Form(
        {
            "variable": VARIABLE,
            "class": choice("array pointer"),
            "type": choice("intra inter"),
            "direction": choice("raw war waw"),
            "distance": INT,
            "dependent": choice("true false"),
        },
        choice("array pointer intra inter raw war waw true false"),
        (),
        {"array": "class", "pointer": "class", "intra": "type", "inter": "type", "raw": "direction", "war": "direction",
         "waw": "direction", "true": "dependent", "false": "dependent"},
    ),
    "DISAGGREGATE": Form({"variable": VARIABLE}, frozenset(), ("variable",)),
    "EXPRESSION_BALANCE": Form({}, choice("off")),
    "INLINE": Form({}, choice("off recursive")),
    "INTERFACE": Form(
        {
            "mode": MODES, "port": PORT, "bundle": WORD, "depth": INT, "offset": WORD, "name": WORD,
            "clock": WORD,
            "register_mode": choice("forward reverse both off"), "latency": INT, "storage_type": WORD,
            "storage_impl": WORD, "num_read_outstanding": INT, "num_write_outstanding": INT,
            "max_read_burst_length": INT, "max_write_burst_length": INT, "max_widen_bitwidth": INT,
        },
        MODES | choice("register"), ("mode", "port"), dict.fromkeys(MODES, "mode"),
    ),
    "LATENCY": Form({"min": INT, "max": INT}),
    "LOOP_FLATTEN": Form({}, choice("off")),
    "LOOP_MERGE": Form({}, choice("force")),
    "LOOP_TRIPCOUNT": Form({"min": INT, "max": INT, "avg": INT}, frozenset(), ("max",)),
    "OCCURRENCE": Form({"cycle": INT}),
    "PIPELINE": Form({"ii": INT, "style": choice("stp flp frp")}, choice("off rewind")),
    "PROTOCOL": Form({"mode": choice("floating fixed")}),
    "RESET": Form({"variable": VARIABLE}, choice("off"), ("variable",)),
    "STABLE": Form({"variable": VARIABLE}, frozenset(), ("variable",)),
    "STREAM": Form(
        {"variable": VARIABLE, "depth": INT, "type": choice("fifo pipo shared unsync")}, frozenset(), ("variable",)
    ),
    "UNROLL": Form({"factor": INT}, choice("skip_exit_check")),
}  # fmt: skip
VIVADO: dict[str, Form] = {
    **{k: v for k, v in VITIS.items() if k not in ("AGGREGATE", "DISAGGREGATE", "BIND_OP", "BIND_STORAGE")},
    "DATA_PACK": Form(
        {"variable": VARIABLE, "instance": WORD}, choice("struct_level field_level"), ("variable",)
    ),
    "RESOURCE": Form({"variable": VARIABLE, "core": WORD, "latency": INT}, frozenset(), ("variable", "core")),
}  # fmt: skip
DEPRECATED = {
    "RESOURCE": "BIND_STORAGE or BIND_OP", "DATA_PACK": "AGGREGATE", "ARRAY_MAP": "nothing", "CLOCK": "nothing",
    "SHARED": "STREAM type=shared",
}  # fmt: skip
FORMS = {"vitis": VITIS, "vivado": VIVADO}
POSITIVE = {"ii", "factor", "depth"}


@dataclass(frozen=True)
class Parsed:
    """A pragma's options, bare words turned into the options they stand for; names in lower case."""

    pragma: Pragma
    options: dict[str, str]
    words: frozenset[str]

    @property
    def name(self) -> str:
        return self.pragma.name

    def integer(self, option: str, default: int) -> int:
        value = self.options.get(option, "")
        return int(value) if re.fullmatch(r"-?\d+", value) else default


def parse(p: Pragma) -> tuple[Parsed | None, list[Finding]]:
    """Check one pragma against its form; None when nothing of it can be used."""

    def finding(rule: str, message: str) -> Finding:
        return Finding(p.file, p.line, rule, message)

    if p.dialect == "other":
        return None, [finding("pragma-unknown", f"#pragma {p.text}: only #pragma HLS means something to an HLS tool")]
    forms = FORMS[p.dialect]
    form = forms.get(p.name)
    if form is None:
        if p.name in DEPRECATED:
            return None, [finding("pragma-unknown", f"{p.name} is deprecated in Vitis HLS; use {DEPRECATED[p.name]}")]
        near = difflib.get_close_matches(p.name, forms, 1)
        return None, [finding("pragma-unknown", f"no pragma {p.name}" + (f"; {near[0]}?" if near else ""))]
    body = p.text.split(None, 1)[1] if len(p.text.split(None, 1)) > 1 else ""
    options: dict[str, str] = {}
    words: set[str] = set()
    out: list[Finding] = []
    for key, equals, value in tokens(body):
        low = key.lower()
        if not equals and low in form.words:
            target = form.alternatives.get(low)
            if target is None:
                words.add(low)
                continue
            low, value = target, low
        elif not equals or low not in form.options:
            near = difflib.get_close_matches(low, [*form.options, *form.words], 1)
            out.append(finding("pragma-option", f"{p.name} has no {key!r}" + (f"; {near[0]}?" if near else "")))
            continue
        if low in options:
            out.append(finding("pragma-option", f"{p.name} says {low} twice"))
        options[low] = value
        out += [finding("pragma-value", m) for m in value_faults(p.name, low, value, form.options[low])]
    out += [finding("pragma-option", f"{p.name} needs {r}") for r in form.required if r not in options]
    out += [finding("pragma-value", m) for m in joint_faults(p.name, options)]
    return Parsed(p, options, frozenset(words)), out


def tokens(body: str) -> Iterator[tuple[str, bool, str]]:
    """``name=value`` and bare words. Blanks within an expression belong to the value."""
    for m in re.finditer(r"([^\s=]+)(?:\s*(=)\s*((?:[^\s()]|\([^()]*\))+(?:\s*[-+*/]\s*[\w:]+)*)?)?", body):
        yield m.group(1), m.group(2) is not None, m.group(3) or ""


def value_faults(name: str, option: str, value: str, allowed: Values) -> Iterator[str]:
    if not value:
        yield f"{name} {option}= has no value"
    elif isinstance(allowed, frozenset):
        if value.lower() not in allowed:
            yield f"{name} {option}={value}: one of {', '.join(sorted(allowed))}"
    elif allowed == INT:
        number = re.fullmatch(r"-?\d+", value)
        if not number and not re.fullmatch(r"[A-Z_a-z(][\w:+*/() -]*", value):
            yield f"{name} {option}={value} is no integer constant"
        elif number and int(value) < (1 if option in POSITIVE else 0):
            yield f"{name} {option}={value}: at least {1 if option in POSITIVE else 0}"
    elif not re.fullmatch(r"[A-Za-z_][\w.]*", value):
        yield f"{name} {option}={value} is no name"


def joint_faults(name: str, options: dict[str, str]) -> Iterator[str]:
    """Values that fit alone but not together."""
    kind, impl = options.get("type", "").lower(), options.get("impl", "auto").lower()
    if name == "BIND_STORAGE" and kind in STORAGE and impl not in STORAGE[kind]:
        yield f"BIND_STORAGE type={kind} has no impl={impl}: one of {', '.join(sorted(STORAGE[kind]))}"
    op = options.get("op", "").lower()
    if name == "BIND_OP" and op in OPERATIONS and impl not in OPERATIONS[op]:
        yield f"BIND_OP op={op} has no impl={impl}: one of {', '.join(sorted(OPERATIONS[op]))}"
    if name in ("ARRAY_PARTITION", "ARRAY_RESHAPE"):
        if kind in ("cyclic", "block") and "factor" not in options:
            yield f"{name} {kind} needs factor"
        if kind in ("", "complete") and "factor" in options:
            yield f"{name} complete ignores factor"
    if name == "RESOURCE" and not CORES.match(options.get("core", "")):
        yield f"RESOURCE core={options.get('core', '')} is no memory core of Vivado HLS"
    core = CORES.match(options.get("core", ""))
    if name == "RESOURCE" and core and core[1].upper().startswith("ROM") and (core[2] or "").upper() == "_URAM":
        yield "RESOURCE: UltraRAM cannot be initialised, so there is no ROM in it"
