"""Checks of the parquet files: there, readable, the right columns, the right rows, no value missing.

One pass over the files, in the order of the episodes. Read are the five index columns; the values themselves with
`deep`, or where there are few, or where a file's own statistics hint at a fault (they count nulls and know the
extremes, but leave NaN out).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from dm_isaac_g1.data.columns import integers, matrix, open_parquet, read_open, scalars
from dm_isaac_g1.data.episodes import Episode
from dm_isaac_g1.data.info import DEFAULT_COLUMNS, Feature
from dm_isaac_g1.data.problems import DataProblem, Finding, IntegrityError
from dm_isaac_g1.data.rows import RowFiles, episode_rows
from dm_isaac_g1.data.validate.limits import Limits, watched
from dm_isaac_g1.data.validate.pieces import CHECKS, Piece
from dm_isaac_g1.data.validate.subject import Subject

#: Bytes of parquet up to which a fast validation reads all values, too: a second of work.
FEW = 64 << 20
#: Frames in one file and in one episode: at 30 a second, four days and nine hours without a break.
MOST_ROWS, LONGEST = 10_000_000, 1_000_000
#: Bytes of values up to which a file is read at once; of a larger one, an episode at a time.
AT_ONCE = 256 << 20

Stored = dict[str, dict[str, tuple[int, str]]]


def check(subject: Subject) -> Iterator[Finding]:
    """All findings of all parquet files; fills `subject.lengths`."""
    yield from _Rows(subject).check()


class _Rows:
    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.info = subject.info
        self.columns = {k: f for k, f in self.info.features.items() if not f.is_video and k not in DEFAULT_COLUMNS}
        self.parquet = sorted(file for file in subject.files if file.startswith("data/") and file.endswith(".parquet"))
        few = sum(subject.files[file] for file in self.parquet) <= FEW
        self.read_values = subject.deep or few
        self.limits: dict[str, Limits] = watched(self.info) if subject.deep else {}
        #: Column -> how it is stored, where that is not as info.json says -> files, first file.
        self.stored: Stored = {}
        self.extra: Stored = {}
        #: Where the next episode's `index` begins; None: not known after a gap.
        self.start: int | None = 0
        self.last = -1

    def check(self) -> Iterator[Finding]:
        if self.subject.shared:
            yield from self._shared()
        else:
            yield from self._one_each()
        yield from self._remarks()
        for limits in self.limits.values():
            yield from limits.findings(self.subject.finding)

    # --- Which episodes are in which file ---------------------------------------------------------------------------

    def _one_each(self) -> Iterator[Finding]:
        """v2.x: a file for every episode."""
        expected = {episode.file for episode in self.subject.episodes}
        orphans = [file for file in self.parquet if file not in expected]
        combined = [file for file in orphans if self._holds_many(file)]
        for file in combined:
            what = "holds rows of many episodes, v2.x has a file for each"
            yield self.subject.finding("combined-parquet", what, file=file)
        total = len(self.subject.episodes)
        for done, episode in enumerate(self.subject.episodes):
            if not done % 50:
                self.subject.work.progress("checking rows", done, total, "episodes")
            if episode.file in self.subject.files:
                yield from self._file(episode.file, [episode])
            else:
                self.start = None
                if not combined:
                    yield self._missing(episode)
        if self.subject.listed:
            for file in orphans:
                if file not in combined:
                    yield self.subject.finding("orphan-parquet", "belongs to no listed episode", file=file)

    def _shared(self) -> Iterator[Finding]:
        """v3.0: by the episode_index column, whatever data/file_index says."""
        if self.info.version != "3.0":
            what = f"data_path is {self.info.data_path!r}: many episodes in a file, v2.x has a file for each"
            yield self.subject.finding("combined-parquet", what, file=self.parquet[0] if self.parquet else None)
        listed = {episode.index: episode for episode in self.subject.episodes}
        for done, file in enumerate(self.parquet):
            self.subject.work.progress("checking rows", done, len(self.parquet), "files")
            yield from self._file(file, list(listed.values()) if self.subject.listed else None)
        found = self.subject.lengths
        if self.subject.listed and not self.subject.gathered.has("unreadable", "lfs-pointer", "scattered-rows"):
            for episode in self.subject.episodes:
                if episode.index not in found:
                    what = f"episode {episode.index} is listed, and no parquet file has its rows"
                    yield self.subject.finding("missing-episode", what, file=episode.file, episode=episode.index)
        if not self.subject.listed:
            self.subject.episodes = [
                Episode(index=n, length=0, tasks=(), file="", start=0) for n in sorted(self.subject.lengths)
            ]

    def _missing(self, episode: Episode) -> Finding:
        what = f"episode {episode.index} of {episode.length} frames has no file"
        return self.subject.finding("missing-parquet", what, file=episode.file, episode=episode.index)

    def _holds_many(self, file: str) -> bool:
        """Whether a file that belongs to no episode has rows of several."""
        try:
            table = self._read(file, ["episode_index"])
            numbers = integers(table, "episode_index", file=file)
        except DataProblem:
            return False
        return len(numbers) > 0 and bool((numbers != numbers[0]).any())

    def _read(self, file: str, columns: list[str]) -> pa.Table:
        path = self.subject.path_of(file)
        with open_parquet(path, file=file) as parquet:
            refuse_hostile(parquet, file)
            return read_open(parquet, columns, path=path, file=file)

    # --- One file ---------------------------------------------------------------------------------------------------

    def _file(self, file: str, episodes: list[Episode] | None) -> Iterator[Finding]:
        """`episodes`: that may stand in it; None: whatever its episode_index column says."""
        alone = episodes[0].index if episodes and not self.subject.shared else None
        try:
            path = self.subject.path_of(file)
            with open_parquet(path, file=file) as parquet:
                refuse_hostile(parquet, file)
                yield from self._of_file(parquet, file, episodes, alone)
        except DataProblem as problem:
            self.start = None
            yield self.subject.finding.of(problem, file=file, episode=alone)

    def _of_file(self, parquet: Any, file: str, episodes: list[Episode] | None, alone: int | None) -> Iterator[Finding]:
        schema = parquet.schema_arrow
        there = set(schema.names)
        for column in (*self.columns, *DEFAULT_COLUMNS):
            if column not in there:
                what = f"column {column} is missing (found: {', '.join(schema.names)})"
                yield self.subject.finding("missing-column", what, file=file, episode=alone, joint=column)
        self._remark(schema, file)
        wanted = [column for column in DEFAULT_COLUMNS if column in there]
        path = self.subject.path_of(file)
        table = read_open(parquet, wanted, path=path, file=file)
        numbers: dict[str, Any] = {}
        for column in wanted:
            try:
                read = scalars if column == "timestamp" else integers
                numbers[column] = read(table, column, episode=alone, file=file)
            except DataProblem as problem:
                yield self.subject.finding.of(problem, file=file, episode=alone)
        pieces = yield from self._pieces(file, episodes, numbers, table.num_rows)
        yield from self._values(parquet, path, file, pieces)

    def _pieces(
        self, file: str, episodes: list[Episode] | None, numbers: dict[str, Any], rows: int
    ) -> Generator[Finding, None, list[tuple[int, int, int]]]:
        """Checks every episode's rows; returns (episode, start, end) of each."""
        if self.subject.shared:
            if "episode_index" not in numbers:
                return []
            ranges = episode_rows(numbers["episode_index"], file=file)
        else:
            assert episodes
            ranges = {episodes[0].index: (0, rows)}
        listed = None if episodes is None else {episode.index: episode for episode in episodes}
        pieces: list[tuple[int, int, int]] = []
        for number, (first, end) in ranges.items():
            episode = Episode(index=number, length=0, tasks=(), file=file, start=0)
            if number - 1 != self.last:
                self.start = None if number else 0
            self.last = number
            if listed is not None and number not in listed:
                what = f"{end - first} rows of episode {number}, which is not listed"
                yield self.subject.finding("unlisted-episode", what, file=file, episode=number)
                self.start = None
            elif listed is not None:
                episode = listed[number]
            pieces.append((number, first, end))
            yield from self._piece(episode, file, end - first, {k: v[first:end] for k, v in numbers.items()})
        return pieces

    def _piece(self, episode: Episode, file: str, frames: int, columns: dict[str, Any]) -> Iterator[Finding]:
        found = self.subject.lengths
        if episode.index in found:
            what = f"episode {episode.index} has rows in another file, too"
            yield self.subject.finding("scattered-rows", what, file=file, episode=episode.index)
        found[episode.index] = found.get(episode.index, 0) + frames
        if episode.length and frames != episode.length:
            what = f"episode {episode.index} has {frames} rows, its listed length is {episode.length}"
            yield self.subject.finding("length-differs", what, file=file, episode=episode.index)
        if not frames:
            yield self.subject.finding("empty-episode", "has no rows", file=file, episode=episode.index)
            return
        if episode.file and episode.file != file:
            what = f"is listed in {episode.file}, found in {file} by its episode_index column"
            yield self.subject.finding("wrong-file-index", what, file=file, episode=episode.index)
        piece = Piece(self.subject, episode, file, frames, columns, self.start)
        for check_piece in CHECKS:
            yield from check_piece(piece)
        if "index" in columns:
            self.start = int(columns["index"][-1]) + 1 if self.start is None else self.start + frames

    # --- Values -----------------------------------------------------------------------------------------------------

    def _values(self, parquet: Any, path: Any, file: str, pieces: list[tuple[int, int, int]]) -> Iterator[Finding]:
        there = set(parquet.schema_arrow.names)
        columns = {k: f for k, f in self.columns.items() if k in there and f.is_numeric and len(f.shape) == 1}
        if not self.read_values:
            suspects = _suspects(parquet, columns)
            columns = {k: f for k, f in columns.items() if k in suspects}
        if not columns:
            return
        yield from self._swollen(parquet, columns, file)
        tables: Iterator[tuple[int, pa.Table]]
        if parquet.metadata.num_rows * sum(8 * f.width for f in columns.values()) <= AT_ONCE:
            table = read_open(parquet, list(columns), path=path, file=file)
            tables = ((number, table.slice(first, end - first)) for number, first, end in pieces)
        else:
            tables = self._one_by_one(file, list(columns), pieces)
        for number, rows in tables:
            self.subject.work.check()
            for column, feature in columns.items():
                yield from self._column(rows, column, feature, file, number)

    def _swollen(self, parquet: Any, columns: dict[str, Feature], file: str) -> Iterator[Finding]:
        """Lists of any length may hold a thousand times the values they should: those are not read at all."""
        metadata, names = parquet.metadata, parquet.schema_arrow.names
        if metadata.num_columns != len(names):
            return
        for place, name in enumerate(names):
            if name in columns:
                there = sum(metadata.row_group(i).column(place).num_values for i in range(metadata.num_row_groups))
                if there > 2 * metadata.num_rows * columns[name].width:
                    del columns[name]
                    what = f"column {name} holds {there} values in {metadata.num_rows} frames"
                    yield self.subject.finding("wrong-width", what, file=file, joint=name)

    def _one_by_one(
        self, file: str, columns: list[str], pieces: list[tuple[int, int, int]]
    ) -> Iterator[tuple[int, pa.Table]]:
        """Episode after episode of a large file; memory holds one."""
        files = RowFiles(self.subject.path_of, self.info, self.subject.root)
        for number, first, end in pieces:
            if end - first > LONGEST:
                what = f"{end - first} rows of one episode"
                raise IntegrityError("too-many-rows", what, file=file, episode=number)
            episode = Episode(index=number, length=end - first, tasks=(), file=file, start=0, rows=(first, end))
            yield number, files.read(episode, columns)

    def _column(self, table: pa.Table, column: str, feature: Feature, file: str, episode: int) -> Iterator[Finding]:
        try:
            values = matrix(table, column, feature.width, episode=episode, file=file, names=feature.labels(column))
        except DataProblem as problem:
            yield self.subject.finding.of(problem, file=file, episode=episode)
            return
        if column in self.limits:
            self.limits[column].add(values)

    # --- How columns are stored -------------------------------------------------------------------------------------

    def _remark(self, schema: pa.Schema, file: str) -> None:
        """Note columns that are stored in another way than info.json says; said once each, at the end."""
        for field in schema:
            feature = self.info.features.get(field.name)
            if feature is None:
                _count(self.extra, field.name, str(field.type), file)
                continue
            kind = field.type
            if pa.types.is_list(kind) or pa.types.is_large_list(kind):
                _count(self.stored, field.name, "list", file)
            value = getattr(kind, "value_type", kind)
            if pa.types.is_floating(value) and feature.is_float and _name_of(value) != feature.dtype:
                _count(self.stored, field.name, _name_of(value), file)

    def _remarks(self) -> Iterator[Finding]:
        for column, ways in self.stored.items():
            for way, (files, first) in ways.items():
                count = f"in {files} of {len(self.parquet)} files"
                if way == "list":
                    what = f"{column} is stored as lists of any length {count}"
                    yield self.subject.finding("variable-list", what, file=first, joint=column)
                else:
                    what = f"{column} is stored as {way} {count}, info.json says {self.info.features[column].dtype}"
                    yield self.subject.finding("other-precision", what, file=first, joint=column)
        for column, ways in self.extra.items():
            first = next(iter(ways.values()))[1]
            yield self.subject.finding("extra-column", f"{column} is not in info.json", file=first, joint=column)
        for column, feature in self.columns.items():
            if feature.is_numeric and len(feature.shape) != 1:
                what = f"values of {column} of shape {list(feature.shape)} are not looked at"
                yield self.subject.finding("not-checked", what, joint=column)
        if not self.read_values:
            yield self.subject.finding("values-not-read", "not every value was read: NaN would not be seen")


