"""Graph x board -> design: the foldings of all stages, with a proved bound."""

from flow.mapping.solve import Goal, NoFit, solve

__all__ = ["Goal", "NoFit", "solve"]
