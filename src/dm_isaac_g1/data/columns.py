"""Reading columns of parquet files as numpy arrays: every way in which tools write them, nothing filled in.

A vector may be fixed_size_list, list or large_list of float or double; a scalar may be float, double, an integer, or
a list of one. The values are views of Arrow's buffers where that is possible: no Python object per value.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import DTypeLike, NDArray

from dm_isaac_g1.data.jsonfiles import LFS_POINTER, not_downloaded
from dm_isaac_g1.data.problems import DataError, IntegrityError, SchemaError

Array = NDArray[Any]

#: What Arrow raises for a broken file; names and texts that are no UTF-8 end as a plain ValueError.
ARROW_ERRORS = (pa.ArrowException, OSError, ValueError)


def open_parquet(path: Path, *, file: str | None = None, buffer: int = 0) -> Any:
    """A pq.ParquetFile. `file`: how errors call it. `buffer`: bytes of a column held at once; 0: all of a row group.

    Raises IntegrityError: missing, a git-lfs pointer, truncated.
    """
    name = file or str(path)
    try:
        # Not pq.read_table: its dataset layer costs four times the reading itself.
        return pq.ParquetFile(path, buffer_size=buffer, pre_buffer=False)
    except FileNotFoundError:
        raise IntegrityError("file-missing", "No such file", file=name) from None
    except ARROW_ERRORS as error:
        raise unreadable(path, name, error) from None


def read_table(path: Path, columns: Sequence[str] | None = None, *, file: str | None = None) -> pa.Table:
    """The columns of a parquet file, all where None. `file`: how errors call it.

    Raises IntegrityError (see `open_parquet`), SchemaError for a column that is not there.
    """
    with open_parquet(path, file=file) as parquet:
        return read_open(parquet, columns, path=path, file=file)


def read_open(
    parquet: Any,
    columns: Sequence[str] | None,
    *,
    path: Path,
    file: str | None = None,
    row_groups: Sequence[int] | None = None,
) -> pa.Table:
    """The same of a file that is open already; `row_groups`: only these."""
    name = file or str(path)
    if columns is not None:
        there = parquet.schema_arrow.names
        missing = [column for column in columns if column not in there]
        if missing:
            raise missing_column(missing[0], there, file=name)
    wanted = None if columns is None else list(columns)
    try:
        if row_groups is None:
            return parquet.read(columns=wanted, use_threads=False)
        return parquet.read_row_groups(list(row_groups), columns=wanted, use_threads=False)
    except ARROW_ERRORS as error:
        raise unreadable(path, name, error) from None


def python_rows(table: pa.Table, *, path: Path, file: str | None = None) -> list[dict[str, Any]]:
    """A small table as Python's values. Raises IntegrityError (texts that are no UTF-8)."""
    try:
        rows: list[dict[str, Any]] = table.to_pylist()
    except ARROW_ERRORS as error:
        raise unreadable(path, file or str(path), error) from None
    return rows


def missing_column(column: str, there: Sequence[str], *, file: str) -> SchemaError:
    """The error for a column that a file does not have."""
    return SchemaError(
        "missing-column", f"column {column} is missing (found: {', '.join(there) or 'none'})", file=file, joint=column
    )


def unreadable(path: Path, name: str, error: Exception) -> IntegrityError:
    """The error for a parquet file that Arrow cannot read."""
    try:
        with path.open("rb") as stream:
            if stream.read(len(LFS_POINTER)) == LFS_POINTER:
                return not_downloaded(name)
    except OSError:
        pass
    text = " ".join(str(error).split())
    return IntegrityError(
        "unreadable", f"not readable as parquet: {text}", file=name, fix="download or convert this file again"
    )


def matrix(
    table: pa.Table,
    column: str,
    width: int,
    *,
    episode: int | None = None,
    file: str | None = None,
    names: Sequence[str] | None = None,
    dtype: DTypeLike | None = None,
) -> Array:
    """A column as (frames, width); scalars as (frames, 1). `names`: of its values, for errors. `dtype`: cast to it.

    Read-only where it is a view of Arrow's memory. Raises SchemaError (missing, no numbers, another width) and
    DataError (null, NaN, infinite), naming frame and joint.
    """
    where = _Where(column, episode, file, names)
    flat = _flat(_array(table, where), where, width)
    values = _numbers(flat).reshape(-1, width)
    if dtype is not None:
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found below
            values = values.astype(dtype, copy=False)
    _refuse_non_finite(values, where)
    return values


def scalars(
    table: pa.Table,
    column: str,
    *,
    episode: int | None = None,
    file: str | None = None,
    dtype: DTypeLike | None = None,
) -> Array:
    """A column of one value a frame as (frames,): int64 as int64, float as float. Raises as `matrix`."""
    return matrix(table, column, 1, episode=episode, file=file, dtype=dtype)[:, 0]


