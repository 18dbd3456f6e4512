"""After some episodes of a v2.x dataset were downloaded: meta files that list these and no others.

Otherwise the rest would look lost. Numbers of episodes stay as they are. Of a v3.0 dataset whole files come, with the
episodes around the wanted ones in them, so its meta files stay.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from dm_isaac_g1.data.episodes import EPISODES, read_episodes
from dm_isaac_g1.data.hub.selection import Selection
from dm_isaac_g1.data.info import INFO, read_info
from dm_isaac_g1.data.jsonfiles import read_jsonl
from dm_isaac_g1.data.writing import write_json, write_jsonl

_STATS = "meta/stats.json"
#: Files with a line an episode.
_BY_EPISODE = (EPISODES, "meta/episodes_stats.jsonl")


def trim(root: Path, selection: Selection) -> tuple[str, ...]:
    """The meta files that were changed, or taken away since they spoke of all episodes. Raises DataProblem."""
    info = read_info(root)
    episodes = read_episodes(root, info)
    kept = [episode for episode in episodes if selection.has(episode.index)]
    if info.version == "3.0" or len(kept) == len(episodes):
        return ()
    changed = []
    for name in _BY_EPISODE:
        if (root / name).is_file():
            rows = [row for _, row in read_jsonl(root, name) if selection.has(_number(row))]
            write_jsonl(root / name, rows)
            changed.append(name)
    raw: dict[str, Any] = info.raw | {
        "total_episodes": len(kept),
        "total_frames": sum(episode.length for episode in kept),
        "splits": {"train": f"{kept[0].index}:{kept[-1].index + 1}"},
    }
    if "total_videos" in raw:
        raw["total_videos"] = len(kept) * len(info.cameras)
    if "total_chunks" in raw:
        raw["total_chunks"] = len({episode.index // info.chunks_size for episode in kept})
    write_json(root / INFO, raw)
    changed.append(INFO)
    for name in (_STATS, "meta/relative_stats.json"):
        with contextlib.suppress(FileNotFoundError):
            (root / name).unlink()
            changed.append(name)
    return tuple(changed)


def _number(row: Any) -> int:
    number = row.get("episode_index") if isinstance(row, dict) else None
    return number if isinstance(number, int) else -1
