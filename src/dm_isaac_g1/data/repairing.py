"""The steps of a repair: each is said in a line, done at once or not at all, and does nothing twice.

None writes over a file that it was not made for: a new file is refused where one stands by now, a changed one where it
is not the one that the plan was made of.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dm_isaac_g1.data.columns import integers, open_parquet, read_open
from dm_isaac_g1.data.problems import RefusedOutput
from dm_isaac_g1.data.rows import episode_rows
from dm_isaac_g1.data.writing import replace_file

#: As lerobot's files have it; floats in a dictionary make files slower and bigger.
_DICTIONARY = ["episode_index", "task_index"]


class Create(msgspec.Struct, frozen=True):
    """A file that is missing."""

    file: str
    data: bytes
    says: str

    @property
    def line(self) -> str:
        return f"write {self.file}: {self.says}"

    def do(self, root: Path) -> None:
        if os.path.lexists(root / self.file):
            raise _changed(self.file, "is there by now")
        replace_file(root / self.file, self.data)


class Replace(msgspec.Struct, frozen=True):
    """A file whose content is corrected. `was`: sha256 of what it is made of."""

    file: str
    data: bytes
    was: str
    says: str

    @property
    def line(self) -> str:
        return f"correct {self.file}: {self.says}"

    def do(self, root: Path) -> None:
        if digest(root / self.file) != self.was:
            raise _changed(self.file, "changed since the plan was made")
        replace_file(root / self.file, self.data)


class MoveFolder(msgspec.Struct, frozen=True):
    """Videos of a camera from one folder into another. `names`: (source, target), relative to the dataset."""

    folder: str
    into: str
    names: tuple[tuple[str, str], ...]

    @property
    def line(self) -> str:
        count = len(self.names)
        return f"move {count} video{'s' * (count != 1)} from {self.folder} to {self.into}"

    def do(self, root: Path) -> None:
        boundary = root.resolve()
        for source, target in self.names:
            for path in (root / source, root / target):
                if not path.resolve().is_relative_to(boundary):
                    raise _changed(str(path.relative_to(root)), "leads out of the dataset")
            if os.path.lexists(root / target):
                raise _changed(target, "is there by now")
            (root / target).parent.mkdir(parents=True, exist_ok=True)
            (root / source).rename(root / target)
        self._remove_empty(root)

    def _remove_empty(self, root: Path) -> None:
        """The folders that were left, up to videos/, if nothing else is in them."""
        for source, _ in self.names:
            folder = (root / source).parent
            while folder != root / "videos" and folder.is_relative_to(root / "videos"):
                try:
                    folder.rmdir()
                except OSError:
                    break
                folder = folder.parent


class Retime(msgspec.Struct, frozen=True):
    """Timestamps of a parquet file as frame / fps, in every episode from 0. All else stays as it is."""

    file: str
    fps: float
    shared: bool

    @property
    def line(self) -> str:
        return f"set the timestamps in {self.file} to frame / {self.fps:g}"

    def do(self, root: Path) -> None:
        path = root / self.file
        with open_parquet(path, file=self.file) as parquet:
            table = read_open(parquet, None, path=path, file=self.file)
        times = np.arange(table.num_rows, dtype=np.float64)
        if self.shared:
            for first, end in episode_rows(integers(table, "episode_index", file=self.file), file=self.file).values():
                times[first:end] -= first
        place = table.schema.get_field_index("timestamp")
        field = table.schema.field(place)
        table = table.set_column(place, field, pa.array((times / self.fps).astype(np.float32)).cast(field.type))
        _replace_table(path, table)


class RelocateEpisodes(msgspec.Struct, frozen=True):
    """v3.0: data/chunk_index and data/file_index in a file of meta/episodes, as the episode_index column has it.

    `places`: episode -> chunk and file.
    """

    file: str
    was: str
    places: dict[int, tuple[int, int]]
    says: str

    @property
    def line(self) -> str:
        return f"correct {self.file}: {self.says}"

    def do(self, root: Path) -> None:
        path = root / self.file
        if digest(path) != self.was:
            raise _changed(self.file, "changed since the plan was made")
        with open_parquet(path, file=self.file) as parquet:
            table = read_open(parquet, None, path=path, file=self.file)
        numbers = integers(table, "episode_index", file=self.file).tolist()
        for part, column in enumerate(("data/chunk_index", "data/file_index")):
            place = table.schema.get_field_index(column)
            values = integers(table, column, file=self.file).tolist()
            right = [self.places[n][part] if n in self.places else v for n, v in zip(numbers, values, strict=True)]
            field = table.schema.field(place)
            table = table.set_column(place, field, pa.array(right, pa.int64()).cast(field.type))
        _replace_table(path, table)


Step = Create | Replace | MoveFolder | Retime | RelocateEpisodes


def digest(path: Path) -> str:
    """sha256 of a file. Raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _replace_table(path: Path, table: pa.Table) -> None:
    """Beside, fsynced, renamed: whoever looks finds the old file or the whole new one."""
    beside = path.with_name(f".{path.name}.writing")
    try:
        with beside.open("wb") as stream:
            pq.write_table(table, stream, compression="snappy", use_dictionary=_DICTIONARY)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _changed(file: str, what: str) -> RefusedOutput:
    return RefusedOutput("changed", what, file=file, fix="repair again: it looks anew")
