"""Where the panes of the Overview stand: a pure function from the screen's size and the panes' wishes to regions.

Two arrangements. From 120x34 on, runs across the screen, below them two columns: hosts over checkpoints on the left,
loss over log on the right. On less, one column: hosts and runs in brief, and one stage that loss, checkpoints and
log share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from textual.geometry import NULL_OFFSET, NULL_SPACING, Region, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.widget import Widget

#: The order that tab walks.
PANES = ("hosts", "runs", "loss", "log", "checkpoints", "alerts")
#: Those that share the stage where there is no room for all.
STAGE = ("loss", "log", "checkpoints")

WIDE = Size(120, 34)
#: Lines that checkpoints keep, however many hosts there are: their titles, some saves, the guard's word.
GUARD = 16


class Wishes(NamedTuple):
    """Lines that a pane would like to have inside its frame; `runs` 0: there is none."""

    #: In full, and in less detail.
    hosts: tuple[int, ...] = (0,)
    hosts_brief: int = 0
    runs: int = 0
    alerts: int = 0


def is_wide(size: Size) -> bool:
    return size.width >= WIDE.width and size.height >= WIDE.height


def split(region: Region, lines: int) -> tuple[Region, Region]:
    """The first `lines` of a region, and the rest; either may be empty."""
    x, y, width, height = region
    lines = max(0, min(lines, height))
    return Region(x, y, width, lines), Region(x, y + lines, width, height - lines)


def left_width(width: int) -> int:
    """The left column: a third, within what its bars and names need."""
    return min(72, max(57, width * 36 // 100))


def arrange(size: Size, wishes: Wishes, *, stage: str, maximised: str | None) -> dict[str, Region]:
    """Regions by name; a pane without one is not shown. Frames take two lines when wide, one (the title) when not."""
    width, height = size
    regions = {"header": Region(0, 0, width, 1), "footer": Region(0, height - 1, width, 1)}
    body = Region(0, 1, width, max(0, height - 2))
    if maximised is not None:
        return regions | {maximised: body}
    if wishes.alerts:
        # The most urgent thing on the screen stands on top, and never takes more than a quarter of it.
        frame = 2 if is_wide(size) else 1
        lines = min(wishes.alerts + frame, max(frame + 1, body.height // (6 if is_wide(size) else 7)))
        regions["alerts"], body = split(body, lines)
    if not wishes.runs:
        return regions | _idle(body, wishes, wide=is_wide(size))
    return regions | (_wide(body, wishes) if is_wide(size) else _brief(body, wishes, stage))


def _idle(body: Region, wishes: Wishes, *, wide: bool) -> dict[str, Region]:
    """Without a run there is nothing to plot: hosts, and how to begin."""
    if wide:
        shown, _ = split(body, min(max(12, wishes.hosts[0] + 2), body.height))
        hosts, runs = shown.split_vertical(left_width(body.width))
    else:
        hosts, runs = split(body, min(wishes.hosts_brief + 1, body.height * 3 // 5))
    return {"hosts": hosts, "runs": runs}


def _wide(body: Region, wishes: Wishes) -> dict[str, Region]:
    runs, rest = split(body, min(max(4, wishes.runs) + 2, max(6, body.height // 5)))
    left, right = rest.split_vertical(left_width(body.width))
    # Hosts get what they wish for, as long as checkpoints keep room for the guard's word.
    most = max(left.height * 3 // 5, left.height - GUARD)
    wish = next((lines + 2 for lines in wishes.hosts if lines + 2 <= most), most)
    hosts, checkpoints = split(left, wish)
    loss, log = split(right, right.height * 58 // 100)
    return {"hosts": hosts, "checkpoints": checkpoints, "runs": runs, "loss": loss, "log": log}


def _brief(body: Region, wishes: Wishes, stage: str) -> dict[str, Region]:
    hosts, rest = split(body, min(wishes.hosts_brief + 1, body.height * 2 // 5))
    runs, shared = split(rest, min(max(2, wishes.runs) + 1, max(4, rest.height // 3)))
    return {"hosts": hosts, "runs": runs, stage: shared}


class ArrangedLayout(Layout):
    """Places a screen's children by `regions`, which the screen keeps up to date."""

    name = "arranged"

    def __init__(self) -> None:
        self.regions: Mapping[str, Region] = {}

    def arrange(self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True) -> ArrangeResult:
        return [
            WidgetPlacement(region, NULL_OFFSET, NULL_SPACING, child)
            for child in children
            if (region := self.regions.get(child.id or "")) is not None and region.area
        ]
