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

from dm_isaac_g1.data.problems import IntegrityError, RefusedOutput, SchemaError

How = Literal["linked", "reflinked", "copied"]

#: _IOW(0x94, 9, int) in linux/fs.h; the same number on x86 and arm64.
_FICLONE = 0x40049409
#: What link(2) answers where a copy may still do: another file system, too many links, protected_hardlinks.
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS, errno.EACCES}


def place_file(source: Path, target: Path, *, inside: Path) -> How:
    """The bytes of `source` under the name `target`, which does not exist yet; folders are made.

    Links are followed, but not out of `inside` (the source's dataset). Raises SchemaError (a link leads out),
    IntegrityError (no such file, not a file), RefusedOutput (the target exists), OSError.
    """
    real = source.resolve()
    if not real.is_relative_to(inside.resolve()):
        raise SchemaError("path-leaves-dataset", "is a link that leads out of the dataset", file=str(source))
    if not real.is_file():
        raise IntegrityError("file-missing", "No such file" if not real.exists() else "not a file", file=str(source))
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(real, target)
    except FileExistsError:
        raise RefusedOutput("output-exists", "exists already", file=str(target)) from None
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        return _copied(real, target)
    return "linked"


def _copied(source: Path, target: Path) -> How:
    """Written beside and renamed, so that a kill leaves no short file under the target's name."""
    beside = target.with_name(f".{target.name}.copying")
    try:
        with source.open("rb") as read, beside.open("wb") as write:
            how: How = "reflinked" if _reflink(read.fileno(), write.fileno()) else "copied"
            if how == "copied":
                shutil.copyfileobj(read, write, 1 << 20)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
    return how


def _reflink(source: int, target: int) -> bool:
    try:
        import fcntl

        fcntl.ioctl(target, _FICLONE, source)
    except (ImportError, OSError):
        return False
    return True
