"""Videos of v2.x in folders of another name than observation.images.<key>, or outside the chunks: which are whose.

Recorders and conversions of all kinds leave them as videos/chunk-000/cam_high, videos/observation.images.cam_high or
videos/cam_high. A folder is told by its name without `observation.images.`; one that could be two cameras' is nobody's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import msgspec

from dm_isaac_g1.data.episodes import Episode
from dm_isaac_g1.data.info import Info

_VIDEO = re.compile(r"episode[_-](\d{1,15})\.mp4")
_CHUNK = re.compile(r"chunk[-_]?\d+")
_PREFIX = re.compile(r"^(observation[._-])?(images?|videos?)[._-]")


class Move(msgspec.Struct, frozen=True):
    """A video from where it lies to where info.json says; both relative to the dataset."""

    source: str
    target: str


def misplaced(info: Info, episodes: Sequence[Episode], files: Collection[str]) -> list[Move]:
    """A move for every video that is missing at its place and there under another folder. Empty for v3.0."""
    if info.version == "3.0":
        return []
    wanted = {(key, episode.index): clip.file for episode in episodes for key, clip in episode.videos.items()}
    expected = set(wanted.values())
    shorts = {_short(key): key for key in info.cameras}
    if len(shorts) != len(info.cameras):
        return []
    found: dict[str, list[str]] = {}
    for file in sorted(files):
        if not file.startswith("videos/") or file in expected:
            continue
        *folders, name = file.split("/")[1:]
        match = _VIDEO.fullmatch(name)
        named = [folder for folder in folders if not _CHUNK.fullmatch(folder)]
        if match is None or len(named) > 1:
            continue
        key = shorts.get(_short(named[0])) if named else info.cameras[0] if len(info.cameras) == 1 else None
        target = wanted.get((key, int(match[1]))) if key else None
        if target is not None and target not in files:
            found.setdefault(target, []).append(file)
    return [Move(sources[0], target) for target, sources in found.items() if len(sources) == 1]


def _short(key: str) -> str:
    """observation.images.cam_high -> cam_high."""
    return _PREFIX.sub("", key)
