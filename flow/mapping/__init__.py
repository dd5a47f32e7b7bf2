"""Graph x board -> design: the foldings of all stages, with a proved bound."""

from flow.mapping.partition import least_us, solve_platform
from flow.mapping.solve import evaluate, rebuild, refused, solve
from flow.mapping.task import Goal, NoFit

__all__ = ["Goal", "NoFit", "evaluate", "least_us", "rebuild", "refused", "solve", "solve_platform"]
