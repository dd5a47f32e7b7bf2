"""The tiled engine: networks that do not fit on chip as one stage per layer."""

from flow.blocks import UnsupportedError
from flow.tiled.design import TiledDesign, rebuild
from flow.tiled.engine import Engine, EngineError, Features
from flow.tiled.solve import Grid, grid, solve
from flow.tiled.steps import lower

__all__ = [
    "Engine",
    "EngineError",
    "Features",
    "Grid",
    "TiledDesign",
    "UnsupportedError",
    "grid",
    "lower",
    "rebuild",
    "solve",
]
