"""Graph x board -> design: the foldings of all stages, with a proved bound."""

from flow.mapping.solve import Goal, NoFit, rebuild, solve

__all__ = ["Goal", "NoFit", "rebuild", "solve"]
