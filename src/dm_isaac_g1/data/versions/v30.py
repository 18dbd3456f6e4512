"""LeRobot v2.0 and v2.1 to v3.0: many episodes share a parquet file and a video.

Laid out as lerobot 0.4.4 does it (src/lerobot/datasets/v30/convert_dataset_v21_to_v30.py), except that data/file_index
is right for every episode. Videos are joined packet by packet; where cameras changed their encoding on the way, a new
file begins. A shared file is a pure function of its episodes, and the unit that a later try keeps.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from dm_isaac_g1.core.robot import ACTION_HORIZON
from dm_isaac_g1.data.carry import Note
from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.info import DATA_V3, VIDEO_V3, inside
from dm_isaac_g1.data.output import Output, fingerprint
from dm_isaac_g1.data.problems import DataProblem, IntegrityError, SchemaError
from dm_isaac_g1.data.stats import sidecar
from dm_isaac_g1.data.stats.stale import RELATIVE_STATS
from dm_isaac_g1.data.versions.grouping import DATA_MB, MB, VIDEO_MB, Shared, group, row_bytes, shared_by
from dm_isaac_g1.data.versions.kept import picture_statistics, place_others, write_origin
from dm_isaac_g1.data.versions.meta_v30 import flattened, info_v30, write_episodes, write_tasks
from dm_isaac_g1.data.versions.result import VersionResult
from dm_isaac_g1.data.versions.rows import Notes, read_rows, refuse_gaps
from dm_isaac_g1.data.work import Work
from dm_isaac_g1.data.writing import DICTIONARY, arrow_table, write_json

#: Rows of several episodes are written together once they are this many bytes: fewer row groups, bounded memory.
_ROW_GROUP = 16 * MB


class Unit(msgspec.Struct, frozen=True):
    """A file to write: `camera` None: the rows; else that camera's video."""

    camera: str | None
    shared: Shared

    @property
    def path(self) -> str:
        place = {"chunk_index": self.shared.chunk, "file_index": self.shared.file}
        if self.camera is None:
            return DATA_V3.format(**place)
        return inside(VIDEO_V3.format(video_key=self.camera, **place), what=f"camera {self.camera!r}")


def to_v30(
    dataset_path: Path | str,
    output: Path | str,
    work: Work | None = None,
    data_mb: int = DATA_MB,
    video_mb: int = VIDEO_MB,
) -> VersionResult:
    """Write the dataset in `dataset_path`, v2.0 or v2.1, as v3.0 into the folder `output`.

    Numbers, texts and pictures stay as they are. `data_mb`: uncompressed columns a file; `video_mb`: video a file.
    Resumable: see `Output`. Raises DataProblem, Interrupted, OSError.
    """
    return _ToV30(Path(dataset_path), work or Work(), data_mb, video_mb).run(Path(output))


def write_rows(dataset: Dataset, shared: Shared, path: Path, step: Callable[[], None], note: Note) -> None:
    """The rows of the `shared` file's episodes as the parquet file `path`. `step`: called for each, and may raise.

    Raises DataProblem, OSError.
    """
    import pyarrow as pa

    features = {key: feature.raw for key, feature in dataset.info.features.items()}
    held: list[pa.Table] = []
    size = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        writer = None
        for position in range(shared.first, shared.end):
            step()
            columns = read_rows(dataset, dataset.episodes[position].index, note)
            held.append(arrow_table(columns, features))
            writer = writer or stack.enter_context(_parquet_writer(path, held[0].schema))
            size += held[-1].nbytes
            if size >= _ROW_GROUP or position == shared.end - 1:
                rows = pa.concat_tables(held).combine_chunks()
                writer.write_table(rows, row_group_size=len(rows))
                held.clear()
                size = 0