def integers(table: pa.Table, column: str, *, episode: int | None = None, file: str | None = None) -> NDArray[np.int64]:
    """A column of whole numbers as (frames,) int64. Raises as `matrix`, and SchemaError where it holds fractions."""
    found = scalars(table, column, episode=episode, file=file)
    if found.dtype.kind not in "iu":
        whole = found.astype(np.int64)
        if (wrong := np.flatnonzero(whole != found)).size:
            frame = int(wrong[0])
            raise DataError(
                "not-whole",
                f"column {column} is {found[frame]}, expected a whole number",
                file=file,
                episode=episode,
                frame=frame,
                joint=column,
            )
        found = whole
    return found.astype(np.int64, copy=False)


class _Where:
    """The column of which errors speak."""

    def __init__(self, column: str, episode: int | None, file: str | None, names: Sequence[str] | None) -> None:
        self.column, self.episode, self.file, self.names = column, episode, file, names

    def joint(self, value: int) -> str:
        return self.names[value] if self.names is not None and value < len(self.names) else self.column

    def schema(self, code: str, what: str, frame: int | None = None) -> SchemaError:
        text = f"column {self.column} has {what}"
        return SchemaError(code, text, file=self.file, episode=self.episode, frame=frame, joint=self.column)

    def data(self, code: str, what: str, frame: int, value: int | None = None) -> DataError:
        joint = self.column if value is None else self.joint(value)
        text = f"column {self.column} {what}"
        return DataError(code, text, file=self.file, episode=self.episode, frame=frame, joint=joint)


def _array(table: pa.Table, where: _Where) -> Any:
    place = table.schema.get_field_index(where.column)
    if place < 0:
        raise missing_column(where.column, table.column_names, file=where.file or "the table")
    chunked = table.column(place)
    # One chunk is the rule (a row group): no copy then.
    array = chunked.chunk(0) if chunked.num_chunks == 1 else chunked.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], chunked.type)
    if array.null_count:
        frame = int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
        raise where.data("null", f"has {array.null_count} empty frames, first {frame}", frame)
    return array


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _flat(array: Any, where: _Where, width: int) -> Any:
    """The values of all frames one after the other, `width` of them each; also of lists in lists (more axes)."""
    inner, count = array, 1
    while _is_list(inner.type) or pa.types.is_fixed_size_list(inner.type):
        inner, size = _opened(inner, where, width, count)
        count *= size
        if count and inner.null_count:
            place = int(np.flatnonzero(inner.is_null().to_numpy(zero_copy_only=False))[0])
            frame, value = divmod(place, count)
            joint = None if pa.types.is_nested(inner.type) else value  # a whole row is no joint
            raise where.data("null", f"has {inner.null_count} empty values", frame, joint)
        if not count:
            raise where.schema("wrong-width", f"frames of 0 values, meta/info.json says {width}")
    _check_numeric(inner.type, where)
    if count != width:
        raise where.schema("wrong-width", f"frames of {count} values, meta/info.json says {width}")
    return inner


def _opened(array: Any, where: _Where, width: int, count: int) -> tuple[Any, int]:
    """The elements of lists that are all of one size, and that size; `count` of these lists are a frame."""
    kind = array.type
    # Not flatten(): it imports pyarrow.compute, a fifth of a second. There are no nulls here, thus slices do.
    if pa.types.is_fixed_size_list(kind):
        return array.values.slice(array.offset * kind.list_size, len(array) * kind.list_size), kind.list_size
    offsets = array.offsets.to_numpy()
    elements = array.values.slice(offsets[0], offsets[-1] - offsets[0])
    lengths = np.diff(offsets)
    if not lengths.size:
        return elements, max(1, width // count)
    expected = width // count if not pa.types.is_nested(kind.value_type) else int(lengths[0])
    if (wrong := np.flatnonzero(lengths != expected)).size:
        frame = int(wrong[0]) // count
        what = f"frames of {lengths[wrong[0]] * count} values, meta/info.json says {width}"
        raise where.schema("wrong-width", what, frame)
    return elements, expected


def _check_numeric(kind: Any, where: _Where) -> None:
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        what = f"column {where.column} holds {kind}, expected numbers"
        raise SchemaError("not-numbers", what, file=where.file, episode=where.episode, joint=where.column)


def _numbers(flat: Any) -> Array:
    values: Array = flat.to_numpy(zero_copy_only=not pa.types.is_boolean(flat.type))
    return values


def _refuse_non_finite(values: Array, where: _Where) -> None:
    # The sum is NaN or infinite if a value is: one pass without a temporary; only then look closer (or overflowed).
    if values.dtype.kind != "f" or not values.size:
        return
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum(dtype=np.float64)):
            return
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        frame, value = (int(n) for n in bad[0])
        number = values[frame, value]
        raise where.data("not-finite", f"is {number} in frame {frame}, value {value}", frame, value)
