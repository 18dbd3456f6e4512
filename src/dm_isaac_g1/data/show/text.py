"""A dataset and an episode as lines of text: colours on a terminal only, pictures where it can show some. Pure."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from dm_isaac_g1.core.units import many
from dm_isaac_g1.data.show import groups, ink, plot, summary
from dm_isaac_g1.data.show.groups import Value
from dm_isaac_g1.data.show.ink import Ink, Line
from dm_isaac_g1.data.show.summary import Range

_IMAGES = "observation.images."
#: Cells of the labels at the left.
_LABEL = 10
#: A curve's picture covers at least this share of its joint's limits.
_LEAST_SPAN = 0.02
#: Times, values and limits (None: not known) of a place of a column.
_Shown = Mapping[tuple[str, int], tuple[Sequence[float], Sequence[float | None], Sequence[float] | None]]
_INK: dict[str, Ink] = {"free": "faint", "used": "state", "beyond": "bad"}


# --- A dataset --------------------------------------------------------------------------------------------------------


def render_summary(data: Mapping[str, Any], width: int, *, colour: bool = False) -> list[str]:
    """What `summary_view` found, as lines of at most `width` cells; they wrap below 40."""
    width = max(width, 40)
    lines: list[Line] = [summary.heading(data), [("─" * width, "faint")]]
    for row in summary.rows(data):
        lines += _labelled(row.label, row.line, width)
    rows = summary.ranges(data)
    if rows:
        lines += [[], [("joint ranges", "title"), (f"   of {data['ranges_of']}, rad where limits are known", "faint")]]
        lines += _ranges(rows, width)
    elif data["columns"]:
        lines += _labelled("ranges", [("no statistics beside it: --deep reads every row", "faint")], width)
    return [ink.painted(line, colour=colour) for line in lines]


def _labelled(label: str, line: Line, width: int) -> list[Line]:
    """A line with its label; one that is too long goes on below it, in the ink of its first piece."""
    room = width - _LABEL
    lead: Line = [(ink.padded(label, _LABEL), "label")]
    if ink.length(line) <= room:
        return [[*lead, *line]]
    wrapped: list[Line] = []
    for text, each in line:
        for number, part in enumerate(textwrap.wrap(text.strip(), room, break_on_hyphens=False)):
            fits = number == 0 and wrapped and ink.length(wrapped[-1]) + 3 + ink.cells(part) <= room
            if fits:
                wrapped[-1] += [("   ", "plain"), (part, each)]
            else:
                wrapped.append([(part, each)])
    return [[*(lead if number == 0 else [(" " * _LABEL, "plain")]), *each] for number, each in enumerate(wrapped)]


def _ranges(rows: Sequence[Range], width: int) -> Iterator[Line]:
    """A table: joint, state, action, and where the state lies within the joint's limits."""
    name = min(26, max(ink.cells(row.label) for row in rows) + 2)
    states, actions = any(row.state for row in rows), any(row.action for row in rows)
    used = 2 + name + 18 * (states + actions)
    bar = min(40, width - used - 2)
    head = ink.padded("", name + 2) + "".join(
        ink.padded(word, 18, right=True) for word, there in (("state", states), ("action", actions)) if there
    )
    yield [(head, "faint")]
    for part, each in groupby(rows, key=lambda row: row.part):
        yield [(f"  {part}", "label")]
        for row in each:
            line: Line = [(f"  {ink.padded(row.label, name)}", "plain")]
            line += [(_pair(row.state), "bad" if row.beyond else "plain")] if states else []
            line += [(_pair(row.action), "bad" if row.beyond else "faint")] if actions else []
            shown = row.state or row.action
            if row.limits is not None and shown is not None and bar >= 8:
                line.append(("  ", "plain"))
                line += [(text, _INK[kind]) for text, kind in plot.gauge(*shown, row.limits, bar)]
            yield line


def _pair(pair: tuple[float, float] | None) -> str:
    return f"{'–' if pair is None else f'{_number(pair[0])} {_number(pair[1])}':>18}"


def _number(value: float) -> str:
    return f"{value:8.3f}" if abs(value) < 1000 else f"{value:8.3g}"


# --- An episode -------------------------------------------------------------------------------------------------------


