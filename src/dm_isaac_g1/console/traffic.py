"""What a server says of its requests, over the last ten minutes: pure functions from looks to graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dm_isaac_g1.console import bars
from dm_isaac_g1.core.deployments import Traffic
from dm_isaac_g1.core.units import UNKNOWN

#: Seconds that a graph goes back.
SPAN = 600.0

Value = Callable[[Traffic], "float | None"]
Looks = Iterable[tuple[float, Traffic]]


def p50(heard: Traffic) -> float | None:
    return heard.p50_ms


def p99(heard: Traffic) -> float | None:
    return heard.p99_ms


def requests(heard: Traffic) -> float | None:
    return heard.per_second


def over_time(looks: Looks, value: Value, now: float, count: int) -> list[float | None]:
    """The worst of each of `count` stretches of SPAN, the newest last; None where nobody looked.

    A look stands until the next one, for a minute at most: so often is looked while nobody watches.
    """
    found: list[float | None] = [None] * count
    step = SPAN / count
    told = [(at, each) for at, heard in looks if (each := value(heard)) is not None]
    for index, (at, each) in enumerate(told):
        until = min(told[index + 1][0] if index + 1 < len(told) else now, at + 65.0)
        first, last = (int((when - now + SPAN) // step) for when in (at, max(at, until - 1e-6)))
        for place in range(max(0, first), min(count - 1, last) + 1):
            before = found[place]
            found[place] = each if before is None else max(before, each)
    return found


def graph(looks: Looks, value: Value, now: float, width: int, *, braille: bool) -> str:
    """One line of `width` cells, against the worst of it."""
    return chart(looks, value, now, width, 1, braille=braille)[0][0]


def chart(looks: Looks, value: Value, now: float, width: int, rows: int, *, braille: bool) -> tuple[list[str], float]:
    """Lines of `width` cells, the top one first, and the value that the top stands for."""
    values = over_time(looks, value, now, width * (2 if braille else 1))
    top = ceiling(max((each for each in values if each is not None), default=0.0))
    return bars.area(values, width, rows, top=top, braille=braille), top


def ceiling(value: float) -> float:
    """The next of 1, 2, 5, 10, ... above: an axis that does not jump with every look."""
    if not value > 0:
        return 1.0
    scale = 10.0 ** (len(f"{int(value)}") - 1 if value >= 1 else -1 if value >= 0.1 else -2)
    return next(each * scale for each in (1.0, 2.0, 5.0, 10.0) if each * scale >= value)


def milliseconds(value: float | None) -> str:
    """Three digits: 0.84, 12.1, 143."""
    if value is None:
        return UNKNOWN
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def per_second(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"