@contextlib.contextmanager
def _parquet_writer(path: Path, schema: Any) -> Iterator[Any]:
    import pyarrow.parquet as pq

    try:
        with pq.ParquetWriter(str(path), schema, compression="snappy", use_dictionary=list(DICTIONARY)) as writer:
            yield writer
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write_video(
    dataset: Dataset, camera: str, shared: Shared, path: Path, step: Callable[[], None]
) -> list[tuple[float, float]]:
    """The camera's videos of the `shared` file's episodes as the MP4 `path`; from when to when each is shown there.

    `step`: called for each, and may raise. Raises DataProblem (a video has more or fewer frames than its episode, or
    cannot be read), OSError.
    """
    from dm_isaac_g1.data.remux import concatenate

    episodes = dataset.episodes[shared.first : shared.end]
    clips = [episode.videos[camera].file for episode in episodes]
    parts = concatenate([dataset.path_of(clip) for clip in clips], path, step)
    for episode, clip, part in zip(episodes, clips, parts, strict=True):
        if part.frames != episode.length:
            raise IntegrityError(
                "video-length",
                f"the video has {part.frames} frames, its episode {episode.length}",
                file=clip,
                episode=episode.index,
                dataset=str(dataset.root),
            )
    return [(part.start_s, part.end_s) for part in parts]


