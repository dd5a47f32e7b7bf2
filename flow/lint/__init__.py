"""Synthesisability lint: what can be proved about a generated project's C++ without a vendor tool (docs/lint.md)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from flow.lint import clang, dataflow, grammar, interface, language, memories, scopes, tables
from flow.lint.delays import Delays
from flow.lint.evaluate import Name
from flow.lint.finding import Finding, LintError, document
from flow.lint.machine import Machine
from flow.lint.places import attach
from flow.lint.program import Decl, Function, Program
from flow.lint.source import Project, read_project

__all__ = ["Finding", "LintError", "document", "lint"]


def lint(project_dir: Path) -> list[Finding]:
    """Every finding about a compiled project, sorted; at most one per file, line and rule.

    Raises LintError when the folder is no project or the machine lacks g++'s or Xilinx's headers.
    """
    project = read_project(Path(project_dir))
    found = [*project.findings]
    pragmas: list[grammar.Parsed] = []
    for source in project.sources.values():
        for pragma in source.pragmas:
            parsed, findings = grammar.parse(pragma)
            found += findings
            pragmas += [parsed] if parsed else []
    for main in project.mains:
        found += unit_findings(project, main, pragmas)
    first: dict[tuple[str, int, str], Finding] = {}
    for f in sorted(found):
        first.setdefault((f.file, f.line, f.rule), f)
    return list(first.values())


def unit_findings(project: Project, main: str, pragmas: list[grammar.Parsed]) -> Iterable[Finding]:
    """Findings of one source file and the headers it includes. With errors, only those: the rest would be guesses."""
    unit = clang.translation_unit(project, main)
    found = clang.diagnostics(project, main, unit)
    if any(f.rule == "parse" for f in found):
        return found
    program = Program(project, unit)
    files = clang.included(project, main, unit)
    pragmas = [p for p in pragmas if p.pragma.file in files]
    found += language.written(program)
    found += scopes.check(project, program, pragmas)
    found += tables.check(project, program)
    top = program.find(project.top)
    if top is None:
        return [
            *found,
            Finding(main, 1, "project", f"no function {project.top}, which hls_config.cfg names as syn.top"),
        ]
    functions = language.reachable(program, top)
    found += interface.check(project, top, attach(top, pragmas))
    found += interface.reserved(program, functions)
    found += language.used(program, functions)
    found += dataflow.check(program, top, functions, pragmas)
    recursive = any(f.rule == "recursion" for f in found)
    return found if recursive else [*found, *process_findings(project, program, top, pragmas)]


def process_findings(
    project: Project, program: Program, top: Function, pragmas: list[grammar.Parsed]
) -> Iterable[Finding]:
    """Execute every process of the top function (or the top itself, without DATAFLOW)."""
    roots = {top.key: top}
    if attach(top, pragmas).named(top.body, "DATAFLOW"):
        calls = (program.function(n.callee) for n in top.body.walk() if n.kind == "call" and n.callee is not None)
        roots = {f.key: f for f in calls if f is not None}
    globals_ = {d.name: d for d in program.globals}
    for root in roots.values():
        for f in execute(project, program, root, pragmas, globals_):
            yield dataclasses.replace(f, message=f"{root.name}: {f.message}")


def execute(
    project: Project, program: Program, root: Function, pragmas: list[grammar.Parsed], globals_: dict[str, Decl]
) -> list[Finding]:
    """One process: run it, and once more when arrays turn out to be memories that it writes."""
    machine = Machine(program, pragmas, globals_, Delays(project.part), project.clock_ns)
    machine.run(root)

    def memory(name: Name) -> bool:
        decl = machine.decls[name[0]]
        return bool(decl.dims or decl.fields) and not memories.layout(machine, name).registers

    if any(memory(name) for name in machine.written):
        machine.is_memory = memory
        machine.findings.clear()
        machine.run(root)
    return [*machine.findings, *memories.check(machine)]
