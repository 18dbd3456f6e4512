"""A dataset as the console and the command line show it: a line of what lies in a host's folder, and all of one."""

from __future__ import annotations

from typing import Literal

import msgspec

#: `partial`: being written, or left behind half-written. `unknown`: not validated since its files changed.
Validity = Literal["valid", "invalid", "partial", "unknown"]


class DatasetSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One dataset of a host. None: its meta files do not say."""

    host: str
    #: Relative to the host's datasets folder; the same name as commands on that host take.
    name: str
    path: str
    bytes: int = 0
    files: int = 0
    #: Seconds since the epoch of the newest file in meta/.
    modified: float = 0.0
    #: LeRobot's: "2.0", "2.1" or "3.0".
    version: str | None = None
    #: By the names of its features: "hospitality", "dex3", "groot-31-23", ... ; "unknown".
    family: str = "unknown"
    robot: str | None = None
    episodes: int | None = None
    frames: int | None = None
    fps: float | None = None
    cameras: tuple[str, ...] = ()
    #: GR00T reads it: meta/modality.json is there.
    modality: bool = False
    #: meta/stats.json is there, and newer than the data.
    stats: bool = False
    validity: Validity = "unknown"
    #: Of the last validation.
    errors: int | None = None
    warnings: int | None = None
    #: Why it is invalid or cannot be read, on one line.
    problem: str | None = None
    #: Hub id and revision it was downloaded from.
    source: str | None = None
    #: Of a partial one: what is being made, how many are finished ("episodes" or "bytes"), and of how many.
    making: str | None = None
    done: int | None = None
    of: int | None = None
    unit: str = "episodes"
    #: Seconds since the epoch of the newest file of all.
    changed: float = 0.0

    @property
    def seconds(self) -> float | None:
        """How long all its episodes are together."""
        return self.frames / self.fps if self.frames is not None and self.fps else None


class JointRange(msgspec.Struct, frozen=True, kw_only=True):
    """What a value of a column was seen to be, over all frames. `limits`: the joint's own, where they are known."""

    column: str
    name: str
    low: float
    high: float
    limits: tuple[float, float] | None = None


class DatasetFinding(msgspec.Struct, frozen=True, kw_only=True):
    """What a validation found, as it was written down."""

    severity: Literal["error", "warning", "note"]
    what: str
    place: str = ""
    fix: str = ""


class DatasetDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One dataset from near: what its meta files say of it."""

    host: str
    path: str
    #: The first so many, and how many there are in all.
    tasks: tuple[str, ...] = ()
    total_tasks: int | None = None
    #: "cam_left_high  480x640 av1".
    cameras: tuple[str, ...] = ()
    #: Columns and their widths, cameras left out.
    columns: tuple[tuple[str, int], ...] = ()
    ranges: tuple[JointRange, ...] = ()
    findings: tuple[DatasetFinding, ...] = ()
    #: When it was validated, and whether every row was looked at.
    validated: float | None = None
    deep: bool = False
    #: How it was converted, a line each.
    conversion: tuple[str, ...] = ()
    source: str | None = None
    revision: str | None = None
    #: What of all this could not be read.
    problems: tuple[str, ...] = ()
