"""Choosing episodes by number: "0:50,60" is 0 to 49 and 60, as lerobot writes splits. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from dm_isaac_g1.core.errors import UsageError

_PIECE = re.compile(r"\s*(\d{1,15})\s*(?::\s*(\d{1,15})\s*)?")


def chosen(text: str, there: Collection[int]) -> list[int]:
    """The numbers that `text` names, ascending, each once. `there`: the numbers that exist.

    Raises UsageError: it makes no sense, or names an episode that does not exist.
    """
    known = set(there)
    found: set[int] = set()
    for piece in text.split(","):
        match = _PIECE.fullmatch(piece)
        if match is None:
            raise _wrong(text, f"{piece.strip()!r} is neither a number nor a range as 0:50")
        start = int(match[1])
        end = start + 1 if match[2] is None else int(match[2])
        if end <= start:
            raise _wrong(text, f"{piece.strip()} is empty: the end is not part of a range")
        if end > max(known, default=-1) + 1 or (match[2] is None and start not in known):
            raise _wrong(text, f"there is no episode {end - 1}, the last is {max(known, default='none')}")
        found |= {number for number in known if start <= number < end}
    return sorted(found)


def _wrong(text: str, why: str) -> UsageError:
    return UsageError(f"episodes {text!r}: {why}", fix="write ranges and numbers as in 0:50,60")
