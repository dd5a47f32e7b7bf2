"""ONNX operators: how each is read into the integer graph and how it is written again.

Modules here and in extensions (`flow.extensions`) are found by looking.  They decorate readers with
`flow.ir.importer.operator` and writers with `flow.ir.writer.emitter`; what a reader does not understand it refuses,
naming the node and the way out.
"""

from __future__ import annotations

from functools import cache

from flow import extensions


@cache
def load() -> None:
    """Fill the tables of readers and writers."""
    extensions.modules_of(__name__)
    extensions.modules()
