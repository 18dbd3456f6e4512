"""Reading a small file of the user's, and nothing else: a pipe or a device would hang or never end."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from dm_isaac_g1.core.errors import ConfigError

_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def read(path: Path, limit: int) -> bytes:
    """At most `limit` bytes of a regular file. Raises ConfigError for anything that is no file, OSError."""
    _check(path, path.stat().st_mode)
    # Not blocking, and looked at again: it may be another file by now.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        _check(path, os.fstat(file.fileno()).st_mode)
        return file.read(limit)


def _check(path: Path, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise ConfigError("cannot be read: Is a directory", where=str(path))
    kind = next((name for test, name in _KINDS if test(mode)), "something else")
    raise ConfigError(f"{kind}, not a regular file", where=str(path), fix="name a file")
