"""The lint's own arithmetic: pragma grammar, preprocessor conditions, tables, index forms, loop-carried cycles."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow.lint import Finding, LintError, document, lint
from flow.lint.delays import Delays, digits, width
from flow.lint.grammar import parse
from flow.lint.memories import Touch, busiest, worst_cycle
from flow.lint.source import Pragma, nesting, read_source, scan_pragmas
from flow.lint.symbolic import Lin, Symbols
from flow.lint.tables import limits
from tests.lint_corpus import DEFECTS


def rules(text: str, dialect: str = "vitis") -> list[str]:
    return [f.rule for f in parse(Pragma("a.h", 1, 0, text, dialect))[1]]


@pytest.mark.parametrize(
    "text",
    [
        "PIPELINE II=1", "pipeline ii=2 style=flp", "PIPELINE off", "UNROLL", "UNROLL factor=4", "DATAFLOW",
        "INLINE off",
        "ARRAY_PARTITION variable=a complete dim=0", "ARRAY_PARTITION variable=a type=cyclic factor=N/2 dim=2",
        "ARRAY_PARTITION variable=a.lane complete", "ARRAY_RESHAPE variable=w complete dim=2",
        "BIND_STORAGE variable=m type=ram_s2p impl=bram latency=2", "BIND_OP variable=p op=mul impl=dsp",
        "DEPENDENCE variable=m type=inter false", "DEPENDENCE variable=m inter RAW distance=3 true",
        "INTERFACE axis port=in", "INTERFACE mode=s_axilite port=return bundle=control", "STREAM variable=s depth=C::N",
        "AGGREGATE variable=m compact=bit", "LOOP_TRIPCOUNT min=1 max=9",
    ],
)  # fmt: skip
def test_documented_pragmas_are_accepted(text: str) -> None:
    assert rules(text) == []


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("PIPELNE II=1", "pragma-unknown"), ("RESOURCE variable=m core=RAM_2P_BRAM", "pragma-unknown"),
        ("PIPELINE IL=1", "pragma-option"), ("PIPELINE enable_flush", "pragma-option"),
        ("STREAM depth=2", "pragma-option"),
        ("UNROLL complete", "pragma-option"), ("PIPELINE II=1 II=2", "pragma-option"), ("PIPELINE II", "pragma-option"),
        ("PIPELINE II=", "pragma-value"), ("PIPELINE II=0", "pragma-value"), ("UNROLL factor=1.5", "pragma-value"),
        ("ARRAY_PARTITION variable=a cyclic", "pragma-value"), ("ARRAY_PARTITION variable=3a", "pragma-value"),
        ("BIND_STORAGE variable=m type=ram_t2p impl=lutram", "pragma-value"),
        ("INTERFACE axiss port=a", "pragma-option"),
        ("BIND_STORAGE variable=m type=ram_3p", "pragma-value"),
        ("BIND_OP variable=p op=mul impl=bram", "pragma-value"),
    ],
)  # fmt: skip
def test_faulty_pragmas_are_found(text: str, rule: str) -> None:
    assert rule in rules(text)


def test_old_tool_has_its_own_pragmas() -> None:
    assert rules("RESOURCE variable=m core=ROM_1P_BRAM", "vivado") == []
    assert rules("RESOURCE variable=m core=ROM_1P_URAM", "vivado") == ["pragma-value"]
    assert rules("BIND_STORAGE variable=m type=rom_1p", "vivado") == ["pragma-unknown"]


def test_conditions_choose_the_tool() -> None:
    text = (
        "#ifdef __VITIS_HLS__\n#pragma HLS A\n#else\n#pragma HLS B\n#endif\n// #pragma HLS C\n"
        "#ifdef COEXPLORE_NATIVE\n#pragma HLS D\n#else\n#pragma HLS E \\\n  x=1\n#endif\n#pragma omp F\n"
    )
    found = [(p.line, p.text, p.dialect) for p in scan_pragmas("a.h", text)]
    assert found == [(2, "A", "vitis"), (4, "B", "vivado"), (10, "E    x=1", "vitis"), (13, "omp F", "other")]
    assert all(text.encode()[p.offset :].startswith(b"#pragma") for p in scan_pragmas("a.h", text))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_nesting_of_rectangular_tables(shape: list[int]) -> None:
    def text(dims: list[int]) -> str:
        return "{" + ", ".join(text(dims[1:]) if dims[1:] else "-7" for _ in range(dims[0])) + "}"

    assert nesting(text(shape)) == tuple(shape)


@pytest.mark.parametrize("text", ["{{1,2},{3}}", "{{{1,2},{3}},{{1},{2,3}}}", "{1,,2}", "{{1,2},3}", "{1,2},{3}"])
def test_ragged_tables(text: str) -> None:
    assert nesting(text) is None


def test_tables_are_emptied_line_by_line() -> None:
    s = read_source("a.h", b"static const ap_int<8> w[2][2] =\n{{1,\n-2},{3,4}};\nint a;\n")
    assert s.parsed == "static const ap_int<8> w[2][2] =\n{\n};\nint a;\n"
    assert [(t.name, t.dims, t.shape, t.low, t.high) for t in s.tables] == [("w", (2, 2), (2, 2), -2, 4)]
    assert limits("ap_int<8>") == (-128, 127) and limits("ap_uint<3>") == (0, 7) and limits("Vec") is None


small = st.integers(-5, 5)


@given(st.lists(small, min_size=3, max_size=3), st.lists(small, min_size=3, max_size=3), small, small)
def test_forms_compute_what_they_stand_for(a: list[int], b: list[int], x: int, y: int) -> None:
    s = Symbols()
    u, v = s.unroll(range(2)), s.unroll(range(2))
    ids = [f.terms[0][0].id for f in (u, v)]

    def form(c: list[int]) -> Lin:
        return Lin(c[0]).plus(u, c[1]).plus(v, c[2])

    at = dict(zip(ids, (x, y), strict=True))
    for op in ("+", "-"):
        value = s.operate(op, [form(a), form(b)]).at(at)
        left, right = (c[0] + c[1] * x + c[2] * y for c in (a, b))
        assert value == (left + right if op == "+" else left - right, ())
    assert s.operate("*", [form(a), Lin(3)]).at(at)[0] == 3 * (a[0] + a[1] * x + a[2] * y)


@given(st.integers(-99, 99), st.integers(-9, 9), st.sampled_from(["/", "%", "<", ">=", "==", "&&", "||", "<<", ">>"]))
def test_known_operands_fold_as_in_c(a: int, b: int, op: str) -> None:
    known = Symbols().operate(op, [Lin(a), Lin(b)]).known
    if op in ("/", "%"):
        want = None if b == 0 else (int(a / b) if op == "/" else a - int(a / b) * b)
    elif op in ("<<", ">>"):
        want = None if b < 0 else (a << b if op == "<<" else a >> b)
    else:
        want = int({"<": a < b, ">=": a >= b, "==": a == b, "&&": bool(a and b), "||": bool(a or b)}[op])
    assert known == want


def test_equal_expressions_are_one_symbol() -> None:
    s = Symbols()
    i = s.fresh()
    assert s.operate("%", [i, Lin(3)]) == s.operate("%", [i, Lin(3)])
    assert s.operate("%", [i, Lin(3)]) != s.operate("%", [i, Lin(4)])


def test_sides_of_a_branch_exclude_each_other() -> None:
    def touch(word: int, write: bool, *guards: tuple[int, bool]) -> Touch:
        return Touch((), (word,), write, guards, 1)

    both = [touch(1, False, (7, True)), touch(2, False, (7, False))]
    assert len(busiest(both)) == 1
    assert len(busiest([*both, touch(3, True)])) == 2
    assert len(busiest([touch(1, False, (7, True)), touch(2, False, (8, True))])) == 2
    assert len(busiest([touch(1, False), touch(1, False)])) == 1


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 20)), max_size=12))
def test_worst_cycle_against_enumeration(edges: list[tuple[int, int, int]]) -> None:
    names = [((n, 0, ""), "") for n in range(5)]
    weights = {(names[a], names[b]): float(d) for a, b, d in edges}
    best: float | None = None

    def extend(path: list[int], total: float) -> None:
        nonlocal best
        for n in range(5):
            d = weights.get((names[path[-1]], names[n]))
            if d is not None and n == path[0]:
                best = max(best if best is not None else 0.0, (total + d) / len(path))
            elif d is not None and n not in path:
                extend([*path, n], total + d)

    for n in range(5):
        extend([n], 0.0)
    found = worst_cycle(weights, names)
    assert (found is None) == (best is None)
    if found is not None and best is not None:
        assert found[0] == pytest.approx(best)


def test_delays() -> None:
    new, old = Delays("xczu9eg-ffvb1156-2-e"), Delays("xc7z020clg400-1")
    assert 0 < new.operator("+", 8, None) < new.operator("+", 32, None) < old.operator("+", 32, None)
    assert new.operator("*", 32, 64) == 0 < new.operator("*", 32, 7) < new.operator("*", 32, None)
    assert [digits(n) for n in (0, 1, 7, 8, 11, -6)] == [0, 1, 2, 1, 3, 2]
    assert (width("ap_int<12>"), width("ap_uint<3>"), width("bool"), width("long long")) == (12, 3, 1, 64)


def test_document_is_the_interface() -> None:
    finding = Finding("hls/a.h", 3, "goto", "no")
    assert document([]) == {"ok": True, "findings": []}
    found = json.loads(json.dumps(document([finding])))
    assert found == {"ok": False, "findings": [{"file": "hls/a.h", "line": 3, "rule": "goto", "message": "no"}]}


def test_a_folder_that_is_no_project(tmp_path: Path) -> None:
    with pytest.raises(LintError, match=r"hls_config\.cfg"):
        lint(tmp_path)


def test_every_rule_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "lint.md").read_text()
    rules_named = {d.rule for d in DEFECTS} | {r for d in DEFECTS for r in d.also}
    source = "".join(p.read_text() for p in (Path(__file__).parents[2] / "flow" / "lint").glob("*.py"))
    assert all(f"`{rule}`" in text for rule in rules_named)
    documented = set(re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE))
    assert {r for r in documented if f'"{r}"' not in source} == set()
    assert documented - rules_named == set(), "documented rules without a planted defect"
