"""A dataset as the console and the command line list it: what lies in a host's folder."""

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

    @property
    def seconds(self) -> float | None:
        """How long all its episodes are together."""
        return self.frames / self.fps if self.frames is not None and self.fps else None
