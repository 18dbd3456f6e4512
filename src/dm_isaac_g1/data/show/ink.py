"""Pieces of text and what they are: coloured on a terminal, plain in a pipe. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

#: What a piece is. The colours are the terminal's own sixteen, so that they suit its theme.
Ink = Literal["plain", "title", "label", "faint", "good", "warn", "bad", "state", "action"]
Piece = tuple[str, Ink]
Line = list[Piece]

_SGR: dict[Ink, str] = {
    "title": "1",
    "label": "36",
    "faint": "2",
    "good": "32",
    "warn": "33",
    "bad": "1;31",
    "state": "36",
    "action": "33",
}


def painted(line: Sequence[Piece], *, colour: bool) -> str:
    """The line as a terminal, or a pipe, wants it; without blanks at its end."""
    pieces = list(line)
    while pieces and not pieces[-1][0].rstrip():
        pieces.pop()
    if pieces:
        pieces[-1] = (pieces[-1][0].rstrip(), pieces[-1][1])
    if not colour:
        return "".join(text for text, _ in pieces)
    return "".join(f"\x1b[{_SGR[ink]}m{text}\x1b[0m" if ink in _SGR and text else text for text, ink in pieces)


def cells(text: str) -> int:
    """Columns that a terminal gives it: two for wide characters."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def cut(text: str, width: int) -> str:
    """The text in at most so many cells; an ellipsis where some of it is gone."""
    text = " ".join(text.split())
    if cells(text) <= width:
        return text
    while text and cells(text) > width - 1:
        text = text[:-1]
    return f"{text}…" if width > 0 else ""


def padded(text: str, width: int, *, right: bool = False) -> str:
    """The text in exactly so many cells."""
    text = cut(text, width)
    gap = " " * (width - cells(text))
    return gap + text if right else text + gap


def length(line: Sequence[Piece]) -> int:
    return sum(cells(text) for text, _ in line)
