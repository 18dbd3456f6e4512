"""What all checks look at: the dataset's meta files, its list of files, and which episodes are to be found where.

Unlike `Dataset.open`, it does not give up at the first fault: where the list of episodes is missing or broken, the
files themselves say which episodes there are, so that one validation tells everything that is wrong.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.episodes import TASKS_V3, Clip, Episode, read_episodes, read_tasks
from dm_isaac_g1.data.families import Family, family_of
from dm_isaac_g1.data.info import Info, data_file, data_file_v3, read_info, video_file, video_file_v3
from dm_isaac_g1.data.problems import DataProblem
from dm_isaac_g1.data.validate.codes import Findings
from dm_isaac_g1.data.validate.result import Gathered
from dm_isaac_g1.data.work import Work

_NUMBER = re.compile(r"episode[_-](\d{1,15})\.parquet")


class Subject:
    """A dataset under validation. `listed`: its list of episodes was readable. Raises DataProblem without info.json."""

    def __init__(self, root: Path, *, deep: bool, work: Work) -> None:
        self.root = root
        self.deep = deep
        self.work = work
        self.finding = Findings(root)
        self.gathered = Gathered()
        self.info: Info = read_info(root)
        self.family: Family = family_of(self.info.features)
        #: Relative path -> bytes, of all files but those in hidden folders (.cache, .git).
        self.files: dict[str, int] = dict(_files(root))
        self.tasks: dict[int, str] | None = self._tasks()
        self.listed = True
        self.episodes: list[Episode] = self._episodes()
        #: Episode -> rows that were found of it; filled by the checks of rows.
        self.lengths: dict[int, int] = {}
        self.videos = 0

    @property
    def shared(self) -> bool:
        """Many episodes stand in one parquet file."""
        return self.info.shares_files

    def path_of(self, file: str) -> Path:
        """Raises SchemaError where the file, or a link on the way, leads out of the dataset."""
        return self._dataset.path_of(file)

    def _tasks(self) -> dict[int, str] | None:
        try:
            return read_tasks(self.root, self.info)
        except DataProblem as problem:
            found = self.finding.of(problem)
            if found.code == "file-missing":  # only v3.0's is called so
                found = self.finding("no-tasks-parquet", found.what, file=TASKS_V3)
            self.gathered.add([found])
            return None

    def _episodes(self) -> list[Episode]:
        #: Only for `path_of`.
        self._dataset = Dataset(self.root, self.info, [], {}, self.work)
        try:
            return read_episodes(self.root, self.info)
        except DataProblem as problem:
            self.gathered.add([self.finding.of(problem)])
        self.listed = False
        return [] if self.shared else sorted(self._by_name(), key=lambda episode: episode.index)

    def _by_name(self) -> Iterator[Episode]:
        """Episodes of v2.x by their files' names; their lengths are not known."""
        for file in self.files:
            match = _NUMBER.fullmatch(file.rpartition("/")[2])
            if match is None:
                continue
            index = int(match[1])
            try:
                if data_file(self.info, index) == file:
                    videos = {key: Clip(video_file(self.info, key, index)) for key in self.info.cameras}
                    yield Episode(index=index, length=0, tasks=(), file=file, start=0, videos=videos)
            except DataProblem:
                return  # said where info.json is checked


def _files(root: Path) -> Iterator[tuple[str, int]]:
    """Links to folders are not entered; a link to a file counts with its target's size, 0 where it is broken."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            path = Path(folder, name)
            try:
                size = path.stat().st_size
            except OSError:
                size = 0
            yield path.relative_to(root).as_posix(), size


def broken_templates(info: Info) -> Iterator[DataProblem]:
    """What is wrong with data_path and video_path, found with an episode's number."""
    try:
        _ = data_file_v3(info, 0, 0) if info.version == "3.0" else data_file(info, 0)
    except DataProblem as problem:
        yield problem
    for key in info.cameras:
        try:
            _ = video_file_v3(info, key, 0, 0) if info.version == "3.0" else video_file(info, key, 0)
        except DataProblem as problem:
            yield problem
            return
