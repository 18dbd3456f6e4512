"""What a change of versions did."""

from __future__ import annotations

from pathlib import Path

import msgspec

from dm_isaac_g1.data.info import Version
from dm_isaac_g1.data.problems import Finding


class VersionResult(msgspec.Struct, frozen=True, kw_only=True):
    """The new dataset. `videos`: how many were linked, reflinked, copied, remuxed, joined, encoded."""

    path: Path
    version: Version
    episodes: int
    frames: int
    videos: dict[str, int]
    findings: tuple[Finding, ...]
