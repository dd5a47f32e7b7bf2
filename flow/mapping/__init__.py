"""Graph x board -> design: the foldings of all stages, with a proved bound."""

from flow.mapping.partition import least_us, solve_platform
from flow.mapping.solve import Goal, NoFit, rebuild, refused, solve

__all__ = ["Goal", "NoFit", "least_us", "rebuild", "refused", "solve", "solve_platform"]
