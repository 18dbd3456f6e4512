"""A picture in the terminal: as half blocks in true colour anywhere, in pixels where the terminal can. Pure.

Kitty: https://sw.kovidgoyal.net/kitty/graphics-protocol/. Sixel: DEC STD 070, chapter 9. There is a library for both
(textual-image); it asks the terminal questions as soon as it is imported, and these are forty lines.
"""

from __future__ import annotations

import base64
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Graphics = Literal["none", "blocks", "sixel", "kitty"]
#: (height, width, 3)
Picture = NDArray[np.uint8]

_RESET = "\x1b[0m"
#: Bytes of base64 in one kitty command.
_CHUNK = 4096
#: Sixels are sized in pixels. Few terminals have smaller cells than this; in larger ones the picture is smaller.
CELL = (8, 16)
#: Levels of red, green and blue in the palette of a sixel picture: 252 colours.
_LEVELS = (6, 7, 6)


def fitted(picture: Picture, columns: int, rows: int) -> tuple[int, int]:
    """Columns and rows that the picture takes, at most so many; a cell is twice as high as wide."""
    height, width = picture.shape[:2]
    columns = min(columns, max(1, round(rows * 2 * width / height)))
    return columns, max(1, min(rows, round(columns * height / width / 2)))


def resized(picture: Picture, width: int, height: int) -> Picture:
    """Smaller: the mean of what comes to lie in a pixel. Larger: the nearest pixel."""
    if height > picture.shape[0] or width > picture.shape[1]:
        rows = (np.arange(height) + 0.5) * picture.shape[0] / height
        across = (np.arange(width) + 0.5) * picture.shape[1] / width
        return np.asarray(picture[rows.astype(int)][:, across.astype(int)], np.uint8)
    down = np.linspace(0, picture.shape[0], height + 1).astype(np.int64)
    right = np.linspace(0, picture.shape[1], width + 1).astype(np.int64)
    sums = np.add.reduceat(np.add.reduceat(picture.astype(np.uint32), down[:-1], axis=0), right[:-1], axis=1)
    area = np.diff(down)[:, None, None] * np.diff(right)[None, :, None]
    return np.asarray(sums // area, np.uint8)


def blocks(picture: Picture, columns: int, rows: int) -> list[str]:
    """Lines of half blocks: the upper pixel as colour, the lower one as background."""
    pixels = resized(picture, columns, 2 * rows).tolist()
    lines = []
    for row in range(rows):
        line, before = [], None
        for upper, lower in zip(pixels[2 * row], pixels[2 * row + 1], strict=True):
            if (upper, lower) != before:
                line.append("\x1b[38;2;{};{};{};48;2;{};{};{}m".format(*upper, *lower))
                before = (upper, lower)
            line.append("▀")
        lines.append("".join(line) + _RESET)
    return lines


def kitty(picture: Picture, columns: int, rows: int) -> str:
    """The picture over so many cells, beginning at the cursor, which stays where it is."""
    height, width = picture.shape[:2]
    data = base64.b64encode(np.ascontiguousarray(picture).tobytes()).decode()
    chunks = [data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK)] or [""]
    first = f"a=T,f=24,s={width},v={height},c={columns},r={rows},C=1,q=2"
    return "".join(
        f"\x1b_G{first + ',' if number == 0 else ''}m={int(number < len(chunks) - 1)};{chunk}\x1b\\"
        for number, chunk in enumerate(chunks)
    )


def sixel(picture: Picture, columns: int, rows: int, cell: tuple[int, int] = CELL) -> str:
    """The picture over so many cells of `cell` pixels, in 252 colours, dithered."""
    width, height = columns * cell[0], rows * cell[1] // 6 * 6
    palette, indices = _dithered(resized(picture, width, height))
    out = ["\x1bP0;1q", f'"1;1;{width};{height}']
    used = np.unique(indices)
    out += ["#{};2;{};{};{}".format(number, *(palette[number] * 100 // 255)) for number in used]
    for top in range(0, height, 6):
        band = indices[top : top + 6]
        weights = (1 << np.arange(len(band)))[:, None]
        for number in np.unique(band):
            bits = ((band == number) * weights).sum(axis=0)
            out.append(f"#{number}{_runs(bits)}$")
        out.append("-")
    return "".join(out) + "\x1b\\"


def _runs(bits: NDArray[np.int64]) -> str:
    """A band of one colour: six pixels a character, runs as !count."""
    edges = np.flatnonzero(np.diff(bits)) + 1
    starts = np.concatenate([[0], edges])
    lengths = np.diff(np.concatenate([starts, [len(bits)]]))
    pieces = []
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        character = chr(0x3F + int(bits[start]))
        pieces.append(character * length if length < 4 else f"!{length}{character}")
    return "".join(pieces)


#: A 4x4 threshold matrix (Bayer), from -0.5 to 0.5.
_BAYER = (np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) + 0.5) / 16 - 0.5


def _dithered(picture: Picture) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A fixed palette (252, 3), and for each pixel its number in it."""
    levels = np.array(_LEVELS)
    height, width = picture.shape[:2]
    threshold = np.tile(_BAYER, (height // 4 + 1, width // 4 + 1))[:height, :width, None]
    steps = np.clip(np.rint(picture / 255 * (levels - 1) + threshold), 0, levels - 1).astype(np.int64)
    numbers = (steps[..., 0] * levels[1] + steps[..., 1]) * levels[2] + steps[..., 2]
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in _LEVELS), indexing="ij"), axis=-1).reshape(-1, 3)
    return (grid * 255 // (levels - 1)).astype(np.int64), numbers