class _ToV30:
    def __init__(self, root: Path, work: Work, data_mb: int, video_mb: int) -> None:
        self.dataset = dataset = Dataset.open(root, work)
        self.work = work
        self.note = Notes(work)
        self.data_mb, self.video_mb = data_mb, video_mb
        if dataset.version == "3.0":
            raise SchemaError("already-v3.0", "is LeRobot v3.0 already", dataset=str(root))
        dataset.refuse_unlisted()
        refuse_gaps(dataset)
        if images := [key for key, feature in dataset.info.features.items() if feature.dtype == "image"]:
            what = f"{images[0]} has pictures in the parquet files; only videos can be moved"
            raise SchemaError("image-columns", what, joint=images[0], dataset=str(root))
        self._units = list(self._plan())

    def _plan(self) -> Iterator[Unit]:
        """The files to write: by sizes and encodings alone, so that every try plans the same."""
        dataset = self.dataset
        each = row_bytes(dataset.info)
        for shared in group([episode.length * each for episode in dataset.episodes], self.data_mb * MB):
            yield Unit(None, shared)
        for camera in sorted(dataset.cameras):
            sizes, kinds = self._videos(camera)
            for shared in group(sizes, self.video_mb * MB, kinds):
                yield Unit(camera, shared)

    def _videos(self, camera: str) -> tuple[list[int], list[Hashable]]:
        """Bytes and encoding of every episode's video."""
        from dm_isaac_g1.data.remux import encoding_key

        sizes: list[int] = []
        kinds: list[Hashable] = []
        for done, episode in enumerate(self.dataset.episodes):
            self.work.progress(f"looking at {camera}", done, len(self.dataset.episodes), "videos")
            clip = episode.videos[camera].file
            path = self.dataset.path_of(clip)
            try:
                kinds.append(encoding_key(path))
                sizes.append(path.stat().st_size)
            except DataProblem as problem:
                raise problem.in_file(clip).within(self.dataset.root, episode.index) from None
        return sizes, kinds

    def run(self, final: Path) -> VersionResult:
        dataset = self.dataset
        recipe = {
            "op": "to-v3.0",
            "source": str(dataset.root.resolve()),
            "fingerprint": fingerprint(dataset.root),
            "parameters": {"data_mb": self.data_mb, "video_mb": self.video_mb},
        }
        with Output(
            final,
            recipe,
            needs=self._needs(),
            what=f"{final.name} (LeRobot v3.0)",
            sources=[dataset.root],
            total=len(self._units),
            unit="files",
        ) as output:
            self._write_files(output)
            self._write_meta(output)
            path = output.finish()
        return VersionResult(
            path=path,
            version="3.0",
            episodes=len(dataset.episodes),
            frames=dataset.frames,
            videos=self._joined(),
            findings=(*dataset.findings, *self.note.findings),
        )

    def _joined(self) -> dict[str, int]:
        cameras = len(self.dataset.cameras)
        return {"joined": len(self.dataset.episodes) * cameras} if cameras else {}

    def _needs(self) -> int:
        """Bytes: rows as they are without compression, and all videos."""
        files = {clip.file for episode in self.dataset.episodes for clip in episode.videos.values()}
        videos = sum(self.dataset.path_of(file).stat().st_size for file in files)
        return self.dataset.frames * row_bytes(self.dataset.info) + videos

    def _write_files(self, output: Output) -> None:
        steps = sum(unit.shared.end - unit.shared.first for unit in self._units)
        done = 0
        for number, unit in enumerate(self._units):
            before, done = done, done + unit.shared.end - unit.shared.first
            each = itertools.count(before)

            def step(name: str = unit.camera or "rows", each: Iterator[int] = each) -> None:
                self.work.progress(name, next(each), steps, "episodes")

            if output.finished(number) is None:
                output.mark(number, self._written(unit, output.partial / unit.path, step))
        self.work.progress("all files", steps, steps, "episodes")

    def _written(self, unit: Unit, path: Path, step: Callable[[], None]) -> dict[str, Any]:
        if unit.camera is None:
            write_rows(self.dataset, unit.shared, path, step, self.note)
            return {}
        try:
            return {"times": write_video(self.dataset, unit.camera, unit.shared, path, step)}
        except DataProblem as problem:
            file = problem.finding.place.file
            if file is not None and Path(file).is_relative_to(self.dataset.root):
                problem = problem.in_file(Path(file).relative_to(self.dataset.root).as_posix())
            raise problem.within(self.dataset.root) from None

    def _write_meta(self, output: Output) -> None:
        from dm_isaac_g1.data.stats.compute import compute_stats

        dataset, root = self.dataset, output.partial
        place_others(dataset, root)
        write_origin(dataset, root, "3.0", self._joined())
        write_tasks(root, dataset.tasks)
        write_episodes(root, self._episode_rows(output))
        write_json(root / "meta" / "info.json", info_v30(dataset, data_mb=self.data_mb, video_mb=self.video_mb))
        # GR00T's, where the source has them: another version forgets neither them nor their horizon.
        horizon = sidecar.section(dataset.root, "relative").get("horizon")
        compute_stats(
            root,
            horizon=horizon if isinstance(horizon, int) and horizon > 0 else ACTION_HORIZON,
            relative=None if (dataset.root / RELATIVE_STATS).is_file() else False,
            work=self.work,
        )

    def _episode_rows(self, output: Output) -> Iterator[dict[str, Any]]:
        """A row of meta/episodes for every episode, in lerobot's order of columns. Of statistics those of pictures:
        all others are computed of what was written.
        """
        dataset = self.dataset
        pictures = {number: flattened(each) for number, each in picture_statistics(dataset).items()}
        unknown = dict.fromkeys(name for each in pictures.values() for name in each)
        files: dict[str | None, list[Shared]] = {}
        times: dict[str, list[tuple[float, float]]] = {}
        for number, unit in enumerate(self._units):
            files.setdefault(unit.camera, []).extend(shared_by([unit.shared]))
            if unit.camera is not None:
                times.setdefault(unit.camera, []).extend((output.finished(number) or {})["times"])
        for position, episode in enumerate(dataset.episodes):
            data = files[None][position]
            row: dict[str, Any] = {
                "episode_index": episode.index,
                "data/chunk_index": data.chunk,
                "data/file_index": data.file,
                "dataset_from_index": episode.start,
                "dataset_to_index": episode.start + episode.length,
            }
            for camera in sorted(dataset.cameras):
                video, (start, end) = files[camera][position], times[camera][position]
                row |= {
                    f"videos/{camera}/chunk_index": video.chunk,
                    f"videos/{camera}/file_index": video.file,
                    f"videos/{camera}/from_timestamp": start,
                    f"videos/{camera}/to_timestamp": end,
                }
            row |= {"tasks": list(episode.tasks), "length": episode.length}
            yield row | unknown | pictures.get(episode.index, {})
