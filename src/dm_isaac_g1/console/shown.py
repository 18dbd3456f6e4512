"""Text and figures on their way to the screen.

Everything from a host was cleaned at the agent's boundary; `line` is the second lock on the same door, so that
nothing a host sends can reach the terminal as a control sequence, whichever way it came.
"""

from __future__ import annotations

import math
import time
from functools import lru_cache

from dm_isaac_g1.core.units import UNKNOWN, duration
from dm_isaac_g1.remote.clean import clean


def line(text: str, limit: int = 4096) -> str:
    """`text` as one line that is safe on a terminal, tabs as spaces, cut at `limit` characters."""
    return clean(text[:limit].replace("\n", " ")).replace("\t", "    ")


@lru_cache(maxsize=1024)
def name(text: str, width: int = 64) -> str:
    """A name from a host, cut in the middle to `width` characters: both ends tell names apart."""
    text = line(text, 512)
    if len(text) <= width:
        return text
    head = (width - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def percent(value: float | None) -> str:
    """0..100 -> "72 %"."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.0f} %"


def pair(used: float | None, total: float | None) -> str:
    """Two sizes in the unit of the larger: (41.2e9, 102e9) -> "41.2 / 102.0 GB"."""
    if total is None or not total > 0:
        return UNKNOWN
    unit, factor = next(((u, f) for u, f in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)) if total >= f), ("kB", 1e3))
    left = UNKNOWN if used is None else f"{used / factor:.1f}"
    return f"{left} / {total / factor:.1f} {unit}"


def figure(value: float | None) -> str:
    """A metric's value with four significant digits; NaN and infinities by their names."""
    if value is None:
        return UNKNOWN
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:.4g}"
    return f"{value:.2e}"


def whole(value: float | None, unit: str) -> str:
    """412.3, "W" -> "412 W"."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.0f} {unit}"


def age(seconds: float | None) -> str:
    """A span without fractions, never negative: clocks of two machines differ."""
    return UNKNOWN if seconds is None or not math.isfinite(seconds) else duration(float(round(max(0.0, seconds))))


def day(at: float, now: float) -> str:
    """When something began: the hour for the last day, else the date."""
    return time.strftime("%H:%M" if now - at < 86_400 else "%d %b", time.localtime(at))


def clock(at: float) -> str:
    """The hour and minute of `at`, in the user's time zone."""
    return time.strftime("%H:%M", time.localtime(at))