def render_episode(
    data: Mapping[str, Any], *, width: int, height: int, graphics: str = "none", colour: bool = False
) -> list[str]:
    """What `episode_view` found. `graphics`: how pictures are shown ("none", "blocks", "sixel", "kitty").

    Few joints are drawn high, many low: about two screens of `height` for all of them.
    """
    width = max(width, 40)
    first, last = data["episodes"]
    seconds = data["length"] / data["fps"]
    title: Line = [
        (f"{data['name']}  episode {data['episode']}", "title"),
        (f"   of {first} to {last} · {many(data['length'], 'frame')}, {seconds:.1f} s at {data['fps']:g} fps", "faint"),
    ]
    rule: Line = [("─" * width, "faint")]
    lines = [ink.painted(line, colour=colour) for line in (title, rule)]
    for task in data["tasks"]:
        lines += [ink.painted(line, colour=colour) for line in _labelled("task", [(task, "plain")], width)]
    lines += _pictures(data["cameras"], width, height, graphics, colour)
    for column in data["columns"]:
        if column.get("problem"):
            said: Line = [(column["problem"], "bad")]
            lines += [ink.painted(each, colour=colour) for each in _labelled("problem", said, width)]
    return lines + [ink.painted(line, colour=colour) for line in _curves(data, width, height, colour)]


