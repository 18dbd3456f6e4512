"""What goes wrong with datasets, done to a whole one: DEFECTS[name](folder). Most hit episode 1, frame 7, place 2."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sets import DEFAULTS, write_json, write_lines

EPISODE, FRAME, PLACE = 1, 7, 2
LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 123456\n".format("0" * 64)


def info_of(root: Path) -> dict[str, Any]:
    return json.loads((root / "meta" / "info.json").read_text())


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def vector_column(root: Path) -> str:
    """The first feature that has several places."""
    features = info_of(root)["features"]
    return next(n for n, f in features.items() if n not in DEFAULTS and f["dtype"] != "video" and f["shape"][0] > PLACE)


def data_file(root: Path, episode: int = EPISODE) -> Path:
    """The parquet that holds the episode."""
    for path in sorted(root.glob("data/**/*.parquet")):
        if episode in pq.read_table(path, columns=["episode_index"])["episode_index"].to_pylist():
            return path
    raise LookupError(episode)


def change_episode(root: Path, change: Callable[[pa.Table, int], pa.Table]) -> None:
    """`change(table, first)`: the table that holds episode 1, and the row where that begins."""
    path = data_file(root)
    table = pq.read_table(path)
    first = table["episode_index"].to_pylist().index(EPISODE)
    pq.write_table(change(table, first), path)


def set_column(table: pa.Table, name: str, values: Any, kind: pa.DataType | None = None) -> pa.Table:
    array = pa.array(values, type=kind or table.schema.field(name).type)
    return table.set_column(table.schema.get_field_index(name), name, array)


def _value(value: float | None, place: int | None = PLACE) -> Callable[[Path], None]:
    def defect(root: Path) -> None:
        column = vector_column(root)

        def change(table: pa.Table, first: int) -> pa.Table:
            rows = table[column].to_pylist()
            if place is None:
                rows[first + FRAME] = value
                # pyarrow below 21 cannot write a fixed_size_list with an entry that is null.
                return set_column(table, column, rows, pa.list_(table.schema.field(column).type.value_type))
            rows[first + FRAME][place] = value
            return set_column(table, column, rows)

        change_episode(root, change)

    return defect


def _missing_column(root: Path) -> None:
    column = vector_column(root)
    change_episode(root, lambda table, first: table.drop_columns([column]))


def _missing_episode(root: Path) -> None:
    path = data_file(root)
    table = pq.read_table(path)
    rest = table.filter(pc.not_equal(table["episode_index"], EPISODE))
    if rest.num_rows:
        pq.write_table(rest, path)
    else:
        path.unlink()


def video_file(root: Path, episode: int = EPISODE) -> Path:
    """The first camera's mp4 of the episode (v3.0: of the file that holds it)."""
    found = sorted(root.glob(f"videos/**/episode_{episode:06d}.mp4"))
    if not found:
        name = data_file(root, episode).with_suffix(".mp4").name
        found = sorted(root.glob(f"videos/**/{name}"))
    return found[0]


def _video_short(root: Path) -> None:
    """Five frames less, remuxed."""
    import av

    path = video_file(root)
    with av.open(io.BytesIO(path.read_bytes())) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        out = target.add_stream_from_template(stream, opaque=True)
        packets = [packet for packet in source.demux(stream) if packet.dts is not None]
        for packet in packets[:-5]:
            packet.stream = out
            target.mux(packet)


def _list_type(root: Path) -> None:
    column = vector_column(root)

    def change(table: pa.Table, first: int) -> pa.Table:
        return set_column(
            table, column, table[column].to_pylist(), pa.list_(table.schema.field(column).type.value_type)
        )

    change_episode(root, change)


def _other_precision(root: Path) -> None:
    """float64 where info.json says float32 (float32 where it says float64)."""
    column = vector_column(root)

    def change(table: pa.Table, first: int) -> pa.Table:
        kind = table.schema.field(column).type
        other = pa.float64() if kind.value_type == pa.float32() else pa.float32()
        return set_column(table, column, table[column].to_pylist(), pa.list_(other, kind.list_size))

    change_episode(root, change)


def _short_vector(root: Path) -> None:
    column = vector_column(root)

    def change(table: pa.Table, first: int) -> pa.Table:
        rows = table[column].to_pylist()
        rows[first + FRAME] = rows[first + FRAME][:-1]
        return set_column(table, column, rows, pa.list_(table.schema.field(column).type.value_type))

    change_episode(root, change)


