"""Columns of a whole dataset, one at a time, though its episodes come one after another; memory does not grow with it.

Rows are gathered in blocks of (values, frames), so that a value's numbers lie together in each. The first blocks stay
in memory; the others go to a file without a name in the dataset's meta folder, which is gone when the process is.
"""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dm_isaac_g1.data.problems import DataProblem

Array = NDArray[Any]

#: Bytes of a block, and of all blocks that stay in memory.
BLOCK = 2 << 20
HELD = 16 << 20


class Spool:
    """A context manager. `width` values of `dtype` a frame; `folder`: where the file goes."""

    def __init__(self, width: int, dtype: DTypeLike, folder: Path, *, held: int = HELD, block: int = BLOCK) -> None:
        self.dtype = np.dtype(dtype)
        self._width = width
        self._frames = max(1, block // (width * self.dtype.itemsize))
        self._limit = held // (self._frames * width * self.dtype.itemsize)
        self._folder = folder
        self._held: list[Array] = []
        self._file: Any = None  # a raw file: readinto
        self._written = 0
        self._block = self._new_block()
        self._filled = 0

    def __len__(self) -> int:
        """Frames."""
        return (len(self._held) + self._written) * self._frames + self._filled

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def append(self, rows: Array) -> None:
        """`rows` (width, frames). Raises DataProblem "disk-full"."""
        at = 0
        while at < rows.shape[1]:
            count = min(rows.shape[1] - at, self._frames - self._filled)
            self._block[:, self._filled : self._filled + count] = rows[:, at : at + count]
            self._filled += count
            at += count
            if self._filled == self._frames:
                self._put_away()

    def column(self, value: int) -> Array:
        """All frames of one value: (frames,), contiguous, the caller's own."""
        whole = np.empty(len(self), self.dtype)
        blocks = whole[: len(self) - self._filled].reshape(-1, self._frames)
        for number, held in enumerate(self._held):
            blocks[number] = held[value]
        for number in range(self._written):
            self._read(number, value, blocks[len(self._held) + number])
        whole[len(self) - self._filled :] = self._block[value, : self._filled]
        return whole

    def _new_block(self) -> Array:
        return np.empty((self._width, self._frames), self.dtype)

    def _put_away(self) -> None:
        if len(self._held) < self._limit:
            self._held.append(self._block)
            self._block = self._new_block()
        else:
            self._write()
        self._filled = 0

    def _write(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115  closed in __exit__
            self._file.seek(0, os.SEEK_END)
            left = memoryview(self._block.data).cast("B")
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DataProblem(
                "disk-full",
                f"the disk is full: {self._written * self._block.nbytes} bytes of columns are written",
                fix="free some space on the dataset's disk; nothing of the dataset was changed",
            ) from None
        self._written += 1

    def _read(self, number: int, value: int, into: Array) -> None:
        assert self._file is not None
        self._file.seek(number * self._block.nbytes + value * into.nbytes)
        left = memoryview(into.data).cast("B")
        while left:
            count = self._file.readinto(left)
            if not count:
                raise OSError(errno.EIO, "a temporary file ends early")
            left = left[count:]
