"""ONNX operators: how each is read into the integer graph and how it is written again.

A module here is found by looking into the package.  It decorates readers with `flow.ir.importer.operator` and writers
with `flow.ir.writer.emitter`; what a reader does not understand it refuses, naming the node and the way out.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache


@cache
def load() -> None:
    """Fill the tables of readers and writers."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
