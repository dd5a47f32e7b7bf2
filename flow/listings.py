"""Commands that list what there is, and how every command prints."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

Answer = int


def emit(arguments: argparse.Namespace, value: Any, text: Callable[[], str]) -> None:
    """JSON with ``--json``, else people's text."""
    print(json.dumps(value) if arguments.json else text())


def table(rows: list[dict[str, Any]]) -> str:
    """Columns padded to their widest cell."""
    if not rows:
        return "nothing"
    cells = [list(rows[0])] + [[str(v) for v in r.values()] for r in rows]
    widths = [max(len(r[i]) for r in cells) for i in range(len(cells[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in cells)


def boards(a: argparse.Namespace) -> Answer:
    from flow import board, platform

    rows: list[dict[str, Any]] = [
        {
            "name": b.name,
            "part": b.part,
            **b.available.json(),
            "memory_gb_s": b.memory_gb_s,
            "clock_mhz": b.clock_mhz,
        }
        for b in board.every()
    ]
    several = [
        {
            "platform": p.name,
            "boards": ", ".join(b.name for b in p.boards),
            "links": ", ".join(f"{k.source}-{k.sink} {k.bandwidth_gb_s:g} GB/s {k.latency_us:g} us" for k in p.links),
        }
        for p in platform.every()
    ]
    emit(a, several if a.platforms else rows, lambda: f"{table(rows)}\n\n{table(several)}")
    return 0


def blocks(a: argparse.Namespace) -> Answer:
    from flow import blocks as library

    rows = [
        {
            "block": m.__name__.rsplit(".", 1)[-1],
            "processes": ", ".join(m.SCHEDULES),
            "what": (m.__doc__ or "").splitlines()[0],
        }
        for m in library.modules()
        if hasattr(m, "SCHEDULES")
    ]
    emit(a, rows, lambda: table(rows))
    return 0


def doctor(a: argparse.Namespace) -> Answer:
    from flow.report import text

    rows = text.doctor()
    emit(a, rows, lambda: table(rows))
    return 0 if all(r["state"] != "missing" or not r["needed"] for r in rows) else 1


def systems(a: argparse.Namespace) -> Answer:
    from flow import systems as published

    if a.markdown:
        print(published.markdown(), end="")
        return 0
    found = [published.load(n) for n in published.names()]
    rows = [
        {"system": s.name, **{k: s.search.get(k, "") for k in ("space", "strategy", "mode")}, "title": s.title}
        for s in found
    ]
    emit(a, rows, lambda: table(rows))
    return 0
