"""What the agent is asked of disks. Part of the agent: stdlib only, Python 3.8 and later."""

from __future__ import annotations

import os
import time
import zlib
from typing import TYPE_CHECKING, Any

from dm_isaac_g1.remote.agent_system import attempt, expand

if TYPE_CHECKING:
    Row = dict[str, Any]

#: The lab's fallback where nothing may be mounted: `<folder>:<bytes>`, a folder that is kept at a size, as if it were a
#: file system of its own.
QUOTA = "DM_G1_LAB_QUOTA"
#: Where counting afresh is not asked for, a count is believed for so many times as long as it took.
BELIEVED = 20.0
#: Devices that we make up: beyond those of Linux, which have 32 bits.
OUR_DEVICES = 1 << 40

#: By folder: its bytes, when their counting began, and until when they are believed.
_counted: dict[str, tuple[int, float, float]] = {}


def ask_disks(paths: dict[str, str], believe: bool = False) -> list[Row]:
    """The file systems below these paths. A path that is not there yet counts where its nearest parent is.

    Whoever asks may just have written or removed something. Samples, which come by themselves, `believe` a count.
    """
    disks: dict[int, Row] = {}
    folder, size = quota()
    for name, path in sorted(paths.items()):
        path = expand(path)
        while not os.path.exists(path) and path != "/":
            path = os.path.dirname(path)
        found, space = attempt(os.stat, path), attempt(os.statvfs, path)
        if found and space:
            real = os.path.realpath(path)
            kept = bool(folder) and (real + "/").startswith(folder + "/")
            dev = OUR_DEVICES | zlib.crc32(folder.encode()) if kept else found.st_dev
            if dev not in disks:
                disks[dev] = (
                    within(disk(found.st_dev, real, space), dev, folder, size, believe)
                    if kept
                    else disk(dev, real, space)
                )
            disks[dev]["paths"].append(name)
    return list(disks.values())


def disk(dev: int, path: str, space: os.statvfs_result) -> Row:
    """f_bavail is what an ordinary user may write; f_bfree counts root's reserve too."""
    while path != "/" and os.stat(os.path.dirname(path)).st_dev == dev:
        path = os.path.dirname(path)
    return {
        "dev": dev,
        "mount": path,
        "total": space.f_blocks * space.f_frsize,
        "avail": space.f_bavail * space.f_frsize,
        "inodes_avail": space.f_favail if space.f_files else None,
        "readonly": bool(space.f_flag & os.ST_RDONLY),
        "paths": [],
    }


def quota() -> tuple[str, int]:
    """The folder that is kept at a size, and its bytes; an empty one where none is."""
    folder, _, size = os.environ.get(QUOTA, "").rpartition(":")
    return (os.path.realpath(folder), int(size)) if folder and size.isdigit() else ("", 0)


def within(row: Row, dev: int, folder: str, size: int, believe: bool) -> Row:
    """The disk that the folder lies on, as what the quota leaves of it."""
    return dict(row, dev=dev, mount=folder, total=size, avail=max(0, min(row["avail"], size - used(folder, believe))))


def used(folder: str, believe: bool = False) -> int:
    """Allocated bytes below a folder. Each name counts, as it does where the quota is kept: hard links too."""
    began = time.monotonic()
    total, _, until = _counted.get(folder, (0, 0.0, 0.0))
    if believe and began < until:
        return total
    total = 0
    for base, folders, names in os.walk(folder):
        for name in folders + names:
            found = attempt(os.lstat, os.path.join(base, name))
            total += found.st_blocks * 512 if found else 0
    now = time.monotonic()
    if began >= _counted.get(folder, (0, 0.0, 0.0))[1]:  # another thread may have begun later and ended sooner
        _counted[folder] = total, began, now + BELIEVED * (now - began)
    return total
