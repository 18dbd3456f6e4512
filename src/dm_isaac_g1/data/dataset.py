"""A LeRobot dataset in a folder: opened by its meta files alone, rows read when they are asked for.

dataset = Dataset.open(Path("G1_Fold_Towel"))
for episode in dataset.episodes:
    table = dataset.read(episode.index, ["observation.left_arm"])
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dm_isaac_g1.data import episodes as listing
from dm_isaac_g1.data.episodes import Episode, missing_episode
from dm_isaac_g1.data.families import Family, family_of
from dm_isaac_g1.data.info import Info, Version, inside, read_info
from dm_isaac_g1.data.problems import DataProblem, Finding, IntegrityError, Place, SchemaError
from dm_isaac_g1.data.work import Work

if TYPE_CHECKING:
    import pyarrow as pa

    from dm_isaac_g1.data.rows import RowFiles


class Dataset:
    """One dataset, read-only. Cheap to open in every process; not to be shared between threads.

    `findings`: what reading met that is wrong but could be put right, as v3.0's wrong data/file_index.
    """

    def __init__(self, root: Path, info: Info, episodes: list[Episode], tasks: dict[int, str], work: Work) -> None:
        self.root = root
        self.info = info
        self.episodes = episodes
        self.tasks = tasks
        self.findings: list[Finding] = []
        self._work = work
        self._positions = {episode.index: position for position, episode in enumerate(episodes)}

    @classmethod
    def open(cls, path: Path | str, work: Work | None = None) -> Dataset:
        """The dataset in `path`, by its meta files. `work`: is told what `findings` gathers.

        Raises DataProblem: SchemaError or IntegrityError, naming the dataset, file and line.
        """
        root = Path(path)
        try:
            info = read_info(root)
            return cls(root, info, listing.read_episodes(root, info), listing.read_tasks(root, info), work or Work())
        except DataProblem as problem:
            raise problem.within(root) from None

    @property
    def version(self) -> Version:
        return self.info.version

    @property
    def fps(self) -> float:
        return self.info.fps

    @property
    def cameras(self) -> tuple[str, ...]:
        """Full keys: observation.images.cam_left_high."""
        return self.info.cameras

    @property
    def frames(self) -> int:
        """Of all episodes together, as the list of episodes says."""
        return self.episodes[-1].start + self.episodes[-1].length

    @cached_property
    def family(self) -> Family:
        return family_of(self.info.features)

    def episode(self, number: int) -> Episode:
        """The episode of that number. Raises IntegrityError."""
        try:
            return self.episodes[self._positions[number]]
        except KeyError:
            what = f"no episode {number}, there are {len(self.episodes)} up to {self.episodes[-1].index}"
            raise IntegrityError("no-such-episode", what, dataset=str(self.root)) from None

    def path_of(self, relative: str) -> Path:
        """The file of that name in the dataset. Raises SchemaError where it, or a link on the way, leads out of it."""
        path = self.root / inside(relative, what="a file")
        if not path.resolve().is_relative_to(self.boundary):
            what = "is a link that leads out of the dataset"
            raise SchemaError("path-leaves-dataset", what, file=relative, dataset=str(self.root))
        return path

    @cached_property
    def boundary(self) -> Path:
        """What links may not leave: the dataset; for a snapshot in Hugging Face's cache the repository's blobs, too."""
        root = self.root.resolve()
        cached = root.parent.name == "snapshots" and root.parent.parent.name.startswith("datasets--")
        return root.parent.parent if cached else root

    def read(self, episode: int, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of an episode; all columns where None. For v3.0 by the episode_index column.

        Raises IntegrityError (missing, truncated, another length than listed) and SchemaError (missing column).
        """
        try:
            return self._files.read(self._located(episode), columns)
        except DataProblem as problem:
            raise problem.within(self.root, episode) from None

    def locate(self, episode: int) -> Episode:
        """The episode with `file` and `rows` as they are, not as they are said to be. For v2.x nothing to look for."""
        try:
            return self._located(episode)
        except DataProblem as problem:
            raise problem.within(self.root, episode) from None

    def locate_all(self) -> None:
        """Look for every episode's rows by the episode_index column, whatever info.json says of files.

        Raises IntegrityError: an episode is listed and not there, there and not listed, there twice, or of another
        length.
        """
        try:
            stored = self._files.everything()
            for number in stored.keys() - self._positions.keys():
                what = f"has rows of episode {number}, which is not listed"
                raise IntegrityError("unlisted-episode", what, file=stored[number][0], episode=number)
            for position, episode in enumerate(self.episodes):
                if episode.index not in stored:
                    raise missing_episode(episode.index)
                file, rows = stored[episode.index]
                self._files.check_length(episode, rows[1] - rows[0], file)
                self.episodes[position] = msgspec.structs.replace(episode, file=file, rows=rows)
                wrong = wrongly_listed(episode, self.episodes[position]) if self.version == "3.0" else None
                if wrong is not None:
                    self._note(wrong)
        except DataProblem as problem:
            raise problem.within(self.root) from None

    def refuse_unlisted(self) -> None:
        """For what is made of all episodes: info.json counts as many as are listed, else the list may be cut off.

        Holes in the numbers are for whoever reads on to refuse or close. Notes parquet files of v2.x that belong to no
        listed episode. Raises IntegrityError.
        """
        unlisted = self._unlisted_files()
        counted, listed = self.info.total_episodes, len(self.episodes)
        if counted is not None and counted != listed and not listing.missing_numbers(self.episodes):
            also = f"; {unlisted[0]} belongs to none of them ({len(unlisted)} such files)" if unlisted else ""
            raise IntegrityError(
                "total-episodes",
                f"meta/info.json counts {counted} episodes, {listed} are listed{also}",
                fix="complete the list, or remove it: `dm-g1 data repair` writes one from the parquet files"
                if unlisted
                else "`dm-g1 data repair` corrects the count",
                dataset=str(self.root),
            )
        if unlisted:
            what = f"belongs to no listed episode and is left out ({len(unlisted)} such files)"
            self._note(Finding(code="orphan-parquet", severity="warning", what=what, place=Place(file=unlisted[0])))

    def _unlisted_files(self) -> list[str]:
        if self.info.shares_files:
            return []
        files = {path.relative_to(self.root).as_posix() for path in (self.root / "data").rglob("*.parquet")}
        return sorted(files - {episode.file for episode in self.episodes})

    def _located(self, number: int) -> Episode:
        episode = self.episode(number)
        if not self.info.shares_files or episode.rows is not None:
            return episode
        found = self._files.locate(episode)
        self.episodes[self._positions[number]] = found
        if (wrong := wrongly_listed(episode, found)) is not None:
            self._note(wrong)
        return found

    def _note(self, finding: Finding) -> None:
        self.findings.append(finding)
        self._work.note(finding)

    @cached_property
    def _files(self) -> RowFiles:
        from dm_isaac_g1.data.rows import RowFiles

        return RowFiles(self.path_of, self.info, self.root)

    def bytes(self) -> int:
        """On disk, all files together; caches of tools (.cache, .git) not counted. Raises OSError."""
        total = 0
        for folder, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if not name.startswith(".")]
            total += sum(Path(folder, name).stat().st_size for name in files)
        return total


def wrongly_listed(listed: Episode, found: Episode) -> Finding | None:
    """What to tell of an episode whose rows were found in another file than the one it is listed in."""
    if found.file == listed.file:
        return None
    return Finding(
        code="wrong-file-index",
        severity="warning",
        what=f"is listed in {listed.file}, found in {found.file} by its episode_index column",
        place=Place(episode=listed.index),
        fix="lerobot 0.4.0-0.4.4 wrote it so; `dm-g1 data convert --format v2.1` writes it right",
    )
