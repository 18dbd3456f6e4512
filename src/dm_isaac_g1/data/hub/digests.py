"""Is this file the one that the Hub lists? By size, then by hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from dm_isaac_g1.data.hub.wire import RepoFile

_CHUNK = 1 << 20


def same(path: Path, file: RepoFile, read: Callable[[int], None] = lambda count: None) -> bool:
    """Whether `path` is `file`, byte for byte. `read` is told of the bytes as they are read. Raises OSError.

    A link is not what was downloaded, whatever it leads to.
    """
    if path.is_symlink() or not path.is_file() or path.stat().st_size != file.size:
        return False
    if file.sha256 is not None:
        return _digest(path, hashlib.sha256(), read) == file.sha256
    # What git calls a blob: its header and the content. https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
    start = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    return _digest(path, start, read) == file.blob


def _digest(path: Path, found: hashlib._Hash, read: Callable[[int], None]) -> str:
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            found.update(chunk)
            read(len(chunk))
    return found.hexdigest()
