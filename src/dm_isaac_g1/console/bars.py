"""Bars and history graphs as text: pure functions from numbers to cells.

Shape says what colour says, so that a bar reads without colour too: full cells are heavy, the rest is light.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

FULL, HALF, EMPTY = "━", "╸", "─"
#: Shades of a stacked bar, densest first: four parts at most.
SHADES = ("█", "▓", "▒", "░")
_EIGHTHS = " ▁▂▃▄▅▆▇█"
#: Braille dots of a cell's left and right column, filled from the bottom: 0 to 4 dots (Unicode block U+2800).
_LEFT = (0x00, 0x40, 0x44, 0x46, 0x47)
_RIGHT = (0x00, 0x80, 0xA0, 0xB0, 0xB8)


def bar(share: float | None, width: int) -> tuple[str, str]:
    """The full and the empty part of a bar of `width` cells for `share` in 0..1; all empty when not known.

    Anything above nothing shows at least half a cell, and only the whole shows no gap.
    """
    if share is None or width <= 0:
        return "", EMPTY * max(0, width)
    halves = round(min(1.0, max(0.0, share)) * width * 2)
    if share > 0:
        halves = max(1, halves)
    if share < 1:
        halves = min(width * 2 - 1, halves)
    cells, half = divmod(halves, 2)
    full = FULL * cells + HALF * half
    return full, EMPTY * (width - len(full))


def stacked(parts: Sequence[float], width: int) -> list[str]:
    """A bar of `width` cells split between up to four parts, each its own shade; rounding never loses a cell."""
    total = sum(parts)
    if total <= 0:
        return [EMPTY * width]
    edges = [round(width * edge / total) for edge in accumulate(parts)]
    return [SHADES[i] * (edge - before) for i, (before, edge) in enumerate(zip([0, *edges[:-1]], edges, strict=True))]


def buckets(values: Sequence[float], count: int) -> list[float]:
    """`values` reduced to at most `count` by the mean of each stretch: what a load was, not its luckiest second."""
    if len(values) <= count:
        return list(values)
    parts = [values[i * len(values) // count : (i + 1) * len(values) // count] for i in range(count)]
    return [sum(part) / len(part) for part in parts]


def history(values: Sequence[float], width: int, *, top: float = 100.0, braille: bool = True) -> str:
    """A graph of `width` cells, newest at the right edge; Braille holds two values a cell, blocks one."""
    if not braille:
        shown = buckets(values, width)
        cells = "".join(_EIGHTHS[_level(value, top, 8)] for value in shown)
        return cells.rjust(width)
    shown = buckets(values, width * 2)
    levels = [0] * (width * 2 - len(shown)) + [_level(value, top, 4) for value in shown]
    return "".join(
        chr(0x2800 | _LEFT[left] | _RIGHT[right]) for left, right in zip(levels[::2], levels[1::2], strict=True)
    )


def area(values: Sequence[float | None], width: int, rows: int, *, top: float, braille: bool = True) -> list[str]:
    """A graph of `width` x `rows` cells, filled from below, its top row first; a value that is None leaves a gap.

    `values`: two a cell (`columns`) for Braille, one for blocks, the newest last.
    """
    a_cell, a_row = (2, 4) if braille else (1, 8)
    levels = [0 if value is None else _level(value, top, rows * a_row) for value in values[-width * a_cell :]]
    levels = [0] * (width * a_cell - len(levels)) + levels
    lines = []
    for row in reversed(range(rows)):
        parts = [min(a_row, max(0, level - row * a_row)) for level in levels]
        if braille:
            cells = (
                chr(0x2800 | _LEFT[left] | _RIGHT[right]) for left, right in zip(parts[::2], parts[1::2], strict=True)
            )
        else:
            cells = (_EIGHTHS[part] for part in parts)
        lines.append("".join(cells))
    return lines


def _level(value: float, top: float, levels: int) -> int:
    """0 only for nothing: a little load still shows a dot."""
    if not value > 0:
        return 0
    return max(1, min(levels, round(value / top * levels)))
