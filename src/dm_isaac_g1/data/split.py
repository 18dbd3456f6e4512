"""Splitting parquet files that many episodes share into one a episode, by the episode_index column alone.

Whatever info.json or v3.0's data/file_index say of files, every row goes to the episode whose number it has; videos of
v3.0 are cut with it. The output is LeRobot v2.1, and nothing of the numbers changes.
"""

from __future__ import annotations

from pathlib import Path

from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.info import data_file
from dm_isaac_g1.data.problems import DataProblem, SchemaError
from dm_isaac_g1.data.versions.result import VersionResult
from dm_isaac_g1.data.work import Work


def split(path: Path | str, output: Path | str, work: Work | None = None) -> VersionResult:
    """Write the dataset in `path` into the folder `output`, a parquet file for each episode.

    Raises DataProblem: SchemaError, DataError, IntegrityError for an input that is broken or split already,
    RefusedOutput, "disk-full"; Interrupted. What is finished is kept, and the same call goes on with it.
    """
    from dm_isaac_g1.data.versions.v21 import rewrite

    work = work or Work()
    dataset = Dataset.open(path, work)
    dataset.locate_all()
    _refuse_split(dataset)
    _refuse_shared_videos(dataset)
    return rewrite(dataset, Path(output), op="split", work=work)


def _refuse_split(dataset: Dataset) -> None:
    if dataset.info.shares_files:
        return
    if all(episode.file == data_file(dataset.info, episode.index) for episode in dataset.episodes):
        raise DataProblem("already-split", "every episode has a file of its own already", dataset=str(dataset.root))


def _refuse_shared_videos(dataset: Dataset) -> None:
    """Of v2.x: only v3.0 says where in a video an episode is."""
    for key in dataset.cameras if dataset.version != "3.0" else ():
        files = {episode.videos[key].file for episode in dataset.episodes}
        if len(files) < len(dataset.episodes):
            what = "its episodes share a video, and nothing says where in it each of them is"
            raise SchemaError("shared-video", what, file=min(files), joint=key, dataset=str(dataset.root))
