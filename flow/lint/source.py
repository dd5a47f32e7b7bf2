"""A project's sources as text: what is synthesised, its HLS pragmas, its constant tables, its bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from flow.lint.finding import Finding, LintError

CONFIG = "hls/hls_config.cfg"
NATIVE = ("COEXPLORE_NATIVE", "COEXPLORE_NATIVE_UNPACKED")  # C simulation only: never defined by an HLS tool
_COMMENT = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)
_TABLE = re.compile(
    r"^[^\S\n]*static\s+const\s+[^\n;={}]*?\b(?P<name>[A-Za-z_]\w*)\s*(?P<dims>(?:\[\d+\])+)\s*=\s*(?P<body>\{[-\d\s,{}]*\})\s*;",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Pragma:
    """One ``#pragma HLS`` line. ``dialect``: "vitis" or "vivado", the tool for which it is not preprocessed
    away; "other" for pragmas that are not HLS pragmas."""

    file: str
    line: int
    offset: int
    text: str  # after "HLS", continuation lines joined
    dialect: str

    @property
    def name(self) -> str:
        words = self.text.split(None, 1)
        return words[0].upper() if words else ""


@dataclass(frozen=True)
class Table:
    """An initialised constant array: declared dimensions, count, range and nesting of its numbers."""

    file: str
    line: int
    name: str
    dims: tuple[int, ...]
    shape: tuple[int, ...] | None  # None: ragged
    low: int
    high: int


@dataclass(frozen=True)
class Source:
    """One file. ``text`` is what it holds, ``parsed`` the same with constant tables emptied, line by line alike."""

    file: str
    text: str
    parsed: str
    pragmas: tuple[Pragma, ...]
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Project:
    """Everything under ``hls/`` that synthesis may read."""

    root: Path
    top: str
    mains: tuple[str, ...]
    sources: dict[str, Source]
    part: str
    clock_ns: float  # usable: period less uncertainty
    findings: tuple[Finding, ...]


def blank_comments(text: str) -> str:
    """Comments become spaces (newlines stay), so that offsets and lines keep."""

    def blank(m: re.Match[str]) -> str:
        return m.group() if m.group()[0] == '"' else re.sub(r"[^\n]", " ", m.group())

    return _COMMENT.sub(blank, text)


def dialect_of(stack: list[tuple[str, bool]]) -> str | None:
    """Which tool sees a line under these preprocessor conditions; None: no HLS tool."""
    dialect = "vitis"
    for name, wanted in stack:
        if name in NATIVE:
            if wanted:
                return None
        elif name == "__VITIS_HLS__" and not wanted:
            dialect = "vivado"
    return dialect


def scan_pragmas(file: str, text: str) -> tuple[Pragma, ...]:
    """All HLS pragmas that some HLS tool sees, in order."""
    clean = blank_comments(text)
    found: list[Pragma] = []
    stack: list[tuple[str, bool]] = []
    offset, lines = 0, clean.split("\n")
    i = 0
    while i < len(lines):
        start, at, line = i, offset, lines[i]
        offset += len(lines[i].encode()) + 1
        while line.endswith("\\") and i + 1 < len(lines):
            i += 1
            offset += len(lines[i].encode()) + 1
            line = line[:-1] + " " + lines[i]
        i += 1
        m = re.match(r"\s*#\s*(\w+)\s*(.*)", line)
        if not m:
            continue
        word, rest = m.group(1), m.group(2).strip()
        if word in ("ifdef", "ifndef"):
            stack.append((rest.split()[0] if rest else "", word == "ifdef"))
        elif word == "if":
            negated = re.fullmatch(r"!\s*defined\s*\(?\s*(\w+)\s*\)?", rest)
            plain = re.fullmatch(r"defined\s*\(?\s*(\w+)\s*\)?", rest)
            stack.append((negated.group(1), False) if negated else (plain.group(1) if plain else "", True))
        elif word in ("else", "elif") and stack:
            stack[-1] = (stack[-1][0], not stack[-1][1])
        elif word == "endif" and stack:
            stack.pop()
        elif word == "pragma" and rest != "once":
            dialect = dialect_of(stack)
            first, _, body = rest.partition(" ")
            if first.upper() != "HLS":
                found.append(Pragma(file, start + 1, at, rest, "other"))
            elif dialect is not None:
                found.append(Pragma(file, start + 1, at, body.strip(), dialect))
    return tuple(found)


def nesting(body: str) -> tuple[int, ...] | None:
    """Shape of nested braces, None when ragged: innermost rows are counted and replaced by one mark, level by level."""
    text = re.sub(r"\s", "", body)
    shape: list[int] = []
    element = re.compile(r"-?\d+(,-?\d+)*")
    while text != "x":
        rows = re.findall(r"\{([^{}]*)\}", text)
        if not rows or len({row.count(",") for row in rows}) != 1 or not all(element.fullmatch(row) for row in rows):
            return None
        element = re.compile(r"x(,x)*")
        shape.insert(0, rows[0].count(",") + 1)
        text = re.sub(r"\{[^{}]*\}", "x", text)
    return tuple(shape)


def read_table(file: str, text: str, m: re.Match[str]) -> Table:
    numbers = [int(n) for n in re.findall(r"-?\d+", m["body"])]
    line = text.count("\n", 0, m.start()) + 1
    dims = tuple(int(n) for n in re.findall(r"\d+", m["dims"]))
    low, high = (min(numbers), max(numbers)) if numbers else (0, 0)
    return Table(file, line, m["name"], dims, nesting(m["body"]), low, high)


def read_source(file: str, data: bytes) -> Source:
    """Split a file into what clang parses and what is checked as text."""
    text = data.decode("utf-8", errors="replace")
    tables = tuple(read_table(file, text, m) for m in _TABLE.finditer(text))
    parsed = _TABLE.sub(lambda m: m.group().replace(m["body"], "{" + "\n" * m["body"].count("\n") + "}"), text)
    return Source(file, text, parsed, scan_pragmas(file, parsed), tables)


def bad_bytes(file: str, data: bytes) -> list[Finding]:
    """Anything but printable ASCII, tab and newline."""
    out = []
    for number, line in enumerate(data.split(b"\n"), 1):
        m = re.search(rb"[^\t\x20-\x7e]", line)
        if m:
            out.append(
                Finding(file, number, "encoding", f"byte 0x{m.group()[0]:02x} in column {m.start() + 1}; only ASCII")
            )
    return out


def config(root: Path) -> tuple[dict[str, list[str]], list[Finding]]:
    """The keys of hls_config.cfg that lint needs."""
    try:
        lines = (root / CONFIG).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as e:
        raise LintError(f"{root / CONFIG}: {e.strerror or e}; give the folder of a compiled project") from None
    values: dict[str, list[str]] = {}
    for line in lines:
        key, equals, value = line.split("#")[0].partition("=")
        if equals:
            values.setdefault(key.strip(), []).append(value.strip())
    missing = [k for k in ("syn.top", "syn.file", "clock", "part") if not values.get(k)]
    return values, [Finding(CONFIG, 1, "project", f"{k} is not set") for k in missing]


def usable_clock(values: dict[str, list[str]]) -> tuple[float, list[Finding]]:
    """Period less uncertainty, in ns."""
    clock = re.fullmatch(r"([\d.]+)\s*(ns|MHz)?", (values.get("clock") or ["10ns"])[0])
    share = re.fullmatch(r"([\d.]+)\s*(%|ns)", (values.get("clock_uncertainty") or ["27%"])[0])
    if clock is None or share is None or float(clock[1]) <= 0:
        return 10.0, [Finding(CONFIG, 1, "project", "clock or clock_uncertainty is no time (5ns, 12%)")]
    period = 1e3 / float(clock[1]) if clock[2] == "MHz" else float(clock[1])
    spare = float(share[1]) if share[2] == "ns" else period * float(share[1]) / 100
    return period - spare, []


def read_project(root: Path) -> Project:
    """All synthesisable files of a compiled project. Raises LintError when there is none."""
    values, findings = config(root)
    clock, more = usable_clock(values)
    findings += more
    sources: dict[str, Source] = {}
    benches = {f"hls/{name}" for name in values.get("tb.file", [])}
    for path in sorted((root / "hls").rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.suffix not in (".h", ".hpp", ".cpp") or name in benches or not path.is_file():
            continue
        data = path.read_bytes()
        findings += bad_bytes(name, data)
        sources[name] = read_source(name, data)
    mains = tuple(f"hls/{name}" for name in values.get("syn.file", []))
    findings += [Finding(CONFIG, 1, "project", f"{m} does not exist") for m in mains if m not in sources]
    mains = tuple(m for m in mains if m in sources)
    top = (values.get("syn.top") or [""])[0]
    return Project(root, top, mains, sources, (values.get("part") or [""])[0], clock, tuple(findings))
