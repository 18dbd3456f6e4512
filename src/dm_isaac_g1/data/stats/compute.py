"""All statistics of a dataset's folder: computed first, written when all is known.

Written are meta/stats.json (GR00T's form for v2.x, LeRobot's for v3.0), one row an episode (v2.1 and v3.0),
meta/relative_stats.json where modality.json has RELATIVE groups, and in meta/dm_g1.json of which data they speak. What
was there is always replaced: GR00T computes none where it finds some, however old.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import NDArray

from dm_isaac_g1.core.robot import ACTION_HORIZON
from dm_isaac_g1.data.columns import matrix
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.episodes import Episode
from dm_isaac_g1.data.info import Feature
from dm_isaac_g1.data.problems import DataError, DataProblem, Finding, IntegrityError, Place, SchemaError
from dm_isaac_g1.data.stats import digest
from dm_isaac_g1.data.stats.episode import QUANTILES, Statistics, episodes_stats_row
from dm_isaac_g1.data.stats.groups import MODALITY, RELATIVE, RelativeGroup, relative_groups
from dm_isaac_g1.data.stats.pictures import joined_pictures, picture_statistics_of
from dm_isaac_g1.data.stats.relative import Found, RelativeStatistics
from dm_isaac_g1.data.stats.stale import stale
from dm_isaac_g1.data.stats.store import Computed, alone, kept_pictures, store
from dm_isaac_g1.data.stats.whole import WholeStatistics
from dm_isaac_g1.data.versions.kept import picture_statistics
from dm_isaac_g1.data.work import Work

Array = NDArray[Any]


class StatsResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was computed, of how much, and the files in which it lies, relative to the dataset."""

    episodes: int
    frames: int
    files: tuple[str, ...]
    #: Of the relative statistics; None: there are none.
    horizon: int | None
    #: The groups that have relative statistics.
    relative: tuple[str, ...]
    findings: tuple[Finding, ...]
    seconds: float


def compute_stats(
    path: Path | str,
    *,
    horizon: int = ACTION_HORIZON,
    relative: bool | None = None,
    images: bool = False,
    work: Work | None = None,
) -> StatsResult:
    """Compute and write all statistics of the dataset in `path`.

    `horizon`: steps ahead of relative statistics. `relative`: False: none; True: an error where they cannot be had;
    None: where modality.json has RELATIVE groups. `images`: decode frames of every video for LeRobot's statistics of
    pictures; otherwise those that are there stay.

    Raises DataProblem and Interrupted; nothing is written then, or (a full disk) every file is the old or the new one.
    """
    began = time.monotonic()
    root = Path(path)
    computation = _Computation(Dataset.open(root, work), work or Work())
    try:
        with alone(root):
            computed = computation.run(horizon, relative, images)
            files = store(root, computation.dataset, computed)
        for finding in stale(root):
            computation.tell(finding)
    except DataProblem as problem:
        raise problem.within(root) from None
    return StatsResult(
        episodes=len(computation.dataset.episodes),
        frames=computation.dataset.frames,
        files=files,
        horizon=horizon if computed.relative else None,
        relative=tuple(computed.relative),
        findings=tuple(computation.findings),
        seconds=time.monotonic() - began,
    )


