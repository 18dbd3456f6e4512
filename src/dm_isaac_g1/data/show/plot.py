"""Curves as braille: every cell of the terminal has two dots across and four down. Pure.

Not one of the plotting libraries: what is wanted is one thin row a joint, two curves in a cell, and nothing global.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Bits of a cell by dot: [row][column]. Source: Unicode 16, chapter 21.1, U+2800.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE = 0x2800

#: A curve: times and values of the same length; None leaves a gap.
Curve = tuple[Sequence[float], Sequence[float | None]]
#: A cell: its character, and which curve it shows (the first of those that meet in it); None: empty.
Cell = tuple[str, int | None]


def plot(
    curves: Sequence[Curve], width: int, height: int, *, span: tuple[float, float], values: tuple[float, float]
) -> list[list[Cell]]:
    """`height` rows of `width` cells. `span`: times at the left and right edge; `values`: at the bottom and the top."""
    layers = [_layer(curve, width, height, span, values) for curve in curves]
    rows: list[list[Cell]] = []
    for row in range(height):
        cells: list[Cell] = []
        for column in range(width):
            there = ((index, layer[row][column]) for index, layer in enumerate(layers) if layer[row][column])
            first, bits = next(there, (None, 0))
            cells.append((" ", None) if first is None else (chr(_BRAILLE | bits), first))
        rows.append(cells)
    return rows


def _layer(
    curve: Curve, width: int, height: int, span: tuple[float, float], values: tuple[float, float]
) -> list[list[int]]:
    """The dots of one curve: its points, and the lines between them."""
    bits = [[0] * width for _ in range(height)]
    across, down = 2 * width - 1, 4 * height - 1
    before: tuple[int, int] | None = None
    for time, value in zip(*curve, strict=True):
        if value is None:
            before = None
            continue
        x = _at(time, span, across)
        y = down - _at(value, values, down)
        x0, y0 = before or (x, y)
        steps = max(abs(x - x0), abs(y - y0), 1)
        for step in range(steps + 1):
            dot_x, dot_y = x0 + round((x - x0) * step / steps), y0 + round((y - y0) * step / steps)
            bits[dot_y // 4][dot_x // 2] |= _DOTS[dot_y % 4][dot_x % 2]
        before = x, y
    return bits


def _at(value: float, span: tuple[float, float], last: int) -> int:
    low, high = span
    share = (value - low) / (high - low) if high > low else 0.5
    return round(min(1.0, max(0.0, share)) * last)


def bars(counts: Sequence[int]) -> str:
    """A histogram, a cell each: nothing is blank, something is at least the lowest bar."""
    most = max(counts, default=0)
    return "".join(" " if not count else "▁▂▃▄▅▆▇█"[-(-8 * count // most) - 1] for count in counts)


def gauge(low: float, high: float, limits: tuple[float, float], width: int) -> list[tuple[str, str]]:
    """Where low to high lies within the limits: pieces of text with what they are: "free", "used" or "beyond"."""
    inner = width - 2
    least, most = limits
    first, last = (_at(value, limits, inner - 1) for value in (low, high))
    ends = ("◀" if low < least else "├", "▶" if high > most else "┤")
    kinds = ["beyond" if end in "◀▶" else "free" for end in ends]
    return [
        (ends[0], kinds[0]),
        ("─" * first, "free"),
        ("━" * (last - first + 1), "used"),
        ("─" * (inner - 1 - last), "free"),
        (ends[1], kinds[1]),
    ]
