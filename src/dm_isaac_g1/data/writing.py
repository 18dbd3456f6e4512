"""Writing datasets as lerobot lays them out: parquet files of episodes, and the files in meta/.

Layout of the parquet files: lerobot 0.3.3 through Hugging Face datasets 3: vectors as fixed_size_list, shape [1] as
scalars, the features in the schema's metadata, snappy, one row group. Dictionaries only for the two columns that
repeat: for floats they cost seven times the writing and make files larger.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from dm_isaac_g1.data.episodes import EPISODES, TASKS
from dm_isaac_g1.data.info import DEFAULT_COLUMNS, INFO

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

DICTIONARY = ["episode_index", "task_index"]
#: Arrow's names of types where numpy's are others. (pyarrow 20 asks pandas, which is not there.)
_NUMPY = {"halffloat": "float16", "float": "float32", "double": "float64"}
EPISODES_STATS = "meta/episodes_stats.jsonl"


# --- Parquet ----------------------------------------------------------------------------------------------------------


def write_parquet(
    path: Path,
    columns: Mapping[str, np.ndarray | pa.Array | pa.ChunkedArray],
    features: Mapping[str, Mapping[str, Any]],
) -> None:
    """One episode's file. `columns`: (frames,), (frames, 1) or (frames, width) each, or Arrow arrays as they are;
    `features`: dtype and shape of each as in info.json, in the order to write, videos ignored.

    Numbers are cast to the feature's dtype. Raises ValueError where columns and features do not go together, OSError.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = arrow_table(columns, features)
    try:
        with pa.OSFile(str(path), "wb") as stream:
            pq.write_table(
                table,
                stream,
                compression="snappy",
                use_dictionary=DICTIONARY,
                write_statistics=list(DEFAULT_COLUMNS),  # who looks for rows, looks by these
                row_group_size=max(len(table), 1),
            )
    except OSError as error:
        error.filename = str(path)  # Arrow does not say it
        raise


def arrow_table(columns: Mapping[str, Any], features: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    """The table that `write_parquet` writes."""
    import pyarrow as pa

    stored = {name: feature for name, feature in features.items() if feature["dtype"] != "video"}
    if set(stored) != set(columns):
        raise ValueError(f"columns {sorted(columns)} for features {sorted(stored)}")
    schema = _schema(json.dumps({n: [f["dtype"], list(f["shape"])] for n, f in stored.items()}))
    return pa.Table.from_arrays([_arrow(columns[field.name], field) for field in schema], schema=schema)


@lru_cache(maxsize=64)
def _schema(features: str) -> pa.Schema:
    """The Arrow schema of features, given as JSON: name -> [dtype, shape]. Made once, not for every file."""
    import pyarrow as pa

    fields, described = [], {}
    for name, (dtype, shape) in json.loads(features).items():
        if dtype == "image":
            fields.append(pa.field(name, pa.struct([("bytes", pa.binary()), ("path", pa.string())])))
            described[name] = {"_type": "Image"}
            continue
        value = pa.type_for_alias(dtype)
        kind: dict[str, Any] = {"dtype": dtype, "_type": "Value"}
        for size in reversed(shape if shape != [1] else []):
            value = pa.list_(value, size)
            kind = {"feature": kind, "length": size, "_type": "Sequence"}
        fields.append(pa.field(name, value))
        described[name] = kind
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": described}})})


def _arrow(values: Any, field: Any) -> Any:
    import numpy as np
    import pyarrow as pa

    kind = field.type
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return values if values.type == kind else values.cast(kind)
    sizes = []
    while pa.types.is_fixed_size_list(kind):
        sizes.append(kind.list_size)
        kind = kind.value_type
    frames = len(values)
    expected = (frames, *sizes)
    if values.shape != expected and (sizes or values.shape != (frames, 1)):
        raise ValueError(f"column {field.name} is {values.shape}, expected {expected}")
    if pa.types.is_string(kind):
        return pa.array(values.ravel().tolist(), kind)
    flat = np.ascontiguousarray(values, dtype=_NUMPY.get(str(kind), str(kind))).reshape(-1)
    array = pa.array(flat, kind)
    for size in reversed(sizes):
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return array


# --- meta/ ------------------------------------------------------------------------------------------------------------


def write_json(path: Path, value: Any) -> None:
    """As lerobot writes it, indented by 4. Beside, fsynced, renamed. Raises ValueError for NaN, OSError."""
    replace_file(path, json.dumps(value, indent=4, ensure_ascii=False, allow_nan=False).encode())


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """One value a line. Beside, fsynced, renamed. Raises ValueError for NaN, OSError."""
    replace_file(path, b"".join(_line(row) for row in rows))


def _line(row: Any) -> bytes:
    line = msgspec.json.encode(row)
    if b"null" in line:  # msgspec writes None so, and NaN too
        return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    return line + b"\n"


def replace_file(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, fsync, rename over it: whoever looks finds the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.writing")
    try:
        with beside.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def episode_row(index: int, tasks: Sequence[str], length: int) -> dict[str, Any]:
    """A line of episodes.jsonl."""
    return {"episode_index": index, "tasks": list(tasks), "length": length}


def stats_row(index: int, stats: Mapping[str, Any]) -> dict[str, Any]:
    """A line of episodes_stats.jsonl (v2.1)."""
    return {"episode_index": index, "stats": stats}


def write_meta(
    root: Path,
    *,
    info: Mapping[str, Any],
    episodes: Iterable[Mapping[str, Any]],
    tasks: Mapping[int, str],
    stats: Iterable[Mapping[str, Any]] | None = None,
) -> None:
    """The meta files of v2.x: `episodes` and `stats` as rows (`episode_row`, `stats_row`); info.json comes last.

    `stats`: None for v2.0, which has no episodes_stats.jsonl. Raises ValueError for NaN, OSError.
    """
    write_jsonl(root / TASKS, ({"task_index": index, "task": tasks[index]} for index in sorted(tasks)))
    write_jsonl(root / EPISODES, episodes)
    if stats is not None:
        write_jsonl(root / EPISODES_STATS, stats)
    write_json(root / INFO, info)
