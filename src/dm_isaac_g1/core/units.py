"""Sizes, durations and rates as people read them. `None` (the host does not say) is shown as "–", never as 0."""

from __future__ import annotations

import math
import re
from typing import TypeGuard

import humanize

from dm_isaac_g1.core.errors import UsageError

UNKNOWN = "–"

#: As coreutils and tmpfs read a size: K, M, G, T and KiB.. are powers of 1024, KB.. powers of 1000.
_SUFFIXES = {"": 1, "B": 1} | {
    prefix + tail: base ** (power + 1)
    for power, prefix in enumerate("KMGTP")
    for tail, base in (("", 1024), ("IB", 1024), ("B", 1000))
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)

#: Largest first: seconds, letter.
_STEPS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))


def size(count: float | None) -> str:
    """Bytes, decimal as disks are sold and `df -H` counts: 21_400_000_000 -> "21.4 GB"."""
    if not _known(count):
        return UNKNOWN
    return str(humanize.naturalsize(count)).removesuffix("ytes").removesuffix("yte")


def many(count: int, one: str, several: str | None = None) -> str:
    """1, "job" -> "1 job"; 3, "process", "processes" -> "3 processes"."""
    return f"{count} {one if count == 1 else several or one + 's'}"


def rate(count: float | None) -> str:
    """Bytes a second: 118_000_000 -> "118.0 MB/s"."""
    return f"{size(count)}/s" if _known(count) else UNKNOWN


def speed(steps: float | None) -> str:
    """Training steps a second: 1.19 -> "1.19 it/s"; slower than one a second as seconds a step: "3.20 s/it"."""
    if not _known(steps) or steps <= 0:
        return UNKNOWN
    return f"{steps:.2f} it/s" if steps >= 1 else f"{1 / steps:.2f} s/it"


def duration(seconds: float | None) -> str:
    """Two units at most: 11_532 -> "3 h 12 m", 59.4 -> "59 s", 0.25 -> "0.2 s"."""
    if not _known(seconds):
        return UNKNOWN
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if seconds < 10 and seconds % 1:
        return f"{seconds:.1f} s"
    total = round(seconds)
    place = next((place for place, (length, _) in enumerate(_STEPS) if total >= length), len(_STEPS) - 1)
    length, letter = _STEPS[place]
    whole, rest = divmod(total, length)
    if letter == "s":
        return f"{whole} s"
    below, below_letter = _STEPS[place + 1]
    return f"{whole} {letter} {rest // below} {below_letter}" if rest >= below else f"{whole} {letter}"


def parse_size(text: str) -> int:
    """Bytes of "2G", "500 MB", "1.5GiB" or "4096". Raises UsageError.

    As coreutils and tmpfs have it, G and GiB are 1024**3 and GB is 1000**3.
    """
    match = _SIZE.fullmatch(text)
    factor = _SUFFIXES.get(match[2].upper()) if match else None
    if match is None or factor is None:
        raise UsageError(f"{text!r} is not a size", fix="write it like 500M, 2G or 1.5TB")
    return int(float(match[1]) * factor)


def _known(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)
