"""Makes LeRobot datasets of every family, version and layout, whole or with one defect.

    make(folder, family="hospitality", episodes=3, frames=40, video="h264")
    copy_of(folder, family="dex3", version="3.0")            # the same, made once a test session and copied
    make(folder, family="dex3", defect="nan")                # sets_defects.DEFECTS has the names

Writes its own parquet and JSON, as lerobot 0.3.3 (v2.x) and 0.4.4 (v3.0) lay them out. Deterministic: the same options
give the same bytes. 200 episodes of 1,500 frames without video take a few seconds.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sets_families import FAMILIES, Column
from sets_video import HEIGHT, WIDTH, Codec, joined
from sets_video import video as encoded

Columns = dict[str, Any]
Version = Literal["2.0", "2.1", "3.0"]
#: `episodes`: a parquet (and mp4) for each episode. `combined`: several episodes in one, as v3.0 has it.
Layout = Literal["episodes", "combined"]

#: Dtypes of the five columns that every LeRobot dataset has; all of shape [1].
DEFAULTS = {"timestamp": "float32"} | dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64")
TASKS = ("Fold the towel.", "Put the towel into the basket.")
DATA_PATH = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
VIDEO_PATH = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
#: Where a combined v2.x dataset keeps all its rows.
COMBINED = "data/chunk-000/file-000.parquet"


def make(
    folder: Path | str,
    family: str = "hospitality",
    *,
    layout: Layout | None = None,
    version: Version = "2.1",
    episodes: int = 3,
    frames: int = 40,
    growth: int = 1,
    fps: int = 30,
    video: Codec | None = None,
    cameras: int | None = None,
    tasks: Sequence[str] = TASKS[:1],
    seed: int = 0,
    per_file: int = 2,
    chunks_size: int = 1000,
    defect: str | None = None,
) -> Path:
    """Write a dataset into `folder` (made; must be empty) and return it.

    Episode e has `frames` + e * `growth` frames and the task tasks[e % len(tasks)]. `cameras`: how many of the family's
    (None: all, if there is `video`). `per_file`: episodes in one file of v3.0's combined layout (v2.x: all in one,
    `COMBINED`).
    """
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    maker = _Maker(root, family, version, layout or ("combined" if version == "3.0" else "episodes"), fps, chunks_size)
    maker.cameras = [f"observation.images.{c}" for c in FAMILIES[family].cameras[:cameras]] if video else []
    maker.codec = video
    maker.tasks = list(tasks)
    maker.write([frames + number * growth for number in range(episodes)], seed, per_file)
    if defect is not None:
        from sets_defects import DEFECTS

        DEFECTS[defect](root)
    return root


def copy_of(folder: Path | str, family: str = "hospitality", **options: Any) -> Path:
    """As `make`, from a copy that is made once a process; cheap enough for every test."""
    frozen = tuple(sorted((k, tuple(v) if isinstance(v, list) else v) for k, v in options.items() if k != "defect"))
    shutil.copytree(_once(family, frozen), folder, dirs_exist_ok=True)
    if options.get("defect") is not None:
        from sets_defects import DEFECTS

        DEFECTS[options["defect"]](Path(folder))
    return Path(folder)


_KEPT = tempfile.TemporaryDirectory(prefix="sets-")


@cache
def _once(family: str, options: tuple[tuple[str, Any], ...]) -> Path:
    return make(tempfile.mkdtemp(dir=_KEPT.name), family, **dict(options))


# --- Values ----------------------------------------------------------------------------------------------------------


def motion(column: Column, frames: int, rng: np.random.Generator, fps: int) -> np.ndarray:
    """(frames, width): smooth, within the ranges, every place moving in its own way."""
    low, high = np.array(column.low), np.array(column.high)
    time = np.arange(frames)[:, None] / fps
    width = len(low)
    slow = np.sin(2 * np.pi * (rng.uniform(0.05, 0.4, width) * time + rng.uniform(0, 1, width)))
    quick = np.sin(2 * np.pi * (rng.uniform(0.5, 1.5, width) * time + rng.uniform(0, 1, width)))
    middle = low + (high - low) * rng.uniform(0.4, 0.6, width)
    return (middle + (high - low) * (0.3 * slow + 0.08 * quick)).astype(column.dtype)


def episode_columns(family: str, number: int, frames: int, fps: int, start: int, task: int, seed: int) -> Columns:
    """Column -> (frames, width), or (frames,) where the shape is [1]."""
    rng = np.random.default_rng([seed, number])
    columns: Columns = {}
    for column in FAMILIES[family].columns:
        values = motion(column, frames, rng, fps)
        columns[column.name] = values[:, 0] if values.shape[1] == 1 else values
    index = np.arange(frames, dtype=np.int64)
    columns["timestamp"] = (index / fps).astype(np.float32)
    columns["frame_index"] = index
    columns["episode_index"] = np.full(frames, number, np.int64)
    columns["index"] = index + start
    columns["task_index"] = np.full(frames, task, np.int64)
    return columns


_FIVE, _TEN = ("min", "max", "mean", "std"), {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


def statistics(values: Any, quantiles: Sequence[str] = ()) -> dict[str, list[float]]:
    rows = values.reshape(len(values), -1).astype(np.float64)
    found = {name: getattr(rows, name)(0).tolist() for name in _FIVE}
    if quantiles:
        found |= dict(zip(quantiles, np.quantile(rows, [_TEN[q] for q in quantiles], axis=0).tolist(), strict=True))
    return found


def _picture_statistics(quantiles: Sequence[str]) -> dict[str, list[list[list[float]]]]:
    values = {"min": 0.0, "max": 1.0, "mean": 0.5, "std": 0.25} | {q: _TEN[q] for q in quantiles}
    return {name: [[[value]]] * 3 for name, value in values.items()}


# --- Files -----------------------------------------------------------------------------------------------------------


def arrow(columns: Columns) -> pa.Table:
    return pa.table(
        {
            name: pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
            if values.ndim == 2
            else pa.array(values)
            for name, values in columns.items()
        }
    )


def write_parquet(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="snappy", use_dictionary=["episode_index", "task_index"])


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=4, ensure_ascii=False))


def write_lines(path: Path, rows: Sequence[Any]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


class _Maker:
    """Writes one dataset: values by the family, files by the version and layout."""

    cameras: list[str]
    codec: Codec | None
    tasks: list[str]

    def __init__(self, root: Path, family: str, version: str, layout: str, fps: int, chunks_size: int) -> None:
        self.root, self.family, self.version, self.layout = root, family, version, layout
        self.fps, self.chunks_size = fps, chunks_size
        self.quantiles = tuple(_TEN) if version == "3.0" else ("q01", "q99")

    def write(self, lengths: list[int], seed: int, per_file: int) -> None:
        self.per_file = 1 if self.layout == "episodes" else len(lengths) if self.version != "3.0" else per_file
        self.seed = seed
        self.lengths = lengths
        self.starts = np.cumsum([0, *self.lengths]).tolist()
        pending: list[pa.Table] = []
        rows: list[dict[str, Any]] = []
        kept: dict[str, list[Any]] = {}
        for number, count in enumerate(self.lengths):
            columns = episode_columns(
                self.family, number, count, self.fps, self.starts[number], number % len(self.tasks), seed
            )
            rows.append(self._statistics(columns))
            for name, values in columns.items():
                kept.setdefault(name, []).append(values)
            pending.append(arrow(columns))
            if len(pending) == self.per_file or number == len(lengths) - 1:
                table = pa.concat_tables(pending).combine_chunks().replace_schema_metadata(self._hugging_face(columns))
                write_parquet(self.root / self._data_file(number), table)
                pending = []
        self._write_videos()
        write_json(self.root / "meta" / "info.json", self._info())
        whole = {name: statistics(np.concatenate(values), self.quantiles) for name, values in kept.items()}
        (self._write_meta_v3 if self.version == "3.0" else self._write_meta_v2)(rows, whole)

    def _statistics(self, columns: Columns) -> dict[str, Any]:
        quantiles = self.quantiles if self.version == "3.0" else ()
        found = {n: statistics(v, quantiles) | {"count": [len(v)]} for n, v in columns.items()}
        return found | {c: _picture_statistics(quantiles) | {"count": [len(columns["index"])]} for c in self.cameras}

    def _file_number(self, number: int) -> int:
        return number // self.per_file

    def _data_file(self, number: int) -> str:
        if self.version == "3.0":
            chunk, file = divmod(self._file_number(number), self.chunks_size)
            return f"data/chunk-{chunk:03d}/file-{file:03d}.parquet"
        if self.layout == "combined":
            return COMBINED
        return DATA_PATH.format(episode_chunk=number // self.chunks_size, episode_index=number)

    def _write_videos(self) -> None:
        if self.codec is None:
            return
        for camera, key in enumerate(self.cameras):
            parts = [(count, self.seed + number + 3 * camera) for number, count in enumerate(self.lengths)]
            if self.version == "3.0":
                for first in range(0, len(parts), self.per_file):
                    chunk, file = divmod(self._file_number(first), self.chunks_size)
                    path = self.root / f"videos/{key}/chunk-{chunk:03d}/file-{file:03d}.mp4"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(joined(self.codec, self.fps, tuple(parts[first : first + self.per_file])))
            else:
                for number, (count, seed) in enumerate(parts):
                    chunk = number // self.chunks_size
                    path = self.root / VIDEO_PATH.format(episode_chunk=chunk, video_key=key, episode_index=number)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(encoded(self.codec, count, self.fps, seed))

    def features(self) -> dict[str, Any]:
        found = {column.name: column.feature() for column in FAMILIES[self.family].columns}
        found |= {name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in DEFAULTS.items()}
        facts = {
            "video.height": HEIGHT,
            "video.width": WIDTH,
            "video.codec": self.codec,
            "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False,
            "video.fps": self.fps,
            "video.channels": 3,
            "has_audio": False,
        }
        names = ["height", "width", "channel"]
        pictures = {"dtype": "video", "shape": [HEIGHT, WIDTH, 3], "names": names, "info": facts}
        return found | dict.fromkeys(self.cameras, pictures)

    def _info(self) -> dict[str, Any]:
        episodes = len(self.lengths)
        info: dict[str, Any] = {
            "codebase_version": f"v{self.version}",
            "robot_type": FAMILIES[self.family].robot,
            "total_episodes": episodes,
            "total_frames": self.starts[-1],
            "total_tasks": len(self.tasks),
            "total_videos": episodes * len(self.cameras),
            "total_chunks": -(-episodes // self.chunks_size),
            "chunks_size": self.chunks_size,
            "fps": self.fps,
            "splits": {"train": f"0:{episodes}"},
            "data_path": COMBINED if self.layout == "combined" else DATA_PATH,
            "video_path": VIDEO_PATH if self.codec else None,
            "features": self.features(),
        }
        if self.version == "3.0":
            del info["total_videos"], info["total_chunks"]
            info |= {"data_files_size_in_mb": 100, "video_files_size_in_mb": 200}
            info["data_path"] = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
            if self.codec:
                info["video_path"] = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
        return info

    def _hugging_face(self, columns: Columns) -> dict[str, str]:
        def feature(values: Any) -> dict[str, Any]:
            value = {"dtype": values.dtype.name, "_type": "Value"}
            return value if values.ndim == 1 else {"feature": value, "length": values.shape[1], "_type": "Sequence"}

        return {"huggingface": json.dumps({"info": {"features": {n: feature(v) for n, v in columns.items()}}})}

    def _write_modality(self) -> None:
        modality = FAMILIES[self.family].modality
        if modality:
            views = {key.removeprefix("observation.images."): {"original_key": key} for key in self.cameras}
            write_json(self.root / "meta" / "modality.json", {**modality, "video": views})

    def _task_of(self, number: int) -> list[str]:
        return [self.tasks[number % len(self.tasks)]]

    def _write_meta_v2(self, rows: list[dict[str, Any]], whole: dict[str, Any]) -> None:
        meta = self.root / "meta"
        write_lines(meta / "tasks.jsonl", [{"task_index": i, "task": task} for i, task in enumerate(self.tasks)])
        write_lines(
            meta / "episodes.jsonl",
            [{"episode_index": e, "tasks": self._task_of(e), "length": n} for e, n in enumerate(self.lengths)],
        )
        if self.version == "2.1":
            stats = [{"episode_index": e, "stats": row} for e, row in enumerate(rows)]
            write_lines(meta / "episodes_stats.jsonl", stats)
        if self.version == "2.0" or FAMILIES[self.family].modality:
            write_json(meta / "stats.json", {n: s for n, s in whole.items() if n in rows[0] and "index" not in n})
        self._write_modality()

    def _write_meta_v3(self, rows: list[dict[str, Any]], whole: dict[str, Any]) -> None:
        meta = self.root / "meta"
        count = {"count": [self.starts[-1]]}
        pictures = {key: _picture_statistics(self.quantiles) | count for key in self.cameras}
        write_json(meta / "stats.json", {name: stats | count for name, stats in whole.items()} | pictures)
        write_tasks_parquet(meta / "tasks.parquet", self.tasks)
        table = [self._episode_row(number, row) for number, row in enumerate(rows)]
        (meta / "episodes" / "chunk-000").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(table), meta / "episodes" / "chunk-000" / "file-000.parquet")
        self._write_modality()

    def _episode_row(self, number: int, stats: dict[str, Any]) -> dict[str, Any]:
        chunk, file = divmod(self._file_number(number), self.chunks_size)
        row: dict[str, Any] = {
            "episode_index": number,
            "tasks": self._task_of(number),
            "length": self.lengths[number],
            "data/chunk_index": chunk,
            "data/file_index": file,
            "dataset_from_index": self.starts[number],
            "dataset_to_index": self.starts[number + 1],
        }
        first = number - number % self.per_file
        start = sum(self.lengths[first:number]) / self.fps
        for key in self.cameras:
            row |= {f"videos/{key}/chunk_index": chunk, f"videos/{key}/file_index": file}
            row |= {f"videos/{key}/from_timestamp": start}
            row |= {f"videos/{key}/to_timestamp": start + self.lengths[number] / self.fps}
        for feature, found in stats.items():
            row |= {f"stats/{feature}/{name}": value for name, value in found.items()}
        return row | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}


def write_tasks_parquet(path: Path, tasks: Sequence[str]) -> None:
    """As pandas writes a frame whose index is the task's text."""
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "__index_level_0__": list(tasks)})
    number = {
        "name": "task_index",
        "field_name": "task_index",
        "pandas_type": "int64",
        "numpy_type": "int64",
        "metadata": None,
    }
    index = {
        "name": None,
        "field_name": "__index_level_0__",
        "pandas_type": "unicode",
        "numpy_type": "object",
        "metadata": None,
    }
    pandas = {"index_columns": ["__index_level_0__"], "column_indexes": [], "columns": [number, index]}
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), path)
