"""Storing episodes as LeRobot v2.x lays them out, into a dataset that is being written: rows, videos, statistics, meta.

What `split` and `combine` have in common. An episode is stored whole and then marked, so that the next try keeps it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dm_isaac_g1.core.robot import ACTION_HORIZON
from dm_isaac_g1.data.carry import place_clip
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.episodes import Clip, Episode
from dm_isaac_g1.data.info import CHUNKS_SIZE, DATA_V2, VIDEO_V2, Info, inside
from dm_isaac_g1.data.stats import sidecar
from dm_isaac_g1.data.stats.episode import episodes_stats_row
from dm_isaac_g1.data.work import Work
from dm_isaac_g1.data.writing import episode_row, stats_row, write_meta, write_parquet

STATS = "meta/stats.json"

#: What a list of videos or a page of parquet costs beyond its values.
_OVERHEAD = 1.05


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an episode that was stored: what its meta files will say."""

    length: int
    tasks: list[str]
    stats: dict[str, Any]
    #: How each video was placed.
    videos: list[str]


def store(
    root: Path,
    number: int,
    columns: Mapping[str, Any],
    features: Mapping[str, Mapping[str, Any]],
    *,
    tasks: Mapping[int, str],
    dataset: Dataset,
    videos: Mapping[str, Clip],
    pictures: Mapping[str, Any],
) -> Stored:
    """Write episode `number` below `root`: `columns` as its parquet file, the clips in `videos` from `dataset` placed.

    `tasks`: of the new dataset. `pictures`: camera -> statistics that are known of its frames. Raises DataProblem,
    OSError.
    """
    chunk = number // CHUNKS_SIZE
    path = root / DATA_V2.format(episode_chunk=chunk, episode_index=number)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parquet(path, columns, features)
    length = len(columns["index"])
    placed: list[str] = []
    for key, clip in videos.items():
        file = VIDEO_V2.format(episode_chunk=chunk, video_key=key, episode_index=number)
        target = root / inside(file, what=f"camera {key!r}")
        placed.append(place_clip(dataset, clip, target, frames=length))
    numeric = {name: values for name, values in columns.items() if isinstance(values, np.ndarray)}
    return Stored(
        length=length,
        tasks=[tasks[int(index)] for index in _in_order(columns["task_index"])],
        stats=episodes_stats_row(numeric) | dict(pictures),
        videos=placed,
    )


def _in_order(values: Any) -> Any:
    """Different values in the order in which they come."""
    if (values == values[0]).all():  # the rule, and ten times faster to see
        return values[:1]
    found, first = np.unique(values, return_index=True)
    return found[np.argsort(first)]


def finish_meta(
    root: Path, info: Mapping[str, Any], stored: Iterable[Stored], tasks: Mapping[int, str], *, stats: bool
) -> None:
    """The meta files of episodes numbered from 0. `stats`: episodes_stats.jsonl, too (v2.1). Raises OSError."""
    episodes = list(stored)
    write_meta(
        root,
        info=info,
        episodes=(episode_row(number, episode.tasks, episode.length) for number, episode in enumerate(episodes)),
        tasks=tasks,
        stats=(stats_row(number, episode.stats) for number, episode in enumerate(episodes)) if stats else None,
    )


def splits_of(info: Info, episodes: int) -> dict[str, str]:
    """The dataset's splits ("0:160", "160:200") where they end with its last episode; else all of them for training."""
    ends = [text.rpartition(":")[2] for text in info.splits.values()]
    whole = str(episodes) in ends and all(end.isdecimal() and int(end) <= episodes for end in ends)
    return info.splits if whole else {"train": f"0:{episodes}"}


def counted(stored: Iterable[Stored]) -> dict[str, int]:
    """How many videos were linked, copied, ..."""
    return dict(Counter(how for episode in stored for how in episode.videos))


def recompute_stats(sources: Sequence[Dataset], root: Path, work: Work) -> None:
    """stats.json and relative_stats.json of `root` where one of the sources has them: of the data that is there now,
    never carried over (they may have been stale). The horizon is the sources'.
    """
    if not any((dataset.root / STATS).is_file() for dataset in sources):
        return
    from dm_isaac_g1.data.stats.compute import compute_stats

    horizons = {sidecar.section(dataset.root, "relative").get("horizon") for dataset in sources} - {None}
    horizon = horizons.pop() if len(horizons) == 1 else ACTION_HORIZON
    compute_stats(root, horizon=horizon if isinstance(horizon, int) else ACTION_HORIZON, work=work)


def bytes_needed(dataset: Dataset, episodes: Iterable[Episode], output: Path) -> int:
    """What storing these episodes takes: their rows uncompressed, and videos that cannot be linked."""
    chosen = list(episodes)
    features = [dataset.info.features[column] for column in dataset.info.columns]
    row = sum(f.width * (np.dtype(f.dtype).itemsize if f.is_numeric else 64) for f in features)
    clips = (clip for episode in chosen for clip in episode.videos.values())
    return rows_needed(sum(episode.length for episode in chosen), row) + videos_needed(dataset, clips, output)


def rows_needed(frames: int, row: int) -> int:
    """Bytes of `frames` rows of `row` bytes in parquet files, uncompressed, with their meta files."""
    return int(frames * row * _OVERHEAD) + (1 << 20)


def videos_needed(dataset: Dataset, clips: Iterable[Clip], output: Path) -> int:
    """Bytes of videos that cannot be linked: shared ones are cut, on another disk they are copied."""
    if dataset.version != "3.0" and _same_disk(dataset.root, output):
        return 0
    files = {clip.file for clip in clips}
    return sum(path.stat().st_size for file in files if (path := dataset.path_of(file)).is_file())


def _same_disk(source: Path, output: Path) -> bool:
    there = output.absolute()
    while not there.exists():
        there = there.parent
    return source.stat().st_dev == there.stat().st_dev
