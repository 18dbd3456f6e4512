"""Plain aligned columns for people and pipes: no lines, no colours, wide characters counted as the terminal does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, right: frozenset[int] = frozenset()) -> list[str]:
    """The lines of a table; columns in `right` are aligned to the right. No rows: no lines."""
    body = [tuple(row) for row in rows]
    if not body:
        return []
    listed = [tuple(head), *body]
    widths = [max(_width(row[column]) for row in listed) for column in range(len(head))]
    return [
        "  ".join(_padded(cell, widths[column], column in right) for column, cell in enumerate(row)).rstrip()
        for row in listed
    ]


def _padded(text: str, width: int, right: bool) -> str:
    gap = " " * (width - _width(text))
    return gap + text if right else text + gap


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
