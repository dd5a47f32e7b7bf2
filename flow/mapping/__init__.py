"""Graph x board -> design: the foldings of all stages, with a proved bound."""

from flow.mapping.partition import solve_platform
from flow.mapping.solve import Goal, NoFit, rebuild, solve

__all__ = ["Goal", "NoFit", "rebuild", "solve", "solve_platform"]
