"""An episode as `data.show` tells it, as typed values, and its joints in parts that fit one plot each.

The answer came from a host: what makes no sense is refused here, before anything is drawn from it.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec

from dm_isaac_g1.core.errors import DmG1Error
from dm_isaac_g1.core.robot import BODY_PARTS
from dm_isaac_g1.data.names import canonical

#: Lines that one plot still tells apart.
LINES = 8
#: A picture's edge at most, in pixels.
EDGE = 1024

Edge = Annotated[int, msgspec.Meta(ge=1, le=EDGE)]
Values = list[float | None]


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column: values[i] are those of names[i], at `times` in seconds; None is not a finite number."""

    column: str
    names: list[str]
    times: list[float]
    values: list[Values]


class Camera(msgspec.Struct, frozen=True, kw_only=True):
    """A frame: `rgb` has height * width * 3 bytes. `problem`: why there is none."""

    key: str
    at: float = 0.0
    width: Edge = 1
    height: Edge = 1
    rgb: bytes = b""
    problem: str | None = None

    @property
    def name(self) -> str:
        return self.key.removeprefix("observation.images.")


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """One episode of a dataset. `episodes`: how many there are, or the first and the last number."""

    episode: int
    episodes: int | list[int] = 0
    length: int = 0
    fps: float = 0.0
    tasks: list[str] = []
    columns: list[Column] = []
    cameras: list[Camera] = []

    @property
    def last(self) -> int:
        """The highest episode number."""
        return self.episodes[-1] if isinstance(self.episodes, list) and self.episodes else _count(self.episodes) - 1

    @property
    def seconds(self) -> float | None:
        return self.length / self.fps if self.fps > 0 else None


class Trace(msgspec.Struct, frozen=True):
    """One line of a plot."""

    name: str
    times: list[float]
    values: Values

    @property
    def range(self) -> tuple[float, float] | None:
        """Least and largest of its finite values."""
        finite = [value for value in self.values if value is not None and math.isfinite(value)]
        return (min(finite), max(finite)) if finite else None


class Part(msgspec.Struct, frozen=True):
    """What is looked at together: a part of the body in the state or in the action."""

    name: str
    column: str
    traces: list[Trace]


def _count(value: int | list[int]) -> int:
    return value if isinstance(value, int) else len(value)


def episode_of(data: Any) -> Episode:
    """The answer of `data.show`. Raises DmG1Error where it makes no sense."""
    try:
        found = msgspec.convert(data, Episode)
    except msgspec.ValidationError as error:
        raise DmG1Error(
            f"the answer makes no sense: {error}", fix="dm-g1 remote sync brings that host up to date"
        ) from None
    for column in found.columns:
        if len(column.names) != len(column.values) or any(len(each) != len(column.times) for each in column.values):
            raise DmG1Error(
                f"the answer makes no sense: {column.column} has values of another number than names or times"
            )
    for camera in found.cameras:
        if camera.problem is None and len(camera.rgb) != camera.width * camera.height * 3:
            raise DmG1Error(f"the answer makes no sense: the picture of {camera.name} is not whole")
    return found


def parts(episode: Episode) -> list[Part]:
    """State and action by part of the body, in the order of the columns; at most LINES lines each."""
    found: dict[tuple[str, str], list[Trace]] = {}
    for column in episode.columns:
        side = "action" if column.column.startswith("action") else "state"
        for name, values in zip(column.names, column.values, strict=True):
            found.setdefault((part_of(name, column.column), side), []).append(Trace(name, column.times, values))
    out = []
    for (part, side), traces in found.items():
        pieces = -(-len(traces) // LINES)
        size = -(-len(traces) // pieces)
        for index in range(pieces):
            number = f" {index + 1}/{pieces}" if pieces > 1 else ""
            out.append(Part(f"{part}{number}", side, traces[index * size : (index + 1) * size]))
    return out


_PARTS = {joint.name: part.replace("_", " ") for part, joints in BODY_PARTS.items() for joint in joints}


def part_of(name: str, column: str) -> str:
    """ "kLeftElbow" -> "left arm"; what is none of the body's joints belongs to its side's hand, or to its column."""
    known = canonical(name) or ""
    if known in _PARTS:
        return _PARTS[known]
    lower = name.lower()
    if known or any(word in lower for word in ("hand", "gripper", "thumb", "finger", "l_", "r_")):
        for side, letter in (("left", "l_"), ("right", "r_")):
            if side in (known or lower) or lower.startswith(letter):
                return f"{side} hand"
    return column.rpartition(".")[2] or column
