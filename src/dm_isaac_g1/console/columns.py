"""Tables of text: rows of cells laid out in columns that fit the width, the least important left out first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from textual.content import Content

GAP = 2


class Column(NamedTuple):
    """A column: `width` cells, 0 for what is left over. `keep`: columns with the lowest are dropped first."""

    title: str
    width: int
    align: Literal["left", "right"] = "left"
    keep: int = 10


def fit(columns: Sequence[Column], width: int, *, least: int = 12) -> list[tuple[int, int]]:
    """Which columns fit into `width`, as (index, cells); the flexible one gets what is left, `least` or more."""
    kept = list(range(len(columns)))

    def needed() -> int:
        return sum(columns[i].width or least for i in kept) + GAP * (len(kept) - 1)

    while needed() > width and len(kept) > 1:
        kept.remove(min(kept, key=lambda i: (columns[i].keep, -i)))
    spare = width - needed()
    return [(i, columns[i].width or max(1, least + spare)) for i in kept]


def row(columns: Sequence[Column], layout: Sequence[tuple[int, int]], cells: Sequence[Content]) -> Content:
    """One row; cells are cut or padded to their column."""
    parts: list[Content] = []
    for i, cells_wide in layout:
        cell = cells[i].truncate(cells_wide, ellipsis=True)
        room = cells_wide - cell.cell_length
        parts.append(cell.pad_left(room) if columns[i].align == "right" else cell.pad_right(room))
        parts.append(Content(" " * GAP))
    return Content("").join(parts[:-1]).rstrip()


def titles(columns: Sequence[Column], layout: Sequence[tuple[int, int]]) -> Content:
    """The row of titles."""
    return row(columns, layout, [Content.styled(column.title, "$faint") for column in columns])