def _count(table: Stored, column: str, way: str, file: str) -> None:
    files, first = table.setdefault(column, {}).get(way, (0, file))
    table[column][way] = (files + 1, first)


def _name_of(kind: Any) -> str:
    """Arrow calls them float and double, numpy and info.json float32 and float64."""
    return {"float": "float32", "double": "float64", "halffloat": "float16"}.get(str(kind), str(kind))


def refuse_hostile(parquet: Any, file: str) -> None:
    """A file of a few bytes may promise rows without end."""
    rows = parquet.metadata.num_rows
    if rows > MOST_ROWS:
        raise IntegrityError("too-many-rows", f"claims {rows} rows", file=file)


def _suspects(parquet: Any, columns: dict[str, Feature]) -> set[str]:
    """Columns whose values are to be looked at: of another width, with nulls or infinities, or without statistics."""
    schema, metadata = parquet.schema_arrow, parquet.metadata
    suspects = {name for name in columns if not _of_width(schema.field(name).type, columns[name].width)}
    if metadata.num_columns != len(schema.names):
        return set(columns)
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        for place, name in enumerate(schema.names):
            if name not in columns or name in suspects:
                continue
            found = row_group.column(place).statistics
            if found is None or not found.has_null_count or found.null_count or not found.has_min_max:
                suspects.add(name)
                continue
            if not (np.isfinite(found.min) and np.isfinite(found.max)):
                suspects.add(name)
    return suspects


def _of_width(kind: Any, width: int) -> bool:
    if pa.types.is_fixed_size_list(kind):
        return bool(kind.list_size == width and _is_number(kind.value_type))
    return width == 1 and _is_number(kind)


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))
