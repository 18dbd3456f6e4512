"""The meta files of LeRobot v3.0: info.json, tasks.parquet, meta/episodes.

As lerobot 0.4.4 writes them (src/lerobot/datasets/v30/convert_dataset_v21_to_v30.py, utils.py), down to the order of
columns; except that data/file_index is right.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dm_isaac_g1.data.dataset import Dataset
from dm_isaac_g1.data.episodes import EPISODES_V3, TASKS_V3
from dm_isaac_g1.data.info import CHUNKS_SIZE, DATA_V3, VIDEO_V3
from dm_isaac_g1.data.storing import splits_of
from dm_isaac_g1.data.versions.grouping import DATA_MB, MB

#: Rows turned into Arrow at once; an episode's statistics take some 20 kB as Arrow, ten times that as Python's floats.
_BATCH = 200


def info_v30(dataset: Dataset, *, data_mb: int, video_mb: int) -> dict[str, Any]:
    """info.json of v3.0 from that of v2.x: what stood there, but for what lies elsewhere now."""
    info, episodes = dataset.info, len(dataset.episodes)
    raw = {key: value for key, value in info.raw.items() if key not in ("total_chunks", "total_videos")}
    fps = int(info.fps) if info.fps.is_integer() else info.fps
    features = {
        key: dict(feature.raw) if feature.is_video else {**feature.raw, "fps": fps}
        for key, feature in info.features.items()
    }
    return raw | {
        "codebase_version": "v3.0",
        "total_episodes": episodes,
        "total_frames": dataset.frames,
        "total_tasks": len(dataset.tasks),
        "chunks_size": CHUNKS_SIZE,
        "fps": fps,
        "splits": splits_of(info, episodes),
        "data_path": DATA_V3,
        "video_path": VIDEO_V3 if info.cameras else None,
        "features": features,
        "data_files_size_in_mb": data_mb,
        "video_files_size_in_mb": video_mb,
    }


def write_tasks(root: Path, tasks: Mapping[int, str]) -> None:
    """meta/tasks.parquet: the text is the index of a pandas table, `__index_level_0__` where the index has no name.

    The metadata says so to pandas, in its own form (pandas docs, "Storing pandas DataFrame objects in Parquet").
    """
    index = "__index_level_0__"
    text = {"name": None, "field_name": index, "pandas_type": "unicode", "numpy_type": "object", "metadata": None}
    number = {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"}
    nameless = {"name": None, "field_name": None, "pandas_type": "unicode", "numpy_type": "object"}
    pandas = {
        "index_columns": [index],
        "column_indexes": [{**nameless, "metadata": {"encoding": "UTF-8"}}],
        "columns": [{**number, "metadata": None}, text],
        "attributes": {},
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }
    numbers = sorted(tasks)
    table = pa.table(
        {
            "task_index": pa.array(numbers, pa.int64()),
            index: pa.array([tasks[number] for number in numbers], pa.string()),
        }
    ).replace_schema_metadata({"pandas": json.dumps(pandas)})
    _write(root / TASKS_V3, table)


def write_episodes(root: Path, rows: Iterable[Mapping[str, Any]], limit: int = DATA_MB * MB) -> None:
    """meta/episodes/chunk-000/file-000.parquet and, beyond `limit` bytes, more. Raises OSError.

    `rows`: an episode each, by number; columns as in the first. Their meta/episodes/* are added here.
    """
    whole = _table(rows)
    files = -(-whole.nbytes // limit) or 1
    each = -(-len(whole) // files)
    for number in range(-(-len(whole) // each)):
        part = whole.slice(number * each, each)
        chunk, file = divmod(number, CHUNKS_SIZE)
        for name, value in (("meta/episodes/chunk_index", chunk), ("meta/episodes/file_index", file)):
            part = part.append_column(name, pa.array([value] * len(part), pa.int64()))
        _write(root / EPISODES_V3 / f"chunk-{chunk:03d}" / f"file-{file:03d}.parquet", part)


def _table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    batches: list[pa.Table] = []
    held: list[Mapping[str, Any]] = []
    schema = None

    def turn() -> None:
        nonlocal schema
        table = pa.Table.from_pylist(held, schema=schema)
        schema = schema or _schema(table.schema)
        batches.append(table.cast(schema))
        held.clear()

    for row in rows:
        held.append(row)
        if len(held) == _BATCH:
            turn()
    if held or not batches:
        turn()
    return pa.concat_tables(batches)


def _schema(found: pa.Schema) -> pa.Schema:
    """As it was found, but for what the first episodes may have none of: tasks, statistics of pictures."""
    texts, counts = pa.list_(pa.string()), pa.list_(pa.int64())
    pictures = pa.list_(pa.list_(pa.list_(pa.float64())))
    known = {"tasks": texts} | {
        name: counts if name.endswith("/count") else pictures for name in found.names if name.startswith("stats/")
    }
    return pa.schema([pa.field(field.name, known.get(field.name, field.type)) for field in found])


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as stream:
        pq.write_table(table, stream, compression="snappy")


def flattened(statistics: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """stats/{feature}/{statistic} -> values."""
    return {f"stats/{feature}/{name}": values for feature, each in statistics.items() for name, values in each.items()}
