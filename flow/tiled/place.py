"""How one feature map lies in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Place:
    """A tensor's arrangement. ``blocks``: words of a pixel in each block; ``slots``: channel -> byte of its pixel."""

    height: int
    width: int
    blocks: tuple[int, ...]
    slots: tuple[int, ...]
    row_words: int = 0  # of the pixel layout; 0: blocks

    @property
    def words(self) -> int:
        """Words of a pixel over all blocks."""
        return sum(self.blocks)

    @property
    def image_words(self) -> int:
        """Words of one image."""
        return self.height * (self.row_words or self.width * self.words)

    def start(self, block: int) -> int:
        """First word of a block within the image."""
        return self.height * self.width * sum(self.blocks[:block])

    def json(self) -> dict[str, Any]:
        return asdict(self)


def from_json(view: Mapping[str, Any]) -> Place:
    """What ``Place.json`` wrote down."""
    return Place(view["height"], view["width"], tuple(view["blocks"]), tuple(view["slots"]), view["row_words"])
