"""A picture in a terminal: two pixels a cell, the upper half block in the upper one's colour on the lower one's."""

from __future__ import annotations

from functools import lru_cache

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

HALF = "▀"


def fitted(width: int, height: int, columns: int, rows: int) -> tuple[int, int]:
    """Pixels of the picture that fits into so many cells with its proportions kept; the height is even."""
    if min(width, height, columns, rows) <= 0:
        return 0, 0
    scale = min(columns / width, rows * 2 / height)
    tall = max(2, int(height * scale) // 2 * 2)
    return max(1, min(columns, int(width * scale))), min(rows * 2, tall)


def scaled(rgb: bytes, width: int, height: int, columns: int, lines: int) -> list[list[tuple[int, int, int]]]:
    """The picture as `lines` rows of `columns` pixels, each the nearest of the original.

    In 64 shades, so that cells share their styles.
    """
    rgb = bytes(value & 0xFC for value in rgb)
    across = [min(width - 1, (2 * x + 1) * width // (2 * columns)) * 3 for x in range(columns)]
    out = []
    for y in range(lines):
        start = min(height - 1, (2 * y + 1) * height // (2 * lines)) * width * 3
        row = rgb[start : start + width * 3]
        out.append([(row[x], row[x + 1], row[x + 2]) for x in across])
    return out


class Picture(Widget):
    """Shows `rgb` (height x width x 3 bytes) as large as it has room, in the middle."""

    DEFAULT_CSS = "Picture { width: 1fr; height: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._image: tuple[bytes, int, int] | None = None
        self._strips: list[Strip] = []

    def show(self, rgb: bytes, width: int, height: int) -> None:
        """Another picture."""
        self._image = (rgb, width, height)
        self._draw()

    def clear(self) -> None:
        self._image = None
        self._strips = []
        self.refresh()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        columns, rows = self.size
        self._strips = []
        if self._image is not None:
            rgb, width, height = self._image
            across, lines = fitted(width, height, columns, rows)
            pixels = scaled(rgb, width, height, across, lines) if across else []
            left = (columns - across) // 2
            above = (rows - lines // 2) // 2
            self._strips = [Strip.blank(columns, self.rich_style)] * above
            for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
                cells = [Segment(" " * left, self.rich_style)]
                cells += [Segment(HALF, _style(top, bottom)) for top, bottom in zip(upper, lower, strict=True)]
                cells.append(Segment(" " * (columns - across - left), self.rich_style))
                self._strips.append(Strip(cells, columns))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width, self.rich_style)


@lru_cache(maxsize=16384)
def _style(top: tuple[int, int, int], bottom: tuple[int, int, int]) -> Style:
    return Style(color=Color.from_rgb(*top), bgcolor=Color.from_rgb(*bottom))
