"""The hardware grids of HotNAS and NAHAS, said in our engine's parameters: spaces for ``solve`` and for a co-search.

Their engines differ from ours, so the grids are translations, not copies: sides become multiples of the memory word of
which one divides the other, ports whole memory words.
"""

from __future__ import annotations

from flow.board import Board
from flow.tiled.engine import port_bytes, port_count
from flow.tiled.solve import Grid, grid

HOTNAS_TM = tuple(range(10, 250, 30))  # output channels of a tile; Tn is what the DSPs leave
HOTNAS_EXTENTS = (32, 64, 256)  # Tr and Tc
NAHAS_PE = (1, 2, 4, 6, 8)  # along either side
NAHAS_SIMD = (16, 32, 64, 128)  # products of a processing element
NAHAS_MEMORY_KB = (512, 1024, 2048, 4096)  # on chip, in all
MOST_PIXELS = 4096  # of a tile: larger accumulators fit no board


def sides(board: Board, wanted: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes as the nearest multiples of the memory word, each once."""
    g = min(16, port_bytes(board))
    return tuple(sorted({max(g, round(n / g) * g) for n in wanted}))


def arrays(board: Board, tm: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Every (tm, tn) of which one divides the other, up to two products a DSP."""
    g, most = min(16, port_bytes(board)), 2 * board.available.dsp
    found = {(m, n) for m in tm for n in range(g, 257, g) if m * n <= most and max(m, n) % min(m, n) == 0}
    return tuple(sorted(found))


def hotnas(board: Board) -> Grid:
    """HotNAS: Tm 10 to 220 by 30, Tr and Tc 32, 64 or 256, one engine, one image (Jiang et al., TCAD 2020)."""
    g = min(16, port_bytes(board))
    pixels = sorted({min(MOST_PIXELS, r * c) for r in HOTNAS_EXTENTS for c in HOTNAS_EXTENTS})
    return Grid(arrays(board, sides(board, HOTNAS_TM)), g, (g, 2 * g), acc_depth=tuple(pixels), copies=(1,), batch=(1,))


def nahas(board: Board) -> Grid:
    """NAHAS: PEs along either side, SIMD width, on-chip memory (Zhou et al., 2021); PEs in x become engines."""
    g = min(16, port_bytes(board))
    products = {y * simd for y in NAHAS_PE for simd in NAHAS_SIMD}
    tm = sides(board, tuple(16 * y for y in NAHAS_PE))
    kept = tuple(a for a in arrays(board, tm) if any(a[0] * a[1] <= 16 * p for p in products))
    depths = tuple(kb * 1024 // 4 // 32 for kb in NAHAS_MEMORY_KB)  # a quarter of it for each input buffer of 32 bytes
    copies = tuple(x for x in NAHAS_PE if x <= port_count(board))
    return Grid(kept, g, (g, 2 * g), in_depth=depths, copies=copies)


GRIDS = {"default": grid, "hotnas": hotnas, "nahas": nahas}
