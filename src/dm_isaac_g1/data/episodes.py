"""The episodes and tasks of a dataset as its meta folder lists them: how long, which instruction, in which files.

v2.x: meta/episodes.jsonl and tasks.jsonl, one parquet and one video a camera for every episode. v3.0: parquet files in
meta/episodes and meta/tasks.parquet; many episodes share a parquet and a video. Sources: lerobot 0.3.3 and 0.4.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from dm_isaac_g1.data.info import Info, data_file, data_file_v3, video_file, video_file_v3
from dm_isaac_g1.data.jsonfiles import read_jsonl
from dm_isaac_g1.data.problems import DataProblem, IntegrityError, SchemaError

EPISODES = "meta/episodes.jsonl"
TASKS = "meta/tasks.jsonl"
EPISODES_V3 = "meta/episodes"
TASKS_V3 = "meta/tasks.parquet"

#: Columns of meta/episodes/**.parquet beside those of videos; statistics are left unread.
_V3_COLUMNS = ("episode_index", "tasks", "length", "data/chunk_index", "data/file_index")
_V3_CLIP = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")


class Clip(msgspec.Struct, frozen=True):
    """Where an episode's frames lie in a video file: seconds from `start` to `end`; None: to the file's end."""

    file: str
    start: float = 0.0
    end: float | None = None


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """One recording. Files are relative to the dataset; `start` is the global index of its first frame.

    `rows`: where it stands in the parquet file, end exclusive; None: the file is all its own (v2.x), or nobody looked
    yet (v3.0: `Dataset.locate` does, by the episode_index column).
    """

    index: int
    length: int
    tasks: tuple[str, ...]
    file: str
    start: int
    rows: tuple[int, int] | None = None
    videos: dict[str, Clip] = {}


def read_episodes(root: Path, info: Info) -> list[Episode]:
    """All episodes by number. Numbers may have gaps (see `missing_numbers`), but none comes twice.

    Raises IntegrityError and SchemaError; nothing but meta/ is looked at.
    """
    rows = sorted(_rows_v3(root, info) if info.version == "3.0" else _rows_v2(root, info), key=lambda row: row.index)
    where = EPISODES_V3 if info.version == "3.0" else EPISODES
    if not rows:
        raise IntegrityError("no-episodes", "no episodes", file=where)
    episodes: list[Episode] = []
    start = 0
    for row in rows:
        if episodes and episodes[-1].index == row.index:
            raise IntegrityError("duplicate-episode", f"lists episode {row.index} twice", file=where, episode=row.index)
        episodes.append(msgspec.structs.replace(row, start=start))
        start += row.length
    return episodes


#: As many missing numbers are told of: a hostile list may begin at the number 2**53.
_MOST_MISSING = 1000


def missing_numbers(episodes: Iterable[Episode]) -> tuple[int, ...]:
    """Numbers from 0 to the last that no episode has, the first thousand of them."""
    found: list[int] = []
    expected = 0
    for number in sorted(episode.index for episode in episodes):
        found += range(expected, min(number, expected + _MOST_MISSING - len(found)))
        expected = number + 1
    return tuple(found)


def missing_episode(number: int) -> IntegrityError:
    """The error for an episode without rows."""
    return IntegrityError("missing-episode", "is listed, and no parquet file has its rows", episode=number)


# --- v2.0 and v2.1 ----------------------------------------------------------------------------------------------------


def _rows_v2(root: Path, info: Info) -> list[Episode]:
    found = []
    for number, row in _lines(root, EPISODES, "the episodes and their lengths are listed there"):
        where = f"{EPISODES}:{number}"
        index, length = _whole(row, "episode_index"), _whole(row, "length")
        if index is None or length is None:
            raise IntegrityError("bad-episode", "not an episode (episode_index and length)", file=where)
        if length == 0:
            what = f"episode {index} has length 0: there are no episodes without frames"
            raise IntegrityError("empty-episode", what, file=where, episode=index)
        found.append(
            Episode(
                index=index,
                length=length,
                tasks=_texts(row.get("tasks", ()), where, index),
                file=data_file(info, index),
                start=0,
                videos={key: Clip(video_file(info, key, index)) for key in info.cameras},
            )
        )
    return found


def _lines(root: Path, file: str, what: str) -> list[tuple[int, Any]]:
    try:
        return read_jsonl(root, file)
    except DataProblem as problem:
        if problem.finding.code == "file-missing":
            code = f"no-{Path(file).stem}-jsonl"
            fix = "`dm-g1 data repair` writes it from the parquet files"
            raise IntegrityError(code, f"No such file, and {what}", file=file, fix=fix) from None
        if problem.finding.code == "not-json" and file == EPISODES:
            what = f"not an episode (episode_index and length): {problem.finding.what}"
            raise IntegrityError("not-json", what, file=problem.finding.place.file) from None
        raise


def _whole(row: Any, key: str) -> int | None:
    value = row.get(key) if isinstance(row, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else None


def _texts(given: Any, where: str, episode: int) -> tuple[str, ...]:
    tasks = [given] if isinstance(given, str) else given
    if not isinstance(tasks, (list, tuple)) or not all(isinstance(task, str) for task in tasks):
        raise IntegrityError("bad-episode", f"tasks are {given!r}, expected texts", file=where, episode=episode)
    return tuple(tasks)


# --- v3.0 -------------------------------------------------------------------------------------------------------------


def _rows_v3(root: Path, info: Info) -> list[Episode]:
    from dm_isaac_g1.data.columns import open_parquet, python_rows, read_open

    folder = root / EPISODES_V3
    files = sorted(path.relative_to(root).as_posix() for path in folder.glob("*/*.parquet"))
    if not files:
        what = "No such files, and the episodes and their lengths are listed there"
        raise IntegrityError("no-episodes-parquet", what, file=f"{EPISODES_V3}/chunk-000/file-000.parquet")
    clips = [f"videos/{key}/{part}" for key in info.cameras for part in _V3_CLIP]
    found: list[Episode] = []
    for file in files:
        with open_parquet(root / file, file=file) as parquet:
            table = read_open(parquet, [*_V3_COLUMNS, *clips], path=root / file, file=file)
        found += [_row_v3(info, row, file) for row in python_rows(table, path=root / file, file=file)]
    return found


def _row_v3(info: Info, row: dict[str, Any], file: str) -> Episode:
    index, length = _whole(row, "episode_index"), _whole(row, "length")
    chunk, number = _whole(row, "data/chunk_index"), _whole(row, "data/file_index")
    if index is None or length is None or chunk is None or number is None:
        raise IntegrityError(
            "bad-episode", "a row without episode_index, length, or data file", file=file, episode=index
        )
    if length == 0:
        what = f"episode {index} has length 0: there are no episodes without frames"
        raise IntegrityError("empty-episode", what, file=file, episode=index)
    return Episode(
        index=index,
        length=length,
        tasks=_texts(row["tasks"] or (), file, index),
        file=data_file_v3(info, chunk, number),
        start=0,
        videos={key: _clip_v3(info, row, key, file, index) for key in info.cameras},
    )


def _clip_v3(info: Info, row: dict[str, Any], key: str, file: str, episode: int) -> Clip:
    chunk, number = (_whole(row, f"videos/{key}/{part}") for part in _V3_CLIP[:2])
    start, end = (row[f"videos/{key}/{part}"] for part in _V3_CLIP[2:])
    if chunk is None or number is None or not isinstance(start, float) or not isinstance(end, float):
        what = f"no video file or times for {key}"
        raise IntegrityError("bad-episode", what, file=file, episode=episode, joint=key)
    if not 0 <= start < end < float("inf"):
        what = f"{key} is said to last from {start} to {end} s"
        raise IntegrityError("bad-clip", what, file=file, episode=episode, joint=key)
    return Clip(video_file_v3(info, key, chunk, number), start, end)


# --- Tasks ------------------------------------------------------------------------------------------------------------


def read_tasks(root: Path, info: Info) -> dict[int, str]:
    """task_index -> instruction. Raises IntegrityError and SchemaError."""
    file = TASKS_V3 if info.version == "3.0" else TASKS
    tasks: dict[int, str] = {}
    for where, index, task in _tasks_v3(root) if info.version == "3.0" else _tasks_v2(root):
        if index is None or not isinstance(task, str):
            raise IntegrityError("bad-task", "not a task (task_index and task)", file=where)
        if tasks.setdefault(index, task) != task:
            raise IntegrityError("duplicate-task", f"lists task {index} twice", file=where)
    if not tasks:
        raise IntegrityError("no-tasks", "no tasks", file=file)
    return tasks


def _tasks_v2(root: Path) -> list[tuple[str, int | None, Any]]:
    lines = _lines(root, TASKS, "the instructions are listed there")
    return [
        (f"{TASKS}:{number}", _whole(row, "task_index"), row.get("task") if isinstance(row, dict) else None)
        for number, row in lines
    ]


def _tasks_v3(root: Path) -> list[tuple[str, int | None, Any]]:
    """The text is pandas' index: the column beside task_index, `__index_level_0__` (0.4) or `task`."""
    from dm_isaac_g1.data.columns import python_rows, read_table

    table = read_table(root / TASKS_V3, file=TASKS_V3)
    texts = [name for name in table.column_names if name != "task_index"]
    if "task_index" not in table.column_names or not texts:
        found = ", ".join(table.column_names)
        raise SchemaError("missing-column", f"expected a text and task_index, found {found}", file=TASKS_V3)
    text = next((name for name in ("__index_level_0__", "task") if name in texts), texts[0])
    rows = python_rows(table, path=root / TASKS_V3, file=TASKS_V3)
    return [(TASKS_V3, _whole(row, "task_index"), row[text]) for row in rows]