def _curves(data: Mapping[str, Any], width: int, height: int, colour: bool) -> Iterator[Line]:
    shown = {
        (column["column"], index): (column["times"], values, limits)
        for column in data["columns"]
        if column["values"]
        for index, (values, limits) in enumerate(zip(column["values"], column["limits"], strict=True))
    }
    every = [v for c in data["columns"] if c["values"] for v in groups.values(c["column"], c["names"])]
    parts = groups.by_part(every)
    joints = sum(map(len, parts.values()))
    if not joints:
        return
    name = min(24, max(ink.cells(value.label) for value in every) + 4)
    room = width - name - 10
    tall = max(2, min(6, 2 * height // max(1, joints) - 1))
    span = (0.0, (data["length"] - 1) / data["fps"])
    both = any(value.action for value in every) and not all(value.action for value in every)
    yield []
    if both and colour:
        yield [(" " * name, "plain"), ("⣀⡠⠔ state", "state"), ("   ", "plain"), ("⣀⡠⠔ action", "action")]
    for part, keys in parts.items():
        yield [(part, "label")]
        for values in keys.values():
            yield from _joint(values, shown, span, name, room, tall, colour)
    yield _axis(span[1], name, room)


def _joint(
    values: Sequence[Value],
    shown: _Shown,
    span: tuple[float, float],
    name: int,
    room: int,
    tall: int,
    colour: bool,
) -> Iterator[Line]:
    """A joint's curves in one picture; without colours one below the other, each with its word."""
    if not colour and len(values) > 1:
        for value in values:
            word = "action" if value.action else "state"
            yield from _joint_at([value], shown, span, name, room, tall, word)
        return
    yield from _joint_at(values, shown, span, name, room, tall, "")


def _joint_at(
    values: Sequence[Value],
    shown: _Shown,
    span: tuple[float, float],
    name: int,
    room: int,
    tall: int,
    word: str,
) -> Iterator[Line]:
    curves = [shown[value.column, value.index][:2] for value in values]
    known = [each for _, its in curves for each in its if each is not None]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    limits = shown[values[0].column, values[0].index][2]
    # What an encoder's noise does to a joint at rest is not worth a picture of its own.
    spare = max(0.0, (limits[1] - limits[0]) * _LEAST_SPAN - (high - low)) / 2 if limits else 0.0
    low, high = low - spare, high + spare
    inks: list[Ink] = ["action" if value.action else "state" for value in values]
    for row, cells in enumerate(plot.plot(curves, room, tall, span=span, values=(low, high))):
        lead = values[0].label if row == 0 else word if row == 1 else ""
        line: Line = [(f"  {ink.padded(lead, name - 2)}", "plain" if row == 0 else "faint")]
        for curve, run in groupby(cells, key=lambda cell: cell[1]):
            line.append(("".join(text for text, _ in run), "plain" if curve is None else inks[curve]))
        edge = high if row == 0 else low if row == tall - 1 else None
        yield [*line, (f" {_number(edge)}" if edge is not None else "", "faint")]


def _axis(seconds: float, name: int, room: int) -> Line:
    """Seconds below the curves: a mark at every fourth."""
    marks = 4 if room >= 40 else 2
    text = [" "] * (room + 8)
    for number in range(marks + 1):
        told = f"{seconds * number / marks:.1f}" + (" s" if number == marks else "")
        at = round((room - 1) * number / marks)
        start = max(0, min(at - (len(told) // 2 if 0 < number < marks else 0 if number == 0 else len(told) - 1), room))
        text[start : start + len(told)] = told
    return [(" " * name + "".join(text).rstrip(), "faint")]


# --- Pictures ---------------------------------------------------------------------------------------------------------


def _pictures(cameras: Sequence[Mapping[str, Any]], width: int, height: int, graphics: str, colour: bool) -> list[str]:
    """What the cameras see, side by side; those that do not fit come below."""
    lines: list[str] = []
    if not cameras:
        return lines
    if graphics == "none":
        names = dict.fromkeys(camera["key"].removeprefix(_IMAGES) for camera in cameras)
        return [ink.painted(line, colour=colour) for line in _camera_lines(names, cameras, width)]
    beside = max(1, min(len(cameras), width // 18))
    columns = min(64, (width - 2 * (beside - 1)) // beside)
    once = len({camera["at"] for camera in cameras}) == 1
    if once:
        lines += [
            ink.painted(line, colour=colour)
            for line in _labelled("cameras", [(f"at {cameras[0]['at']:.1f} s", "plain")], width)
        ]
    for start in range(0, len(cameras), beside):
        row = cameras[start : start + beside]
        caption: Line = []
        for camera in row:
            moment = "" if once else f" {camera['at']:.1f} s"
            words = camera["key"].removeprefix(_IMAGES) + moment
            caption += [(ink.padded(words, columns), "label"), ("  ", "plain")]
        lines += ["", ink.painted(caption, colour=colour)]
        lines += _side_by_side([_pixels(camera) for camera in row], columns, max(6, height * 2 // 3), graphics)
        for camera in row:
            if camera.get("problem"):
                said: Line = [(camera["problem"], "bad")]
                lines += [ink.painted(line, colour=colour) for line in _labelled("problem", said, width)]
    return lines


def _camera_lines(names: Iterable[str], cameras: Sequence[Mapping[str, Any]], width: int) -> Iterator[Line]:
    """Where no picture can be shown: which cameras there are, and what is wrong with them."""
    yield from _labelled("cameras", [(", ".join(names), "plain")], width)
    for problem in dict.fromkeys(camera["problem"] for camera in cameras if camera.get("problem")):
        yield from _labelled("problem", [(problem, "bad")], width)


def _pixels(camera: Mapping[str, Any]) -> Any:
    import numpy as np

    try:
        shape = (int(camera["height"]), int(camera["width"]), 3)
        return np.frombuffer(base64.b64decode(camera["rgb"]), np.uint8).reshape(shape) if min(shape) > 0 else None
    except (ValueError, TypeError):  # not from us
        return None


def _side_by_side(pictures: Sequence[Any], columns: int, rows: int, graphics: str) -> list[str]:
    from dm_isaac_g1.data.show import pictures as drawn

    there = [picture for picture in pictures if picture is not None]
    if not there:
        return []
    sizes = [drawn.fitted(picture, columns, rows) for picture in there]
    high = max(rows for _, rows in sizes)
    if graphics == "blocks":
        lines = [""] * high
        for picture in pictures:
            if picture is None:
                lines = [line + " " * (columns + 2) for line in lines]
                continue
            wide, tall = drawn.fitted(picture, columns, rows)
            block = [*drawn.blocks(picture, wide, tall), *[" " * wide] * (high - tall)]
            lines = [line + cells + " " * (columns - wide + 2) for line, cells in zip(lines, block, strict=True)]
        return lines
    # In pixels: over blank lines that make room first, drawn from the upper left corner of each.
    out = []
    for number, picture in enumerate(pictures):
        if picture is not None:
            wide, tall = drawn.fitted(picture, columns, rows)
            draw = drawn.kitty(picture, wide, tall) if graphics == "kitty" else drawn.sixel(picture, wide, tall)
            right = f"\x1b[{number * (columns + 2)}C" if number else ""
            out.append(f"\x1b7\x1b[{high}A{right}{draw}\x1b8")
    return [*[""] * high, "".join(out)]
