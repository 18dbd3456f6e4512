"""One episode's statistics where LeRobot v3.0 keeps them: columns stats/FEATURE/STATISTIC of meta/episodes.

Types as in lerobot 0.4.4's files: lists of double, of int64 for counts and extremes of integers, nested for pictures.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dm_isaac_g1.data.columns import integers, read_table
from dm_isaac_g1.data.episodes import EPISODES_V3
from dm_isaac_g1.data.problems import IntegrityError
from dm_isaac_g1.data.stats.episode import Statistics

PREFIX = "stats/"


def statistics_columns(rows: Sequence[Statistics]) -> dict[str, pa.Array]:
    """Of episodes in their order: stats/FEATURE/STATISTIC -> a list an episode, null where it has none."""
    names = dict.fromkeys((feature, key) for row in rows for feature, each in row.items() for key in each)
    found = {}
    for feature, key in names:
        values = [row.get(feature, {}).get(key) for row in rows]
        found[f"{PREFIX}{feature}/{key}"] = pa.array(values)
    return found


def replace_statistics(root: Path, rows: Mapping[int, Statistics]) -> list[str]:
    """Put `rows` (by episode) into the files in meta/episodes, all else as it is. The files' names.

    Raises IntegrityError, OSError.
    """
    tables = {}
    for path in sorted((root / EPISODES_V3).glob("*/*.parquet")):
        file = path.relative_to(root).as_posix()
        table = read_table(path, file=file)
        numbers = integers(table, "episode_index", file=file).tolist()
        missing = [number for number in numbers if number not in rows]
        if missing:
            raise IntegrityError("bad-episode", f"no statistics of episode {missing[0]}", file=file)
        tables[file] = _replaced(table, statistics_columns([rows[number] for number in numbers]))
    for file, table in tables.items():
        _write(root / file, table)
    return list(tables)


def _replaced(table: Any, columns: Mapping[str, Any]) -> Any:
    """The table with new statistics in the places of the old ones, new names after them."""
    first = next((i for i, name in enumerate(table.column_names) if name.startswith(PREFIX)), table.num_columns)
    kept = [name for name in table.column_names if not name.startswith(PREFIX)]
    before = [name for name in kept if table.column_names.index(name) < first]
    arrays = {name: table.column(name) for name in before}
    arrays |= columns
    arrays |= {name: table.column(name) for name in kept if name not in before}
    # The metadata describe the columns as they were; lerobot reads without.
    return pa.table(arrays)


def _write(path: Path, table: Any) -> None:
    beside = path.with_name(f".{path.name}.writing")
    try:
        with beside.open("wb") as stream:
            pq.write_table(table, stream, compression="snappy")
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
