"""The plan of a conversion, as values: where every value of the target vectors comes from. Frozen and picklable.

Made by `planning`, carried out by `episode`; any process that has it makes the same episodes of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from dm_isaac_g1.core.hands import SIDES, Side
from dm_isaac_g1.data.convert.handmaps import HandOptions
from dm_isaac_g1.data.episodes import Episode
from dm_isaac_g1.data.families import Hand
from dm_isaac_g1.data.info import ACTION, DEFAULT_COLUMNS, STATE
from dm_isaac_g1.data.problems import Finding

Format = Literal["groot", "inspire"]
#: Name and version of each mapping: other numbers from the same input need another version.
MAPPING: dict[Format, tuple[str, int]] = {"groot": ("unitree_g1-31-23", 1), "inspire": ("g1-inspire-53", 1)}
#: GR00T's UNITREE_G1 names of the hands, beside our own for Inspire's: the same values under both.
_HAND_NAMES = {f"{side}_inspire_hand": f"{side}_hand" for side in SIDES}
TASK = {"human.task_description": {"original_key": "task_index"}}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the user may choose. See the parameters of `dm-g1 data convert`."""

    hand: Hand | None = None
    ego_camera: str | None = None
    keep_cameras: bool = False
    body: str = "standing"
    grasp: Literal["pinch", "power"] = "pinch"
    gripper_open: float = HandOptions().gripper_open
    gripper_closed: float = HandOptions().gripper_closed
    free_fingers: Literal["follow", "open"] = "follow"
    drop_episodes: tuple[int, ...] = ()
    renumber: bool = False
    retime: bool = False


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """Values `start` to `end` of a target vector: `places` of `column`, through a hand's map, or constants."""

    group: str
    start: int
    end: int
    column: str | None = None
    places: tuple[int, ...] = ()
    hand: Hand | None = None
    side: Side | None = None
    constants: tuple[float, ...] = ()
    #: Of an action: the state's values, as the source has no command for it.
    observed: bool = False


class Target(msgspec.Struct, frozen=True):
    """A column of the output: what stands in it, in order, and where it comes from."""

    column: str
    names: tuple[str, ...]
    pieces: tuple[Piece, ...]


class Job(msgspec.Struct, frozen=True):
    """One episode to convert: the source's, its number in the output, and its first frame's global index there."""

    episode: Episode
    number: int
    start: int


class ConversionPlan(msgspec.Struct, frozen=True, kw_only=True):
    """All that the conversion of an episode depends on, beside the files of the source."""

    root: Path
    fingerprint: str
    format: Format
    hand: Hand
    hands: HandOptions
    targets: tuple[Target, ...]
    features: dict[str, dict[str, Any]]
    #: Target camera -> source camera.
    cameras: dict[str, str]
    jobs: tuple[Job, ...]
    tasks: dict[int, str]
    retime: bool
    renumber: bool
    findings: tuple[Finding, ...]
    left_out: tuple[str, ...]
    dropped: tuple[int, ...]
    parameters: dict[str, Any]

    @property
    def columns(self) -> tuple[str, ...]:
        """What is read of the source. Its `index` is not: it is counted anew."""
        wanted = [piece.column for target in self.targets for piece in target.pieces if piece.column is not None]
        return (*dict.fromkeys(wanted), *(column for column in DEFAULT_COLUMNS if column != "index"))

    @property
    def frames(self) -> int:
        return sum(job.episode.length for job in self.jobs)

    def modality(self) -> dict[str, Any]:
        """meta/modality.json as GR00T N1.6 reads it. The language is the task, row by row."""
        groups: dict[str, dict[str, Any]] = {STATE: {}, ACTION: {}}
        for target in self.targets:
            own = {} if target.column in groups else {"original_key": target.column}
            kind = groups[STATE if target.column == STATE else ACTION]
            for piece in target.pieces:
                for name in filter(None, (piece.group, _HAND_NAMES.get(piece.group))):
                    kind[name] = {"start": piece.start, "end": piece.end, **own}
        video = {camera.rpartition(".")[2]: {"original_key": camera} for camera in self.cameras}
        return {"state": groups[STATE], "action": groups[ACTION], "video": video, "annotation": TASK}

    def lines(self) -> tuple[str, ...]:
        """What will be done, for people."""
        return tuple(_lines(self))


def _lines(plan: ConversionPlan) -> Iterator[str]:
    name, version = MAPPING[plan.format]
    yield f"{plan.root.name} becomes {name} (mapping version {version}), LeRobot v2.1"
    yield f"{len(plan.jobs)} episodes, {plan.frames:,} frames"
    for target in plan.targets:
        for piece in target.pieces:
            yield f"{target.column}[{piece.start}:{piece.end}] {piece.group}: {origin(piece, plan.hand)}"
    for camera, source in plan.cameras.items():
        yield f"{camera}: {'linked' if source == camera else f'linked from {source}'}"
    if plan.left_out:
        yield f"left out: {', '.join(plan.left_out)}"
    yield from (f"{finding.severity}: {finding.what}" for finding in plan.findings)


def origin(piece: Piece, hand: Hand) -> str:
    """Where a piece comes from, in words."""
    if piece.constants:
        return "constant: not recorded in the source"
    if piece.hand is not None:
        return f"{piece.column}, a {hand} hand as Inspire joints"
    return f"{piece.column}{', as observed: not commanded in the source' if piece.observed else ''}"


def describe(plan: ConversionPlan) -> Mapping[str, Any]:
    """The columns as conversion.json has them: group -> source column and the places in it, or the constants."""
    return {
        target.column: {
            piece.group: {"constant": "not recorded in the source", "values": list(piece.constants)}
            if piece.constants
            else {
                "from": piece.column,
                "places": list(piece.places),
                **({"hand": piece.hand} if piece.hand else {}),
                **({"observed": "not commanded in the source"} if piece.observed else {}),
            }
            for piece in target.pieces
        }
        for target in plan.targets
    }
