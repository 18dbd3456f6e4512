"""The rows of episodes in parquet files: a file each in v2.x, a piece of a shared file in v3.0.

Of v3.0's meta, data/file_index is not believed: lerobot 0.4.0-0.4.4 writes it wrong for the first episode of every file
after the first (huggingface/lerobot#2401, fixed in #3656). An episode is where the episode_index column has its number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from dm_isaac_g1.data.columns import ARROW_ERRORS, integers, missing_column, open_parquet, read_table, unreadable
from dm_isaac_g1.data.episodes import EPISODES, EPISODES_V3, Episode, missing_episode
from dm_isaac_g1.data.info import Info
from dm_isaac_g1.data.problems import IntegrityError

#: Rows held at once of a shared file: more than an episode has, less than memory notices.
_BATCH = 8192
#: Bytes of each column read ahead: a row group may hold all rows of the dataset, and is never held whole.
_BUFFER = 1 << 16


class RowFiles:
    """Reads episodes of one dataset; keeps the last shared file open, and reads it on from where it stands."""

    def __init__(self, path_of: Callable[[str], Path], info: Info, root: Path) -> None:
        self._path_of = path_of
        self._info = info
        self._root = root
        self._indices: dict[str, dict[int, tuple[int, int]]] = {}
        self._stream: _Stream | None = None

    def read(self, episode: Episode, columns: Sequence[str] | None) -> pa.Table:
        """The rows of an episode that was located. Raises IntegrityError, SchemaError."""
        if episode.rows is None:
            path = self._path_of(episode.file)
            if not path.is_file():
                raise self._no_file(episode)
            table = read_table(path, columns, file=episode.file)
            self.check_length(episode, len(table), episode.file)
            return table
        wanted = None if columns is None else tuple(columns)
        if self._stream is None or not self._stream.continues(episode.file, wanted, episode.rows[0]):
            if self._stream is not None:
                self._stream.close()
            self._stream = _Stream(self._path_of(episode.file), episode.file, wanted)
        return self._stream.read(*episode.rows)

    def _no_file(self, episode: Episode) -> IntegrityError:
        others = [file for file in self._every_file() if not Path(file).name.startswith("episode_")]
        fix = "`dm-g1 data split` finds episodes in shared files by their number" if others else None
        what = f"episode {episode.index} has no file"
        return IntegrityError("missing-episode", what, file=episode.file, episode=episode.index, fix=fix)

    def locate(self, episode: Episode) -> Episode:
        """The episode with the file and rows where the episode_index column has its number. Raises IntegrityError."""
        for file in self._candidates(episode):
            rows = self._index(file).get(episode.index)
            if rows is not None:
                self.check_length(episode, rows[1] - rows[0], file)
                return msgspec.structs.replace(episode, file=file, rows=rows)
        raise missing_episode(episode.index)

    def everything(self) -> dict[int, tuple[str, tuple[int, int]]]:
        """Episode -> file and rows, of all that the parquet files in data/ hold. Raises IntegrityError."""
        found: dict[int, tuple[str, tuple[int, int]]] = {}
        for file in self._every_file():
            for number, rows in self._index(file).items():
                if number in found:
                    what = f"has rows of episode {number}, and so has {found[number][0]}"
                    raise IntegrityError("duplicate-episode", what, file=file, episode=number)
                found[number] = (file, rows)
        return found

    def _every_file(self) -> list[str]:
        return sorted(path.relative_to(self._root).as_posix() for path in (self._root / "data").rglob("*.parquet"))

    def _candidates(self, episode: Episode) -> Iterator[str]:
        if (self._root / episode.file).exists():
            yield episode.file
        yield from (file for file in self._every_file() if file != episode.file)

    def _index(self, file: str) -> dict[int, tuple[int, int]]:
        """Episode -> rows of a shared file. Raises IntegrityError where an episode's rows do not follow one another."""
        if file not in self._indices:
            table = read_table(self._path_of(file), ["episode_index"], file=file)
            self._indices[file] = episode_rows(integers(table, "episode_index", file=file), file=file)
        return self._indices[file]

    def check_length(self, episode: Episode, found: int, file: str) -> None:
        """Raises IntegrityError unless an episode has as many frames as listed."""
        if found != episode.length:
            listed = EPISODES_V3 if self._info.version == "3.0" else EPISODES
            what = f"episode {episode.index} has {found} frames, {listed} says {episode.length}"
            raise IntegrityError("length-differs", what, file=file, episode=episode.index)


def episode_rows(numbers: Any, *, file: str) -> dict[int, tuple[int, int]]:
    """Episode -> its rows (end exclusive), of an episode_index column. Raises IntegrityError for scattered rows."""
    if not len(numbers):
        return {}
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
    ends = np.append(starts[1:], len(numbers))
    found: dict[int, tuple[int, int]] = {}
    for number, start, end in zip(numbers[starts].tolist(), starts.tolist(), ends.tolist(), strict=True):
        if number in found:
            what = (
                f"rows of episode {number} do not follow one another: from row {found[number][0]} and from row {start}"
            )
            raise IntegrityError("scattered-rows", what, file=file, episode=number)
        found[number] = (start, end)
    return found


class _Stream:
    """A shared parquet file, read forward in batches; holds the batches of the last episode only."""

    def __init__(self, path: Path, file: str, columns: tuple[str, ...] | None) -> None:
        self._path, self._file, self._columns = path, file, columns
        self._parquet = open_parquet(path, file=file, buffer=_BUFFER)
        there = self._parquet.schema_arrow.names
        for column in columns or ():
            if column not in there:
                self.close()
                raise missing_column(column, there, file=file)
        wanted = None if columns is None else list(columns)
        self._batches = self._parquet.iter_batches(_BATCH, columns=wanted, use_threads=False)
        self._held: list[Any] = []
        self._first = 0  # row of the first held batch
        self._next = 0  # row after the last held one

    def continues(self, file: str, columns: tuple[str, ...] | None, row: int) -> bool:
        return (file, columns) == (self._file, self._columns) and row >= self._first

    def read(self, start: int, end: int) -> pa.Table:
        while self._next < end:
            try:
                batch = next(self._batches)
            except StopIteration:
                raise IntegrityError("unreadable", f"ends at row {self._next}", file=self._file) from None
            except ARROW_ERRORS as error:
                raise unreadable(self._path, self._file, error) from None
            self._held.append(batch)
            self._next += len(batch)
        while self._held and self._first + len(self._held[0]) <= start:
            self._first += len(self._held.pop(0))
        return pa.Table.from_batches(self._held).slice(start - self._first, end - start)

    def close(self) -> None:
        self._parquet.close()
