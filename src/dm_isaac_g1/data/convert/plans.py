"""What a conversion will do, as values: made by `planning`, carried out by `episode`, told by `record`.

A plan holds no open file and nothing of this process: it can be pickled, and any process anywhere makes the
same episodes of it.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from dm_isaac_g1.core.hands import Side
from dm_isaac_g1.core.units import many, size
from dm_isaac_g1.data.convert.handmaps import HandOptions
from dm_isaac_g1.data.episodes import Episode
from dm_isaac_g1.data.families import FamilyName, Hand
from dm_isaac_g1.data.problems import Finding

LayoutFormat = Literal["groot", "inspire"]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the user chose. `hand`: of the source, where names do not tell; `ego_camera`: short or full key.

    `body`: the pose of legs and waist where the source has no record of them. `allow_clip`: go on however many values
    are clipped.
    """

    hand: Hand | None = None
    ego_camera: str | None = None
    keep_cameras: bool = False
    body: Literal["standing", "straight"] = "standing"
    hands: HandOptions = HandOptions()
    drop_episodes: tuple[int, ...] = ()
    renumber: bool = False
    retime: bool = False
    allow_clip: bool = False


# --- Where the values of a vector come from ---------------------------------------------------------------------------


class Take(msgspec.Struct, frozen=True, tag="take"):
    """Values of a column, as they are. `start`: the first of their places in the target."""

    start: int
    column: str
    places: tuple[int, ...]


class Hands(msgspec.Struct, frozen=True, tag="hand"):
    """A hand's values in a column, mapped to 12 angles from `start` on."""

    start: int
    column: str
    places: tuple[int, ...]
    hand: Hand
    side: Side


class Constant(msgspec.Struct, frozen=True, tag="constant"):
    """Angles that the source does not record, the same in every frame."""

    start: int
    values: tuple[float, ...]


Piece = Take | Hands | Constant


class Vector(msgspec.Struct, frozen=True):
    """A column of the target, float32: the name of each place, and the pieces that fill all of them."""

    column: str
    names: tuple[str, ...]
    pieces: tuple[Piece, ...]

    @property
    def feature(self) -> dict[str, Any]:
        return {"dtype": "float32", "shape": [len(self.names)], "names": list(self.names)}


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a group of the target comes from, for people: a line of conversion.json.

    `how`: "taken", "mapped" (a hand), "observed" (an action of which the source only records the state) or "constant".
    """

    vector: str
    group: str
    how: Literal["taken", "mapped", "observed", "constant"]
    source: str
    names: tuple[str, ...] = ()
    note: str | None = None


# --- The whole --------------------------------------------------------------------------------------------------------


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """An episode to make: `source` as the source lists it, its new number, the global index of its first frame.

    `pictures`: new camera key -> what is known of its frames.
    """

    source: Episode
    index: int
    start: int
    pictures: dict[str, Any] = {}


class ConversionPlan(msgspec.Struct, frozen=True, kw_only=True):
    """All that a conversion needs to know. `root`: the source's folder; `fingerprint`: of its files as they are planned
    for. `columns`: what is read of it, column -> a name for every value. `cameras`: (source key, new key).
    """

    format: LayoutFormat
    mapping: str
    root: str
    fingerprint: str
    family: FamilyName
    hand: Hand
    options: Options
    fps: float
    robot_type: str
    columns: dict[str, tuple[str, ...]]
    vectors: tuple[Vector, ...]
    origins: tuple[Origin, ...]
    cameras: tuple[tuple[str, str], ...]
    #: Features of the target as in info.json, the default columns' and the cameras' among them.
    features: dict[str, dict[str, Any]]
    tasks: dict[int, str]
    targets: tuple[Target, ...]
    #: What the user should know before it begins.
    findings: tuple[Finding, ...]
    #: Bytes that its rows will take; videos are linked where they can be.
    needs: int

    @property
    def frames(self) -> int:
        return sum(target.source.length for target in self.targets)

    @property
    def parameters(self) -> dict[str, Any]:
        """The options that change what is written, in JSON."""
        found: dict[str, Any] = msgspec.to_builtins(self.options)
        del found["allow_clip"]
        return {**found, **found.pop("hands")}

    def lines(self) -> list[str]:
        """What will be done, for a dry run."""
        much = f"{many(len(self.targets), 'episode')}, {many(self.frames, 'frame')}, about {size(self.needs)}"
        told = [f"{self.mapping}: {much}"]
        for vector in self.vectors:
            told.append(f"{vector.column}: {len(vector.names)} values")
            for origin in self.origins:
                if origin.vector == vector.column:
                    told.append(f"  {origin.group}: {origin.how} from {origin.source}")
        told += [f"{new}: linked from {old}" for old, new in self.cameras]
        return told + [f"{finding.severity}: {finding.what}" for finding in self.findings]


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an episode that was made.

    `clipped`: "column:joint" -> frames beyond the range that it has; only where there are some. `ranges`: lowest and
    highest raw value of each gripper.
    """

    length: int
    tasks: list[str]
    stats: dict[str, Any]
    videos: list[str]
    clipped: dict[str, int] = {}
    ranges: dict[str, tuple[float, float]] = {}
    #: Columns that were doubles and are floats now.
    cast: tuple[str, ...] = ()


class ConversionResult(msgspec.Struct, frozen=True, kw_only=True):
    """The new dataset. `kept`: episodes that an earlier try had finished; `clipped`: share of a joint's values."""

    path: str
    episodes: int
    frames: int
    kept: int
    clipped: dict[str, float]
    findings: tuple[Finding, ...]
