"""Graph x board -> design: the foldings of all stages, with a proved bound."""

from flow.mapping.partition import least_us, solve_platform
from flow.mapping.solve import Goal, NoFit, evaluate, rebuild, refused, solve

__all__ = ["Goal", "NoFit", "evaluate", "least_us", "rebuild", "refused", "solve", "solve_platform"]