def _ragged_timestamps(root: Path) -> None:
    def change(table: pa.Table, first: int) -> pa.Table:
        times = table["timestamp"].to_numpy().copy()
        mine = table["episode_index"].to_numpy() == EPISODE
        late = mine & (table["frame_index"].to_numpy() >= FRAME)
        times[late] += np.float32(0.01)
        return set_column(table, "timestamp", times)

    change_episode(root, change)


def _task_index(root: Path) -> None:
    def change(table: pa.Table, first: int) -> pa.Table:
        mine = table["episode_index"].to_numpy() == EPISODE
        return set_column(table, "task_index", np.where(mine, 7, table["task_index"].to_numpy()))

    change_episode(root, change)


def episodes_parquet(root: Path) -> Path:
    return root / "meta" / "episodes" / "chunk-000" / "file-000.parquet"


def change_episodes(root: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Rows of episodes.jsonl or of v3.0's meta/episodes, changed in place."""
    path = root / "meta" / "episodes.jsonl"
    if path.exists():
        rows = lines_of(path)
        change(rows)
        write_lines(path, rows)
    else:
        table = pq.read_table(episodes_parquet(root))
        rows = table.to_pylist()
        change(rows)
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), episodes_parquet(root))


def _bad_length(root: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[EPISODE]["length"] += 5

    change_episodes(root, change)


def _remove(v2: str, v3: str) -> Callable[[Path], None]:
    def defect(root: Path) -> None:
        (root / v2 if (root / v2).exists() else root / v3).unlink()

    return defect


def _lfs_pointer(root: Path) -> None:
    data_file(root).write_text(LFS_POINTER)


def _truncated(root: Path) -> None:
    path = data_file(root)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _wrong_file_index(root: Path) -> None:
    """v3.0 as lerobot 0.4.0-0.4.4 converts it: the first episode of each later file says the file before its own."""

    def change(rows: list[dict[str, Any]]) -> None:
        files = [row["data/file_index"] for row in rows]
        for before, row, file in zip(files, rows[1:], files[1:], strict=False):
            if file != before:
                row["data/file_index"] = before

    change_episodes(root, change)


def _video_folders(into: str) -> Callable[[Path], None]:
    """v2.x: each camera's folder elsewhere. `into` with {chunk}, {camera} (without observation.images.)."""

    def defect(root: Path) -> None:
        for folder in sorted(root.glob("videos/chunk-*/observation.images.*")):
            camera = folder.name.removeprefix("observation.images.")
            target = root / "videos" / into.format(chunk=folder.parent.name, camera=camera)
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(target)
        for chunk in root.glob("videos/chunk-*"):
            if not any(chunk.iterdir()):
                chunk.rmdir()

    return defect


def _splits(value: dict[str, str]) -> Callable[[Path], None]:
    def defect(root: Path) -> None:
        write_json(root / "meta" / "info.json", info_of(root) | {"splits": value})

    return defect


#: The 17 that nothing may accept silently.
SEVENTEEN: dict[str, Callable[[Path], None]] = {
    "missing_column": _missing_column,
    "null_value": _value(None, place=None),
    "nan": _value(float("nan")),
    "inf": _value(float("inf")),
    "missing_episode": _missing_episode,
    "missing_video": lambda root: video_file(root).unlink(),
    "list_type": _list_type,
    "f64": _other_precision,
    "short_vector": _short_vector,
    "bad_length_meta": _bad_length,
    "no_episodes_jsonl": _remove("meta/episodes.jsonl", "meta/episodes/chunk-000/file-000.parquet"),
    "no_tasks_jsonl": _remove("meta/tasks.jsonl", "meta/tasks.parquet"),
    "lfs_pointer": _lfs_pointer,
    "truncated_parquet": _truncated,
    "ragged_timestamps": _ragged_timestamps,
    "task_index_out_of_range": _task_index,
    "video_short": _video_short,
}

DEFECTS: dict[str, Callable[[Path], None]] = SEVENTEEN | {
    "null_inside": _value(None),
    "wrong_file_index": _wrong_file_index,
    "video_folders_bare": _video_folders("{chunk}/{camera}"),
    "video_folders_flat": _video_folders("observation.images.{camera}"),
    "video_folders_bare_flat": _video_folders("{camera}"),
    "partial_splits": _splits({"train": "0:1"}),
    "no_splits": _splits({}),
}
