"""To LeRobot v2.1: a parquet and a video a camera for every episode, whatever files they shared before.

Rows are found by the episode_index column: v3.0's data/file_index is wrong where lerobot 0.4.0-0.4.4 wrote it
(huggingface/lerobot#2401), and comes out right. Videos are cut out at their key frames, or linked where a file is all
one episode's. What is written of an episode depends on nothing but that episode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from dm_isaac_g1.data.carry import Note
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.info import CHUNKS_SIZE, DATA_V2, VIDEO_V2, Info
from dm_isaac_g1.data.output import Output, fingerprint
from dm_isaac_g1.data.problems import DataProblem, Finding, Place
from dm_isaac_g1.data.storing import Stored, bytes_needed, counted, recompute_stats, splits_of, store
from dm_isaac_g1.data.versions.kept import picture_statistics, place_others, write_origin
from dm_isaac_g1.data.versions.result import VersionResult
from dm_isaac_g1.data.versions.rows import Notes, read_rows, refuse_gaps
from dm_isaac_g1.data.work import Work
from dm_isaac_g1.data.writing import episode_row, stats_row, write_meta

#: Keys of info.json that only v3.0 has.
_V30_ONLY = ("data_files_size_in_mb", "video_files_size_in_mb")


def to_v21(dataset_path: Path | str, output: Path | str, work: Work | None = None) -> VersionResult:
    """Write the dataset in `dataset_path`, of any version, as v2.1 into the folder `output`.

    Numbers, texts and pictures stay as they are. Resumable: see `Output`. Raises DataProblem, Interrupted, OSError.
    """
    work = work or Work()
    return rewrite(Dataset.open(dataset_path, work), Path(output), op="to-v2.1", work=work)


def rewrite(dataset: Dataset, output: Path, *, op: str, work: Work) -> VersionResult:
    """The same of an open dataset, by the name of operation `op`: another one's .partial is not taken up."""
    return _ToV21(dataset, work).run(output, op)


def info_v21(dataset: Dataset) -> dict[str, Any]:
    """info.json of v2.1 from that of any version: what stood there, but for what lies elsewhere now."""
    info, episodes = dataset.info, len(dataset.episodes)
    known = {
        "codebase_version": "v2.1",
        "robot_type": info.raw.get("robot_type"),
        "total_episodes": episodes,
        "total_frames": dataset.frames,
        "total_tasks": len(dataset.tasks),
        "total_videos": episodes * len(info.cameras),
        "total_chunks": -(-episodes // CHUNKS_SIZE),
        "chunks_size": CHUNKS_SIZE,
        "fps": int(info.fps) if info.fps.is_integer() else info.fps,
        "splits": splits_of(info, episodes),
        "data_path": DATA_V2,
        "video_path": VIDEO_V2 if info.cameras else None,
        "features": {key: _feature_v21(feature.raw, info) for key, feature in info.features.items()},
    }
    return known | {key: value for key, value in info.raw.items() if key not in known and key not in _V30_ONLY}


def _feature_v21(raw: Mapping[str, Any], info: Info) -> dict[str, Any]:
    """Without v3.0's fps of a column, which says no more than the dataset's."""
    return {key: value for key, value in raw.items() if not (info.version == "3.0" and key == "fps")}


def write_episode(dataset: Dataset, number: int, root: Path, pictures: Mapping[str, Any], note: Note) -> Stored:
    """One episode's files below `root`, the same bytes whenever and wherever it is called.

    `pictures`: camera -> statistics of its frames. Raises DataProblem, OSError.
    """
    columns = read_rows(dataset, number, note)
    episode = dataset.episode(number)
    try:
        stored = store(
            root,
            number,
            columns,
            {column: dataset.info.features[column].raw for column in columns},
            tasks=dataset.tasks,
            dataset=dataset,
            videos=episode.videos,
            pictures=pictures,
        )
    except DataProblem as problem:
        raise problem.within(dataset.root, number) from None
    for (camera, clip), how in zip(episode.videos.items(), stored.videos, strict=True):
        if how == "encoded":
            what = f"{camera} was encoded again: its file has no key frame where the episode starts"
            place = Place(clip.file, number, joint=camera)
            note(Finding(code="encoded-again", severity="warning", what=what, place=place))
    return stored


class _ToV21:
    def __init__(self, dataset: Dataset, work: Work) -> None:
        self.dataset = dataset
        self.work = work
        self.note = Notes(work)
        self.dataset.refuse_unlisted()
        refuse_gaps(self.dataset)

    def run(self, final: Path, op: str) -> VersionResult:
        dataset = self.dataset
        recipe = {"op": op, "source": str(dataset.root.resolve()), "fingerprint": fingerprint(dataset.root)}
        with Output(
            final,
            recipe,
            needs=bytes_needed(dataset, dataset.episodes, final),
            what=f"{final.name} (LeRobot v2.1)",
            sources=[dataset.root],
            total=len(dataset.episodes),
        ) as output:
            stored = list(self._stored(output))
            self._write_meta(output.partial, stored)
            path = output.finish()
        return VersionResult(
            path=path,
            version="2.1",
            episodes=len(dataset.episodes),
            frames=dataset.frames,
            videos=counted(stored),
            findings=(*dataset.findings, *self.note.findings),
        )

    def _stored(self, output: Output) -> Iterator[Stored]:
        pictures = picture_statistics(self.dataset)
        total = len(self.dataset.episodes)
        for number in range(total):
            self.work.progress(f"episode {number}", number, total, "episodes")
            record = output.finished(number)
            if record is None:
                stored = write_episode(self.dataset, number, output.partial, pictures.get(number, {}), self.note)
                output.mark(number, msgspec.to_builtins(stored))
            else:
                stored = msgspec.convert(record, Stored)
            yield stored
        self.work.progress("all episodes", total, total, "episodes")

    def _write_meta(self, root: Path, stored: list[Stored]) -> None:
        dataset = self.dataset
        place_others(dataset, root)
        write_origin(dataset, root, "2.1", counted(stored))
        write_meta(
            root,
            info=info_v21(dataset),
            episodes=(episode_row(each.index, each.tasks, each.length) for each in dataset.episodes),
            tasks=dataset.tasks,
            stats=(stats_row(number, episode.stats) for number, episode in enumerate(stored)),
        )
        recompute_stats([dataset], root, self.work)
