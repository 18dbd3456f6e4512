"""Which episodes share a file in LeRobot v3.0: as many as fit, in their order. Pure.

Limits as in lerobot 0.4.4 (src/lerobot/datasets/utils.py): 100 MB of uncompressed columns, 200 MB of video, 1000 files
a chunk.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import msgspec
import numpy as np

from dm_isaac_g1.data.info import CHUNKS_SIZE, Info

DATA_MB = 100
VIDEO_MB = 200
MB = 1 << 20

#: Parquet's levels of list columns and its page headers, on top of the values themselves (measured: 3 to 4 %).
_OVERHEAD = 1.06
#: Bytes of a value that is no number, a text for example.
_TEXT = 64


class Shared(msgspec.Struct, frozen=True):
    """One file: its number, from 0 over all chunks, and the positions of its episodes, from `first` before `end`."""

    number: int
    first: int
    end: int

    @property
    def chunk(self) -> int:
        return self.number // CHUNKS_SIZE

    @property
    def file(self) -> int:
        """Within its chunk."""
        return self.number % CHUNKS_SIZE


def group(sizes: Sequence[int], limit: int, kinds: Sequence[Hashable] | None = None) -> list[Shared]:
    """Episodes of `sizes` bytes in files below `limit`, or alone in one where they are larger.

    `kinds`: only neighbours of the same kind share a file (videos that were encoded alike).
    """
    found: list[Shared] = []
    first, size = 0, 0
    for position, more in enumerate(sizes):
        other = kinds is not None and position > first and kinds[position] != kinds[first]
        if position > first and (size + more >= limit or other):
            found.append(Shared(len(found), first, position))
            first, size = position, 0
        size += more
    if first < len(sizes):
        found.append(Shared(len(found), first, len(sizes)))
    return found


def shared_by(files: Iterable[Shared]) -> list[Shared]:
    """For every episode, by position, the file that it is in."""
    return [file for file in files for _ in range(file.first, file.end)]


def row_bytes(info: Info) -> int:
    """Uncompressed bytes of one frame in a parquet file, a little too many rather than too few."""
    found = 0.0
    for feature in info.features.values():
        if not feature.is_video:
            found += feature.width * (np.dtype(feature.dtype).itemsize if feature.is_numeric else _TEXT)
    return int(found * _OVERHEAD) + 1