class _Computation:
    """Reads the dataset and computes; writes nothing."""

    def __init__(self, dataset: Dataset, work: Work) -> None:
        self.dataset, self.work = dataset, work
        self.findings: list[Finding] = []

    def run(self, horizon: int, relative: bool | None, images: bool) -> Computed:
        root = self.dataset.root
        groups = self._groups(horizon, relative)
        before = digest.quick(root)
        self._note_orphans()
        whole, rows, found = self._columns(groups, horizon)
        pictures = self._pictures() if images else picture_statistics(self.dataset)
        self._note_pictures(pictures)
        for number, each in pictures.items():
            if number in rows:
                rows[number] |= each
        self.work.progress("digest of the data")
        content = digest.content(root, self.work)
        if digest.quick(root) != before:
            raise IntegrityError("data-changed", "files in data/ changed while they were read", fix="compute again")
        return Computed(
            whole=whole | (self._joined(pictures) or self._kept()),
            rows=rows,
            relative=found,
            groups=groups,
            horizon=horizon,
            data={"quick": before, "content": content},
        )

    # --- Columns --------------------------------------------------------------------------------------------------

    def _columns(
        self, groups: Sequence[RelativeGroup], horizon: int
    ) -> tuple[Statistics, dict[int, Statistics], Found]:
        """Of the whole set, of every episode, and of relative actions, in one reading."""
        info, folder = self.dataset.info, self.dataset.root / "meta"
        features = {name: info.features[name] for name in info.columns if info.features[name].is_numeric}
        quantiles = QUANTILES if self.dataset.version == "3.0" else ()
        rows: dict[int, Statistics] = {}
        self._note_short(groups, horizon)
        with (
            WholeStatistics(features, folder=folder, lerobot=bool(quantiles)) as whole,
            RelativeStatistics(groups, horizon=horizon, folder=folder) as relative,
        ):
            for episode, columns in self._read(features):
                try:
                    rows[episode.index] = episodes_stats_row(columns, quantiles=quantiles)
                    whole.add(columns)
                except DataError as problem:
                    raise problem.in_file(episode.file).within(self.dataset.root, episode.index) from None
                if not relative.add(columns) and not any(finding.code == "cast" for finding in self.findings):
                    what = "holds float64, the first episode float32: rounded for the relative statistics"
                    self._note("cast", "note", what, episode.file)
            return whole.result(self.work), rows, relative.result(self.work)

    def _read(self, features: Mapping[str, Feature]) -> Iterator[tuple[Episode, dict[str, Array]]]:
        """Every episode's columns, (frames, width) or with the feature's own axes."""
        total = len(self.dataset.episodes)
        names = tuple(features)
        for position, episode in enumerate(list(self.dataset.episodes)):
            self.work.progress("reading columns", position, total, "episodes")
            table = self.dataset.read(episode.index, names)
            yield episode, {name: _column(table, name, feature, episode) for name, feature in features.items()}

    def _note_orphans(self) -> None:
        """Files that GR00T's own statistics would count and no reader trains on."""
        if self.dataset.info.shares_files:
            return
        root = self.dataset.root
        listed = {episode.file for episode in self.dataset.episodes}
        for path in digest.data_files(root):
            if (file := path.relative_to(root).as_posix()) not in listed:
                what = "belongs to no episode that is listed, and is left out of the statistics"
                self._note("orphan-file", "warning", what, file, "move it out of the dataset")

    # --- Relative actions -----------------------------------------------------------------------------------------

    def _groups(self, horizon: int, relative: bool | None) -> tuple[RelativeGroup, ...]:
        if horizon < 1:
            raise SchemaError("bad-horizon", f"a horizon of {horizon} steps makes no sense, expected 1 or more")
        groups = () if relative is False else relative_groups(self.dataset.root, self.dataset.info)
        if relative and not groups:
            what = f"there is no action group {' or '.join(RELATIVE)}, which GR00T predicts relative to the state"
            fix = "`dm-g1 data convert --format groot` writes it"
            raise SchemaError("no-relative-groups", what, file=MODALITY, fix=fix)
        return groups

    def _note_short(self, groups: Sequence[RelativeGroup], horizon: int) -> None:
        short = [episode for episode in self.dataset.episodes if episode.length < horizon]
        if groups and 0 < len(short) < len(self.dataset.episodes):
            what = f"{len(short)} of {len(self.dataset.episodes)} episodes have fewer than {horizon} frames"
            what += " and add nothing to the relative statistics"
            self._note("short-episodes", "warning", what, short[0].file)

    # --- Pictures -------------------------------------------------------------------------------------------------

    def _pictures(self) -> dict[int, Statistics]:
        quantiles = QUANTILES if self.dataset.version == "3.0" else ()
        found: dict[int, Statistics] = {}
        total = len(self.dataset.episodes) if self.dataset.cameras else 0
        for position, episode in enumerate(self.dataset.episodes[:total]):
            self.work.progress("looking at pictures", position, total, "episodes")
            for camera in self.dataset.cameras:
                clip = episode.videos[camera]
                try:
                    found.setdefault(episode.index, {})[camera] = picture_statistics_of(
                        self.dataset.path_of(clip.file),
                        frames=episode.length,
                        fps=self.dataset.fps,
                        start=clip.start,
                        quantiles=quantiles,
                    )
                except DataProblem as problem:
                    raise problem.in_file(clip.file).within(self.dataset.root, episode.index) from None
        return found

    def _note_pictures(self, pictures: dict[int, Statistics]) -> None:
        if self.dataset.cameras and self.dataset.version != "2.0" and len(pictures) < len(self.dataset.episodes):
            what = "not every episode has statistics of its pictures; lerobot's training scripts want them"
            self._note("no-picture-statistics", "note", what, fix="`dm-g1 data stats --images` looks at the videos")

    def _joined(self, pictures: dict[int, Statistics]) -> Statistics:
        """For meta/stats.json of LeRobot; GR00T's has no pictures."""
        if self.dataset.version == "2.1":
            return {}
        every = {
            camera: [each[camera] for each in pictures.values() if camera in each] for camera in self.dataset.cameras
        }
        return {camera: joined_pictures(parts) for camera, parts in every.items() if parts}

    def _kept(self) -> Statistics:
        return kept_pictures(self.dataset) if self.dataset.version == "2.0" else {}

    def _note(self, code: str, severity: Any, what: str, file: str | None = None, fix: str | None = None) -> None:
        self.tell(Finding(code=code, severity=severity, what=what, place=Place(file), fix=fix))

    def tell(self, finding: Finding) -> None:
        self.findings.append(finding)
        self.work.note(finding)


def _column(table: Any, name: str, feature: Feature, episode: Episode) -> Array:
    labels = feature.labels(name)
    values = matrix(table, name, feature.width, episode=episode.index, file=episode.file, names=labels)
    return values if len(feature.shape) <= 1 else values.reshape(-1, *feature.shape)
