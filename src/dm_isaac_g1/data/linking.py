"""Placing a file a second time without writing its bytes again: hard link, else reflink, else copy.

A hard link is one file under two names: nothing in `data` ever changes a file in place, so neither dataset can harm the
other. FICLONE shares blocks until one side is written (btrfs, XFS): linux/fs.h, ioctl_ficlone(2).
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Literal

from dm_isaac_g1.data.problems import IntegrityError, SchemaError

How = Literal["linked", "reflinked", "copied"]

#: _IOW(0x94, 9, int) in linux/fs.h; the same number on x86 and arm64.
_FICLONE = 0x40049409
#: What link(2) answers where a copy may still do: another file system, too many links, protected_hardlinks.
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EACCES}


def place_file(source: Path, target: Path, *, inside: Path) -> How:
    """The bytes of `source` under the name `target`, whose folders are made; a file that stands there is replaced.

    Links are followed, but not out of `inside` (the source's dataset). A kill leaves no short file under the target's
    name. Raises SchemaError (a link leads out), IntegrityError (no such file, not a file), OSError with a file name.
    """
    real = source.resolve()
    if not real.is_relative_to(inside.resolve()):
        raise SchemaError("path-leaves-dataset", "is a link that leads out of the dataset", file=str(source))
    if not real.is_file():
        raise IntegrityError("file-missing", "not a file" if real.exists() else "No such file", file=str(source))
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.placing")
    beside.unlink(missing_ok=True)
    try:
        how = _linked(real, beside) or _copied(real, beside)
        beside.replace(target)
    except OSError as error:
        error.filename = str(target)
        raise
    finally:
        beside.unlink(missing_ok=True)  # it stays where both names were one file already
    return how


def _linked(source: Path, target: Path) -> How | None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        return None
    return "linked"


def _copied(source: Path, target: Path) -> How:
    with source.open("rb") as read, target.open("wb") as write:
        if _reflink(read.fileno(), write.fileno()):
            return "reflinked"
        shutil.copyfileobj(read, write, 1 << 20)
    return "copied"


def _reflink(source: int, target: int) -> bool:
    try:
        import fcntl

        fcntl.ioctl(target, _FICLONE, source)
    except (ImportError, OSError):
        return False
    return True
